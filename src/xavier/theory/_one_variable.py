"""Gaussian expectations of a function of one variable, from its panels."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import numpy as np

from xavier._errors import ActivationError
from xavier.theory._calls import Array, Function, Recorded, called
from xavier.theory._cutting import first_points, is_too_steep, panels, require_finite_slope
from xavier.theory._panels import ENDS_OF, EPSILON, Panels

_AT_REST: Final = 1e-9  # a standard deviation, relative to the mean: no different from zero
_NEAR: Final = 0.05  # how far around a point its limits are told from
_CONSTANT: Final = 1e-29  # a variance, relative to the power: rounding squared
_KINK: Final = 1e-6
_MOST_KNOWN: Final = 256
_MOST_ASKED: Final = 50_000


@dataclass(frozen=True, slots=True)
class Powers:
    """Expectations of a function `f` of `h ~ N(mean, variance)`.

    Attributes:
        mean: `E[f(h)]`.
        variance: `Var f(h)`.
        forward: `E[f(h)**2]`.
        backward: `E[f'(h)**2]`, of the derivative almost everywhere, which is what automatic
            differentiation computes: a jump adds nothing. It may be infinite, as that of a
            square root is.
        slope: The derivative of `forward` with respect to the variance, the length map's slope
            at `sigma_w = 1`: `E[z f(h) f'(h)] / sqrt(variance)` with z standard normal, and what
            jumps add to it.
    """

    mean: float
    variance: float
    forward: float
    backward: float
    slope: float


def powers(function: Function, *, variance: float = 1.0, mean: float = 0.0) -> Powers:
    """Return the Gaussian expectations of a function and its derivative, to 1e-10.

    The derivative is told from the values. So its digits are lost where the function's own
    rounding hides it: of a function that is nearly constant over the argument's range, or whose
    argument's mean is a million standard deviations. A part of the function that is narrower
    than 0.01 standard deviations and stands alone may be missed. Where the derivative grows like
    `|x|**-a` around a point, what lies within 1e-20 of it is missing: for `a` up to 0.4, 1e-4.

    Args:
        function: An elementwise function of a float64 array. It may have kinks and jumps.
        variance: The variance of its argument; 0 stands for the limit from above.
        mean: The mean of its argument.

    Returns:
        The expectations.

    Raises:
        ActivationError: If the function is not a number where the argument may be, if its power
            is infinite, or if the function is random, not elementwise, too rough, or
            computed to less than eleven digits, such as in float32.

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
    if math.sqrt(variance) <= _AT_REST * abs(mean):
        return _limits(function, mean)
    return _remembered(function, variance, mean)


def _remembered(function: Function, variance: float, mean: float) -> Powers:
    """Return the expectations, known ones if the function answers all as a known one did.

    Nothing less is safe: two functions with jumps may agree wherever one of them was asked.
    """
    first = called(function, first_points(variance, mean)).tobytes()
    key = (variance, mean, first)
    if key in _known:
        asked, digest, found = _known[key]
        again = Recorded(function)
        again(asked)
        if again.digest() == digest:
            _known.move_to_end(key)
            return found
    recorded = Recorded(function)
    found = _summed(panels(recorded, variance=variance, mean=mean))
    if len(asked := recorded.asked()) <= _MOST_ASKED:
        _known[key] = (asked, recorded.digest(), found)
        if len(_known) > _MOST_KNOWN:
            _known.popitem(last=False)
    return found


_known: OrderedDict[tuple[float, float, bytes], tuple[Array, bytes, Powers]] = OrderedDict()


def _summed(cut: Panels) -> Powers:
    values, slopes = cut.values, cut.slopes
    places, below, above = cut.jumps()
    jumped = places * (above**2 - below**2) * np.exp(-(places**2) / 2)
    slope = cut.expectation(cut.points * values * slopes) + jumped.sum() / math.sqrt(8 * math.pi)
    forward = cut.expectation(values**2)
    variance = cut.expectation((values - (cut.weights * values).sum()) ** 2)
    return Powers(
        mean=cut.expectation(values),
        variance=variance if variance > _CONSTANT * forward else 0.0,
        forward=forward,
        backward=math.inf if is_too_steep(cut) else cut.expectation(slopes**2) / cut.spread**2,
        slope=float(slope) / cut.spread**2,
    )


def _limits(function: Function, mean: float) -> Powers:
    """Return what the expectations tend to when the variance goes to zero.

    The argument is then as often just below its mean as just above it.
    """
    try:
        spread = _NEAR * max(1.0, abs(mean))
        cut = panels(function, variance=spread**2, mean=mean)
    except ActivationError:  # such as that of a logarithm, for being asked below zero
        if mean == 0:
            raise
        spread = _NEAR * abs(mean)
        cut = panels(function, variance=spread**2, mean=mean)
    require_finite_slope(cut, mean)
    values, slopes, bends = (_on_both_sides(cut, order) for order in range(3))
    drift = float(np.diff(values * slopes)[0])  # of the power, by standard deviations
    size = np.abs(values) * (np.abs(slopes) + 1e-5 * np.abs(values) / cut.spread)
    kinked = abs(drift) > _KINK * float(size.sum())
    slope = math.copysign(math.inf, drift) if kinked else (slopes**2 + values * bends).mean()
    found = (values.mean(), values.var(), (values**2).mean(), (slopes**2).mean(), slope)
    return Powers(*(float(f"{each:.12g}") for each in found))


def _on_both_sides(cut: Panels, order: int) -> Array:
    """Return a derivative's limits at the mean, from below and from above."""
    above = int(np.abs(cut.edges[:, 0]).argmin())
    values, scale = cut.values[[above - 1, above]], cut.halves[[above - 1, above], 0] * cut.spread
    found = (values * ENDS_OF[order][::-1]).sum(axis=1)
    rounding = 16 * EPSILON * np.abs(values * ENDS_OF[order][::-1]).sum(axis=1)
    return np.where(np.abs(found) > rounding, found, 0.0) / scale**order
