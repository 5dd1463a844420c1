"""Names and seeds of the twins' draws, the tensors they take, and what they refuse."""

from __future__ import annotations

import inspect
import math
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from torch.nn import init

import xavier.torch as twins
from twin_calls import RANDOM, bits, call
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

INF = math.inf


@pytest.fixture
def fresh_process(monkeypatch):
    """Start as a new process does: no draw so far, and no seed."""
    monkeypatch.setattr(_scopes, "_process", ("", _scopes._Counters(None)))


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
        with pytest.raises(error, match=r"nonlinearity '?swish"):
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
