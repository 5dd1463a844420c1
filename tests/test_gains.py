"""Gains: every published number to its last digit, the traps, and the table of the docs."""

from __future__ import annotations

import json
import math
import re
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xavier import theory
from xavier._errors import ActivationError, UnknownNameError
from xavier.theory import describe, gain, names, resolve, stability

PAGE = (Path(__file__).parent.parent / "docs" / "theory.md").read_text()
DIGITS = 1e-6  # what the published table is rounded to, and half of it once more

# At q = 1: E f, E f**2, Var f, E f'**2, forward, backward and centred gain, chi_1 and slope of the
# length map at the forward gain, whether it is stable, and PyTorch's gain. Computed apart from
# this package, by Gauss-Legendre quadrature on panels split at every kink.
PUBLISHED = """
identity            0.000000 1.000000 1.000000   1.000000 1.000000 1.000000 1.000000   1.000000  1.000000 neutral  1.000000
tanh                0.000000 0.394294 0.394294   0.464403 1.592537 1.467414 1.592537   1.177807  0.461071 stable   1.666667
lecun_tanh          0.000000 0.750430 0.750430   0.803989 1.154369 1.115257 1.154369   1.071371  0.615446 stable   -
sigmoid             0.500000 0.293379 0.043379   0.044836 1.846229 4.722646 4.801313   0.152827  0.106341 stable   1.000000
2*sigmoid-1         0.000000 0.173516 0.173516   0.179345 2.400657 2.361323 2.400657   1.033592  0.719201 stable   -
softsign            0.000000 0.183014 0.183014   0.227671 2.337533 2.095781 2.337533   1.244010  0.476712 stable   -
arctan              0.000000 0.449701 0.449701   0.500000 1.491208 1.414214 1.491208   1.111850  0.560819 stable   -
erf                 0.000000 0.464559 0.464559   0.569410 1.467167 1.325218 1.467167   1.225700  0.408567 stable   -
hardtanh            0.000000 0.516059 0.516059   0.682689 1.392036 1.210287 1.392036   1.322892  0.385127 stable   -
relu                0.398942 0.500000 0.340845   0.500000 1.414214 1.414214 1.712859   1.000000  1.000000 neutral  1.414214
relu6               0.398942 0.500000 0.340845   0.500000 1.414214 1.414214 1.712859   1.000000  1.000000 neutral  -
leaky_relu(0.01)    0.394953 0.500050 0.344062   0.500050 1.414143 1.414143 1.704832   1.000000  1.000000 neutral  1.414143
leaky_relu(0.1)     0.359048 0.505000 0.376084   0.505000 1.407195 1.407195 1.630637   1.000000  1.000000 neutral  1.407195
leaky_relu(0.2)     0.319154 0.520000 0.418141   0.520000 1.386750 1.386750 1.546460   1.000000  1.000000 neutral  1.386750
leaky_relu(0.3)     0.279260 0.545000 0.467014   0.545000 1.354571 1.354571 1.463306   1.000000  1.000000 neutral  1.354571
prelu(0.25)         0.299207 0.531250 0.441725   0.531250 1.371989 1.371989 1.504610   1.000000  1.000000 neutral  1.371989
leaky_relu(1/3)     0.265962 0.555556 0.484820   0.555556 1.341641 1.341641 1.436183   1.000000  1.000000 neutral  1.341641
elu                 0.160521 0.644945 0.619179   0.668102 1.245198 1.223429 1.270843   1.035905  0.890968 stable   -
selu                0.000000 1.000000 1.000000   1.071575 1.000000 0.966026 1.000000   1.071575  0.782648 stable   0.750000
gelu                0.282095 0.425221 0.345644   0.455851 1.533530 1.481114 1.700926   1.072032  1.144063 unstable -
gelu_tanh           0.282039 0.425194 0.345648   0.455818 1.533581 1.481168 1.700917   1.072024  1.144298 unstable -
quick_gelu          0.282331 0.421953 0.342242   0.449549 1.539459 1.491459 1.709359   1.065402  1.136461 unstable -
silu                0.206621 0.355776 0.313083   0.379482 1.676532 1.623320 1.787187   1.066634  1.172594 unstable -
mish                0.240404 0.452342 0.394548   0.479084 1.486848 1.444755 1.592025   1.059118  1.076339 unstable -
hardswish           0.166217 0.331567 0.303939   0.358532 1.736657 1.670076 1.813871   1.081323  1.223920 unstable -
hardsigmoid         0.500000 0.277639 0.027639   0.027703 1.897840 6.008116 6.015034   0.099780  0.097119 stable   -
softplus            0.806059 0.921246 0.271515   0.293379 1.041867 1.846229 1.919126   0.318459  0.492053 stable   -
log_sigmoid        -0.806059 0.921246 0.271515   0.293379 1.041867 1.846229 1.919126   0.318459  0.492053 stable   -
squared_relu        0.500000 1.500000 1.250000   2.000000 0.816497 0.707107 0.894427   1.333333  2.000000 unstable -
sine                0.000000 0.432332 0.432332   0.567668 1.520867 1.327251 1.520867   1.313035  0.313035 stable   -
sine(30)            0.000000 0.500000 0.500000 450.000000 1.414214 0.047140 1.414214 900.000000  0.000000 stable   -
cosine              0.606531 0.567668 0.199788   0.432332 1.327251 1.520867 2.237253   0.761594 -0.238406 stable   -
tanhshrink          0.000000 0.182883 0.182883   0.252992 2.338368 1.988139 2.338368   1.383350  1.826201 unstable -
gaussian            0.707107 0.577350 0.077350   0.192450 1.316074 2.279507 3.595581   0.333333 -0.333333 stable   -
abs                 0.797885 1.000000 0.363380   1.000000 1.000000 1.000000 1.658897   1.000000  1.000000 neutral  -
"""  # noqa: E501 - a table as it was published
ROWS = [line.split() for line in PUBLISHED.strip().splitlines()]
# Not every row has a name of its own.
SPECIAL = {
    "2*sigmoid-1": lambda x: np.tanh(x / 2),
    "leaky_relu(1/3)": f"leaky_relu({1 / 3!r})",
}
# Of NFNets (Brock et al. 2021): estimates of 1 / std by Monte Carlo, good to 1e-3.
NFNET = {
    "identity": 1.0,
    "tanh": 1.593912,
    "sigmoid": 4.803835,
    "softsign": 2.338853,
    "relu": 1.713959,
    "relu6": 1.713148,
    "leaky_relu(0.01)": 1.705903,
    "elu": 1.271600,
    "selu": 1.000852,
    "gelu": 1.701504,
    "silu": 1.788129,
    "hardswish": 1.813896,
    "softplus": 1.920332,
    "log_sigmoid": 1.919348,
}


def numbers_of(name):
    facts = describe(SPECIAL.get(name, name))
    return (
        facts.mean,
        facts.forward_power,
        facts.forward_power - facts.mean**2,
        facts.backward_power,
        facts.gain,
        facts.backward_gain,
        facts.centred_gain,
        facts.chi_1,
        facts.length_slope,
    )


def agrees(name, published, *, factor=1.0):
    found = [factor * number for number in numbers_of(name)]
    return all(
        abs(a - float(b)) <= DIGITS * max(1, abs(a)) for a, b in zip(found, published, strict=True)
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_published_number_is_reproduced(row):
    name, *published, word, folklore = row
    assert numbers_of(name) == pytest.approx([float(each) for each in published], abs=DIGITS)
    assert agrees(name, published)
    facts = describe(SPECIAL.get(name, name))
    assert facts.length == word
    if folklore == "-":
        assert facts.folklore_gain is None
    else:
        assert facts.folklore_gain == pytest.approx(float(folklore), abs=DIGITS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_numbers_that_are_a_little_off_are_told_apart(row):
    name, *published, _, _ = row
    assert not agrees(name, published, factor=1.05)
    assert not agrees(name, published, factor=1 + 1e-5)


@pytest.mark.parametrize("name", NFNET)
def test_the_centred_gain_is_that_of_nfnets(name):
    # The worst of theirs is off by 0.09 percent.
    assert describe(name).centred_gain == pytest.approx(NFNET[name], rel=2e-3)


@pytest.mark.parametrize(
    ("name", "exact"),
    [
        ("elu", 1.5505188080679277),  # the square of SIREN's gain for ELU
        ("relu", 2.0),
        ("arctan", None),
        ("selu", 1.0),
    ],
)
def test_gains_with_a_published_constant_have_all_its_digits(name, exact):
    if exact is None:
        assert describe(name).backward_gain ** 2 == pytest.approx(2, rel=1e-10)
    else:
        assert gain(name) ** 2 == pytest.approx(exact, rel=1e-10)


@pytest.mark.parametrize("variance", [1e-6, 0.3, 1.0, 50.0])
@pytest.mark.parametrize("name", ["relu", "leaky_relu(0.2)", "abs", "identity"])
def test_a_homogeneous_activation_has_one_gain_for_every_variance(name, variance):
    facts = describe(name, variance=variance)
    assert facts.gain == pytest.approx(gain(name), rel=1e-10)
    assert facts.backward_gain == pytest.approx(facts.gain, rel=1e-10)
    assert facts.xavier_gain == pytest.approx(facts.gain, rel=1e-10)
    assert (facts.length, facts.chi_1) == ("neutral", pytest.approx(1))


@given(st.floats(1e-3, 1e3))
@settings(max_examples=20)
def test_the_gain_holds_the_variance_it_was_asked_for(variance):
    for name in ("tanh", "gelu", "softsign"):
        held = gain(name, variance=variance)
        there = theory.length_map(name, variance, sigma_w=held)
        assert there == pytest.approx(variance, rel=1e-10)
        off = theory.length_map(name, variance, sigma_w=1.05 * held)
        assert off != pytest.approx(variance, rel=0.05)


def test_xaviers_compromise_is_glorots_rule_for_the_identity_and_twice_that_for_relu():
    # Var(W) = 2 / (fan_in E f**2 + fan_out E f'**2): for equal fans xavier_gain**2 / fan.
    assert describe("identity").xavier_gain ** 2 == pytest.approx(1)
    assert describe("relu").xavier_gain ** 2 == pytest.approx(2)
    facts = describe("tanh")
    expected = 2 / (facts.forward_power + facts.backward_power)
    assert facts.xavier_gain**2 == pytest.approx(expected)
    assert facts.backward_gain < facts.xavier_gain < facts.gain
    # Under it a tanh stack's gradient grows by 1.15 a layer: a million times over 100 layers.
    q = theory.length_fixed_point("tanh", sigma_w=facts.xavier_gain)
    growth = theory.chi_1("tanh", q=q, sigma_w=facts.xavier_gain)
    assert growth == pytest.approx(1.15, abs=0.005)
    assert 1e5 < growth**100 < 1e7


def test_the_slope_is_what_a_small_deviation_is_multiplied_by():
    for name in ("tanh", "gelu", "hardshrink(0.3)", "cosine", "swiglu"):
        facts = describe(name)
        if resolve(name).gate:
            there = [
                facts.gain**2
                * theory.powers2(resolve(name).function, variances=(each, each)).forward
                for each in (1 + 1e-4, 1 - 1e-4)
            ]
        else:
            there = [
                theory.length_map(name, each, sigma_w=facts.gain) for each in (1 + 1e-4, 1 - 1e-4)
            ]
        assert facts.length_slope == pytest.approx((there[0] - there[1]) / 2e-4, rel=1e-6), name


@pytest.mark.parametrize(
    ("slope", "word"),
    [
        *((0.0, "stable"), (0.99999, "stable"), (-0.3, "stable"), (1.00001, "unstable")),
        *((1.0, "neutral"), (-1.0, "neutral"), (1 - 1e-8, "neutral"), (-2.0, "unstable")),
    ],
)
def test_stability_is_a_word_for_a_slope(slope, word):
    assert stability(slope) == word


@pytest.mark.parametrize("name", ["gelu", "silu", "mish", "hardswish", "squared_relu", "swiglu"])
def test_the_gain_of_a_self_gated_activation_is_an_unstable_fixed_point(name):
    facts = describe(name)
    assert facts.length == "unstable"
    assert facts.length_slope > 1.05


def test_gelu_drifts_to_zero_and_to_infinity_at_its_own_gain():
    low, high = 0.9, 1.1
    for _ in range(100):
        low, high = (theory.length_map("gelu", q, sigma_w=gain("gelu")) for q in (low, high))
    assert low < 1e-9
    # Far out GELU is a ReLU, so that a layer multiplies by sigma_w**2 / 2.
    assert theory.length_map("gelu", high, sigma_w=gain("gelu")) / high == pytest.approx(
        gain("gelu") ** 2 / 2, rel=1e-3
    )
    assert gain("gelu") ** 2 / 2 == pytest.approx(1.1759, abs=1e-4)


@pytest.mark.parametrize("name", ["tanh", "softsign", "sine", "erf", "hardtanh"])
def test_a_stable_length_may_go_with_a_growing_gradient(name):
    facts = describe(name)
    assert facts.length == "stable"
    assert facts.chi_1 > 1.1


# Gated units


@pytest.mark.parametrize("name", ["bilinear", "swiglu", "glu"])
def test_a_gates_gradient_comes_back_through_both_arguments(name):
    # The mean square of the Jacobian's rows of x' = f(A x, B x), at width n and for many x.
    n, inputs, step = 300, 60, 1e-6
    generator = np.random.default_rng(4)
    facts, bend = describe(name), resolve(name).function
    one, other = (generator.normal(size=(n, n)) / math.sqrt(n) for _ in range(2))
    x = generator.normal(size=(n, inputs))
    a, b = one @ x, other @ x
    along_a = (bend(a + step, b) - bend(a - step, b)) / (2 * step)
    along_b = (bend(a, b + step) - bend(a, b - step)) / (2 * step)
    rows = facts.gain**2 * (
        along_a**2 * (one**2).sum(axis=1, keepdims=True)
        + along_b**2 * (other**2).sum(axis=1, keepdims=True)
        + 2 * along_a * along_b * (one * other).sum(axis=1, keepdims=True)
    )
    error = float(rows.std()) / math.sqrt(rows.size)  # the rows are nearly independent
    assert 4 * error < 0.1 * facts.chi_1
    assert abs(rows.mean() - facts.chi_1) < 4 * error


def test_a_gate_multiplies_the_signal_by_its_second_argument():
    for gate, bend in (("glu", "sigmoid"), ("swiglu", "silu"), ("reglu", "relu")):
        assert gain(gate) == pytest.approx(gain(bend), rel=1e-10)
        assert describe(gate).length_slope == pytest.approx(
            1 + describe(bend).length_slope, rel=1e-9
        )


# What facts are


def test_facts_are_frozen_plain_data():
    facts = describe("tanh", variance=0.5)
    assert facts.to_dict()["activation"] == "tanh"
    assert facts.to_dict()["variance"] == 0.5
    assert json.loads(json.dumps(facts.to_dict())) == facts.to_dict()
    with pytest.raises(FrozenInstanceError):
        facts.gain = 2.0


def test_an_activation_without_slope_or_variance_has_infinite_gains_for_them():
    assert describe(np.sign).backward_gain == math.inf
    constant = describe(lambda x: np.full_like(x, 2.0))
    assert (constant.gain, constant.centred_gain, constant.backward_gain) == (
        0.5,
        math.inf,
        math.inf,
    )
    assert (constant.length, constant.length_slope, constant.chi_1) == ("stable", 0, 0)


def test_the_folklore_gain_is_known_by_what_the_function_does():
    assert describe(np.tanh).folklore_gain == 5 / 3
    assert describe(lambda x: np.where(x > 0, x, 0.2 * x)).folklore_gain == pytest.approx(
        math.sqrt(2 / 1.04)
    )
    assert describe(lambda x: 1.3 * np.tanh(x)).folklore_gain is None


def test_the_folklore_gain_is_what_torch_returns():
    torch = pytest.importorskip("torch")
    for name, theirs in (("identity", "linear"), *((same, same) for same in ("sigmoid", "tanh"))):
        assert describe(name).folklore_gain == torch.nn.init.calculate_gain(theirs)
    for name in ("relu", "selu"):
        assert describe(name).folklore_gain == torch.nn.init.calculate_gain(name)
    for slope in (0.01, 0.2, 0.5):
        assert describe(f"leaky_relu({slope})").folklore_gain == pytest.approx(
            torch.nn.init.calculate_gain("leaky_relu", slope)
        )


@pytest.mark.parametrize("variance", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("ask", [gain, describe])
def test_a_variance_that_is_not_positive_is_refused(ask, variance):
    with pytest.raises(
        ActivationError, match=f"variance is {variance}, expected a positive number"
    ):
        ask("tanh", variance=variance)


@pytest.mark.parametrize("ask", [gain, describe])
def test_what_has_no_gain_is_refused(ask):
    said = r"custom has no gain: it is zero almost everywhere\nHint: is it a function of its"
    with pytest.raises(ActivationError, match=said):
        ask(lambda x: 0 * x)
    with pytest.raises(ActivationError, match="power is infinite or too large"):
        ask(lambda x: np.exp(x**2))
    with pytest.raises(UnknownNameError, match="unknown activation 'gleu'\nHint: did you mean"):
        ask("gleu")


# The documentation


def rows_of_the_page():
    """Return the cells of the table of gains, without backticks."""
    table = PAGE.split("| activation | forward gain |")[1].split("\n\n")[0]
    lines = table.splitlines()[2:]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]


def test_the_pages_table_has_every_name_once():
    assert [resolve(row[0]).name for row in rows_of_the_page()] == [
        resolve(name).name for name in names()
    ]


@pytest.mark.parametrize("row", rows_of_the_page(), ids=lambda row: row[0])
def test_the_pages_table_is_what_the_code_computes(row):
    name, forward, backward, compromise, slope, word, chi, folklore = row
    facts = describe(name)
    expected = (facts.gain, facts.backward_gain, facts.xavier_gain, facts.length_slope, facts.chi_1)
    written = [float(each) for each in (forward, backward, compromise, slope, chi)]
    assert written == pytest.approx(expected, abs=6e-7)
    assert word == facts.length
    known = facts.folklore_gain
    assert folklore == "–" if known is None else float(folklore) == pytest.approx(known, abs=6e-7)


def test_the_page_mentions_every_public_name_of_the_theory():
    assert not [name for name in theory.__all__ if not re.search(rf"`{name}\b", PAGE)]
    assert sorted(theory.__all__) == theory.__all__
    for name in theory.__all__:
        assert (getattr(theory, name).__doc__ or "").strip(), name


def test_a_function_of_tensors_is_refused_with_what_to_write_instead():
    torch = pytest.importorskip("torch")
    with pytest.raises(ActivationError, match="relu takes tensors") as caught:
        gain(torch.relu)
    assert caught.value.hint == "lambda x: relu(torch.from_numpy(x)).numpy()"
    assert gain(lambda x: torch.relu(torch.from_numpy(x)).numpy()) == pytest.approx(math.sqrt(2))


def test_a_name_that_is_far_from_all_gets_no_guess():
    with pytest.raises(UnknownNameError) as caught:
        gain("nope")
    assert caught.value.near == ()
