"""A plan in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from xavier._types import plan_text, text
from xavier._types.plan import Plan
from xavier.report.glyphs import Glyphs, glyphs
from xavier.report.layout import Column, packed, safe, say, say_line, table

_STYLES = ("bold", "bold", "dim", "magenta", "", "", "", "", "cyan")


def render_plan(plan: Plan, console: Console) -> None:
    """Print a plan as wide as the console, to be read before it is carried out.

    A table where it fits, else entries of some lines; regions that look the same but for an
    index in their name share one. No colour codes where the console is no terminal.

    Args:
        plan: The plan.
        console: Where to print.
    """
    signs = glyphs(console.encoding)
    _headline(plan, console, signs)
    rows = plan_text.folded(plan)
    if rows:
        console.print()
        lines = [plan_text.cells(row.items[0], name=row.name) for row in rows]
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
    first, *rest = plan_text.headline(plan).split("; ")
    parts = [safe(console, first, "bold"), *(safe(console, part) for part in rest)]
    for line in packed(parts, width=console.width, separator=f" {signs.dot} ", indent=0):
        say(console, line)


def _rows(lines: list[tuple[str, ...]], console: Console, signs: Glyphs) -> None:
    columns = [
        Column(head, [safe(console, _with_arrow(line[at], signs), style) for line in lines])
        for at, (head, style) in enumerate(zip(plan_text.HEADS, _STYLES, strict=True))
        if any(line[at] for line in lines)
    ]
    if sum(column.width + 2 for column in columns) - 2 <= console.width:
        console.print(table(console, columns))
        return
    for line in lines:
        _entry(line, console, signs)


def _with_arrow(cell: str, signs: Glyphs) -> str:
    left, arrow, right = cell.partition(" > ")
    return f"{left} {signs.to} {right}" if arrow and left.isdigit() else cell


def _entry(line: tuple[str, ...], console: Console, signs: Glyphs) -> None:
    name, region, shape, role, fans, fed_by, followed_by, rule, law = line
    say(console, safe(console, f"{name} {region}".rstrip(), "bold"))
    items = [safe(console, shape, "dim"), safe(console, role, "magenta")]
    if fans:
        items.append(safe(console, f"fans {_with_arrow(fans, signs)}"))
    if fed_by or followed_by:
        way = (fed_by or "-", "W", followed_by or "-")
        items.append(safe(console, f" {signs.to} ".join(way)))
    items += [safe(console, rule), safe(console, law, "cyan")]
    for each in packed(items, width=console.width, separator=f" {signs.dot} "):
        say_line(console, each)


def _kept(plan: Plan, console: Console) -> None:
    if not plan.kept:
        return
    console.print()
    say(console, Text("kept as they are", style="bold"))
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in plan_text.folded_kept(plan):
        first = row.items[0]
        name = f"{row.name} {text.shape(first.shape)}"
        reasons.setdefault((first.kind, first.reason), []).append(name)
    for (kind, reason), names in reasons.items():
        say(console, safe(console, f"{text.count(len(names), kind)}: {reason}", "dim"), indent=2)
        say(console, safe(console, ", ".join(names)), indent=4)
