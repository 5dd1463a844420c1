"""Which of a plan's weights to draw: the others stay as they are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from xavier._errors import PlanError
from xavier._types.plan import Assignment, Kept, Plan
from xavier.planning.override_matching import glob

Only = str | Iterable[str] | Callable[[str], bool]


def select(plan: Plan, only: Only | None) -> Plan:
    """Return a plan that draws the selected weights alone, and keeps the others.

    Args:
        plan: The plan.
        only: Names, globs, or a predicate on names; None for all weights.

    Raises:
        PlanError: If it selects nothing, or one of several selects nothing.
    """
    if only is None:
        return plan
    wanted = _matcher(plan, only)
    drawn = tuple(each for each in plan.assignments if wanted(each))
    if not drawn:
        raise _no_match(plan, f"only={only!r}")
    left: dict[str, list[Assignment]] = {}
    for each in plan.assignments:
        if not wanted(each):
            left.setdefault(each.name, []).append(each)
    kept = (kept_of(rows, "left as it is: not among `only`") for rows in left.values())
    return replace(plan, assignments=drawn, kept=(*plan.kept, *kept))


def kept_of(rows: Sequence[Assignment], reason: str) -> Kept:
    """Return the entry of a parameter that is kept although the rows would draw all of it."""
    return Kept(rows[0].name, whole_shape(rows), "parameter", reason, rows[0].aliases)


def whole_shape(rows: Sequence[Assignment]) -> tuple[int, ...]:
    """Return the shape of a parameter, of which all regions are given."""
    shape = list(rows[0].shape)
    axis = rows[0].region.axis
    if axis is not None:
        shape[axis] = sum(row.shape[axis] for row in rows)
    return tuple(shape)


def _matcher(plan: Plan, only: Only) -> Callable[[Assignment], bool]:
    """Return the predicate that a selection of names stands for; each pattern must match."""
    if callable(only):
        return lambda each: bool(only(each.name))
    given = [only] if isinstance(only, str) else only
    patterns = list(given) if isinstance(given, Iterable) else [given]
    for pattern in patterns:
        if not isinstance(pattern, str):
            told = f"only is {only!r}, expected names, globs, or a predicate on names"
            raise PlanError(told, hint="such as only=['head.*']")

    def matches(pattern: re.Pattern[str], each: Assignment) -> bool:
        return any(map(pattern.fullmatch, (each.name, *each.aliases)))

    compiled = [glob(pattern) for pattern in patterns]
    for text, pattern in zip(patterns, compiled, strict=True):
        # A name that the plan keeps may be among them, such as a missing key's: it stays.
        if not any(map(pattern.fullmatch, plan.names)):
            raise _no_match(plan, repr(text))
    return lambda each: any(matches(pattern, each) for pattern in compiled)


def _no_match(plan: Plan, what: str) -> PlanError:
    drawn = tuple(dict.fromkeys(each.name for each in plan.assignments))
    names = f"names look like {', '.join(drawn[:3])}" if drawn else "it draws none"
    return PlanError(f"{what} matches no weight of the plan", hint=names)
