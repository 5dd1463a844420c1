"""Normal laws given an interval: one of xavier's, or the inverse distribution function."""

from __future__ import annotations

import math

import torch

from xavier._types.laws import Constant, Law, Normal, TruncatedNormal
from xavier.bits._truncation import truncation

_NOTHING_BEYOND = 40.0  # standard deviations: the mass outside is below 2**-1000
_LOWEST = -600.0  # exp of less than this is no longer accurate to the last digit
_STEPS = 5  # of Newton's method, which doubles the digits; the start has at least one


def known_law(mean: float, std: float, a: float, b: float) -> Law | None:
    """Return a normal law given [a, b] as one of xavier's laws; None if it is none of them."""
    if a == b:
        return Constant(a)
    if min(mean - a, b - mean) >= _NOTHING_BEYOND * std:
        return Normal(mean, std)
    if not math.isclose(mean - a, b - mean, rel_tol=1e-9):
        return None
    cut = (b - mean) / std
    return TruncatedNormal(mean, std * truncation(cut).std, cut)


def between(a: float, b: float, uniforms: torch.Tensor) -> torch.Tensor:
    """Return where the standard normal law given [a, b] has its quantiles.

    With F the distribution function, the quantile of u is F⁻¹(F(a) + u (F(b) - F(a))). All
    is carried in logarithms, in the half line where F is small: no interval is too far out.

    Args:
        a: The lower end; may be infinite.
        b: The upper end, above `a`; not both infinite.
        uniforms: Numbers in [0, 1), in float64.

    Returns:
        The quantiles, in float64.

    Example:
        >>> import torch
        >>> halves = torch.tensor([0.5], dtype=torch.float64)
        >>> round(float(between(0.0, float("inf"), halves)), 6)
        0.67449
    """
    # A grid's numbers stand for the middles of their cells: 0 itself has no quantile.
    middles = uniforms + 2.0**-54
    if abs(b) > abs(a):
        return -_below(-b, -a, 1 - middles)
    return _below(a, b, middles)


def _below(a: float, b: float, uniforms: torch.Tensor) -> torch.Tensor:
    low, high = (
        torch.special.log_ndtr(torch.tensor(x, dtype=torch.float64, device="cpu")) for x in (a, b)
    )
    share = -torch.expm1(low - high)
    target = high + torch.log1p((uniforms - 1) * share)
    x = torch.special.ndtri(target.clamp(min=_LOWEST).exp())
    far = target < _LOWEST
    if bool(far.any()):
        x[far] = _far_quantile(target[far])
    return x.clamp(a, b)


def _far_quantile(log_mass: torch.Tensor) -> torch.Tensor:
    """Return the quantiles of masses too small for float64, by Newton's method on log F."""
    x = -torch.sqrt(-2 * log_mass)
    for _ in range(_STEPS):
        log_f = torch.special.log_ndtr(x)
        log_density = -0.5 * x * x - 0.5 * math.log(2 * math.pi)
        x = x - (log_f - log_mass) * torch.exp(log_f - log_density)
    return x
