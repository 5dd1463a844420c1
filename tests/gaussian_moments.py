"""Gaussian moments by other means than the package's: closed forms and 25 digits of mpmath."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import mpmath as mp
import numpy as np

from xavier.theory import Powers

Line = tuple[float, float]


class Moments(NamedTuple):
    """E[f], E[f**2], E[f'**2] and the derivative of E[f**2] with respect to the variance."""

    mean: float
    forward: float
    backward: float
    slope: float


def worst_error(found: Powers, expected: Moments, *, variance: float) -> float:
    """Return the largest error, each relative to what bounds the moment (Cauchy-Schwarz)."""
    power = expected.forward or 1.0
    steepness = expected.backward or power / variance
    bounds = (power**0.5, power, steepness, max((power * steepness / variance) ** 0.5, 1e-300))
    got = (found.mean, found.forward, found.backward, found.slope)
    return max(abs(a - b) / bound for a, b, bound in zip(got, expected, bounds, strict=True))


def made_of_lines(knots: Sequence[float], lines: Sequence[Line]) -> Callable:
    """Return the function that is `height + steepness * x` between knots."""
    edges, heights = np.array(knots), np.array([line[0] for line in lines])
    steepness = np.array([line[1] for line in lines])

    def function(x: np.ndarray) -> np.ndarray:
        place = np.searchsorted(edges, x)
        return heights[place] + steepness[place] * x

    return function


def moments_of_lines(
    knots: Sequence[float], lines: Sequence[Line], *, variance: float = 1.0, mean: float = 0.0
) -> Moments:
    """Return the moments of `made_of_lines`, in closed form: partial moments of a normal law."""
    with mp.workdps(30):
        spread, centre = mp.sqrt(mp.mpf(variance)), mp.mpf(mean)
        marks = [-mp.inf, *((mp.mpf(knot) - centre) / spread for knot in knots), mp.inf]
        sums = [mp.mpf(0)] * 4
        for (height, steepness), low, high in zip(lines, marks, marks[1:], strict=False):
            at, by = mp.mpf(height) + steepness * centre, steepness * spread
            none, one, two = _partial(low, high)
            sums[0] += at * none + by * one
            sums[1] += at**2 * none + 2 * at * by * one + by**2 * two
            sums[2] += mp.mpf(steepness) ** 2 * none
            sums[3] += steepness * (at * one + by * two) / spread
        for knot, mark, below, above in zip(knots, marks[1:], lines, lines[1:], strict=False):
            left, right = (mp.mpf(line[0]) + line[1] * mp.mpf(knot) for line in (below, above))
            if abs(right - left) > 1e-9 * (abs(left) + abs(right)):
                sums[3] += mark * (right**2 - left**2) / 2 * _density(mark) / spread**2
        return Moments(*map(float, sums))


def moments(
    function: Callable,
    derivative: Callable,
    *,
    variance: float,
    mean: float = 0.0,
    kinks: Sequence[float] = (),
) -> Moments:
    """Return the moments of a function of mpmath numbers, by Gauss-Legendre on short panels."""
    with mp.workdps(25):
        spread = mp.sqrt(mp.mpf(variance))
        own = [(mp.mpf(x) - mean) / spread for x in (*kinks, *range(-9, 10))]
        marks = sorted({mp.mpf(z) for z in (*range(-11, 12), *(z for z in own if abs(z) < 11))})
        sums = [mp.mpf(0)] * 4
        for low, high in pairwise(marks):
            half, middle = (high - low) / 2, (high + low) / 2
            for node, weight in _nodes():
                z = middle + half * node
                value, steepness = (each(mean + spread * z) for each in (function, derivative))
                part = weight * half * _density(z)
                terms = (value, value**2, steepness**2, z * value * steepness / spread)
                sums = [old + part * term for old, term in zip(sums, terms, strict=True)]
        return Moments(*map(float, sums))


def _partial(low: mp.mpf, high: mp.mpf) -> tuple[mp.mpf, mp.mpf, mp.mpf]:
    """Return the integrals of 1, z and z**2 under the normal density between two marks."""
    tail = lambda z: mp.erfc(z / mp.sqrt(2)) / 2
    none = tail(low) - tail(high) if low > 0 else tail(-high) - tail(-low)
    ends = [(_density(z), z * _density(z)) if mp.isfinite(z) else (0, 0) for z in (low, high)]
    return none, ends[0][0] - ends[1][0], none + ends[0][1] - ends[1][1]


def _density(z: mp.mpf) -> mp.mpf:
    return mp.exp(-z * z / 2) / mp.sqrt(2 * mp.pi)


@cache
def _nodes(count: int = 18) -> tuple[tuple[mp.mpf, mp.mpf], ...]:
    found = []
    with mp.workdps(30):
        for start in np.polynomial.legendre.leggauss(count)[0]:
            node = mp.findroot(lambda t: mp.legendre(count, t), mp.mpf(start))
            slope = (
                count
                * (node * mp.legendre(count, node) - mp.legendre(count - 1, node))
                / (node**2 - 1)
            )
            found.append((node, 2 / ((1 - node**2) * slope**2)))
    return tuple(found)
