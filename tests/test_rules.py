"""Rules: the literature's formulas, their kinship, what they print and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xavier import laws, rules
from xavier._errors import LawError, ShapeError, UnknownNameError
from xavier.rules import (
    Critical,
    DeltaOrthogonal,
    Facts,
    Fixed,
    ForwardGain,
    FrameworkDefault,
    He,
    Heuristic,
    LeCun,
    Orthogonal,
    RandomNormal,
    Rule,
    Scaled,
    VarianceScaling,
    Xavier,
    XavierExact,
)

fan = st.integers(1, 10**6).map(float)
power = st.floats(1e-3, 1e3)
some_facts = st.builds(
    Facts,
    shape=st.just((8, 4)),
    fan_in=fan,
    fan_out=fan,
    forward_power=power,
    backward_power=power,
)
quietly = settings(deadline=None)
DENSE = Facts(shape=(300, 784), fan_in=784, fan_out=300)
RELU = Facts(shape=(200, 100), fan_in=100, fan_out=200, forward_power=0.5, backward_power=0.5)


@pytest.mark.parametrize(
    ("rule", "variance"),
    [
        (Xavier(), 2 / (784 + 300)),
        (He(), 2 / 784),
        (He("fan_out"), 2 / 300),
        (He(slope=0.5), 2 / (1.25 * 784)),
        (LeCun(), 1 / 784),
        (VarianceScaling(3.0, "fan_avg"), 3 / 542),
        (VarianceScaling(mode="fan_geo"), 1 / math.sqrt(784 * 300)),
        (Heuristic(), 1 / (3 * 784)),
        (RandomNormal(), 0.0001),
        (RandomNormal(0.5), 0.25),
        (Fixed(laws.Uniform(-3, 3)), 3.0),
        (Fixed(laws.Constant(2)), 4.0),
        (Orthogonal(), 1 / 784),
        (Scaled(LeCun(), 0.5), 1 / (4 * 784)),
    ],
    ids=repr,
)
def test_each_rule_gives_its_papers_variance(rule: Rule, variance: float):
    assert rule.variance(DENSE) == pytest.approx(variance, rel=1e-14)
    drawn = rule.law(DENSE)
    # The law's numbers have six digits, so its variance is right to 1e-5.
    assert laws.second_moment(drawn, DENSE.shape) == pytest.approx(variance, rel=1.01e-5)
    assert laws.round_law(drawn) == drawn


def test_xaviers_uniform_law_is_equation_16():
    reach = math.sqrt(6) / math.sqrt(784 + 300)
    law = Xavier("uniform").law(DENSE)
    assert law == laws.round_law(laws.Uniform(-reach, reach))


def test_the_heuristic_is_equation_1_and_pytorchs_default():
    assert Heuristic().law(DENSE) == laws.Uniform(-0.0357143, 0.0357143)  # 1 / 28


def test_relu_doubles_the_exact_compromise():
    linear = Facts(shape=RELU.shape, fan_in=RELU.fan_in, fan_out=RELU.fan_out)
    assert XavierExact().variance(RELU) == 2 * Xavier().variance(RELU)
    assert XavierExact().variance(linear) == pytest.approx(Xavier().variance(linear), rel=1e-15)
    assert ForwardGain().variance(RELU) == He().variance(RELU)


@given(some_facts)
@quietly
def test_the_exact_compromise_lies_between_its_two_conditions(facts: Facts):
    forward = 1 / (facts.fan_in * facts.forward_power)
    backward = 1 / (facts.fan_out * facts.backward_power)
    variance = XavierExact().variance(facts)
    assert min(forward, backward) * (1 - 1e-12) <= variance
    assert variance <= max(forward, backward) * (1 + 1e-12)
    assert 2 / variance == pytest.approx(1 / forward + 1 / backward, rel=1e-12)


@given(some_facts)
@quietly
def test_forward_gain_and_criticality_meet_their_condition(facts: Facts):
    length = ForwardGain().variance(facts) * facts.fan_in * facts.forward_power
    assert length == pytest.approx(1, rel=1e-12)
    there = Critical("fan_geo").variance(facts) * facts.backward_power
    assert there * math.sqrt(facts.fan_in * facts.fan_out) == pytest.approx(1, rel=1e-12)
    chi_1 = Critical().variance(facts) * facts.backward_power * (facts.fan_in + facts.fan_out) / 2
    assert chi_1 == pytest.approx(1, rel=1e-12)


@given(some_facts, st.floats(1e-6, 1e6), st.sampled_from(["normal", "uniform", "truncated_normal"]))
@quietly
def test_variance_scaling_modes_are_ordered_means(facts: Facts, scale: float, distribution: str):
    both = {
        mode: VarianceScaling(scale, mode, distribution).variance(facts)
        for mode in ("fan_in", "fan_out", "fan_avg", "fan_geo")
    }
    slack = 1 + 1e-12
    low, high = sorted((both["fan_in"], both["fan_out"]))
    assert low <= both["fan_avg"] * slack
    assert both["fan_avg"] <= both["fan_geo"] * slack
    assert both["fan_geo"] <= high * slack
    assert both["fan_geo"] ** 2 == pytest.approx(low * high, rel=1e-12)
    assert 2 / both["fan_avg"] == pytest.approx(1 / low + 1 / high, rel=1e-12)


@given(some_facts)
@quietly
def test_the_named_rules_are_cases_of_variance_scaling(facts: Facts):
    same = [
        (Xavier(), VarianceScaling(1.0, "fan_avg")),
        (LeCun(), VarianceScaling()),
        (He(), VarianceScaling(2.0)),
        (Heuristic(), VarianceScaling(1 / 3, distribution="uniform")),
    ]
    for rule, general in same:
        assert rule.variance(facts) == pytest.approx(general.variance(facts), rel=1e-14)


@given(some_facts, st.floats(-4, 4).filter(lambda factor: abs(factor) > 1e-3))
@quietly
def test_scaling_multiplies_the_standard_deviation(facts: Facts, factor: float):
    plain, scaled = He().law(facts), Scaled(He(), factor).law(facts)
    assert laws.std(scaled) == pytest.approx(abs(factor) * laws.std(plain), rel=1.01e-5)
    assert Scaled(He(), factor).variance(facts) == factor**2 * He().variance(facts)


@given(st.integers(1, 64), st.integers(1, 64))
@quietly
def test_an_orthogonal_map_that_preserves_variance_has_elements_of_one_over_fan_in(out, inputs):
    facts = Facts(shape=(out, inputs), fan_in=inputs, fan_out=out)
    law = Orthogonal(preserve="variance").law(facts)
    assert law.gain == pytest.approx(max(1.0, math.sqrt(out / inputs)), rel=1e-5)
    assert laws.second_moment(law, facts.shape) == pytest.approx(1 / inputs, rel=1.01e-5)
    transposed = Facts(shape=(inputs, out), fan_in=inputs, fan_out=out)
    assert Orthogonal(preserve="variance").law(transposed) == law


@pytest.mark.parametrize(("out", "inputs"), [(96, 24), (48, 48), (24, 96)])
def test_an_orthogonal_map_keeps_variance_on_real_vectors(out: int, inputs: int):
    generator = np.random.default_rng(3)
    facts = Facts(shape=(out, inputs), fan_in=inputs, fan_out=out)
    gain = Orthogonal(preserve="variance").law(facts).gain
    tall = np.linalg.qr(generator.normal(size=(max(out, inputs), min(out, inputs))))[0]
    weight = gain * (tall if out >= inputs else tall.T)
    y = weight @ generator.normal(size=(inputs, 4000))
    # A sum of min(out, inputs) * 4000 independent squares, each of variance 2.
    error = math.sqrt(2 / (min(out, inputs) * 4000))
    assert np.square(y).mean() == pytest.approx(1, abs=5 * error + 1e-5)


def test_a_recurrent_weight_that_shares_its_sum_gets_a_smaller_gain():
    facts = Facts(shape=(64, 64), fan_in=64 + 192, fan_out=64)
    assert Orthogonal(preserve="variance").law(facts) == laws.Orthogonal(0.5)


def test_the_framework_default_is_among_the_facts():
    facts = Facts(shape=(9, 5), fan_in=1, fan_out=5, default_law=laws.Normal(0, 1))
    assert FrameworkDefault().law(facts) == laws.Normal(0.0, 1.0)
    assert FrameworkDefault().variance(facts) == 1.0


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (Xavier(), "Xavier()"),
        (Xavier("uniform"), "Xavier(distribution='uniform')"),
        (He("fan_out", 0.1), "He(mode='fan_out', slope=0.1)"),
        (VarianceScaling(1 / 3), "VarianceScaling(scale=0.333333)"),
        (Orthogonal(2.0, "variance"), "Orthogonal(gain=2, preserve='variance')"),
        (Fixed(laws.Normal(0, 1)), "Fixed(Normal(mean=0.0, std=1.0))"),
        (Scaled(XavierExact(), 12**-0.5), "Scaled(XavierExact(), factor=0.288675)"),
        (FrameworkDefault(), "FrameworkDefault()"),
    ],
)
def test_a_rule_prints_what_is_not_its_default(rule: Rule, text: str):
    assert repr(rule) == text
    assert type(eval(text, {**vars(laws), **vars(rules)})) is type(rule)


def test_rules_are_values():
    assert He() == He(mode="fan_in")
    assert len({He(), He("fan_in"), LeCun()}) == 2
    with pytest.raises(AttributeError, match="mode"):
        He().mode = "fan_out"
    assert not hasattr(He(), "__dict__")


@pytest.mark.parametrize("rule", [Xavier(), XavierExact(), He(), LeCun(), Critical(), Heuristic()])
@pytest.mark.parametrize(("fan_in", "fan_out"), [(0, 5), (5, 0), (math.nan, 5), (5, math.inf)])
def test_degenerate_fans_are_refused(rule: Rule, fan_in: float, fan_out: float):
    facts = Facts(shape=(4, 4), fan_in=fan_in, fan_out=fan_out)
    with pytest.raises(LawError, match=r"fan_(in|out) is (0|nan|inf), expected a positive number"):
        rule.law(facts)


DEAD = Facts(shape=(4, 4), fan_in=4, fan_out=4, forward_power=0.0, backward_power=0.0)
NEGATIVE = Facts(shape=(4, 4), fan_in=4, fan_out=4, forward_power=-1.0)


@pytest.mark.parametrize(
    ("rule", "facts", "message"),
    [
        (ForwardGain(), DEAD, r"forward_power is 0\.0, expected a positive number"),
        (Critical(), DEAD, r"backward_power is 0\.0, expected a positive number"),
        (XavierExact(), DEAD, r"sum of both powers is 0\.0, expected a positive number"),
        (XavierExact(), NEGATIVE, r"forward_power is -1\.0, expected a finite number, zero or"),
        (VarianceScaling(-1.0), DENSE, r"scale is -1\.0, expected a positive number"),
        (FrameworkDefault(), DENSE, r"no default law is known for shape \(300, 784\)\nHint"),
    ],
)
def test_facts_without_an_answer_are_refused(rule: Rule, facts: Facts, message: str):
    with pytest.raises(LawError, match=message):
        rule.law(facts)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((8, 4), r"shape \(8, 4\) has no kernel\nHint: use Orthogonal"),
        ((8, 4, 3, 2), r"kernel is \(3, 2\), expected odd sizes"),
        ((4, 8, 3, 3), r"8 channels in, 4 out, expected no more channels in than out"),
    ],
)
def test_delta_orthogonal_refuses_what_it_cannot_fill(shape, message):
    facts = Facts(shape=shape, fan_in=8, fan_out=8, kernel=shape[2:])
    with pytest.raises(ShapeError, match=message):
        DeltaOrthogonal().law(facts)


def test_delta_orthogonal_keeps_the_norm_of_a_channel_vector():
    facts = Facts(shape=(8, 4, 3, 3), fan_in=36, fan_out=72, kernel=(3, 3))
    assert DeltaOrthogonal(1.5).law(facts) == laws.DeltaOrthogonal(1.5)
    assert DeltaOrthogonal().variance(facts) == pytest.approx(4 / (8 * 4 * 9), rel=1e-14)


def test_unknown_modes_and_families_are_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"unknown mode 'fan_avrg'\nHint: .*fan_avg"):
        He("fan_avrg").law(DENSE)
    with pytest.raises(UnknownNameError, match=r"unknown distribution 'gauss'"):
        He(distribution="gauss").law(DENSE)
    with pytest.raises(UnknownNameError, match=r"unknown preserve 'norms'\nHint: .*norm"):
        Orthogonal(preserve="norms").law(DENSE)
