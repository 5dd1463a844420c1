"""A check as the workflow commands that annotate a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from xavier._types import signal_text
from xavier._types.signal import Severity, Verdict

if TYPE_CHECKING:
    from xavier._types.signal import Check

_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def lines(check: Check) -> Iterator[str]:
    """Yield the verdict and every finding, one command a line."""
    healthy = check.verdict is Verdict.HEALTHY
    place = f" at {check.where}" if check.where else ""
    said = ". ".join(part.rstrip(".") for part in (check.evidence, check.cure) if part)
    yield _line("notice" if healthy else "error", f"{check.verdict}{place}", said)
    if check.cures is not None:
        yield _line("notice", "cures", signal_text.trials(check.cures))
    if check.contrast is not None:
        yield _line("notice", "contrast", signal_text.fates(check.contrast))
    for finding in check.findings:
        place = f"{finding.path}: " if finding.path else ""
        cure = f" ({finding.cure})" if finding.cure else ""
        yield _line(_LEVELS[finding.severity], finding.code, f"{place}{finding.message}{cure}")


def _line(level: str, title: str, message: str) -> str:
    return f"::{level} title={_property(f'xavier: {title}')}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
