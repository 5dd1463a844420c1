"""A function on panels of the line, on each of which it is a polynomial to rounding."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.polynomial import legendre

from xavier.theory._calls import Array, Marks

NODES: Final = 16
POINTS, WEIGHTS = legendre.leggauss(NODES)
COEFFICIENTS = np.linalg.inv(legendre.legvander(POINTS, NODES - 1))
SLOPES = legendre.legvander(POINTS, NODES - 2) @ legendre.legder(COEFFICIENTS)
# What leads from the values to the derivatives at both ends, by order.
ENDS_OF = tuple(
    legendre.legval(np.array([-1.0, 1.0]), legendre.legder(COEFFICIENTS, order)).T
    for order in range(4)
)
ENDS = ENDS_OF[0]
TAIL: Final = 4  # Legendre coefficients that have died out where a polynomial will do
EPSILON: Final = float(np.finfo(np.float64).eps)

_LEAST_WIDTH: Final = 4e-12  # relative to the distance from zero
_LEAST: Final = 1e-20
_NOISE: Final = 1e-13  # of a sum, relative to the sum of the terms' sizes
_JUMPS: Final = (1e-9, 1e-6, 1e-5, 1e-3)  # of a derivative, by order, relative
_BROKEN: Final = 1e-2
_FAINT: Final = 1e-2  # relative to the most under the density: a part that does not matter
_BESIDE: Final = 1e-8  # a jump: a kink so near is the same
_BEND_BESIDE: Final = 1e-2
_CUT_AROUND: Final = 1e-4  # half the width of a panel, as only kinks and bends make them


@dataclass(frozen=True)
class Panels:
    """A function on panels of the line, in standard deviations from the mean.

    Attributes:
        edges: Left and right end of each panel, (n, 2), from left to right.
        values: The function at each panel's Gauss-Legendre points, (n, 16).
        spread: The standard deviation: what a unit of the edges is in the function's argument.
        offset: Of the argument's mean from zero: the farther, the coarser are the numbers.
    """

    edges: Array
    values: Array
    spread: float
    offset: float = 0.0

    @cached_property
    def halves(self) -> Array:
        """Half of each panel's width, as a column."""
        return (self.edges[:, 1:] - self.edges[:, :1]) / 2

    @cached_property
    def points(self) -> Array:
        """The points that the values are at, (n, 16)."""
        return self.edges.mean(axis=1, keepdims=True) + self.halves * POINTS

    @cached_property
    def density(self) -> Array:
        """The standard normal density at the points."""
        return np.exp(-(self.points**2) / 2) / math.sqrt(2 * math.pi)

    @cached_property
    def weights(self) -> Array:
        """The points' weights under the standard normal density, (n, 16)."""
        return self.halves * WEIGHTS * self.density

    @cached_property
    def slopes(self) -> Array:
        """The derivative by standard deviations, where there is one."""
        # What all values share is taken off first: it would leave its rounding behind.
        found = (self.values - self.values[:, NODES // 2 :][:, :1]) @ SLOPES.T / self.halves
        noise = 64 * EPSILON * np.abs(self.values).max(axis=1, keepdims=True) / self.halves
        found = np.where(np.abs(found) < noise, 0.0, found)
        broken = self._broken
        return self._mended(found, broken) if broken.any() and not broken.all() else found

    @cached_property
    def _broken(self) -> Marks:
        cut_off = np.abs(self.values @ COEFFICIENTS[-TAIL:].T).max(axis=1)
        rounding = 16 * EPSILON * np.abs(self.values).max(axis=1)
        return self.narrow & (cut_off > _BROKEN * np.ptp(self.values, axis=1) + rounding)

    def _mended(self, slopes: Array, broken: Marks) -> Array:
        """Return the slopes with those of the panels on both sides where there is a break.

        The share of either is what makes the function rise as it does. If none does, it jumps,
        and the values tell where.
        """
        whole, at = np.flatnonzero(~broken), np.flatnonzero(broken)
        place = np.searchsorted(whole, at)
        left = whole[np.maximum(place - 1, 0)]
        right = whole[np.minimum(place, len(whole) - 1)]
        before, after = slopes[left].mean(axis=1), slopes[right].mean(axis=1)
        low, high = self.values[left] @ ENDS[1], self.values[right] @ ENDS[0]
        width = self.edges[right, 0] - self.edges[left, 1]
        change = np.where(after == before, 1.0, after - before) * np.where(width > 0, width, 1.0)
        share = ((high - low - before * width) / change)[:, None]
        values = self.values[at]
        is_after = np.where(
            (share >= 0) & (share <= 1),
            1 - 2 * share < POINTS,
            np.abs(values - high[:, None]) < np.abs(values - low[:, None]),
        )
        slopes[at] = np.where(is_after, after[:, None], before[:, None])
        return slopes

    @cached_property
    def derivatives(self) -> Array:
        """The derivative in the function's own argument, where there is one."""
        return self.slopes / self.spread

    @cached_property
    def narrow(self) -> Marks:
        """Whether each panel is as narrow as panels get: narrower ones have too few numbers."""
        reach = np.abs(self.edges).max(axis=1)
        least = _LEAST_WIDTH * (reach + self.offset)
        return 2 * self.halves[:, 0] <= np.maximum(least, _LEAST)

    def expectation(self, values: Array) -> float:
        """Return the expectation of values at the points, its last digits rounded away.

        They are noise: so an odd function's mean is 0, and ReLU's power one half.
        """
        terms = self.weights * values
        total = float(terms.sum())
        return 0.0 if abs(total) <= _NOISE * np.abs(terms).sum() else float(f"{total:.13g}")

    def ends(self, values: Array) -> tuple[Array, Array]:
        """Return what is reached at each inner edge from the left and from the right."""
        return values[:-1] @ ENDS[1], values[1:] @ ENDS[0]

    def jumps(self) -> tuple[Array, Array, Array]:
        """Return where the function jumps, from what, and to what."""
        broken = self._broken
        whole = self._only(~broken)
        left, right = whole.ends(whole.values)
        jumped = whole._jumped(0)
        places = whole.edges[:-1, 1].copy()
        # On the panels left out, as many points as have the value on the left are before it.
        at = np.flatnonzero(broken)
        gap = np.searchsorted(np.flatnonzero(~broken), at) - 1
        inside = (gap >= 0) & (gap < len(places))
        at, gap = at[inside], gap[inside]
        values = self.values[at]
        before = np.abs(values - left[gap, None]) <= np.abs(values - right[gap, None])
        np.add.at(places, gap, (self.halves[at] * WEIGHTS * before).sum(axis=1))
        return places[jumped], left[jumped], right[jumped]

    def breaks(self) -> Array:
        """Return where the function or one of its first three derivatives jumps."""
        clean = self._only(~self.narrow)
        left, right = clean.edges[:-1, 1], clean.edges[1:, 0]
        middles = (left + right) / 2
        jumps, *_ = self.jumps()
        kinks = _apart(middles[(right > left) | clean._jumped(1)], jumps, _BESIDE)
        known = np.union1d(jumps, kinks)
        # A bend is at an edge, or in the narrowest of the panels that were cut around it.
        wide = clean.halves[:, 0] > _CUT_AROUND
        bends = middles[(clean._jumped(2) | clean._jumped(3)) & wide[1:] & wide[:-1]]
        bends = np.union1d(bends, _narrowest(clean.edges[~wide]))
        return np.union1d(known, _apart(bends, known, _BEND_BESIDE))

    def _jumped(self, order: int) -> Marks:
        """Tell at which inner edges a derivative jumps, by more than its rounding.

        That is by something next to what it is there, if that is not too little to matter; a
        second or third derivative, which hurts less and is less well known, next to the most
        that it is anywhere in the mean square.
        """
        scale = self.halves**order
        low, high = (self.values @ ENDS_OF[order].T / scale).T
        most = np.maximum(np.abs(low), np.abs(high))
        density = np.exp(-(self.edges**2).min(axis=1) / 2)
        if order > 1:
            most = (np.sqrt(density) * most).max(initial=0.0) / np.sqrt(density)
        else:
            most = np.maximum(most, _FAINT * (density * most).max(initial=0.0) / density)
        reach = np.abs(self.edges).max(axis=1) + self.offset
        size = np.abs(self.values).max(axis=1) + reach * np.abs(self.slopes).max(axis=1)
        rounding = 4 * EPSILON * np.abs(ENDS_OF[order]).sum(axis=1).max() * size / scale[:, 0]
        doubt = _JUMPS[order] * most + rounding
        return np.abs(low[1:] - high[:-1]) > doubt[1:] + doubt[:-1]

    def _only(self, kept: Marks) -> Panels:
        return Panels(self.edges[kept], self.values[kept], self.spread, self.offset)


def _apart(places: Array, others: Array, least: float) -> Array:
    away = np.abs(places[:, None] - others).min(axis=1, initial=np.inf)
    return places[away > least]


def _narrowest(edges: Array) -> Array:
    """Return the middle of the narrowest of the panels in each cluster of panels."""
    middles, widths = edges.mean(axis=1), np.ptp(edges, axis=1)
    clusters = np.split(np.arange(len(edges)), np.flatnonzero(np.diff(middles) > _BEND_BESIDE) + 1)
    return np.array([middles[each[widths[each].argmin()]] for each in clusters if len(each)])
