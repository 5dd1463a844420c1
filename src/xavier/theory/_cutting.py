"""Cutting the line into panels on which a function is a polynomial to rounding.

A panel on which it is none is cut again, so that a kink ends up at an edge, or in a panel too
narrow to matter. When all panels look resolved they are mistrusted twice: neighbours must meet
at their edge, and the function is asked between the points that the polynomials were made from.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.polynomial import legendre

from xavier._errors import ActivationError
from xavier.theory._calls import Array, Function, Marks, called
from xavier.theory._panels import COEFFICIENTS, EPSILON, NODES, POINTS, TAIL, WEIGHTS, Panels

_FIRST_WIDTH: Final = 0.5  # in standard deviations, as are all positions below
_CUTS: Final = 8  # parts of a panel that is cut again
_REACHES: Final = (14.0, 20.0, 28.0, 37.0)  # beyond 37 the density loses its digits
_TOLERANCE: Final = 1e-13  # of a panel, relative to the whole
_CHECKED: Final = 1e-12  # of a deviation between the points, relative to the whole
_MOST_PANELS: Final = 20_000
_FIRST_NODE: Final = float(1 + POINTS[0])  # from an edge, in half widths
_CLUSTER: Final = 16
_STEP: Final = 2.0**-24
_DIGITS: Final = 1e-11  # of a function's size, that its values must be good to


def _between(count: int) -> tuple[Array, Array]:
    """Return irregular places on a panel, and what leads from its values to those there."""
    steps = np.arange(count)
    places = 2 * (steps + 0.1 + 0.8 * (steps * 0.618034 % 1.0)) / count - 1
    return places, legendre.legvander(places, NODES - 1) @ COEFFICIENTS


# For panels wider than the first number, the narrower ones being dense enough already.
_CHECKS: Final = ((0.25, _between(64)), (0.02, _between(16)))
_LOST: Final = 1e-17  # of the whole: where there is less, nothing can be amiss


class InfinitePowerError(ActivationError):
    """An expectation is infinite, or too large for a number."""


def first_points(variance: float, mean: float) -> Array:
    """Return the arguments that every function is asked for first."""
    return _Cutter(lambda x: x, mean, math.sqrt(variance)).first(_REACHES[0]).values.ravel()


def panels(
    function: Function, *, variance: float = 1.0, mean: float = 0.0, checked: bool = True
) -> Panels:
    """Return a function cut into panels on which it is a polynomial to rounding.

    Args:
        function: As for `powers`.
        variance: As for `powers`, but positive.
        mean: As for `powers`.
        checked: Whether to ask the function between the points too.

    Raises:
        ActivationError: As for `powers`.
    """
    spread = math.sqrt(variance)
    # A function may be slower than the density, or as fast as it: then the ends tell.
    for reach in _REACHES:
        found = _Cutter(function, mean, spread, checked=checked).cut(reach)
        whole = [
            (found.weights * integrand**2).sum(axis=1) for integrand in (found.values, found.slopes)
        ]
        if not whole[0].any() and reach < _REACHES[-1]:
            continue
        if all(max(each[0], each[-1]) <= _TOLERANCE * each.sum() for each in whole):
            if (place := _singularity(found, found.values)) is not None:
                raise _singular("", mean + spread * place)
            return found
    raise _infinite(mean, variance)


def is_too_steep(cut: Panels) -> bool:
    """Return whether the derivative's power is infinite, as that of a square root is at zero."""
    return _singularity(cut, cut.slopes) is not None


def require_finite_slope(cut: Panels, mean: float) -> None:
    """Raise if the derivative's power is infinite.

    Args:
        cut: The function on its panels.
        mean: The mean of its argument.

    Raises:
        InfinitePowerError: If it is; the message says where.
    """
    if (place := _singularity(cut, cut.slopes)) is not None:
        raise _singular(" derivative's", mean + cut.spread * place)


def _infinite(mean: float, variance: float) -> InfinitePowerError:
    return InfinitePowerError(
        f"the function's power is infinite or too large under N({mean:.6g}, {variance:.6g})",
        hint="does it grow as fast as exp(x**2 / 4), or divide by zero?",
    )


def _singular(of: str, at: float) -> InfinitePowerError:
    return InfinitePowerError(
        f"the function's{of} power is infinite, or too steep to tell, near {at:.6g}",
        hint="does it divide by zero there, or start like a square root?",
    )


def _singularity(found: Panels, integrand: Array) -> float | None:
    """Return a place around which an integrand's power does not fade as one comes nearer."""
    narrow = found.narrow
    if not narrow.any():
        return None
    mass = (found.weights * integrand**2).sum(axis=1)
    middles, widths = found.edges.mean(axis=1), np.ptp(found.edges, axis=1)
    centres = middles[narrow]
    after = np.searchsorted(centres, middles).clip(0, len(centres) - 1)
    before = (after - 1).clip(0)
    closer = np.abs(middles - centres[before]) < np.abs(middles - centres[after])
    nearest = np.where(closer, before, after)
    distance = np.abs(middles - centres[nearest]) / widths[narrow][nearest]
    ring = lambda low: mass[(distance > low) & (distance <= low * _CUTS**2)].sum()  # noqa: E731 - a formula in a line
    near, far = ring(_CUTS), ring(_CUTS**3)
    fades = near <= 1e-9 * mass.sum() or near <= 0.7 * far
    return None if fades else round(float(centres[0]), 9)


class _Cutter:
    """Cuts the line into panels."""

    def __init__(
        self, function: Function, mean: float, spread: float, *, checked: bool = True
    ) -> None:
        self._function = function
        self._checked = checked
        self._mean = mean
        self._spread = spread
        self._offset = abs(mean) / spread
        self._marks = np.empty(0)
        self._noise = np.empty(0)

    def first(self, reach: float) -> Panels:
        """Return the panels that are tried first, of equal width."""
        self._marks = np.linspace(-reach, reach, round(2 * reach / _FIRST_WIDTH) + 1)
        return self._valued(np.stack([self._marks[:-1], self._marks[1:]], axis=1))

    def cut(self, reach: float) -> Panels:
        """Return the panels between `-reach` and `reach`."""
        done = self.first(reach)
        self._same_again(done)
        noise = self._measured_noise()
        self._check_noise(done, noise)
        padded = np.concatenate([noise[:1], noise, noise[-1:]])
        self._noise = np.maximum(np.maximum(padded[:-2], padded[2:]), noise)
        while (rough := self._rough(done)).any():
            if len(done.edges) > _MOST_PANELS:
                raise ActivationError(
                    f"the function is too rough: {_MOST_PANELS} panels do not resolve it",
                    hint="does it jump a thousand times, or is it computed in few digits?",
                )
            fresh = self._valued(_parts(done.edges[rough]))
            edges = np.concatenate([done.edges[~rough], fresh.edges])
            values = np.concatenate([done.values[~rough], fresh.values])
            order = np.argsort(edges[:, 0])
            done = Panels(edges[order], values[order], self._spread, self._offset)
        return done

    def _asked(self, positions: Array) -> Array:
        places = self._mean + self._spread * positions
        values = called(self._function, places.ravel()).reshape(places.shape)
        if np.isnan(values).any():
            at = float(places[np.isnan(values)][0])
            raise ActivationError(f"the function is not a number at {at:.6g}")
        with np.errstate(over="ignore"):
            if not np.isfinite(values**2).all():
                raise _infinite(self._mean, self._spread**2)
        return values

    def _valued(self, edges: Array) -> Panels:
        bare = Panels(edges, np.empty((len(edges), NODES)), self._spread, self._offset)
        return Panels(edges, self._asked(bare.points), self._spread, self._offset)

    def _same_again(self, done: Panels) -> None:
        some = slice(None, None, -11)
        points, before = done.points.ravel()[some], done.values.ravel()[some]
        after = self._asked(points)
        apart = np.abs(after - before) > 1e-9 * np.maximum(np.abs(before), np.abs(after))
        if apart.any():
            at = self._mean + self._spread * float(points[apart][0])
            raise ActivationError(
                f"the function is random, or not elementwise: at {at:.6g} it is "
                f"{before[apart][0]:.6g}, and then {after[apart][0]:.6g}"
            )

    def _measured_noise(self) -> Array:
        """Return the function's own rounding, first panel by first panel.

        It is what the fourth differences of close values leave, as in Moré and Wild, "Estimating
        computational noise", 2011; the median, as a kink or jump is in no more than four.
        """
        starts = self._marks[:-1] + 0.381966 * _FIRST_WIDTH
        values = self._asked(starts[:, None] + _STEP * np.arange(_CLUSTER))
        return np.median(np.abs(np.diff(values, 4, axis=1)), axis=1) / 2

    def _check_noise(self, done: Panels, noise: Array) -> None:
        lost = math.sqrt(float((done.weights.sum(axis=1) * noise**2).sum()))
        size = math.sqrt(float((done.weights * done.values**2).sum()))
        if lost > _DIGITS * size:
            raise ActivationError(
                f"the function is good to {lost / size:.1g} of its size, expected {_DIGITS:.0e}",
                hint="is it computed in float32, or a small difference of large numbers?",
            )

    def _rough(self, done: Panels) -> Marks:
        """Tell which panels must be cut: no polynomial, no fit at an edge or between points."""
        with np.errstate(all="ignore"):
            rough = self._unresolved(done)
            apart = self._ill_fitting(done) & ~(rough[1:] | rough[:-1])
            rough = (rough | np.append(apart, False) | np.append(False, apart)) & ~done.narrow
            if self._checked and not rough.any():
                rough = self._misled(done) & ~done.narrow
        return rough

    def _unresolved(self, done: Panels) -> Marks:
        density = done.weights / WEIGHTS  # half a width times the density
        values, slopes = done.values, done.slopes
        largest, steepest = np.abs(values).max(axis=1), np.abs(slopes).max(axis=1)
        error = self._rounding(done)
        wobble = 256 * error / done.halves[:, 0]
        floors = (16 * error, 16 * error * largest, wobble * (2 * steepest + wobble))
        rough = np.zeros(len(values), np.bool_)
        for integrand, floor in zip((values, values**2, slopes**2), floors, strict=True):
            weighed = density * integrand
            total = np.abs(done.weights * integrand).sum()
            rough |= ~(_tails(weighed) <= np.maximum(_TOLERANCE * total, floor * _most(density)))
        # The derivative of what is cut off enters by its ends, as it oscillates in between.
        cut_off = _tails(values)
        total = (done.weights * slopes**2).sum()
        lost = cut_off * steepest * _most(done.density) > _TOLERANCE * total
        return rough | (lost & (cut_off > 16 * error))

    def _ill_fitting(self, done: Panels) -> Marks:
        """Tell at which edges a kink or jump hides between the edge and the point nearest to it.

        Neither panel sees it by itself, but what both lead to at the edge differs: at a kink
        by the jump of the derivative times the distance, which times the derivative is the
        error made; at a jump by the jump, which times the distance is the error.
        """
        left, right = done.ends(done.values)
        gap = np.abs(right - left)
        totals = _totals(done)
        steepest, largest, error, half = (
            np.maximum(each[1:], each[:-1])
            for each in (
                np.abs(done.slopes).max(axis=1),
                np.abs(done.values).max(axis=1),
                self._rounding(done),
                done.halves[:, 0],
            )
        )
        weighed = gap * np.exp(-(done.edges[1:, 0] ** 2) / 2)
        near = weighed * half * _FIRST_NODE
        matters = (
            (near > _TOLERANCE * totals[0])
            | (near * largest > _TOLERANCE * totals[1])
            | (weighed * steepest > _TOLERANCE * totals[2])
        )
        return matters & (gap > 64 * error)

    def _misled(self, done: Panels) -> Marks:
        """Tell on which panels the function is something else between the points."""
        wide = np.ptp(done.edges, axis=1)
        rough = np.zeros(len(wide), np.bool_)
        totals, error = _totals(done), self._rounding(done)
        largest, steepest = np.abs(done.values).max(axis=1), np.abs(done.slopes).max(axis=1)
        density = _most(done.density)
        there = (
            (density * largest.max() ** 2 > _LOST * totals[1])
            | (density * steepest.max() ** 2 > _LOST * totals[2])
            | (totals[1] == 0)
        )
        most = math.inf
        for least, (places, onto) in _CHECKS:
            some = np.flatnonzero((wide > least) & (wide <= most) & there)
            most = least
            positions = done.edges[some].mean(axis=1)[:, None] + done.halves[some] * places
            off = np.abs(self._asked(positions) - done.values[some] @ onto.T)
            weighed = off * np.exp(-(positions**2) / 2)
            step = 2 * done.halves[some] / len(places)
            matters = (
                (weighed * step > _CHECKED * totals[0])
                | (weighed * step * (largest[some, None] + off) > _CHECKED * totals[1])
                | (weighed * (steepest[some, None] + off / step) > _CHECKED * totals[2])
            )
            rough[some] = (matters & (off > 64 * error[some, None])).any(axis=1)
        return rough

    def _rounding(self, done: Panels) -> Array:
        """Return what rounding the argument and the value leaves, panel by panel."""
        reach = np.abs(done.edges).max(axis=1) + self._offset
        steepest = np.abs(done.slopes).max(axis=1)
        stated = EPSILON * (np.abs(done.values).max(axis=1) + reach * steepest)
        place = np.searchsorted(self._marks, done.edges.mean(axis=1)) - 1
        return np.maximum(stated, self._noise[place])


def _tails(values: Array) -> Array:
    return _most(values @ COEFFICIENTS[-TAIL:].T)


def _most(values: Array) -> Array:
    return np.abs(values).max(axis=1)


def _totals(done: Panels) -> tuple[float, float, float]:
    """Return the sizes of the mean, the power, and the power of the derivative."""
    terms = (np.abs(done.values), done.values**2, done.slopes**2)
    mean, power, steepness = (float((done.weights * each).sum()) for each in terms)
    return mean, power, steepness


def _parts(edges: Array) -> Array:
    shares = np.linspace(0.0, 1.0, _CUTS + 1)
    marks = edges[:, :1] + (edges[:, 1:] - edges[:, :1]) * shares
    return np.stack([marks[:, :-1], marks[:, 1:]], axis=2).reshape(-1, 2)
