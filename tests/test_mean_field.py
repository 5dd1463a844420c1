"""Mean-field theory: published fixed points and depth scales, closed forms, and simulations."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaussian_moments import moments_of_lines
from xavier._errors import ActivationError, UnknownNameError
from xavier.theory import (
    CriticalPoint,
    chi_1,
    correlation_fixed_point,
    correlation_map,
    critical_point,
    depth_scales,
    edge_of_chaos,
    gain,
    length_fixed_point,
    length_map,
    powers,
    resolve,
)
from xavier.theory._correlations import correlated

ROOT_005 = 0.05**0.5

# Critical tanh by q: sigma_w**2 and sigma_b**2, with the digits that were published.
CRITICAL_TANH = [
    (1 / 64, 1.03055751, 4.651e-6, 5e-10),
    (0.025, 1.04828157, 1.812e-5, 5e-9),
    (0.05, 1.09362731, 1.283e-4, 5e-8),
    (0.1, 1.17756910, 8.323e-4, 5e-8),
    (0.25, 1.39396163, 8.125e-3, 5e-7),
    (0.5, 1.68797512, 3.804e-2, 5e-6),
    (1.0, 2.15330265, 0.1510, 5e-5),
    (2.0, 2.86116240, 0.5123, 5e-5),
    (3.0, 3.42445663, 0.9815, 5e-5),
]
# The same given sigma_b**2: sigma_w**2 and q.
EDGE_OF_TANH = [
    (0.0025, 1.260094, 0.153692),
    (0.01, 1.424205, 0.273301),
    (0.05, 1.760955, 0.570048),
    (0.1, 1.986073, 0.805799),
    (0.2, 2.285152, 1.164496),
    (0.3, 2.505127, 1.461169),
    (1.0, 3.443211, 3.036396),
]
# At q = 0.5, 1 and 1.5.
CRITICAL = {
    "erf": ((1.36035, 0.04655), (1.75620, 0.18414), (2.07797, 0.37812)),
    "softsign": ((3.36656, 0.06780), (4.39230, 0.19615), (5.18985, 0.35697)),
    "arctan": ((1.61014, 0.02621), (2.00000, 0.10060), (2.31520, 0.20849)),
    "hardtanh": ((1.18666, 0.05964), (1.46479, 0.24408), (1.70711, 0.48820)),
    "sine": ((1.46212, 0.03788), (1.76159, 0.23841), (1.90515, 0.59485)),
    "relu": ((2, 0), (2, 0), (2, 0)),
    "leaky_relu(0.1)": ((1.98020, 0), (1.98020, 0), (1.98020, 0)),
    "elu": ((1.40097, 0.01232), (1.49678, 0.03466), (1.55359, 0.06058)),
    "selu": ((0.82454, 0.02241), (0.93321, 0.06679), (1.00396, 0.12101)),
    "gelu": ((2.45551, 0.03454), (2.19370, 0.06719), (2.09314, 0.09369)),
    "silu": ((2.98767, 0.02623), (2.63517, 0.06247), (2.45351, 0.09662)),
    "mish": ((2.22660, 0.02442), (2.08732, 0.05582), (2.02664, 0.08511)),
}
# tanh at sigma_b**2 = 0.05 by sigma_w**2: q, c, chi_1, xi_q, xi_c and xi_gradient.
DEPTH_SCALES = [
    (1.0, 0.193593, 1, 0.759032, 1.748, 3.627, 3.627),
    (1.2, 0.269902, 1, 0.845166, 1.809, 5.945, 5.945),
    (1.4, 0.364884, 1, 0.911033, 1.740, 10.732, 10.732),
    (1.5, 0.418037, 1, 0.938636, 1.683, 15.791, 15.791),
    (1.6, 0.474252, 1, 0.963687, 1.621, 27.035, 27.035),
    (1.7, 0.533076, 1, 0.986741, 1.558, 74.918, 74.918),
    (1.76, 0.569463, 1, 0.999796, 1.522, 4911.7, 4911.7),
    (1.8, 0.594132, 0.950411, 1.008223, 1.498, 125.78, -122.1),
    (2.0, 0.721762, 0.744082, 1.047666, 1.388, 25.213, -21.48),
    (2.5, 1.063958, 0.446804, 1.133516, 1.180, 11.796, -7.979),
    (3.0, 1.428008, 0.299318, 1.208934, 1.041, 9.051, -5.270),
    (4.0, 2.195496, 0.165064, 1.342369, 0.873, 6.980, -3.396),
]


# The length map


def test_the_length_map_is_sigma_w_squared_times_the_power_and_sigma_b_squared():
    assert length_map("relu", 3.0, sigma_w=1.5, sigma_b=0.5) == pytest.approx(2.25 * 1.5 + 0.25)
    assert length_map("tanh", 1.0, sigma_w=2.0) == pytest.approx(4 * 0.3942944903)
    assert length_map("identity", 1e-13, sigma_w=1.0) == pytest.approx(1e-13, rel=1e-12)
    assert length_map("tanh", 0.0, sigma_w=1.0, sigma_b=0.3) == pytest.approx(0.09, abs=1e-30)
    assert length_map("sigmoid", 0.0, sigma_w=2.0) == pytest.approx(1, rel=1e-12)


def test_chi_1_at_length_zero_is_the_derivative_squared():
    assert chi_1("tanh", q=0.0, sigma_w=1.5) == pytest.approx(2.25, rel=1e-12)
    assert chi_1("relu", q=0.0, sigma_w=1.0) == pytest.approx(0.5, rel=1e-12)
    # A sigmoid is constant to rounding at this length, yet its slope is one quarter.
    assert chi_1("sigmoid", q=1e-20, sigma_w=1.0) == pytest.approx(1 / 16, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "sigma_w", "sigma_b", "expected"),
    [
        ("tanh", 5 / 3, 0.0, 1.178480),
        ("selu", 0.75, 0.0, 0.0230338),
        ("sine", 2**0.5, 0.0, 0.796812),
        ("relu", 1.0, 1.0, 2.0),
        ("relu", 1.9999**0.5, 1e3**0.5, 2e7),
        ("identity", 0.5, 1e-4, 1e-8 / 0.75),
        ("tanh", 0.0, 0.4, 0.16),
        ("sigmoid", 0.0, 0.0, 0.0),
        ("tanh", 1.0, 0.0, 0.0),
        ("tanh", 0.5, 0.0, 0.0),
        ("relu", 1.4, 0.0, 0.0),
        ("relu", 1.5, 0.0, math.inf),
        ("gelu", 1.6, 0.0, math.inf),
        ("gelu", 1.5, 0.0, 0.0),
        ("exp", 1.5, 0.0, math.inf),
        ("exp", 0.2, 0.0, 0.0436488604),
        ("cosine", 3.0, 0.0, 4.5 * (1 + math.exp(-2 * 4.500554728329902))),
    ],
)
def test_the_length_goes_from_one_to_its_fixed_point(name, sigma_w, sigma_b, expected):
    found = length_fixed_point(name, sigma_w=sigma_w, sigma_b=sigma_b)
    assert found == pytest.approx(expected, rel=2e-6)
    if 0 < found < math.inf:
        there = length_map(name, found, sigma_w=sigma_w, sigma_b=sigma_b)
        assert there == pytest.approx(found, rel=1e-9)


@pytest.mark.parametrize("name", ["relu", "tanh", "gelu", "silu", "mish", "swish", "squared_relu"])
def test_at_its_own_gain_an_activation_stays_at_one_stable_or_not(name):
    assert length_fixed_point(name, sigma_w=gain(name)) == 1
    assert length_fixed_point(name, sigma_w=1.05 * gain(name)) != pytest.approx(1, rel=0.01)


def test_a_tanh_just_beyond_one_has_a_small_fixed_point():
    # Small q: E tanh**2 is q - 2 q**2.
    found = length_fixed_point("tanh", sigma_w=(1 + 1e-6) ** 0.5)
    assert found == pytest.approx(0.5e-6, rel=1e-4)


def test_a_length_that_shrinks_below_the_functions_own_rounding_counts_as_zero():
    assert length_fixed_point(lambda x: x - np.tanh(x), sigma_w=1.5) == 0


def test_a_tanh_of_gain_one_loses_its_signal_as_one_over_twice_the_depth():
    q, seen = 1.0, {}
    for layer in range(1, 1001):
        q = length_map("tanh", q, sigma_w=1.0)
        seen[layer] = q
    # From q = 1 the small-q solution 1 / (2 l) is entered late by a few layers.
    assert seen[100] == pytest.approx(0.005069, rel=0.05)
    assert seen[1000] == pytest.approx(0.000501, rel=0.01)


# Points of the edge of chaos


@pytest.mark.parametrize(("q", "weights", "biases", "digits"), CRITICAL_TANH)
def test_the_critical_line_of_tanh_is_the_published_one(q, weights, biases, digits):
    point = critical_point("tanh", q=q)
    assert point.sigma_w**2 == pytest.approx(weights, abs=1e-8)
    assert point.sigma_b**2 == pytest.approx(biases, abs=digits)
    assert chi_1("tanh", q=q, sigma_w=point.sigma_w) == pytest.approx(1, rel=1e-12)
    there = length_map("tanh", q, sigma_w=point.sigma_w, sigma_b=point.sigma_b)
    assert there == pytest.approx(q, rel=1e-12)


@pytest.mark.parametrize(("biases", "weights", "q"), EDGE_OF_TANH)
def test_the_edge_of_tanh_given_biases_is_the_published_one(biases, weights, q):
    point = edge_of_chaos("tanh", sigma_b=biases**0.5)
    assert point.sigma_w**2 == pytest.approx(weights, rel=1e-6)
    assert point.q == pytest.approx(q, rel=3e-6)
    assert point.sigma_b**2 == pytest.approx(biases, rel=1e-9)


@pytest.mark.parametrize(
    ("weights", "biases", "q"),
    [(1.05, 2.010521e-5, 0.025921), (2.0, 0.1037798, 0.821354), (1.0, 0.0, 0.0)],
)
def test_the_edge_of_tanh_given_weights_is_the_published_one(weights, biases, q):
    point = edge_of_chaos("tanh", sigma_w=weights**0.5)
    assert point.sigma_b**2 == pytest.approx(biases, rel=1e-6)
    assert point.q == pytest.approx(q, abs=5e-7)
    assert point.sigma_w**2 == pytest.approx(weights, rel=1e-9)


@pytest.mark.parametrize("q", [1e-3, 3e-3])
def test_the_critical_line_of_tanh_starts_as_its_series_does(q):
    point = critical_point("tanh", q=q)
    assert point.sigma_w**2 == pytest.approx(1 + 2 * q, abs=3 * q**2)
    assert point.sigma_b**2 == pytest.approx(4 / 3 * q**3, rel=10 * q)


@pytest.mark.parametrize("name", CRITICAL)
def test_critical_points_of_other_activations_are_the_published_ones(name):
    for q, (weights, biases) in zip((0.5, 1.0, 1.5), CRITICAL[name], strict=True):
        point = critical_point(name, q=q)
        assert point.sigma_w**2 == pytest.approx(weights, abs=6e-6)
        assert point.sigma_b**2 == pytest.approx(biases, abs=6e-6)


@pytest.mark.parametrize(("name", "variance"), [("sigmoid", "-5.54"), ("softplus", "-2.14")])
def test_a_sigmoid_and_a_softplus_have_no_critical_point_at_length_one(name, variance):
    said = rf"{name} has no critical point at q = 1: the biases would need the variance {variance}"
    with pytest.raises(
        ActivationError, match=said + r"\d+\nHint: no variance of the weights keeps"
    ):
        critical_point(name, q=1.0)


@pytest.mark.parametrize("q", [0.0, 0.01, 5.0, 45.6])
def test_a_sigmoid_has_no_critical_point_below_sixfold_saturation(q):
    with pytest.raises(ActivationError, match="sigmoid has no critical point at q"):
        critical_point("sigmoid", q=q)


def test_a_sigmoid_of_very_large_weights_is_critical_after_all():
    # Not in the literature's tables, which end at q = 1.5; the step that a steep sigmoid is
    # leaves room for biases from q = 45.62 on.
    point = critical_point("sigmoid", q=46.0)
    assert point.sigma_w == pytest.approx(10.17, abs=0.01)
    scales = depth_scales("sigmoid", sigma_w=point.sigma_w, sigma_b=point.sigma_b)
    assert (scales.q, scales.chi_1) == (pytest.approx(46), pytest.approx(1))


@pytest.mark.parametrize(
    ("name", "point"),
    [
        ("tanh", CriticalPoint(0.0, 1.0, 0.0)),
        ("gelu", CriticalPoint(0.0, 2.0, 0.0)),
        ("elu", CriticalPoint(0.0, 1.0, 0.0)),
        ("relu", CriticalPoint(1.0, 2**0.5, 0.0)),
        ("identity", CriticalPoint(1.0, 1.0, 0.0)),
        ("abs", CriticalPoint(1.0, 1.0, 0.0)),
    ],
)
def test_without_biases_only_length_zero_is_critical_but_for_the_relus(name, point):
    found = edge_of_chaos(name, sigma_b=0.0)
    assert found.to_dict() == pytest.approx(point.to_dict(), rel=1e-11)
    assert critical_point(name, q=0.0).sigma_w == pytest.approx(point.sigma_w, rel=1e-11)


def test_an_edge_is_found_for_a_function_that_its_own_rounding_hides_near_zero():
    shifted = lambda x: np.log1p(np.exp(x)) - math.log(2)
    point = edge_of_chaos(shifted, sigma_b=0.1)
    assert chi_1(shifted, q=point.q, sigma_w=point.sigma_w) == pytest.approx(1)
    there = length_map(shifted, point.q, sigma_w=point.sigma_w, sigma_b=0.1)
    assert there == pytest.approx(point.q, rel=1e-9)


@given(st.floats(1e-2, 30))
@settings(max_examples=5)
def test_the_edge_given_the_weights_or_biases_of_a_critical_point_is_that_point(q):
    for name in ("tanh", "softsign"):
        point = critical_point(name, q=q)
        assert edge_of_chaos(name, sigma_w=point.sigma_w).q == pytest.approx(q, rel=1e-5)
        assert edge_of_chaos(name, sigma_b=point.sigma_b).q == pytest.approx(q, rel=1e-5)


# Correlations


def relu_map(c):
    """The correlation of a ReLU network at He's gain, in closed form (Cho and Saul, 2009)."""
    return (math.sqrt((1 - c) * (1 + c)) + c * (math.pi - math.acos(c))) / math.pi


@pytest.mark.parametrize(
    "c",
    [
        *(-1.0, -1 + 1e-9, -0.99, -0.5, -1e-3, 0.0, 1e-9, 0.3, 0.9, 0.999),
        *(1 - 1e-6, 1 - 1e-9, 1 - 1e-12, 1.0),
    ],
)
@pytest.mark.parametrize("q", [1.0, 1e-6, 300.0])
def test_relus_correlation_map_is_its_closed_form(c, q):
    assert correlation_map("relu", c, q=q, sigma_w=2**0.5) == pytest.approx(relu_map(c), abs=1e-13)
    # The derivative is the angle in which both are positive.
    found = 2 * correlated(resolve("relu").function, q, c).backward
    assert found == pytest.approx(1 - math.acos(c) / math.pi, abs=1e-10)


def test_relus_correlations_near_one_leave_it_as_the_power_three_halves():
    for gap in (1e-4, 1e-6, 1e-8):
        moved = 1 - correlation_map("relu", 1 - gap, q=1.0, sigma_w=2**0.5)
        lost = gap - moved
        expected = 2 * math.sqrt(2) / (3 * math.pi) * gap**1.5
        assert lost == pytest.approx(expected, rel=gap**0.5, abs=1e-15)


def test_relus_inputs_become_alike_as_nine_pi_squared_over_twice_the_depth_squared():
    published = {1: 0.318310, 2: 0.493731, 3: 0.604826, 10: 0.871536, 100: 0.996423}
    c = exact = 0.0
    for layer in range(1, 101):
        c, exact = correlation_map("relu", c, q=1.0, sigma_w=2**0.5), relu_map(exact)
        assert c == pytest.approx(exact, abs=1e-12)
        if layer in published:
            assert c == pytest.approx(published[layer], abs=5e-7)
    for layer in range(101, 100_001):
        exact = relu_map(exact)
        if layer == 1000:
            assert (1 - exact) * layer**2 == pytest.approx(43.13, abs=0.005)
            assert relu_map(exact) == pytest.approx(
                correlation_map("relu", exact, q=1.0, sigma_w=2**0.5), abs=1e-14
            )
    limit = 9 * math.pi**2 / 2
    assert (1 - exact) * 100_000**2 == pytest.approx(limit, rel=1e-2)
    assert limit == pytest.approx(44.4132, abs=1e-4)


@pytest.mark.parametrize("c", [-1.0, -0.99, -0.3, 0.0, 0.4, 0.99, 1 - 1e-9, 1.0])
@pytest.mark.parametrize("q", [0.01, 1.0, 60.0])
def test_erfs_correlations_are_an_arcsine(c, q):
    found = correlated(resolve("erf").function, q, c)
    inner = 2 * q * c / (1 + 2 * q)
    assert found.forward == pytest.approx(2 / math.pi * math.asin(inner), abs=1e-12)
    slope = 4 / math.pi / (1 + 2 * q) / math.sqrt(1 - inner**2)
    assert found.backward == pytest.approx(slope, rel=1e-9)


@pytest.mark.parametrize("frequency", [1.0, 8.0])
@pytest.mark.parametrize("c", [-0.999, -0.2, 0.0, 0.5, 0.999, 1 - 1e-9])
def test_sines_correlations_are_exponentials(frequency, c):
    found = correlated(lambda x: np.sin(frequency * x), 1.0, c)
    square = frequency**2
    alike, unlike = math.exp(-square * (1 - c)), math.exp(-square * (1 + c))
    assert found.forward == pytest.approx((alike - unlike) / 2, abs=1e-13)
    assert found.backward == pytest.approx(square * (alike + unlike) / 2, abs=1e-12 * square)


@pytest.mark.parametrize("q", [1.0, 9.0])
@pytest.mark.parametrize("c", [-0.9, 0.0, 0.99, 1.0])
def test_exps_correlations_are_found_however_far_out_they_lie(q, c):
    found = correlated(np.exp, q, c)
    expected = math.exp(q * (1 + c))
    assert (found.forward, found.backward) == pytest.approx((expected, expected), rel=1e-10)


@pytest.mark.parametrize("c", [-0.99, -0.3, 0.0, 0.5, 0.999, 1 - 1e-9])
def test_a_jump_counts_in_the_correlations_slope(c):
    found = correlated(np.sign, 2.0, c)
    assert found.forward == pytest.approx(2 / math.pi * math.asin(c), abs=1e-12)
    assert found.backward == pytest.approx(1 / math.pi / math.sqrt((1 - c) * (1 + c)), rel=1e-9)


@pytest.mark.parametrize("name", ["tanh", "gelu", "elu", "hardtanh", "hardshrink(0.4)", "softsign"])
def test_the_slope_of_the_correlation_map_is_the_product_of_derivatives(name):
    function, step = resolve(name).function, 1e-5
    for c in (-0.6, 0.1, 0.8):
        more, less = (correlated(function, 0.8, c + each).forward for each in (step, -step))
        slope = correlated(function, 0.8, c).backward
        assert slope == pytest.approx((more - less) / (2 * step) / 0.8, rel=1e-7)


@pytest.mark.parametrize("c", [0.0, 1.0, -1.0])
@pytest.mark.parametrize("name", ["tanh", "silu", "hardswish", "elu"])
def test_correlations_of_zero_and_one_are_the_moments_of_one_variable(name, c):
    function = resolve(name).function
    own = powers(function, variance=0.7)
    found = correlated(function, 0.7, c)
    if c == 0:
        assert found.forward == pytest.approx(own.mean**2, rel=1e-10, abs=1e-15)
    elif c == 1:
        assert (found.forward, found.backward) == pytest.approx(
            (own.forward, own.backward), rel=1e-10
        )
    else:
        mirrored = powers(lambda x: function(x) + function(-x), variance=0.7)
        expected = mirrored.forward / 2 - own.forward
        assert found.forward == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=3, unique=True), st.floats(-0.999, 0.9999))
@settings(max_examples=15)
def test_kinks_anywhere_leave_correlations_between_those_of_zero_and_one(knots, c):
    knots = sorted(knots)
    function = lambda x: sum(np.abs(x - knot) for knot in knots)
    lines = [
        (sum(k if i >= place else -k for i, k in enumerate(knots)), 2.0 * place - len(knots))
        for place in range(len(knots) + 1)
    ]
    expected = moments_of_lines(knots, lines)
    assert correlated(function, 1.0, 1.0).forward == pytest.approx(expected.forward, rel=1e-10)
    assert correlated(function, 1.0, 0.0).forward == pytest.approx(expected.mean**2, rel=1e-10)
    found = correlated(function, 1.0, c).forward
    assert abs(found - expected.mean**2) <= (expected.forward - expected.mean**2) * abs(c) + 1e-9


# Fixed points of correlations, and depth scales


@pytest.mark.parametrize("row", DEPTH_SCALES, ids=lambda row: str(row[0]))
def test_tanhs_fixed_points_and_depth_scales_are_the_published_ones(row):
    weights, q, c, chi, xi_q, xi_c, xi_gradient = row
    found = depth_scales("tanh", sigma_w=weights**0.5, sigma_b=ROOT_005)
    # The published fixed points are good to three in the last digit.
    assert found.q == pytest.approx(q, abs=3e-6)
    assert found.c == pytest.approx(c, abs=3e-6)
    assert found.chi_1 == pytest.approx(chi, abs=4e-5)
    assert found.xi_q == pytest.approx(xi_q, abs=6e-4)
    assert found.xi_c == pytest.approx(xi_c, rel=2e-4)
    assert found.xi_gradient == pytest.approx(xi_gradient, rel=5e-4)
    off = depth_scales("tanh", sigma_w=1.05 * weights**0.5, sigma_b=ROOT_005)
    assert off.xi_c != pytest.approx(xi_c, rel=0.05)


def test_the_pages_table_of_depth_scales_is_what_the_code_computes():
    page = (Path(__file__).parent.parent / "docs" / "theory.md").read_text()
    lines = page.split("| σ_w² | q* |")[1].split("\n\n")[0].splitlines()[2:]
    assert len(lines) == 5
    for line in lines:
        cells = [each.strip().replace("∞", "inf") for each in line.strip("|").split("|")]
        weights, *written = map(float, cells)
        found = depth_scales("tanh", sigma_w=weights**0.5, sigma_b=ROOT_005)
        told = [found.q, found.c, found.chi_1, found.xi_q, found.xi_c, 6 * found.xi_c]
        if written[2] == 1:  # the edge itself, of which the page has seven digits
            told[-2:] = math.inf, math.inf
        for number, cell in zip(told, cells[1:], strict=True):
            digits = len(cell.partition(".")[2])
            assert number == pytest.approx(float(cell), abs=0.501 * 10.0**-digits)


def test_depth_scales_are_infinite_on_the_edge():
    point = edge_of_chaos("tanh", sigma_b=ROOT_005)
    found = depth_scales("tanh", sigma_w=point.sigma_w, sigma_b=point.sigma_b)
    assert (found.c, found.xi_c, found.xi_gradient) == (1, math.inf, math.inf)
    relu = depth_scales("relu", sigma_w=2**0.5)
    assert (relu.q, relu.c, relu.xi_q, relu.xi_c) == (1, 1, math.inf, math.inf)


def test_a_deviation_falls_to_one_in_e_over_a_depth_scale():
    found = depth_scales("tanh", sigma_w=2.0**0.5, sigma_b=ROOT_005)
    moved = lambda q: length_map("tanh", q, sigma_w=2.0**0.5, sigma_b=ROOT_005)
    assert (moved(found.q + 1e-5) - found.q) / 1e-5 == pytest.approx(
        math.exp(-1 / found.xi_q), rel=1e-4
    )
    there = correlation_map("tanh", found.c + 1e-4, q=found.q, sigma_w=2.0**0.5, sigma_b=ROOT_005)
    assert (there - found.c) / 1e-4 == pytest.approx(math.exp(-1 / found.xi_c), rel=1e-3)


def test_an_odd_activation_without_biases_keeps_orthogonal_inputs_orthogonal():
    q = length_fixed_point("tanh", sigma_w=1.5)
    assert correlation_fixed_point("tanh", q=q, sigma_w=1.5) == 0


def test_a_jump_parts_inputs_although_no_gradient_passes_it():
    # sign: c' = (sigma_w**2 2 / pi asin c + sigma_b**2) / q, whose slope at 1 is infinite.
    found = depth_scales(np.sign, sigma_w=3.0, sigma_b=1.0)
    assert (found.q, found.chi_1, found.xi_gradient) == (pytest.approx(10), 0, 0)
    assert found.c == pytest.approx((9 * 2 / math.pi * math.asin(found.c) + 1) / 10, abs=1e-12)
    assert found.c < 0.3


def test_depth_scales_are_plain_data_and_zero_where_nothing_is_left_after_a_layer():
    found = depth_scales("tanh", sigma_w=0.0, sigma_b=0.5)
    assert found.to_dict() == {
        **{"q": pytest.approx(0.25), "c": 1.0, "chi_1": 0.0},
        **{"xi_q": 0.0, "xi_c": 0.0, "xi_gradient": 0.0},
    }
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()


# Networks of this and that paper


def test_selu_has_its_fixed_point_at_zero_mean_and_unit_variance():
    own = powers(resolve("selu").function)
    assert (own.mean, own.variance) == (pytest.approx(0, abs=1e-13), pytest.approx(1, rel=1e-12))
    step = 1e-4
    more, less = (powers(resolve("selu").function, variance=1 + each) for each in (step, -step))
    # With mean weight zero, mean and variance of the output depend on the variance alone.
    jacobian = [
        (a - b) / (2 * step) for a, b in ((more.mean, less.mean), (more.variance, less.variance))
    ]
    assert jacobian == pytest.approx([0.088835, 0.782648], abs=1e-6)
    assert math.hypot(*jacobian) == pytest.approx(0.787673, abs=1e-6)


@pytest.mark.parametrize("start", [10.0, 1.5, 0.1])
def test_selu_takes_any_variance_back_to_one(start):
    published = {1: (0.0450, 1.3715), 5: (0.0145, 1.1244), 10: (0.00399, 1.0349)}
    variance = start
    for layer in range(1, 41):
        own = powers(resolve("selu").function, variance=variance)
        # A weight's sum has the second moment, of which the mean is a part.
        if start == 1.5 and layer in published:
            assert (own.mean, own.variance) == pytest.approx(published[layer], abs=6e-5)
        variance = own.variance
    assert (own.mean, own.variance) == (pytest.approx(0, abs=1e-3), pytest.approx(1, abs=1e-3))


def test_a_siren_settles_below_unit_variance_in_theory_and_in_a_network():
    # Weights U(+-sqrt(6 / n)) have variance 2 / n, so that q goes to 1 - exp(-2 q).
    q = length_fixed_point("sine", sigma_w=2**0.5)
    assert math.sqrt(q) == pytest.approx(0.892643, abs=1e-6)
    assert math.sqrt(q / 2) == pytest.approx(0.631194, abs=1e-6)
    assert chi_1("sine", q=q, sigma_w=2**0.5) == pytest.approx(1.203188, abs=1e-6)
    width, inputs, generator = 1024, 64, np.random.default_rng(30)
    h = generator.normal(size=(width, inputs))
    for _ in range(10):
        bound = math.sqrt(6 / width)
        h = generator.uniform(-bound, bound, (width, width)) @ np.sin(h)
    # One input's mean square has relative deviation sqrt(2 / width) = 4.4 %, and this one's
    # inputs are hardly correlated, so that 64 average it to 0.6 %, half as much for the root.
    assert h.std() == pytest.approx(0.892643, rel=0.01)
    assert np.sin(h).std() == pytest.approx(0.631194, rel=0.01)


def test_he_relu_networks_spread_log_normally_and_xavier_ones_halve_by_the_layer():
    # q_L / q_0 has a logarithm of mean -5 L / (2 n) and variance 5 L / n under He's rule;
    # under Xavier's each layer halves it as well.
    width, depth, seeds = 64, 30, 240
    generator = np.random.default_rng(2015)
    x = generator.normal(size=(seeds, width, 1)).astype(np.float32)
    start = (x**2).mean(axis=(1, 2))
    for _ in range(depth):
        weights = generator.standard_normal((seeds, width, width), dtype=np.float32)
        x = math.sqrt(1 / width) * (weights @ np.maximum(x, 0))
    logs = np.log((x**2).mean(axis=(1, 2)) / start) + depth * math.log(2)
    mean, deviation = -5 * depth / (2 * width), math.sqrt(5 * depth / width)
    # Three standard errors of a mean and of a deviation. The law's own error is of order L / n**2.
    assert abs(logs.mean() - mean) < 3 * deviation / math.sqrt(seeds) + 5 * depth / width**2
    assert abs(logs.std() - deviation) < 3 * deviation / math.sqrt(2 * seeds) + 5 * depth / width**2
    assert np.exp(logs).max() / np.exp(logs).min() > 100  # no draw is like another
    assert abs(logs.mean() - 0.05 * 2 * depth - mean) > 3 * deviation / math.sqrt(seeds)


def test_a_hundred_relu_layers_under_xavier_leave_a_signal_of_two_to_the_minus_hundred():
    sigma_w, q = 1.0, 1.0
    for _ in range(100):
        q = length_map("relu", q, sigma_w=sigma_w)
    assert q == pytest.approx(2.0**-100, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "sigma_w", "sigma_b"),
    [
        ("tanh", 5 / 3, 0.0),
        ("tanh", 1.760955**0.5, ROOT_005),
        ("selu", 1.0, 0.0),
        ("tanh", 1.0, ROOT_005),
    ],
)
def test_chi_1_is_what_a_networks_gradient_is_multiplied_by(name, sigma_w, sigma_b):
    width, depth, seeds, settled = 256, 24, 12, 6
    generator = np.random.default_rng(7)
    function = resolve(name).function
    q = length_fixed_point(name, sigma_w=sigma_w, sigma_b=sigma_b)
    h = (math.sqrt(q) * generator.standard_normal((seeds, width, 1))).astype(np.float32)
    layers = []
    for _ in range(depth):
        weights = generator.standard_normal((seeds, width, width), dtype=np.float32)
        weights *= sigma_w / math.sqrt(width)
        layers.append((weights, h))
        h = weights @ function(h) + sigma_b * generator.standard_normal(h.shape, dtype=np.float32)
    gradient = generator.standard_normal(h.shape, dtype=np.float32)
    sizes = [(gradient**2).mean(axis=(1, 2))]
    for weights, before in reversed(layers):
        step = np.float32(1e-2)
        derivative = (function(before + step) - function(before - step)) / (2 * step)
        gradient = weights.transpose(0, 2, 1) @ gradient * derivative
        sizes.append((gradient**2).mean(axis=(1, 2)))
    counted = depth - settled
    factor = float(np.exp(np.log(sizes[-1] / sizes[settled]).mean() / counted))
    # A layer's factor has a relative variance of at most 5 / width (ReLU's), so that the mean
    # logarithm has a standard error of 0.8 %, and a bias of half that variance: 1 %.
    error = math.sqrt(5 / width / counted / seeds)
    expected = chi_1(name, q=q, sigma_w=sigma_w)
    assert factor == pytest.approx(expected, rel=2.5 * error + 2.5 / width)
    assert factor != pytest.approx(1.05**2 * expected, rel=2.5 * error + 2.5 / width)


# What is refused


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: length_map("tanh", -1.0, sigma_w=1.0),
            r"q is -1\.0, expected a finite number, ze",
        ),
        (lambda: length_map("tanh", math.nan, sigma_w=1.0), "q is nan, expected a finite number"),
        (lambda: length_map("tanh", 1.0, sigma_w=-1.0), r"sigma_w is -1\.0, expected a finite"),
        (lambda: length_map("tanh", 1.0, sigma_w=math.inf), "sigma_w is inf, expected a finite"),
        (lambda: length_map("tanh", 1.0, sigma_w=1.0, sigma_b=-0.1), r"sigma_b is -0\.1, expected"),
        (lambda: chi_1("tanh", q=-2.0, sigma_w=1.0), r"q is -2\.0, expected a finite number"),
        (lambda: length_fixed_point("tanh", sigma_w=math.nan), "sigma_w is nan, expected a finite"),
        (lambda: length_map("swiglu", 1.0, sigma_w=1.0), "swiglu is a gate of two arguments, exp"),
        (lambda: critical_point("glu", q=1.0), "glu is a gate of two arguments, expected one of"),
        (lambda: length_map("exp", 200.0, sigma_w=1.0), "power is infinite or too large"),
        (lambda: correlation_map("tanh", 1.5, q=1.0, sigma_w=1.0), r"c is 1\.5, expected a correl"),
        (lambda: correlation_map("tanh", math.nan, q=1.0, sigma_w=1.0), "c is nan, expected a cor"),
        (lambda: correlation_map("tanh", 0.5, q=0.0, sigma_w=1.0), "q is 0, expected a positive"),
        (
            lambda: correlation_fixed_point("tanh", q=0.0, sigma_w=1.0),
            "q is 0, expected a positive",
        ),
        (
            lambda: correlation_fixed_point("tanh", q=2.0, sigma_w=1.0),
            r"q is 2, expected a fixed point: the length map takes it to 0\.51\d+\nHint: see",
        ),
        (
            lambda: depth_scales("tanh", sigma_w=1.0),
            r"the length map goes to 0 at sigma_w = 1, sigma_b = 0, expected a fixed point between "
            r"0 and infinity\nHint: see critical_point",
        ),
        (lambda: depth_scales("relu", sigma_w=1.6), "the length map goes to inf at sigma_w = 1.6"),
        (lambda: critical_point("tanh", q=-1.0), r"q is -1\.0, expected a finite number"),
        (
            lambda: critical_point(np.sign, q=1.0),
            "sign has no critical point at q = 1: its derivative is zero, expected one that",
        ),
        (
            lambda: edge_of_chaos("tanh"),
            "sigma_w is None and sigma_b is None, expected exactly one of them",
        ),
        (
            lambda: edge_of_chaos("tanh", sigma_w=1.0, sigma_b=0.1),
            r"sigma_w is 1\.0 and sigma_b is 0\.1, expected exactly one of them",
        ),
        (lambda: edge_of_chaos("tanh", sigma_b=math.nan), "sigma_b is nan, expected a finite"),
        (
            lambda: edge_of_chaos("tanh", sigma_w=0.9),
            r"tanh has no critical point with sigma_w = 0\.9\nHint: critical_point gives both",
        ),
        (
            lambda: edge_of_chaos("relu", sigma_b=0.1),
            "relu has no critical point with sigma_b = 0.1",
        ),
        (lambda: edge_of_chaos("softplus", sigma_b=0.0), "softplus has no critical point with sig"),
        (lambda: edge_of_chaos(np.sign, sigma_b=0.1), "sign has no critical point with sigma_b"),
    ],
)
def test_what_has_no_answer_is_refused_with_the_value(call, message):
    with pytest.raises(ActivationError, match=message):
        call()


def test_an_unknown_activation_is_refused_everywhere():
    with pytest.raises(
        UnknownNameError, match="unknown activation 'thanh'\nHint: did you mean tanh"
    ):
        edge_of_chaos("thanh", sigma_b=0.1)


def test_a_fixed_point_that_the_functions_rounding_hides_is_refused_not_guessed():
    with pytest.raises(ActivationError, match="the function is good to"):
        length_fixed_point(lambda x: x.astype(np.float32), sigma_w=0.5)
