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
ENDS = legendre.legvander(np.array([-1.0, 1.0]), NODES - 1) @ COEFFICIENTS
TAIL: Final = 4  # Legendre coefficients that have died out where a polynomial will do
EPSILON: Final = float(np.finfo(np.float64).eps)

_LEAST_WIDTH: Final = 4e-12  # relative to the distance from zero
_LEAST: Final = 1e-20
_NOISE: Final = 1e-13  # of a sum, relative to the sum of the terms' sizes
_JUMP: Final = 1e-9
_BROKEN: Final = 1e-2
_KINK: Final = 1e-6
_BESIDE: Final = 1e-8  # a jump: a kink so near is the same


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
        size = np.abs(whole.values).max(axis=1)
        jumped = np.abs(right - left) > _JUMP * (size[1:] + size[:-1])
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
        """Return where the function or its derivative jumps."""
        clean = self._only(~self.narrow)
        rise, fall = clean.ends(clean.slopes)
        steep = np.abs(clean.slopes).max(axis=1)
        rounding = 1e3 * EPSILON * np.abs(clean.values).max(axis=1) / clean.halves[:, 0]
        doubt = _KINK * (steep[1:] + steep[:-1]) + rounding[1:] + rounding[:-1]
        left, right = clean.edges[:-1, 1], clean.edges[1:, 0]
        found = (right > left) | (np.abs(fall - rise) > doubt)
        jumps, *_ = self.jumps()
        kinks = ((left + right) / 2)[found]
        alone = np.abs(kinks[:, None] - jumps).min(axis=1, initial=np.inf) > _BESIDE
        return np.union1d(kinks[alone], jumps)

    def _only(self, kept: Marks) -> Panels:
        return Panels(self.edges[kept], self.values[kept], self.spread, self.offset)
