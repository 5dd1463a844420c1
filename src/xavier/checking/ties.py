"""Findings on ties: tensors that should be one and are two, or are one and were drawn as two."""

from __future__ import annotations

from collections.abc import Iterable

from xavier._types.plan import Plan
from xavier._types.signal import Finding, Severity
from xavier.checking.cures import init_line


def untied(pairs: Iterable[tuple[str, str]]) -> tuple[Finding, ...]:
    """Return findings on tensors that the model declares to be one and that are two.

    Args:
        pairs: The name of the one that should be the other, and the other's.
    """
    why = "the model declares them to be one, so that saving or tying it loses one of them"
    return tuple(tie_broken(name, other, why) for name, other in pairs)


def overwritten(groups: Iterable[tuple[str, ...]], plan: Plan | None) -> tuple[Finding, ...]:
    """Return findings on tensors that the plan draws apart and that are one.

    Args:
        groups: The names of each tensor that has several.
        plan: What drew them; without it nothing is known.
    """
    if plan is None:
        return ()
    drawn = {each.name for each in plan.assignments}
    apart = ([name for name in group if name in drawn] for group in groups)
    return tuple(_overwritten(names) for names in apart if names[1:])


def _overwritten(names: list[str]) -> Finding:
    first, *rest = names
    text = f"is one tensor with {', '.join(rest)}, and the plan draws them apart: one draw is lost"
    return Finding("tie-overwritten", Severity.WARNING, first, text, init_line(only=first))


def tie_broken(name: str, other: str, why: str) -> Finding:
    """Return the finding on two tensors that should be one.

    Args:
        name: The one that should be the other.
        other: The other.
        why: How that is known.
    """
    told = f"is a tensor of its own, apart from {other}: {why}"
    cure = f"model.{name} = model.{other}  # tie it again"
    return Finding("tie-broken", Severity.WARNING, name, told, cure)
