"""Second moments through what acts on each element: functions, sums, products."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from xavier._errors import ActivationError
from xavier._types.flow import Op, OpKind, Origin
from xavier.flow.expressions import Expression, Root, constant, is_scale_free
from xavier.flow.feeds import POINTS
from xavier.flow.ledger import HELD, Ledger, is_probability

_MAX_DEPTH = 60
_MOST_MASKS = 4  # in one expression
_EPSILON = 5e-3
_SIGNAL = (Origin.INPUT, Origin.COMPUTED)
_LEAST_DECAY = 1e-9  # of a recurrence's second moment at each step


class Elementwise(Ledger):
    """What a propagation does at elementwise ops."""

    def elementwise(self, op: Op, arguments: list[Expression]) -> Expression:
        """Return what an elementwise op, a sum or a product makes of its arguments."""
        running = self._running_sum(op)
        if running is not None:
            return running
        arguments = [self._neutral(op, each) for each in arguments]
        if op.function is None:
            return self._root("opaque", 0.0, 1.0)
        arguments = self._spread(op, self._tamed(op, arguments))
        roots = tuple(dict.fromkeys(root for each in arguments for root in each.roots))
        held = roots or any(each.averages or each.masks for each in arguments)
        if not held:
            with np.errstate(all="ignore"):
                out = op.function(*(np.float64(each.constant or 0.0) for each in arguments))
            return constant(float(np.ravel(out)[0]))
        live = [each for each in arguments if each.roots or each.masks]
        disjoint = len(live) > 1 and sum(len(each.roots) for each in live) == len(roots)
        if op.kind is OpKind.ADD and disjoint:
            return self._sum(op, arguments)
        if op.kind is OpKind.MULTIPLY and disjoint:
            probabilities = [each for each in live if is_probability(each)]
            if probabilities and len(probabilities) < len(live):
                mixed = next(each for each in live if not is_probability(each))
                return self._collapsed(mixed, "mixture")
            if len(roots) > 2:  # noqa: PLR2004 - quadrature handles two
                return self._multiplied(live)
        if len(live) == 1 and _is_identity(op.function, arguments):
            return live[0]
        depth = 1 + max((each.depth for each in arguments), default=0)
        masks = {mask for each in arguments for mask in each.masks}
        if len(roots) > 2 or len(masks) > _MOST_MASKS or depth > _MAX_DEPTH:  # noqa: PLR2004 - functions of two variables at most
            arguments = [self._collapsed(each, "sum") if each.roots else each for each in arguments]
            live = [each for each in arguments if each.roots]
            if len(live) > 2:  # noqa: PLR2004 - as above
                return self._mixed(live)
            depth = 1
        out = Expression(function=op.function, arguments=tuple(arguments), depth=depth)
        if out.averages and self._normalizes(out):
            mean, second = out.moments
            if abs(second - 1) < _EPSILON:  # the norm's own epsilon, whatever its size
                second = 1.0
            return self._root("normalization", mean, second, parts=[(out, 1.0)])
        return out

    def _running_sum(self, op: Op) -> Expression | None:
        """Return what an op makes that is a step of a recurrence, or a part of a running sum."""
        if op.output in self.structure.scans:
            return self._scanned(*self.structure.scans[op.output])
        summed = self._summed_since(op)
        return None if summed is None else self._copied(self.expression(summed), op.output, 1.0)

    def _summed_since(self, op: Op) -> int | None:
        """Return what a cumulative sum adds up, where it is subtracted from a part of itself.

        What is left is the sum of the later addends, of one sign if they are, and counts as one of
        them, as a cumulative sum does: `exp` of such a difference is a decay.
        """
        if op.name != "aten.sub" or len(op.inputs) != 2:  # noqa: PLR2004 - a part, the whole
            return None
        part, whole = (self._cumulative(each) for each in op.inputs)
        alike = op.inputs[0] == op.inputs[1]
        return None if part is None or part is not whole or alike else part.inputs[0]

    def _cumulative(self, value: int) -> Op | None:
        """Return the cumulative sum that a value is, or a part of."""
        producer = self.flow.values[value].producer
        while producer is not None:
            op = self.flow.ops[producer]
            if op.name == "aten.cumsum":
                return op
            if op.kind is not OpKind.MOVE or len(op.inputs) != 1:
                return None
            producer = self.flow.values[op.inputs[0]].producer
        return None

    def _spread(self, op: Op, arguments: list[Expression]) -> list[Expression]:
        """Return arguments of which those that are repeated along an axis get all the gradients."""
        out: list[Expression] = []
        for value, each in zip(op.inputs, arguments, strict=True):
            ratio = self._ratio(value, op.output)
            repeated = ratio > 1 and each.roots and self.flow.values[value].origin in _SIGNAL
            out.append(self._copied(each, op.output, ratio) if repeated else each)
        return out

    def _tamed(self, op: Op, arguments: list[Expression]) -> list[Expression]:
        """Put a divisor's RMS in its place, where a quotient is of more than one root.

        A quotient of independent sums has no second moment in theory, since the divisor may be
        zero; in models it never is, or is far from independent (a weighted mean and its weights).
        """
        if op.name != "aten.div" or len(arguments) != 2:  # noqa: PLR2004 - dividend, divisor
            return arguments
        dividend, divisor = arguments
        if not divisor.roots or len({*dividend.roots, *divisor.roots}) == 1:
            return arguments
        if is_probability(dividend) or is_probability(divisor):
            return arguments
        return [dividend, constant(float(np.sqrt(self._moments(divisor)[1])))]

    def _scanned(self, kept: int, added: int) -> Expression:
        """Return the state of `h = p * h + b` after many steps, however many this run made.

        With p, b and the state before independent, `E[h] = E[b] / (1 - E[p])` and
        `E[h**2] = (E[b**2] + 2 E[b] E[p] E[h]) / (1 - E[p**2])`.
        """
        (keeps, keeps_second), (mean, second) = self.moments(kept), self.moments(added)
        if not keeps_second < 1 - _LEAST_DECAY:
            self.notes.setdefault(
                "a recurrence does not forget, so its state grows with the sequence; it counts"
                " as after one step"
            )
            return self._root("sum", mean, second, parts=[(self.expression(added), 1.0)])
        settled = mean / (1 - keeps)
        power = (second + 2 * mean * keeps * settled) / (1 - keeps_second)
        share = 1 / (1 - keeps_second)  # a step's addend is seen by all that follow
        return self._root("sum", settled, power, parts=[(self.expression(added), share)])

    def _neutral(self, op: Op, argument: Expression) -> Expression:
        """Put what does nothing in the place of a parameter whose values are unknown."""
        value = argument.constant
        if value is None or value == value:  # noqa: PLR0124 - not nan
            return argument
        return constant(0.0 if op.kind is OpKind.ADD else 1.0)

    @staticmethod
    def _normalizes(expression: Expression) -> bool:
        try:
            return is_scale_free(expression)
        except ActivationError:
            return False

    def _sum(self, op: Op, arguments: list[Expression]) -> Expression:
        """Add what is independent: means add, and variances with the squares of their weights."""
        function = op.function
        if function is None:
            return self._root("opaque", 0.0, 1.0)
        moments = [self._moments(each) for each in arguments]
        means = [mean for mean, _ in moments]
        mean = float(function(*(np.float64(each) for each in means)))
        variance, parts = 0.0, list[tuple[Expression, float]]()
        for at, (own, second) in enumerate(moments):
            shifted = [each + (1.0 if place == at else 0.0) for place, each in enumerate(means)]
            weight = float(function(*(np.float64(each) for each in shifted))) - mean
            variance += weight**2 * max(second - own**2, 0.0)
            parts.append((arguments[at], weight**2))
        roots = [root for each in arguments for root in each.all_roots]
        looked_up = all(root.kind in ("lookup", *HELD) for root in roots)
        kind = "lookup" if looked_up else "sum"
        summed = self._summed(op, roots)
        return self._root(kind, mean, variance + mean**2, op=summed, parts=parts)

    def _summed(self, op: Op, roots: list[Root]) -> int | None:
        """Return the op that a sum counts as an output of: its only one, or one of a shared sum."""
        signal = {root.op for root in roots if root.kind not in HELD}
        if len(signal) == 1:
            return next(iter(signal))
        shared = [each for each in signal if each is not None and each in self.structure.shared]
        return min(shared) if shared and op.output not in self.structure.streams else None

    def _multiplied(self, live: list[Expression]) -> Expression:
        moments = [self._moments(each) for each in live]
        mean, second = (float(np.prod(each)) for each in zip(*moments, strict=True))
        parts = [
            (each, second / power if power else 0.0)
            for each, (_, power) in zip(live, moments, strict=True)
        ]
        return self._root("product", mean, second, parts=parts)

    def _mixed(self, live: list[Expression]) -> Expression:
        """Return what stands for a function of too many roots: their mean power."""
        mean, second = np.mean([self._moments(each) for each in live], axis=0).tolist()
        return self._root("sum", mean, second, parts=[(each, 1.0) for each in live])


def _is_identity(function: Callable[..., np.ndarray], arguments: list[Expression]) -> bool:
    """Tell whether an op does nothing to its one argument that is not constant."""
    if any(not each.roots and each.constant is None for each in arguments):
        return False
    filled = [POINTS if each.roots else np.float64(each.constant or 0.0) for each in arguments]
    with np.errstate(all="ignore"):
        return bool(np.array_equal(np.asarray(function(*filled)), POINTS))
