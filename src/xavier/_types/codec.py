"""Nouns to plain data and back, strictly: what is unknown or misfit is named, never skipped."""

from __future__ import annotations

import difflib
import math
import numbers
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from xavier._errors import PlanError
from xavier._types import text
from xavier._types.laws import Law

PLAN_FORMAT: Final = "xavier-plan/1"
CHECK_FORMAT: Final = "xavier-check/1"
SAMPLE_FORMAT: Final = "xavier-sample/1"
STREAM: Final = 1  # the version of the stream of bits that a plan of this package draws from

_NONFINITE: Final = ("nan", "inf", "-inf")
_REQUIRED: Final[Any] = object()


def package_version() -> str:
    """Return the version of the installed package, or `unknown` outside an installation."""
    try:
        return version("xavier-init")
    except PackageNotFoundError:
        return "unknown"


def plain(value: Any, *, json_safe: bool = True) -> Any:
    """Return a noun as dictionaries, lists, strings, numbers and None.

    Args:
        value: A noun, or anything that the fields of one hold.
        json_safe: Whether NaN and the infinities become the strings `"nan"`, `"inf"` and
            `"-inf"`, for which JSON has no numbers.

    Returns:
        Plain data that shares nothing with the noun; None stays None.
    """
    if isinstance(value, Law):
        return plain(value.to_dict(), json_safe=json_safe)
    if is_dataclass(value):
        names = (field.name for field in fields(value))
        return {name: plain(getattr(value, name), json_safe=json_safe) for name in names}
    if isinstance(value, Mapping):
        return {str(key): plain(item, json_safe=json_safe) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item, json_safe=json_safe) for item in value]
    return _scalar(value, json_safe=json_safe)


def _scalar(value: Any, *, json_safe: bool) -> Any:
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        number = float(value)
        return number if math.isfinite(number) or not json_safe else str(number)
    raise TypeError(f"{type(value).__name__} is no plain data")


def same(left: Any, right: Any) -> bool:
    """Return whether two fields are equal where NaN equals NaN, since both mean unknown."""
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    if isinstance(left, tuple) and isinstance(right, tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    return left == right


class Reader:
    """A mapping whose entries are taken one by one, each with the type that is expected.

    Args:
        data: The mapping.
        where: What it is, for the messages, such as `assignments[3]`; empty for a document.
    """

    def __init__(self, data: Any, *, where: str = "") -> None:
        self.where = where
        if not isinstance(data, Mapping):
            raise self.misfit("", data, "a table")
        self._data: Mapping[Any, Any] = data
        self._known: list[str] = []

    def within(self, name: str) -> None:
        """Lead messages from here on with the name of what is read, too."""
        self.where = f"{self.where} ({text.printable(name)})"

    def misfit(self, key: str, value: Any, expected: str) -> PlanError:
        """Return the error for a value that is not what was expected."""
        place = ".".join(part for part in (self.where, key) if part) or "plan"
        return PlanError(f"{place} is {reprlib.repr(value)}, expected {expected}")

    def take(self, key: str, default: Any = _REQUIRED) -> Any:
        """Return the entry at `key`, whatever it is."""
        self._known.append(key)
        if key in self._data:
            return self._data[key]
        if default is _REQUIRED:
            raise PlanError(f"{self.where or 'plan'}: the key {key!r} is missing")
        return default

    def text(self, key: str, default: Any = _REQUIRED) -> str:
        """Return a string."""
        value = self.take(key, default)
        if not isinstance(value, str):
            raise self.misfit(key, value, "a string")
        return value

    def integer(self, key: str, default: Any = _REQUIRED) -> Any:
        """Return an integer, or the default."""
        value = self.take(key, default)
        if value is not default and not _is_integer(value):
            raise self.misfit(key, value, "an integer")
        return value

    def number(self, key: str, default: Any = _REQUIRED) -> float:
        """Return a float; an integer counts, and so do the strings `nan`, `inf`, `-inf`."""
        value = self.take(key, default)
        number = as_number(value)
        if number is None:
            raise self.misfit(key, value, "a number")
        return number

    def texts(self, key: str, default: Any = _REQUIRED) -> tuple[str, ...]:
        """Return a tuple of strings."""
        value = self.sequence(key, default)
        if not all(isinstance(item, str) for item in value):
            raise self.misfit(key, value, "a list of strings")
        return tuple(value)

    def integers(self, key: str, default: Any = _REQUIRED) -> tuple[int, ...]:
        """Return a tuple of integers, none negative."""
        value = self.sequence(key, default)
        if not all(_is_integer(item) and item >= 0 for item in value):
            raise self.misfit(key, value, "a list of integers, none negative")
        return tuple(value)

    def pairs(self, key: str, default: Any = _REQUIRED) -> tuple[tuple[int, int], ...]:
        """Return index ranges."""
        value = self.sequence(key, default)
        if not all(_is_pair(item) and all(map(_is_integer, item)) for item in value):
            raise self.misfit(key, value, "a list of pairs of integers")
        return tuple((item[0], item[1]) for item in value)

    def sequence(self, key: str, default: Any = _REQUIRED) -> Sequence[Any]:
        """Return a list or tuple."""
        value = self.take(key, default)
        if not isinstance(value, list | tuple):
            raise self.misfit(key, value, "a list")
        return value

    def finish(self) -> None:
        """Refuse what was not taken.

        Raises:
            PlanError: If a key is left; with the nearest known one.
        """
        for key in self._data:
            if key not in self._known:
                near = difflib.get_close_matches(str(key), self._known, n=1)
                ask = f"did you mean {near[0]!r}?" if near else None
                ask = ask or f"known: {', '.join(sorted(self._known))}"
                raise PlanError(f"{self.where or 'plan'}: unknown key {key!r}", hint=ask)


def as_number(value: Any) -> float | None:
    """Return plain data as a float, or None if it is none."""
    if isinstance(value, str):
        return float(value) if value in _NONFINITE else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2  # noqa: PLR2004 - a pair
