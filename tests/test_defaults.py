"""What the framework draws when nobody asks, held against what it draws."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import xavier
from xavier import laws

EIGHT = torch.zeros(2, 8)


def attention(**sizes):
    width = sizes.get("kdim", 64)
    example = {name: torch.zeros(2, 5, width) for name in ("key", "value")}
    example["query"] = torch.zeros(2, 5, 64)
    return nn.MultiheadAttention(64, 2, batch_first=True, **sizes), example


def conv1d():
    layers = pytest.importorskip("transformers.pytorch_utils")
    return layers.Conv1D(96, 64), torch.zeros(2, 64)


MADE = {
    "linear": lambda: (nn.Linear(64, 96), torch.zeros(2, 64)),
    "conv": lambda: (nn.Conv2d(16, 32, 3, groups=2), torch.zeros(1, 16, 9, 9)),
    "transposed conv": lambda: (
        nn.ConvTranspose2d(16, 24, 3, stride=2), torch.zeros(1, 16, 9, 9)
    ),
    "embedding": lambda: (nn.Embedding(100, 64), torch.zeros(2, 3, dtype=torch.long)),
    "lstm": lambda: (nn.LSTM(24, 48, batch_first=True), torch.zeros(2, 5, 24)),
    "gru cell": lambda: (nn.GRUCell(24, 48), torch.zeros(2, 24)),
    "attention": attention,
    "attention of three sizes": lambda: attention(kdim=32, vdim=32),
    "conv1d": conv1d,
}  # fmt: skip


@pytest.mark.parametrize("name", MADE)
def test_default_is_what_the_framework_draws(name):
    torch.manual_seed(0)
    model, example = MADE[name]()
    plan = xavier.plan(model, example, recipe="default")
    weights = [row for row in plan if row.role not in ("bias", "scale")]
    assert weights
    for row in weights:
        assert row.rule == "FrameworkDefault()"
        part = [model.get_parameter(row.name).detach()[at] for at in row.region.slices(
            tuple(model.get_parameter(row.name).shape))]  # fmt: skip
        values = torch.cat([each.flatten() for each in part]).double()
        spread = laws.std(row.law)
        # A standard deviation wavers by sqrt((kurtosis - 1) / 4 n), at most 1 / sqrt(2 n) here.
        assert float(values.std()) == pytest.approx(spread, rel=5 / math.sqrt(2 * len(values)))
        low, high = laws.support(row.law)
        assert low <= float(values.min())
        assert float(values.max()) <= high
        if math.isfinite(high):
            assert float(values.max()) > 0.95 * high


def test_a_weight_of_no_known_type_is_drawn_as_a_dense_layers():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(5, 8))

        def forward(self, x):
            return x @ self.weight.T

    row = xavier.plan(Bare(), EIGHT, recipe="default")["weight"][0]
    assert row.law == laws.round_law(laws.Uniform(-(8**-0.5), 8**-0.5))
    assert row.reason.startswith("no default of the framework's is known for it")


def test_a_constraint_imposes_its_law_without_an_example_too():
    model = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(16, 9)))
    traced, untraced = (xavier.plan(model, x)["0.weight"][0] for x in (torch.zeros(1, 16), None))
    assert traced.law == untraced.law == laws.Normal(0.0, 0.142857)
