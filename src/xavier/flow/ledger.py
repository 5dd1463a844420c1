"""The values that a propagation has met, each as an expression over roots.

It makes the roots and keeps them in order, and says what moments an expression has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from xavier._errors import ActivationError
from xavier._types.flow import MASK, NOISE, Flow, Origin, Value
from xavier.flow.expressions import Expression, Part, Root, constant, of_root, without_averages
from xavier.flow.feeds import Feed
from xavier.flow.loops import State
from xavier.flow.structure import Structure

Settled = tuple[object, dict[int, State]]  # from what, and the state at rest

HELD = ("parameter", "constant", "noise")  # kinds of roots that are no part of the signal


@dataclass(frozen=True)
class Passed:
    """What weights make of second moments.

    Attributes:
        second: Of what comes out.
        back: What a gradient's is multiplied by from the output to the input.
    """

    second: float
    back: float


class Ledger:
    """What is known of the values of a flow.

    Attributes:
        roots: Every root, in the order in which they were made.
        notes: What the theory cannot follow.
        products: For each contraction of two computed values: over how many products it sums,
            and the factors' second moments by value.
    """

    def __init__(
        self,
        flow: Flow,
        structure: Structure,
        *,
        planned: Mapping[str, tuple[float, float]],
        rows: Mapping[str, np.ndarray] | None = None,
        rests: dict[int, Settled] | None = None,
        on_weights: Callable[[int, Feed | None], Passed],
    ) -> None:
        self.flow = flow
        self.structure = structure
        self.notes: dict[str, None] = {}
        self.roots: list[Root] = []
        self.products: dict[int, tuple[float, dict[int, float]]] = {}
        self._planned = planned
        self._rows = rows or {}
        self._rests = {} if rests is None else rests
        self._on_weights = on_weights
        self._of: dict[int, Expression] = {}
        self._passed: dict[int, tuple[Feed | None, Passed]] = {}
        self._settled: set[int] = set()
        self._copies: dict[tuple[Root, int], Root] = {}

    def expression(self, index: int) -> Expression:
        """Return a value's expression."""
        if index not in self._of:
            self._of[index] = self._source(self.flow.values[index])
        return self._of[index]

    def moments(self, index: int) -> tuple[float, float]:
        """Return a value's mean and second moment."""
        return self._moments(self.expression(index))

    def _moments(self, expression: Expression) -> tuple[float, float]:
        if any(root.unknown for root in expression.all_roots):
            return 0.0, 1.0
        try:
            mean, second = without_averages(expression).moments
        except ActivationError:
            mean = second = float("nan")
        if not np.isfinite(mean) or not np.isfinite(second):
            self.notes.setdefault(
                "a value's second moment is not finite in theory; it counts as 1 from there on"
            )
            return 0.0, 1.0
        return mean, second

    def _root(  # noqa: PLR0913 - a root has that many parts
        self,
        kind: str,
        mean: float,
        second: float,
        *,
        op: int | None = None,
        recurrent: bool = False,
        lag: float = 0.0,
        parts: Iterable[tuple[Expression, float]] = (),
    ) -> Expression:
        """Return a new root as an expression; recurrent if what it was made of is."""
        made_of = tuple(Part(expression, share) for expression, share in parts)
        behind = [root for part in made_of for root in part.expression.all_roots]
        recurrent = recurrent or any(root.recurrent for root in behind)
        unknown = any(root.unknown for root in behind)
        root = Root(mean, second, kind, op, recurrent, unknown, made_of, lag)
        self.roots.append(root)
        return of_root(root)

    def _source(self, value: Value) -> Expression:
        if value.origin is Origin.INPUT:
            return self._root("input", value.mean, value.second)
        mean, second = value.mean, value.second
        kind = NOISE if value.name == NOISE else "constant"
        if value.origin is Origin.PARAMETER:
            mean, second = self._planned.get(value.name, (mean, second))
            kind = "parameter"
        if mean != mean or second - mean * mean <= 1e-12 * max(second, 1e-30):  # noqa: PLR0124 - of NaN
            return constant(mean)
        if value.origin is Origin.CONSTANT and value.name == MASK:
            return of_root(Root(mean, second, MASK))
        return self._root(kind, mean, second)

    def _lag(self, expressions: Iterable[Expression]) -> float:
        """Return how far elements remember those of the step before: states, moved or joined."""
        lags = [each.root.lag if each.root is not None else 0.0 for each in expressions]
        return sum(lags) / (len(lags) or 1)

    def _ratio(self, source: int, made: int) -> float:
        """Return how many elements of a value there are for each of its source's."""
        sizes = [float(math.prod(self.flow.values[each].shape)) for each in (made, source)]
        return sizes[0] / (sizes[1] or 1.0)

    def _copied(self, expression: Expression, tag: int, share: float) -> Expression:
        """Return the same function of fresh roots: other elements of the same tensors.

        Args:
            expression: The function.
            tag: The value that they are elements of.
            share: How many of these elements there are for each of the tensors'.
        """
        if expression.root is not None:
            root = expression.root
            if root.kind == "probability":
                return expression
            if (root, tag) not in self._copies:
                copy = replace(root, parts=(Part(expression, share),))
                self._copies[root, tag] = copy
                self.roots.append(copy)
            return of_root(self._copies[root, tag])
        if expression.constant is not None:
            return expression
        return Expression(
            function=expression.function,
            arguments=tuple(self._copied(each, tag, share) for each in expression.arguments),
            statistic=expression.statistic,
            count=expression.count,
            depth=expression.depth,
        )

    def _collapsed(self, expression: Expression, kind: str) -> Expression:
        if expression.root is not None and expression.root.kind == kind:
            return expression
        mean, second = self._moments(expression)
        return self._root(kind, mean, second, parts=[(expression, 1.0)])


def is_probability(expression: Expression) -> bool:
    """Tell whether an expression is made of softmaxes alone."""
    roots = expression.all_roots
    return bool(roots) and all(root.kind == "probability" for root in roots)
