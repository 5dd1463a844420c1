"""The page as text, and as a file."""

from __future__ import annotations

import base64
import hashlib
import os
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final, cast

from jinja2 import DictLoader, Environment, StrictUndefined, Template
from markupsafe import Markup

from xavier._errors import WriteError
from xavier._types import codec, signal_text, text, theory_text
from xavier._types.signal import BINS, Check, Severity, Verdict
from xavier.checking.catalogue import FINDINGS
from xavier.report.layout import is_python
from xavier.report.page import chart, histograms, tables

_TEMPLATES: Final = ("check.html", "parts.html")
_STYLES: Final = ("layout.css", "tables.css", "charts.css")
_SCRIPTS: Final = ("sorting.js", "filtering.js", "copying.js", "reading.js")
_MEANINGS: Final = {
    Verdict.BROKEN: "An output, a gradient or a weight is NaN or infinite.",
    Verdict.ASYMMETRIC: "Units are copies of each other, and no step can part them.",
    Verdict.DEAD: "A layer is silent for every input, or no gradient passes it.",
    Verdict.EXPLODING: "Outputs or gradients grow beyond what trains.",
    Verdict.VANISHING: "Outputs or gradients shrink beyond what trains.",
    Verdict.COLLAPSED: "Different inputs have become alike.",
    Verdict.SATURATED: "Most inputs of a bounded function lie where it is flat.",
    Verdict.HEALTHY: "The signal keeps its size both ways.",
}


def html(check: Check) -> str:
    """Return a check as one HTML file that needs nothing else.

    Its charts are drawn inline, its styles and scripts stand in it, and its content policy
    lets no request leave it. Without scripts all of it can be read, unsorted. Every word that
    came from the model is escaped.

    Args:
        check: The outcome.

    Returns:
        The text of the file, to be written as UTF-8.

    Example:
        >>> from xavier import Check, Signal, Verdict
        >>> empty = Signal(ops=(), weights=())
        >>> fine = Check(Verdict.HEALTHY, (Verdict.HEALTHY,), "", "", "", (), empty)
        >>> html(fine)[:15]
        '<!doctype html>'
    """
    return _template().render(
        title=signal_text.verdict_line(check),
        verdict=check.verdict.value,
        healthy=check.verdict is Verdict.HEALTHY,
        meaning=_MEANINGS[check.verdict],
        others=[each.value for each in check.verdicts if each != check.verdict],
        where=text.printable(check.where),
        evidence=text.printable(check.evidence),
        cure=text.printable(check.cure),
        trials=tables.trials(check),
        diff=_diff(check),
        chosen="" if check.cures is None else text.printable(check.cures.recipe),
        changes=tables.changes(check),
        fates="" if check.contrast is None else signal_text.fates(check.contrast),
        charts=chart.charts(check),
        thinning=chart.thinning(check),
        ops=tables.ops(check),
        normal=histograms.normal(BINS),
        ops_counted=text.count(len(check.signal.ops), "op"),
        weights=tables.weights(check),
        theory=_sentence(check.theory.summary) if check.theory else "",
        apart=text.printable(check.theory.evidence) if check.theory else "",
        stacks=tables.stacks(check),
        limits=theory_text.limits(check.theory) if check.theory else [],
        findings=tables.findings(check),
        counts=signal_text.counts(check),
        severities=_severities(check),
        meanings=_meanings(check),
        notes=[text.printable(each) for each in check.signal.notes],
        facts=_facts(check),
        **_inlined(),
    )


def write_html(check: Check, path: str | os.PathLike[str]) -> None:
    """Write a check as one HTML file, which appears whole or not at all.

    A file of that name is replaced.

    Args:
        check: The outcome.
        path: The file to write.

    Raises:
        WriteError: If it cannot be written.
    """
    goal = Path(path)
    part = goal.with_name(f".{goal.name[:32]}.{os.getpid()}.part")
    try:
        try:
            part.write_text(html(check), encoding="utf-8", newline="\n")
            os.replace(part, goal)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        told = f"{goal} cannot be written: {error.strerror}"
        hint = f"does {goal.parent} exist, and may you write there?"
        raise WriteError(told, hint=hint) from error


@cache
def _template() -> Template:
    loader = DictLoader({name: _read(name) for name in _TEMPLATES})
    made = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.tests["python"] = cast("Any", is_python)
    return made.get_template(_TEMPLATES[0])


@cache
def _inlined() -> dict[str, Any]:
    """Return the styles and the script, and the digests by which the policy knows them."""
    style, script = ("".join(map(_read, names)) for names in (_STYLES, _SCRIPTS))
    return {
        "style": Markup(style),
        "script": Markup(script),
        "style_digest": _digest(style),
        "script_digest": _digest(script),
    }


def _read(name: str) -> str:
    return resources.files("xavier.report.page").joinpath(name).read_text(encoding="utf-8")


def _digest(source: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


def _sentence(words: str) -> str:
    """Return words that begin with a capital, every other letter as it is."""
    return text.printable(words[:1].upper() + words[1:])


def _diff(check: Check) -> list[str]:
    """Return the lines of what the cure changes."""
    lines = check.cures.diff.splitlines() if check.cures is not None else []
    return [text.printable(each) for each in lines]


def _severities(check: Check) -> list[tuple[str, int]]:
    """Return each severity that there is, and how often."""
    found = [each.severity for each in check.findings]
    return [(each.value, found.count(each)) for each in Severity if each in found]


def _meanings(check: Check) -> list[tuple[str, str]]:
    codes = sorted({each.code for each in check.findings} & FINDINGS.keys())
    return [(code, FINDINGS[code]) for code in codes]


def _facts(check: Check) -> list[tuple[str, str]]:
    facts = [("xavier", codec.package_version()), ("stream", str(codec.STREAM))]
    if check.model_digest:
        facts.append(("model digest", text.printable(check.model_digest)))
    return facts
