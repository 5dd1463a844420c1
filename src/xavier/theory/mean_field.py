"""Mean-field theory of deep plain stacks: lengths, correlations, gradients, and their scales.

A layer is `h = W f(h') + b` with `Var W = sigma_w**2 / fan_in` and `Var b = sigma_b**2`. In the
limit of infinite width a pre-activation is Gaussian with a second moment `q` that the *length map*
takes from layer to layer, two inputs' pre-activations have a correlation `c` that the *correlation
map* takes on, and a gradient's variance is multiplied by `chi_1`. At `chi_1 = 1`, the edge of
chaos, signals and gradients reach deepest.

References:
    Poole et al., "Exponential expressivity in deep neural networks through transient chaos",
    2016; Schoenholz et al., "Deep Information Propagation", 2017.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from xavier._errors import ActivationError
from xavier.theory._correlations import correlated, jumps
from xavier.theory.activations import Activation, Function, resolve
from xavier.theory.quadrature import InfinitePowerError, Powers, powers

_GRID: Final = np.geomspace(1e-10, 1e12, 181)  # lengths between which a point is looked for
_AGREE: Final = 1e-13
_AT_ONE: Final = 1e-11  # of a length's relative change, where it counts as none
NOUGHT: Final = 1e-12  # a length so small that only the derivative at zero counts
TOLD: Final = 1e-3  # a length at which an activation must still be resolved
_FIXED: Final = 1e-3  # of a length's relative change, where it is no fixed point

Named = str | Function | Activation


@dataclass(frozen=True, slots=True)
class DepthScales:
    """Over how many layers a deviation falls to 1/e.

    Attributes:
        q: The length map's fixed point.
        c: The correlation map's.
        chi_1: By what a layer multiplies the gradient's variance.
        xi_q: Of a length's deviation from q.
        xi_c: Of a correlation's deviation from c; infinite at the edge of chaos. Networks
            train up to a depth of some `6 xi_c`.
        xi_gradient: Of the gradient's variance; negative where it grows.
    """

    q: float
    c: float
    chi_1: float
    xi_q: float
    xi_c: float
    xi_gradient: float

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def length_map(activation: Named, q: float, *, sigma_w: float, sigma_b: float = 0.0) -> float:
    """Return the next layer's second moment: `sigma_w**2 E[f(sqrt(q) z)**2] + sigma_b**2`.

    Args:
        activation: A name or an elementwise function.
        q: The second moment of a pre-activation; zero or more.
        sigma_w: Standard deviation of the weights times the root of their fan_in.
        sigma_b: Standard deviation of the biases.

    Raises:
        ActivationError: If the power is infinite, or a number is negative or not finite.

    Example:
        >>> round(length_map("relu", 3.0, sigma_w=2**0.5), 9)
        3.0
    """
    check(q=q, sigma_w=sigma_w, sigma_b=sigma_b)
    return sigma_w**2 * powers(elementwise(activation), variance=q).forward + sigma_b**2


def chi_1(activation: Named, *, q: float, sigma_w: float) -> float:
    """Return `sigma_w**2 E[f'(sqrt(q) z)**2]`: a layer's factor on the gradient's variance.

    Args:
        activation: As for `length_map`.
        q: As for `length_map`.
        sigma_w: As for `length_map`.

    Example:
        >>> round(chi_1("tanh", q=1.0, sigma_w=1.0), 6)
        0.464403
    """
    check(q=q, sigma_w=sigma_w)
    return sigma_w**2 * derived(activation, q).backward


def length_fixed_point(activation: Named, *, sigma_w: float, sigma_b: float = 0.0) -> float:
    """Return the second moment q* that the length map reaches from 1.

    Args:
        activation: As for `length_map`.
        sigma_w: As for `length_map`.
        sigma_b: As for `length_map`.

    Returns:
        q*; 0 or infinity where the map shrinks or grows without end, and 1 where that is a
        fixed point, stable or not, as for every activation at its own gain.

    Raises:
        ActivationError: As for `length_map`.

    Example:
        >>> round(length_fixed_point("tanh", sigma_w=1.5**0.5, sigma_b=0.05**0.5), 6)
        0.418037
    """
    moved = lambda q: length_map(activation, q, sigma_w=sigma_w, sigma_b=sigma_b) / q - 1  # noqa: E731 - a formula in a line
    start = moved(1.0)
    if abs(start) < _AT_ONE:
        return 1.0
    grid = _GRID[_GRID > 1] if start > 0 else _GRID[_GRID < 1][::-1]
    before = 1.0
    for q in grid.tolist():
        try:
            crossed = moved(q) * start <= 0
        except InfinitePowerError:
            return math.inf
        except ActivationError:
            if q > TOLD:
                raise
            return 0.0  # so small that the function's own rounding hides it
        if crossed:
            return root(moved, before, q)
        before = q
    return math.inf if start > 0 else 0.0


def correlation_map(
    activation: Named, c: float, *, q: float, sigma_w: float, sigma_b: float = 0.0
) -> float:
    """Return the correlation of two inputs' pre-activations one layer on.

    `(sigma_w**2 E[f(u) f(v)] + sigma_b**2) / q` for u, v normal with second moment q and
    correlation c, at the length map's fixed point q.

    Args:
        activation: As for `length_map`.
        c: The correlation before, between -1 and 1.
        q: The length map's fixed point; positive.
        sigma_w: As for `length_map`.
        sigma_b: As for `length_map`.

    Raises:
        ActivationError: As for `length_map`, and if q is zero or c is no correlation.

    Example:
        >>> round(correlation_map("relu", 0.0, q=1.0, sigma_w=2**0.5), 6)  # 1 / pi
        0.31831
    """
    check(q=q, sigma_w=sigma_w, sigma_b=sigma_b)
    _check_positive(q)
    found = correlated(elementwise(activation), q, c)
    return (sigma_w**2 * found.forward + sigma_b**2) / q


def correlation_fixed_point(
    activation: Named, *, q: float, sigma_w: float, sigma_b: float = 0.0
) -> float:
    """Return the correlation c* that two inputs reach with depth.

    It is 1 in the ordered phase, `chi_1 <= 1`, and below 1 in the chaotic one, and wherever the
    activation jumps. An odd activation without biases keeps orthogonal inputs orthogonal, so
    that its c* below 1 is 0.

    Args:
        activation: As for `length_map`.
        q: The length map's fixed point; positive.
        sigma_w: As for `length_map`.
        sigma_b: As for `length_map`.

    Raises:
        ActivationError: As for `correlation_map`, and if q is no fixed point.

    Example:
        >>> round(correlation_fixed_point("tanh", q=1.428008, sigma_w=3**0.5, sigma_b=0.05**0.5), 4)
        0.2993
    """
    moved = length_map(activation, q, sigma_w=sigma_w, sigma_b=sigma_b)
    _check_positive(q)
    if abs(moved - q) > _FIXED * q:
        raise ActivationError(
            f"q is {q:.6g}, expected a fixed point: the length map takes it to {moved:.6g}",
            hint="see length_fixed_point",
        )
    ordered = chi_1(activation, q=q, sigma_w=sigma_w) <= 1 + 1e-9
    if ordered and not jumps(elementwise(activation), q):
        return 1.0
    gap = lambda c: correlation_map(activation, c, q=q, sigma_w=sigma_w, sigma_b=sigma_b) - c  # noqa: E731 - a formula in a line
    if gap(0.0) <= _AGREE:
        return 0.0
    near = 0.5
    while gap(1 - near) > 0 and near > 1e-9:  # noqa: PLR2004 - c* = 1 to all digits from there
        near /= 4
    return root(gap, 0.0, 1 - near) if near > 1e-9 else 1.0  # noqa: PLR2004 - as near as the gap can be told from rounding


def depth_scales(activation: Named, *, sigma_w: float, sigma_b: float = 0.0) -> DepthScales:
    """Return the fixed points of a plain stack and the depths over which they are reached.

    With `xi = -1 / log(rate)`: the rate of a length is the length map's slope, that of a
    correlation `sigma_w**2 E[f'(u) f'(v)]` at c*, that of the gradient `chi_1`.

    Args:
        activation: As for `length_map`.
        sigma_w: As for `length_map`.
        sigma_b: As for `length_map`.

    Raises:
        ActivationError: If the length map has no fixed point between 0 and infinity.

    Example:
        >>> scales = depth_scales("tanh", sigma_w=1.5**0.5, sigma_b=0.05**0.5)
        >>> round(scales.xi_q, 3), round(scales.xi_c, 3)
        (1.683, 15.791)

    Reference:
        Schoenholz et al., 2017, equations 7 to 9 and 19.
    """
    q = length_fixed_point(activation, sigma_w=sigma_w, sigma_b=sigma_b)
    if not 0 < q < math.inf:
        raise ActivationError(
            f"the length map goes to {q:.3g} at sigma_w = {sigma_w:.6g}, sigma_b = {sigma_b:.6g}, "
            "expected a fixed point between 0 and infinity",
            hint="see critical_point for weights and biases that have one",
        )
    chi = chi_1(activation, q=q, sigma_w=sigma_w)
    c = correlation_fixed_point(activation, q=q, sigma_w=sigma_w, sigma_b=sigma_b)
    rate = chi if c == 1 else sigma_w**2 * correlated(elementwise(activation), q, c).backward
    return DepthScales(
        q=q,
        c=c,
        chi_1=chi,
        xi_q=_scale(sigma_w**2 * derived(activation, q).slope),
        xi_c=_scale(rate),
        xi_gradient=_scale(chi),
    )


def elementwise(activation: Named) -> Function:
    """Return an activation's function, which must be one of one argument."""
    resolved = resolve(activation)
    if resolved.gate:
        raise ActivationError(f"{resolved.name} is a gate of two arguments, expected one of one")
    return resolved.function


def named(activation: Named) -> str:
    """Return what an activation is called in a message."""
    return resolve(activation).name


def derived(activation: Named, q: float) -> Powers:
    """Return the powers; near zero their limit, where a derivative is told from more."""
    return powers(elementwise(activation), variance=q if q > NOUGHT else 0.0)


def check(**numbers: float) -> None:
    """Raise unless all numbers are finite, and none is negative."""
    for name, value in numbers.items():
        if not (math.isfinite(value) and value >= 0):
            raise ActivationError(f"{name} is {value}, expected a finite number, zero or more")


def _check_positive(q: float) -> None:
    if q == 0:
        raise ActivationError("q is 0, expected a positive number")


def _scale(rate: float) -> float:
    size = abs(rate)
    if size == 0:
        return 0.0
    return math.inf if abs(size - 1) < 1e-12 else -1 / math.log(size)  # noqa: PLR2004 - as near as rounding comes


def root(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where a function changes sign between two points, by the Illinois method."""
    at_low, at_high = function(low), function(high)
    if at_low == 0:
        return low
    for _ in range(200):
        if at_high == 0 or abs(high - low) <= 4e-16 * max(abs(high), abs(low)):
            break
        middle = high - at_high * (high - low) / (at_high - at_low)
        if not min(low, high) < middle < max(low, high):
            middle = (low + high) / 2
        found = function(middle)
        if found * at_high <= 0:
            low, at_low = high, at_high
        else:
            at_low /= 2
        high, at_high = middle, found
        if abs(found) < _AGREE:
            break
    return high
