"""What changed since a reference, in the terminal."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.text import Text

from xavier._types import signal_text, text
from xavier._types.contrast import Contrast, Fate
from xavier._types.folding import fold
from xavier.report.layout import safe, say

_MOST: Final = 8  # rows of one fate; JSON has all


def render_contrast(contrast: Contrast, console: Console) -> None:
    """Print how many tensors met which fate, and those that are not as they were.

    Args:
        contrast: The outcome.
        console: Where to print.
    """
    say(console, safe(console, signal_text.fates(contrast), "bold"))
    for fate in Fate:
        these = [each for each in contrast.changes if each.fate is fate]
        rows = fold(these, name=lambda each: each.name, same=lambda each: (each.shape, each.there))
        if fate is Fate.UNCHANGED or not rows:
            continue
        say(console, Text(fate.value, style="cyan"), indent=1)
        for row in rows[:_MOST]:
            first = row.items[0]
            there = f", {first.there} there" if first.there else ""
            say(console, safe(console, f"{row.name} {text.shape(first.shape)}{there}"), indent=3)
        if len(rows) > _MOST:
            rest = f"and {len(rows) - _MOST} more of these; JSON has them all"
            say(console, Text(rest, style="dim"), indent=3)
    for each in contrast.notes:
        say(console, Text("note: ", style="cyan"), safe(console, each), indent=1)
    console.print()
