"""Expectations of a function of two correlated normal variables.

With `u = sqrt(q) x` and `v = sqrt(q) (c x + s y)`, x and y independent and `s**2 = 1 - c**2`,
x runs over the function's own panels and y, for each x, over panels whose edges are the kinks of
the function at v. So nothing is lost where the two become alike (c near 1), on which the
fixed points of deep networks lie.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.polynomial import legendre

from xavier._errors import ActivationError
from xavier.theory.quadrature import Array, Function, Panels, panels

_REACH: Final = 9.0  # the mass beyond is 2e-19
_INNER_PANELS: Final = 18
_NARROW: Final = 1e-12  # panels that can be left out
_POINTS, _WEIGHTS = legendre.leggauss(16)


@dataclass(frozen=True, slots=True)
class Correlated:
    """`E[f(u) f(v)]` and `E[f'(u) f'(v)]`."""

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
    outer = panels(function, variance=q)
    if 1 - abs(c) < 1e-14:  # noqa: PLR2004 - the two are one
        return _alike(function, outer, math.copysign(1.0, c))
    lean = math.sqrt((1 - c) * (1 + c))
    breaks = outer.breaks()
    outer = _graded(function, outer, breaks, lean)
    x, weights = outer.points.ravel(), outer.weights.ravel()
    near = np.abs(x) < _REACH
    x, weights = x[near], weights[near]
    values, derivatives = outer.values.ravel()[near], outer.derivatives.ravel()[near]
    inner, inner_slope = _conditional(function, math.sqrt(q), c, lean, x, breaks)
    return Correlated(
        float((weights * values * inner).sum()),
        float((weights * derivatives * inner_slope).sum()),
    )


def _alike(function: Function, outer: Panels, sign: float) -> Correlated:
    values, derivatives = outer.values, outer.derivatives
    if sign < 0:  # the panels are symmetric only where the function's kinks are
        mirrored = replace(outer, values=_mirrored(function, outer))
        return Correlated(
            outer.expectation(values * mirrored.values),
            -outer.expectation(derivatives * mirrored.derivatives),
        )
    return Correlated(outer.expectation(values**2), outer.expectation(derivatives**2))


def _mirrored(function: Function, outer: Panels) -> Array:
    places = -outer.spread * outer.points
    return np.asarray(function(places.ravel()), dtype=np.float64).reshape(places.shape)


def _graded(function: Function, outer: Panels, breaks: Array, lean: float) -> Panels:
    """Cut the outer panels near the function's kinks, which v rounds off on the scale `lean`."""
    if not len(breaks):
        return outer
    marks = np.union1d(outer.edges[:, 0], outer.edges[-1:, 1])
    rings = lean * 2.0 ** np.arange(-1, math.ceil(math.log2(2 / lean)) + 1)
    around = (breaks[:, None] + np.concatenate([-rings, rings])[None, :]).ravel()
    marks = np.union1d(marks, around[np.abs(around) < marks[-1]])
    marks = marks[np.append(True, np.diff(marks) > _NARROW)]
    edges = np.stack([marks[:-1], marks[1:]], axis=1)
    bare = Panels(edges, np.empty((len(edges), len(_POINTS))), outer.spread)
    places = outer.spread * bare.points
    values = np.asarray(function(places.ravel()), dtype=np.float64).reshape(places.shape)
    return replace(bare, values=values)


def _conditional(
    function: Function, root: float, c: float, lean: float, x: Array, breaks: Array
) -> tuple[Array, Array]:
    """Return E[f(v) | x] and E[f'(v) | x] for each x."""
    cuts = np.clip((breaks[None, :] - c * x[:, None]) / lean, -_REACH, _REACH)
    ends = np.full((len(x), 1), _REACH)
    marks = np.sort(np.concatenate([-ends, cuts, ends], axis=1), axis=1)
    mean, slope = np.zeros(len(x)), np.zeros(len(x))
    shares = (np.arange(_INNER_PANELS)[:, None] + (1 + _POINTS) / 2).ravel() / _INNER_PANELS
    part = np.tile(_WEIGHTS, _INNER_PANELS) / (2 * _INNER_PANELS)
    for low, high in zip(marks.T[:-1], marks.T[1:], strict=True):
        wide = (high - low)[:, None]
        y = low[:, None] + wide * shares
        weighed = wide * part * np.exp(-(y**2) / 2) / math.sqrt(2 * math.pi)
        places = root * (c * x[:, None] + lean * y)
        weighed *= np.asarray(function(places.ravel()), dtype=np.float64).reshape(places.shape)
        mean += weighed.sum(axis=1)
        slope += (weighed * y).sum(axis=1)
    return mean, slope / (root * lean)
