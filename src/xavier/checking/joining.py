"""The ops of a flow and those that were measured, put side by side."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from xavier._types.flow import Flow, OpKind, Origin
from xavier._types.region import Region
from xavier._types.signal import OpSignal, Signal
from xavier.checking.expectation import Measured
from xavier.flow.graph import Graph

_RECURRENT: Final = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})
_LEAST_SHARE: Final = 1e-6  # of an output's second moment that is not its bias's


def moments_held(
    flow: Flow, signal: Signal
) -> tuple[dict[tuple[str, Region], float], set[tuple[str, Region]]]:
    """Return the second moments of whole weights, as measured, and the regions that lack one."""
    rms = {each.name: each.rms for each in signal.weights}
    plain = {each.name: each for each in flow.parameters if each.parametrization is None}
    found: dict[tuple[str, Region], float] = {}
    wanted: set[tuple[str, Region]] = set()
    for use in (use for op in flow.ops for use in op.weights):
        given = plain.get(use.parameter)
        if given is not None and given.name in rms and use.region.covers(given.shape):
            found[use.parameter, use.region] = rms[given.name] * rms[given.name]
        else:
            wanted.add((use.parameter, use.region))
    return found, wanted


def join(flow: Flow, ops: Sequence[OpSignal]) -> dict[int, OpSignal]:
    """Return the measured op of each weighted op of a flow, by the flow's index.

    Both are in the order of execution. Two are the same if they stand in one module, read a
    parameter in common, and give as many elements; what one of them saw alone is left out, and
    so are recurrent layers, which the flow takes apart.
    """
    waiting: Mapping[str, list[OpSignal]] = defaultdict(list)
    for op in ops:
        if op.op.removesuffix("_cell") not in _RECURRENT:
            waiting[op.path].append(op)
    found: dict[int, OpSignal] = {}
    for at, op in enumerate(flow.ops):
        names = {use.parameter for use in op.weights}
        size = math.prod(flow.values[op.output].shape)
        for each in waiting[op.path] if names else ():
            if math.prod(each.shape) == size and not names.isdisjoint(_effective(each.weights)):
                found[at] = each
                waiting[op.path].remove(each)
                break
    return found


def _effective(names: Sequence[str]) -> Iterator[str]:
    """Yield names, those of a parametrization's parts as that of the weight that they make."""
    for name in names:
        yield name
        head, _, tail = name.partition("parametrizations.")
        if tail:
            yield head + tail.partition(".")[0]
        for suffix in ("_g", "_v", "_orig"):
            yield name.removesuffix(suffix)


def biases(flow: Flow, joined: Mapping[int, OpSignal]) -> dict[int, float]:
    """Return the second moment of the bias that the measured output of each op includes."""
    graph = Graph(flow)
    found: dict[int, float] = {}
    for at, op in joined.items():
        value: int | None = flow.ops[at].output
        while value is not None and graph.is_read_once(value):
            reader = flow.ops[graph.consumers[value][0]]
            added = [flow.values[each] for each in reader.inputs if each != value]
            value = reader.output if reader.kind is OpKind.MOVE else None
            if reader.kind is OpKind.ADD and len(added) == 1:
                own = added[0].origin is Origin.PARAMETER and added[0].name in op.weights
                found |= {at: added[0].second} if own else {}
    return found


def second_moments(flow: Flow, joined: Mapping[int, OpSignal]) -> Measured:
    """Return what was measured at each op, biases taken off; without what is not finite."""
    added = biases(flow, joined)
    outputs = {at: op.rms * op.rms for at, op in joined.items() if not op.nonfinite}
    gradients = {
        at: op.gradient_rms * op.gradient_rms
        for at, op in joined.items()
        if op.gradient_rms is not None
    }
    return Measured(
        outputs={
            at: max(second - added.get(at, 0.0), _LEAST_SHARE * second)
            for at, second in outputs.items()
            if math.isfinite(second)
        },
        gradients={at: second for at, second in gradients.items() if math.isfinite(second)},
    )
