"""Compiled models are monitored from outside, and stay what they are."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import xavier
from monitored import losses, perceptron, traces

# The compiler itself asks tensors that are no leaves for their gradients.
compiles = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


@compiles
def test_a_compiled_part_is_not_looked_into_and_says_so():
    model = perceptron()
    twin = copy.deepcopy(model)
    for each in (model, twin):
        each[2] = torch.compile(each[2], backend="eager")
        each[4].compile(backend="eager")
    before = traces(model)
    monitor = xavier.Monitor(model, every=2)
    found = losses(model, monitor)
    assert found == losses(twin)
    assert traces(model) == before
    assert [op.path for op in monitor.last.signal.ops] == ["0", "6"]
    assert "2: compiled, so its ops were not seen" in monitor.last.signal.notes
    assert "4: compiled, so its ops were not seen" in monitor.last.signal.notes
    assert all(weight.update_ratio for weight in monitor.last.signal.weights)


@compiles
@pytest.mark.parametrize("wrapped", [True, False], ids=["wrapped", "in place"])
def test_of_a_model_that_is_compiled_whole_the_weights_are_seen(wrapped):
    model, twin = perceptron(), perceptron()
    runs = [model, twin]
    for place, each in enumerate(runs):
        if wrapped:
            runs[place] = torch.compile(each, backend="eager")
        else:
            each.compile(backend="eager")
    monitor = xavier.Monitor(runs[0], every=2)
    assert losses(runs[0], monitor) == losses(runs[1])
    sample = monitor.last
    assert (sample.verdict, sample.verdicts, sample.signal.ops) == (None, (), ())
    assert any("compiled, so its ops were not seen" in note for note in sample.signal.notes)
    assert any("no op was seen" in note for note in sample.signal.notes)
    assert all(weight.update_ratio for weight in sample.signal.weights)
    assert "xavier/healthy" not in sample.scalars()


@compiles
def test_a_model_that_is_compiled_elsewhere_is_compiled_as_without_a_monitor():
    graphs = []

    def backend(graph, _):
        graphs.append([node.op for node in graph.graph.nodes])
        return graph.forward

    found = []
    for watched in (True, False):
        torch._dynamo.reset()
        model = perceptron()
        monitor = xavier.Monitor(model) if watched else None
        found.append(losses(model, monitor, forward=torch.compile(model, backend=backend)))
    assert found[0] == found[1]
    assert graphs[0] == graphs[-1]


@compiles
def test_a_compiled_function_within_the_model_computes_the_same():
    torch._dynamo.reset()

    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.head = nn.Linear(8, 8), nn.Linear(8, 3)
            self.squash = torch.compile(lambda x: torch.tanh(x) * 2, backend="eager")

        def forward(self, x):
            return self.head(self.squash(self.first(x)))

    torch.manual_seed(0)
    model = Half()
    twin = copy.deepcopy(model)
    monitor = xavier.Monitor(model, every=2)
    assert losses(model, monitor) == losses(twin)
    assert [op.path for op in monitor.last.signal.ops] == ["first", "head"]
