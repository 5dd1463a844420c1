"""Layer-sequential unit variance: one pass, every contraction, nothing left behind."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import xavier
from torch_plans import same_bits
from xavier import zoo
from xavier._errors import PlanError
from xavier.frameworks.torch.measure import measure


def batch(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def stack(activation, *, depth, width=64):
    layers = [each for _ in range(depth) for each in (nn.Linear(width, width), activation())]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def stds(model, example):
    return [op.std for op in measure(model, example).ops]


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU, nn.Sigmoid, nn.SiLU])
def test_every_layer_of_a_hundred_has_unit_variance_on_the_example(activation):
    model, x = stack(activation, depth=100), batch(128, 64)
    xavier.init_(model, x, recipe="lsuv", seed=0)
    # Laws have six digits, and each layer's rounding is passed on to those after it.
    assert stds(model, x) == pytest.approx([1.0] * 101, abs=2e-3)


def test_the_batch_goes_through_once():
    seen: list[str] = []

    class Counted(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = stack(nn.ReLU, depth=20)

        def forward(self, x):
            seen.append(x.device.type)
            return self.layers(x)

    xavier.init_(Counted(), batch(16, 64), recipe="lsuv", seed=0)
    assert seen == ["meta", "cpu"]  # the plan's pass computes nothing


def test_the_plan_that_comes_back_draws_the_same_weights_without_data():
    model, x = stack(nn.Tanh, depth=5), batch(64, 64)
    plan = xavier.init_(model, x, recipe="lsuv", seed=0)
    assert "unit variance" in plan["2.weight"][0].reason
    again = stack(nn.Tanh, depth=5)
    with pytest.warns(xavier.XavierWarning, match="the same bits"):
        xavier.init_(again, plan=xavier.Plan.from_toml(plan.to_toml()), seed=0)
    assert all(
        same_bits(one, two) for one, two in zip(model.parameters(), again.parameters(), strict=True)
    )


@pytest.mark.parametrize("name", ["plain_relu_cnn", "unet", "gpt", "mixture_of_experts", "llama"])
def test_whole_models_have_unit_variance_at_every_contraction(name):
    model = getattr(zoo, name)()
    x = model.example_input(batch=8)
    plan = xavier.init_(model.eval(), x, recipe="lsuv", seed=0)
    tables = {row.name for row in plan if row.role in (xavier.Role.EMBEDDING, xavier.Role.TIED)}
    ops = [op for op in measure(model, x).ops if op.weights and op.weights[0] not in tables]
    assert [op.std for op in ops] == pytest.approx([1.0] * len(ops), abs=1e-3)


def test_modes_buffers_and_gradients_are_as_they_were():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Dropout(), nn.Flatten(),
                          nn.Linear(8 * 36, 4))  # fmt: skip
    model[2].eval()
    before = {name: each.clone() for name, each in model.named_buffers()}
    xavier.init_(model, batch(4, 3, 8, 8), recipe="lsuv", seed=0)
    assert [each.training for each in model] == [True, True, False, True, True]
    assert all(same_bits(before[name], each) for name, each in model.named_buffers())
    assert all(each.grad is None for each in model.parameters())


def test_a_weight_that_cannot_be_rescaled_is_told():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(64, 32)))
    plan = xavier.init_(model, batch(16, 64), recipe="lsuv", seed=0)
    assert "not rescaled" in plan["0.weight"][0].reason


def test_without_an_example_it_is_refused_before_anything_is_touched():
    model = nn.Linear(4, 4)
    before = model.weight.detach().clone()
    with pytest.raises(PlanError, match="the recipe lsuv needs an example input"):
        xavier.init_(model, recipe="lsuv")
    assert same_bits(before, model.weight)
