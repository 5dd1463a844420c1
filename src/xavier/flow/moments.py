"""Second moments carried through a flow, op by op.

Each value becomes an expression over Gaussian roots. Where weights are met, a callback decides
what second moment comes out: the planner chooses a law there, a prediction uses the plan's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from xavier._errors import ActivationError
from xavier._types.flow import Flow, Op, OpKind, Origin, Value
from xavier.flow.expressions import (
    Expression,
    Root,
    constant,
    is_scale_free,
    of_root,
    without_averages,
)
from xavier.flow.structure import Structure
from xavier.theory.activations import recognize
from xavier.theory.quadrature import powers, powers2

_MAX_DEPTH = 60
_EPSILON = 5e-3
_HELD = ("parameter", "constant")  # kinds of roots that are no part of the signal
_LEAST_DECAY = 1e-9  # of a recurrence's second moment at each step
_NAMES = {
    "input": "identity",
    "contraction": "identity",
    "lookup": "lookup",
    "normalization": "normalization",
    "attention": "attention",
    "sum": "sum",
    "product": "product",
    "joined": "joined",
    "mixture": "mixture",
    "probability": "softmax",
}


@dataclass(frozen=True)
class Feed:
    """What a weight multiplies.

    Attributes:
        name: The function whose output it is, or what made it: `identity`, `tanh`, …
        forward: E[x**2].
        backward: E[(dx/dh)**2] over the pre-activations h behind it.
        ops: The weighted ops whose outputs those pre-activations are.
        function: x as a function of one root, where it is one.
        variance: That root's variance.
        pooled: Whether x is pooled, and counts as the pool's input.
        recurrent: Whether x is a state that comes back, which counts as 1.
    """

    name: str
    forward: float
    backward: float
    ops: tuple[int, ...] = ()
    function: Callable[[np.ndarray], np.ndarray] | None = None
    variance: float = 1.0
    pooled: bool = False
    recurrent: bool = False


class Propagation:
    """One pass over a flow.

    Args:
        flow: What to pass over.
        structure: Its structure.
        planned: What parameters that enter elementwise ops will hold: mean, second moment.
        on_weights: Called for each weighted op with its index and feed (None for a lookup);
            returns the second moment of what comes out.
    """

    def __init__(
        self,
        flow: Flow,
        structure: Structure,
        *,
        planned: Mapping[str, tuple[float, float]],
        on_weights: Callable[[int, Feed | None], float],
    ) -> None:
        self.flow = flow
        self.structure = structure
        self.notes: dict[str, None] = {}
        self._planned = planned
        self._on_weights = on_weights
        self._of: dict[int, Expression] = {}
        self._copies: dict[tuple[Root, int], Root] = {}

    def run(self) -> None:
        """Carry moments through every op."""
        for at, op in enumerate(self.flow.ops):
            self._of[op.output] = self._step(at, op)

    def expression(self, index: int) -> Expression:
        """Return a value's expression."""
        if index not in self._of:
            self._of[index] = self._source(self.flow.values[index])
        return self._of[index]

    def moments(self, index: int) -> tuple[float, float]:
        """Return a value's mean and second moment."""
        return self._moments(self.expression(index))

    def _moments(self, expression: Expression) -> tuple[float, float]:
        if any(root.recurrent for root in expression.all_roots):
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

    def _source(self, value: Value) -> Expression:
        if value.origin is Origin.INPUT:
            return of_root(Root(0.0, 1.0, "input"))
        mean, second = value.mean, value.second
        kind = "constant"
        if value.origin is Origin.PARAMETER:
            mean, second = self._planned.get(value.name, (mean, second))
            kind = "parameter"
        if mean != mean or second - mean * mean <= 1e-12 * max(second, 1e-30):  # noqa: PLR0124
            return constant(mean)
        return of_root(Root(mean, second, kind))

    def _step(self, at: int, op: Op) -> Expression:
        if op.weights:
            return self._weighted(at, op)
        arguments = [self.expression(each) for each in op.inputs]
        match op.kind:
            case OpKind.ADD | OpKind.MULTIPLY | OpKind.ELEMENTWISE:
                return self._elementwise(op, arguments)
            case OpKind.MOVE:
                return self._moved(op, arguments)
            case OpKind.MEAN:
                return self._averaged(op, arguments[0])
            case OpKind.POOL:
                return arguments[0]
            case OpKind.NORMALIZE:
                scale = op.attributes.get("scale")
                second = self._planned.get(scale, (1.0, 1.0))[1] if scale else 1.0
                second = 1.0 if second != second else second  # noqa: PLR0124 - nan: unknown
                return of_root(Root(0.0, second, "normalization"))
            case OpKind.SOFTMAX:
                return of_root(Root(0.0, 1.0, "probability"))
            case OpKind.ATTENTION:
                return self._collapsed(arguments[2], "attention")
            case OpKind.CONTRACT:
                return self._product(op, arguments)
            case _:
                return of_root(Root(0.0, 1.0, "opaque"))

    def _weighted(self, at: int, op: Op) -> Expression:
        feed = self.feed(op.inputs) if op.kind is OpKind.CONTRACT and op.inputs else None
        second = self._on_weights(at, feed)
        recurrent = at in self.structure.recurrent or at in self.structure.recurrent_sums
        kind = "contraction" if op.kind is OpKind.CONTRACT else "lookup"
        return of_root(Root(0.0, second, kind, at, recurrent))

    # Elementwise

    def _elementwise(self, op: Op, arguments: list[Expression]) -> Expression:
        if op.output in self.structure.scans:
            return self._scanned(*self.structure.scans[op.output])
        arguments = [self._neutral(op, each) for each in arguments]
        if op.function is None:
            return of_root(Root(0.0, 1.0, "opaque"))
        arguments = self._tamed(op, arguments)
        roots = tuple(dict.fromkeys(root for each in arguments for root in each.roots))
        if not roots and not any(each.averages for each in arguments):
            with np.errstate(all="ignore"):
                out = op.function(*(np.float64(each.constant or 0.0) for each in arguments))
            return constant(float(np.ravel(out)[0]))
        live = [each for each in arguments if each.roots]
        disjoint = len(live) > 1 and sum(len(each.roots) for each in live) == len(roots)
        if op.kind is OpKind.ADD and disjoint:
            return self._sum(op, arguments)
        if op.kind is OpKind.MULTIPLY and disjoint:
            probabilities = [each for each in live if _is_probability(each)]
            if probabilities and len(probabilities) < len(live):
                mixed = next(each for each in live if not _is_probability(each))
                return self._collapsed(mixed, "mixture")
            if len(roots) > 2:  # noqa: PLR2004 - quadrature handles two
                return self._multiplied(live)
        if len(live) == 1 and _is_identity(op.function, arguments):
            return live[0]
        depth = 1 + max((each.depth for each in arguments), default=0)
        if len(roots) > 2 or depth > _MAX_DEPTH:  # noqa: PLR2004
            arguments = [self._collapsed(each, "sum") if each.roots else each for each in arguments]
            if len(live) > 2:  # noqa: PLR2004
                return of_root(self._joined_root(live, "sum"))
            depth = 1
        out = Expression(function=op.function, arguments=tuple(arguments), depth=depth)
        if out.averages and self._normalizes(out):
            mean, second = out.moments
            if abs(second - 1) < _EPSILON:  # the norm's own epsilon, whatever its size
                second = 1.0
            return of_root(Root(mean, second, "normalization"))
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
        if _is_probability(dividend) or _is_probability(divisor):
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
            return of_root(Root(mean, second, "sum"))
        settled = mean / (1 - keeps)
        power = (second + 2 * mean * keeps * settled) / (1 - keeps_second)
        return of_root(Root(settled, power, "sum"))

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
            return of_root(Root(0.0, 1.0, "opaque"))
        moments = [self._moments(each) for each in arguments]
        means = [mean for mean, _ in moments]
        mean = float(function(*(np.float64(each) for each in means)))
        variance = 0.0
        for at, (own, second) in enumerate(moments):
            shifted = [each + (1.0 if place == at else 0.0) for place, each in enumerate(means)]
            weight = float(function(*(np.float64(each) for each in shifted))) - mean
            variance += weight**2 * max(second - own**2, 0.0)
        roots = [root for each in arguments for root in each.all_roots]
        recurrent = any(root.recurrent for root in roots)
        looked_up = all(root.kind in ("lookup", *_HELD) for root in roots)
        kind = "lookup" if looked_up else "sum"
        return of_root(Root(mean, variance + mean**2, kind, self._summed(op, roots), recurrent))

    def _summed(self, op: Op, roots: list[Root]) -> int | None:
        """Return the op that a sum counts as an output of: its only one, or one of a shared sum."""
        signal = {root.op for root in roots if root.kind not in _HELD}
        if len(signal) == 1:
            return next(iter(signal))
        shared = [each for each in signal if each in self.structure.shared]
        return shared[0] if shared and op.output not in self.structure.streams else None

    def _multiplied(self, live: list[Expression]) -> Expression:
        mean = second = 1.0
        for each in live:
            own, power = self._moments(each)
            mean, second = mean * own, second * power
        recurrent = any(root.recurrent for each in live for root in each.all_roots)
        return of_root(Root(mean, second, "product", None, recurrent))

    def _collapsed(self, expression: Expression, kind: str) -> Expression:
        if expression.root is not None and expression.root.kind == kind:
            return expression
        mean, second = self._moments(expression)
        recurrent = any(root.recurrent for root in expression.all_roots)
        return of_root(Root(mean, second, kind, None, recurrent))

    def _joined_root(self, live: list[Expression], kind: str) -> Root:
        moments = [self._moments(each) for each in live]
        recurrent = any(root.recurrent for each in live for root in each.all_roots)
        count = len(moments)
        mean = sum(each[0] for each in moments) / count
        return Root(mean, sum(each[1] for each in moments) / count, kind, None, recurrent)

    # Moves, averages, products

    def _moved(self, op: Op, arguments: list[Expression]) -> Expression:
        if len(arguments) == 1:
            if not op.attributes.get("selects"):
                return arguments[0]
            return self._copied(arguments[0], op.output)
        if not arguments:
            return constant(0.0)
        sizes = [float(np.prod(self.flow.values[each].shape)) for each in op.inputs]
        total = sum(sizes) or 1.0
        moments = [self._moments(each) for each in arguments]
        pairs = list(zip(sizes, moments, strict=True))
        mean = sum(size * each[0] for size, each in pairs) / total
        second = sum(size * each[1] for size, each in pairs) / total
        recurrent = any(root.recurrent for each in arguments for root in each.all_roots)
        return of_root(Root(mean, second, "joined", None, recurrent))

    def _copied(self, expression: Expression, tag: int) -> Expression:
        """Return the same function of fresh roots: other elements of the same tensors."""
        if expression.root is not None:
            root = expression.root
            if root.kind == "probability":
                return expression
            copy = self._copies.setdefault(
                (root, tag), Root(root.mean, root.second, root.kind, root.op, root.recurrent)
            )
            return of_root(copy)
        if expression.constant is not None:
            return expression
        return Expression(
            function=expression.function,
            arguments=tuple(self._copied(each, tag) for each in expression.arguments),
            statistic=expression.statistic,
            count=expression.count,
            depth=expression.depth,
        )

    def _averaged(self, op: Op, argument: Expression) -> Expression:
        if not argument.all_roots or _is_probability(argument):
            return argument
        if argument.root is not None and argument.root.kind == "mixture":
            return argument  # a sum whose weights add up to one
        statistic = op.attributes.get("statistic", "mean")
        count = float(op.attributes.get("count", 1.0))
        if count == 1.0 and statistic in ("mean", "sum"):
            return argument
        return Expression(arguments=(argument,), statistic=statistic, count=count)

    def _product(self, op: Op, arguments: list[Expression]) -> Expression:
        """Contract two activations: a mixture if one is a softmax's output, else scores."""
        if len(arguments) < 2:  # noqa: PLR2004
            return of_root(Root(0.0, 1.0, "opaque"))
        left, right = arguments[-2:]
        for weights, mixed in ((left, right), (right, left)):
            if _is_probability(weights):
                return self._collapsed(mixed, "attention")
        contracted = float(op.attributes.get("contracted", 1.0))
        second = contracted * self._moments(left)[1] * self._moments(right)[1]
        recurrent = any(root.recurrent for each in arguments for root in each.all_roots)
        return of_root(Root(0.0, second, "product", None, recurrent))

    # What a weight reads

    def feed(self, inputs: tuple[int, ...]) -> Feed:
        """Return what a weighted op multiplies."""
        expressions = [self.expression(each) for each in inputs]
        if len(expressions) > 1:  # a bilinear map
            return Feed("product", float(np.prod([self._moments(e)[1] for e in expressions])), 1.0)
        whole = expressions[0]
        expression = without_averages(whole)
        if any(root.recurrent for root in expression.all_roots):
            return Feed("recurrent state", 1.0, 1.0, recurrent=True)
        if not expression.roots:
            value = expression.moments[1]
            return Feed("constant", value, 0.0)
        return self._feed_of(expression, pooled=expression is not whole)

    def _feed_of(self, expression: Expression, *, pooled: bool) -> Feed:
        roots = expression.roots
        ops = tuple(dict.fromkeys(root.op for root in roots if root.op is not None))
        if expression.root is not None:
            name = _NAMES.get(expression.root.kind, expression.root.kind)
            if expression.root.kind == "sum" and expression.root.op is not None:
                name = "identity"
            return Feed(name, expression.root.second, 1.0, ops, None, 1.0, pooled)
        if len(roots) == 1:
            root = roots[0]
            function = lambda z: expression.evaluate({root: z})  # noqa: E731
            found = powers(function, variance=root.variance, mean=root.mean)
            name = recognize(function) or "custom"
            if name == "identity":
                name = _NAMES.get(root.kind, root.kind)
            return Feed(name, found.forward, found.backward, ops, function, root.variance, pooled)
        first, second = roots
        found2 = powers2(
            lambda a, b: expression.evaluate({first: a, second: b}),
            variances=(first.variance, second.variance),
            means=(first.mean, second.mean),
        )
        backward = sum(found2.backward) / len(found2.backward)
        return Feed("gated product", found2.forward, backward, ops, None, 1.0, pooled)


def _is_identity(function: Callable[..., np.ndarray], arguments: list[Expression]) -> bool:
    """Tell whether an op does nothing to its one argument that is not constant."""
    if any(not each.roots and each.constant is None for each in arguments):
        return False
    points = np.array([-1.3, 0.0, 0.7, 2.1])
    filled = [points if each.roots else np.float64(each.constant or 0.0) for each in arguments]
    with np.errstate(all="ignore"):
        return bool(np.array_equal(np.asarray(function(*filled)), points))


def _is_probability(expression: Expression) -> bool:
    roots = expression.all_roots
    return bool(roots) and all(root.kind == "probability" for root in roots)
