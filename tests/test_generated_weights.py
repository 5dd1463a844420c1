"""Weights that another network computes have the size that their use needs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import xavier
from xavier import zoo

WIDTH = 64
SEEDS = 40


class Generated(nn.Module):
    """A layer whose weight is computed from a code, scaled or not."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.code = nn.Parameter(torch.randn(32, generator=torch.Generator().manual_seed(1)))
        self.make = nn.Linear(32, WIDTH * WIDTH)
        self.head = nn.Linear(WIDTH, 32)
        self.scale = scale

    def forward(self, x):
        weight = self.make(self.code).view(WIDTH, WIDTH) * self.scale
        return self.head(torch.relu(functional.linear(x, weight)))


class Mixed(nn.Module):
    """CondConv: a matrix for each input, mixed from a few by a softmax."""

    def __init__(self):
        super().__init__()
        self.route = nn.Linear(WIDTH, 4)
        self.experts = nn.Parameter(torch.randn(4, WIDTH, WIDTH))
        self.head = nn.Linear(WIDTH, 32)

    def forward(self, x):
        weight = torch.einsum("be,eij->bij", torch.softmax(self.route(x), -1), self.experts)
        return self.head(torch.relu(torch.einsum("bij,bj->bi", weight, x)))


@pytest.mark.parametrize("make", [Generated, lambda: Generated(0.1), Mixed])
def test_a_head_behind_a_computed_weight_has_the_predicted_second_moment(make):
    x = torch.randn(128, WIDTH, generator=torch.Generator().manual_seed(0))
    assert xavier.plan(make(), x)["head.weight"][0].forward_power == pytest.approx(0.5, rel=1e-4)
    found = []
    for seed in range(SEEDS):
        model = make()
        xavier.init_(model, x, seed=seed)
        with torch.no_grad():
            found.append(float(model(x).square().mean()))
    error = np.std(found, ddof=1) / math.sqrt(SEEDS)
    # The bias of a finite width, 5 L / n as in test_auto_variance, over three layers.
    assert abs(np.mean(found) - 0.25) <= 5 * error + 5 * 3 / WIDTH * 0.25


def test_the_law_of_what_computes_a_weight_counts_the_scale_behind_it():
    x = torch.zeros(2, WIDTH)
    plain, small = (xavier.plan(Generated(scale), x)["make.weight"][0] for scale in (1.0, 0.1))
    assert plain.predicted_q == pytest.approx(1 / WIDTH, rel=1e-4)
    assert small.law.std == pytest.approx(10 * plain.law.std, rel=1e-4)
    assert "it computes a weight" in plain.reason


def test_the_zoos_hypernetwork_is_healthy():
    model = zoo.hypernetwork()
    x = model.example_input(batch=8)
    xavier.init_(model, x, seed=0)
    assert xavier.check(model, x).verdict is xavier.Verdict.HEALTHY


def test_queries_and_keys_are_no_computed_weights():
    layer = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
    x = torch.zeros(2, 5, WIDTH)
    plan = xavier.plan(layer, (x, x, x))
    assert not any("computes a weight" in row.reason for row in plan)
