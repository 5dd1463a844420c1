"""The errors and warnings of `xavier`.

    XavierError
    ├── LawError(ValueError)            a law with impossible numbers
    ├── ShapeError(ValueError)          a shape that the request does not fit
    ├── DtypeError(TypeError)           a dtype that cannot be drawn or traced
    ├── ActivationError(ValueError)     an activation without the asked-for gain
    ├── UnknownNameError(ValueError)    an unknown recipe, activation, law …; knows the nearest
    ├── MissingFrameworkError(ImportError)   a framework is not installed; tells the pip line
    ├── TargetError(ValueError)         a command-line target or input that cannot be used
    ├── TraceError(RuntimeError)        the model could not be run or followed
    ├── PlanError(ValueError)           a plan that does not fit the model, or cannot be made
    ├── WriteError(RuntimeError)        a model or file that cannot be written to
    └── StreamError(ValueError)         a seed or a name that no stream of bits has

Line 1 of a message says what is wrong, the value, and what was expected; a second line
starting with `Hint:` gives a question or a command. What models and files put into a message
cannot break its line.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, Final

_MOST: Final = 40  # known names in a hint


def printable(text: str) -> str:
    """Return text with control characters, line breaks and lone surrogates escaped.

    Names come from models and files: none may move the cursor or recolour a terminal.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in text
    )


_LONG = 300


def said(error: BaseException) -> str:
    """Return the type and the text of another library's error, on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def brief(words: str) -> str:
    """Return another library's text on one line, cut behind the sentence that makes it long."""
    text = " ".join(words.split())
    if len(text) <= _LONG:
        return text
    end = text.rfind(". ", 0, _LONG)
    return text[: end + 1] if end > 0 else text[:_LONG] + "..."


def a(noun: str) -> str:
    """Return a noun with its indefinite article, such as `an int`."""
    return f"{'an' if noun[:1] in 'aeioAEIO' else 'a'} {noun}"


class XavierError(Exception):
    """The base of every error that `xavier` raises on purpose.

    Args:
        message: What is wrong, the value, and what was expected; lower case.
        hint: What the user can do about it; printed on a line of its own.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = printable(message)
        self.hint = None if hint is None else printable(hint)
        super().__init__(
            self.message if self.hint is None else f"{self.message}\nHint: {self.hint}"
        )


class LawError(XavierError, ValueError):
    """A law with impossible numbers."""


class ShapeError(XavierError, ValueError):
    """A shape that the request does not fit."""


class DtypeError(XavierError, TypeError):
    """A dtype that cannot be drawn or traced."""


class ActivationError(XavierError, ValueError):
    """An activation that has no gain of the asked-for kind."""


class UnknownNameError(XavierError, ValueError):
    """A name that the registry does not hold; the message gives the nearest ones.

    Args:
        kind: What the name should have named, such as `recipe`.
        name: The unknown name.
        known: Every name of that kind.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        folded = {each.casefold(): each for each in reversed(names)}
        found = difflib.get_close_matches(name.strip().casefold(), folded, n=3, cutoff=0.55)
        near = [folded[each] for each in found]
        rest = "" if len(names) <= _MOST else f" and {len(names) - _MOST:,} more"
        known_ones = f"known: {', '.join(names[:_MOST])}{rest}"
        ask = f"did you mean {' or '.join(near)}?" if near else known_ones
        super().__init__(f"unknown {kind} {name!r}", hint=ask)
        self.near = tuple(near)


class MissingFrameworkError(XavierError, ImportError):
    """A framework that is needed is not installed."""

    def __init__(self, package: str, *, extra: str | None = None) -> None:
        line = f"pip install 'xavier-init[{extra}]'" if extra else f"pip install {package}"
        super().__init__(f"{package} is not installed", hint=line)


class TargetError(XavierError, ValueError):
    """A command-line target or input that cannot be used."""


class TraceError(XavierError, RuntimeError):
    """A model that could not be run or followed."""


class PlanError(XavierError, ValueError):
    """A plan that does not fit the model, or cannot be made."""


class WriteError(XavierError, RuntimeError):
    """A model or a file that cannot be written to.

    Args:
        message: As for every error.
        hint: Likewise.
        plan: After an interrupted drawing, the plan with its seed and scope: drawing by it
            again completes the model to the same bits. An attribute of the same name.
    """

    def __init__(self, message: str, *, hint: str | None = None, plan: Any = None) -> None:
        super().__init__(message, hint=hint)
        self.plan = plan


class StreamError(XavierError, ValueError):
    """A seed, a name or a position that no stream of bits has."""


class XavierWarning(UserWarning):
    """The base of every warning that `xavier` gives."""


class FaultWarning(XavierWarning):
    """The signal of a network in training has turned unhealthy."""


class MonitorWarning(XavierWarning):
    """A monitor could not write what it saw; the training went on."""
