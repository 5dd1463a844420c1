"""Which of a plan's weights to draw: the others stay as they are."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import prod
from typing import Protocol

from xavier._errors import PlanError
from xavier._types import text
from xavier._types.plan import Assignment, Kept, Plan
from xavier.planning.override_matching import glob

Only = str | Iterable[str] | Callable[[str], bool]


def select(plan: Plan, only: Only | None) -> Plan:
    """Return a plan that draws the selected weights alone, and keeps the others.

    Args:
        plan: The plan.
        only: Names, globs, or a predicate on names; None for all weights. Of a tied weight any
            name counts.

    Raises:
        PlanError: If it selects nothing, or one of several is no name of the plan.
    """
    if only is None:
        return plan
    wanted = _chosen_by(only) if callable(only) else _named(plan, only)
    drawn = tuple(each for each in plan.assignments if wanted(each))
    if not drawn:
        raise _no_match(plan, f"only={only!r}", only)
    left: dict[str, list[Assignment]] = {}
    for each in plan.assignments:
        if not wanted(each):
            left.setdefault(each.name, []).append(each)
    kept = (kept_of(rows, "left as it is: not among `only`") for rows in left.values())
    return replace(plan, assignments=drawn, kept=(*plan.kept, *kept))


class Held(Protocol):
    """A parameter as a model holds it."""

    @property
    def name(self) -> str:
        """Its canonical name."""
        ...

    @property
    def aliases(self) -> tuple[str, ...]:
        """Its other names."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Its stored shape."""
        ...


def completed(plan: Plan, parameters: Iterable[Held]) -> Plan:
    """Return a plan that tells of every parameter of a model, also of those it leaves alone.

    Args:
        plan: Any plan, such as one that was edited by hand.
        parameters: The model's parameters.
    """
    kept: list[Kept] = []
    notes: list[str] = []
    known = set(plan.names)
    for each in parameters:
        if known.isdisjoint((each.name, *each.aliases)):
            told = "left as it is: the plan does not name it"
            kept.append(Kept(each.name, tuple(each.shape), "parameter", told, each.aliases))
            continue
        rows = plan[next(name for name in (each.name, *each.aliases) if name in known)]
        left = prod(each.shape) - sum(prod(row.shape) for row in rows)
        if rows and left > 0:
            count = text.count(left, "element")
            notes.append(f"{each.name}: {count} left as they are: the plan does not name them")
    return replace(plan, kept=(*plan.kept, *kept), notes=(*plan.notes, *notes))


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


def _chosen_by(predicate: Callable[[str], bool]) -> Callable[[Assignment], bool]:
    return lambda each: any(map(predicate, (each.name, *each.aliases)))


def _named(plan: Plan, only: str | Iterable[str]) -> Callable[[Assignment], bool]:
    """Return the predicate that a selection of names stands for."""
    given = [only] if isinstance(only, str) else only
    patterns = list(given) if isinstance(given, Iterable) else [given]
    for each in patterns:
        if not isinstance(each, str):
            told = f"only is {only!r}, expected names, globs, or a predicate on names"
            raise PlanError(told, hint="such as only=['head.*']")
        # A name that the plan keeps may be among them, such as a missing key's: it stays.
        if not any(map(glob(each).fullmatch, plan.names)):
            raise _no_match(plan, repr(each), each)
    fits = [glob(each).fullmatch for each in patterns]
    return lambda row: any(fit(name) for fit in fits for name in (row.name, *row.aliases))


def _no_match(plan: Plan, what: str, only: object) -> PlanError:
    return PlanError(f"{what} matches no weight of the plan", hint=_hint(plan, only))


def _hint(plan: Plan, only: object) -> str:
    drawn = list(dict.fromkeys(each.name for each in plan.assignments))
    near: list[str] = []
    if isinstance(only, str):
        kept = [each for each in plan.kept if glob(only).fullmatch(each.name)]
        if kept:
            return text.printable(f"it keeps {kept[0].name}: {kept[0].reason}")
        near = difflib.get_close_matches(only, drawn, n=3, cutoff=0.4)
    names = text.printable(", ".join(near or drawn[:3]))
    return f"names look like {names}" if names else "it draws none"
