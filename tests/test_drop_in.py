"""`drop_in`: code that calls `torch.nn.init` draws by the twins, and only within."""

from __future__ import annotations

import sys
from threading import Thread
from types import ModuleType

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn.init import normal_

import xavier.torch
from xavier._errors import StreamError

DRAWING = (
    "uniform_", "normal_", "trunc_normal_", "xavier_uniform_", "xavier_normal_",
    "kaiming_uniform_", "kaiming_normal_", "orthogonal_", "sparse_",
)  # fmt: skip
ARGUMENTS = {"sparse_": {"sparsity": 0.25}}
TORCHS = tuple(getattr(nn.init, name) for name in DRAWING)  # a tuple is not looked into
TABLE = {"normal": normal_}


def _called(name: str, tensor: torch.Tensor) -> torch.Tensor:
    return getattr(nn.init, name)(tensor, **ARGUMENTS.get(name, {}))


def _restored() -> bool:
    return all(getattr(nn.init, name) is each for name, each in zip(DRAWING, TORCHS, strict=True))


@pytest.mark.parametrize("name", DRAWING)
def test_within_the_functions_draw_what_the_twins_do(name):
    with xavier.torch.drop_in("a.", seed=3):
        drawn = _called(name, torch.empty(6, 8))
    expected = getattr(xavier.torch, name)(
        torch.empty(6, 8), **ARGUMENTS.get(name, {}), name="a.#0", seed=3
    )
    assert torch.equal(drawn, expected)
    assert _restored()


@pytest.mark.parametrize("name", [each for each in DRAWING if each not in ("orthogonal_",)])
def test_the_distribution_is_torchs(name):
    torch.manual_seed(0)
    theirs = _called(name, torch.empty(256, 256)).flatten()
    with xavier.torch.drop_in(seed=0):
        ours = _called(name, torch.empty(256, 256)).flatten()
    assert stats.ks_2samp(ours.numpy(), theirs.numpy()).pvalue > 1e-4


def test_a_layer_of_torchs_own_is_drawn_and_torch_manual_seed_repeats_it():
    def built() -> nn.Module:
        torch.manual_seed(5)
        with xavier.torch.drop_in():
            return nn.TransformerEncoderLayer(32, 4)

    torch.manual_seed(5)
    theirs = nn.TransformerEncoderLayer(32, 4)
    one, two = built().state_dict(), built().state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["linear1.weight"], theirs.linear1.weight)


def test_two_blocks_draw_other_numbers():
    torch.manual_seed(5)
    made = []
    for _ in range(2):
        with xavier.torch.drop_in():
            made.append(nn.Linear(4, 4).weight)
    assert not torch.equal(*made)


def test_names_that_others_imported_are_reached():
    torchs = TORCHS[DRAWING.index("normal_")]
    with xavier.torch.drop_in("a.", seed=0):
        assert normal_ is not torchs
        assert TABLE["normal"] is nn.init.normal_
        drawn = normal_(tensor=torch.empty(3))
    assert torch.equal(drawn, xavier.torch.normal_(torch.empty(3), name="a.#0", seed=0))
    assert normal_ is torchs
    assert TABLE["normal"] is torchs


def test_a_module_that_was_loaded_within_is_given_torchs_back(monkeypatch):
    late = ModuleType("late")
    with xavier.torch.drop_in(seed=0):
        exec("from torch.nn.init import kaiming_uniform_", vars(late))
        monkeypatch.setitem(sys.modules, "late", late)
    assert late.kaiming_uniform_ in TORCHS


def test_all_is_put_back_after_an_error_and_after_the_last_of_nested_blocks():
    with pytest.raises(ZeroDivisionError), xavier.torch.drop_in(seed=0):
        1 / 0  # noqa: B018 - it raises
    assert _restored()
    with xavier.torch.drop_in("a.", seed=0):
        with xavier.torch.drop_in("b.", seed=1):
            inner = nn.init.normal_(torch.empty(4))
        outer = nn.init.normal_(torch.empty(4))
    assert _restored()
    assert torch.equal(inner, xavier.torch.normal_(torch.empty(4), name="a.b.#0", seed=1))
    assert torch.equal(outer, xavier.torch.normal_(torch.empty(4), name="a.#0", seed=0))
    with pytest.raises(StreamError), xavier.torch.drop_in(seed=2**63):
        pass
    assert _restored()


def test_another_thread_keeps_torchs_draws():
    torch.manual_seed(1)
    expected = nn.init.normal_(torch.empty(4))
    found: list[torch.Tensor] = []

    def draw() -> None:
        torch.manual_seed(1)
        found.append(nn.init.normal_(torch.empty(4)))

    with xavier.torch.drop_in(seed=0):
        thread = Thread(target=draw)
        thread.start()
        thread.join()
    assert torch.equal(found[0], expected)


class _Own(torch.Tensor):
    pass


@pytest.mark.parametrize(
    "make",
    [lambda: torch.empty(4, dtype=torch.complex64), lambda: torch.empty(4).as_subclass(_Own)],
    ids=["complex", "subclass"],
)
def test_what_the_kernel_is_not_for_is_left_to_torch(make):
    torch.manual_seed(1)
    expected = nn.init.normal_(make())
    torch.manual_seed(1)
    with xavier.torch.drop_in(seed=0):
        found = nn.init.normal_(make())
    assert type(found) is type(expected)
    assert torch.equal(found, expected)


def test_a_generator_gives_the_seed_and_meta_tensors_stay_empty():
    with xavier.torch.drop_in(seed=0):
        one, two = (
            nn.init.normal_(torch.empty(4), generator=torch.Generator().manual_seed(seed))
            for seed in (1, 2)
        )
        assert nn.init.normal_(torch.empty(4, device="meta")).is_meta
    assert not torch.equal(one, two)


@pytest.mark.transformers
def test_models_of_transformers_are_drawn_by_the_kernel():
    import transformers

    config = transformers.GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=64)
    made = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        with xavier.torch.drop_in(seed=0):
            made.append(transformers.GPT2LMHeadModel(config).transformer.wte.weight)
    assert torch.equal(*made)
    assert float(made[0].detach().std()) == pytest.approx(0.02, rel=5 / (2 * 64 * 32) ** 0.5)


@pytest.mark.parametrize("std", [np.float32(0.5), np.float64(0.5), torch.tensor(0.5)])
@pytest.mark.parametrize("name", ["normal_", "trunc_normal_"])
def test_numbers_that_torch_takes_are_taken(name, std):
    with xavier.torch.drop_in(seed=0):
        found = getattr(nn.init, name)(torch.empty(8), std=std)
    with xavier.torch.drop_in(seed=0):
        assert torch.equal(found, getattr(nn.init, name)(torch.empty(8), 0.0, 0.5))
