"""Second moments carried through a flow, op by op.

Each value becomes an expression over Gaussian roots. Where weights are met, a callback decides
what second moment comes out: the planner chooses a law there, a prediction uses the plan's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from xavier._errors import ActivationError
from xavier._types.flow import MASK, NOISE, Flow, Op, OpKind, Origin, Value
from xavier.flow.expressions import (
    Expression,
    Part,
    Root,
    constant,
    is_scale_free,
    of_root,
    without_averages,
)
from xavier.flow.feeds import POINTS, Feed, feed_of
from xavier.flow.structure import Structure

_MAX_DEPTH = 60
_MOST_MASKS = 4  # in one expression
_EPSILON = 5e-3
_HELD = ("parameter", "constant", "noise")  # kinds of roots that are no part of the signal
_SIGNAL = (Origin.INPUT, Origin.COMPUTED)
_LEAST_DECAY = 1e-9  # of a recurrence's second moment at each step


@dataclass(frozen=True)
class Passed:
    """What weights make of second moments.

    Attributes:
        second: Of what comes out.
        back: What a gradient's is multiplied by from the output to the input.
    """

    second: float
    back: float


class Propagation:
    """One pass over a flow.

    Attributes:
        roots: Every root, in the order in which they were made.
        notes: What the theory cannot follow.

    Args:
        flow: What to pass over.
        structure: Its structure.
        planned: What parameters that enter elementwise ops will hold: mean, second moment.
        on_weights: Called for each weighted op with its index and feed (None for a lookup);
            returns what the weights make of a second moment.
    """

    def __init__(
        self,
        flow: Flow,
        structure: Structure,
        *,
        planned: Mapping[str, tuple[float, float]],
        on_weights: Callable[[int, Feed | None], Passed],
    ) -> None:
        self.flow = flow
        self.structure = structure
        self.notes: dict[str, None] = {}
        self.roots: list[Root] = []
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

    def _root(
        self,
        kind: str,
        mean: float,
        second: float,
        *,
        op: int | None = None,
        recurrent: bool = False,
        parts: Iterable[tuple[Expression, float]] = (),
    ) -> Expression:
        """Return a new root as an expression; recurrent if what it was made of is."""
        made_of = tuple(Part(expression, share) for expression, share in parts)
        recurrent = recurrent or any(
            root.recurrent for part in made_of for root in part.expression.all_roots
        )
        root = Root(mean, second, kind, op, recurrent, made_of)
        self.roots.append(root)
        return of_root(root)

    def _source(self, value: Value) -> Expression:
        if value.origin is Origin.INPUT:
            return self._root("input", 0.0, 1.0)
        mean, second = value.mean, value.second
        kind = NOISE if value.name == NOISE else "constant"
        if value.origin is Origin.PARAMETER:
            mean, second = self._planned.get(value.name, (mean, second))
            kind = "parameter"
        if mean != mean or second - mean * mean <= 1e-12 * max(second, 1e-30):  # noqa: PLR0124
            return constant(mean)
        if value.origin is Origin.CONSTANT and value.name == MASK:
            return of_root(Root(mean, second, MASK))
        return self._root(kind, mean, second)

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
                return self._pooled(op, arguments[0])
            case OpKind.NORMALIZE:
                return self._normalized(op, arguments[0])
            case OpKind.SOFTMAX:
                return self._root("probability", 0.0, 1.0)
            case OpKind.ATTENTION:
                return self._collapsed(arguments[2], "attention")
            case OpKind.CONTRACT:
                return self._product(op, arguments)
            case _:
                return self._root("opaque", 0.0, 1.0)

    def _weighted(self, at: int, op: Op) -> Expression:
        feed = self.feed(op.inputs) if op.kind is OpKind.CONTRACT and op.inputs else None
        passed = self._on_weights(at, feed)
        recurrent = at in self.structure.recurrent or at in self.structure.recurrent_sums
        root = Root(
            mean=0.0,
            second=passed.second,
            kind="contraction" if op.kind is OpKind.CONTRACT else "lookup",
            op=at,
            recurrent=recurrent,
            parts=tuple(
                Part(self.expression(each), passed.back * self._reached(op, each))
                for each in op.inputs
            ),
        )
        self.roots.append(root)
        return of_root(root)

    def _reached(self, op: Op, source: int) -> float:
        """Return how many of the products of an interior element one has on average.

        A convolution without padding loses some at the borders; with a stride, its count is
        that of one period.
        """
        if "stride" not in op.attributes:
            return 1.0
        made, given = (self.flow.values[each].shape[2:] for each in (op.output, source))
        return float(op.attributes["stride"] * np.prod(made) / (np.prod(given) or 1.0))

    def _normalized(self, op: Op, argument: Expression) -> Expression:
        scale = op.attributes.get("scale")
        second = self._planned.get(scale, (1.0, 1.0))[1] if scale else 1.0
        second = 1.0 if second != second else second  # noqa: PLR0124 - nan: unknown
        mean, power = self._moments(argument)
        variance = max(power - mean * mean, 0.0) or 1.0
        return self._root("normalization", 0.0, second, parts=[(argument, second / variance)])

    def _pooled(self, op: Op, argument: Expression) -> Expression:
        """Return a pool's input, as which its output counts; an average shares the gradient out."""
        ratio = self._ratio(op.inputs[0], op.output)
        return self._copied(argument, op.output, ratio**2 if "avg" in op.name else ratio)

    def _ratio(self, source: int, made: int) -> float:
        """Return how many elements of a value there are for each of its source's."""
        sizes = [float(np.prod(self.flow.values[each].shape)) for each in (made, source)]
        return sizes[0] / (sizes[1] or 1.0)

    # Elementwise

    def _elementwise(self, op: Op, arguments: list[Expression]) -> Expression:
        if op.output in self.structure.scans:
            return self._scanned(*self.structure.scans[op.output])
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
            probabilities = [each for each in live if _is_probability(each)]
            if probabilities and len(probabilities) < len(live):
                mixed = next(each for each in live if not _is_probability(each))
                return self._collapsed(mixed, "mixture")
            if len(roots) > 2:  # noqa: PLR2004 - quadrature handles two
                return self._multiplied(live)
        if len(live) == 1 and _is_identity(op.function, arguments):
            return live[0]
        depth = 1 + max((each.depth for each in arguments), default=0)
        masks = {mask for each in arguments for mask in each.masks}
        if len(roots) > 2 or len(masks) > _MOST_MASKS or depth > _MAX_DEPTH:  # noqa: PLR2004
            arguments = [self._collapsed(each, "sum") if each.roots else each for each in arguments]
            live = [each for each in arguments if each.roots]
            if len(live) > 2:  # noqa: PLR2004
                return self._mixed(live)
            depth = 1
        out = Expression(function=op.function, arguments=tuple(arguments), depth=depth)
        if out.averages and self._normalizes(out):
            mean, second = out.moments
            if abs(second - 1) < _EPSILON:  # the norm's own epsilon, whatever its size
                second = 1.0
            return self._root("normalization", mean, second, parts=[(out, 1.0)])
        return out

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
        looked_up = all(root.kind in ("lookup", *_HELD) for root in roots)
        kind = "lookup" if looked_up else "sum"
        summed = self._summed(op, roots)
        return self._root(kind, mean, variance + mean**2, op=summed, parts=parts)

    def _summed(self, op: Op, roots: list[Root]) -> int | None:
        """Return the op that a sum counts as an output of: its only one, or one of a shared sum."""
        signal = {root.op for root in roots if root.kind not in _HELD}
        if len(signal) == 1:
            return next(iter(signal))
        shared = [each for each in signal if each in self.structure.shared]
        return shared[0] if shared and op.output not in self.structure.streams else None

    def _multiplied(self, live: list[Expression]) -> Expression:
        moments = [self._moments(each) for each in live]
        mean, second = (float(np.prod(each)) for each in zip(*moments, strict=True))
        parts = [
            (each, second / power if power else 0.0)
            for each, (_, power) in zip(live, moments, strict=True)
        ]
        return self._root("product", mean, second, parts=parts)

    def _collapsed(self, expression: Expression, kind: str) -> Expression:
        if expression.root is not None and expression.root.kind == kind:
            return expression
        mean, second = self._moments(expression)
        return self._root(kind, mean, second, parts=[(expression, 1.0)])

    def _mixed(self, live: list[Expression]) -> Expression:
        """Return what stands for a function of too many roots: their mean power."""
        mean, second = np.mean([self._moments(each) for each in live], axis=0).tolist()
        return self._root("sum", mean, second, parts=[(each, 1.0) for each in live])

    # Moves, averages, products

    def _moved(self, op: Op, arguments: list[Expression]) -> Expression:
        if len(arguments) == 1:
            ratio = self._ratio(op.inputs[0], op.output)
            if ratio == 1 and not op.attributes.get("selects"):
                return arguments[0]
            return self._copied(arguments[0], op.output, ratio)
        if not arguments:
            return constant(0.0)
        sizes = [float(np.prod(self.flow.values[each].shape)) for each in op.inputs]
        sizes = op.attributes.get("shares", sizes)
        total = sum(sizes) or 1.0
        if "shares" in op.attributes and any(each.constant is not None for each in arguments):
            masked = self._laid_over(op, arguments, [size / total for size in sizes])
            if masked is not None:
                return masked
        moments = [self._moments(each) for each in arguments]
        pairs = list(zip(sizes, moments, strict=True))
        mean = sum(size * each[0] for size, each in pairs) / total
        second = sum(size * each[1] for size, each in pairs) / total
        return self._root("joined", mean, second, parts=[(each, 1.0) for each in arguments])

    def _laid_over(
        self, op: Op, arguments: list[Expression], shares: list[float]
    ) -> Expression | None:
        """Return a signal of which a part lies in a constant, as a mask's choice between them."""
        live = [at for at, each in enumerate(arguments) if each.constant is None]
        if len(live) != 1 or len(arguments) != 2 or not arguments[live[0]].roots:  # noqa: PLR2004
            return None
        at = live[0]
        signal = self._copied(arguments[at], op.output, self._ratio(op.inputs[at], op.output))
        mask = of_root(Root(shares[at], shares[at], MASK))
        choose = lambda m, x, y: np.where(m != 0, x, y)  # noqa: E731
        return Expression(
            function=choose, arguments=(mask, signal, arguments[1 - at]), depth=signal.depth + 1
        )

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
            return self._root("opaque", 0.0, 1.0)
        left, right = arguments[-2:]
        for weights, mixed in ((left, right), (right, left)):
            if _is_probability(weights):
                return self._collapsed(mixed, "attention")
        contracted = float(op.attributes.get("contracted", 1.0))
        seconds = [self._moments(each)[1] for each in (left, right)]
        # A factor's element enters as many products as the other factor has of those.
        entered = [
            contracted * self._ratio(value, op.output) * other
            for value, other in zip(op.inputs[-2:], seconds[::-1], strict=True)
        ]
        parts = list(zip((left, right), entered, strict=True))
        return self._root("product", 0.0, contracted * seconds[0] * seconds[1], parts=parts)

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
        return feed_of(expression, pooled=expression is not whole)


def _is_identity(function: Callable[..., np.ndarray], arguments: list[Expression]) -> bool:
    """Tell whether an op does nothing to its one argument that is not constant."""
    if any(not each.roots and each.constant is None for each in arguments):
        return False
    filled = [POINTS if each.roots else np.float64(each.constant or 0.0) for each in arguments]
    with np.errstate(all="ignore"):
        return bool(np.array_equal(np.asarray(function(*filled)), POINTS))


def _is_probability(expression: Expression) -> bool:
    roots = expression.all_roots
    return bool(roots) and all(root.kind == "probability" for root in roots)
