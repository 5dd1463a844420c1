"""Sizes of files as people write them: 2GB, 500 MB, 1GiB."""

from __future__ import annotations

import re
from typing import Any, Final

import click

_UNITS: Final = {
    "": 1, "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_SIZE: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)\s*", re.IGNORECASE)


def size_in_bytes(_: click.Context, __: click.Parameter, value: Any) -> int | None:
    """Return the bytes that a size stands for; None for none.

    Raises:
        click.BadParameter: If the text is no size.
    """
    if value is None:
        return None
    found = _SIZE.fullmatch(value)
    unit = _UNITS.get(found[2].lower()) if found is not None else None
    if found is None or unit is None:
        raise click.BadParameter(f"{value!r} is no size, such as 2GB, 500MB or 1GiB")
    count = round(float(found[1]) * unit)
    if count < 1:
        raise click.BadParameter(f"{value!r} is less than one byte")
    return count
