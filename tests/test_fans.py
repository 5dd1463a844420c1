"""Fans: by hand, by experiment on the layer, by counting, and as the frameworks count.

The experiment draws the weight with variance 1 / fan_in and feeds it inputs of variance 1:
the mean square of the output must be 1. With variance 1 / fan_out and output gradients of
variance 1, the mean square of the input's gradient must be 1. Both are read in the interior
and over whole stride periods.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from fans_by_hand import CONVOLUTIONS, FAR, ROWS, Row, set_biases
from xavier import fans
from xavier._errors import ShapeError, UnknownNameError
from xavier.fans import Fans

REPLICATES = 24
# Student's t with 23 degrees of freedom leaves 5 in 5e-5 of all draws; the seed is fixed.
LIMIT = 5.0

each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.label)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(20100513)
        yield


def moments(moment: Callable[[float], float], fan: float) -> tuple[float, float]:
    """Return the mean moment under variance 1 / fan, and its standard error."""
    drawn = torch.tensor([moment(1 / fan) for _ in range(REPLICATES)], dtype=torch.float64)
    return float(drawn.mean()), float(drawn.std()) / math.sqrt(REPLICATES)


def test_the_table_has_at_least_forty_layers():
    assert len({row.label for row in ROWS}) == len(ROWS) >= 40


@each_row
def test_fans_are_those_derived_by_hand(row: Row):
    assert row.counted == Fans(row.fan_in, row.fan_out)


@each_row
def test_variance_one_over_fan_in_keeps_the_signals_variance(row: Row):
    mean, error = moments(row.experiment().output_moment, row.fan_in)
    assert abs(mean - 1) < LIMIT * error < 0.15


@each_row
def test_variance_one_over_fan_out_keeps_the_gradients_variance(row: Row):
    mean, error = moments(row.experiment().gradient_moment, row.fan_out)
    assert abs(mean - 1) < LIMIT * error < 0.15


def test_the_experiment_rejects_pytorchs_fans_where_they_differ():
    wrong = []
    for row in ROWS:
        experiment = row.experiment()
        theirs = fans.differs(row.counted, experiment.weights[0].shape)
        fan_in, fan_out = theirs.get("torch", (row.fan_in, row.fan_out))
        if fan_in != row.fan_in:
            wrong.append((row.label, moments(experiment.output_moment, fan_in)))
        if fan_out != row.fan_out:
            wrong.append((row.label, moments(experiment.gradient_moment, fan_out)))
    assert len(wrong) > 40
    for label, (mean, error) in wrong:
        assert abs(mean - 1) > LIMIT * error, label


def test_a_grus_reset_gate_takes_its_mean_square_from_the_candidate():
    layer = nn.GRU(24, 40, batch_first=True).double()
    set_biases(layer, 0, -FAR, 0)
    z = torch.randn(200_001, dtype=torch.float64)
    gate = float(z.sigmoid().square().mean())

    def candidate(variance: float) -> float:
        for weight in (layer.weight_ih_l0, layer.weight_hh_l0):
            nn.init.normal_(weight, std=math.sqrt(variance))
        x, h = (torch.randn(1, 64, size, dtype=torch.float64) for size in (24, 40))
        return float(layer(x.transpose(0, 1), h)[1].detach().atanh().square().mean())

    mean, error = moments(candidate, 24 + 40)
    assert abs(mean - (24 + gate * 40) / 64) < LIMIT * error < 0.1
    assert gate == pytest.approx(0.29, abs=0.005)


windows = st.tuples(*[st.integers(1, high) for high in (5, 4, 4)])
channels = st.tuples(*[st.integers(1, 3)] * 3)


def count_products(
    window: tuple[int, int, int], channels: tuple[int, int, int], *, transposed: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Count by running a convolution of ones: each product is 1, so sums are counts.

    Returns:
        The counts over two stride periods or more, of the interior of outputs and of inputs.
    """
    kernel, stride, dilation = window
    groups, per_in, per_out = channels
    shape = (groups * per_in, per_out) if transposed else (groups * per_out, per_in)
    x = torch.ones(1, groups * per_in, 64, dtype=torch.float64, requires_grad=True)
    run = functional.conv_transpose1d if transposed else functional.conv1d
    weight = torch.ones(*shape, kernel, dtype=torch.float64)
    y = run(x, weight, stride=stride, dilation=dilation, groups=groups)
    (products,) = torch.autograd.grad(y.sum(), x)
    margin = (kernel - 1) * dilation + stride
    fine = slice(margin, margin + (64 - 2 * margin) // stride * stride)
    sides = (y[0, 0].detach(), products[0, 0])
    return (sides[0][fine], sides[1]) if transposed else (sides[0], sides[1][fine])


@given(windows, channels, st.booleans())
@settings(max_examples=150, deadline=None)
def test_convolution_fans_equal_the_counted_products(window, channels, transposed):
    kernel, stride, dilation = window
    groups, per_in, per_out = channels
    outputs, inputs = count_products(window, channels, transposed=transposed)
    count = fans.conv_transpose if transposed else fans.conv
    options = {"stride": stride, "dilation": dilation, "groups": groups}
    found = count(groups * per_in, groups * per_out, kernel, **options)
    assert found.fan_in == pytest.approx(float(outputs.mean()), rel=1e-12)
    assert found.fan_out == pytest.approx(float(inputs.mean()), rel=1e-12)
    fine = outputs if transposed else inputs
    uneven = bool((fine != fine[0]).any())
    assert fans.is_uneven(kernel, stride=stride, dilation=dilation) == uneven


@given(windows, channels, st.integers(1, 3))
@settings(deadline=None)
def test_a_transposed_convolution_swaps_the_fans_of_the_convolution(window, channels, rank):
    kernel, stride, dilation = window
    groups, per_in, per_out = channels
    options = {"stride": stride, "dilation": dilation, "groups": groups}
    c_in, c_out = groups * per_in, groups * per_out
    forth = fans.conv(c_in, c_out, (kernel,) * rank, **options)
    back = fans.conv_transpose(c_out, c_in, (kernel,) * rank, **options)
    assert (forth.fan_in, forth.fan_out) == (back.fan_out, back.fan_in)


@each_row
def test_torch_fans_are_those_of_torch(row: Row):
    shape = row.experiment().weights[0].shape
    theirs = nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))
    assert fans.torch_fans(shape) == Fans(*theirs)


@pytest.mark.parametrize("row", CONVOLUTIONS, ids=lambda row: row.label)
def test_the_torch_convention_of_a_convolution_is_that_of_its_kernel(row: Row):
    layer = row.experiment().forward
    count = fans.conv_transpose if layer.transposed else fans.conv
    options = {"stride": layer.stride, "dilation": layer.dilation, "groups": layer.groups}
    sizes = (layer.in_channels, layer.out_channels, layer.kernel_size)
    theirs = nn.init._calculate_fan_in_and_fan_out(layer.weight)
    assert count(*sizes, **options, convention="torch") == Fans(*theirs)
    shaped = fans.of_shape(layer.weight.shape, transposed=layer.transposed, **options)
    assert shaped == row.counted


CONVENTIONS = [
    ("dense", lambda c: fans.dense(4, 6, convention=c), (4, 6), (4, 6), (4, 6)),
    (
        "grouped convolution",
        lambda c: fans.conv(8, 12, (3, 3), stride=2, groups=4, convention=c),
        (2 * 9, 12 * 9),
        (2 * 9, 12 * 9),
        (2 * 9, 12 * 9),
    ),
    (
        "transposed convolution",
        lambda c: fans.conv_transpose(8, 12, (2, 2), stride=2, convention=c),
        (12 * 4, 8 * 4),
        (12 * 4, 8 * 4),
        (8 * 4, 12 * 4),
    ),
    ("embedding", lambda c: fans.embedding(100, 8, convention=c), (8, 100), (100, 8), (8, 8)),
    (
        "gates, from the input",
        lambda c: fans.recurrent(3, 5, gates=4, convention=c)[0],
        (3, 20),
        (3, 20),
        (3, 5),
    ),
    (
        "gates, from the state",
        lambda c: fans.recurrent(3, 5, gates=4, convention=c)[1],
        (5, 20),
        (5, 20),
        (5, 5),
    ),
    (
        "packed projections",
        lambda c: fans.packed(4, (4, 2, 2), convention=c)[1],
        (4, 8),
        (4, 8),
        (4, 8),
    ),
    (
        "stacked experts",
        lambda c: fans.experts(2, 3, 5, convention=c),
        (3 * 5, 2 * 5),
        (2 * 3, 2 * 5),
        (2 * 3, 2 * 5),
    ),
    (
        "bilinear",
        lambda c: fans.bilinear(3, 5, 2, convention=c),
        (3 * 5, 2 * 5),
        (2 * 3, 2 * 5),
        (2 * 3, 2 * 5),
    ),
]


@pytest.mark.parametrize(
    ("count", "torch_count", "keras_count", "jax_count"),
    [row[1:] for row in CONVENTIONS],
    ids=[row[0] for row in CONVENTIONS],
)
def test_each_convention_counts_as_its_framework(count, torch_count, keras_count, jax_count):
    assert count("torch") == Fans(*torch_count)
    assert count("keras") == Fans(*keras_count)
    assert count("jax") == Fans(*jax_count)


def test_a_batch_axis_gives_jax_the_fans_of_one_expert():
    assert fans.jax_fans((8, 3, 5), batch_axis=0) == fans.experts(8, 3, 5)
    assert fans.jax_fans((4, 2, 6), in_axis=0, out_axis=(1, 2)) == fans.dense(4, 12)


def test_keras_counts_vectors_and_scalars_too():
    assert fans.keras_fans((7,)) == Fans(7.0, 7.0)
    assert fans.keras_fans(()) == Fans(1.0, 1.0)


def test_differs_names_the_frameworks_that_count_otherwise():
    own = fans.conv(8, 12, (3, 3), groups=4)
    assert fans.differs(own, (12, 2, 3, 3)) == {"torch": (18.0, 108.0)}
    assert fans.differs(own, (12,)) == {}
    both = fans.differs(fans.dense(4, 6), (6, 4), conventions=("torch", "keras"))
    assert both == {"keras": (6.0, 4.0)}


def test_fans_travel_as_plain_data():
    assert fans.dense(4, 6).to_dict() == {"fan_in": 4.0, "fan_out": 6.0}


def test_of_shape_reads_a_transposed_dense_weight_as_in_by_out():
    assert fans.of_shape((6, 4)) == fans.dense(4, 6)
    assert fans.of_shape((4, 6), transposed=True) == fans.dense(4, 6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fans.dense(0, 4), r"in_features is 0, expected a positive integer"),
        (lambda: fans.conv(6, 4, 3, groups=4), r"groups is 4, expected a divisor of c_in 6 and"),
        (lambda: fans.conv(4, 4, (3, 0)), r"kernel is \(3, 0\), expected positive integers"),
        (lambda: fans.conv(4, 4, 3, stride=0), r"stride is \(0,\), expected positive"),
        (lambda: fans.conv(4, 4, (3, 3), dilation=(1, 2, 3)), r"\(1, 2, 3\) has 3 numbers, .* 2,"),
        (lambda: fans.packed(4, ()), r"blocks is empty, expected the outputs"),
        (lambda: fans.embedding(5, 4, bag=0), r"bag is 0, expected a positive integer"),
        (lambda: fans.recurrent(5, 4, projection=0), r"projection is 0, expected a positive"),
        (lambda: fans.of_shape((5,)), r"shape \(5,\) has no fans, expected at least 2 axes"),
        (lambda: fans.torch_fans((5,)), r"shape \(5,\) has no fans in torch"),
        (lambda: fans.jax_fans((5, 0)), r"shape \(5, 0\) has no fans in jax"),
    ],
)
def test_sizes_that_make_no_layer_are_refused(call, message):
    with pytest.raises(ShapeError, match=message):
        call()


def test_an_unknown_convention_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"unknown convention 'toch'\nHint: .* torch"):
        fans.of_shape((4, 4), convention="toch")
