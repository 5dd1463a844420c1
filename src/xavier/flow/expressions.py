"""Values as functions of independent Gaussian roots.

Between two contractions the signal passes through elementwise functions, which are kept as an
expression over *roots*: tensors whose elements are independent and nearly normal, such as the
output of a contraction or of a normalization. An expression is re-run on quadrature nodes, so
that a function has the powers that its own formula gives, whoever wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from xavier.theory.quadrature import moments2, powers

_MOST_ROOTS = 2  # which quadrature handles


@dataclass(frozen=True, eq=False)
class Root:
    """A tensor of independent, nearly normal elements.

    Attributes:
        mean: Their mean.
        second: Their second moment.
        kind: What made it: `input`, `contraction`, `lookup`, `normalization`, `attention`,
            `probability`, `log_softmax`, `sum`, `product`, `constant`, `parameter`, `joined`,
            `mixture`, `state`, `opaque`, `noise`, or `mask`: zeros and ones, of which its mean is
            the share.
        op: Index of the weighted op that it is an output of, or a slice of one; else None.
        recurrent: Whether it is part of a state that comes back.
        unknown: Whether it is part of one whose size at rest is not known.
        parts: What it was made of, for the way back.
        lag: Of a state, the correlation of an element with the same one a step later.
    """

    mean: float
    second: float
    kind: str
    op: int | None = None
    recurrent: bool = False
    unknown: bool = False
    parts: tuple[Part, ...] = ()
    lag: float = 0.0

    @property
    def variance(self) -> float:
        """The variance of the elements."""
        return max(self.second - self.mean**2, 0.0)


@dataclass(frozen=True, eq=False)
class Part:
    """What a root was made of.

    Attributes:
        expression: A function of earlier roots.
        share: What the second moment of a gradient is multiplied by on its way from the root to
            the expression.
    """

    expression: Expression
    share: float


@dataclass(frozen=True, eq=False)
class Expression:
    """A function of roots: a root, a constant, or an op on other expressions.

    Exactly one of `root`, `constant` and `function` is set, or `statistic`, for the average
    of another expression over many of its elements.
    """

    root: Root | None = None
    constant: float | None = None
    function: Callable[..., np.ndarray] | None = None
    arguments: tuple[Expression, ...] = ()
    statistic: str = ""
    count: float = 1.0
    depth: int = 0
    pooled: bool = field(default=False)

    @cached_property
    def roots(self) -> tuple[Root, ...]:
        """The roots it depends on other than through an average, in order of appearance."""
        if self.root is not None:
            return () if self.root.kind == "mask" else (self.root,)
        if self.statistic:
            return ()
        return tuple(dict.fromkeys(root for each in self.arguments for root in each.roots))

    @cached_property
    def masks(self) -> tuple[Root, ...]:
        """The masks it depends on other than through an average, which are no other roots."""
        if self.root is not None:
            return (self.root,) if self.root.kind == "mask" else ()
        if self.statistic:
            return ()
        return tuple(dict.fromkeys(root for each in self.arguments for root in each.masks))

    @cached_property
    def cases(self) -> tuple[tuple[float, dict[Root, np.ndarray]], ...]:
        """Every way that its masks may stand at an element, each with its probability."""
        found: list[tuple[float, dict[Root, np.ndarray]]] = [(1.0, {})]
        for mask in self.masks:
            sides = ((mask.mean, np.float64(1.0)), (1 - mask.mean, np.float64(0.0)))
            found = [
                (before * share, {**at, mask: np.asarray(value)})
                for before, at in found
                for share, value in sides
            ]
        return tuple(found)

    @cached_property
    def all_roots(self) -> tuple[Root, ...]:
        """The roots it depends on in any way."""
        if self.root is not None:
            return self.roots
        return tuple(dict.fromkeys(root for each in self.arguments for root in each.all_roots))

    @cached_property
    def averages(self) -> bool:
        """Whether an average is part of it."""
        return bool(self.statistic) or any(each.averages for each in self.arguments)

    def evaluate(self, at: Mapping[Root, np.ndarray], factor: float = 1.0) -> np.ndarray:
        """Return its values where the roots have the given values.

        Args:
            at: For each root an array; all of one shape.
            factor: What the standard deviations of the roots are multiplied by in averages.
        """
        return _evaluate(self, at, factor, {})

    @cached_property
    def moments(self) -> tuple[float, float]:
        """Its mean and second moment."""
        return self.scaled_moments(1.0)

    def scaled_moments(self, factor: float) -> tuple[float, float]:
        """Return mean and second moment with every root's deviation multiplied by `factor`."""
        found = [(share, self._moments_where(at, factor)) for share, at in self.cases]
        if len(found) == 1:
            return found[0][1]
        mean, second = (sum(share * each[at] for share, each in found) for at in range(2))
        return mean, second

    def _moments_where(self, masks: dict[Root, np.ndarray], factor: float) -> tuple[float, float]:
        roots = self.roots
        if not roots:
            value = float(np.ravel(self.evaluate(masks, factor))[0])
            return value, value * value
        if len(roots) == 1:
            root = roots[0]
            if self.root is not None:
                return root.mean, root.mean**2 + root.variance * factor**2
            function = lambda z: self.evaluate({root: z, **masks}, factor)  # noqa: E731 - a formula in a line
            found = powers(function, variance=root.variance * factor**2, mean=root.mean)
            return found.mean, found.forward
        first, second = roots
        return moments2(
            lambda a, b: self.evaluate({first: a, second: b, **masks}, factor),
            variances=(first.variance * factor**2, second.variance * factor**2),
            means=(first.mean, second.mean),
        )

    def average(self, factor: float) -> float:
        """Return the statistic's value: the law of large numbers stands in for the axis."""
        child = self.arguments[0]
        mean, second = child.scaled_moments(factor)
        if self.statistic == "sum":
            return mean * self.count
        if self.statistic == "var":
            return second - mean * mean
        if self.statistic == "std":
            return float(np.sqrt(max(second - mean * mean, 0.0)))
        if self.statistic in ("linalg_vector_norm", "norm"):
            return float(np.sqrt(second * self.count))
        return mean


def _evaluate(
    expression: Expression,
    at: Mapping[Root, np.ndarray],
    factor: float,
    memo: dict[int, np.ndarray],
) -> np.ndarray:
    key = id(expression)
    if key not in memo:
        if expression.root is not None:
            memo[key] = np.asarray(at[expression.root], dtype=np.float64)
        elif expression.constant is not None:
            memo[key] = np.asarray(expression.constant, dtype=np.float64)
        elif expression.statistic:
            memo[key] = np.asarray(expression.average(factor), dtype=np.float64)
        elif expression.function is not None:
            memo[key] = expression.function(
                *(_evaluate(each, at, factor, memo) for each in expression.arguments)
            )
    return memo[key]


def constant(value: float) -> Expression:
    """Return an expression that is the same everywhere."""
    return Expression(constant=float(value))


def of_root(root: Root) -> Expression:
    """Return the expression that is a root itself."""
    return Expression(root=root)


def replaced(expression: Expression, masks: Mapping[Root, np.ndarray]) -> Expression:
    """Return an expression with masks that stand in one way."""
    if expression.root is not None:
        value = masks.get(expression.root)
        return expression if value is None else constant(float(value))
    if not expression.masks or expression.constant is not None:
        return expression
    return Expression(
        function=expression.function,
        arguments=tuple(replaced(each, masks) for each in expression.arguments),
        depth=expression.depth,
    )


def without_averages(expression: Expression) -> Expression:
    """Return what was averaged, where an expression is an average and no more: a pool.

    A pooled feature counts as the pool's input, so that a plan does not depend on how many
    elements are pooled. A sum is no average: its variance grows with its length. A function of
    the averages of more than two things counts as their mean power.
    """
    if expression.roots or not expression.averages:
        return expression
    if expression.statistic == "sum":
        mean, second = without_averages(expression.arguments[0]).moments
        count = expression.count
        variance = count * (second - mean**2)
        return of_root(Root(count * mean, variance + (count * mean) ** 2, "sum"))
    if expression.statistic:
        return without_averages(expression.arguments[0])
    arguments = tuple(without_averages(each) for each in expression.arguments)
    out = Expression(function=expression.function, arguments=arguments, depth=expression.depth)
    if len(out.roots) > _MOST_ROOTS:
        live = [each.moments for each in arguments if each.roots]
        mean, second = np.mean(live, axis=0).tolist()
        return of_root(Root(mean, second, "sum"))
    return out


def is_scale_free(expression: Expression) -> bool:
    """Tell whether an expression normalizes: whether its size does not depend on its root's."""
    if not expression.averages or not expression.roots:
        return False
    if any(root.variance == 0 for root in expression.roots):
        return False
    # The tolerance is for the norm's own epsilon, which matters where the signal is small.
    _, once = expression.scaled_moments(1.0)
    _, thrice = expression.scaled_moments(3.0)
    return once > 0 and abs(thrice - once) < 5e-3 * once


__all__ = [
    "Expression",
    "Part",
    "Root",
    "constant",
    "is_scale_free",
    "of_root",
    "replaced",
    "without_averages",
]
