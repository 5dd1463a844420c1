"""Powers of any function: against closed forms and mpmath, with kinks and jumps anywhere."""

from __future__ import annotations

import math
from itertools import pairwise

import mpmath as mp
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from gaussian_moments import (
    Moments,
    made_of_lines,
    moments,
    moments_of_lines,
    worst_error,
)
from xavier._errors import ActivationError
from xavier.theory import Powers2, powers, powers2, resolve
from xavier.theory.quadrature import InfinitePowerError, moments2

PROMISE = 1e-10
VARIANCES = (1e-4, 1.0, 30.0)


def logistic(x: mp.mpf) -> mp.mpf:
    return 1 / (1 + mp.exp(-x))


def softplus(x: mp.mpf) -> mp.mpf:
    return mp.log1p(mp.exp(x))


def silu_slope(x: mp.mpf) -> mp.mpf:
    return logistic(x) * (1 + x * logistic(-x))


def mish_slope(x: mp.mpf) -> mp.mpf:
    inner = softplus(x)
    return mp.tanh(inner) + x * mp.sech(inner) ** 2 * logistic(x)


SELU_SCALE = mp.mpf("1.0507009873554804934193349852946")
SELU_ALPHA = mp.mpf("1.6732632423543772848170429916717")
# name: the function, its derivative, where it has kinks or jumps
BY_HAND = {
    "tanh": (mp.tanh, lambda x: mp.sech(x) ** 2, ()),
    "sigmoid": (logistic, lambda x: logistic(x) * logistic(-x), ()),
    "softsign": (lambda x: x / (1 + abs(x)), lambda x: (1 + abs(x)) ** -2, (0,)),
    "arctan": (mp.atan, lambda x: 1 / (1 + x * x), ()),
    "erf": (mp.erf, lambda x: 2 / mp.sqrt(mp.pi) * mp.exp(-x * x), ()),
    "gelu": (lambda x: x * mp.ncdf(x), lambda x: mp.ncdf(x) + x * mp.npdf(x), ()),
    "silu": (lambda x: x * logistic(x), silu_slope, ()),
    "mish": (lambda x: x * mp.tanh(softplus(x)), mish_slope, ()),
    "softplus": (softplus, logistic, ()),
    "log_sigmoid": (lambda x: -softplus(-x), lambda x: logistic(-x), ()),
    "elu": (
        lambda x: x if x > 0 else mp.expm1(x),
        lambda x: mp.mpf(1) if x > 0 else mp.exp(x),
        (0,),
    ),
    "selu": (
        lambda x: SELU_SCALE * (x if x > 0 else SELU_ALPHA * mp.expm1(x)),
        lambda x: SELU_SCALE * (1 if x > 0 else SELU_ALPHA * mp.exp(x)),
        (0,),
    ),
    "hardswish": (
        lambda x: x * min(max(x / 6 + mp.mpf(1) / 2, 0), 1),
        lambda x: mp.mpf(0) if x < -3 else mp.mpf(1) if x > 3 else x / 3 + mp.mpf(1) / 2,
        (-3, 3),
    ),
    "squared_relu": (lambda x: max(x, 0) ** 2, lambda x: 2 * max(x, 0), (0,)),
    "tanhshrink": (lambda x: x - mp.tanh(x), lambda x: mp.tanh(x) ** 2, ()),
    "gaussian": (lambda x: mp.exp(-x * x / 2), lambda x: -x * mp.exp(-x * x / 2), ()),
}


# Smooth functions and activations


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("name", BY_HAND)
def test_powers_agree_with_25_digits_of_mpmath(name, variance):
    function, derivative, kinks = BY_HAND[name]
    expected = moments(function, derivative, variance=variance, kinks=kinks)
    found = powers(resolve(name).function, variance=variance)
    assert worst_error(found, expected, variance=variance) < PROMISE


@pytest.mark.parametrize("mean", [1.3, -6.0])
@pytest.mark.parametrize("name", ["tanh", "gelu", "silu", "sigmoid", "hardswish", "mish"])
def test_powers_agree_with_mpmath_about_a_mean_that_is_not_zero(name, mean):
    function, derivative, kinks = BY_HAND[name]
    expected = moments(function, derivative, variance=0.5, mean=mean, kinks=kinks)
    found = powers(resolve(name).function, variance=0.5, mean=mean)
    assert worst_error(found, expected, variance=0.5) < PROMISE


@pytest.mark.parametrize("q", [1e-12, 1e-3, 1.0, 17.0, 1e4, 1e12])
def test_erf_agrees_with_its_closed_form_over_24_decades_of_variance(q):
    # E[erf(u) erf(v)] is an arcsine; its derivative is another normal density.
    forward = (
        2 / math.pi * math.asin(2 * q / (1 + 2 * q))
        if q < 1e8
        else 1 - 2 / math.pi * (math.atan(math.sqrt(1 + 4 * q) / (2 * q)))
    )
    backward = 4 / math.pi / math.sqrt(1 + 4 * q)
    found = powers(resolve("erf").function, variance=q)
    assert found.forward == pytest.approx(forward, rel=PROMISE)
    assert found.backward == pytest.approx(backward, rel=PROMISE)
    assert found.mean == 0


@pytest.mark.parametrize("q", [0.01, 1.0, 9.0, 100.0])
def test_exp_agrees_with_its_closed_form_however_far_out_its_power_lies(q):
    found = powers(np.exp, variance=q)
    assert found.mean == pytest.approx(math.exp(q / 2), rel=PROMISE)
    assert found.forward == pytest.approx(math.exp(2 * q), rel=PROMISE)
    assert found.backward == pytest.approx(math.exp(2 * q), rel=PROMISE)
    assert found.slope == pytest.approx(2 * math.exp(2 * q), rel=PROMISE)


@pytest.mark.parametrize("frequency", [0.3, 1.0, 30.0, 300.0])
def test_sine_agrees_with_its_closed_form_however_fast_it_is(frequency):
    w, damped = frequency, math.exp(-2 * frequency**2)
    found = powers(lambda x: np.sin(w * x))
    assert found.forward == pytest.approx((1 - damped) / 2, rel=PROMISE)
    assert found.backward == pytest.approx(w**2 * (1 + damped) / 2, rel=PROMISE)
    assert found.slope == pytest.approx(w**2 * damped, abs=PROMISE * w)


@pytest.mark.parametrize("degree", range(1, 10))
def test_monomials_have_double_factorials_for_moments(degree):
    double = lambda n: math.prod(range(n, 0, -2))
    found = powers(lambda x: x**degree, variance=4.0)
    assert found.forward == pytest.approx(4.0**degree * double(2 * degree - 1), rel=PROMISE)
    steepness = degree**2 * 4.0 ** (degree - 1) * double(2 * degree - 3)
    assert found.backward == pytest.approx(steepness, rel=PROMISE)


@pytest.mark.parametrize("steepness", [1e3, 1e6, 1e10, 1e14])
def test_a_very_steep_tanh_keeps_its_slope(steepness):
    # E[f'**2] is s**2 times the integral of sech(sz)**4, 4 / (3 s), times the density at 0.
    found = powers(lambda x: np.tanh(steepness * x))
    expected = steepness * 4 / 3 / math.sqrt(2 * math.pi)
    # The density is flat on the scale 1 / s to second order.
    assert found.backward == pytest.approx(expected, rel=PROMISE + steepness**-2)


@pytest.mark.parametrize("value", [3.0, -1e-9, 1e12])
def test_a_constant_has_neither_variance_nor_slope(value):
    found = powers(lambda x: np.full_like(x, value))
    assert (found.mean, found.forward) == (
        pytest.approx(value, rel=1e-12),
        pytest.approx(value**2, rel=1e-12),
    )
    assert (found.variance, found.backward, found.slope) == (0, 0, 0)


def test_a_number_stands_for_a_constant():
    assert powers(lambda x: 2.0) == powers(lambda x: np.full_like(x, 2.0))


def test_a_function_that_is_zero_has_no_power():
    found = powers(lambda x: 0 * x)
    assert (found.mean, found.variance, found.forward, found.backward) == (0, 0, 0, 0)


def test_the_variance_is_taken_about_the_mean_and_loses_nothing_to_it():
    found = powers(lambda x: 1 + 1e-6 * x)
    assert found.variance == pytest.approx(1e-12, rel=1e-9)
    assert abs(found.forward - found.mean**2 - 1e-12) > 5e-17


@given(scale=st.floats(1e-60, 1e60), variance=st.floats(1e-9, 1e6))
@settings(max_examples=25)
def test_powers_scale_with_the_square_of_the_function(scale, variance):
    one = powers(resolve("silu").function, variance=variance)
    other = powers(lambda x: scale * resolve("silu").function(x), variance=variance)
    assert other.forward == pytest.approx(scale**2 * one.forward, rel=PROMISE)
    assert other.backward == pytest.approx(scale**2 * one.backward, rel=PROMISE)


@given(variance=st.floats(1e-6, 1e6), mean=st.floats(-3, 3))
@settings(max_examples=25)
def test_a_stretched_argument_is_another_variance(variance, mean):
    spread = math.sqrt(variance)
    one = powers(np.arctan, variance=variance, mean=mean * spread)
    other = powers(lambda z: np.arctan(spread * z), mean=mean)
    assert other.forward == pytest.approx(one.forward, rel=PROMISE)
    assert other.backward == pytest.approx(variance * one.backward, rel=PROMISE)
    assert other.slope == pytest.approx(variance * one.slope, rel=PROMISE, abs=1e-12)


def test_the_slope_is_the_derivative_of_the_power():
    for name in ("tanh", "gelu", "hardshrink(0.4)", "hardtanh"):
        function = resolve(name).function
        more, less = (powers(function, variance=0.7 + step).forward for step in (1e-4, -1e-4))
        slope = powers(function, variance=0.7).slope
        assert slope == pytest.approx((more - less) / 2e-4, rel=1e-6), name


# Kinks and jumps

places = st.floats(-4, 4)
steepnesses = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(-3, 3))
jumps = st.one_of(st.just(0.0), st.floats(-2, 2))
kinds = st.sampled_from([1e-12, 1e-4, 0.3, 1.0, 7.0, 1e4])


def lines_through(knots, slopes, heights):
    """Return lines that meet at the knots but for the given jumps."""
    lines = [(heights[0], slopes[0])]
    for knot, slope, jump in zip(knots, slopes[1:], heights[1:], strict=True):
        height, steepness = lines[-1]
        lines.append((height + (steepness - slope) * knot + jump, slope))
    return lines


@st.composite
def piecewise(draw, with_jumps):
    """Draw knots at least 0.02 deviations apart, lines between them, a variance and a mean."""
    variance = draw(kinds)
    spread = math.sqrt(variance)
    mean = draw(st.one_of(st.just(0.0), st.floats(-2, 2))) * spread
    marks = sorted(draw(st.lists(places, min_size=1, max_size=4)))
    assume(all(b - a > 0.02 for a, b in pairwise(marks)))
    slopes = draw(st.lists(steepnesses, min_size=len(marks) + 1, max_size=len(marks) + 1))
    heights = [draw(st.sampled_from([0.0, 1.0])) * spread]
    heights += [draw(jumps) * spread if with_jumps else 0.0 for _ in marks]
    knots = [mean + spread * mark for mark in marks]
    return knots, lines_through(knots, slopes, heights), variance, mean


def check(knots, lines, variance, mean):
    expected = moments_of_lines(knots, lines, variance=variance, mean=mean)
    assume(expected.forward > 1e-6 * variance)
    # A slope that is nothing beside the function's values is lost in their rounding.
    assume(expected.backward == 0 or expected.backward * variance > 1e-6 * expected.forward)
    found = powers(made_of_lines(knots, lines), variance=variance, mean=mean)
    assert worst_error(found, expected, variance=variance) < PROMISE


@given(piecewise(with_jumps=False))
@settings(max_examples=60)
def test_kinks_at_random_places_cost_nothing(case):
    check(*case)


@given(piecewise(with_jumps=True))
@settings(max_examples=60)
def test_jumps_at_random_places_cost_nothing(case):
    check(*case)


NEAR_AN_EDGE = [
    sign * (edge + beside)
    for sign in (1, -1)
    for edge in (0.0, 0.5, 1.5)
    for beside in (1e-15, 1e-12, 1e-9, -1e-9, 1e-6, 1e-4, -1e-4, 0.0026, 0.0027)
]


@pytest.mark.parametrize("knot", [*NEAR_AN_EDGE, 1.4999, 0.25, 1e-7, 3.9])
def test_a_kink_or_jump_right_beside_a_panels_edge_costs_nothing(knot):
    kink = [(0.0, 0.0), (-knot, 1.0)]
    step = [(0.0, 0.0), (1.0, 0.0)]
    both = [(-1.0, 0.5), (1.0, -0.25)]
    for lines in (kink, step, both):
        found = powers(made_of_lines([knot], lines))
        assert worst_error(found, moments_of_lines([knot], lines), variance=1.0) < PROMISE


@pytest.mark.parametrize("variance", [1e-12, 1e-2, 1.0, 1e4])
@pytest.mark.parametrize("place", [0.01, 0.5, 1.0, 3.1])
def test_hardtanh_agrees_with_its_closed_form_wherever_it_bends(place, variance):
    bend = place * math.sqrt(variance)
    lines = [(-bend, 0.0), (0.0, 1.0), (bend, 0.0)]
    expected = moments_of_lines([-bend, bend], lines, variance=variance)
    found = powers(lambda x: np.clip(x, -bend, bend), variance=variance)
    assert worst_error(found, expected, variance=variance) < PROMISE


def test_a_jump_adds_nothing_to_the_backward_power():
    assert powers(np.sign).backward == 0
    assert powers(lambda x: x + np.sign(x - 0.3)).backward == pytest.approx(1, rel=PROMISE)


def test_many_jumps_are_found():
    # The power of floor(z), summed over its steps.
    expected = sum(
        n * n * (math.erf((n + 1) / math.sqrt(2)) - math.erf(n / math.sqrt(2))) / 2
        for n in range(-12, 12)
    )
    found = powers(np.floor)
    assert found.forward == pytest.approx(expected, rel=PROMISE)
    assert (found.mean, found.backward) == (-0.5, 0)


@pytest.mark.parametrize("middle", [0.0, 0.1, 0.25, 1.37, -2.6])
def test_a_narrow_bump_between_two_points_is_not_missed(middle):
    half = 0.02
    found = powers(lambda x: np.where(np.abs(x - middle) < half, 1.0, 0.0))
    edges = (middle + half, middle - half)
    high, low = (math.erf(edge / math.sqrt(2)) / 2 for edge in edges)
    assert found.forward == pytest.approx(high - low, rel=PROMISE)


def test_gauss_hermite_of_180_points_is_wrong_where_powers_are_right():
    points, weights = np.polynomial.hermite_e.hermegauss(180)
    for name, error in (("softsign", 1e-5), ("hardtanh", 1e-4), ("elu", 1e-6)):
        function = resolve(name).function
        crude = float((weights * function(points) ** 2).sum() / weights.sum())
        assert abs(powers(function).forward - crude) > error, name


def test_a_power_that_is_hidden_far_out_is_found():
    function = lambda x: np.maximum(x - 16, 0)
    with mp.workdps(60):
        tail = mp.quad(lambda z: (z - 16) ** 2 * mp.npdf(z), [16, 17, 18, 22, 30])
    assert powers(function).forward == pytest.approx(float(tail), rel=1e-9)


# What is asked of a function, and what is remembered of it


def test_two_functions_that_agree_almost_everywhere_are_told_apart():
    powers(lambda x: np.where(np.abs(x) > 0.5, x, 0.0))
    other = powers(lambda x: np.where(np.abs(x) > 0.5001, x, 0.0))
    assert other == powers(resolve("hardshrink(0.5001)").function)
    assert other != powers(resolve("hardshrink(0.5)").function)


def test_two_functions_that_agree_near_zero_are_told_apart_far_out():
    narrow, wide = (powers(lambda x, b=b: np.clip(x, -b, b), variance=1e4) for b in (50, 60))
    assert wide.forward > 1.2 * narrow.forward


def test_two_functions_that_are_zero_near_zero_are_told_apart_about_a_mean():
    assert powers(lambda x: np.maximum(x - 900, 0), mean=1000.0).forward > 1e4 - 1
    assert powers(lambda x: np.maximum(x - 1000, 0), mean=1000.0).forward == 0.5


def test_what_is_remembered_is_what_would_be_computed():
    from xavier.theory import _one_variable

    function = resolve("hardtanh").function
    fresh = powers(function, variance=0.777)
    assert powers(lambda x: np.clip(x, -1, 1), variance=0.777) is fresh
    _one_variable._known.clear()
    assert powers(function, variance=0.777) == fresh


def test_memory_is_bounded():
    from xavier.theory import _one_variable

    for step in range(_one_variable._MOST_KNOWN + 5):
        powers(lambda x: x, variance=1.0 + step)
    assert len(_one_variable._known) <= _one_variable._MOST_KNOWN


def test_a_function_may_work_in_place():
    for _ in range(2):
        assert powers(lambda x: np.maximum(x, 0, out=x)).forward == 0.5
    assert powers(resolve("tanh").function).forward == pytest.approx(0.394294, abs=1e-6)


def test_a_function_may_return_a_list_or_objects_or_truth_values():
    assert powers(lambda x: [math.tanh(each) for each in x]) == powers(np.tanh)
    assert powers(np.frompyfunc(lambda x: max(x, 0.0), 1, 1)).forward == 0.5
    assert powers(lambda x: x > 0).forward == 0.5


def test_a_call_raises_no_warning_and_changes_no_random_state():
    before = np.random.get_state()[1].copy()
    powers(lambda x: np.where(x > 0, x, np.exp(x) - 1 + 0 * np.sqrt(np.abs(1 / (x - 99)))))
    assert (np.random.get_state()[1] == before).all()


# Variance zero and nearly zero


@pytest.mark.parametrize("mean", [0.0, 0.7, -3.0, 1e3])
def test_variance_zero_is_the_limit_from_above(mean):
    found = powers(np.arctan, mean=mean, variance=0.0)
    steepness = 1 / (1 + mean**2)
    assert found.mean == pytest.approx(math.atan(mean), rel=1e-11, abs=1e-15)
    assert found.backward == pytest.approx(steepness**2, rel=1e-7)
    bend = -2 * mean * steepness**2
    assert found.slope == pytest.approx(steepness**2 + math.atan(mean) * bend, rel=1e-5, abs=1e-9)


def test_at_variance_zero_a_kink_counts_from_both_sides():
    found = powers(resolve("relu").function, variance=0.0)
    assert (found.mean, found.forward, found.backward, found.slope) == (0, 0, 0.5, 0.5)
    assert powers(np.sign, variance=0.0).variance == 1
    assert powers(lambda x: 1 + np.abs(x), variance=0.0).slope == math.inf
    assert powers(lambda x: 1 - np.abs(x), variance=0.0).slope == -math.inf


def test_at_variance_zero_a_function_of_positive_numbers_needs_no_others():
    assert powers(np.log, mean=0.3, variance=0.0).mean == pytest.approx(math.log(0.3))


def test_a_variance_that_is_nothing_beside_the_mean_counts_as_zero():
    assert powers(np.tanh, mean=1.0, variance=1e-30) == powers(np.tanh, mean=1.0, variance=0.0)


# Two variables


def two(found: Powers2) -> Moments:
    return Moments(found.mean, found.forward, sum(found.backward), sum(found.slope))


@pytest.mark.parametrize("variances", [(1.0, 1.0), (0.2, 3.0)])
@pytest.mark.parametrize("name", ["relu", "silu", "sigmoid", "gelu", "hardtanh"])
def test_a_gate_has_the_products_of_its_parts_powers(name, variances):
    bend = resolve(name).function
    own = powers(bend, variance=variances[0])
    found = powers2(lambda a, b: bend(a) * b, variances=variances)
    assert found.mean == 0
    assert found.forward == pytest.approx(own.forward * variances[1], rel=PROMISE)
    assert found.backward[0] == pytest.approx(own.backward * variances[1], rel=PROMISE)
    assert found.backward[1] == pytest.approx(own.forward, rel=PROMISE)
    assert found.slope == pytest.approx((own.slope * variances[1], own.forward), rel=PROMISE)


@pytest.mark.parametrize("name", ["tanh", "silu", "sine"])
def test_a_smooth_function_of_a_sum_has_the_powers_at_the_summed_variance(name):
    function = resolve(name).function
    one = powers(function, variance=1.7, mean=0.3)
    found = powers2(lambda a, b: function(a + b), variances=(1.0, 0.7), means=(0.1, 0.2))
    assert (found.mean, found.forward) == pytest.approx((one.mean, one.forward), rel=1e-6)
    assert found.backward == pytest.approx((one.backward, one.backward), rel=1e-6)
    assert found.slope == pytest.approx((one.slope, one.slope), rel=1e-6)


def test_kinks_along_the_axes_are_resolved():
    found = powers2(lambda a, b: np.maximum(a, 0) + np.maximum(b - 0.3, 0))
    own, other = powers(resolve("relu").function), powers(lambda x: np.maximum(x - 0.3, 0))
    forward = own.forward + other.forward + 2 * own.mean * other.mean
    assert found.forward == pytest.approx(forward, rel=1e-6)
    assert found.backward == pytest.approx((own.backward, other.backward), rel=1e-6)


def test_a_kink_or_jump_along_a_slanted_line_costs_two_thousandths_at_most():
    larger = powers2(np.maximum)  # of two normal variables: E = 1 / sqrt(pi), E of the square = 1
    assert two(larger) == pytest.approx((1 / math.sqrt(math.pi), 1, 1, 1), rel=2e-3)
    masked = powers2(lambda a, b: np.where(a > b, a, 0.0))
    assert (masked.forward, *masked.backward) == pytest.approx((0.5, 0.5, 0), rel=2e-3, abs=1e-9)


def test_a_variable_that_does_not_vary_is_a_number():
    found = powers2(lambda a, b: np.tanh(a) + b, variances=(0.0, 1.0), means=(1.0, 0.0))
    assert found.forward == pytest.approx(1 + math.tanh(1) ** 2, rel=1e-6)
    assert found.backward == pytest.approx((1 / math.cosh(1) ** 4, 1), rel=1e-6)
    gated = powers2(lambda a, b: np.tanh(a) * b, variances=(0.0, 1.0), means=(1.0, 0.0))
    assert gated.forward == pytest.approx(math.tanh(1) ** 2, rel=PROMISE)


def test_nothing_and_a_constant_are_functions_of_two_variables_too():
    assert two(powers2(lambda a, b: 0 * a)) == (0, 0, 0, 0)
    assert two(powers2(lambda a, b: 2.0)) == (2, 4, 0, 0)


def test_a_power_that_grows_with_both_variables_is_followed_as_far_as_it_goes():
    found = powers2(lambda a, b: np.exp(a * b / 4) + 0 * b)
    assert found.forward == pytest.approx(1 / math.sqrt(1 - 0.25), rel=1e-6)


# What is refused


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (np.log, r"the function is not a number at -13\.99"),
        (np.sqrt, r"the function is not a number at -13\.99"),
        (lambda x: np.exp(x**2), r"power is infinite or too large under N\(0, 1\)\nHint: does it"),
        (lambda x: np.exp(x**2 / 4), r"power is infinite or too large under N\(0, 1\)"),
        (lambda x: 1e200 * x, r"power is infinite or too large under N\(0, 1\)"),
        (lambda x: 1 / x, r"function's power is infinite, or too steep to tell, near -?0\n"),
        (
            lambda x: np.maximum(x, 0).astype(np.float32),
            r"the function is good to \de-0[78] of its size, expected 1e-11\nHint: is it computed",
        ),
        (
            lambda x: np.round(x, 2),
            r"too rough: 20000 panels do not resolve it\nHint: does it jump a thousand times",
        ),
        (lambda x: np.random.default_rng().normal(size=x.shape), "random, or not elementwise"),
        (lambda x: x * (np.random.default_rng().random(x.shape) > 0.5), "random, or not element"),
        (lambda x: np.exp(x) / np.exp(x).sum(), r"not elementwise: at 13\.99\S* it is \S+, and"),
        (lambda x: (x - x.mean()) / x.std(), "random, or not elementwise"),
        (lambda x: x[:3], r"returns the shape \(3,\) for an argument of shape \(896,\), expected"),
        (lambda x: x[:, None], r"returns the shape \(896, 1\) for an argument of shape"),
        (lambda x: None, "the function returns NoneType, expected real numbers"),
        (lambda x: "x", "the function returns str, expected real numbers"),
        (np.emath.sqrt, "the function returns complex128, expected real numbers"),
        (lambda x: [[1.0], [2.0, 3.0]], "the function returns list, expected real numbers"),
    ],
)
def test_what_has_no_powers_is_refused_by_name(function, message):
    with pytest.raises(ActivationError, match=message):
        powers(function)


def test_an_infinite_power_can_be_told_from_other_faults():
    with pytest.raises(InfinitePowerError):
        powers(lambda x: np.exp(x**2))
    with pytest.raises(InfinitePowerError, match=r"near 1\b"):
        powers(lambda x: 1 / (x - 1))


# E|z|^p = 2^(p/2) Gamma((p + 1) / 2) / sqrt(pi), which is infinite for p <= -1.
@pytest.mark.parametrize("exponent", [0.3, 1 / 3, 0.45, 0.5, 0.6, 2 / 3, 0.9])
@pytest.mark.parametrize("odd", [False, True])
def test_a_root_is_as_steep_at_zero_as_its_exponent_says(exponent, odd):
    found = powers(lambda x: (np.sign(x) if odd else 1.0) * np.abs(x) ** exponent)
    absolute = lambda p: 2 ** (p / 2) * math.gamma((p + 1) / 2) / math.sqrt(math.pi)
    assert found.forward == pytest.approx(absolute(2 * exponent), rel=1e-10)
    assert found.slope == pytest.approx(exponent * absolute(2 * exponent), rel=1e-9)
    if exponent <= 0.5:
        assert found.backward == math.inf
    else:
        rest = exponent**2 * absolute(2 * exponent - 2)
        assert found.backward == pytest.approx(rest, rel=1e-4)  # its last part is in no panel


def test_a_logarithm_and_a_root_elsewhere_have_infinite_slopes():
    assert powers(lambda x: np.log(np.abs(x))).backward == math.inf
    assert powers(lambda x: np.sqrt(np.abs(x - 1))).backward == math.inf


def test_what_needs_the_slope_refuses_an_infinite_one():
    with pytest.raises(InfinitePowerError, match="derivative's power is infinite"):
        powers(np.cbrt, variance=0.0)


def test_an_error_of_the_function_itself_is_its_own():
    with pytest.raises(ZeroDivisionError):
        powers(lambda x: 1 / 0)


@pytest.mark.parametrize(
    "numbers", [(-1.0, 0.0), (math.nan, 0.0), (math.inf, 0.0), (1.0, -math.inf)]
)
def test_an_impossible_law_of_the_argument_is_refused(numbers):
    variance, mean = numbers
    said = f"the argument has mean {mean} and variance {variance}, expected finite numbers"
    with pytest.raises(ActivationError, match=said):
        powers(np.tanh, variance=variance, mean=mean)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda a, b: np.sqrt(a) * b, r"the function is not a number at -5\.12\d*, -5\.12"),
        (lambda a, b: np.full_like(a, np.nan), "the function is not a number at"),
        (lambda a, b: np.exp(a * b), "the power of the function of two variables is infinite"),
        (lambda a, b: np.full_like(a, np.inf), "the power of the function of two variables is"),
        (lambda a, b: a / b, "power is infinite, or too steep to tell"),
        (lambda a, b: np.floor(8 * a) + np.floor(8 * b), "has too many kinks, expected forty"),
        (lambda a, b: np.random.default_rng().random(a.shape), "random, or not elementwise"),
    ],
)
def test_what_has_no_powers_of_two_variables_is_refused(function, message):
    with pytest.raises(ActivationError, match=message):
        powers2(function)


@pytest.mark.parametrize("variances", [(-1.0, 1.0), (1.0, math.nan)])
def test_impossible_laws_of_two_arguments_are_refused(variances):
    with pytest.raises(ActivationError, match=r"the arguments have means .* and variances .*, exp"):
        powers2(lambda a, b: a * b, variances=variances)


@given(st.floats(-3, 3), st.floats(0.05, 3))
@example(0.0, 1.0)
@settings(max_examples=20)
def test_a_bent_line_that_is_five_percent_steeper_is_told_apart(knot, steepness):
    lines = [(0.0, 0.0), (-steepness * knot, steepness)]
    steeper = [(0.0, 0.0), (-1.05 * steepness * knot, 1.05 * steepness)]
    found = powers(made_of_lines([knot], lines))
    assert worst_error(found, moments_of_lines([knot], lines), variance=1.0) < PROMISE
    assert worst_error(found, moments_of_lines([knot], steeper), variance=1.0) > 0.01


@pytest.mark.parametrize(
    ("function", "mean", "second", "error"),
    [
        (lambda a, b: a * np.tanh(b), 0.0, 0.39429449, 1e-8),
        (lambda a, b: np.sin(a + b), 0.0, (1 - math.exp(-4)) / 2, 1e-10),
        (np.hypot, math.sqrt(math.pi / 2), 2.0, 1e-4),
        (np.maximum, 1 / math.sqrt(math.pi), 1.0, 2e-4),
        (lambda a, b: (a > b) * 1.0, 0.5, 0.5, 1e-2),
    ],
    ids=["product", "smooth", "kinked", "slanted", "jump"],
)
def test_moments_alone_are_found_on_an_even_grid(function, mean, second, error):
    found = moments2(function)
    assert found == pytest.approx((mean, second), rel=error, abs=error)


def test_a_pole_on_the_way_is_no_moment():
    with pytest.raises(InfinitePowerError):
        moments2(lambda a, b: a + 1 / b)
