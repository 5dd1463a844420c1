"""Cumulative sums, and averages of several things at once."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import xavier
from xavier.flow.expressions import Expression, Root, of_root, without_averages


class Decays(nn.Module):
    """Values weighed by how much a state has decayed since: `exp` of a difference of sums."""

    def __init__(self, *, one_step=False):
        super().__init__()
        self.one_step = one_step
        self.rate, self.value, self.out = nn.Linear(16, 1), nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x):
        decay = -4 * nn.functional.softplus(1 + self.rate(x))
        total = decay.cumsum(1)
        left = torch.exp(decay if self.one_step else total[:, -1:] - total)
        return self.out(self.value(x) * left)


def test_what_decayed_since_is_no_larger_than_it_was():
    x = torch.randn(4, 8, 16, generator=torch.Generator().manual_seed(0))
    (row,) = xavier.plan(Decays(), x)["out.weight"]
    # As a factor of at most 1 counts, and not as exp of a difference of independent sums.
    (same,) = xavier.plan(Decays(one_step=True), x)["out.weight"]
    assert row.law.std == same.law.std
    assert row.law.std * math.sqrt(16) > 0.5


def _averaged(*roots):
    means = tuple(Expression(arguments=(of_root(each),), statistic="mean") for each in roots)
    return Expression(function=lambda *given: sum(given), arguments=means)


def test_a_function_of_the_averages_of_many_things_counts_as_their_mean_power():
    one, two, three = (Root(0.0, second, "contraction") for second in (1.0, 2.0, 6.0))
    assert without_averages(_averaged(one, two)).moments[1] == pytest.approx(3.0)
    assert without_averages(_averaged(one, two, three)).moments == (0.0, 3.0)


class Pools(nn.Module):
    """Divides the mean of three branches, pooled, by their means' size."""

    def __init__(self):
        super().__init__()
        self.branches = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))
        self.out = nn.Linear(1, 4)

    def forward(self, x):
        one, two, three = (branch(x).abs().mean(-1, keepdim=True) for branch in self.branches)
        return self.out(torch.where(one > two, one, three))


def test_a_choice_between_pooled_branches_is_planned():
    plan = xavier.plan(Pools(), torch.randn(4, 16))
    assert len(plan["out.weight"]) == 1
