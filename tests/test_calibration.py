"""The cases of the calibration are built and trained, and its recorded runs are all there."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.calibration import training  # noqa: E402 - found by the line above
from benchmarks.calibration.cases import CASES  # noqa: E402
from benchmarks.calibration.networks import build  # noqa: E402

RECORDED = ROOT / "benchmarks" / "results" / "calibration.jsonl"
STARTS = [each for each in CASES if each.recipe == "auto" and each.gain == 1.0]


def test_every_case_has_a_name_of_its_own_and_most_starts_are_near_the_recipes():
    assert len({each.name for each in CASES}) == len(CASES) >= 300
    assert sum(each.is_near for each in CASES) > 0.5 * len(CASES)
    assert {each.family for each in CASES} == {
        "plain", "convolution", "residual", "attention", "recurrent",
    }  # fmt: skip


@pytest.mark.parametrize("case", STARTS, ids=lambda each: each.group)
def test_every_network_gives_logits_of_its_width(case):
    pictures, _ = training.digits()
    model = build(case, pictures[:4], seed=0)
    logits = model(pictures[:4])
    assert logits.shape == (4, 10)
    assert bool(logits.isfinite().all())


@pytest.mark.filterwarnings("ignore::xavier.XavierWarning")  # the same bits, on purpose
def test_a_start_is_the_recipes_times_the_gain():
    pictures, _ = training.digits()
    near = {each.gain: each for each in CASES if each.group == "plain/tanh/10/64" and each.is_near}
    one, more = (build(near[gain], pictures[:4], seed=0) for gain in (1.0, 1.3))
    torch.testing.assert_close(more.head.weight, one.head.weight * 1.3)
    assert not more.head.bias.any()


def test_training_brings_the_loss_down_and_a_rate_beyond_bounds_counts_as_nothing(monkeypatch):
    monkeypatch.setattr(training, "RATES", {"sgd": (1e30,), "adam": (3e-3,)})
    monkeypatch.setattr(training, "STEPS", 60)
    case = next(each for each in STARTS if each.group == "plain/relu/10/64")
    found = training.reductions(case)
    assert found["sgd"] == [0.0]
    assert found["adam"][0] > 1.0
    assert training.reductions(case) == found, "a run is repeatable"


def test_the_recorded_runs_are_those_of_the_cases():
    rows = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    assert sorted(row["name"] for row in rows) == sorted(each.name for each in CASES)
    for row in rows:
        assert {name: len(each) for name, each in row["reductions"].items()} == {
            name: len(rates) for name, rates in training.RATES.items()
        }
