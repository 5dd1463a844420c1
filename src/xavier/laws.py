"""What a law implies: its mean, its spread, its support; and how a law is made.

The laws themselves are plain data (`Normal`, `Uniform`, …), re-exported here. Numbers that
are to become a law of a plan are rounded to six significant digits, so that the number that
is printed is the number that is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import cache
from typing import Literal

from xavier._errors import LawError, ShapeError, UnknownNameError
from xavier._types.laws import (
    Constant,
    DeltaOrthogonal,
    Dirac,
    Identity,
    Law,
    Normal,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Uniform,
    from_dict,
)

__all__ = [
    "Constant",
    "DeltaOrthogonal",
    "Dirac",
    "Distribution",
    "Identity",
    "Law",
    "Normal",
    "Orthogonal",
    "Sparse",
    "TruncatedNormal",
    "Uniform",
    "from_dict",
    "mean",
    "parent_std",
    "round_law",
    "round_number",
    "scaled",
    "second_moment",
    "std",
    "support",
    "with_variance",
]

Distribution = Literal["normal", "uniform", "truncated_normal"]
"""The families that a variance alone can choose from."""

_DISTRIBUTIONS = ("normal", "uniform", "truncated_normal")


def mean(law: Law, shape: Sequence[int] | None = None) -> float:
    """Return the expected mean of a weight's elements under `law`.

    Args:
        law: Any law.
        shape: The weight's stored shape; needed by `Identity` and `Dirac` alone.

    Returns:
        The mean over the draw and over the elements.

    Raises:
        ShapeError: If the law needs a shape and there is none, or one that it cannot fill.

    Example:
        >>> mean(Uniform(0.0, 3.0))
        1.5
        >>> mean(Identity(2.0), (4, 4))
        0.5
    """
    match law:
        case Uniform(low, high):
            return low + (high - low) / 2
        case Normal() | TruncatedNormal():
            return law.mean
        case Constant(value):
            return value
        case Sparse() | Orthogonal() | DeltaOrthogonal():
            return 0.0
        case Identity(gain):
            return gain * _filled_share(law, shape)
        case Dirac():
            return _filled_share(law, shape)
        case _:
            raise _not_a_law(law)


def std(law: Law, shape: Sequence[int] | None = None) -> float:
    """Return the standard deviation of a weight's elements under `law`.

    For the laws that draw whole matrices it is the spread over the elements: an element of
    `Orthogonal(gain)` of shape (n, m) has mean square `gain**2 / max(n, m)`.

    Args:
        law: Any law.
        shape: The weight's stored shape; needed where `law.elementwise` is False.

    Returns:
        The standard deviation: zero or more.

    Raises:
        ShapeError: If the law needs a shape and there is none, or one that it cannot fill.

    Example:
        >>> round(std(Uniform(-3.0, 3.0)), 6)
        1.732051
        >>> std(Orthogonal(2.0), (16, 64))
        0.25
    """
    match law:
        case Uniform(low, high):
            # Halving first keeps the widest representable interval finite.
            return (high / 2 - low / 2) / math.sqrt(3)
        case Normal() | TruncatedNormal():
            return law.std
        case Constant():
            return 0.0
        case Sparse(sparsity, spread):
            return spread * math.sqrt(1 - sparsity)
        case Orthogonal(gain):
            rows, columns = _matrix(law, shape)
            return abs(gain) / math.sqrt(max(rows, columns))
        case DeltaOrthogonal(gain):
            rows, columns, volume = _kernel(law, shape)
            return abs(gain) / math.sqrt(max(rows, columns) * volume)
        case Identity(gain):
            share = _filled_share(law, shape)
            return abs(gain) * math.sqrt(share * (1 - share))
        case Dirac():
            share = _filled_share(law, shape)
            return math.sqrt(share * (1 - share))
        case _:
            raise _not_a_law(law)


def second_moment(law: Law, shape: Sequence[int] | None = None) -> float:
    """Return E[w**2], which is what a contraction's output variance is made of.

    Args:
        law: Any law.
        shape: As for `std`.

    Returns:
        `mean**2 + std**2`.

    Raises:
        ShapeError: As for `std`.

    Example:
        >>> second_moment(Normal(mean=3.0, std=4.0))
        25.0
    """
    return mean(law, shape) ** 2 + std(law, shape) ** 2


def support(law: Law) -> tuple[float, float]:
    """Return the smallest interval that holds every value `law` can give.

    Args:
        law: Any law.

    Returns:
        The lower and the upper end, infinite for the normal laws.

    Example:
        >>> [round(end, 6) for end in support(TruncatedNormal(0.0, 1.0, cut=2.0))]
        [-2.273694, 2.273694]
    """
    match law:
        case Uniform(low, high):
            return low, high
        case Normal():
            reach = math.inf if law.std else 0.0
            return law.mean - reach, law.mean + reach
        case TruncatedNormal():
            reach = law.std * _reach(law.cut)
            return law.mean - reach, law.mean + reach
        case Constant(value):
            return value, value
        case Sparse():
            reach = math.inf if law.std and law.sparsity < 1 else 0.0
            return -reach, reach
        case Orthogonal(gain) | DeltaOrthogonal(gain):
            return -abs(gain), abs(gain)
        case Identity(gain):
            return min(gain, 0.0), max(gain, 0.0)
        case Dirac():
            return 0.0, 1.0
        case _:
            raise _not_a_law(law)


def parent_std(law: TruncatedNormal) -> float:
    """Return the standard deviation of the normal law that a truncated one is cut from.

    Cut at `c` of its standard deviations on either side, a normal law keeps the share
    `1 - 2 c pdf(c) / erf(c / sqrt(2))` of its variance; 0.7737 at `c = 2`.

    Args:
        law: The truncated law, whose `std` is the one after truncation.

    Returns:
        The parent's standard deviation, to a relative error of 1e-15.

    Example:
        >>> round(parent_std(TruncatedNormal(0.0, 1.0)), 12)  # 1 / 0.879625661034
        1.136847234339

    Reference:
        Johnson, Kotz and Balakrishnan, "Continuous Univariate Distributions", volume 1,
        1994, section 13.10.1.
    """
    return law.std * _reach(law.cut) / law.cut


_SERIES_ENDS = 3.0
"""From here on the closed form has all its digits."""


@cache
def _reach(cut: float) -> float:
    """Return half the width of a truncated normal law whose own std is 1.

    Below `_SERIES_ENDS` the share of variance kept is summed as a series of positive terms, from
    `erf(c / sqrt(2)) / (2 c pdf(c)) = sum(c**(2 n) / (2 n + 1)!!)`: the closed form loses
    all its digits as `c` goes to 0, where the law becomes uniform.
    """
    if cut >= _SERIES_ENDS:
        density = math.exp(-cut * cut / 2) / math.sqrt(2 * math.pi)
        return cut / math.sqrt(1 - 2 * cut * density / math.erf(cut / math.sqrt(2)))
    term, total, order = 1 / 3, 0.0, 3
    while total + term != total:
        total += term
        order += 2
        term *= cut * cut / order
    return math.sqrt((1 + cut * cut * total) / total)


def with_variance(
    variance: float, distribution: Distribution = "normal", *, mean: float = 0.0, cut: float = 2.0
) -> Law:
    """Return the law of a family that has the given variance, its numbers rounded.

    Args:
        variance: The variance of an element; zero or more.
        distribution: `normal`, `uniform` or `truncated_normal`.
        mean: The mean of an element.
        cut: Where the truncated normal is cut, in standard deviations of its parent.

    Returns:
        The law, its numbers rounded to six significant digits.

    Raises:
        LawError: If the variance is negative or not finite.
        UnknownNameError: If there is no such family.

    Example:
        >>> with_variance(2 / 784)
        Normal(mean=0.0, std=0.0505076)
        >>> with_variance(0.01, "uniform")
        Uniform(low=-0.173205, high=0.173205)

    Note:
        `truncated_normal` means the standard deviation after truncation, as in Keras and
        JAX; `torch.nn.init.trunc_normal_` takes the parent's.
    """
    if not (math.isfinite(variance) and variance >= 0):
        raise LawError(f"variance is {variance}, expected a finite number, zero or more")
    spread = math.sqrt(variance)
    match distribution:
        case "normal":
            return round_law(Normal(mean, spread))
        case "uniform":
            reach = math.sqrt(3) * spread
            return round_law(Uniform(mean - reach, mean + reach))
        case "truncated_normal":
            return round_law(TruncatedNormal(mean, spread, cut))
        case _:
            raise UnknownNameError("distribution", str(distribution), _DISTRIBUTIONS)


def scaled(law: Law, factor: float) -> Law:
    """Return the law of `factor` times what `law` draws.

    Args:
        law: Any law; a `Dirac`, which has no gain, only by 1.
        factor: Any finite number.

    Returns:
        The law, not rounded.

    Raises:
        LawError: If the factor is not finite, or the law cannot be scaled by it.

    Example:
        >>> scaled(Uniform(-1.0, 2.0), -0.5)
        Uniform(low=-1.0, high=0.5)
    """
    if not math.isfinite(factor):
        raise LawError(f"factor is {factor}, expected a finite number")
    match law:
        case Uniform(low, high):
            return Uniform(min(low * factor, high * factor), max(low * factor, high * factor))
        case Normal() | TruncatedNormal():
            return replace(law, mean=law.mean * factor, std=law.std * abs(factor))
        case Constant(value):
            return Constant(value * factor)
        case Sparse():
            return replace(law, std=law.std * abs(factor))
        case Orthogonal() | DeltaOrthogonal() | Identity():
            return replace(law, gain=law.gain * factor)
        case Dirac() if factor == 1:
            return law
        case Dirac():
            hint = "a kernel that copies its input has no gain; scale what it is applied to"
            raise LawError(f"{law} cannot be scaled by {factor}", hint=hint)
        case _:
            raise _not_a_law(law)


def round_number(value: float) -> float:
    """Return `value` rounded to six significant digits.

    Args:
        value: Any number; infinities and nan stay what they are.

    Returns:
        The nearest number of six digits: `round_number(0.123456789)` is `0.123457`.
    """
    return float(f"{value:.6g}")


def round_law(law: Law) -> Law:
    """Return `law` with its numbers rounded to six significant digits.

    A plan prints its numbers and draws with them, so both must be the same.

    Args:
        law: Any law.

    Returns:
        The rounded law; rounding it again changes nothing.

    Example:
        >>> round_law(Normal(mean=0.0, std=2**-0.5))
        Normal(mean=0.0, std=0.707107)
    """
    values = {field.name: getattr(law, field.name) for field in fields(law)}
    floats = {name: round_number(value) for name, value in values.items() if _is_float(value)}
    return replace(law, **floats)


def _is_float(value: object) -> bool:
    return isinstance(value, float)


def _not_a_law(law: object) -> LawError:
    return LawError(f"{law!r} is not a law, expected one of `xavier.laws`")


def _sizes(law: Law, shape: Sequence[int] | None, least: int) -> tuple[int, ...]:
    if shape is None:
        raise ShapeError(f"{law} needs the weight's shape: it does not draw element by element")
    if len(shape) < least or min(shape) < 1:
        expected = f"at least {least} axes of positive size"
        raise ShapeError(f"{law} cannot fill shape {tuple(shape)}, expected {expected}")
    return tuple(shape)


def _matrix(law: Law, shape: Sequence[int] | None) -> tuple[int, int]:
    rows, *rest = _sizes(law, shape, 2)
    return rows, math.prod(rest)


def _kernel(law: Law, shape: Sequence[int] | None) -> tuple[int, int, int]:
    rows, columns, *kernel = _sizes(law, shape, 3)
    return rows, columns, math.prod(kernel)


def _filled_share(law: Identity | Dirac, shape: Sequence[int] | None) -> float:
    """Return the share of elements that are not zero."""
    if isinstance(law, Identity):
        return 1 / max(_matrix(law, shape))
    rows, columns, volume = _kernel(law, shape)
    if rows % law.groups:
        raise ShapeError(f"{law} cannot fill shape {tuple(shape or ())}: {rows} rows do not divide")
    return min(rows // law.groups, columns) * law.groups / (rows * columns * volume)
