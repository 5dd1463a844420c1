"""The tables of a page: heads, how each column is sorted, and rows of words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from xavier._types import signal_text, text
from xavier._types.contrast import Fate
from xavier._types.signal import Check

_WORDS: Final = (
    *("path", "op", "shape", "followed by", "name", "code", "message", "cure"),
    *("kind", "fate", "there"),
    *signal_text.TRIAL_HEADS,
)
_NAMES: Final = (
    "path",
    "op",
    "followed by",
    "name",
    "message",
    "outcome",
    "evidence",
)  # in any script, so kept apart
_JACOBIAN: Final = ("Jacobian mean", "Jacobian RMS")
_WEIGHT_HEADS: Final = ("name", "shape", "rms", "std", "gradient rms", "update ratio", "twins")
_CHANGE_HEADS: Final = ("name", "kind", "shape", "fate", "there", "difference")
_FINDING_HEADS: Final = ("severity", "code", "path", "message", "cure")


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a column.

    Attributes:
        title: What it says.
        kind: What its cells are sorted as: `number`, `text` or `severity`.
        name: Whether its cells are words of the model's.
    """

    title: str
    kind: str
    name: bool


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under heads.

    Attributes:
        heads: One for each column that is not empty.
        rows: Cells, not yet escaped.
        marked: Which row the verdict begins at, if any.
    """

    heads: tuple[Head, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: int | None = None


def ops(check: Check) -> Table:
    """Return every op with what was measured there, in the order of execution."""
    rows = [
        (
            *signal_text.op_cells(op),
            signal_text.quantity(op.jacobian_mean),
            signal_text.quantity(op.jacobian_rms),
        )
        for op in check.signal.ops
    ]
    heads = (*signal_text.OP_HEADS, *_JACOBIAN)
    return _table(heads, rows, marked=signal_text.breaks_at(check))


def weights(check: Check) -> Table:
    """Return every weight with its size, its gradient's, and their ratio."""
    rows = [
        (
            text.printable(each.name),
            text.shape(each.shape),
            signal_text.quantity(each.rms),
            signal_text.quantity(each.std),
            signal_text.quantity(each.gradient_rms),
            signal_text.quantity(each.update_ratio),
            signal_text.share(each.twins),
        )
        for each in check.signal.weights
    ]
    return _table(_WEIGHT_HEADS, rows)


def trials(check: Check) -> Table:
    """Return every recipe that was tried to mend the model."""
    tried = () if check.cures is None else check.cures.trials
    return _table(signal_text.TRIAL_HEADS, map(signal_text.trial, tried))


def changes(check: Check) -> Table:
    """Return every tensor that is not as it was in the reference."""
    found = () if check.contrast is None else check.contrast.changes
    rows = (
        (
            text.printable(each.name),
            each.kind,
            text.shape(each.shape),
            each.fate.value,
            text.printable(each.there),
            signal_text.quantity(each.difference),
        )
        for each in found
        if each.fate is not Fate.UNCHANGED
    )
    return _table(_CHANGE_HEADS, rows)


def findings(check: Check) -> Table:
    """Return the audit of the weights, errors first."""
    rows = [
        (
            each.severity.value,
            *map(text.printable, (each.code, each.path, each.message, each.cure)),
        )
        for each in signal_text.by_severity(check)
    ]
    return _table(_FINDING_HEADS, rows)


def _table(
    titles: Sequence[str], rows: Iterable[tuple[str, ...]], *, marked: int | None = None
) -> Table:
    rows = tuple(rows)
    used = [at for at in range(len(titles)) if any(row[at] not in {"", "-"} for row in rows)]
    heads = tuple(Head(titles[at], _kind(titles[at]), titles[at] in _NAMES) for at in used)
    return Table(heads, tuple(tuple(row[at] for at in used) for row in rows), marked)


def _kind(title: str) -> str:
    if title == "severity":
        return title
    return "text" if title in _WORDS else "number"
