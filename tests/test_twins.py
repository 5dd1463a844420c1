"""Twins of torch.nn.init: their laws, their bits, their names, and what they refuse."""

from __future__ import annotations

import inspect
import math
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn import init

import xavier
import xavier.torch as twins
from xavier._errors import (
    DtypeError,
    LawError,
    MissingFrameworkError,
    ShapeError,
    UnknownNameError,
    WriteError,
)
from xavier.bits import StreamError
from xavier.frameworks.torch import _scopes
from xavier.frameworks.torch._truncated import between
from xavier.laws import Normal, Orthogonal, Uniform

INF = math.inf
RANDOM = {
    "uniform_": (-0.5, 2.0),
    "normal_": (1.0, 0.3),
    "trunc_normal_": (0.0, 1.0, -1.0, 2.5),
    "xavier_uniform_": (1.7,),
    "xavier_normal_": (1.7,),
    "kaiming_uniform_": (0.2, "fan_out"),
    "kaiming_normal_": (0.2, "fan_in", "relu"),
    "orthogonal_": (1.3,),
    "sparse_": (0.25, 0.4),
}


@pytest.fixture
def fresh_process(monkeypatch):
    """Start as a new process does: no draw so far, and no seed."""
    monkeypatch.setattr(_scopes, "_process", ("", _scopes._Counters(None)))


def call(function, tensor, /, **kwargs):
    return getattr(twins, function)(tensor, *RANDOM[function], **kwargs)


def bits(tensor):
    return tensor.detach().contiguous().view(torch.uint8).numpy().tobytes()


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


# ---------------------------------------------------------------- names and seeds


def test_draws_without_a_name_are_numbered_under_the_scope():
    with twins.scope("net.", seed=4):
        first, second = (twins.normal_(torch.empty(5)) for _ in range(2))
        named = twins.normal_(torch.empty(5), name="bias")
        third = twins.normal_(torch.empty(5))
    for at, weight in enumerate((first, second, third)):
        assert bits(weight) == bits(twins.normal_(torch.empty(5), name=f"net.#{at}", seed=4))
    assert bits(named) == bits(twins.normal_(torch.empty(5), name="net.bias", seed=4))


def test_a_seed_within_a_scope_replaces_the_scopes():
    with twins.scope("net.", seed=4):
        weight = twins.normal_(torch.empty(5), seed=9)
    assert bits(weight) == bits(twins.normal_(torch.empty(5), name="net.#0", seed=9))


def test_inner_scopes_add_their_prefix_and_go_on_where_they_left_off():
    weights = []
    with twins.scope("net.", seed=4):
        for _ in range(2):
            with twins.scope("block."):
                weights.append(twins.normal_(torch.empty(5)))
        weights.append(twins.normal_(torch.empty(5)))
    for weight, name in zip(weights, ("net.block.#0", "net.block.#1", "net.#0"), strict=True):
        assert bits(weight) == bits(twins.normal_(torch.empty(5), name=name, seed=4))


def test_an_inner_scope_with_a_seed_begins_anew():
    with twins.scope("net.", seed=4):
        twins.normal_(torch.empty(5))
        with twins.scope("", seed=4):
            again = twins.normal_(torch.empty(5))
    assert bits(again) == bits(twins.normal_(torch.empty(5), name="net.#0", seed=4))


def test_a_scope_ends_with_its_block_on_error_too(fresh_process):
    def leave():
        with twins.scope("net.", seed=4):
            raise KeyError("out")

    with pytest.raises(KeyError, match="out"):
        leave()
    torch.manual_seed(0)
    weight = twins.normal_(torch.empty(5))
    torch.manual_seed(0)
    seed = int(torch.empty((), dtype=torch.int64).random_())
    assert bits(weight) == bits(twins.normal_(torch.empty(5), name="#0", seed=seed))


def test_the_default_seed_is_drawn_once_and_with_a_seed_never(fresh_process):
    before = torch.get_rng_state()
    with twins.scope("net.", seed=0):
        twins.normal_(torch.empty(5))
    twins.normal_(torch.empty(5), seed=1)
    twins.normal_(torch.empty(5), generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)
    weights = [twins.normal_(torch.empty(5)) for _ in range(3)]
    after = torch.get_rng_state()
    torch.set_rng_state(before)
    torch.empty((), dtype=torch.int64).random_()
    assert torch.equal(torch.get_rng_state(), after)
    assert len({bits(each) for each in weights}) == 3


def test_no_other_generator_is_touched():
    import random

    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    for name in RANDOM:
        call(name, torch.empty(6, 4), seed=0)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]


def test_a_new_thread_begins_outside_of_all_scopes():
    found = []
    with twins.scope("net.", seed=4):
        twins.normal_(torch.empty(5))
        thread = threading.Thread(
            target=lambda: found.append(twins.normal_(torch.empty(5), name="w", seed=2))
        )
        thread.start()
        thread.join()
    assert bits(found[0]) == bits(twins.normal_(torch.empty(5), name="w", seed=2))


@pytest.mark.parametrize("name", RANDOM)
def test_a_generator_gives_the_seed_and_moves_on(name):
    generator = torch.Generator().manual_seed(3)
    first = call(name, torch.empty(6, 4), generator=generator)
    second = call(name, torch.empty(6, 4), generator=generator)
    again = call(name, torch.empty(6, 4), generator=torch.Generator().manual_seed(3))
    assert bits(first) == bits(again)
    assert bits(first) != bits(second)


def test_the_generator_is_torchs_positional_argument():
    generator = torch.Generator().manual_seed(3)
    weight = twins.xavier_uniform_(torch.empty(6, 4), 1.0, generator)
    again = twins.xavier_uniform_(torch.empty(6, 4), generator=torch.Generator().manual_seed(3))
    assert bits(weight) == bits(again)


# ---------------------------------------------------------------- tensors


@pytest.mark.parametrize("name", RANDOM)
def test_a_meta_tensor_is_left_alone_and_counts(name):
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    with twins.scope("net.", seed=0):
        meta = torch.empty(6, 4, device="meta")
        assert call(name, meta) is meta
        call(name, meta, generator=generator)
        weight = twins.normal_(torch.empty(5))
    assert bits(weight) == bits(twins.normal_(torch.empty(5), name="net.#1", seed=0))
    assert torch.equal(generator.get_state(), before)


def test_drawing_works_where_new_tensors_are_made_on_meta():
    weight, sparse = torch.empty(6, 4), torch.empty(6, 4)
    with torch.device("meta"):
        twins.trunc_normal_(weight, 0.0, 1.0, -1.0, 3.0, name="a", seed=0)
        twins.sparse_(sparse, 0.5, name="a", seed=0)
        twins.orthogonal_(torch.empty(6, 4), seed=0)
    assert bits(weight) == bits(
        twins.trunc_normal_(torch.empty(6, 4), 0.0, 1.0, -1.0, 3.0, name="a", seed=0)
    )
    assert ((sparse == 0).sum(0) == 3).all()


@pytest.mark.parametrize("name", RANDOM)
def test_a_parameter_is_written_in_place_outside_of_autograd(name):
    weight = torch.nn.Parameter(torch.zeros(6, 4))
    place, version = weight.data_ptr(), weight._version
    assert call(name, weight, seed=0) is weight
    assert weight.data_ptr() == place
    assert weight.grad_fn is None
    assert weight.requires_grad
    assert weight._version > version
    assert weight.any()


def test_a_graph_that_holds_the_old_values_notices():
    weight = torch.nn.Parameter(torch.ones(4))
    loss = (weight * weight).sum()
    twins.normal_(weight, seed=0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.filterwarnings("ignore:an empty tensor:UserWarning")
@pytest.mark.parametrize("name", [name for name in RANDOM if name != "sparse_"])
@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0, 0)])
def test_an_empty_tensor_is_returned_as_it_is(name, shape):
    weight = torch.empty(shape)
    assert call(name, weight, seed=0) is weight


def test_he_of_an_empty_tensor_warns_as_torch_does():
    for function in (twins.kaiming_normal_, twins.kaiming_uniform_):
        with pytest.warns(UserWarning, match="an empty tensor has nothing to initialize"):
            function(torch.empty(0, 4), seed=0)


# ---------------------------------------------------------------- the same face, and errors


@pytest.mark.parametrize("name", RANDOM)
def test_arguments_are_torchs_with_name_and_seed_behind(name):
    theirs = inspect.signature(getattr(init, name)).parameters
    ours = inspect.signature(getattr(twins, name)).parameters
    assert list(ours) == [*theirs, "name", "seed"]
    for each in theirs:
        assert ours[each].default == theirs[each].default
    assert ours["name"].kind is ours["seed"].kind is inspect.Parameter.KEYWORD_ONLY


def test_every_function_of_torch_is_here():
    deprecated = {name for name in init.__all__ if f"{name}_" in init.__all__}
    assert set(init.__all__) - deprecated <= set(twins.__all__)
    for name in ("constant_", "ones_", "zeros_", "eye_", "dirac_", "calculate_gain"):
        assert getattr(twins, name) is getattr(init, name)


@pytest.mark.parametrize("name", ["xavier_uniform_", "xavier_normal_", "orthogonal_", "sparse_"])
def test_a_vector_is_refused_as_in_torch(name):
    with pytest.raises(ValueError, match=r"2 (or more )?dimensions"):
        getattr(init, name)(torch.empty(5), *RANDOM[name])
    with pytest.raises(ShapeError, match=r"shape is \(5,\), expected two"):
        call(name, torch.empty(5), seed=0)


@pytest.mark.parametrize("name", ["kaiming_uniform_", "kaiming_normal_"])
def test_he_refuses_what_torch_refuses(name):
    theirs, ours = getattr(init, name), getattr(twins, name)
    for function, error in ((theirs, ValueError), (ours, ShapeError)):
        with pytest.raises(error, match="fewer"):
            function(torch.empty(5))
    for function, error in ((theirs, ValueError), (ours, UnknownNameError)):
        with pytest.raises(error, match=r"[mM]ode"):
            function(torch.empty(5, 5), mode="fan_inn")
        with pytest.raises(ValueError, match="Unsupported nonlinearity swish"):
            function(torch.empty(5, 5), nonlinearity="swish")
    assert bits(ours(torch.empty(5, 5), mode="FAN_OUT", name="a", seed=0)) == bits(
        ours(torch.empty(5, 5), mode="fan_out", name="a", seed=0)
    )


def test_sparse_refuses_more_than_two_axes():
    with pytest.raises(ShapeError, match=r"shape is \(2, 2, 2\), expected two axes"):
        twins.sparse_(torch.empty(2, 2, 2), 0.1)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda x: twins.uniform_(x, 1.0, 0.0), "low 1.0 is above high 0.0"),
        (lambda x: twins.normal_(x, 0.0, -1.0), "std is -1"),
        (lambda x: twins.normal_(x, math.nan), "mean is nan"),
        (lambda x: twins.trunc_normal_(x, 0.0, 0.0), "std are 0.0 and 0.0, expected finite"),
        (lambda x: twins.trunc_normal_(x, 0.0, 1.0, 2.0, 1.0), "ends are 2.0 and 1.0"),
        (lambda x: twins.trunc_normal_(x, 0.0, 1.0, math.nan, 1.0), "ends are nan and 1.0"),
        (lambda x: twins.trunc_normal_(x, 0.0, 1.0, INF, INF), "ends are inf and inf"),
        (lambda x: twins.sparse_(x, 1.5), r"sparsity is 1.5, expected a share in \[0, 1\]"),
    ],
)
def test_impossible_numbers_are_refused_before_anything_is_counted_or_written(draw, message):
    with twins.scope("net.", seed=0):
        held = torch.full((4, 4), 5.0)
        with pytest.raises(LawError, match=message):
            draw(held)
        weight = twins.normal_(torch.empty(5))
    assert (held == 5).all()
    assert bits(weight) == bits(twins.normal_(torch.empty(5), name="net.#0", seed=0))


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64, torch.bool])
def test_a_dtype_that_cannot_be_drawn_is_named(name, dtype):
    with pytest.raises(DtypeError, match=f"dtype is {dtype}, expected one of float64, float32"):
        call(name, torch.zeros(4, 4, dtype=dtype), seed=0)


@pytest.mark.parametrize("name", RANDOM)
def test_a_tensor_that_cannot_be_written_to_is_refused(name):
    with pytest.raises(RuntimeError, match="single memory location"):
        init.normal_(torch.zeros(4, 1).expand(4, 4))
    with pytest.raises(WriteError, match=r"several elements lie at one address \(strides \(1, 0"):
        call(name, torch.zeros(4, 1).expand(4, 4), seed=0)
    with pytest.raises(WriteError, match=r"layout torch.sparse_coo was given"):
        call(name, torch.zeros(4, 4).to_sparse(), seed=0)
    with torch.inference_mode():
        weight = torch.zeros(4, 4)
        assert call(name, weight, seed=0, name="a").any()
    with pytest.raises(WriteError, match="outside of inference mode"):
        call(name, weight, seed=0)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", RANDOM)
def test_a_sharded_tensor_gets_its_part_of_the_whole(name):
    from torch.distributed.tensor import DTensor, Replicate, Shard
    from torch.testing._internal.distributed.fake_pg import FakeStore

    whole = call(name, torch.empty(5, 6), name="a", seed=0)
    torch.distributed.init_process_group("fake", store=FakeStore(), rank=1, world_size=2)
    try:
        mesh = torch.distributed.init_device_mesh("cpu", (2,))
        parts = {Shard(0): np.s_[3:5], Shard(1): np.s_[:, 3:6], Replicate(): np.s_[:]}
        for placement, part in parts.items():
            held = DTensor.from_local(
                torch.zeros(5, 6)[part].contiguous(),
                mesh,
                [placement],
                run_check=False,
                shape=(5, 6),
                stride=(6, 1),
            )
            assert call(name, held, name="a", seed=0) is held
            assert bits(held.to_local()) == bits(whole[part])
    finally:
        torch.distributed.destroy_process_group()


def test_seed_and_generator_exclude_each_other():
    with pytest.raises(StreamError, match="seed and generator were both given"):
        twins.normal_(torch.empty(4), seed=0, generator=torch.Generator())


@pytest.mark.parametrize("seed", [1.5, "1", True, 2**63])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(StreamError, match="seed is"):
        twins.normal_(torch.empty(4), name="a", seed=seed)
    with pytest.raises(StreamError, match="seed is"), twins.scope("net.", seed=seed):
        pass


def test_a_name_or_prefix_that_is_no_text_is_refused():
    with pytest.raises(StreamError, match="name is 3, expected a string"):
        twins.normal_(torch.empty(4), name=3, seed=0)
    with pytest.raises(StreamError, match="name is 3, expected a string"), twins.scope(3):
        pass


def test_without_torch_the_line_that_installs_it_is_told():
    code = """
import sys
sys.modules["torch"] = None
try:
    import xavier.torch
except ImportError as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{MissingFrameworkError.__name__} torch is not installed")
    assert "pip install 'xavier-init[torch]'" in done.stdout
