"""A plan is drawn in place, to the bit, wherever and however the weights are stored; or refused."""

from __future__ import annotations

import random
from math import sqrt

import numpy as np
import pytest
import torch
from torch import nn

from torch_plans import LAW, differing, expected, plan_of, row, same_bits
from xavier._errors import WriteError, XavierWarning
from xavier._types.laws import (
    Constant,
    DeltaOrthogonal,
    Dirac,
    Identity,
    Normal,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Uniform,
)
from xavier._types.plan import Region
from xavier.frameworks.torch import _elements
from xavier.frameworks.torch.write import SameBitsWarning, default_seed, write

pytestmark = pytest.mark.filterwarnings(
    "ignore::xavier.frameworks.torch.write.SameBitsWarning",
)


def mlp():
    return nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4))


@pytest.mark.parametrize(
    "law",
    [
        LAW,
        Uniform(-0.5, 0.25),
        TruncatedNormal(0.1, 0.2),
        Constant(0.5),
        Sparse(0.4, 1.0),
        Orthogonal(1.5),
        Identity(2.0),
    ],
    ids=lambda law: type(law).__name__,
)
def test_weights_are_those_that_the_stream_has_for_their_names(law):
    model = mlp()
    write(model, plan_of(model, law, drawn=lambda slot: len(slot.shape) > 1), seed=7, scope="a/")
    for at, shape in ((0, (5, 6)), (1, (4, 5))):
        assert same_bits(model[at].weight, expected(f"a/{at}.weight", shape, law, seed=7))


@pytest.mark.parametrize("law", [DeltaOrthogonal(), Dirac()], ids=lambda law: type(law).__name__)
def test_kernels_are_drawn_whole(law):
    model = nn.Conv2d(3, 5, 3)
    write(model, plan_of(model, rows=[row("weight", (5, 3, 3, 3), law)]), seed=1)
    assert same_bits(model.weight, expected("weight", (5, 3, 3, 3), law, seed=1))


def test_two_draws_are_one_and_another_seed_or_scope_is_another():
    models = [mlp() for _ in range(4)]
    for model, seed, scope in zip(models, (0, 0, 1, 0), ("", "", "", "twin."), strict=True):
        write(model, plan_of(model), seed=seed, scope=scope)
    assert not differing(models[0], models[1])
    for other in models[2:]:
        assert differing(models[0], other) == {"0.weight", "0.bias", "1.weight", "1.bias"}


def test_an_inserted_layer_changes_no_weight_that_keeps_its_name():
    small = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    large = nn.ModuleDict({"b": nn.Linear(3, 3), "new": nn.Linear(3, 3), "a": nn.Linear(3, 3)})
    for model in (small, large):
        write(model, plan_of(model), seed=0)
    for name in ("a", "b"):
        assert same_bits(small[name].weight, large[name].weight)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_low_precision_model_is_the_rounded_model(dtype):
    low, wide = nn.Linear(70, 50).to(dtype), nn.Linear(70, 50)
    for model in (low, wide):
        write(model, plan_of(model), seed=3)
    assert same_bits(low.weight, wide.weight.to(dtype))


def test_double_precision_has_the_stream_of_its_own():
    model = nn.Linear(9, 7, dtype=torch.float64)
    write(model, plan_of(model), seed=3)
    assert same_bits(model.weight, expected("weight", (7, 9), seed=3, dtype="float64"))


def test_a_complex_weight_has_the_variance_split_over_both_parts():
    model = nn.Linear(200, 300, dtype=torch.complex64)
    write(model, plan_of(model, Normal(0.5, 1.0)), seed=0)
    half = Normal(0.5, 1 / sqrt(2)), Normal(0.0, 1 / sqrt(2))
    assert same_bits(model.weight.real, expected("weight", (300, 200), half[0]))
    assert same_bits(model.weight.imag, expected("weight#imag", (300, 200), half[1]))
    # |z - mean|**2 is exponential with mean 1, so its average strays by 1/sqrt(n).
    power = (model.weight.detach() - 0.5).abs().square().mean()
    assert abs(float(power) - 1) < 5 / sqrt(model.weight.numel())


@pytest.mark.parametrize(
    "store",
    [
        pytest.param(lambda w: w.t().contiguous().t(), id="transposed"),
        pytest.param(lambda w: w.repeat(1, 2)[:, ::2], id="strided"),
        pytest.param(lambda w: torch.cat([w, w])[3 : 3 + len(w)], id="offset"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_layout_in_memory_does_not_matter(store, dtype):
    plain, odd = (nn.Linear(6, 5, dtype=dtype) for _ in range(2))
    odd.weight = nn.Parameter(store(odd.weight.detach()))
    strides = odd.weight.stride()
    for model in (plain, odd):
        write(model, plan_of(model), seed=0)
    assert same_bits(plain.weight, odd.weight)
    assert odd.weight.stride() == strides


def test_channels_last_kernels_have_the_bits_of_contiguous_ones():
    plain, last = (nn.Conv2d(3, 8, 3) for _ in range(2))
    last.to(memory_format=torch.channels_last)
    for model in (plain, last):
        write(model, plan_of(model), seed=0)
    assert torch.equal(plain.weight, last.weight)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_pieces_and_staging_give_the_bits_of_the_whole(monkeypatch, dtype):
    model = nn.Conv2d(4, 9, 3, dtype=getattr(torch, dtype))
    monkeypatch.setattr(_elements, "CHUNK", 10)
    monkeypatch.setattr(_elements, "_addressable", lambda tensor: False)
    counts = []
    write(model, plan_of(model), seed=0, progress=lambda *pair: counts.append(pair))
    whole = expected("weight", (9, 4, 3, 3), dtype=dtype)
    got = model.weight if dtype == "float32" else model.weight.view(torch.uint16)
    assert same_bits(got, whole)
    assert [count for count, _ in counts] == sorted(count for count, _ in counts)
    assert counts[-1] == (9 * 36 + 9, 9 * 36 + 9)
    assert len(counts) > 30


@pytest.mark.parametrize(
    "region", [Region(0, ((1, 3),)), Region(1, ((0, 2), (4, 5))), Region(1, ((5, 6),))], ids=str
)
def test_a_region_has_the_elements_that_it_has_in_the_whole(region):
    model = nn.Linear(6, 5)
    before = model.weight.detach().clone()
    write(model, plan_of(model, rows=[row("weight", (5, 6), LAW, region)]), seed=0)
    mask = torch.zeros(5, 6, dtype=torch.bool)
    for index in region.slices((5, 6)):
        mask[index] = True
    assert same_bits(model.weight[mask], expected("weight", (5, 6))[mask])
    assert same_bits(model.weight[~mask], before[~mask])


def test_matrices_of_one_weight_are_drawn_from_streams_of_their_own():
    model = nn.Linear(4, 8)
    top, bottom = Region(0, ((0, 4),)), Region(0, ((4, 8),))
    rows = [row("weight", (8, 4), Orthogonal(), each) for each in (top, bottom)]
    write(model, plan_of(model, rows=rows), seed=0)
    first, second = model.weight.detach().split(4)
    # float32 rounding of 4 x 4 products
    for each in (first, second):
        assert torch.allclose(each @ each.T, torch.eye(4), atol=1e-6)
    assert not torch.allclose(first, second, atol=0.1)
    assert same_bits(second, expected("weight[4:8]", (4, 4), Orthogonal()))


def test_a_matrix_may_lie_in_two_pieces():
    model = nn.Linear(4, 6)
    region = Region(0, ((0, 1), (3, 6)))
    write(model, plan_of(model, rows=[row("weight", (6, 4), Orthogonal(), region)]), seed=0)
    matrix = model.weight.detach()[[0, 3, 4, 5]]
    assert torch.allclose(matrix @ matrix.T, torch.eye(4), atol=1e-6)


def test_a_tied_weight_is_drawn_once_under_its_first_name():
    model = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 6, bias=False))
    model[1].weight = model[0].weight
    write(model, plan_of(model), seed=0)
    assert model[1].weight is model[0].weight
    assert same_bits(model[1].weight, expected("0.weight", (6, 4)))


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        lambda model: torch.compile(model, backend="eager"),
        lambda model: nn.DataParallel(torch.compile(model, backend="eager")),
    ],
)
def test_a_wrapped_model_draws_the_same_bits(wrap):
    plain, inside = mlp(), mlp()
    write(plain, plan_of(plain), seed=0)
    wrapped = wrap(inside)
    write(wrapped, plan_of(plain), seed=0)
    assert not differing(plain, inside)


def test_nothing_else_of_the_model_changes():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout())
    model[0].weight.requires_grad_(False)
    model(torch.randn(4, 3)).sum().backward()
    model[0].register_forward_hook(lambda *_: None)
    model[2].eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    gradient = model[0].bias.grad.clone()
    identities = [id(each) for each in model.parameters()]
    hooks = [dict(each._forward_hooks) for each in model.modules()]
    write(model, plan_of(model, rows=[row("0.weight", (3, 3))]), seed=0)
    changed = {
        name for name, value in model.state_dict().items() if not same_bits(value, state[name])
    }
    assert changed == {"0.weight"}
    assert same_bits(model[0].bias.grad, gradient)
    assert [id(each) for each in model.parameters()] == identities
    assert [each.requires_grad for each in model.parameters()] == [False, True, True, True]
    assert [each.training for each in model.modules()] == [True, True, True, False]
    assert [dict(each._forward_hooks) for each in model.modules()] == hooks
    model[0].weight.requires_grad_(True)
    model(torch.randn(4, 3)).sum().backward()


def test_random_states_are_untouched():
    model = nn.utils.parametrizations.orthogonal(nn.Linear(6, 4))
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    write(model, plan_of(model), seed=0)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]


def test_a_graph_that_holds_the_old_weight_notices():
    model = nn.Linear(3, 3)
    x = torch.ones(1, 3, requires_grad=True)
    loss = model(model(x)).sum()
    write(model, plan_of(model), seed=0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_default_seed_comes_from_torchs_generator_and_advances_it():
    torch.manual_seed(5)
    first, second = default_seed(), default_seed()
    torch.manual_seed(5)
    with torch.device("meta"):
        assert default_seed() == first
    assert first != second
    assert 0 <= first < 2**63


def test_default_seed_is_shared_by_ranks():
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    try:
        torch.manual_seed(5)
        shared = default_seed()
    finally:
        torch.distributed.destroy_process_group()
    torch.manual_seed(5)
    assert default_seed() == shared


@pytest.mark.filterwarnings("default::xavier.frameworks.torch.write.SameBitsWarning")
def test_two_living_models_of_the_same_bits_are_warned_of():
    assert issubclass(SameBitsWarning, XavierWarning)
    one, two = (nn.Sequential(nn.Linear(11, 2)) for _ in range(2))
    write(one, plan_of(one), seed=0)
    write(one, plan_of(one), seed=0)
    write(nn.DataParallel(one), plan_of(one), seed=0)
    with pytest.warns(SameBitsWarning, match=r"seed 0, scope '' and the same names"):
        write(two, plan_of(two), seed=0)
    write(two, plan_of(two), seed=0, scope="two.")
    write(two, plan_of(two), seed=1)
    three = nn.Sequential(nn.Linear(11, 2))
    write(three, plan_of(three, Constant(0.0)), seed=0)


def test_an_interrupted_draw_is_completed_by_the_next_one():
    whole, broken = mlp(), mlp()
    write(whole, plan_of(whole), seed=0)

    def interrupt(count, total):
        if count > 30:
            raise KeyboardInterrupt

    with pytest.raises(WriteError, match=r"\(interrupted\) in `0\.bias`: 1 of 4"):
        write(broken, plan_of(broken), seed=0, progress=interrupt)
    assert differing(whole, broken)
    write(broken, plan_of(broken), seed=0)
    assert not differing(whole, broken)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_sharded_weight_gets_its_part_of_the_whole():
    from torch.distributed.tensor import DTensor, Replicate, Shard
    from torch.testing._internal.distributed.fake_pg import FakeStore

    torch.distributed.init_process_group("fake", store=FakeStore(), rank=1, world_size=2)
    try:
        mesh = torch.distributed.init_device_mesh("cpu", (2,))
        for placement, part in (
            (Shard(0), np.s_[3:5]), (Shard(1), np.s_[:, 3:6]), (Replicate(), np.s_[:]),
        ):  # fmt: skip
            local = torch.zeros(5, 6)[part].contiguous()
            held = DTensor.from_local(
                local, mesh, [placement], run_check=False, shape=(5, 6), stride=(6, 1)
            )
            for law in (LAW, Orthogonal()):
                model = nn.ParameterList([nn.Parameter(held)])
                write(model, plan_of(model, law), seed=0)
                assert same_bits(model[0].to_local(), expected("0", (5, 6), law)[part])
    finally:
        torch.distributed.destroy_process_group()
