"""The zoo: every model runs, is what it says it is, and can be completed from the meta device."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from xavier import zoo
from xavier._errors import UnknownNameError

NAMES = zoo.names()

# What no gradient reaches: frozen, or out of this run's reach.
UNREACHED = {
    "unused_parameter": {"forgotten", "heads.1.weight", "heads.1.bias"},
    "lora": {f"layers.{at}.base.{part}" for at in range(3) for part in ("weight", "bias")},
}


def on_meta(name, **kwargs):
    with torch.device("meta"):
        return zoo.build(name, **kwargs)


def run(model, example):
    return model(**example) if isinstance(example, dict) else model(example)


def to_meta(example):
    if isinstance(example, dict):
        return {key: value.to("meta") for key, value in example.items()}
    return example.to("meta")


def tensors(example):
    return list(example.values()) if isinstance(example, dict) else [example]


def reset(model):
    """Ask every owner, the inner ones first; torch's own attention hides the method's name."""
    for module in reversed(list(model.modules())):
        for method in ("reset_parameters", "_reset_parameters"):
            if hasattr(module, method):
                getattr(module, method)()


# ---------------------------------------------------------------- every model


@pytest.mark.parametrize("name", NAMES)
def test_a_model_runs_on_its_example_and_sends_a_gradient_to_every_parameter(name):
    torch.manual_seed(0)
    model = zoo.build(name)
    output = run(model, zoo.example(name))
    assert torch.isfinite(output).all()
    assert output.shape[0] == 2
    assert output.var() > 0
    (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
    without = {key for key, each in model.named_parameters() if each.grad is None}
    assert without == UNREACHED.get(name, set())
    assert all(each.grad.isfinite().all() for each in model.parameters() if each.grad is not None)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_built_and_runs_on_meta_alone(name):
    state = torch.get_rng_state()
    model, example = on_meta(name), zoo.example(name)
    held = [*model.named_parameters(), *model.named_buffers()]
    assert {each.device.type for _, each in held} == {"meta"}
    output = run(model, to_meta(example))
    assert output.device.type == "meta"
    assert torch.equal(torch.get_rng_state(), state)
    assert output.shape == run(zoo.build(name), example).shape


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_the_same_each_time_and_another_with_another_seed(name):
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    with torch.device("meta"):
        first = zoo.example(name)
    model = on_meta(name)
    for other in (zoo.example(name), model.example_input(), zoo.example(name, batch=2, seed=0)):
        assert all(map(torch.equal, tensors(first), tensors(other)))
    assert not any(map(torch.equal, tensors(first), tensors(zoo.example(name, seed=1))))
    assert all(each.device.type == "cpu" for each in tensors(first))
    assert {len(each) for each in tensors(zoo.example(name, batch=5))} == {5}
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_a_batch_do_not_touch_each_other(name):
    torch.manual_seed(0)
    model = zoo.build(name).eval()
    example = zoo.example(name, batch=3)
    whole = run(model, example)
    one = {key: each[:1] for key, each in example.items()} if isinstance(example, dict) else (
        example[:1]
    )  # fmt: skip
    row = run(model, one)
    expected = whole[:1, :1] if name == "clip_like" else whole[:1]
    assert torch.allclose(row, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt", "llama", "lstm", "mamba_block"])
def test_no_place_sees_what_comes_after_it(name):
    torch.manual_seed(0)
    model = zoo.build(name)
    example = zoo.example(name)
    half = example.shape[1] // 2
    assert torch.allclose(model(example[:, :half]), model(example)[:, :half], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_building_draws_what_torchs_constructors_draw_and_from_torch_alone(name):
    states = np.random.get_state()[1].copy(), random.getstate()
    torch.manual_seed(3)
    first = zoo.build(name).state_dict()
    torch.manual_seed(3)
    second = zoo.build(name).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert np.array_equal(np.random.get_state()[1], states[0])
    assert random.getstate() == states[1]


# What each model holds on purpose, by the names of parameters and buffers.
DELIBERATE = {
    "layer_scaled": {f"blocks.{at}.scale.gamma" for at in range(8)},
    "llama": {
        *(f"blocks.{at}.norm{which}.weight" for at in range(3) for which in (1, 2)),
        *(f"blocks.{at}.attention.rotary.cosines" for at in range(3)),
        *(f"blocks.{at}.attention.rotary.sines" for at in range(3)),
        "norm.weight",
    },
    "mamba_block": {"mixer.A_log", "mixer.D", "mixer.dt_proj.bias"},
    "clip_like": {"logit_scale", "image.class_token"},
    "lora": {f"layers.{at}.lora_B" for at in range(3)},
    "unused_parameter": {"forgotten"},
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_owners_complete_a_meta_build_with_the_values_of_the_real_one(name):
    """Everything that two builds agree in, `reset_parameters` writes to empty memory."""
    torch.manual_seed(0)
    first = dict((*(model := zoo.build(name)).named_parameters(), *model.named_buffers()))
    second = dict((*(model := zoo.build(name)).named_parameters(), *model.named_buffers()))
    fixed = {
        key
        for key in first
        if torch.equal(first[key], second[key]) and "parametrizations" not in key
    }
    assert DELIBERATE.get(name, set()) <= fixed
    completed = on_meta(name).to_empty(device="cpu")
    with torch.no_grad():
        for each in (*completed.parameters(), *completed.buffers()):
            each.fill_(77)
    reset(completed)
    held = dict((*completed.named_parameters(), *completed.named_buffers()))
    assert {key for key in fixed if not torch.equal(held[key], first[key])} == set()


@pytest.mark.parametrize("name", [*DELIBERATE, "gpt", "mixture_of_experts", "unet", "resnet18"])
def test_owners_leave_no_memory_unwritten(name):
    completed = on_meta(name).to_empty(device="cpu")
    with torch.no_grad():
        for each in (*completed.parameters(), *completed.buffers()):
            each.fill_(77)
    torch.manual_seed(0)
    reset(completed)
    held = (*completed.named_parameters(), *completed.named_buffers())
    assert {key for key, each in held if (each == 77).any()} == set()


# ---------------------------------------------------------------- the registry


def test_every_factory_has_an_entry_and_every_entry_a_summary():
    factories = {entry.name: entry.factory for entry in zoo.entries()}
    assert tuple(factories) == NAMES
    assert len(NAMES) == 18
    assert all(getattr(zoo, name) is factory for name, factory in factories.items())
    for entry in zoo.entries():
        assert entry.summary.startswith("Build ")
        assert entry.to_dict() == {"name": entry.name, "summary": entry.summary}
    helpers = {"ZooEntry", "build", "entries", "example", "names"}
    assert set(zoo.__all__) == {*NAMES, *helpers} <= set(dir(zoo))


def test_build_hands_its_arguments_on():
    assert len(zoo.build("gpt", depth=2).blocks) == 2


@pytest.mark.parametrize("ask", [zoo.build, zoo.example])
def test_an_unknown_model_gets_the_nearest_names(ask):
    with pytest.raises(UnknownNameError, match=r"unknown model of the zoo 'gptt'\nHint: .*gpt"):
        ask("gptt")


def test_an_unknown_attribute_is_one():
    with pytest.raises(AttributeError, match=r"module 'xavier\.zoo' has no attribute 'vgg'"):
        _ = zoo.vgg


def test_the_page_on_the_zoo_names_every_model():
    from pathlib import Path

    page = (Path(__file__).parents[1] / "docs" / "zoo.md").read_text()
    assert not [name for name in NAMES if f"`{name}`" not in page]


def in_a_new_process(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_importing_the_zoo_imports_no_torch():
    code = "import sys; from xavier import zoo; print('torch' in sys.modules, dir(zoo))"
    assert in_a_new_process(code).startswith("False")


def test_without_torch_the_line_that_installs_it_is_told():
    code = """
import sys
sys.modules["torch"] = None
from xavier import zoo
try:
    zoo.gpt
except ImportError as error:
    print(type(error).__name__, error)
"""
    told = in_a_new_process(code)
    assert told.startswith("MissingFrameworkError torch is not installed")
    assert "pip install 'xavier-init[torch]'" in told
