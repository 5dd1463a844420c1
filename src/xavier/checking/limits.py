"""What the theory does not follow exactly, found on the way to an op and from it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from xavier._types.flow import Op, OpKind
from xavier.flow.graph import Graph
from xavier.flow.moments import Propagation

_FORWARD: Final = {
    OpKind.ATTENTION: "attention",
    OpKind.SOFTMAX: "softmax",
    OpKind.POOL: "pool",
    OpKind.MEAN: "mean",
    OpKind.SUM: "sum",
    OpKind.OPAQUE: "untraced op",
}
# The gradient through a mean, or a mean pool, is followed exactly.
_BACKWARD: Final = {each: word for each, word in _FORWARD.items() if each is not OpKind.MEAN}


class Limits:
    """Walks from a weighted op to those next to it, and names what lies between.

    Args:
        propagation: One that has run: where it found a normalization, what lies before does
            not matter.
        frozen_norms: Whether batch norms normalize by their running statistics.
    """

    def __init__(self, propagation: Propagation, *, frozen_norms: bool) -> None:
        self._propagation = propagation
        self._graph = Graph(propagation.flow)
        self._frozen = frozen_norms

    def before(self, at: int) -> tuple[str, ...]:
        """Return what lies between an op's input and the weighted ops before it."""
        found: dict[str, None] = {}
        todo, seen = list(self._graph.flow.ops[at].inputs), set[int]()
        while todo:
            value = todo.pop()
            op = self._graph.producer(value)
            if value in seen or op is None or op.weights:
                continue
            seen.add(value)
            found |= dict.fromkeys(self._labels(op))
            if not self._is_normal(op):
                todo.extend(self._graph.computed(op))
        return tuple(found)

    def after(self, at: int) -> tuple[str, ...]:
        """Return what lies between an op's output and the weighted ops after it."""
        found: dict[str, None] = {}
        todo, seen = [self._graph.flow.ops[at].output], set[int]()
        while todo:
            value = todo.pop()
            if value in seen:
                continue
            seen.add(value)
            for index in self._graph.consumers[value]:
                op = self._graph.flow.ops[index]
                if not op.weights:
                    found |= dict.fromkeys(self._back_labels(op))
                    todo.append(op.output)
        return tuple(found)

    def _labels(self, op: Op) -> Iterator[str]:
        if op.kind in _FORWARD:
            yield _FORWARD[op.kind]
        if op.kind is OpKind.CONTRACT:
            yield "product"
        if op.output in self._propagation.structure.scans:
            yield "recurrence"
        if "cumsum" in op.name:
            yield "sum"
        if self._frozen and "batch_norm" in op.name:
            yield "running statistics"

    def _back_labels(self, op: Op) -> Iterator[str]:
        if op.kind in _BACKWARD and "avg" not in op.name:
            yield _BACKWARD[op.kind]
        if op.kind is OpKind.CONTRACT:
            yield "product"
        if self._graph.routed(op):
            yield "routing"
        if op.kind is OpKind.MOVE and "part" not in op.attributes and self._is_fewer(op):
            yield "selection"
        if op.output in self._propagation.structure.scans:
            yield "recurrence"
        if "batch_norm" in op.name:
            yield "running statistics" if self._frozen else "batch norm"

    def _is_fewer(self, op: Op) -> bool:
        values = self._graph.flow.values
        made = math.prod(values[op.output].shape)
        return any(made < math.prod(values[each].shape) for each in op.inputs)

    def _is_normal(self, op: Op) -> bool:
        if self._frozen and "batch_norm" in op.name:
            return False
        root = self._propagation.expression(op.output).root
        return root is not None and root.kind == "normalization"
