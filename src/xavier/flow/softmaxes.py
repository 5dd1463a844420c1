"""Softmaxes: which have entries that the model fixes, and which are over the example's positions.

A softmax over classes, experts or features has a second moment that its weights decide. One over
keys, tokens or pixels has as many entries as the example happens to have, which no plan may
depend on: what it mixes counts as what is mixed.
"""

from __future__ import annotations

from xavier._types.flow import Flow, Op, OpKind
from xavier.theory.softmax import SoftmaxMoments, log_softmax_moments, softmax_moments

_THROUGH = (OpKind.ADD, OpKind.MULTIPLY, OpKind.ELEMENTWISE, OpKind.NORMALIZE, OpKind.SOFTMAX)
_CROSSING = ("transpose", "permute", "t", "movedim", "stack", "cat")


def entries_are_fixed(flow: Flow, op: Op) -> bool:
    """Tell whether a softmax is over an axis along which a weight's outputs lie."""
    count, axis = op.attributes.get("count"), op.attributes.get("axis")
    if count is None or axis is None:
        return False
    found = [False]
    todo, seen = list(op.inputs), set[int]()
    while todo:
        value = todo.pop()
        made = flow.values[value].producer
        if value in seen or made is None:
            continue
        seen.add(value)
        source = flow.ops[made]
        if source.kind is OpKind.CONTRACT and source.weights:
            found.append(_lies_along(flow, source, int(count), int(axis)))
        elif source.kind in _THROUGH or _keeps_axes(source):
            todo.extend(source.inputs)
        else:
            return False
    return len(found) > 1 and all(found[1:])


def _keeps_axes(op: Op) -> bool:
    return op.kind is OpKind.MOVE and not op.name.endswith(_CROSSING)


def _lies_along(flow: Flow, source: Op, count: int, axis: int) -> bool:
    shape = flow.values[source.output].shape
    kernel = "stride" in source.attributes or "conv" in source.name
    if kernel:
        return axis == 1 - len(shape) and shape[1] == count
    return axis == -1 and shape[-1] % count == 0


def entry_moments(op: Op, variance: float) -> SoftmaxMoments:
    """Return what a softmax over independent logits of some variance gives."""
    of = log_softmax_moments if op.attributes.get("log") else softmax_moments
    return of(int(op.attributes["count"]), variance)


def only_contracted(flow: Flow, value: int) -> bool:
    """Tell whether a value goes into weights, or out of the model, and nowhere else."""
    readers = [op for op in flow.ops if value in op.inputs]
    if not readers:
        return value in flow.outputs
    return all(
        (op.kind is OpKind.CONTRACT and bool(op.weights))
        or (op.kind is OpKind.MOVE and len(op.inputs) == 1 and only_contracted(flow, op.output))
        for op in readers
    )
