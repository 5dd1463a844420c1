"""Where samples go: lines of JSON that survive a kill, TensorBoard, runs, functions, lists."""

from __future__ import annotations

import json
import logging
import math
import pickle
from dataclasses import replace

import pytest
import torch
from torch import nn

import xavier
from xavier import Sample, Signal, Verdict
from xavier._errors import MonitorWarning, TargetError
from xavier._types.sample import ActivationSignal
from xavier._types.signal import OpSignal, WeightSignal
from xavier.monitoring import read


def op(index: int, path: str, **changes) -> OpSignal:
    plain = OpSignal(
        index=index, op="linear", path=path, weights=(f"{path}.weight",), shape=(2, 3), mean=0.0,
        std=1.0, rms=1.0, gradient_rms=None, activation="", saturation=None, dead=None,
        correlation=None, nonfinite=0,
    )  # fmt: skip
    return replace(plain, **changes)


SAMPLE = Sample(
    step=200,
    verdict=Verdict.BROKEN,
    verdicts=(Verdict.BROKEN,),
    where="body",
    evidence="2 of 6 elements of the output are not finite",
    signal=Signal(
        ops=(
            op(0, "body", rms=math.inf, gradient_rms=0.5, saturation=0.25, dead=0.0),
            op(1, "body", rms=2.0),
            op(2, "", rms=3.0),
        ),
        weights=(WeightSignal("body.weight", (3, 3), 1.0, 0.9, 0.1, 0.01, 0.0),),
        notes=("a note",),
    ),
    activations=(ActivationSignal(0, "tanh", 0.1, 0.2, 0.9, -1.0, 1.0, (1, 2, 3)),),
    rank=1,
)
SCALARS = {
    "xavier/healthy": 0.0,
    "xavier/rms/body.linear": math.inf,
    "xavier/gradient_rms/body.linear": 0.5,
    "xavier/saturation/body.linear": 0.25,
    "xavier/dead/body.linear": 0.0,
    "xavier/rms/body.linear_2": 2.0,
    "xavier/rms/linear": 3.0,
    "xavier/weight_rms/body.weight": 1.0,
    "xavier/weight_gradient_rms/body.weight": 0.1,
    "xavier/update_ratio/body.weight": 0.01,
}


def monitored(to, *, every=1, steps=2, **settings) -> xavier.Monitor:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
    monitor = xavier.Monitor(model, every=every, to=to, **settings)
    for _ in range(steps):
        with monitor.step():
            model(torch.ones(3, 4)).sum().backward()
    return monitor


def test_a_sample_goes_through_json_unchanged():
    text = json.dumps(SAMPLE.to_dict(), allow_nan=False)
    assert Sample.from_dict(json.loads(text)) == SAMPLE
    assert json.loads(text)["signal"]["ops"][0]["rms"] == "inf"
    assert Sample.from_dict(replace(SAMPLE, verdict=None).to_dict()).verdict is None


def test_a_sample_is_one_line_of_text():
    evidence = "2 of 6 elements of the output are not finite"
    assert str(SAMPLE) == f"step 200: broken at body: {evidence}"
    assert str(replace(SAMPLE, where="a\nb")).startswith("step 200: broken at a\\nb: ")
    blind = replace(SAMPLE, verdict=None, where="", evidence="no op was seen")
    assert str(blind) == "step 200: no verdict: no op was seen"


def test_every_number_that_is_there_has_one_name():
    assert SAMPLE.scalars() == SCALARS
    assert "init/rms/linear" in SAMPLE.scalars(prefix="init")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"format": "xavier-sample/2"}, "the format is 'xavier-sample/2', expected"),
        ({"verdict": "splendid"}, "a sample cannot be read: .*'splendid' is not a valid Verdict"),
        ({"signal": None}, "a sample cannot be read: TypeError"),
        ({"activations": [{"op": {}}]}, "a sample cannot be read: IndexError"),
        ({"activations": [{"mean": "much"}]}, "a sample cannot be read: KeyError"),
    ],
)
def test_what_is_no_sample_is_refused(change, match):
    with pytest.raises(TargetError, match=match):
        Sample.from_dict(SAMPLE.to_dict() | change)


def test_samples_are_appended_as_lines_and_read_back(tmp_path):
    file = tmp_path / "signal.jsonl"
    monitor = monitored(str(file))
    assert [sample.step for sample in read(file)] == [0, 1]
    assert read(file)[-1] == monitor.last
    assert monitor.samples == [], "what is written is not kept"
    monitored(file, steps=1)
    assert [sample.step for sample in read(file)] == [0, 1, 0]


def test_a_torn_last_line_is_passed_over_and_then_cut_off(tmp_path):
    file = tmp_path / "signal.jsonl"
    monitored(file)
    whole = file.read_bytes()
    for left in (1, 10, 200):
        file.write_bytes(whole + whole[:left])
        assert len(read(file)) == 2
        monitored(file, steps=1)
        assert [sample.step for sample in read(file)] == [0, 1, 0]


def test_a_relative_path_stays_where_it_was(tmp_path, monkeypatch):
    (tmp_path / "later").mkdir()
    monkeypatch.chdir(tmp_path)
    monitor = monitored("signal.jsonl")
    monkeypatch.chdir(tmp_path / "later")
    with pickle.loads(pickle.dumps(monitor)).step():
        pass
    assert len(read(tmp_path / "signal.jsonl")) == 3


def test_a_file_of_something_else_is_neither_read_nor_written(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("dear diary")
    with pytest.raises(TargetError, match="holds something else, expected samples to append to"):
        xavier.Monitor(to=file)
    with pytest.raises(TargetError, match="line 1 is no sample of a monitor"):
        read(file)
    file.write_text('{"format": "xavier-sample/9"}\n')
    with pytest.raises(TargetError, match="line 1: the format is 'xavier-sample/9'"):
        read(file)
    file.write_text("{\n")
    with pytest.raises(TargetError, match="line 1 is no sample of a monitor: "):
        read(file)
    with pytest.raises(TargetError, match="absent cannot be read: "):
        read(tmp_path / "absent")
    with pytest.raises(TargetError, match="is a folder, expected a file"):
        xavier.Monitor(to=tmp_path)
    with pytest.raises(TargetError, match="is in no folder, expected a file"):
        xavier.Monitor(to=tmp_path / "none" / "signal.jsonl")


def test_a_full_disk_warns_and_the_training_goes_on(tmp_path):
    def full(sample):
        raise OSError(28, "No space left on device")

    with pytest.warns(MonitorWarning, match="step 0 could not be written: OSError: .*No space"):
        monitor = monitored((full, found := []), steps=1)
    assert found == [monitor.last]


def test_a_list_a_function_and_several_at_once():
    kept, called = [], []
    monitor = monitored((kept, called.append))
    assert kept == called
    assert [sample.step for sample in kept] == [0, 1]
    assert monitor.samples == []


class Run:
    """Logs like a run of W&B."""

    def __init__(self):
        self.logged = []

    def log(self, values, step):
        self.logged.append((step, values))


class Logger:
    """Logs like a logger of Lightning."""

    def __init__(self):
        self.logged = []

    def log_metrics(self, metrics, step):
        self.logged.append((step, metrics))


@pytest.mark.parametrize("kind", [Run, Logger])
def test_runs_and_loggers_get_the_scalars(kind):
    logger = kind()
    monitor = monitored(logger)
    assert [step for step, _ in logger.logged] == [0, 1]
    assert logger.logged[-1][1] == monitor.last.scalars()


# The library that reads the events uses a name that its own protobuf messages will lose.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard")
def test_tensorboard_gets_the_scalars(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        monitor = monitored(writer)
    events = EventAccumulator(str(tmp_path)).Reload()
    wanted = monitor.last.scalars()
    assert set(events.Tags()["scalars"]) == wanted.keys()
    for name, value in wanted.items():
        *_, last = events.Scalars(name)
        assert (last.step, last.value) == (1, pytest.approx(value, rel=1e-6))


@pytest.mark.parametrize("odd", [3, logging.getLogger("x"), object()])
def test_what_cannot_be_written_to_is_refused(odd):
    with pytest.raises(TargetError, match="samples cannot be written to "):
        xavier.Monitor(to=odd)
