"""Gaussian expectations of any function: its mean, its power, and that of its derivative.

Gauss-Hermite quadrature loses all but a few digits at a kink (softsign 3e-5, hard tanh 3e-4).
Here the line is cut into panels, on each of which the function is a polynomial to rounding;
a panel on which it is not is cut again, so that a kink ends up at an edge, or in a panel too
narrow to matter. The derivative is the polynomial's, so that a function needs no formula for it.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

from xavier._errors import ActivationError

Array = NDArray[np.float64]
Marks = NDArray[np.bool_]
Function = Callable[[Array], Any]

_NODES: Final = 16
_FIRST_WIDTH: Final = 0.5  # in standard deviations, as are all positions below
_LEAST_WIDTH: Final = 4e-12  # what is lost with such a panel is below the promised 1e-10
_CUTS: Final = 8  # parts of a panel that is cut again
_REACHES: Final = (14.0, 20.0, 28.0, 38.0)  # beyond 38 the density is no longer a number
_TOLERANCE: Final = 1e-13  # of a panel, relative to the whole
_MOST_PANELS: Final = 20_000
_NARROW: Final = 1e-9  # panels of a grid that can be left out
_TAIL: Final = 4  # Legendre coefficients that must have died out

_POINTS, _WEIGHTS = legendre.leggauss(_NODES)
_COEFFICIENTS = np.linalg.inv(legendre.legvander(_POINTS, _NODES - 1))
_SLOPES = legendre.legvander(_POINTS, _NODES - 2) @ legendre.legder(_COEFFICIENTS)
_LEFT, _RIGHT = legendre.legvander(np.array([-1.0, 1.0]), _NODES - 1) @ _COEFFICIENTS
_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class Powers:
    """Expectations of a function `f` of `h ~ N(mean, variance)`.

    Attributes:
        mean: `E[f(h)]`.
        forward: `E[f(h)**2]`.
        backward: `E[f'(h)**2]`, of the derivative almost everywhere, which is what automatic
            differentiation computes: a jump adds nothing.
        slope: The derivative of `forward` with respect to the variance,
            `E[z f(h) f'(h)] / sqrt(variance)` with z standard normal: the length map's slope
            at `sigma_w = 1`.
    """

    mean: float
    forward: float
    backward: float
    slope: float

    @property
    def variance(self) -> float:
        """`Var f(h)`."""
        return max(self.forward - self.mean**2, 0.0)


@dataclass(frozen=True, slots=True)
class Powers2:
    """Expectations of a function of two independent normal variables.

    Attributes:
        mean: Of the function.
        forward: Of its square.
        backward: Of the squares of its two partial derivatives.
    """

    mean: float
    forward: float
    backward: tuple[float, float]


@dataclass(frozen=True)
class Panels:
    """A function on panels of the line, in standard deviations from the mean.

    Attributes:
        edges: Left and right end of each panel, (n, 2), from left to right.
        values: The function at each panel's Gauss-Legendre points, (n, 16).
        spread: The standard deviation: what a unit of the edges is in the function's argument.
    """

    edges: Array
    values: Array
    spread: float

    @property
    def halves(self) -> Array:
        """Half of each panel's width, as a column."""
        return (self.edges[:, 1:] - self.edges[:, :1]) / 2

    @property
    def points(self) -> Array:
        """The points that the values are at, (n, 16)."""
        return (self.edges[:, 1:] + self.edges[:, :1]) / 2 + self.halves * _POINTS

    @property
    def weights(self) -> Array:
        """The points' weights under the standard normal density, (n, 16)."""
        density = np.exp(-(self.points**2) / 2) / math.sqrt(2 * math.pi)
        return self.halves * _WEIGHTS * density

    @property
    def derivatives(self) -> Array:
        """The derivative in the function's own argument; 0 on a panel that a kink is in."""
        widths = self.halves * self.spread
        found = self.values @ _SLOPES.T / widths
        noise = 64 * _EPSILON * np.abs(self.values).max(axis=1, keepdims=True) / widths
        return np.where(self.narrow | (np.abs(found) < noise), 0.0, found)

    @property
    def narrow(self) -> Marks:
        """Whether a panel is as narrow as panels get, as a column."""
        return self.halves * 2 <= _least_width(self.edges)

    def powers(self) -> Powers:
        """Return the expectations over all panels."""
        values, derivatives = self.values, self.derivatives
        return Powers(
            mean=self.expectation(values),
            forward=self.expectation(values**2),
            backward=self.expectation(derivatives**2),
            slope=self.expectation(self.points * values * derivatives) / self.spread,
        )

    def expectation(self, values: Array) -> float:
        """Return the expectation of values at the points, its last digits rounded away.

        They are noise: so an odd function's mean is 0, and ReLU's power one half.
        """
        terms = self.weights * values
        total = float(terms.sum())
        return 0.0 if abs(total) <= _TOLERANCE * np.abs(terms).sum() else float(f"{total:.13g}")

    def breaks(self) -> Array:
        """Return the edges at which the function or its derivative jumps."""
        (left, right), (rise, fall) = self.ends(self.values), self.ends(self.derivatives)
        size = np.abs(self.values).max(axis=1)
        jumps = np.abs(right - left) > 1e-9 * (1e-30 + size[1:] + size[:-1])
        steep = np.abs(self.derivatives).max(axis=1)
        kinks = np.abs(fall - rise) > 1e-6 * (1e-30 + steep[1:] + steep[:-1])
        clean = ~(self.narrow[1:, 0] | self.narrow[:-1, 0])
        narrow = self.edges[self.narrow[:, 0], 0]
        return np.union1d(self.edges[1:, 0][(jumps | kinks) & clean], narrow)

    @staticmethod
    def ends(values: Array) -> tuple[Array, Array]:
        """Return what is reached at each inner edge from the left and from the right."""
        return values[:-1] @ _RIGHT, values[1:] @ _LEFT


def powers(function: Function, *, variance: float = 1.0, mean: float = 0.0) -> Powers:
    """Return the Gaussian expectations of a function and its derivative, to 1e-10.

    Args:
        function: An elementwise function of a float64 array. It may have kinks and jumps.
        variance: The variance of its argument; 0 stands for the limit from above.
        mean: The mean of its argument.

    Returns:
        The expectations.

    Raises:
        ActivationError: If the function is not finite where the argument may be, if an
            expectation is infinite, or if it is too rough, such as one computed in float32.

    Example:
        >>> found = powers(lambda x: np.maximum(x, 0))
        >>> found.forward, found.backward
        (0.5, 0.5)
    """
    if not (math.isfinite(variance) and variance >= 0 and math.isfinite(mean)):
        raise ActivationError(
            f"the argument has mean {mean} and variance {variance}, expected finite numbers, "
            "the variance zero or more"
        )
    key = (_fingerprint(function), variance, mean)
    if key not in _known:
        _known[key] = panels(function, variance=variance, mean=mean).powers()
        if len(_known) > _MOST_KNOWN:
            _known.popitem(last=False)
    return _known[key]


_MOST_KNOWN: Final = 4096
_known: OrderedDict[tuple[bytes, float, float], Powers] = OrderedDict()
# Irregular, on all scales, and many: two functions that agree here agree everywhere.
_PROBES: Final = np.concatenate(
    [sign * np.geomspace(1e-6, 40.0, 160) * 1.0137 for sign in (-1.0, 1.0)]
)


def _fingerprint(function: Function) -> bytes:
    return np.ascontiguousarray(_called(function, _PROBES)).tobytes()


def panels(function: Function, *, variance: float = 1.0, mean: float = 0.0) -> Panels:
    """Return a function cut into panels on which it is a polynomial to rounding.

    Args:
        function: As for `powers`.
        variance: As for `powers`.
        mean: As for `powers`.

    Raises:
        ActivationError: As for `powers`.
    """
    spread = math.sqrt(variance) if variance > 0 else 1e-8 * max(1.0, abs(mean))
    # A function may be slower than the density, or as fast as it: then the ends tell.
    for reach in _REACHES:
        found = _Cutter(function, mean, spread).cut(reach)
        whole = np.abs(found.weights * found.values**2).sum(axis=1)
        if not np.isfinite(whole).all():
            break
        if max(whole[0], whole[-1]) <= _TOLERANCE * whole.sum():
            return found
    raise ActivationError(
        f"the function's power is infinite under N({mean:.6g}, {variance:.6g})",
        hint="does it grow as fast as exp(x**2 / 4), or divide by zero?",
    )


class _Cutter:
    """Cuts the line into panels."""

    def __init__(self, function: Function, mean: float, spread: float) -> None:
        self._function = function
        self._mean = mean
        self._spread = spread

    def cut(self, reach: float) -> Panels:
        """Return the panels between `-reach` and `reach`."""
        count = round(2 * reach / _FIRST_WIDTH)
        marks = np.linspace(-reach, reach, count + 1)
        done = self._valued(np.stack([marks[:-1], marks[1:]], axis=1))
        while (rough := self._rough(done)).any():
            if len(done.edges) > _MOST_PANELS:
                raise ActivationError(
                    f"the function is too rough: {_MOST_PANELS} panels do not resolve it",
                    hint="is it computed in float64, and free of random numbers?",
                )
            fresh = self._valued(_parts(done.edges[rough]))
            edges = np.concatenate([done.edges[~rough], fresh.edges])
            values = np.concatenate([done.values[~rough], fresh.values])
            order = np.argsort(edges[:, 0])
            done = Panels(edges[order], values[order], self._spread)
        return done

    def _valued(self, edges: Array) -> Panels:
        bare = Panels(edges, np.empty((len(edges), _NODES)), self._spread)
        places = self._mean + self._spread * bare.points
        values = _called(self._function, places.ravel()).reshape(places.shape)
        if np.isnan(values).any():
            at = float(places[np.isnan(values)][0])
            raise ActivationError(f"the function is not a number at {at:.6g}")
        return replace(bare, values=values)

    def _rough(self, done: Panels) -> Marks:
        """Tell which panels must be cut: no polynomial, or no fit at an edge."""
        with np.errstate(all="ignore"):
            rough = self._unresolved(done)
            if not rough.any():
                rough = self._ill_fitting(done)
        return rough & ~done.narrow[:, 0] & np.isfinite(done.values).all(axis=1)

    def _unresolved(self, done: Panels) -> Marks:
        density = done.weights / _WEIGHTS  # half a width times the density
        values, slopes = done.values, done.derivatives * self._spread
        largest, steepest = np.abs(values).max(axis=1), np.abs(slopes).max(axis=1)
        error = self._rounding(done)
        wobble = 256 * error / done.halves[:, 0]
        floors = (16 * error, 16 * error * largest, wobble * (2 * steepest + wobble))
        rough = np.zeros(len(values), np.bool_)
        for integrand, floor in zip((values, values**2, slopes**2), floors, strict=True):
            weighed = density * integrand
            tail = np.abs(weighed @ _COEFFICIENTS[-_TAIL:].T).max(axis=1)
            total = np.abs(done.weights * integrand).sum()
            rough |= ~(tail <= np.maximum(_TOLERANCE * total, floor * density.max(axis=1)))
        return rough

    def _ill_fitting(self, done: Panels) -> Marks:
        """Tell which panels hide a kink between an edge and the point nearest to it.

        Neither panel sees such a kink by itself, but what they lead to at the edge differs, by
        the jump of the derivative times the distance: times the derivative, the error made.
        """
        left, right = done.ends(done.values)
        slopes = np.abs(done.derivatives * self._spread).max(axis=1)
        steepest = np.maximum(slopes[1:], slopes[:-1])
        error = self._rounding(done)
        gap = np.abs(right - left)
        density = np.exp(-(done.edges[1:, 0] ** 2) / 2)
        total = (done.weights * (done.derivatives * self._spread) ** 2).sum()
        apart = (gap * steepest * density > _TOLERANCE * total) & (
            gap > 64 * np.maximum(error[1:], error[:-1])
        )
        return np.append(apart, False) | np.append(False, apart)

    def _rounding(self, done: Panels) -> Array:
        """Return what rounding the argument and the value leaves, panel by panel."""
        reach = np.abs(done.edges).max(axis=1) + abs(self._mean) / self._spread
        steepest = np.abs(done.derivatives * self._spread).max(axis=1)
        return _EPSILON * (np.abs(done.values).max(axis=1) + reach * steepest)


def _parts(edges: Array) -> Array:
    shares = np.linspace(0.0, 1.0, _CUTS + 1)
    marks = edges[:, :1] + (edges[:, 1:] - edges[:, :1]) * shares
    return np.stack([marks[:, :-1], marks[:, 1:]], axis=2).reshape(-1, 2)


def _least_width(edges: Array) -> Array:
    """Return the least width of panels, as a column: the larger where numbers are sparser."""
    return _LEAST_WIDTH * np.maximum(1.0, np.abs(edges).max(axis=1, keepdims=True))


def _called(function: Callable[..., Any], *arguments: Array) -> Array:
    with np.errstate(all="ignore"):
        values = np.asarray(function(*arguments), dtype=np.float64)
    return np.array(np.broadcast_to(values, np.shape(arguments[0])))


def powers2(
    function: Callable[[Array, Array], Any],
    *,
    variances: tuple[float, float] = (1.0, 1.0),
    means: tuple[float, float] = (0.0, 0.0),
) -> Powers2:
    """Return the Gaussian expectations of a function of two independent variables.

    A product of a function of each, such as a gated unit's, is taken apart and found to 1e-10.
    Any other is integrated on a grid of panels, cut where its sections along the axes have
    kinks: to 1e-6 if it has no others, to 1e-3 with a kink along a slanted line.

    Args:
        function: An elementwise function of two float64 arrays of one shape.
        variances: The variances of its arguments.
        means: Their means.

    Raises:
        ActivationError: As for `powers`.

    Example:
        >>> found = powers2(lambda a, b: np.maximum(a, 0) * b)
        >>> round(found.forward, 10), [round(each, 10) for each in found.backward]
        (0.5, [0.5, 0.5])
    """
    spreads = [math.sqrt(each) for each in variances]
    places = [mean + spread * _GRID for mean, spread in zip(means, spreads, strict=True)]
    left, right = np.meshgrid(places[0], places[1], indexing="ij")
    values = _called(function, left.ravel(), right.ravel()).reshape(left.shape)
    row, column = np.unravel_index(int(np.nanargmax(np.abs(values))), values.shape)
    pivot = float(values[row, column])
    if not np.isfinite(values).all():
        raise ActivationError("the function is not finite where its arguments may be")
    if pivot == 0:
        return Powers2(0.0, 0.0, (0.0, 0.0))
    product = np.outer(values[:, column], values[row, :]) / pivot
    if np.abs(values - product).max() <= 1e-12 * abs(pivot):
        u, v = places[0][row], places[1][column]
        one = powers(
            lambda a: function(a, np.full_like(a, v)), variance=variances[0], mean=means[0]
        )
        two = powers(
            lambda b: function(np.full_like(b, u), b), variance=variances[1], mean=means[1]
        )
        return Powers2(
            one.mean * two.mean / pivot,
            one.forward * two.forward / pivot**2,
            (
                one.backward * two.forward / pivot**2,
                one.forward * two.backward / pivot**2,
            ),
        )
    return _on_a_grid(function, variances, means)


# Irregular and dense where the density is, so that no function's zeros hide another's.
_GRID: Final = np.sinh(np.linspace(-2.3, 2.3, 24)) * 1.0379


def _on_a_grid(
    function: Callable[[Array, Array], Any],
    variances: tuple[float, float],
    means: tuple[float, float],
) -> Powers2:
    axes = [_section_panels(function, variances, means, axis) for axis in (0, 1)]
    points = [
        mean + math.sqrt(variance) * axis.points.ravel()
        for axis, mean, variance in zip(axes, means, variances, strict=True)
    ]
    left, right = np.meshgrid(points[0], points[1], indexing="ij")
    values = _called(function, left.ravel(), right.ravel()).reshape(left.shape)
    weights = np.outer(axes[0].weights.ravel(), axes[1].weights.ravel())
    along = [_differentiated(values, axes[0]), _differentiated(values.T, axes[1]).T]
    if not np.isfinite(values).all():
        raise ActivationError("the function is not finite where its arguments may be")
    return Powers2(
        float((weights * values).sum()),
        float((weights * values**2).sum()),
        (float((weights * along[0] ** 2).sum()), float((weights * along[1] ** 2).sum())),
    )


def _section_panels(
    function: Callable[[Array, Array], Any],
    variances: tuple[float, float],
    means: tuple[float, float],
    axis: int,
) -> Panels:
    """Return panels along one axis that have the kinks of sections at their edges."""
    other = 1 - axis
    marks = np.linspace(-8.0, 8.0, 33)
    spread = math.sqrt(variances[other])
    for z in (-2.1, -0.9, 0.3, 1.4):
        fixed = means[other] + spread * z
        section = lambda x, at=fixed: (  # noqa: E731
            function(x, np.full_like(x, at)) if axis == 0 else function(np.full_like(x, at), x)
        )
        cut = panels(section, variance=variances[axis], mean=means[axis])
        marks = np.union1d(marks, cut.breaks())
    marks = marks[np.append(True, np.diff(marks) > _NARROW)]
    edges = np.stack([marks[:-1], marks[1:]], axis=1)
    return Panels(edges, np.empty((len(edges), _NODES)), math.sqrt(variances[axis]))


def _differentiated(values: Array, axis: Panels) -> Array:
    blocks = values.reshape(len(axis.edges), _NODES, -1)
    scale = axis.halves[:, :, None] * axis.spread
    return (np.einsum("ij,pjk->pik", _SLOPES, blocks) / scale).reshape(values.shape)
