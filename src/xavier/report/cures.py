"""What was tried to mend a model, in the terminal."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.text import Text

from xavier._types import signal_text, text
from xavier._types.cures import Cures, Trial
from xavier.report.layout import Column, safe, say, table

_MOST: Final = 24  # lines of the difference; JSON has all
_WORDS: Final = ("recipe", "outcome")
_NARROWEST: Final = 8


def render_cures(cures: Cures, console: Console) -> None:
    """Print every recipe that was tried, and how the chosen one changes the weights' laws.

    Args:
        cures: The outcome.
        console: Where to print.
    """
    say(console, Text("tried: ", style="bold"), text.count(len(cures.trials), "recipe"))
    console.print()
    columns = [
        Column(
            head,
            [_cell(console, each, at) for each in cures.trials],
            least=_NARROWEST if head in _WORDS else 0,
        )
        for at, head in enumerate(signal_text.TRIAL_HEADS[:3])
    ]
    console.print(table(console, columns))
    console.print()
    if cures.diff:
        _diff(cures, console)


def _cell(console: Console, trial: Trial, at: int) -> Text:
    """Return a cell of a trial; what could not be drawn tells why in its outcome."""
    words = signal_text.trial(trial)
    why = (
        f": {words[3]}"
        if trial.verdict is None and signal_text.TRIAL_HEADS[at] == "outcome"
        else ""
    )
    return safe(console, words[at] + why, "green" if trial.mends else "")


def _diff(cures: Cures, console: Console) -> None:
    lines = cures.diff.split("\n")
    chosen = safe(console, cures.recipe)
    say(console, Text("what the cure changes: ", style="bold"), "recipe ", chosen)
    for line in lines[:_MOST]:
        style = "green" if line.startswith("+") else "red"
        say(console, safe(console, line, style), indent=1)
    if len(lines) > _MOST:
        rest = f"and {len(lines) - _MOST} more lines; JSON has them all"
        say(console, Text(rest, style="dim"), indent=1)
    console.print()
