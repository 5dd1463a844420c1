"""By how much chance moves a second moment away from what the theory expects.

The theory holds for infinite width. With n units the mean of `f(h)**2` over them has the relative
variance `(E[f**4] / E[f**2]**2 - 1) / n`: 5/n for ReLU, as in He's nets, 2/n for the identity. The
mean of `(f'(h) g)**2` with g normal, which is what a gradient makes, has
`(3 E[f'**4] / E[f'**2]**2 - 1) / n`: again 5/n and 2/n. These are bounds, reached where all inputs
and positions are alike to a layer; where they differ, each adds a sample. A relative change of a
second moment goes on through a function with its elasticity `d log E[f**2] / d log q`: 1 for ReLU,
less for tanh, more for GELU, nothing behind a normalization.

References:
    He et al. 2015, section 2.2; Hanin and Nica, "Products of many large random matrices and
    gradients in deep neural networks", 2018, theorem 1, for the sum over layers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from xavier._types.flow import Flow, Op
from xavier.checking.bends import LINEAR
from xavier.checking.expectation import Expected
from xavier.flow.expressions import Expression, Root


@dataclass(frozen=True)
class Spreads:
    """Variances of the logarithm of second moments, by the op's index.

    Attributes:
        outputs: Of what comes out, all layers before it counted.
        gradients: Of the gradient there, all layers after it counted.
        step_outputs: Of what comes out where the measured ops before it are given.
        step_gradients: Of the gradient there where those after it are.
    """

    outputs: dict[int, float]
    gradients: dict[int, float]
    step_outputs: dict[int, float]
    step_gradients: dict[int, float]


def channels(op: Op, shape: tuple[int, ...]) -> int:
    """Return how many units a tensor next to an op has, each of them a sample of its own."""
    if not shape:
        return 1
    return max(shape[1 if "stride" in op.attributes and len(shape) > 2 else -1], 1)  # noqa: PLR2004 - a matrix has two axes


def spreads(expected: Expected, *, outputs: frozenset[int], gradients: frozenset[int]) -> Spreads:
    """Return by how much chance moves what is expected.

    Args:
        expected: What is expected, and the propagation that it comes from.
        outputs: Ops whose outputs were measured, and stand for those before them in a step.
        gradients: The same of gradients.
    """
    chance = _Chance(expected)
    forward = {at: chance.output(at, frozenset()) for at in chance.weighted}
    steps = {at: chance.output(at, outputs) for at in chance.weighted}
    backward, back_steps = chance.back(gradients)
    return Spreads(forward, backward, steps, back_steps)


class _Chance:
    """Follows chance through what a propagation has seen."""

    def __init__(self, expected: Expected) -> None:
        self._propagation = propagation = expected.propagation
        self._flow: Flow = propagation.flow
        self._bend = expected.bends
        self.weighted = [at for at, op in enumerate(self._flow.ops) if op.weights]
        self._units = {at: self._units_of(self._flow.ops[at]) for at in self.weighted}
        self._made: dict[Root, int] = {}
        for at in self.weighted:
            root = propagation.expression(self._flow.ops[at].output).root
            if root is not None:
                self._made[root] = at
        self._before: dict[tuple[Root, frozenset[int]], float] = {}
        self._fed: dict[tuple[int, frozenset[int]], float] = {}

    def _units_of(self, op: Op) -> int:
        return channels(op, self._flow.values[op.output].shape)

    def output(self, at: int, given: frozenset[int]) -> float:
        """Return the variance at an op's output; what comes out of the given ops is known."""
        return self._of_feed(at, given) + LINEAR / self._units[at]

    def _of_feed(self, at: int, given: frozenset[int]) -> float:
        """Return the variance of the second moment that an op is fed."""
        if (at, given) not in self._fed:
            self._fed[at, given] = 0.0  # what comes back to it around a loop adds nothing
            op = self._flow.ops[at]
            least = [channels(op, self._flow.values[value].shape) for value in op.inputs]
            found = [
                self._of(self._propagation.expression(value), units, given)
                for value, units in zip(op.inputs, least, strict=True)
            ]
            self._fed[at, given] = max(found, default=0.0)
        return self._fed[at, given]

    def _of(self, expression: Expression, units: int, given: frozenset[int]) -> float:
        roots = expression.all_roots
        behind = max((self._of_root(root, units, given) for root in roots), default=0.0)
        if expression.root is not None or not roots:
            return behind
        passed = self._bend(expression)
        own = [self._units[self._made[root]] for root in roots if root in self._made]
        # Of a bare output the mean of squares is counted as its own chance; of a bent one the
        # function's: this includes it.
        less = max((self._last(root, given) for root in roots), default=0.0)
        return passed.elasticity**2 * max(behind - less, 0.0) + passed.forward / min([units, *own])

    def _last(self, root: Root, given: frozenset[int]) -> float:
        """Return the part of an op's variance that its own units' number makes."""
        at = self._made.get(root)
        return 0.0 if at is None or at in given else LINEAR / self._units[at]

    def _of_root(self, root: Root, units: int, given: frozenset[int]) -> float:
        at = self._made.get(root)
        if at is not None:
            return 0.0 if at in given else self.output(at, given)
        if root.kind == "normalization":
            return 0.0
        if (root, given) not in self._before:
            self._before[root, given] = 0.0  # as for a feed
            found = [self._of(part.expression, units, given) for part in root.parts]
            self._before[root, given] = max(found, default=0.0)
        return self._before[root, given]

    def back(self, given: frozenset[int]) -> tuple[dict[int, float], dict[int, float]]:
        """Return the variances of gradients: all layers counted, and from the given ops on."""
        found: tuple[dict[int, float], dict[int, float]] = ({}, {})
        arrived: Mapping[Root, list[float]] = defaultdict(lambda: [0.0, 0.0])
        bent: Mapping[Root, float] = defaultdict(lambda: LINEAR)
        for root in reversed(self._propagation.roots):
            at = self._made.get(root)
            behind, factor = list(arrived[root]), bent[root]
            if at is not None:
                behind = [each + factor / self._units[at] for each in behind]
                for kept, each in zip(found, behind, strict=True):
                    kept[at] = each
                behind, factor = [behind[0], 0.0 if at in given else behind[1]], LINEAR
            for part in root.parts:
                own = max(factor, self._bend(part.expression).backward)
                for earlier in part.expression.all_roots:
                    arrived[earlier][:] = map(max, arrived[earlier], behind)
                    bent[earlier] = max(bent[earlier], own)  # pyright: ignore[reportIndexIssue] - a defaultdict
        return found
