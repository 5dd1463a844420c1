"""Weights that the model makes something of before it contracts them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import xavier
from xavier import laws

D, OUT = 24, 32


class Through(nn.Module):
    """A ReLU layer whose weight is a function of its parameters, and a head."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.w = nn.Parameter(torch.randn(OUT, D))
        self.other = nn.Parameter(torch.randn(OUT, D))
        self.left = nn.Parameter(torch.randn(OUT, 4))
        self.right = nn.Parameter(torch.randn(4, D))
        self.gain = nn.Parameter(torch.tensor(1.5))
        self.register_buffer("mask", (torch.arange(OUT * D).view(OUT, D) % 3 == 0).float())
        self.register_buffer("rows", torch.arange(1.0, OUT + 1)[:, None])
        self.head = nn.Linear(OUT, 3)

    def forward(self, x):
        return self.head(nn.functional.linear(x, self.function(self)).relu())


def plan_of(function):
    return xavier.plan(Through(function), torch.randn(5, D))


@pytest.mark.parametrize(
    "function",
    [
        lambda m: m.w + 0,
        lambda m: 0.0 + m.w,
        lambda m: m.w - 0.0,
        lambda m: m.w * 1,
        lambda m: m.w / 1.0,
        lambda m: m.w**1,
        lambda m: m.w + torch.zeros(OUT, D),
        lambda m: m.w * torch.ones(OUT, 1),
        lambda m: m.w.clone().to(torch.float64).float().contiguous(),
        lambda m: nn.functional.dropout(m.w, 0.5, m.training),
    ],
)
def test_what_leaves_the_values_alone_is_drawn_as_usual(function):
    plan = plan_of(function)
    (row,) = plan["w"]
    assert row.law == plan_of(lambda m: m.w)["w"][0].law
    assert plan.notes == ()


@pytest.mark.parametrize(
    ("function", "names", "done"),
    [
        (lambda m: (m.w - m.w.mean()) / m.w.std(), ["w"], "mean, sub, std, div"),
        (lambda m: m.w * m.gain, ["w", "gain"], "mul"),
        (lambda m: m.w.abs(), ["w"], "abs"),
        (lambda m: nn.functional.softplus(m.w), ["w"], "softplus"),
        (lambda m: m.w + m.other, ["w", "other"], "add"),
        (lambda m: m.left @ m.right, ["left", "right"], "mm"),
        (lambda m: m.w + 1, ["w"], "add"),
    ],
)
def test_what_has_no_law_is_kept_with_what_was_done_to_it_and_a_way_out(function, names, done):
    plan = plan_of(function)
    kept = {each.name: each.reason for each in plan.kept}
    for name in names:
        assert kept[name] == (
            f"it is contracted through a function of it ({done}), of which no law is derived; "
            f"draw it by hand, or with overrides={{{name!r}: rule}}"
        )


def test_the_way_out_works():
    model, example = Through(lambda m: m.w.abs()), torch.randn(5, D)
    xavier.init_(model, example, seed=0, overrides={"w": laws.Normal(0.0, 0.1)})
    assert model.w.std().item() == pytest.approx(0.1, rel=0.15)


@pytest.mark.parametrize(
    ("function", "scale"),
    [
        (lambda m: m.w * m.mask, 1 / 3),
        (lambda m: m.mask * m.w, 1 / 3),
        (lambda m: (m.w * m.mask).clone() * 2, 4 / 3),
        (lambda m: m.w * m.rows, sum(at**2 for at in range(1, OUT + 1)) / OUT),
    ],
    ids=["mask", "mask first", "scaled mask", "rows"],
)
def test_a_constant_mask_counts_as_its_second_moment(function, scale):
    plan = plan_of(function)
    (row,) = plan["w"]
    plain = plan_of(lambda m: m.w)["w"][0]
    assert row.law.std == pytest.approx(plain.law.std / math.sqrt(scale), rel=1e-5)
    assert row.predicted_q == pytest.approx(plain.predicted_q, rel=1e-4)
    measured, model, data = [], Through(function), torch.randn(2000, D)
    for seed in range(20):
        xavier.init_(model, plan=plan, seed=seed)
        measured.append((data @ function(model).T).square().mean().item())
    assert sum(measured) / len(measured) == pytest.approx(row.predicted_q, rel=0.05)


def test_a_mask_that_is_learned_elementwise_keeps_its_mean():
    mask = torch.tensor([1.0, 0.0] * (D // 2))
    model = Through(lambda m: m.w)
    model.shift = nn.Parameter(torch.full((D,), 2.0))
    model.forward = lambda x: model.head(nn.functional.linear(x + model.shift * mask, model.w))
    # The shift is 2 for half of the features: its second moment is 2.
    (row,) = xavier.plan(model, torch.randn(5, D))["w"]
    assert row.forward_power == pytest.approx(3.0)
