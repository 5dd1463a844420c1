"""What both terminal reports are laid out with. Names reach rich as `Text`, never as markup."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xavier._types.text import printable

GAP: Final = 2
_HEAD_LINE: Final = box.Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        head: Its title.
        cells: One for each row.
        right: Whether its cells stand to the right.
        least: The width down to which its cells may be folded into several lines; 0 if they
            may not.
    """

    head: str
    cells: Sequence[Text]
    right: bool = False
    least: int = 0

    @property
    def width(self) -> int:
        """Its natural width in terminal cells."""
        return max((len(self.head), *(cell.cell_len for cell in self.cells)))


def safe(console: Console, text: str, style: str = "") -> Text:
    """Return text that can neither move the cursor nor break the console's encoding."""
    words = printable(text)
    encoding = console.encoding
    return Text(words.encode(encoding, "backslashreplace").decode(encoding), style=style)


def say(console: Console, *parts: Text | str, indent: int = 0) -> None:
    """Print a paragraph, wrapped at the console's width."""
    paragraph = Text.assemble(*parts)
    for line in paragraph.wrap(console, max(console.width - indent, 1)):
        line.rstrip()
        console.print(Text(" " * indent).append_text(line), soft_wrap=True)


def say_line(console: Console, *parts: Text | str) -> None:
    """Print a line that is to be copied: whatever its length, it is not broken."""
    console.print(Text.assemble(*parts), soft_wrap=True)


def say_cure(console: Console, cure: str, *, label: str, indent: int = 0) -> None:
    """Print a cure: a line of Python unbroken, words wrapped under themselves."""
    text = safe(console, cure, "bold")
    head = Text(" " * indent + label, style="green")
    if is_python(cure):
        say_line(console, head, text)
        return
    for line in text.wrap(console, max(console.width - len(head), 1)):
        line.rstrip()
        say_line(console, head, line)
        head = Text(" " * len(head))


def is_python(text: str) -> bool:
    """Return whether a text, such as a cure, can be run as it is."""
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return True


def chosen(optional: Iterable[Sequence[Column]], *, room: int) -> tuple[list[Column], list[str]]:
    """Return the columns that fit, and the heads of those that do not.

    Args:
        optional: Groups of columns, the most wanted first; each is taken whole if it fits.
        room: How many terminal cells there are, gaps included.
    """
    taken: list[Column] = []
    left: list[str] = []
    for group in optional:
        needed = taken_width(group)
        if needed <= room:
            taken += group
            room -= needed
        else:
            left += [column.head for column in group]
    return taken, left


def taken_width(columns: Iterable[Column]) -> int:
    """Return how many cells columns take beside others, gaps included."""
    return sum(column.width + GAP for column in columns)


def table(console: Console, columns: Sequence[Column]) -> Table:
    """Return columns as a table with a line under its head."""
    plain = console.options.ascii_only
    made = Table(
        box=_HEAD_LINE if plain else box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, GAP - 1, 0, 0),
        header_style="bold",
        border_style="dim",
    )
    for column in columns:
        made.add_column(
            column.head,
            justify="right" if column.right else "left",
            no_wrap=not column.least,
            min_width=column.least or column.width,
            overflow="fold",
        )
    for row in zip(*(column.cells for column in columns), strict=True):
        made.add_row(*row)
    return made


def packed(items: Iterable[Text], *, width: int, separator: str) -> list[Text]:
    """Return items joined into lines that break between items alone."""
    lines: list[Text] = []
    for item in items:
        joined = len(separator) + item.cell_len
        if lines and lines[-1].cell_len + joined <= width:
            lines[-1].append(separator, style="dim").append_text(item)
        else:
            # Not the item itself, whose style would be that of the line.
            lines.append(Text().append_text(item))
    return lines
