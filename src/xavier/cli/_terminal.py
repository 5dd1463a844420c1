"""What a terminal shows: reports on standard output, progress on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING

from xavier._errors import TraceError
from xavier._types import text

if TYPE_CHECKING:
    from rich.console import Console

_PIPED_WIDTH = 120


def console() -> Console:
    """Return the console for reports; plain, and wide enough, where it is no terminal."""
    from rich.console import Console

    made = Console(highlight=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = _PIPED_WIDTH
    return made


def paragraph(said: str) -> str:
    """Return a paragraph in lines of the terminal's width; in one where there is none."""
    if not sys.stdout.isatty():
        return said
    return text.paragraph(said, width=text.width_of_terminal())


@contextmanager
def aside() -> Generator[None, None, None]:
    """Keep the user's code from writing to standard output, and from ending the program.

    Standard output is for the report, and what it prints goes to standard error.

    Raises:
        TraceError: If the block raises SystemExit.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except SystemExit as error:
        told = f"the model's code ended the program with SystemExit({error.code!r})"
        hint = "does it parse arguments, or run as a script, when it is imported?"
        raise TraceError(told, hint=hint) from error


@contextmanager
def busy(what: str) -> Generator[None, None, None]:
    """Show that something goes on, if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


@contextmanager
def drawing() -> Generator[Callable[[int, int], None] | None, None, None]:
    """Show a bar of the elements drawn, if standard error is a terminal.

    Yields:
        A function of (elements drawn, elements in all), or None where nothing is shown.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), "{task.percentage:>3.0f} %")
    shown = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=shown, transient=True) as progress:
        task = progress.add_task("drawing", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
