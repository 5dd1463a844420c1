"""Logarithm, sine, cosine and normal quantile in float32, from + - * / and sqrt alone.

Every line is one sequence of correctly rounded operations, in the order in which it is
written: a compiled kernel without contraction computes the same bits. float32 throughout,
and not float64 rounded at the end, because a SIMD unit does twice as many of them at once;
the arguments are integers, split so that no digit that matters is lost (docs/bits.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xavier.bits._coefficients import (
    CENTRAL_32,
    CENTRAL_32_OVER,
    CENTRAL_LIMIT_32,
    COS_32,
    LOG_32,
    SIN_32,
    TAIL_32,
    TAIL_32_OVER,
    TAIL_CENTRE_32,
)

F32 = NDArray[np.float32]
U32 = NDArray[np.uint32]

_ONE, _HALF = np.float32(1), np.float32(0.5)
_LN2_HIGH = np.float32(0.693359375)  # ten bits: its product with an exponent is exact
_LN2_LOW = np.float32(-2.12194440e-4)
_ROOT_HALF_BITS = np.uint32(0x3F3504F3)


def horner(series: tuple[float, ...], x: F32) -> F32:
    """Return the polynomial at x, from the highest power down, rounded at every step."""
    total = x * np.float32(series[-1])
    for coefficient in series[-2:0:-1]:
        total += np.float32(coefficient)
        total *= x
    total += np.float32(series[0])
    return total


def log(y: F32, correction: F32 | np.float32) -> F32:
    """Return ln(y) + correction for normal positive y."""
    bits = y.view(np.uint32)
    exponent = (bits - _ROOT_HALF_BITS).view(np.int32) >> np.int32(23)
    fraction = (bits - (exponent << np.int32(23)).view(np.uint32)).view(np.float32)
    e = exponent.astype(np.float32)
    r = fraction - _ONE
    square = r * r
    small = horner(LOG_32, r)
    small *= r * square
    small -= square * _HALF
    small += e * _LN2_LOW + correction
    small += r
    small += e * _LN2_HIGH
    return small


def half_open(k: NDArray[np.int32], scale: float) -> F32:
    """Return (k + 1/2) * scale for signed k and a power of two."""
    return (k.astype(np.float32) + _HALF) * np.float32(scale)


def radius(k: U32) -> F32:
    """Return sqrt(-2 ln u) for u = (k + 1/2) / 2**32, accurate also where u is near 1."""
    upper = k >> np.uint32(31) != 0
    nearest = np.where(upper, ~k, k).view(np.int32)
    t = half_open(nearest, 2.0**-32)
    rest = _ONE - t
    lost = (_ONE - rest) - t
    y = np.where(upper, rest, t)
    return np.sqrt(log(y, np.where(upper, lost, np.float32(0))) * np.float32(-2))


def cosine_sine(k: U32) -> tuple[F32, F32]:
    """Return the cosine and sine of 2 pi (k + 1/2) / 2**32, up to the rounding of k + 1/2."""
    quadrant = (k + np.uint32(1 << 29)) >> np.uint32(30)
    z = half_open((k << np.uint32(2)).view(np.int32) >> np.int32(2), 2.0**-29)
    w = z * z
    sine = z * horner(SIN_32, w)
    cosine = _ONE + w * horner(COS_32, w)
    swapped = quadrant & np.uint32(1) != 0
    cosine_sign = ((quadrant + np.uint32(1)) & np.uint32(2)) << np.uint32(30)
    sine_sign = (quadrant & np.uint32(2)) << np.uint32(30)
    first, second = np.where(swapped, sine, cosine), np.where(swapped, cosine, sine)
    return _signed(first, cosine_sign), _signed(second, sine_sign)


def central_quantile(q: F32) -> F32:
    """Return the normal quantile of (1 + q) / 2 for q up to the central limit."""
    x = np.float32(CENTRAL_LIMIT_32**2) - q * q
    ratio = horner(CENTRAL_32, x) / horner(CENTRAL_32_OVER, x)
    ratio *= q
    return ratio


def tail_quantile(mass: F32) -> F32:
    """Return the z > 0 above which a normal variate lies with the probability `mass`."""
    s = np.sqrt(log(mass, np.float32(0)) * np.float32(-2))
    x = s - np.float32(TAIL_CENTRE_32)
    z = horner(TAIL_32, x) / horner(TAIL_32_OVER, x)
    z += s
    return z


def truncated(k: U32, inside: np.float32, half_outside: np.float32) -> F32:
    """Return the variate of the standard normal law cut symmetrically, from one word.

    Args:
        k: The word; its top bit is the sign.
        inside: The mass between the cuts.
        half_outside: The mass beyond one cut.
    """
    m = (k & np.uint32(0x7FFFFFFF)).view(np.int32)
    q = half_open(m, 2.0**-31) * inside
    if inside <= np.float32(CENTRAL_LIMIT_32):
        z = central_quantile(q)
    else:
        central = q <= np.float32(CENTRAL_LIMIT_32)
        rest = half_open(np.int32(0x7FFFFFFF) - m, 2.0**-31)
        mass = half_outside + rest * (_HALF * inside)
        z = np.where(central, central_quantile(np.where(central, q, _HALF)), tail_quantile(mass))
    return _signed(z, k & np.uint32(0x80000000))


def _signed(x: F32, sign: U32) -> F32:
    return (x.view(np.uint32) ^ sign).view(np.float32)
