"""The laws: what a region of a weight is drawn from.

A law is plain data. What it implies (mean, standard deviation, support) is computed in
`xavier.laws`; how it becomes numbers, in `xavier.bits`.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from numbers import Integral, Real
from typing import Any, ClassVar

from xavier._errors import LawError, UnknownNameError


@dataclass(frozen=True, slots=True)
class Law:
    """The base of all laws: a distribution over the values of a weight region.

    An elementwise law draws every element independently of the others, so that any slice
    of the weight can be drawn alone. The others (`Orthogonal`, …) need their whole matrix.
    """

    elementwise: ClassVar[bool] = True

    def to_dict(self) -> dict[str, Any]:
        """Return the law as plain data: its type's name under `law`, and its fields."""
        return {"law": type(self).__name__, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Uniform(Law):
    """The uniform law on the half-open interval [low, high)."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _settle(self, "low", "high")
        if self.low > self.high:
            raise LawError(f"Uniform: low {self.low} is above high {self.high}")


@dataclass(frozen=True, slots=True)
class Normal(Law):
    """The normal law with the given mean and standard deviation."""

    mean: float
    std: float

    def __post_init__(self) -> None:
        _settle(self, "mean", "std")
        _require_not_negative(self, "std")


@dataclass(frozen=True, slots=True)
class TruncatedNormal(Law):
    """A normal law cut at `cut` standard deviations of its parent on either side.

    `std` is the standard deviation *after* truncation, which is what a variance rule
    means; the parent's is larger (by 1/0.8796 at cut 2).
    """

    mean: float
    std: float
    cut: float = 2.0

    def __post_init__(self) -> None:
        _settle(self, "mean", "std", "cut")
        _require_not_negative(self, "std")
        if self.cut <= 0:
            raise LawError(f"TruncatedNormal: cut is {self.cut}, expected a positive number")


@dataclass(frozen=True, slots=True)
class Constant(Law):
    """Every element has the same value."""

    value: float

    def __post_init__(self) -> None:
        _settle(self, "value")


@dataclass(frozen=True, slots=True)
class Sparse(Law):
    """Each element is 0 with probability `sparsity`, else normal with mean 0 and `std`."""

    sparsity: float
    std: float

    def __post_init__(self) -> None:
        _settle(self, "sparsity", "std")
        _require_not_negative(self, "std")
        if not 0 <= self.sparsity <= 1:
            raise LawError(f"Sparse: sparsity is {self.sparsity}, expected a share in [0, 1]")


@dataclass(frozen=True, slots=True)
class Orthogonal(Law):
    """`gain` times a Haar-distributed matrix with orthonormal rows or columns.

    The matrix is the weight seen as (first axis, all others). It preserves the norm of a
    vector, which is its variance only where it is square: see `xavier.laws.std`.
    """

    elementwise: ClassVar[bool] = False
    gain: float = 1.0

    def __post_init__(self) -> None:
        _settle(self, "gain")


@dataclass(frozen=True, slots=True)
class DeltaOrthogonal(Law):
    """A convolution kernel that is zero but for an orthogonal matrix at its centre."""

    elementwise: ClassVar[bool] = False
    gain: float = 1.0

    def __post_init__(self) -> None:
        _settle(self, "gain")


@dataclass(frozen=True, slots=True)
class Identity(Law):
    """`gain` times the identity matrix, rectangular ones padded with zeros."""

    elementwise: ClassVar[bool] = False
    gain: float = 1.0

    def __post_init__(self) -> None:
        _settle(self, "gain")


@dataclass(frozen=True, slots=True)
class Dirac(Law):
    """A convolution kernel that copies channel i to channel i, group by group."""

    elementwise: ClassVar[bool] = False
    groups: int = 1

    def __post_init__(self) -> None:
        whole = isinstance(self.groups, Integral) and not isinstance(self.groups, bool)
        if not whole or self.groups < 1:
            raise LawError(f"Dirac: groups is {self.groups!r}, expected a positive integer")
        object.__setattr__(self, "groups", int(self.groups))


_LAWS: dict[str, type[Law]] = {
    law.__name__: law
    for law in (
        Constant,
        DeltaOrthogonal,
        Dirac,
        Identity,
        Normal,
        Orthogonal,
        Sparse,
        TruncatedNormal,
        Uniform,
    )
}


def from_dict(data: Mapping[str, Any]) -> Law:
    """Return the law that `Law.to_dict` described.

    Args:
        data: The law's name under `law`, and its fields; those with a default may be left out.

    Returns:
        The law.

    Raises:
        UnknownNameError: If there is no law of that name.
        LawError: If the name is missing, a field is missing or unknown, or a number impossible.

    Example:
        >>> from_dict({"law": "TruncatedNormal", "mean": 0, "std": 0.02})
        TruncatedNormal(mean=0.0, std=0.02, cut=2.0)
    """
    if not isinstance(data, Mapping) or not isinstance(data.get("law"), str):
        hint = "such as {'law': 'Normal', 'mean': 0.0, 'std': 0.02}"
        raise LawError(f"{data!r} names no law, expected its name under 'law'", hint=hint)
    name = data["law"]
    if name not in _LAWS:
        raise UnknownNameError("law", name, _LAWS)
    given = {str(field): value for field, value in data.items() if field != "law"}
    known = [field.name for field in fields(_LAWS[name])]
    if unknown := [field for field in given if field not in known]:
        raise LawError(f"{name} has no field {unknown[0]!r}, expected {', '.join(known)}")
    try:
        return _LAWS[name](**given)
    except TypeError:
        missing = [field for field in known if field not in given]
        raise LawError(f"{name} lacks {', '.join(missing)}") from None


def _settle(law: Law, *fields: str) -> None:
    """Replace every field by a plain float, so that equal laws print alike (-0.0 becomes 0.0)."""
    for field in fields:
        value = getattr(law, field)
        number = _finite(value)
        if number is None:
            told = f"{type(law).__name__}: {field} is {reprlib.repr(value)}"
            raise LawError(f"{told}, expected a finite number")
        object.__setattr__(law, field, number + 0.0)


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _require_not_negative(law: Law, field: str) -> None:
    value = getattr(law, field)
    if value < 0:
        raise LawError(f"{type(law).__name__}: {field} is {value}, expected zero or more")
