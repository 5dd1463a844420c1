"""Random models that nobody annotated: every variance is confirmed by Monte Carlo."""

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


def predicted(model, example):
    """Return the plan's prediction for every reading of every weight, in order of execution."""
    flow = trace(model, example)
    found = defaultdict(list)
    for at, second in predict(flow, xavier.plan(model, example)).items():
        found[flow.ops[at].weights[0].parameter].append(second)
    return found, len(flow.ops)


def measured(seed, example):
    found = defaultdict(list)
    model, _ = random_model(seed)
    for draw in range(SEEDS):
        xavier.init_(model, example, seed=draw)
        once = defaultdict(list)
        for op in measure(model, example, seed=draw).ops:
            once[op.weights[0]].append(op.rms**2)
        for name, seconds in once.items():
            found[name].append(seconds)
    return {name: np.array(rows) for name, rows in found.items()}


@pytest.mark.parametrize("seed", range(25))
def test_every_reading_of_every_weight_has_the_predicted_second_moment(seed):
    model, example = random_model(seed)
    expected, _ = predicted(model, example)
    samples = measured(seed, example)
    depth = sum(len(each) for each in expected.values())
    assert set(expected) == set(samples)
    for name, seconds in expected.items():
        assert samples[name].shape[1] == len(seconds), name
        for at, second in enumerate(seconds):
            found = samples[name][:, at]
            error = found.std(ddof=1) / math.sqrt(SEEDS)
            # Five standard errors, and the finite-width bias 5 L / n of relative size at the
            # narrowest width, 64, over the contractions before this one.
            allowed = 5 * error + 5 * depth / 64 * second * 0.5
            assert abs(found.mean() - second) <= allowed, (name, at, found.mean(), second)
