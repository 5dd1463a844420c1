"""A monitor sees what a check sees, in the step itself, and the training does not notice."""

from __future__ import annotations

import copy
import math
import pickle
import random
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import xavier
from monitored import BATCH, MODELS, batches, losses, perceptron, traces
from xavier._errors import FaultWarning, MissingFrameworkError, TargetError, TraceError
from xavier._types.signal import Verdict
from xavier.frameworks.torch import watch


@pytest.mark.parametrize("name", MODELS)
def test_training_is_the_same_to_the_bit_and_so_are_the_generators(name):
    build, shape = MODELS[name]
    torch.manual_seed(0)
    model = build()
    twin = copy.deepcopy(model)
    before = traces(model)
    random.seed(5)
    np.random.seed(5)
    monitor = xavier.Monitor(model, every=2)
    assert losses(model, monitor, shape=shape) == losses(twin, shape=shape)
    for one, other in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert traces(model) == before
    assert (random.random(), np.random.rand()) == (0.6229016948897019, 0.22199317108973948)
    assert [sample.step for sample in monitor.samples] == [0, 2, 4]
    assert all(sample.signal.ops for sample in monitor.samples)


def test_a_sample_has_the_numbers_of_a_check_of_the_same_step():
    model = perceptron()
    (inputs, target), *_ = batches(1)
    check = xavier.check(model, inputs, target=target)
    monitor = xavier.Monitor(model)
    with monitor.step():
        cross_entropy(model(inputs), target).backward()
    sample = monitor.last
    assert sample.signal.ops == check.signal.ops
    assert (sample.verdict, sample.evidence) == (check.verdict, check.evidence)
    for ours, theirs in zip(sample.signal.weights, check.signal.weights, strict=True):
        assert (ours.name, ours.rms, ours.std) == (theirs.name, theirs.rms, theirs.std)
        assert (ours.gradient_rms, ours.twins) == (theirs.gradient_rms, theirs.twins)
        assert ours.update_ratio is None, "no optimizer made a step"


def test_the_update_ratio_is_that_of_the_step_that_was_made():
    model, (inputs, target) = perceptron(), batches(1)[0]
    monitor = xavier.Monitor(model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    with monitor.step():
        cross_entropy(model(inputs), target).backward()
        optimizer.step()
        optimizer.zero_grad()
    for weight in monitor.last.signal.weights:
        after, start = model.get_parameter(weight.name).detach(), before[weight.name]
        expected = float((after - start).square().mean().sqrt() / start.square().mean().sqrt())
        assert weight.update_ratio == pytest.approx(expected, rel=1e-5)
        assert weight.gradient_rms > 0, "it was read before the gradients were cleared"


def test_the_values_of_activations_are_counted():
    model, (inputs, target) = perceptron(nn.Sigmoid), batches(1)[0]
    monitor = xavier.Monitor(model)
    with monitor.step():
        cross_entropy(model(inputs), target).backward()
    values = model[1](model[0](inputs)).detach().double().numpy()
    first = monitor.last.activations[0]
    assert (first.op, first.function, sum(first.counts)) == (0, "sigmoid", values.size)
    assert first.mean == pytest.approx(values.mean())
    assert first.std == pytest.approx(values.std())
    assert first.p98 == pytest.approx(np.percentile(values, 98))
    assert (first.low, first.high) == (values.min(), values.max())


def test_between_samples_nothing_is_on_the_model():
    model = perceptron()
    before = traces(model)
    monitor = xavier.Monitor(model, every=2)
    inputs = batches(1)[0][0]
    with monitor.step():
        assert traces(model) != before
        model(inputs).sum().backward()
        assert traces(model) == before, "the hooks are gone once the backward pass begins"
    with monitor.step():
        assert traces(model) == before
        assert not torch.overrides._get_current_function_mode_stack()


def test_of_accumulated_gradients_the_first_part_is_observed():
    model = perceptron()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor = xavier.Monitor(model)
    with monitor.step():
        for inputs, target in batches(3):
            (cross_entropy(model(inputs), target) / 3).backward()
        optimizer.step()
    sample = monitor.last
    assert len(sample.signal.ops) == 4
    total = model[0].weight.grad.square().mean().sqrt().item()
    first = next(each for each in sample.signal.weights if each.name == "0.weight")
    assert first.gradient_rms == pytest.approx(total)
    assert first.update_ratio == pytest.approx(0.1 * total / first.rms, rel=1e-3)


def test_autocast_is_seen_and_left_alone():
    model, twin = perceptron(), perceptron()

    def half(which):
        def run(inputs):
            with torch.autocast("cpu", torch.bfloat16):
                return which(inputs)

        return run

    monitor = xavier.Monitor(model, every=2)
    found = losses(model, monitor, forward=half(model))
    assert found == losses(twin, forward=half(twin))
    assert len(monitor.last.signal.ops) == 4


class Scaler:
    """Multiplies the loss by a power of two, which no number notices."""

    def get_scale(self) -> float:
        return 1024.0


def test_gradients_of_a_scaled_loss_are_told_unscaled():
    inputs, target = batches(1)[0]
    found = []
    for scale, scaler in ((1.0, None), (1024.0, Scaler())):
        model = perceptron()
        monitor = xavier.Monitor(model, scaler=scaler)
        with monitor.step():
            (cross_entropy(model(inputs), target) * scale).backward()
        found.append([op.gradient_rms for op in monitor.last.signal.ops])
    assert found[0] == pytest.approx(found[1])


def test_a_step_that_the_loss_scaler_skips_moves_no_weight():
    model = perceptron()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=1)
    monitor = xavier.Monitor(model, every=1, scaler=scaler)
    (inputs, target), *_ = batches(1)
    for factor in (1.0, math.inf):
        with monitor.step():
            scaler.scale(cross_entropy(model(inputs), target) * factor).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
    first, second = monitor.samples
    assert all(weight.update_ratio for weight in first.signal.weights)
    assert first.verdict is Verdict.HEALTHY
    assert all(weight.update_ratio is None for weight in second.signal.weights)
    assert second.verdict is Verdict.BROKEN


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.optim.swa_utils.AveragedModel])
def test_a_wrapped_model_is_seen_under_its_own_names(wrap):
    model = perceptron()
    wrapped = wrap(model)
    monitor = xavier.Monitor(wrapped)
    inputs, target = batches(1)[0]
    with monitor.step():
        cross_entropy(wrapped(inputs), target).backward()
    assert [op.path for op in monitor.last.signal.ops] == ["0", "2", "4", "6"]
    assert monitor.last.signal.weights[0].name == "0.weight"


def test_parts_of_a_model_may_be_called_by_themselves():
    model = perceptron()
    monitor = xavier.Monitor(model)
    inputs, target = batches(1)[0]
    with monitor.step():
        cross_entropy(model[3:](model[2](model[1](model[0](inputs)))), target).backward()
    ops = monitor.last.signal.ops
    assert [op.path for op in ops] == ["0", "2", "4", "6"]
    assert all(op.gradient_rms for op in ops)


class Failing(nn.Module):
    """Raises behind its first layer."""

    def __init__(self, error: BaseException):
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.error = error

    def forward(self, x):
        self.first(x)
        raise self.error


@pytest.mark.parametrize("error", [ValueError("odd"), KeyboardInterrupt()], ids=["error", "key"])
def test_an_exception_passes_and_leaves_nothing(error):
    model = Failing(error)
    before = traces(model)
    monitor = xavier.Monitor(model, every=1)
    with pytest.raises(type(error)), monitor.step():
        model(torch.ones(2, 8))
    assert traces(model) == before
    assert not torch.overrides._get_current_function_mode_stack()
    assert not sys.modules["torch.optim.optimizer"]._global_optimizer_post_hooks
    assert monitor.samples == []
    assert monitor.last is None


def test_a_step_that_was_never_ended_is_given_up_by_the_next():
    model = perceptron()
    before = traces(model)
    monitor = xavier.Monitor(model, every=1)
    assert monitor.begin()
    assert monitor.begin()
    model(batches(1)[0][0]).sum().backward()
    assert monitor.end().step == 1
    assert traces(model) == before
    assert monitor.end() is None


def test_an_error_of_the_monitor_s_own_is_a_note(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no such luck")

    monkeypatch.setattr(watch._moments, "correlation", broken)
    monkeypatch.setattr(watch, "twins", broken)
    model, twin = perceptron(), perceptron()
    monitor = xavier.Monitor(model)
    assert losses(model, monitor) == losses(twin)
    notes = monitor.last.signal.notes
    assert "0: could not be looked at: RuntimeError: no such luck" in notes


def test_a_model_that_does_not_run_in_a_step_is_told():
    monitor = xavier.Monitor(perceptron())
    with monitor.step():
        pass
    assert monitor.last.verdict is None
    assert "no op was seen: did the model run" in monitor.last.signal.notes[0]


def test_a_pass_without_gradients_is_not_taken_for_the_step():
    model = perceptron()
    monitor = xavier.Monitor(model)
    inputs, target = batches(1)[0]
    with monitor.step():
        with torch.no_grad():
            model(inputs[:2])
        cross_entropy(model(inputs), target).backward()
    assert [op.shape[0] for op in monitor.last.signal.ops] == [BATCH] * 4


def test_sparse_gradients_and_lazy_modules_are_measured():
    table = nn.Embedding(10, 4, sparse=True)
    model = nn.Sequential(table, nn.Flatten(), nn.LazyLinear(3))
    monitor = xavier.Monitor(model, every=1)
    ids = torch.tensor([[1, 2], [3, 1]])
    for _ in range(2):
        with monitor.step():
            model(ids).sum().backward()
        dense = table.weight.grad.to_dense().square().mean().sqrt().item()
    first, second = monitor.samples
    assert [weight.name for weight in first.signal.weights] == ["0.weight"]
    assert len(second.signal.weights) == 3
    assert second.signal.weights[0].gradient_rms == pytest.approx(dense)


def test_steps_follow_their_numbers_after_a_resumption():
    model = perceptron()
    monitor = xavier.Monitor(model, every=10)
    for number in (7, 8, 9, 10, 11, 23):
        with monitor.step(number):
            model(torch.ones(2, 8)).sum().backward()
    assert [sample.step for sample in monitor.samples] == [7, 10, 23]
    with monitor.step(2):
        model(torch.ones(2, 8)).sum().backward()
    assert monitor.last.step == 2, "a new run"
    monitor.attach(perceptron())
    assert monitor.begin(), "a new model"
    monitor.cancel()


def test_a_monitor_and_a_model_are_pickled_and_copied_in_the_middle_of_a_step():
    model = perceptron()
    monitor = xavier.Monitor(model, every=1)
    with monitor.step():
        twin = pickle.loads(pickle.dumps(model))
        again = copy.deepcopy(monitor)
        model(torch.ones(2, 8)).sum().backward()
    assert torch.equal(twin(torch.ones(2, 8)), model(torch.ones(2, 8)))
    restored = pickle.loads(pickle.dumps(monitor))
    assert restored.samples == monitor.samples
    for each in (again, restored):
        with each.step():
            each._model(torch.ones(2, 8)).sum().backward()
        assert [sample.step for sample in each.samples][-1] == 1
    assert [sample.step for sample in monitor.samples] == [0]


def test_only_the_first_rank_samples_unless_all_are_asked(monkeypatch):
    monkeypatch.setattr(watch, "rank", lambda: 3)
    model = perceptron()
    for every_rank in (False, True):
        monitor = xavier.Monitor(model, all_ranks=every_rank)
        with monitor.step():
            model(torch.ones(2, 8)).sum().backward()
        assert [sample.rank for sample in monitor.samples] == [3] * every_rank


def test_a_turn_to_unhealthy_warns_once():
    model = perceptron()
    monitor = xavier.Monitor(model, every=1, on_fault="warn")
    inputs = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))

    def step():
        with monitor.step():
            model(inputs).sum().backward()

    step()
    with torch.no_grad():
        model[0].weight.mul_(1e4)
    with pytest.warns(FaultWarning, match="step 1: dead at 0: the gradient RMS is "):
        step()
    step()
    assert [sample.verdict is Verdict.HEALTHY for sample in monitor.samples] == [True, False, False]
    assert math.isfinite(monitor.last.scalars()["xavier/rms/0.linear"])
    assert monitor.last.scalars()["xavier/healthy"] == 0.0


@pytest.mark.parametrize("every", [0, -1, 1.5, True])
def test_a_distance_that_is_none_is_refused(every):
    with pytest.raises(TargetError, match="expected a positive number of steps"):
        xavier.Monitor(every=every)


def test_what_cannot_be_monitored_is_refused():
    with pytest.raises(xavier.UnknownNameError, match="unknown on_fault 'raise'"):
        xavier.Monitor(on_fault="raise")
    with pytest.raises(TraceError, match="an int was given, expected a "):
        xavier.Monitor(3)
    with pytest.raises(TraceError, match=r"the monitor has no model\nHint: xavier.Monitor\(model"):
        xavier.Monitor().begin()


def test_without_the_framework_it_is_told(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    with pytest.raises(MissingFrameworkError, match="torch is not installed"):
        xavier.Monitor(object())
