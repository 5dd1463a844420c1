"""Moments of a softmax over independent Gaussian logits, exact for any number of entries."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from xavier.theory._calls import Array

_STEP: Final = 0.1  # of the grids; the integrands are analytic in a strip of width pi
_REACH: Final = 9.0  # standard deviations
_FADED: Final = 25.0  # exp(-25)**2 is rounding
_WIDEST: Final = 40.0  # a standard deviation beyond which one entry has nearly everything
_NARROWEST: Final = 1e-4
_GUMBEL_VARIANCE: Final = math.pi**2 / 6


@dataclass(frozen=True, slots=True)
class SoftmaxMoments:
    """Moments of `p = softmax(z)` or of its logarithm, per entry.

    Attributes:
        mean: The mean of an entry.
        forward: Its second moment.
        backward: The sum over the outputs of the second moment of an output's derivative by one
            logit: what a gradient's second moment is multiplied by on its way back.
    """

    mean: float
    forward: float
    backward: float


def softmax_moments(n: int, variance: float) -> SoftmaxMoments:
    """Return the moments of a softmax over `n` independent logits `z ~ N(mean, variance)`.

    With `S` the sum of the `exp(z)` and `f(t) = E[exp(-t exp(z))]`, the identity
    `1 / S**k = integral of t**(k-1) exp(-t S) dt / (k-1)!` makes independent factors of the
    entries: `E[p**2] = integral of t f''(t) f(t)**(n-1) dt`, and likewise for the powers and
    products that the derivative `p_i (delta_ij - p_j)` needs. For `n` much larger than
    `exp(variance)` the law of large numbers holds: `E[p**2] = exp(variance) / n**2`.

    Args:
        n: The number of entries; positive.
        variance: The variance of a logit. Their common mean does not count.

    Returns:
        The moments: the mean is `1 / n`.

    Example:
        >>> found = softmax_moments(1000, 1.0)
        >>> round(found.forward * 1000**2, 2)  # e, but for terms in 1/n
        2.7
        >>> softmax_moments(4, 0.0).forward
        0.0625

    Reference:
        Derrida, "Random-energy model: limit of a family of disordered models", 1980: the
        sum is its partition function.
    """
    if n == 1 or variance < _NARROWEST**2:
        shrink = variance * (1 - 1 / n)
        return SoftmaxMoments(1 / n, (1 + shrink) / n**2, (1 - 1 / n) / n**2)
    return _softmax(n, float(variance))


def log_softmax_moments(n: int, variance: float) -> SoftmaxMoments:
    """Return the moments of the logarithm of a softmax over `n` independent logits.

    `log p = z - log S`, where `E[z log S] = variance / n` by Stein's lemma, and `log S` has the
    law of `log E - log T` with `P(T > t) = f(t)**n` and E exponential of mean 1.

    Args:
        n: The number of entries; positive.
        variance: The variance of a logit.

    Returns:
        The moments. A derivative is `delta_ij - p_j`.

    Example:
        >>> found = log_softmax_moments(1000, 1.0)
        >>> round(found.mean + math.log(1000) + 0.5, 3)  # E[log S] = log(n exp(1/2)), but for 1/n
        0.001
    """
    if n == 1:
        return SoftmaxMoments(0.0, 0.0, 0.0)
    power = softmax_moments(n, variance).forward
    backward = 1 - 2 / n + n * power
    if variance < _NARROWEST**2:
        level = math.log(n)
        return SoftmaxMoments(-level, level**2 + variance * (1 - 1 / n), backward)
    mean, spread = _log_sum(n, float(variance))
    within = max(variance * (1 - 2 / n) + spread, 0.0)
    return SoftmaxMoments(-mean, within + mean**2, backward)


@lru_cache(maxsize=256)
def _softmax(n: int, variance: float) -> SoftmaxMoments:
    at, step, density, z = _grids(n, variance)
    shifted = np.exp(np.minimum(z[None, :] + at[:, None], 700.0))
    fading = np.exp(-shifted) * density
    # t**k E[exp(k z) exp(-t exp(z))], at t = exp(at); each integral is over at.
    none = fading.sum(axis=1)
    two, three, four = ((fading * np.minimum(shifted, 1e70) ** k).sum(axis=1) for k in (2, 3, 4))
    others = none ** (n - 1)
    second, third, fourth = (
        float((each * others).sum()) * step / math.factorial(k - 1)
        for k, each in ((2, two), (3, three), (4, four))
    )
    both = float((two**2 * none ** (n - 2)).sum()) * step / math.factorial(3)
    backward = second - 2 * third + fourth + (n - 1) * both
    return SoftmaxMoments(1 / n, min(second, 1 / n), max(backward, 0.0))


@lru_cache(maxsize=256)
def _log_sum(n: int, variance: float) -> tuple[float, float]:
    """Return mean and variance of the logarithm of the sum of the exponentials."""
    at, step, density, z = _grids(n, variance)
    fading = np.exp(-np.exp(np.minimum(z[None, :] + at[:, None], 700.0)))
    survival = (fading @ density) ** n  # P(log T > at)
    start = float(at[0])
    mean = start + step * (float(survival.sum()) - 0.5)
    # The trapezoid rule on a line that ends at a slope: Euler and Maclaurin's two corrections.
    second = 2 * step * float(((at - mean) * survival).sum()) - step * (start - mean) + step**2 / 6
    spread = second + (start - mean) ** 2 - _GUMBEL_VARIANCE
    return -np.euler_gamma - mean, max(spread, 0.0)


def _grids(n: int, variance: float) -> tuple[Array, float, Array, Array]:
    """Return log t and its step; the density of the logits, and these."""
    std = min(math.sqrt(variance), _WIDEST)
    fine = min(2 * _STEP, std / 4)
    half = math.ceil(_REACH * std / fine)
    z: Array = np.arange(-half, half + 1, dtype=np.float64) * fine
    density: Array = np.exp(-(z**2) / (2 * std**2))
    density /= density.sum()
    low, high = -_REACH * std - _FADED - math.log(n), _REACH * std + math.log(_FADED) + 3
    step = max(_STEP, std / 25)  # averages over the logits bend on their scale
    at: Array = np.arange(low, high, step, dtype=np.float64)
    return at, step, density, z
