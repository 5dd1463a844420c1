"""Softmaxes: exact moments against Monte Carlo, and in a plan against real weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import xavier
from xavier.frameworks.torch.measure import measure
from xavier.frameworks.torch.trace import trace
from xavier.planning.prediction import predict
from xavier.theory.softmax import log_softmax_moments, softmax_moments

DRAWS = 1_000_000


def assert_mean_is(rows, expected):
    """Assert that independent rows have a mean, within 4 standard errors."""
    assert abs(rows.mean() - expected) <= 4 * rows.std(ddof=1) / math.sqrt(len(rows)) + 1e-15


@pytest.mark.parametrize("variance", [0.01, 1.0, 4.0, 100.0])
@pytest.mark.parametrize("n", [2, 7, 100])
def test_moments_of_a_softmax_are_those_of_brute_force(n, variance):
    generator = np.random.default_rng(n)
    z = generator.normal(3.0, math.sqrt(variance), (DRAWS // n, n))
    z -= z.max(axis=1, keepdims=True)
    log = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    p = np.exp(log)
    power = (p**2).sum(axis=1)
    found = softmax_moments(n, variance)
    assert found.mean == pytest.approx(1 / n)
    assert_mean_is(power / n, found.forward)
    assert_mean_is((p**2 * (1 - 2 * p)).mean(axis=1) + power**2 / n, found.backward)
    found = log_softmax_moments(n, variance)
    assert_mean_is(log.mean(axis=1), found.mean)
    assert_mean_is((log**2).mean(axis=1), found.forward)
    assert_mean_is(((1 - p) ** 2).mean(axis=1) + (n - 1) * power / n, found.backward)


def test_a_softmax_of_many_entries_follows_the_law_of_large_numbers():
    for variance in (0.0, 1e-12, 0.5):
        assert softmax_moments(10**6, variance).forward * 1e12 == pytest.approx(
            math.exp(variance), rel=1e-4
        )
    assert softmax_moments(1, 2.0).forward == pytest.approx(1)
    assert log_softmax_moments(1, 2.0).forward == 0
    level = math.log(50)
    assert log_softmax_moments(50, 1e-12).forward == pytest.approx(level**2)
    assert softmax_moments(50, 1e9).forward == pytest.approx(1 / 50, rel=0.1)


def stacked(function, width=256):
    return nn.Sequential(nn.Linear(width, width), function, nn.Linear(width, width))


@pytest.mark.parametrize("function", [nn.Softmax(-1), nn.LogSoftmax(-1)])
def test_a_weight_behind_a_softmax_over_features_has_the_predicted_moments(function):
    x = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
    model = stacked(function)
    plan = xavier.plan(model, x)
    first, second = predict(trace(model, x), plan).values()
    assert second.second == pytest.approx(plan["2.weight"][0].predicted_q, rel=1e-6)
    forward, backward = [], []
    for seed in range(24):
        xavier.init_(model, x, seed=seed)
        ops = [op for op in measure(model, x, seed=seed).ops if op.weights]
        forward.append(ops[1].rms ** 2)
        backward.append(ops[0].gradient_rms ** 2)
    for samples, expected in ((forward, second.second), (backward, first.gradient)):
        error = np.std(samples, ddof=1) / math.sqrt(len(samples))
        # The bias of a finite width, as in test_auto_variance: 5 L / n.
        assert abs(np.mean(samples) - expected) <= 5 * error + 5 * 2 / 256 * expected


def test_a_softmax_over_the_examples_positions_counts_as_it_did():
    class Pooled(nn.Module):
        """Attention pooling: one score a token."""

        def __init__(self):
            super().__init__()
            self.score, self.head = nn.Linear(32, 1), nn.Linear(32, 3)

        def forward(self, x):
            return self.head((torch.softmax(self.score(x), 1) * x).sum(1))

    short, long = (xavier.plan(Pooled(), torch.zeros(2, n, 32)) for n in (5, 10))
    assert [row.law for row in short] == [row.law for row in long]
