"""The calibration's recorded runs are all there, and what is said of them follows from them."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.calibration import __main__ as command  # noqa: E402 - found by the line above
from benchmarks.calibration import report, training  # noqa: E402 - found by the line above
from benchmarks.calibration.cases import CASES  # noqa: E402 - as above
from benchmarks.calibration.fitting import Fit, Starts, auc, fit, roc  # noqa: E402 - as above
from benchmarks.calibration.measured import measured  # noqa: E402 - as above
from benchmarks.calibration.networks import build, start_of  # noqa: E402 - as above
from benchmarks.calibration.outcomes import (  # noqa: E402 - as above
    Outcome,
    between,
    hard,
    outcomes,
    read,
    tellable,
)

from xavier.checking import thresholds  # noqa: E402 - as above
from xavier.checking.strain import chance  # noqa: E402 - as above
from xavier.checking.symptoms import Kind  # noqa: E402 - as above

STARTS = [each for each in CASES if each.recipe == "auto" and each.gain == 1.0]
NEW = pytest.mark.filterwarnings("ignore::xavier.XavierWarning")  # the same bits, on purpose


@pytest.fixture(scope="module")
def rows():
    return read(report.RUNS)


@pytest.fixture(scope="module")
def starts():
    return report.recorded()


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


@NEW
def test_a_start_is_the_recipes_times_the_gain():
    pictures, _ = training.digits()
    near = {each.gain: each for each in CASES if each.group == "plain/tanh/10/64" and each.is_near}
    one, more = (build(near[gain], pictures[:4], seed=0) for gain in (1.0, 1.3))
    assert np.allclose(more.head.weight.detach(), one.head.weight.detach() * 1.3)
    assert not more.head.bias.any()
    assert start_of(one) != start_of(more)


@NEW
def test_training_brings_the_loss_down_and_a_rate_beyond_bounds_counts_as_nothing(monkeypatch):
    monkeypatch.setattr(training, "RATES", {"sgd": (1e30,), "adam": (3e-3,)})
    monkeypatch.setattr(training, "STEPS", 60)
    case = next(each for each in STARTS if each.group == "plain/relu/10/64")
    found = training.reductions(case)
    assert found["sgd"] == [0.0]
    assert found["adam"][0] > 1.0
    assert training.reductions(case) == found, "a run is repeatable"


def test_every_case_is_recorded_and_nothing_is_left_to_train_between_two_outcomes(rows):
    names = [row["name"] for row in rows]
    assert len(set(names)) == len(names)
    assert {each.name for each in CASES} <= set(names)
    assert not between(outcomes(rows))
    # What is there beside the cases was halfway between two outcomes once.
    assert {each.case.recipe for each in outcomes(rows)} == {"auto", "default", "random"}
    for row in rows:
        assert {name: len(each) for name, each in row["reductions"].items()} == {
            name: len(rates) for name, rates in training.RATES.items()
        }


def test_enough_of_the_starts_are_hard_to_tell(rows):
    found = tellable(outcomes(rows))
    assert len(found) >= 300
    assert len(hard(found)) >= 0.4 * len(found)


def test_hard_starts_have_a_neighbour_of_the_other_outcome_or_optimizers_that_disagree():
    case = STARTS[0]

    def outcome(gain, **share):
        return Outcome(case.with_gain(gain), 2.0, share, "")

    low, middle = outcome(0.5, sgd=0.1, adam=0.2), outcome(0.6, sgd=0.9, adam=0.9)
    high, odd = outcome(1.0, sgd=1.0, adam=0.95), outcome(2.0, sgd=0.1, adam=0.9)
    assert [each.trains for each in (low, middle, high, odd)] == [False, True, True, True]
    assert hard([low, middle, high, odd]) == {each.case.name for each in (low, middle, odd)}
    (half,) = between([low, middle, high, odd])
    assert half.gain == pytest.approx(math.sqrt(0.5 * 0.6), rel=1e-2)
    assert not between([outcome(0.5, sgd=0, adam=0), outcome(0.56, sgd=1, adam=1)])


@NEW
def test_what_is_recorded_is_measured_again(rows):
    recorded = {line["name"]: line for line in read(report.MEASURED)}
    assert set(recorded) == {row["name"] for row in rows}
    for each in outcomes(rows)[::45]:
        again, line = measured(each.case), recorded[each.case.name]
        assert again["start"] == line["start"] == each.start
        assert again["sure"] == line["sure"]
        for kind in ("symptoms", "baselines"):
            assert again[kind] == pytest.approx(line[kind], rel=2e-3, abs=2e-3)


def test_the_thresholds_are_those_of_the_fit(starts):
    final = fit(starts)
    assert pytest.approx(final.tolerances, rel=0.01) == thresholds.TOLERANCES
    assert final.steepness == pytest.approx(thresholds.STEEPNESS, rel=0.01)
    assert list(final.tolerances) == [str(kind) for kind in Kind]
    for strain in (0.0, 0.7, 1.0, 3.0):
        odds = math.exp(thresholds.STEEPNESS * (1 - strain))
        assert chance(strain) == pytest.approx(odds / (1 + odds))


def test_the_page_says_what_follows_from_the_runs(starts):
    docs = ROOT / "docs"
    assert (docs / report.PAGE).read_text() == report.page(starts)
    assert (docs / report.CURVE).read_text() == report.curve(starts)


def test_a_fit_finds_the_tolerances_that_made_the_outcomes():
    draw = np.random.default_rng(0)
    truth = Fit({str(kind): 4.0 if kind is Kind.GROWTH else 6.0 for kind in Kind}, 8.0)
    sizes = draw.uniform(0, 8, (4000, len(Kind)))
    sizes *= draw.uniform(0, 1, sizes.shape) < 0.2  # few symptoms at once
    trains = draw.uniform(size=len(sizes)) < 1 / (1 + np.exp(8 * (truth.strain(sizes) - 1)))
    made = [Outcome(STARTS[0], 2.0, {"sgd": 1.0}, "")] * len(sizes)
    nothing = np.zeros(len(sizes), dtype=bool)
    found = fit(Starts(made, [""] * len(sizes), sizes, trains, nothing, {}))
    # The ridge draws it back to 6, by less than the difference.
    assert found.tolerances["growth"] == pytest.approx(4.0, abs=0.7)
    assert found.tolerances["decay"] == pytest.approx(6.0, abs=0.7)


def test_auc_and_curve_are_those_of_small_examples():
    trains = np.array([True, True, False, False])
    assert auc(np.array([0.1, 0.2, 0.3, 0.4]), trains) == 1.0
    assert auc(np.array([0.1, 0.4, 0.4, 0.4]), trains) == 0.75
    assert math.isnan(auc(np.array([0.1]), np.array([True])))
    points = list(roc(np.array([0.1, 0.3, 0.2, 0.4]), trains))
    assert points == [(0.0, 0.0), (0.0, 0.5), (0.5, 0.5), (0.5, 1.0), (1.0, 1.0)]


def test_a_line_that_a_killed_run_left_is_cut_before_the_next_is_written(tmp_path, monkeypatch):
    file = tmp_path / "runs.jsonl"
    file.write_text('{"name": "a"}\n{"name": "b"')
    waiting = [[STARTS[0]], []]
    monkeypatch.setattr(command, "_missing", lambda _: waiting.pop(0))
    monkeypatch.setattr(command, "reductions", lambda _: {"sgd": [1.0], "adam": [2.0]})
    command.main([str(file)])
    assert [json.loads(line)["name"] for line in file.read_text().splitlines()] == [
        "a",
        STARTS[0].name,
    ]


def test_a_torn_last_line_is_left_out(tmp_path):
    file = tmp_path / "runs.jsonl"
    file.write_text(json.dumps({"name": "a"}) + '\n{"name": "b"')
    assert read(file) == [{"name": "a"}]
    assert read(tmp_path / "none.jsonl") == []
