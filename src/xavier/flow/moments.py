"""Second moments carried through a flow, op by op.

Each value becomes an expression over Gaussian roots. Where weights are met, a callback decides
what second moment comes out: the planner chooses a law there, a prediction uses the plan's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from xavier._types.flow import MASK, Op, OpKind
from xavier.flow.elementwise import Elementwise
from xavier.flow.expressions import Expression, Part, Root, constant, of_root, without_averages
from xavier.flow.feeds import Feed, feed_of
from xavier.flow.ledger import is_probability
from xavier.flow.loops import Given, Loop, Rest, State, UnsettledError, loops
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
        rows: The rows of those whose rows are constants, but not all the same.
        rests: States at rest that an earlier pass found; this one's are written to it.
        on_weights: Called for each weighted op with its index and feed (None for a lookup);
            returns what the weights make of a second moment.
    """

    def run(self) -> None:
        """Carry moments through every op."""
        begun = {loop.begin: loop for loop in loops(self.flow, self.structure)}
        at = 0
        while at < len(self.flow.ops):
            loop = begun.get(at)
            if loop is not None and self._settle(loop):
                at = loop.end
                continue
            self._of[self.flow.ops[at].output] = self._step(at, self.flow.ops[at])
            at += 1

    # Recurrences

    def _settle(self, loop: Loop) -> bool:
        """Give every step of a recurrence what it has when the state is at rest."""
        known, made = dict(self._of), len(self.roots)
        try:
            _, rest = self._rests.get(loop.start, (None, {}))
            self._take_step(loop, {each: rest.get(each, State()) for each in _states(loop)})
            self._settled.update(range(loop.begin, loop.end))
            rest = self._rest(loop)
        except UnsettledError:
            self._settled.difference_update(range(loop.begin, loop.end))
            self.notes.setdefault("a recurrence's state does not come to rest; it counts as 1")
            rest = None
        del self.roots[made:]
        self._of = known
        if rest is None:
            return False
        states = self._take_step(loop, rest)
        self._of.update(states)
        ops = self.flow.ops
        for at in range(loop.begin, loop.end):
            like = loop.start + (at - loop.start) % loop.period
            self._of[ops[at].output] = self._of[ops[like].output]
            if at != like and like in self._passed:
                self._on_weights(at, self._passed[like][0])
        return True

    def _take_step(self, loop: Loop, states: Mapping[int, State]) -> dict[int, Expression]:
        """Pass over the step that stands for all, with a state of the given moments before it."""
        ops = self.flow.ops
        given = {value: self.expression(value) for value in self._given(loop)}
        # Through time the theory says nothing of gradients, so neither of those behind.
        parts = [(each, math.nan) for each in given.values()]
        roots = {
            value: self._root(
                "state", each.mean, each.second, recurrent=True, lag=each.lag, parts=parts
            )
            for value, each in states.items()
        }
        for (at, place), value in loop.crossing.items():
            self._of[ops[at].inputs[place]] = roots[value]
        for at in range(loop.start, loop.stop):
            self._of[ops[at].output] = self._step(at, ops[at])
        return roots

    def _given(self, loop: Loop) -> list[int]:
        """Return what a step reads that no step makes."""
        ops = self.flow.ops
        made = {ops[at].output for at in range(loop.start, loop.stop)}
        found = {
            value: None
            for at in range(loop.start, loop.stop)
            for place, value in enumerate(ops[at].inputs)
            if value not in made and (at, place) not in loop.crossing
        }
        for value in found:
            if value not in self._of and self.flow.values[value].producer is not None:
                raise UnsettledError
        return list(found)

    def _rest(self, loop: Loop) -> dict[int, State]:
        factors: dict[int, float] = {}
        for at in range(loop.start, loop.stop):
            if at in self._passed:
                feed, passed = self._passed[at]
                if feed is None or not feed.forward > 0:
                    raise UnsettledError
                factors[at] = passed.second / feed.forward
        gates = max(len(self.flow.ops[at].weights) for at in factors)
        given = {value: self._by_rows(value, gates) for value in self._given(loop)}
        made_of = (factors, given)
        before, rest = self._rests.get(loop.start, (None, {}))
        if before != made_of:
            rest = Rest(self.flow, loop, factors=factors, given=given).states()
            self._rests[loop.start] = (made_of, rest)
        return rest

    def _by_rows(self, value: int, gates: int) -> Given:
        """Return the moments of a value, for each gate if it has them apart."""
        rows = self._rows.get(self.flow.values[value].name)
        if rows is not None and len(rows) % gates == 0:
            each = np.asarray(rows).reshape(gates, -1)
            return Given(tuple(each.mean(axis=1).tolist()), tuple((each**2).mean(axis=1).tolist()))
        mean, second = self.moments(value)
        return Given((mean,), (second,), self._lag([self.expression(value)]))

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
        self._passed[at] = (feed, passed)
        recurrent = at in self.structure.recurrent or at in self.structure.recurrent_sums
        root = Root(
            mean=0.0,
            second=passed.second,
            kind="contraction" if op.kind is OpKind.CONTRACT else "lookup",
            op=at,
            recurrent=recurrent,
            unknown=recurrent and at not in self._settled,
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
        if op.name == "aten.cumsum":
            self.notes.setdefault(
                f"`{op.path}`: a cumulative sum grows with the sequence; it counts as its input"
            )
        if len(arguments) == 1:
            ratio = self._ratio(op.inputs[0], op.output)
            if ratio == 1 and not op.attributes.get("selects"):
                return arguments[0]
            return self._copied(arguments[0], op.output, ratio)
        if not arguments:
            return constant(0.0)
        sizes = [float(math.prod(self.flow.values[each].shape)) for each in op.inputs]
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
        lag = self._lag(arguments)
        parts = [(each, 1.0) for each in arguments]
        return self._root("joined", mean, second, lag=lag, parts=parts)

    def _laid_over(
        self, op: Op, arguments: list[Expression], shares: list[float]
    ) -> Expression | None:
        """Return a signal of which a part lies in a constant, as a mask's choice between them."""
        live = [at for at, each in enumerate(arguments) if each.constant is None]
        if len(live) != 1 or len(arguments) != 2 or not arguments[live[0]].roots:  # noqa: PLR2004 - a pair
            return None
        at = live[0]
        signal = self._copied(arguments[at], op.output, self._ratio(op.inputs[at], op.output))
        mask = of_root(Root(shares[at], shares[at], MASK))
        choose = lambda m, x, y: np.where(m != 0, x, y)  # noqa: E731 - a formula in a line
        return Expression(
            function=choose, arguments=(mask, signal, arguments[1 - at]), depth=signal.depth + 1
        )

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
        if len(arguments) < 2:  # noqa: PLR2004 - a pair
            return self._root("opaque", 0.0, 1.0)
        left, right = arguments[-2:]
        for weights, mixed in ((left, right), (right, left)):
            if is_probability(weights):
                return self._collapsed(mixed, "attention")
        contracted = float(op.attributes.get("contracted", 1.0))
        seconds = [self._moments(each)[1] for each in (left, right)]
        factors = dict(zip(op.inputs[-2:], seconds, strict=True))
        self.products[op.output] = (contracted, factors)
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
        if any(root.unknown for root in expression.all_roots):
            return Feed("recurrent state", 1.0, 1.0, recurrent=True)
        if any(root.recurrent for root in expression.all_roots):
            # Its own derivatives are those of gates; it counts as a factor, the same both ways.
            second = self._moments(expression)[1]
            return Feed("recurrent state", second, second, recurrent=True)
        if not expression.roots:
            value = expression.moments[1]
            return Feed("constant", value, 0.0)
        return feed_of(expression, pooled=expression is not whole)


def _states(loop: Loop) -> tuple[int, ...]:
    return tuple(dict.fromkeys(loop.crossing.values()))
