"""Checks in words: short plain text, and HTML for notebooks."""

from __future__ import annotations

import math
from collections import Counter
from html import escape
from typing import TYPE_CHECKING, Final

from xavier._types import text
from xavier._types.plan_text import html_table

if TYPE_CHECKING:
    from xavier._types.contrast import Contrast
    from xavier._types.cures import Cures, Trial
    from xavier._types.signal import Check, Finding, OpSignal

_MOST: Final = 12  # findings in the short text; errors come first
_NEAR: Final = 2  # ops on either side of the place of a verdict
_ORDER: Final = ("error", "warning", "note")
OP_HEADS: Final = (
    "#", "path", "op", "shape", "mean", "std", "rms", "gradient rms",
    "followed by", "saturated", "dead", "correlation", "not finite",
)  # fmt: skip
TRIAL_HEADS: Final = ("recipe", "seeds", "outcome", "evidence")


def op_cells(op: OpSignal) -> tuple[str, ...]:
    """Return an op as the cells under `OP_HEADS`, safe to print."""
    return (
        str(op.index),
        place(op),
        text.printable(op.op),
        text.shape(op.shape),
        quantity(op.mean),
        quantity(op.std),
        quantity(op.rms),
        quantity(op.gradient_rms),
        text.printable(op.activation),
        share(op.saturation),
        share(op.dead),
        quantity(op.correlation),
        str(op.nonfinite or ""),
    )


def place(op: OpSignal) -> str:
    """Return where an op is, safe to print: its module's path, else its first weight."""
    return text.printable(op.path or (op.weights[0] if op.weights else op.op))


def breaks_at(check: Check) -> int | None:
    """Return which op, counted from 0, is the first at the place of the verdict; None if none."""
    where = text.printable(check.where)
    return next((at for at, op in enumerate(check.signal.ops) if place(op) == where), None)


def quantity(value: float | None) -> str:
    """Return a measured number in three digits; `nan` and `inf` as such, `-` if there is none."""
    if value is None:
        return "-"
    plain = value == 0 or 1e-3 <= abs(value) < 1e4  # noqa: PLR2004 - as many digits as are read at a glance
    return f"{value:.3g}" if plain else f"{value:.2e}"


def share(value: float | None) -> str:
    """Return a share in percent; `nan` and `-` as for a quantity."""
    return quantity(value) if value is None or math.isnan(value) else f"{100 * value:.3g} %"


def verdict_line(check: Check) -> str:
    """Return the verdict, where it begins, and the other verdicts that hold."""
    line = check.verdict.value
    if check.where:
        line += f" at {text.printable(check.where)}"
    others = [each.value for each in check.verdicts if each != check.verdict]
    return f"{line} (also {', '.join(others)})" if others else line


def counts(check: Check) -> str:
    """Return how many findings there are of each severity."""
    found = {kind: sum(each.severity == kind for each in check.findings) for kind in _ORDER}
    parts = [text.count(number, kind) for kind, number in found.items() if number]
    return ", ".join(parts) or "no findings"


def by_severity(check: Check) -> list[Finding]:
    """Return the findings, errors first, each kind in its order."""
    return sorted(check.findings, key=lambda each: _ORDER.index(each.severity.value))


def trial(given: Trial) -> tuple[str, str, str, str]:
    """Return a trial as the cells under `TRIAL_HEADS`, safe to print."""
    outcome = "not drawn" if given.verdict is None else given.verdict.value
    if given.where:
        outcome += f" at {text.printable(given.where)}"
    seeds = ", ".join(map(str, given.seeds)) or "-"
    return text.printable(given.recipe), seeds, outcome, text.printable(given.evidence)


def trials(cures: Cures) -> str:
    """Return what came of every recipe that was tried, in one line."""
    told = (f"{name} {outcome}" for name, _, outcome, _ in map(trial, cures.trials))
    return f"tried: {'; '.join(told)}"


def fates(contrast: Contrast) -> str:
    """Return how many tensors met which fate since the reference, in one line."""
    found = Counter(each.fate.value for each in contrast.changes)
    told = ", ".join(f"{number:,} {fate}" for fate, number in found.items())
    return f"against {text.printable(contrast.reference)}: {told}"


def short(check: Check, *, width: int | None = None) -> str:
    """Return a check in plain text: verdict, evidence, cure, and the gravest findings."""
    width = width or text.width_of_terminal()
    lines = [text.paragraph(verdict_line(check), width=width)]
    if check.evidence:
        lines.append(text.paragraph(text.printable(check.evidence), width=width, bullet="  "))
    if check.cure:
        # A cure may be a line to copy, so it is never broken.
        lines.append(f"  cure: {text.printable(check.cure)}")
    if check.cures is not None:
        lines.append(text.paragraph(trials(check.cures), width=width, bullet="  "))
    if check.contrast is not None:
        lines.append(text.paragraph(fates(check.contrast), width=width, bullet="  "))
    lines.append(f"  {counts(check)}; {text.count(len(check.signal.ops), 'op')} measured")
    if check.theory is not None and check.theory.summary:
        told = text.printable(check.theory.summary)
        lines.append(text.paragraph(told, width=width, bullet="  "))
    order = by_severity(check)
    for each in order[:_MOST]:
        said = f"{each.severity.value} {each.code}: {each.path} {each.message}"
        lines.append(text.paragraph(text.printable(said), width=width, bullet="  - "))
    if len(order) > _MOST:
        lines.append(f"  and {len(order) - _MOST} more in `findings`")
    return "\n".join(lines)


def opposed(check: Check, *, strict: bool) -> str:
    """Return what was expected of a check and what was found, as a difference.

    Args:
        check: One that fails.
        strict: Whether a warning is told of too.
    """
    lines = ["the model is not fit to start"]
    if check.verdict != "healthy":
        lines += ["- healthy", f"+ {verdict_line(check)}", f"  {text.printable(check.evidence)}"]
        lines += [f"  {row}" for row in _around(check)]
    for each in by_severity(check):
        if each.severity == "error" or (strict and each.severity == "warning"):
            said = f"{each.severity.value} {each.code}: {each.path} {each.message}"
            lines += ["- no such finding", f"+ {text.printable(said)}"]
            lines += [f"  cure: {text.printable(each.cure)}"] if each.cure else []
    if check.cure:
        lines.append(f"  cure: {text.printable(check.cure)}")
    return "\n".join(lines)


def _around(check: Check) -> list[str]:
    """Return the signal at the ops around the place of a verdict, which is marked."""
    ops, at = check.signal.ops, breaks_at(check)
    if at is None:
        return []
    rows = [("", "op", "forward RMS", "gradient RMS")]
    for op in ops[max(0, at - _NEAR) : at + _NEAR + 1]:
        mark = ">" if place(op) == text.printable(check.where) else ""
        rows.append((mark, place(op), quantity(op.rms), quantity(op.gradient_rms)))
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(size) for cell, size in zip(row, wide, strict=True)).rstrip()
        for row in rows
    ]


def html(check: Check) -> str:
    """Return a check as an HTML fragment: every word escaped, no script, no colours."""
    out = [f"<p><strong>{escape(verdict_line(check))}</strong></p>"]
    if check.evidence:
        out.append(f"<p>{escape(text.printable(check.evidence))}</p>")
    if check.cure:
        out.append(f"<p>Cure: <code>{escape(text.printable(check.cure))}</code></p>")
    if check.cures is not None:
        out.append(_cures_html(check.cures))
    if check.contrast is not None:
        out.append(f"<p>{escape(fates(check.contrast))}</p>")
    if check.findings:
        rows = [
            [each.severity.value]
            + [text.printable(part) for part in (each.code, each.path, each.message, each.cure)]
            for each in by_severity(check)
        ]
        table = html_table(("severity", "code", "path", "message", "cure"), rows)
        grave = any(each.severity != "note" for each in check.findings)
        opened = " open" if grave else ""
        out.append(f"<details{opened}><summary>{escape(counts(check))}</summary>{table}</details>")
    ops = html_table(OP_HEADS, [op_cells(op) for op in check.signal.ops])
    summary = text.count(len(check.signal.ops), "op")
    out.append(f"<details><summary>{summary} measured</summary>{ops}</details>")
    notes = "".join(f"<li>{escape(text.printable(note))}</li>" for note in check.signal.notes)
    if notes:
        out.append(f"<ul>{notes}</ul>")
    return f'<div style="overflow-x:auto">{"".join(out)}</div>'


def _cures_html(cures: Cures) -> str:
    table = html_table(TRIAL_HEADS, list(map(trial, cures.trials)))
    diff = "\n".join(escape(text.printable(line)) for line in cures.diff.splitlines())
    diff = f"<pre>{diff}</pre>" if diff else ""
    summary = text.count(len(cures.trials), "recipe")
    return f"<details open><summary>{summary} tried</summary>{table}{diff}</details>"
