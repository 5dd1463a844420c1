"""What a function does to second moments, near enough for chance: on a grid, not by quadrature."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from xavier.flow.expressions import Expression, Root

_GRIDS: Final = {1: 401, 2: 61}  # points an axis: right to a thousandth, at kinks to a hundredth
_REACH: Final = 6.0  # standard deviations
_STEP: Final = 1.1  # of every deviation, to see by how much a second moment follows
LINEAR: Final = 2.0
_RELU: Final = 5.0


@dataclass(frozen=True, slots=True)
class Bend:
    """How chance passes a function.

    Attributes:
        forward: n times the relative variance of the mean of its squares over n units.
        backward: The same of a gradient that has passed it.
        elasticity: By what a relative change of a second moment is multiplied.
        slopes: The power of the derivative with respect to each root.
    """

    forward: float = _RELU
    backward: float = _RELU
    elasticity: float = 1.0
    slopes: tuple[float, ...] = ()


class Bends:
    """How chance passes expressions, each worked out once."""

    def __init__(self) -> None:
        self._known: dict[Expression, Bend] = {}

    def __call__(self, expression: Expression) -> Bend:
        """Return how chance passes an expression."""
        if expression not in self._known:
            self._known[expression] = bend(expression)
        return self._known[expression]

    def slopes(self, expression: Expression) -> tuple[float, ...]:
        """Return the power of the derivative with respect to each root of an expression."""
        return self(expression).slopes


def bend(expression: Expression) -> Bend:
    """Return how chance passes an expression of one or two roots; a ReLU's way if it is not told.

    Example:
        >>> from xavier.flow.expressions import Root, of_root
        >>> h = of_root(Root(0.0, 1.0, "contraction"))
        >>> relu = Expression(function=lambda z: np.maximum(z, 0.0), arguments=(h,))
        >>> [round(each, 1) for each in (bend(relu).forward, bend(relu).backward)]
        [5.0, 5.0]
    """
    if expression.root is not None:
        return Bend(LINEAR, LINEAR, slopes=(1.0,))
    roots = expression.roots
    if len(roots) not in _GRIDS or any(not root.variance > 0 for root in roots):
        return Bend(slopes=(1.0,) * len(roots))
    with np.errstate(all="ignore"):
        found = _on_grid(expression, roots)
    told = all(map(math.isfinite, (found.forward, found.backward)))
    return found if told else Bend(slopes=found.slopes)


def _on_grid(expression: Expression, roots: tuple[Root, ...]) -> Bend:
    axis = np.linspace(-_REACH, _REACH, _GRIDS[len(roots)])
    density = np.exp(-(axis**2) / 2)
    weights = density if len(roots) == 1 else np.multiply.outer(density, density)

    def mean(of: NDArray[np.float64]) -> float:
        return float(np.sum(of * weights) / np.sum(weights))

    once, more = (_values(expression, roots, axis, factor) for factor in (1.0, _STEP))
    power, grown = mean(once**2), mean(more**2)
    slopes = [_slope(once, weights, at=at, size=root.variance) for at, root in enumerate(roots)]
    told = 0 < power < math.inf and 0 < grown < math.inf
    return Bend(
        forward=_ratio(mean(once**4), power) - 1,
        backward=3 * max(_ratio(fourth, second) for second, fourth in slopes) - 1,
        elasticity=math.log(grown / power) / (2 * math.log(_STEP)) if told else 1.0,
        slopes=tuple(second for second, _ in slopes),
    )


def _values(
    expression: Expression, roots: tuple[Root, ...], axis: NDArray[np.float64], factor: float
) -> NDArray[np.float64]:
    """Return an expression on the grid, every deviation multiplied by a factor."""
    grids = np.meshgrid(*[axis] * len(roots), indexing="ij")
    # A mask's likelier side stands for both: what lies under the other is no function of roots.
    _, masks = max(expression.cases, key=lambda case: case[0])
    at = {
        root: (root.mean + factor * math.sqrt(root.variance) * grid).ravel()
        for root, grid in zip(roots, grids, strict=True)
    }
    found = expression.evaluate({**at, **masks}, factor)
    return np.broadcast_to(found, grids[0].size).reshape(grids[0].shape)


def _slope(
    values: NDArray[np.float64], weights: NDArray[np.float64], *, at: int, size: float
) -> tuple[float, float]:
    """Return the second and the fourth moment of the derivative along an axis.

    Taken between the points: a kink that lies on one, as at zero, is then seen from both sides.
    """
    step = 2 * _REACH / (values.shape[at] - 1) * math.sqrt(size)
    slope = np.diff(values, axis=at) / step
    before, after = (np.take(weights, range(*ends), axis=at) for ends in _halves(values.shape[at]))
    between = np.sqrt(before * after)
    second, fourth = (np.sum(slope**power * between) / np.sum(between) for power in (2, 4))
    return float(second), float(fourth)


def _halves(size: int) -> tuple[tuple[int, int], tuple[int, int]]:
    return (0, size - 1), (1, size)


def _ratio(fourth: float, second: float) -> float:
    return fourth / second / second if second > 0 else math.nan
