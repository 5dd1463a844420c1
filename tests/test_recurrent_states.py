"""The size of a recurrent state at rest, and of what it feeds, against brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import xavier

WIDTH = 128
STEPS = 60
SEEDS = 5


class Headed(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.body = kind(WIDTH, WIDTH, batch_first=True, **options)
        ways = 2 if self.body.bidirectional else 1
        self.head = nn.Linear(ways * WIDTH, 64)

    def forward(self, x):
        return self.head(self.body(x)[0])


def sequences(batch, steps):
    return torch.randn(batch, steps, WIDTH, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 2}, {"num_layers": 2, "bidirectional": True}]
)
@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_head_behind_a_state_has_the_predicted_second_moment(kind, options):
    row = xavier.plan(Headed(kind, **options), sequences(2, 3))["head.weight"][0]
    assert row.fed_by == "recurrent state"
    assert row.predicted_q == pytest.approx(0.25, rel=1e-5)
    x, found = sequences(16, STEPS), []
    for seed in range(SEEDS):
        model = Headed(kind, **options)
        xavier.init_(model, x[:2, :3], seed=seed)
        with torch.no_grad():  # where either direction has come to rest
            found.append(float(model(x)[:, STEPS // 2 : STEPS * 3 // 4].square().mean()))
    error = np.std(found, ddof=1) / math.sqrt(SEEDS)
    # The bias of a finite width, 5 L / n as in test_auto_variance: one contraction each layer of
    # a direction, one head.
    depth = 1 + options.get("num_layers", 1) * (2 if "bidirectional" in options else 1)
    assert abs(np.mean(found) - 0.25) <= 5 * error + 5 * depth / WIDTH * 0.25


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_the_number_of_steps_changes_no_law(kind):
    laws = [
        [(row.name, row.region, row.law) for row in xavier.plan(Headed(kind), sequences(2, steps))]
        for steps in (2, 3, 7)
    ]
    assert laws[0] == laws[1] == laws[2]


def test_a_cell_that_is_stepped_by_hand_counts_as_the_layer():
    class Stepped(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.GRUCell(WIDTH, WIDTH), nn.Linear(WIDTH, 64)

        def forward(self, x):
            h = torch.zeros(len(x), WIDTH)
            for at in range(x.shape[1]):
                h = self.body(x[:, at], h)
            return self.head(h)

    by_hand = xavier.plan(Stepped(), sequences(2, 4))["head.weight"][0]
    layer = xavier.plan(Headed(nn.GRU), sequences(2, 4))["head.weight"][0]
    # 4096 samples over 16 steps: each has a second moment to a few percent.
    assert by_hand.forward_power == pytest.approx(layer.forward_power, rel=0.03)


def test_a_state_that_does_not_come_to_rest_is_told():
    class Growing(nn.Module):
        def __init__(self):
            super().__init__()
            self.into, self.state = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
            self.head = nn.Linear(WIDTH, 3)

        def forward(self, x):
            h = torch.zeros(len(x), WIDTH)
            for at in range(x.shape[1]):
                h = self.into(x[:, at]) + self.state(h)
            return self.head(h)

    plan = xavier.plan(Growing(), sequences(2, 4))
    assert any("does not come to rest" in note for note in plan.notes)
    assert plan["head.weight"][0].forward_power == 1
