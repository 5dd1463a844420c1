"""What becomes of one model: planned, drawn, checked before and after, and drawn from meta."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import torch
from torch import nn

import xavier
from benchmarks.transformers_models.making import Maker
from xavier.frameworks.torch.names import slots

SEED = 0


@dataclass(frozen=True)
class Outcome:
    """What becomes of one model.

    Attributes:
        name: The model's name here.
        kind: What kind of model it is.
        model: Its class.
        parameters: How many parameters it has, as tensors.
        kept: How many of them the plan keeps, each with its reason.
        unassigned: Those that are neither drawn whole nor kept for a reason.
        before: The verdict on the library's own start, with its place and its numbers.
        after: The verdict on the start that `auto` draws, likewise.
        findings: The codes of what the audit finds after that.
        meta: How a model that was built on the meta device is drawn: the same, with laws that
            differ a little, or not at all, and why.
    """

    name: str
    kind: str
    model: str
    parameters: int
    kept: int
    unassigned: tuple[str, ...]
    before: tuple[str, str, str]
    after: tuple[str, str, str]
    findings: tuple[str, ...]
    meta: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def outcome(name: str, kind: str, make: Maker) -> Outcome:
    """Build a model, check it, draw it, and check it again.

    Args:
        name: The model's name.
        kind: Its kind.
        make: Builds it, with an example.
    """
    torch.manual_seed(SEED)
    model, example = make()
    before = xavier.check(model, example)
    plan = xavier.init_(model, example, seed=SEED)
    after = xavier.check(model, example, recipe="auto")
    return Outcome(
        name=name,
        kind=kind,
        model=type(model).__name__,
        parameters=len(slots(model)),
        kept=sum(each.kind == "parameter" for each in plan.kept),
        unassigned=tuple(unassigned(model, plan)),
        before=_told(before),
        after=_told(after),
        findings=tuple(sorted({each.code for each in after.findings})),
        meta=_from_meta(make, model, example, plan),
    )


def unassigned(model: nn.Module, plan: xavier.Plan) -> list[str]:
    """Return the parameters that a plan neither draws whole nor keeps for a reason."""
    kept = {each.name for each in plan.kept if each.reason}
    drawn: dict[str, int] = {}
    for row in plan:
        drawn[row.name] = drawn.get(row.name, 0) + prod(row.shape)
    return [
        slot.name
        for slot in slots(model)
        if (slot.name in kept) == (slot.name in drawn)
        or (slot.name in drawn and drawn[slot.name] != prod(slot.shape))
    ]


def _told(check: xavier.Check) -> tuple[str, str, str]:
    return str(check.verdict), check.where, check.evidence


def _from_meta(make: Maker, model: nn.Module, example: dict[str, Any], plan: xavier.Plan) -> str:
    """Draw the model that was built without memory, and hold it against the real one."""
    try:
        with torch.device("meta"):
            meta, _ = make()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*the same bits")
            drawn = xavier.init_(meta, example, seed=SEED)
    except (RuntimeError, NotImplementedError, xavier.XavierError) as error:
        return f"refused: {str(error).splitlines()[0]}"
    laws = {(row.name, row.region): row.law for row in drawn}
    other = {row.name: row for row in plan if laws[row.name, row.region] != row.law}
    held = {slot.name: slot.stored for slot in slots(meta)}
    named = {row.name for row in plan} - set(other)
    odd = [s.name for s in slots(model) if s.name in named and not _equal(s.stored, held[s.name])]
    if odd:
        raise AssertionError(f"equal laws and other bits: {odd}")
    if not other:
        return "the same"
    most = max(_apart(row.law, laws[row.name, row.region]) for row in other.values())
    return f"{len(other)} laws differ by at most {most:.1%}"


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.equal(one.detach(), other.detach())


def _apart(one: Any, other: Any) -> float:
    return abs(getattr(one, "std", 0.0) / getattr(other, "std", float("inf")) - 1)
