"""Hold a model against what it was: what changed, what was not drawn, what should not have been."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from xavier._types import text
from xavier._types.contrast import Change, Contrast, Fate
from xavier._types.laws import Constant
from xavier._types.plan import Plan
from xavier._types.signal import Finding, Severity
from xavier.checking.catalogue import require_known
from xavier.checking.cures import init_line
from xavier.checking.serving import file_for
from xavier.checking.ties import tie_broken


def contrast(
    model: Any,
    reference: Any,
    *,
    plan: Plan | None = None,
    severity: Severity = Severity.WARNING,
    ignore: Iterable[str] = (),
) -> Contrast:
    """Compare a model's parameters and buffers with a reference, to tell what was drawn.

    One tensor is in memory at a time; nothing in a file is executed, and the model is read alone.

    Args:
        model: The model as it is now.
        reference: What it was: a state dict, another model, or the path of a safetensors file, of
            a folder of them, or of what `torch.save` wrote of a state dict.
        plan: What was to be drawn and what kept in between; without it nothing is known to be
            amiss but ties, shapes, dtypes and names.
        severity: Of a weight that the plan draws and that did not change, or that it keeps and
            that did.
        ignore: Codes of findings to leave out.

    Returns:
        What became of every tensor, and what should not have.

    Raises:
        TargetError: If the reference cannot be read, or has nothing of the model.
        PlanError: If the model is sharded, or on the meta device.
        UnknownNameError: If a code to ignore is none.

    Example:
        >>> import torch, xavier
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))
        >>> before = {name: each.clone() for name, each in model.state_dict().items()}
        >>> plan = xavier.init_(model, seed=0, only=["1.*"])
        >>> [(each.name, each.fate.value) for each in xavier.contrast(model, before).changes][::2]
        [('0.weight', 'unchanged'), ('1.weight', 'changed')]
    """
    silenced = require_known(ignore)
    found = file_for(model, "contrast").compared(model, reference)
    known = _Known(plan, found, severity)
    findings = (*(each for change in found.changes for each in known.of(change)), *_parted(found))
    told = tuple(each for each in findings if each.code not in silenced)
    return Contrast(found.what, found.changes, told, found.notes)


class _Known:
    """What a plan says of every name."""

    def __init__(self, plan: Plan | None, found: Any, severity: Severity) -> None:
        rows = plan.assignments if plan else ()
        random = [each for each in rows if not isinstance(each.law, Constant)]
        self._drawn = {name for each in random for name in (each.name, *each.aliases)}
        self._kept = {
            name: each.reason
            for each in (plan.kept if plan else ())
            for name in (each.name, *each.aliases)
        }
        self._names: dict[str, str] = found.names
        self._running: frozenset[str] = found.running
        moved = (each for each in found.changes if each.fate is Fate.CHANGED)
        self._moved = {self._names.get(each.name, each.name) for each in moved}
        self._told: set[str] = set()
        self._severity = severity

    def of(self, change: Change) -> Iterator[Finding]:
        """Yield what is wrong with one tensor."""
        name, shape = self._names.get(change.name, change.name), text.shape(change.shape)
        if change.fate in _STRUCTURAL:
            code, severity, said = _STRUCTURAL[change.fate]
            yield Finding(code, severity, name, f"{shape}: {said.format(there=change.there)}")
        still = change.fate is Fate.UNCHANGED and name not in self._moved | self._told
        if still and name in self._drawn:
            self._told.add(name)  # a weight behind a parametrization has several parts
            said = f"{shape}: equals the reference to the bit, though the plan draws it"
            yield Finding("not-drawn", self._severity, name, said, init_line(only=name))
        if change.fate is Fate.CHANGED and name in self._kept and change.name not in self._running:
            said = (
                f"{shape}: differs from the reference by {change.difference:.3g} of its RMS, "
                f"though the plan keeps it ({self._kept[name]})"
            )
            cure = "load it again, and draw the others alone: only=[...]"
            yield Finding("drawn-over", self._severity, name, said, cure)


_STRUCTURAL = {
    Fate.RESHAPED: ("reshaped", Severity.WARNING, "the reference has {there}"),
    Fate.ROUNDED: ("dtype-changed", Severity.NOTE, "equal, but the reference has {there}"),
    Fate.ONLY_HERE: ("only-here", Severity.NOTE, "the reference has none of this name"),
    Fate.ONLY_THERE: ("only-there", Severity.WARNING, "the model has none of this name"),
}


def _parted(found: Any) -> Iterator[Finding]:
    for name, other in found.parted:
        yield tie_broken(name, other, "they are one in the reference")
