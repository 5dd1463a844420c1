"""What the theory does not follow exactly, found on the way to an op and from it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from xavier._types.flow import Op, OpKind
from xavier.checking.expectation import Held
from xavier.flow.graph import Graph
from xavier.flow.moments import Propagation

_EQUAL: Final = 1.2  # a ratio of second moments that makes no difference
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
        held: The second moment of each region of a weight that an op reads.
        frozen_norms: Whether batch norms normalize by their running statistics.
    """

    def __init__(self, propagation: Propagation, held: Held, *, frozen_norms: bool) -> None:
        self._propagation = propagation
        self._graph = Graph(propagation.flow)
        self._held = held
        self._frozen = frozen_norms
        self._scans = sum(1 << value for value in propagation.structure.scans)

    def before(self, at: int) -> tuple[str, ...]:
        """Return what lies between an op's input and the weighted ops before it."""
        return tuple(self._behind(self._graph.flow.ops[at].inputs))

    def _behind(self, values: Sequence[int]) -> dict[str, None]:
        found: dict[str, None] = {}
        todo, seen = list(values), set[int]()
        while todo:
            value = todo.pop()
            op = self._graph.producer(value)
            if value in seen or op is None or op.weights:
                continue
            seen.add(value)
            found |= dict.fromkeys(self._labels(op))
            if not self._is_normal(op):
                todo.extend(self._graph.computed(op))
        return found

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
                found |= dict.fromkeys(self._back_labels(op))
                if not op.weights:
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
        if op.weights:
            if self._has_unequal_blocks(op):
                yield "blocks"
            return
        if self._is_normal(op) and self._graph.ancestors[op.output] & self._scans:
            yield "recurrence"  # its steps differ in size, and so in what the norm divides by
        if op.kind is OpKind.NORMALIZE:
            # A gradient is divided by the size of what is normalized, which then must be right.
            yield from self._behind(op.inputs)
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

    def _has_unequal_blocks(self, op: Op) -> bool:
        """Tell whether an op's weight has blocks of different size, and so may its gradient."""
        sizes = [self._held.get((use.parameter, use.region), 1.0) for use in op.weights]
        return max(sizes) > _EQUAL * min(sizes)

    def _is_fewer(self, op: Op) -> bool:
        values = self._graph.flow.values
        made = math.prod(values[op.output].shape)
        return any(made < math.prod(values[each].shape) for each in op.inputs)

    def _is_normal(self, op: Op) -> bool:
        if self._frozen and "batch_norm" in op.name:
            return False
        root = self._propagation.expression(op.output).root
        return root is not None and root.kind == "normalization"
