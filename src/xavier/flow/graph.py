"""A flow as a graph: consumers, ancestors, and what a value is an unbent copy of.

Ancestors are bit sets held in Python integers, so that questions about paths stay cheap on
graphs of ten thousand ops.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from xavier._types.flow import Flow, Op, OpKind, Origin
from xavier.flow.feeds import constant_factor

CONTRACTS = (OpKind.CONTRACT, OpKind.ATTENTION)


class Graph:
    """A flow with its arrows reversed as well: consumers and ancestors of every value."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.consumers: dict[int, list[int]] = defaultdict(list)
        for at, op in enumerate(flow.ops):
            for value in op.inputs:
                self.consumers[value].append(at)
        self.ancestors: list[int] = [1 << at for at in range(len(flow.values))]
        for op in flow.ops:
            mask = self.ancestors[op.output]
            for value in op.inputs:
                mask |= self.ancestors[value]
            self.ancestors[op.output] = mask
        self.weighted = [at for at, op in enumerate(flow.ops) if op.weights]
        self._outputs = frozenset(flow.outputs)
        self._factors: dict[int, bool] = {}
        self.contracted = 0
        for at in self.weighted:
            if flow.ops[at].kind is OpKind.CONTRACT:
                self.contracted |= 1 << flow.ops[at].output

    def computed(self, op: Op) -> list[int]:
        """Return an op's inputs that are part of the signal."""
        values = self.flow.values
        return [v for v in op.inputs if values[v].origin in (Origin.COMPUTED, Origin.INPUT)]

    def producer(self, value: int) -> Op | None:
        """Return the op that made a value."""
        at = self.flow.values[value].producer
        return None if at is None else self.flow.ops[at]

    def is_linear_step(self, op: Op) -> bool:
        """Tell whether an op hands one signal on: moved, plus a bias, or times a constant."""
        if op.kind is OpKind.MOVE:
            return True
        if len(self.computed(op)) != 1:
            return False
        return op.kind in (OpKind.ADD, OpKind.MULTIPLY) or self._multiplies(op)

    def _multiplies(self, op: Op) -> bool:
        """Tell whether an elementwise op is a product in disguise: a negation, a quotient."""
        if op.kind is not OpKind.ELEMENTWISE or op.function is None:
            return False
        if op.output not in self._factors:
            function, (signal,) = op.function, self.computed(op)
            # 2 stands for whatever constant it is: x / 2 is a product, x ** 2 is none.
            filled = lambda x: function(*(x if v == signal else np.float64(2) for v in op.inputs))  # noqa: E731 - a formula in a line
            self._factors[op.output] = constant_factor(filled) is not None
        return self._factors[op.output]

    def through(self, value: int) -> int:
        """Return what a value is, before linear steps."""
        while (op := self.producer(value)) is not None and self.is_linear_step(op):
            sides = self.computed(op)
            if not sides:
                break
            value = sides[0]
        return value

    def is_read_once(self, value: int) -> bool:
        """Tell whether one op reads a value, once, and nobody else."""
        return len(self.consumers[value]) == 1 and value not in self._outputs

    def is_new(self, value: int, beside: int) -> bool:
        """Tell whether a value has weights behind it that another one has not."""
        return bool(self.ancestors[value] & self.contracted & ~self.ancestors[beside])

    def sources(self, value: int) -> list[int]:
        """Return the weighted contractions that a value is the unbent output of."""
        found: list[int] = []
        seen: set[int] = set()
        todo = [value]
        while todo:
            at = todo.pop()
            if at in seen:
                continue
            seen.add(at)
            index = self.flow.values[at].producer
            if index is None:
                continue
            op = self.flow.ops[index]
            if op.kind is OpKind.CONTRACT and op.weights:
                found.append(index)
            elif self.is_linear_step(op) or op.attributes.get("statistic") == "sum":
                todo.extend(self.computed(op))
            else:
                todo.extend(self.routed(op))
        return found

    def routed(self, op: Op) -> list[int]:
        """Return what an op multiplies by a routing weight, such as an expert's output."""
        sides = self.computed(op) if op.kind is OpKind.MULTIPLY else []
        routing = [each for each in sides if self.is_routing(each)]
        return [each for each in sides if each not in routing] if routing else []

    def is_routing(self, value: int) -> bool:
        """Tell whether a value is a softmax's output, moved or renormalized."""
        for _ in range(12):
            op = self.producer(value)
            if op is None or op.weights:
                return False
            if op.kind is OpKind.SOFTMAX:
                return True
            computed = self.computed(op)
            if not computed or op.kind in CONTRACTS:
                return False
            value = computed[0]
        return False
