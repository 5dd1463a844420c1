"""Second moments carried through a flow, op by op.

Each value becomes an expression over Gaussian roots. Where weights are met, a callback decides
what second moment comes out: the planner chooses a law there, a prediction uses the plan's.
"""

from __future__ import annotations

import numpy as np

from xavier._types.flow import Op, OpKind
from xavier.flow.elementwise import Elementwise
from xavier.flow.expressions import Expression, Part, Root, constant, of_root, without_averages
from xavier.flow.feeds import Feed, feed_of
from xavier.flow.ledger import is_probability
from xavier.flow.softmaxes import entries_are_fixed, entry_moments, only_contracted


class Propagation(Elementwise):
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

    def run(self) -> None:
        """Carry moments through every op."""
        for at, op in enumerate(self.flow.ops):
            self._of[op.output] = self._step(at, op)

    def _step(self, at: int, op: Op) -> Expression:
        if op.weights:
            return self._weighted(at, op)
        arguments = [self.expression(each) for each in op.inputs]
        match op.kind:
            case OpKind.ADD | OpKind.MULTIPLY | OpKind.ELEMENTWISE:
                return self.elementwise(op, arguments)
            case OpKind.MOVE:
                return self._moved(op, arguments)
            case OpKind.MEAN:
                return self._averaged(op, arguments[0])
            case OpKind.POOL:
                return self._pooled(op, arguments[0])
            case OpKind.NORMALIZE:
                return self._normalized(op, arguments[0])
            case OpKind.SOFTMAX:
                return self._softmax(op, arguments[0])
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

    def _softmax(self, op: Op, argument: Expression) -> Expression:
        kind = "log_softmax" if op.attributes.get("log") else "probability"
        if not entries_are_fixed(self.flow, op):
            return self._root(kind, 0.0, 1.0)
        mean, second = self._moments(argument)
        found = entry_moments(op, max(second - mean * mean, 0.0))
        # Mixed values are mixed, whatever the probabilities' size; no gradient is told there.
        alone = only_contracted(self.flow, op.output)
        parts = [(argument, found.backward)] if alone else []
        return self._root(kind, found.mean, found.forward, parts=parts)

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
        total = sum(sizes) or 1.0
        moments = [self._moments(each) for each in arguments]
        pairs = list(zip(sizes, moments, strict=True))
        mean = sum(size * each[0] for size, each in pairs) / total
        second = sum(size * each[1] for size, each in pairs) / total
        return self._root("joined", mean, second, parts=[(each, 1.0) for each in arguments])

    def _averaged(self, op: Op, argument: Expression) -> Expression:
        if not argument.all_roots or is_probability(argument):
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
            if is_probability(weights):
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
