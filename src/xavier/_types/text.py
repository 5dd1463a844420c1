"""Plain text: numbers, names and tables that fit a width without losing anything."""

from __future__ import annotations

import math
import shutil
import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import fields
from typing import Final

from xavier import _errors
from xavier._types.laws import Law

printable: Final = _errors.printable

_NARROWEST: Final = 40
_GAP: Final = "  "
_BAR: Final = " | "


def number(value: float | None) -> str:
    """Return a number in at most four significant digits, `-` if it is unknown."""
    if value is None or math.isnan(value):
        return "-"
    if value == int(value) if math.isfinite(value) else False:
        return str(int(value)) if abs(value) < 1e9 else f"{value:.3e}"  # noqa: PLR2004 - as many digits as are read at a glance
    return f"{value:.4g}"


def law(value: Law) -> str:
    """Return a law as short Python that evaluates to it, such as `Normal(0, 0.02)`.

    Six significant digits, which a plan's numbers have at most; any other number in full.
    """
    numbers = (_exact(getattr(value, field.name)) for field in fields(value))
    return f"{type(value).__name__}({', '.join(numbers)})"


def _exact(value: float) -> str:
    short = f"{value:.6g}"
    return short if float(short) == value else repr(value)


def shape(value: Sequence[int]) -> str:
    """Return a shape as Python writes it."""
    return str(tuple(value))


def width_of_terminal() -> int:
    """Return the terminal's width in columns, 80 where there is none."""
    return shutil.get_terminal_size((80, 24)).columns


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, width: int) -> str | None:
    """Return rows under heads in columns, or None if they do not fit the width.

    Columns that are empty in every row are left out.
    """
    used = [at for at in range(len(heads)) if any(row[at] for row in rows)]
    cells = [[heads[at] for at in used], *([row[at] for at in used] for row in rows)]
    widths = [max(_columns(line[at]) for line in cells) for at in range(len(used))]
    if sum(widths) + len(_GAP) * (len(widths) - 1) > max(width, _NARROWEST):
        return None
    cells.insert(1, ["-" * size for size in widths])
    return "\n".join(columns(line, widths) for line in cells)


def columns(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Return cells side by side in one line, each filled up to its width."""
    return _GAP.join(map(_filled, cells, widths)).rstrip()


def _filled(cell: str, width: int) -> str:
    return cell + " " * (width - _columns(cell))


def _columns(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(each) in {"W", "F"} for each in text)
    return len(text) + wide - sum(unicodedata.combining(each) > 0 for each in text)


def entry(name: str, details: Sequence[str], *, width: int) -> str:
    """Return a name and, indented below it, details that break between items alone."""
    return "\n".join([*wrap(name, width=width, indent=""), packed(details, width=width)])


def packed(details: Sequence[str], *, width: int) -> str:
    """Return details in indented lines that break between items, unless one alone is too long."""
    lines: list[str] = []
    for each in details:
        if lines and len(lines[-1]) + len(_BAR) + len(each) <= max(width, _NARROWEST):
            lines[-1] += _BAR + each
        else:
            lines += wrap(each, width=width)
    return "\n".join(lines)


def wrap(text: str, *, width: int, indent: str = "  ") -> list[str]:
    """Return text in lines of a width; what is longer than a line is broken, not cut."""
    wrapper = textwrap.TextWrapper(
        width=max(width, _NARROWEST),
        initial_indent=indent,
        subsequent_indent=indent + ("" if indent else "    "),
        break_on_hyphens=False,
    )
    return wrapper.wrap(text)


def paragraph(text: str, *, width: int, bullet: str = "") -> str:
    """Return a paragraph; with a bullet, its other lines stand under the first one's text."""
    return textwrap.fill(
        text,
        max(width, _NARROWEST),
        initial_indent=bullet,
        subsequent_indent=" " * len(bullet),
        break_on_hyphens=False,
    )


def count(number_of: int, noun: str) -> str:
    """Return a count with its noun, such as `1 region` or `3 regions`."""
    return f"{number_of:,} {noun}{'' if number_of == 1 else 's'}"
