"""The pinned reports: what the files in `tests/golden/reports` hold, and how they are made.

Run the tests with `--update-golden` to write the files anew, and read what has changed.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

import made_checks
import made_plans
from xavier.report import render_check, render_plan

FOLDER = Path(__file__).parent / "golden" / "reports"
WIDTHS = (60, 80, 120)
ENCODINGS = {"utf8": "utf-8", "ascii": "ascii"}
PINNED = (
    "transformer",
    "convolutions",
    "empty",
    "healthy",
    "broken",
    "deep",
    "mended",
    "contrasted",
    "bare",
    "predicted",
)
NOUNS: dict[str, tuple[Callable[..., None], Callable[[], Any]]] = {
    **{f"plan_{name}": (render_plan, made) for name, made in made_plans.EVERY.items()},
    **{f"check_{name}": (render_check, made) for name, made in made_checks.EVERY.items()},
}


class Stream(io.StringIO):
    """A text stream of some encoding, which refuses what that lacks."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:
        """The name of the encoding."""
        return self._encoding

    def write(self, text: str) -> int:
        """Write text, if the encoding has all of it."""
        text.encode(self._encoding)
        return super().write(text)


def rendered(
    render: Callable[..., None],
    noun: Any,
    *,
    width: int,
    encoding: str = "utf-8",
    colour: bool = False,
) -> str:
    """Return what a report prints on a console of some width and encoding."""
    stream = Stream(encoding)
    console = Console(
        file=stream,
        width=width,
        highlight=False,
        force_terminal=colour,
        color_system="standard" if colour else None,
        legacy_windows=False,
        _environ={},
    )
    render(noun, console)
    return stream.getvalue()


def page(name: str, *, encoding: str, colour: bool) -> str:
    """Return a noun's report at every width, the escape character written as a visible one."""
    render, made = NOUNS[name]
    parts = [
        f"=== {width} columns\n"
        + rendered(render, made(), width=width, encoding=encoding, colour=colour)
        for width in WIDTHS
    ]
    return "\n".join(parts).replace("\x1b", "␛")
