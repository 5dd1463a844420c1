"""The masses and the variance of a cut normal law, in decimal arithmetic.

`math.erf` and `math.exp` differ from one C library to the next in their last digit; decimal
arithmetic is the same everywhere, and the numbers here are part of the stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import lru_cache

_BEYOND = 40.0  # no word reaches this far: the mass outside is below 2**-1000


@dataclass(frozen=True, slots=True)
class Truncation:
    """A standard normal law cut at +-cut.

    Attributes:
        inside: The mass between the cuts.
        half_outside: The mass beyond one cut.
        std: The standard deviation of what is left.
    """

    inside: float
    half_outside: float
    std: float


@lru_cache(maxsize=256)
def truncation(cut: float) -> Truncation:
    """Return the masses inside and outside of +-cut, and the standard deviation inside.

    The variance inside is `1 - 2 c f(c) / (2 F(c) - 1)` with the normal density f and
    distribution F.

    Args:
        cut: The cut, in standard deviations of the parent; positive.

    Example:
        >>> round(truncation(2.0).std, 4)
        0.8796
    """
    if cut > _BEYOND:
        return Truncation(1.0, 0.0, 1.0)
    c = Decimal(cut)
    digits = 60 + int(c * c / 4) + 2 * max(0, -c.adjusted())
    with localcontext(Context(prec=digits, rounding=ROUND_HALF_EVEN, Emin=-(10**6), Emax=10**6)):
        root = (2 / _pi()).sqrt()
        density = root * (-c * c / 2).exp()
        inside = density * _odd_series(c)
        variance = 1 - c * density / inside
        return Truncation(float(inside), float((1 - inside) / 2), float(variance.sqrt()))


def _odd_series(c: Decimal) -> Decimal:
    """Return c + c**3/3 + c**5/(3*5) + ...: all terms positive, so that nothing cancels."""
    term = total = c
    before, odd = Decimal(0), 1
    while total != before:
        odd += 2
        term = term * c * c / odd
        before, total = total, total + term
    return total


def _pi() -> Decimal:
    """Return pi to the context's precision (the recipe of Python's decimal documentation)."""
    before, total, term = Decimal(0), Decimal(3), Decimal(3)
    n, na, d, da = 1, 0, 0, 24
    while total != before:
        before = total
        n, na = n + na, na + 8
        d, da = d + da, da + 32
        term = term * n / d
        total += term
    return total
