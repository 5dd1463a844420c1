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
    └── WriteError(RuntimeError)        a model or file that cannot be written to

Line 1 of a message says what is wrong, the value, and what was expected; a second line
starting with `Hint:` gives a question or a command.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class XavierError(Exception):
    """The base of every error that `xavier` raises on purpose.

    Args:
        message: What is wrong, the value, and what was expected; lower case.
        hint: What the user can do about it; printed on a line of its own.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = message
        self.hint = hint
        super().__init__(message if hint is None else f"{message}\nHint: {hint}")


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
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        ask = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names)}"
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
    """A model or a file that cannot be written to."""


class XavierWarning(UserWarning):
    """The base of every warning that `xavier` gives."""
