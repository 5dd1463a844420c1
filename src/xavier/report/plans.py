"""A plan in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from xavier._types import plan_text, text
from xavier._types.folding import Fold
from xavier._types.plan import Kept, Plan
from xavier._types.plan_text import Row
from xavier.report.glyphs import Glyphs, glyphs
from xavier.report.layout import GAP, Column, packed, safe, say, say_line, table, taken_width

_STYLES = ("bold", "bold", "dim", "magenta", "", "", "", "", "cyan")


def render_plan(plan: Plan, console: Console) -> None:
    """Print a plan as wide as the console, to be read before it is carried out.

    A table where it fits, else two lines or more for each region; regions that look the same but
    for an index in their name share one. No colour codes where the console is no terminal.

    Args:
        plan: The plan.
        console: Where to print.
    """
    signs = glyphs(console.encoding)
    _headline(plan, console, signs)
    rows = plan_text.folded(plan)
    if rows:
        console.print()
        lines = [plan_text.cells(row.items[0], name=row.name, to=signs.to) for row in rows]
        _rows(lines, console, signs)
    if note := plan_text.folding_note(len(rows), len(plan), "region"):
        console.print()
        say(console, Text(note, style="dim"))
    _kept(plan, console)
    if plan.notes:
        console.print()
        say(console, Text("notes", style="bold"))
        for each in plan.notes:
            say(console, safe(console, each), indent=2)


def _headline(plan: Plan, console: Console, signs: Glyphs) -> None:
    first, *rest = plan_text.headline(plan)
    parts = [safe(console, first, "bold"), *(safe(console, part) for part in rest)]
    for line in packed(parts, width=console.width, separator=f" {signs.dot} "):
        say(console, line)


def _rows(lines: Sequence[Sequence[str]], console: Console, signs: Glyphs) -> None:
    columns = [
        Column(head, [safe(console, line[at], style) for line in lines])
        for at, (head, style) in enumerate(zip(plan_text.HEADS, _STYLES, strict=True))
        if any(line[at] for line in lines)
    ]
    if taken_width(columns) - GAP <= console.width:
        console.print(table(console, columns))
        return
    rows = [Row.of(line, to=signs.to) for line in lines]
    printer = _Printer(console, signs, plan_text.columns(rows, width=console.width))
    printer.heads()
    for row in rows:
        printer.row(row)


@dataclass(frozen=True)
class _Printer:
    """Prints regions on lines of their own: columns and details, or details alone."""

    console: Console
    signs: Glyphs
    sizes: tuple[int, int, int] | None

    def heads(self) -> None:
        """Print what the lines hold, and a line below it."""
        self.row(plan_text.heads(to=self.signs.to))
        say_line(self.console, Text(self.signs.line * self.console.width, style="dim"))

    def row(self, row: Row) -> None:
        """Print a region."""
        title, shape, role, law = (
            safe(self.console, words, style)
            for words, style in (
                (row.title, "bold"),
                (row.shape, "dim"),
                (row.role, "magenta"),
                (row.law, "cyan"),
            )
        )
        details = [safe(self.console, each) for each in row.details]
        if self.sizes is None:
            say(self.console, title)
            self._details([shape, role, *details, law])
            return
        if title.cell_len > self.sizes[0]:
            say(self.console, title)
            title = Text("")
        line = Text()
        for cell, width in zip((title, shape, role), self.sizes, strict=True):
            line.append_text(cell).append(" " * (width + GAP - cell.cell_len))
        say_line(self.console, line.append_text(law))
        self._details(details)

    def _details(self, items: Iterable[Text]) -> None:
        separator, width = f" {self.signs.dot} ", self.console.width - GAP
        for each in packed(items, width=width, separator=separator):
            say(self.console, each, indent=GAP)


def _kept(plan: Plan, console: Console) -> None:
    if not plan.kept:
        return
    console.print()
    say(console, Text("kept as they are", style="bold"))
    reasons: dict[tuple[str, str], list[Fold[Kept]]] = {}
    for row in plan_text.folded_kept(plan):
        reasons.setdefault((row.items[0].kind, row.items[0].reason), []).append(row)
    for (kind, reason), rows in reasons.items():
        count = text.count(sum(len(row.items) for row in rows), kind)
        say(console, safe(console, f"{count}: {reason}", "dim"), indent=2)
        names = (f"{row.name} {text.shape(row.items[0].shape)}" for row in rows)
        say(console, safe(console, ", ".join(names)), indent=4)
