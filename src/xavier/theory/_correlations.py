"""Expectations of a function of two correlated normal variables.

With `u = sqrt(q) x` and `v = sqrt(q) (c x + s y)`, x and y independent and `s**2 = 1 - c**2`,
x runs over the function's own panels and y, for each x, over panels whose edges are the kinks of
the function at v. So nothing is lost where the two become alike (c near 1), on which the
fixed points of deep networks lie.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.polynomial import legendre

from xavier._errors import ActivationError
from xavier.theory._calls import Array, Function, called
from xavier.theory._cutting import panels, require_finite_slope
from xavier.theory._panels import COEFFICIENTS, NODES, POINTS, WEIGHTS, Panels

_REACH: Final = 9.0  # the mass beyond is 2e-19
_FADED: Final = 1e-18  # of the power
_ALIKE: Final = 1e-14  # of a correlation from 1
_BESIDE: Final = 1e-6  # a break: nearer to it there is nothing else
_NARROW: Final = 1e-12  # panels that can be left out
_WIDEST: Final = 1.0
_FINEST: Final = 1e-3
_MOST_AT_ONCE: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Correlated:
    """`E[f(u) f(v)]` and `E[f'(u) f'(v)]`.

    The latter is the former's derivative with respect to the covariance: where f jumps, its
    derivative is infinite and counts. Only at a correlation of 1 or -1 is it left out.
    """

    forward: float
    backward: float


def correlated(function: Function, q: float, c: float) -> Correlated:
    """Return the expectations for second moment `q` and correlation `c`.

    Args:
        function: An elementwise function of a float64 array.
        q: The second moment of both variables; positive.
        c: Their correlation, between -1 and 1.

    Raises:
        ActivationError: If c is no correlation, or an expectation is infinite.

    Note:
        The inner derivative is by Stein's lemma: `E[f'(v) | x] = E[f(v) y | x] / (sqrt(q) s)`.
    """
    if not -1 <= c <= 1:
        raise ActivationError(f"c is {c}, expected a correlation between -1 and 1")
    own = panels(function, variance=q)
    require_finite_slope(own, 0.0)
    if 1 - abs(c) < _ALIKE:
        return _alike(function, own, math.copysign(1.0, c))
    lean = math.sqrt((1 - c) * (1 + c))
    breaks = own.breaks()
    outer = _graded(function, own, breaks, (c, lean))
    values, derivatives = outer.values.ravel(), outer.derivatives.ravel()
    places, below, above = own.jumps()
    given = _Conditional(function, own, breaks, (c, lean))
    mean, slope = given.interpolated(outer.points.ravel())
    weights = outer.weights.ravel()
    jumped = (above - below) * np.exp(-(places**2) / 2) / math.sqrt(2 * math.pi * q)
    return Correlated(
        float((weights * values * mean).sum()),
        float((weights * derivatives * slope).sum() + (jumped * given(places)[1]).sum()),
    )


def jumps(function: Function, q: float) -> bool:
    """Tell whether a function jumps where a variable of second moment `q` may be."""
    return bool(panels(function, variance=q).jumps()[0].size)


def _alike(function: Function, own: Panels, sign: float) -> Correlated:
    values, derivatives = own.values, own.derivatives
    if sign > 0:
        return Correlated(own.expectation(values**2), own.expectation(derivatives**2))
    # The panels are symmetric only where the function's kinks are.
    marks = np.concatenate([own.edges.ravel(), -own.edges.ravel()])
    marks = _thinned(marks)
    here, there = (_on(function, side * marks, own.spread) for side in (1, -1))
    return Correlated(
        here.expectation(here.values * there.values),
        here.expectation(here.derivatives * there.derivatives),
    )


def _thinned(marks: Array) -> Array:
    marks = np.unique(marks)
    return marks[np.append(True, np.diff(marks) > _NARROW)]


def _on(function: Function, marks: Array, spread: float) -> Panels:
    """Return a function on the panels between marks, which may go down."""
    edges = np.stack([marks[:-1], marks[1:]], axis=1)
    bare = Panels(edges, np.empty((len(edges), NODES)), spread)
    values = called(function, (spread * bare.points).ravel()).reshape(bare.points.shape)
    return Panels(edges, values, spread)


def _reach(own: Panels) -> float:
    """Return how far from the mean there is anything of the power."""
    power = (own.weights * own.values**2).sum(axis=1)
    matters = np.abs(own.edges[power > _FADED * power.sum()])
    return max(_REACH, float(matters.max(initial=0.0)))


def _graded(function: Function, own: Panels, breaks: Array, turn: tuple[float, float]) -> Panels:
    """Cut the outer panels where v meets a break, which y rounds off on the scale `lean`."""
    c, lean = turn
    reach = _reach(own)
    marks = np.union1d(own.edges.ravel(), [-reach, reach])
    if len(breaks):
        marks = marks[np.abs(marks[:, None] - breaks).min(axis=1) > _BESIDE]
        rings = lean * 2.0 ** np.arange(-1, math.ceil(math.log2(2 / lean)) + 1)
        met = breaks / c if abs(c) > 0.5 else np.empty(0)  # noqa: PLR2004 - else all is smooth
        around = met[:, None] + np.concatenate([-rings, [0.0], rings])
        marks = np.concatenate([marks, breaks, around.ravel()])
    return _on(function, _thinned(marks[np.abs(marks) <= reach]), own.spread)


class _Conditional:
    """E[f(v) | x] and E[f'(v) | x] for each x."""

    def __init__(
        self, function: Function, own: Panels, breaks: Array, turn: tuple[float, float]
    ) -> None:
        self._function, self._breaks = function, breaks
        self._root = own.spread
        self._c, self._lean = turn
        self._reach = _reach(own)
        self._width = min(_WIDEST, 2 * _finest(own, breaks) / self._lean)

    def interpolated(self, x: Array) -> tuple[Array, Array]:
        """Return the expectations, from a coarser grid if they are smooth enough for one."""
        width = min(_WIDEST, self._lean / max(abs(self._c), self._lean))
        marks = np.linspace(-self._reach, self._reach, math.ceil(2 * self._reach / width) + 1)
        if (len(marks) - 1) * NODES >= len(x):
            return self(x)
        edges = np.stack([marks[:-1], marks[1:]], axis=1)
        grid = Panels(edges, np.empty((len(edges), NODES)), self._root)
        place = np.clip(np.searchsorted(marks, x) - 1, 0, len(edges) - 1)
        local = (x - edges[place].mean(axis=1)) / grid.halves[place, 0]
        onto = legendre.legvander(local, NODES - 1) @ COEFFICIENTS
        mean, slope = (each.reshape(-1, NODES)[place] for each in self(grid.points.ravel()))
        return (mean * onto).sum(axis=1), (slope * onto).sum(axis=1)

    def __call__(self, x: Array) -> tuple[Array, Array]:
        mean, slope = np.zeros(len(x)), np.zeros(len(x))
        cuts = (self._breaks[None, :] - self._c * x[:, None]) / self._lean
        ends = np.full((len(x), 1), self._reach)
        marks = np.concatenate([-ends, np.clip(cuts, -self._reach, self._reach), ends], axis=1)
        marks.sort(axis=1)
        for low, high in zip(marks.T[:-1], marks.T[1:], strict=True):
            count = max(1, math.ceil(float((high - low).max(initial=0.0)) / self._width))
            step = max(1, _MOST_AT_ONCE // (count * NODES))
            for start in range(0, len(x), step):
                some = slice(start, start + step)
                own = self._between(x[some], low[some], high[some], count)
                mean[some] += own[0]
                slope[some] += own[1]
        return mean, slope / (self._root * self._lean)

    def _between(self, x: Array, low: Array, high: Array, count: int) -> tuple[Array, Array]:
        shares = (np.arange(count)[:, None] + (1 + POINTS) / 2).ravel() / count
        wide = (high - low)[:, None]
        y = low[:, None] + wide * shares
        weights = wide * np.tile(WEIGHTS, count) / (2 * count)
        places = self._root * (self._c * x[:, None] + self._lean * y)
        values = called(self._function, places.ravel()).reshape(places.shape)
        weighed = weights * np.exp(-(y**2) / 2) / math.sqrt(2 * math.pi) * values
        return weighed.sum(axis=1), (weighed * y).sum(axis=1)


def _finest(own: Panels, breaks: Array) -> float:
    """Return the least width of panels, those left out that are narrow for a break beside."""
    widths, middles = np.ptp(own.edges, axis=1), own.edges.mean(axis=1)
    beside = np.abs(middles[:, None] - breaks).min(axis=1, initial=np.inf) < 20 * widths
    return max(_FINEST, float(widths[~beside & ~own.narrow].min(initial=_WIDEST / 2)))
