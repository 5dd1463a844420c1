"""Random models that nobody annotated: every variance is confirmed by Monte Carlo, both ways."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest

import xavier
from random_models import random_model
from xavier.frameworks.torch.measure import measure
from xavier.frameworks.torch.trace import trace
from xavier.planning.prediction import predict

SEEDS = 12
NARROWEST = 64


def predicted(model, example):
    """Return the plan's predictions for every reading of every weight, in order of execution."""
    flow = trace(model, example)
    found = defaultdict(list)
    for at, each in predict(flow, xavier.plan(model, example)).items():
        found[flow.ops[at].weights[0].parameter].append(each)
    return found


def measured(seed, example):
    """Return second moments of outputs and of their gradients: arrays (seeds, readings, 2)."""
    found = defaultdict(list)
    model, _ = random_model(seed)
    for draw in range(SEEDS):
        xavier.init_(model, example, seed=draw)
        once = defaultdict(list)
        for op in measure(model, example, seed=draw).ops:
            once[op.weights[0]].append((op.rms**2, op.gradient_rms**2))
        for name, seconds in once.items():
            found[name].append(seconds)
    return {name: np.array(rows) for name, rows in found.items()}


@pytest.mark.parametrize("seed", range(25))
def test_every_reading_of_every_weight_has_the_predicted_second_moments(seed):
    model, example = random_model(seed)
    expected = predicted(model, example)
    samples = measured(seed, example)
    depth = sum(len(each) for each in expected.values())
    assert set(expected) == set(samples)
    for name, readings in expected.items():
        assert samples[name].shape[1] == len(readings), name
        for at, each in enumerate(readings):
            for way, second in enumerate((each.second, each.gradient)):
                assert second is not None, (name, at)
                found = samples[name][:, at, way]
                error = found.std(ddof=1) / math.sqrt(SEEDS)
                # Five standard errors, and the finite-width bias 5 L / n of relative size at the
                # narrowest width over the contractions on the way.
                allowed = 5 * error + 5 * depth / NARROWEST * second * 0.5
                assert abs(found.mean() - second) <= allowed, (
                    name, at, ("forward", "backward")[way], found.mean(), second,
                )  # fmt: skip
