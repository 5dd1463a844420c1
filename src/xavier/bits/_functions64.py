"""Logarithm, sine, cosine and normal quantile in float64, from + - * / and sqrt alone.

The counterpart of `_functions32`, for the stream of two words an element.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xavier.bits._coefficients import (
    CENTRAL_64,
    CENTRAL_64_OVER,
    CENTRAL_LIMIT_64,
    COS_64,
    FAR_TAIL_64,
    FAR_TAIL_64_OVER,
    FAR_TAIL_CENTRE_64,
    FAR_TAIL_START_64,
    LOG_64,
    SIN_64,
    TAIL_64,
    TAIL_64_OVER,
    TAIL_CENTRE_64,
)

F64 = NDArray[np.float64]
U64 = NDArray[np.uint64]

_ONE, _HALF = np.float64(1), np.float64(0.5)
_LN2_HIGH = np.float64(float.fromhex("0x1.62e42fee00000p-1"))  # exact times an exponent
_LN2_LOW = np.float64(float.fromhex("0x1.a39ef35793c76p-33"))
_ROOT_HALF_BITS = np.uint64(0x3FE6A09E667F3BCD)


def horner(series: tuple[float, ...], x: F64) -> F64:
    """Return the polynomial at x, from the highest power down, rounded at every step."""
    total = x * np.float64(series[-1])
    for coefficient in series[-2:0:-1]:
        total += np.float64(coefficient)
        total *= x
    total += np.float64(series[0])
    return total


def log(y: F64, correction: F64 | np.float64) -> F64:
    """Return ln(y) + correction for normal positive y.

    Reference:
        The form is that of Sun's fdlibm, e_log.c, 1993.
    """
    bits = y.view(np.uint64)
    exponent = (bits - _ROOT_HALF_BITS).view(np.int64) >> np.int64(52)
    fraction = (bits - (exponent << np.int64(52)).view(np.uint64)).view(np.float64)
    e = exponent.astype(np.float64)
    r = fraction - _ONE
    s = r / (np.float64(2) + r)
    z = s * s
    odd = z * horner(LOG_64, z)
    half_square = (_HALF * r) * r
    small = s * (half_square + odd) + (e * _LN2_LOW + correction)
    return e * _LN2_HIGH - ((half_square - small) - r)


def half_open(k: NDArray[np.int64], scale: float) -> F64:
    """Return (k + 1/2) * scale for signed k and a power of two."""
    return (k.astype(np.float64) + _HALF) * np.float64(scale)


def radius(k: U64) -> F64:
    """Return sqrt(-2 ln u) for u = (k + 1/2) / 2**64, accurate also where u is near 1."""
    upper = k >> np.uint64(63) != 0
    nearest = np.where(upper, ~k, k).view(np.int64)
    t = half_open(nearest, 2.0**-64)
    rest = _ONE - t
    lost = (_ONE - rest) - t
    y = np.where(upper, rest, t)
    return np.sqrt(log(y, np.where(upper, lost, np.float64(0))) * np.float64(-2))


def cosine_sine(k: U64) -> tuple[F64, F64]:
    """Return the cosine and sine of 2 pi (k + 1/2) / 2**64, up to the rounding of k + 1/2."""
    quadrant = (k + np.uint64(1 << 61)) >> np.uint64(62)
    z = half_open((k << np.uint64(2)).view(np.int64) >> np.int64(2), 2.0**-61)
    w = z * z
    sine = z * horner(SIN_64, w)
    cosine = _ONE + w * horner(COS_64, w)
    swapped = quadrant & np.uint64(1) != 0
    cosine_sign = ((quadrant + np.uint64(1)) & np.uint64(2)) << np.uint64(62)
    sine_sign = (quadrant & np.uint64(2)) << np.uint64(62)
    first, second = np.where(swapped, sine, cosine), np.where(swapped, cosine, sine)
    return _signed(first, cosine_sign), _signed(second, sine_sign)


def central_quantile(q: F64) -> F64:
    """Return the normal quantile of (1 + q) / 2 for q up to the central limit."""
    x = np.float64(CENTRAL_LIMIT_64**2) - q * q
    return q * (horner(CENTRAL_64, x) / horner(CENTRAL_64_OVER, x))


def tail_quantile(mass: F64) -> F64:
    """Return the z > 0 above which a normal variate lies with the probability `mass`."""
    s = np.sqrt(log(mass, np.float64(0)) * np.float64(-2))
    x = s - np.float64(TAIL_CENTRE_64)
    near = horner(TAIL_64, x) / horner(TAIL_64_OVER, x)
    x = s - np.float64(FAR_TAIL_CENTRE_64)
    far = horner(FAR_TAIL_64, x) / horner(FAR_TAIL_64_OVER, x)
    return s + np.where(s < np.float64(FAR_TAIL_START_64), near, far)


def truncated(k: U64, inside: np.float64, half_outside: np.float64) -> F64:
    """Return the variate of the standard normal law cut symmetrically, from 64 bits.

    Args:
        k: The word; its top bit is the sign.
        inside: The mass between the cuts.
        half_outside: The mass beyond one cut.
    """
    m = (k & np.uint64(0x7FFFFFFFFFFFFFFF)).view(np.int64)
    q = half_open(m, 2.0**-63) * inside
    if inside <= np.float64(CENTRAL_LIMIT_64):
        z = central_quantile(q)
    else:
        central = q <= np.float64(CENTRAL_LIMIT_64)
        rest = half_open(np.int64(0x7FFFFFFFFFFFFFFF) - m, 2.0**-63)
        mass = half_outside + rest * (_HALF * inside)
        z = np.where(central, central_quantile(np.where(central, q, _HALF)), tail_quantile(mass))
    return _signed(z, k & np.uint64(0x8000000000000000))


def _signed(x: F64, sign: U64) -> F64:
    return (x.view(np.uint64) ^ sign).view(np.float64)
