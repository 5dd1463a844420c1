"""What parameters and buffers hold on arrival, and what a plan makes of it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import xavier
from xavier import Constant

X = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))


def normed(scale):
    model = nn.Sequential(nn.Linear(16, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 4))
    with torch.no_grad():
        scale(model[1].weight, torch.Generator().manual_seed(0))
    return model


@pytest.mark.parametrize("std", [0.02, 0.5])
def test_a_norms_scale_that_holds_noise_about_zero_starts_at_1(std):
    plan = xavier.plan(normed(lambda w, g: w.normal_(0.0, std, generator=g)), X)
    (row,) = plan["1.weight"]
    assert row.law == Constant(1.0)
    assert "it held noise about 0" in row.reason


@pytest.mark.parametrize(
    "scale",
    [
        lambda w, g: w.normal_(1.0, 0.02, generator=g),  # as some adversarial networks start
        lambda w, g: w.normal_(0.5, 0.5, generator=g),  # as training may leave it
        lambda w, g: w.uniform_(0.0, 0.1, generator=g),
        lambda w, g: w.fill_(0.0),
        lambda w, g: w.copy_(torch.linspace(-0.1, 0.9, 64)),
    ],
    ids=["about 1", "about a half", "positive", "zero", "mostly positive"],
)
def test_a_norms_scale_that_holds_anything_else_is_kept(scale):
    plan = xavier.plan(normed(scale), X)
    assert "1.weight" in [each.name for each in plan.kept]


def test_noise_is_seldom_taken_for_a_scale_that_is_meant():
    generator, missed = torch.Generator(), 0
    for seed in range(300):
        generator.manual_seed(seed)
        model = normed(lambda w, _: w.normal_(0.0, 0.02, generator=generator))
        missed += "1.weight" in [each.name for each in xavier.plan(model).kept]
    # The mean lies beyond four of its deviations once in 16,000, of 64 numbers at least as seldom.
    assert missed == 0


class Frozen(nn.Module):
    """A norm whose numbers are buffers, made when it is built."""

    def __init__(self, width):
        super().__init__()
        self.width = width  # by which it can be built again
        for name, value in (("weight", 1.0), ("bias", 0.0), ("mean", 0.0), ("var", 4.0)):
            self.register_buffer(name, torch.full((width,), value))

    def forward(self, x):
        scale = self.weight * (self.var + 1e-5).rsqrt()
        return x * scale + (self.bias - self.mean * scale)


def test_buffers_of_a_meta_model_count_as_what_their_owner_gives_them():
    def build():
        return nn.Sequential(
            nn.Linear(16, 64), Frozen(64), nn.ReLU(), nn.Linear(64, 64), nn.Tanh(),
            nn.Linear(64, 4),
        )  # fmt: skip

    with torch.device("meta"):
        meta = build()
    real = xavier.plan(build(), X)
    assert xavier.plan(meta, X).digest == real.digest
    # What the variance of 4 divides is half as large behind the norm: the law behind makes up.
    (without,) = xavier.plan(nn.Sequential(*build()[:1], *build()[2:]), X)["2.weight"]
    assert real["3.weight"][0].law.std > 1.5 * without.law.std
