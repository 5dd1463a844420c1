"""Twins of torch.nn.init: their laws, their bits, their names, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn import init

import xavier
import xavier.torch as twins
from twin_calls import RANDOM, bits, call
from xavier._errors import DtypeError, UnknownNameError
from xavier.frameworks.torch._truncated import between
from xavier.laws import Normal, Orthogonal, Uniform

INF = math.inf

# ---------------------------------------------------------------- laws

SHAPE = (96, 32, 5, 5)
N = math.prod(SHAPE)
FAN_IN, FAN_OUT = 32 * 25, 96 * 25


def uniform(bound):
    return stats.uniform(-bound, 2 * bound)


def truncated(mean, std, a, b):
    return stats.truncnorm((a - mean) / std, (b - mean) / std, mean, std)


DOCUMENTED = [
    ("uniform_", (), stats.uniform(0, 1)),
    ("uniform_", (-3.0, 1.0), stats.uniform(-3, 4)),
    ("normal_", (), stats.norm(0, 1)),
    ("normal_", (2.0, 0.5), stats.norm(2, 0.5)),
    ("trunc_normal_", (), truncated(0, 1, -2, 2)),
    ("trunc_normal_", (0.0, 0.02), stats.norm(0, 0.02)),
    ("trunc_normal_", (1.0, 0.5, 0.5, 1.5), truncated(1, 0.5, 0.5, 1.5)),
    ("trunc_normal_", (0.0, 1.0, -0.3, 2.0), truncated(0, 1, -0.3, 2)),
    ("trunc_normal_", (0.0, 1.0, 0.0, INF), truncated(0, 1, 0, INF)),
    ("trunc_normal_", (1.0, 2.0, -INF, -7.0), truncated(1, 2, -INF, -7)),
    ("trunc_normal_", (0.0, 1.0, 4.0, 4.5), truncated(0, 1, 4, 4.5)),
    ("trunc_normal_", (0.5, 0.25, -INF, INF), stats.norm(0.5, 0.25)),
    ("xavier_uniform_", (), uniform(math.sqrt(6 / (FAN_IN + FAN_OUT)))),
    ("xavier_uniform_", (5 / 3,), uniform(5 / 3 * math.sqrt(6 / (FAN_IN + FAN_OUT)))),
    ("xavier_normal_", (), stats.norm(0, math.sqrt(2 / (FAN_IN + FAN_OUT)))),
    ("xavier_normal_", (2.0,), stats.norm(0, 2 * math.sqrt(2 / (FAN_IN + FAN_OUT)))),
    ("kaiming_uniform_", (), uniform(math.sqrt(6 / FAN_IN))),
    ("kaiming_uniform_", (math.sqrt(5),), uniform(1 / math.sqrt(FAN_IN))),
    ("kaiming_uniform_", (0, "fan_out", "relu"), uniform(math.sqrt(6 / FAN_OUT))),
    ("kaiming_normal_", (), stats.norm(0, math.sqrt(2 / FAN_IN))),
    ("kaiming_normal_", (0, "fan_out", "tanh"), stats.norm(0, 5 / 3 / math.sqrt(FAN_OUT))),
]


def agrees(values, law):
    """Tell whether a sample of n has a law, by Kolmogorov's distance and by two moments.

    Each part alone calls one right sample in 10⁴ wrong. The distance times √n exceeds
    sqrt(ln(2 / 10⁻⁴) / 2) = 2.23 so often; the mean's error is std / √n, the variance's
    std² sqrt((kurtosis + 2) / n), and 3.9 of either are as rare.
    """
    n = len(values)
    excess = float(law.stats("k"))
    distance = stats.kstest(values, law.cdf).statistic
    mean_error = abs(values.mean() - law.mean()) / (law.std() / math.sqrt(n))
    variance_error = abs(values.var() / law.var() - 1) / math.sqrt((excess + 2) / n)
    return distance * math.sqrt(n) < 2.23 and mean_error < 3.9 and variance_error < 3.9


@pytest.mark.parametrize(("name", "args", "law"), DOCUMENTED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_have_the_law_that_torch_documents(name, args, law, dtype):
    weight = torch.empty(SHAPE, dtype=dtype)
    assert getattr(twins, name)(weight, *args, name=name, seed=1) is weight
    assert agrees(weight.double().flatten().numpy(), law)


@pytest.mark.parametrize(
    "law",
    [
        stats.norm(0, 1.05),  # a gain that is 5 % too high
        stats.norm(0.05, 1),
        stats.uniform(-math.sqrt(3), 2 * math.sqrt(3)),  # the right moments, the wrong law
        truncated(0, 1, -2, 2),  # cut where nothing should be
    ],
)
def test_these_checks_can_fail(law):
    weight = twins.normal_(torch.empty(SHAPE), name="normal_", seed=1)
    assert not agrees(weight.double().flatten().numpy(), law)


@pytest.mark.parametrize("name", [name for name in RANDOM if name != "orthogonal_"])
def test_moments_are_those_of_torch_itself(name):
    shape = (512, 512)
    ours = call(name, torch.empty(shape), name="weight", seed=0).double()
    theirs = getattr(init, name)(
        torch.empty(shape), *RANDOM[name], generator=torch.Generator().manual_seed(0)
    ).double()
    # Of laws with at most a normal law's kurtosis the difference of two samples' means has
    # a standard error of at most std sqrt(2 / n), that of their log variances 2 / √n; a sparse
    # matrix has a kurtosis of 3 / 0.75 and, with the number of its zeros fixed, no more.
    n = math.prod(shape)
    assert abs(ours.mean() - theirs.mean()) < 5 * ours.std() * math.sqrt(2 / n)
    assert abs(math.log(float(ours.var() / theirs.var()))) < 5 * 2 * math.sqrt(4 / 3 / n)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("mean", "std", "a", "b"),
    [(0, 1, -2, 2), (0, 1, -0.3, 0.3), (0.1, 0.7, -0.3, 0.31), (0, 1, 3, 3.1), (0, 0.3, 1.7, INF)],
)
def test_truncated_values_stay_within_the_ends_as_the_dtype_holds_them(dtype, mean, std, a, b):
    weight = twins.trunc_normal_(torch.empty(5000, dtype=dtype), mean, std, a, b, seed=0, name="w")
    low, high = (torch.tensor(end, dtype=dtype) for end in (a, b))
    assert low <= weight.min() <= weight.max() <= high
    assert len(weight.unique()) > 3


@pytest.mark.parametrize("a", [-1.0, 0.0, 2.0, 5.0, 9.0])
@pytest.mark.parametrize("width", [1e-3, 0.5, 4.0, INF])
def test_quantiles_between_two_ends_are_scipys(a, width):
    shares = torch.linspace(0.01, 0.99, 23, dtype=torch.float64)
    for low, high, share in ((a, a + width, shares), (-a - width, -a, shares)):
        exact = stats.truncnorm(low, high).ppf(share.numpy())
        found = between(low, high, share).numpy()
        assert np.allclose(found, exact, rtol=1e-9, atol=1e-9 * min(width, 1.0))


@pytest.mark.parametrize("a", [40.0, 100.0, 1e4])
def test_quantiles_far_out_are_those_of_the_tail(a):
    # Mills' ratio: beyond a the law tends to exponential decay of rate a, up to 1 / a².
    shares = torch.linspace(0.01, 0.99, 23, dtype=torch.float64)
    beyond = (between(a, INF, shares) - a).numpy() * a
    assert np.allclose(beyond, -np.log1p(-shares.numpy()), rtol=4 / a**2)
    assert np.array_equal(between(-INF, -a, 1 - shares).numpy(), -between(a, INF, shares).numpy())


@pytest.mark.parametrize("shape", [(8, 8), (20, 6), (6, 20), (4, 2, 3, 3), (1, 7), (7, 1)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_orthogonal_rows_or_columns_have_length_gain_and_meet_at_right_angles(shape, dtype):
    weight = twins.orthogonal_(torch.empty(shape, dtype=dtype), -1.5, seed=0, name="weight")
    matrix = weight.flatten(1).double()
    gram = matrix @ matrix.t() if matrix.shape[0] <= matrix.shape[1] else matrix.t() @ matrix
    rounding = 100 * torch.finfo(dtype).eps
    assert torch.allclose(gram, 2.25 * torch.eye(len(gram), dtype=torch.float64), atol=rounding)


@pytest.mark.parametrize(("rows", "sparsity"), [(3, 0.1), (10, 0.5), (7, 0.0), (7, 1.0), (30, 0.1)])
def test_every_column_has_the_number_of_zeros_that_torch_gives_it(rows, sparsity):
    theirs = init.sparse_(torch.empty(rows, 40), sparsity)
    weight = twins.sparse_(torch.empty(rows, 40), sparsity, seed=0, name="weight")
    assert ((weight == 0).sum(0) == (theirs == 0).sum(0)).all()


def test_zeros_of_a_sparse_matrix_fall_everywhere_alike():
    rows, columns = 8, 4096
    zero = twins.sparse_(torch.empty(rows, columns), 0.25, seed=0, name="weight") == 0
    # Two of eight rows in each column: every row has a binomial(4096, 1 / 4) of them.
    spread = math.sqrt(columns * 0.25 * 0.75)
    assert ((zero.sum(1) - columns / 4).abs() < 4 * spread).all()
    pairs = (zero[0] & zero[1]).sum()  # one pair of 28
    assert abs(pairs - columns / 28) < 4 * math.sqrt(columns / 28)


# ---------------------------------------------------------------- bits


def test_bits_are_those_of_the_stream():
    weight = twins.normal_(torch.empty(4, 9), 0.0, 0.02, name="layers.0.weight", seed=7)
    drawn = xavier.draw(Normal(0.0, 0.02), (4, 9), seed=7, name="layers.0.weight")
    assert np.array_equal(weight.numpy(), drawn)
    weight = twins.orthogonal_(torch.empty(6, 4), name="w", seed=7)
    assert np.array_equal(weight.numpy(), xavier.draw(Orthogonal(1.0), (6, 4), seed=7, name="w"))
    bound = math.sqrt(3) * math.sqrt(2 / 13)
    drawn = xavier.draw(Uniform(-bound, bound), (4, 9), seed=7, name="w", dtype="float64")
    weight = twins.xavier_uniform_(torch.empty(4, 9, dtype=torch.float64), name="w", seed=7)
    assert np.array_equal(weight.numpy(), drawn)


def test_a_name_under_a_scope_has_the_bits_that_init_gives_it():
    model = torch.nn.Sequential(torch.nn.Linear(6, 5))
    with twins.scope("left.", seed=3):
        weight = twins.normal_(torch.empty(5, 6), 0.0, 0.1, name="0.weight")
    drawn = xavier.draw(Normal(0.0, 0.1), (5, 6), seed=3, name="left.0.weight")
    assert np.array_equal(weight.numpy(), drawn)
    assert weight.shape == model[0].weight.shape


@pytest.mark.parametrize("name", RANDOM)
def test_name_and_seed_decide_and_nothing_else_does(name):
    first = call(name, torch.empty(12, 10), name="a", seed=0)
    torch.manual_seed(5)
    twins.normal_(torch.empty(100))
    assert bits(call(name, torch.empty(12, 10), name="a", seed=0)) == bits(first)
    assert bits(call(name, torch.empty(12, 10), name="b", seed=0)) != bits(first)
    assert bits(call(name, torch.empty(12, 10), name="a", seed=1)) != bits(first)


@pytest.mark.parametrize("name", [*RANDOM, "wide trunc_normal_"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_is_the_rounded_weight(name, dtype):
    if name == "wide trunc_normal_":
        single, low = (
            twins.trunc_normal_(torch.empty(64, 48, dtype=each), std=0.02, name="a", seed=0)
            for each in (torch.float32, dtype)
        )
    else:
        single = call(name, torch.empty(64, 48), name="a", seed=0)
        low = call(name, torch.empty(64, 48, dtype=dtype), name="a", seed=0)
    assert bits(low) == bits(single.to(dtype))


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_strides_change_no_value_and_nothing_beside(name, dtype):
    plain = call(name, torch.empty(6, 4, dtype=dtype), name="a", seed=0)
    turned = call(name, torch.empty(4, 6, dtype=dtype).t(), name="a", seed=0)
    base = torch.full((12, 9), 77.0, dtype=dtype)
    sliced = call(name, base[::2, 1:9:2], name="a", seed=0)
    assert bits(turned) == bits(plain)
    assert bits(sliced) == bits(plain)
    beside = torch.ones_like(base, dtype=torch.bool)
    beside[::2, 1:9:2] = False
    assert (base[beside] == 77).all()


def test_a_single_number_is_drawn_too():
    weight = twins.normal_(torch.empty(()), name="a", seed=0)
    assert torch.equal(weight, twins.normal_(torch.empty(3), name="a", seed=0)[0])
    value = twins.trunc_normal_(torch.empty(()), 0.0, 1.0, -1.0, 3.0, name="a", seed=0)
    assert -1 <= value <= 3


def test_long_asymmetric_draws_are_one_stream(monkeypatch):
    from xavier.frameworks.torch import _draws

    whole = twins.trunc_normal_(torch.empty(1000), 0.0, 1.0, -1.0, 3.0, name="a", seed=0)
    monkeypatch.setattr(_draws, "_CHUNK", 64)
    assert bits(twins.trunc_normal_(torch.empty(1000), 0.0, 1.0, -1.0, 3.0, name="a", seed=0)) == (
        bits(whole)
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("name", RANDOM)
def test_a_cuda_tensor_has_the_values_of_a_cpu_tensor(name):
    there = call(name, torch.empty(12, 10, device="cuda"), name="a", seed=0)
    assert bits(there.cpu()) == bits(call(name, torch.empty(12, 10), name="a", seed=0))


@pytest.mark.parametrize("fill", [twins.kaiming_uniform_, twins.kaiming_normal_])
def test_an_unknown_nonlinearity_is_told_with_the_known_ones(fill):
    with pytest.raises(UnknownNameError, match=r"unknown nonlinearity 'zz'\n.*leaky_relu"):
        fill(torch.empty(3, 4), nonlinearity="zz")
    with pytest.raises(ValueError, match="not a valid number"):
        fill(torch.empty(3, 4), a="steep")


@pytest.mark.parametrize("thing", [[1.0, 2.0], None])
@pytest.mark.parametrize(
    "fill",
    [
        twins.uniform_,
        twins.normal_,
        twins.trunc_normal_,
        twins.xavier_uniform_,
        twins.xavier_normal_,
        twins.kaiming_uniform_,
        twins.kaiming_normal_,
        twins.orthogonal_,
        lambda thing: twins.sparse_(thing, 0.1),
    ],
)
def test_what_is_no_tensor_is_refused(fill, thing):
    with pytest.raises(DtypeError, match=r"^a (list|NoneType) was given, expected a torch.Tensor"):
        fill(thing)
