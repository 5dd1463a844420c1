"""Biases become 0 wherever a contraction is added to, unless they were set on purpose."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import xavier
from xavier import zoo
from xavier._types.laws import Constant
from xavier.planning import recipe_names

D = 24


class Made(nn.Module):
    """A module of the given parts whose forward is a function of it and its input."""

    def __init__(self, run, **parts):
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.run(self, x)


def uniform(*shape, fan_in):
    return nn.Parameter((2 * torch.rand(*shape) - 1) / math.sqrt(fan_in))


def bilinear():
    return Made(lambda m, x: m.head(m.both(x, x[:, :6]).relu()), both=nn.Bilinear(D, 6, 40),
                head=nn.Linear(40, 3))  # fmt: skip


def tied_autoencoder():
    model = Made(lambda m, x: m.dec(m.enc(x).relu()), enc=nn.Linear(D, 96), dec=nn.Linear(96, D))
    model.dec.weight = nn.Parameter(model.enc.weight.t())
    return model


def tied_decoder():
    run = lambda m, x: m.dec(m.mid(m.table(x.long().abs() % 50)).relu())
    model = Made(run, table=nn.Embedding(50, D), mid=nn.Linear(D, D), dec=nn.Linear(D, 50))
    model.dec.weight = model.table.weight
    return model


def functional_decoder():
    run = lambda m, x: nn.functional.linear(m.enc(x).relu(), m.enc.weight.t(), m.dec.bias)
    model = Made(run, enc=nn.Linear(D, 96), dec=nn.Linear(96, D))
    del model.dec.weight
    return model


def written_by_hand():
    run = lambda m, x: m.head((x @ m.weight + m.bias).relu())
    return Made(run, weight=uniform(D, 40, fan_in=D), bias=uniform(40, fan_in=D),
                head=nn.Linear(40, 3))  # fmt: skip


def convolution_by_hand():
    def run(m, x):
        y = nn.functional.conv1d(x[:, None], m.kernel) + m.bias[:, None]
        return m.head(y.relu().mean(-1))

    return Made(run, kernel=uniform(16, 1, 5, fan_in=5), bias=uniform(16, fan_in=5),
                head=nn.Linear(16, 3))  # fmt: skip


def experts():
    def run(m, x):
        return m.head((torch.bmm(x.expand(3, *x.shape), m.up) + m.bias).sum(0).relu())

    return Made(run, up=uniform(3, D, 16, fan_in=D), bias=uniform(3, 1, 16, fan_in=D),
                head=nn.Linear(16, 3))  # fmt: skip


def zeros_by_hand():
    model = written_by_hand()
    nn.init.zeros_(model.bias)
    return model


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (bilinear, "both.bias"),
        (tied_autoencoder, "dec.bias"),
        (tied_decoder, "dec.bias"),
        (functional_decoder, "dec.bias"),
        (written_by_hand, "bias"),
        (convolution_by_hand, "bias"),
        (experts, "bias"),
        (zeros_by_hand, "bias"),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_a_bias_of_a_default_draw_becomes_zero(make, name, seed):
    torch.manual_seed(seed)
    model, example = make(), torch.randn(5, D)
    (row,) = xavier.init_(model, example, seed=seed)[name]
    assert (row.role, row.law) == ("bias", Constant(0.0))
    assert not model.get_parameter(name).any()


def set_to(value):
    def make():
        model = written_by_hand()
        model.bias.data = value(40)
        return model

    return make


def also_multiplied():
    run = lambda m, x: m.head((x @ m.weight + m.bias) * m.bias)
    model = written_by_hand()
    model.run = run
    return model


def added_to_the_data():
    run = lambda m, x: m.head((x + m.bias).relu())
    return Made(run, bias=uniform(D, fan_in=D), head=nn.Linear(D, 3))


@pytest.mark.parametrize(
    "make",
    [
        set_to(lambda n: torch.full((n,), -4.6)),
        set_to(lambda n: torch.linspace(-7, -2, n)),
        set_to(lambda n: torch.randn(n) * 0.02),
        also_multiplied,
        added_to_the_data,
    ],
    ids=["prior", "ramp", "small token", "multiplied", "added to data"],
)
def test_what_is_no_default_draw_of_a_bias_is_kept(make):
    torch.manual_seed(0)
    model = make()
    plan = xavier.plan(model, torch.randn(5, D))
    assert "bias" in {each.name for each in plan.kept}


@pytest.mark.parametrize("recipe", recipe_names())
@pytest.mark.parametrize("name", zoo.names())
def test_a_plan_of_a_drawn_model_is_the_plan_it_was_drawn_by(name, recipe):
    model, example = zoo.build(name), zoo.example(name)
    seed = recipe_names().index(recipe)
    first = xavier.plan(model, example, recipe=recipe)
    xavier.init_(model, example, recipe=recipe, seed=seed)
    again = xavier.plan(model, example, recipe=recipe)
    assert again.digest == first.digest
    assert (again.assignments, again.kept) == (first.assignments, first.kept)


@pytest.mark.parametrize("seed", [0, 1, 2**40])
@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_are_planned_again_as_they_were_drawn(cell, seed):
    layer = cell(8, 6, num_layers=2, bidirectional=True)
    model = Made(lambda m, x: m.head(m.cell(x)[0]), cell=layer, head=nn.Linear(12, 3))
    example = torch.randn(2, 5, 8)
    first = xavier.plan(model, example)
    xavier.init_(model, example, seed=seed)
    assert xavier.plan(model, example).digest == first.digest


def test_a_forget_gate_that_is_opened_further_is_kept():
    layer = nn.LSTM(8, 6)
    layer.bias_ih_l0.data[6:12] = 2.0
    plan = xavier.plan(layer, torch.randn(2, 5, 8))
    assert "bias_ih_l0" in {each.name for each in plan.kept}
