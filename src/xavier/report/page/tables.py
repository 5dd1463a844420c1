"""The tables of a page: heads, how each column is sorted, and rows of words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from xavier._types import signal_text, text
from xavier._types.contrast import Fate
from xavier._types.signal import Check, Reaches
from xavier._types.theory import OpPrediction
from xavier.report.page.histograms import Picture, picture

_WORDS: Final = (
    *("path", "op", "shape", "followed by", "name", "code", "message", "cure"),
    *("first", "last", "activation", "not followed", "kind", "fate", "there"),
    *signal_text.TRIAL_HEADS,
)
_NAMES: Final = (
    "path",
    "op",
    "followed by",
    "name",
    "message",
    "first",
    "last",
    "activation",
    "outcome",
    "evidence",
)  # in any script, so kept apart
_PICTURES: Final = ("outputs", "gradients")
_THEORY: Final = ("expected rms", "expected gradient", "not followed")
_LOST: Final = "lost in float16"
_JACOBIAN: Final = ("rank", "Jacobian mean", "Jacobian RMS")
_WEIGHT_HEADS: Final = (
    "name", "shape", "rms", "std", "gradient rms", "update ratio", "twins",
    "Adam ratio", "below epsilon", _LOST,
)  # fmt: skip
_STACK_HEADS: Final = (
    "first", "last", "depth", "activation", "sigma_w", "sigma_b", "q*", "chi_1",
    "depth scale", "critical sigma_w", "distance",
)  # fmt: skip
_CHANGE_HEADS: Final = ("name", "kind", "shape", "fate", "there", "difference")
_FINDING_HEADS: Final = ("severity", "code", "path", "message", "cure")

Cell = str | Picture


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a column.

    Attributes:
        title: What it says.
        kind: What its cells are sorted as: `number`, `text` or `severity`; or `picture`.
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
    rows: tuple[tuple[Cell, ...], ...]
    marked: int | None = None

    @property
    def pictured(self) -> bool:
        """Whether there is a picture in it."""
        return any(head.kind == "picture" for head in self.heads)


def ops(check: Check) -> Table:
    """Return every op with what was measured there, in the order of execution."""
    known = {each.index: each for each in (check.theory.ops if check.theory else ())}
    at = signal_text.OP_HEADS.index("gradient rms") + 1
    rows = [
        (
            *cells[:at],
            picture(op.histogram, key="forward"),
            picture(op.gradient_histogram, key="gradient"),
            *cells[at:],
            *_expected(known.get(op.index)),
            _lost(op.range),
            signal_text.quantity(op.rank),
            signal_text.quantity(op.jacobian_mean),
            signal_text.quantity(op.jacobian_rms),
        )
        for op in check.signal.ops
        for cells in (signal_text.op_cells(op),)
    ]
    heads = (
        *signal_text.OP_HEADS[:at],
        *_PICTURES,
        *signal_text.OP_HEADS[at:],
        *_THEORY,
        _LOST,
        *_JACOBIAN,
    )
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
            signal_text.quantity(each.adam_ratio),
            signal_text.share(each.below_epsilon),
            _lost(each.gradient_range),
        )
        for each in check.signal.weights
    ]
    return _table(_WEIGHT_HEADS, rows)


def stacks(check: Check) -> Table:
    """Return the mean-field numbers of each stretch of layers with neither norm nor skip."""
    places = {op.index: signal_text.place(op) for op in check.signal.ops}
    rows = [
        (
            *(places.get(at, f"op {at}") for at in (each.first, each.last)),
            str(each.depth),
            text.printable(each.activation),
            *map(signal_text.quantity, (each.sigma_w, each.sigma_b, each.q, each.chi_1, each.xi)),
            signal_text.quantity(each.critical_sigma_w),
            signal_text.share(each.distance),
        )
        for each in (check.theory.stacks if check.theory else ())
    ]
    return _table(_STACK_HEADS, rows)


def _expected(prediction: OpPrediction | None) -> tuple[str, str, str]:
    """Return what a step of the theory gives at an op, both ways, and what it does not follow."""
    if prediction is None:
        return "", "", ""
    output, gradient = prediction.step_output, prediction.step_gradient
    words = dict.fromkeys((*prediction.limits, *prediction.gradient_limits))
    return (
        signal_text.quantity(output.rms if output else None),
        signal_text.quantity(gradient.rms if gradient else None),
        text.printable(", ".join(words)),
    )


def _lost(reaches: Reaches | None) -> str:
    found = reaches.float16 if reaches else None
    return signal_text.share(found.underflow + found.overflow if found else None)


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
    titles: Sequence[str], rows: Iterable[tuple[Cell, ...]], *, marked: int | None = None
) -> Table:
    rows = tuple(rows)
    used = [at for at in range(len(titles)) if any(row[at] not in {"", "-"} for row in rows)]
    heads = tuple(Head(titles[at], _kind(titles[at]), titles[at] in _NAMES) for at in used)
    return Table(heads, tuple(tuple(row[at] for at in used) for row in rows), marked)


def _kind(title: str) -> str:
    if title == "severity":
        return title
    if title in _PICTURES:
        return "picture"
    return "text" if title in _WORDS else "number"
