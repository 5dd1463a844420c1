"""What overrides ask of a plan: which of its regions each is about, or why it is about none."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from xavier._errors import PlanError
from xavier._types import text
from xavier._types.flow import Flow
from xavier._types.plan import Assignment, Kept, Plan, Region
from xavier.planning.constraints import imposed
from xavier.planning.override_matching import KEEP, Override, find, glob

_FEW: Final = 5  # names in a hint


@dataclass(frozen=True)
class Asked:
    """What overrides ask for.

    Attributes:
        by_name: Overrides of each parameter, region by region.
        kept: Parameters that are to be kept, and the override that says so.
        revived: Weights that arrived as zeros and are to be drawn.
        notes: What the user should know.
    """

    by_name: Mapping[str, Sequence[tuple[Region, Override]]]
    kept: Mapping[str, Override]
    revived: frozenset[str]
    notes: tuple[str, ...]


def asked(plan: Plan, overrides: Sequence[Override], flow: Flow) -> Asked:
    """Return what overrides ask of a recipe's plan for a flow.

    Raises:
        PlanError: If one matches nothing, or asks to keep a part of a parameter.
    """
    asking = _Asking(plan, overrides, flow)
    asking.require_matches()
    rows = [(row, asking.of(row)) for row in plan]
    kept = _kept_whole(rows)
    by_name: dict[str, list[tuple[Region, Override]]] = {}
    for row, override in rows:
        if override is not None:
            by_name.setdefault(row.name, []).append((row.region, override))
    changed = sum(map(len, by_name.values())) - sum(len(by_name[name]) for name in kept)
    revived = {each.name: override for each in plan.kept if (override := asking.of_kept(each))}
    by_name |= {name: [(Region(), override)] for name, override in revived.items()}
    used = {use.parameter for op in flow.ops for use in op.weights}
    drawable = {each.name for each in flow.parameters if each.drawable and 0 not in each.shape}
    return Asked(by_name, kept, frozenset(used & drawable & revived.keys()), _notes(changed, plan))


def where(name: str, shape: Sequence[int]) -> str:
    """Return a parameter as messages lead with it: its path and shape."""
    return f"`{text.printable(name)}` {text.shape(shape)}"


def _notes(changed: int, plan: Plan) -> tuple[str, ...]:
    return (f"{changed} of {text.count(len(plan), 'region')} by override",) if changed else ()


class _Asking:
    def __init__(self, plan: Plan, overrides: Sequence[Override], flow: Flow) -> None:
        self._plan = plan
        self._overrides = overrides
        self._types = {each.name: each.module for each in flow.parameters}
        self._imposed = {
            each.name: each.parametrization for each in flow.parameters if imposed(each)
        }

    def of(self, row: Assignment) -> Override | None:
        """Return the override of a region that the recipe draws."""
        return self._found(self._overrides, row)

    def of_kept(self, kept: Kept) -> Override | None:
        """Return the override that draws what the recipe keeps: one that gives its whole name."""
        named = [each for each in self._overrides if each.names(kept)]
        if not named or named[-1].value == KEEP:
            return None
        if kept.kind != "parameter":
            place = where(kept.name, kept.shape)
            raise PlanError(f"{place} is a {kept.kind}, expected a parameter")
        return named[-1]

    def require_matches(self) -> None:
        """Refuse an override that is about nothing."""
        for each in self._overrides:
            if any(self._found((each,), row) for row in self._plan):
                continue
            if any(map(each.names, self._plan.kept)):
                continue
            raise PlanError(f"override {each} matches nothing", hint=self._hint(each))

    def _found(self, overrides: Iterable[Override], row: Assignment) -> Override | None:
        if row.name in self._imposed:
            overrides = [each for each in overrides if each.value == KEEP]
        kind = self._types.get(row.name, "")
        return find(overrides, name=row.name, module_type=kind, role=row.role, assignment=row)

    def _hint(self, override: Override) -> str:
        match = override.match
        if not isinstance(match, str):
            return "the predicate was false for every assignment"
        kind, _, wanted = match.partition(":")
        if kind == "role":
            present = sorted({row.role.value for row in self._plan})
            return f"roles in this plan: {', '.join(present)}"
        if kind == "type":
            types = sorted(set(self._types.values()))
            near = difflib.get_close_matches(wanted, types, n=_FEW, cutoff=0.5)
            return f"module types with parameters: {_listed(near or types)}"
        return self._hint_on_names(match, override)

    def _hint_on_names(self, match: str, override: Override) -> str:
        fits = glob(match).fullmatch
        imposed = [name for name in self._imposed if fits(name)]
        if imposed:
            how = self._imposed[imposed[0]]
            return f"{how} settles the law of {_listed(imposed[:1])}, whatever is drawn"
        kept = [each.name for each in self._plan.kept if fits(each.name)]
        if kept:
            told = f"it matches what the plan keeps, such as {_listed(kept[:1])}"
            return f"{told}: write the whole name to draw it"
        if any(fits(row.name) for row in self._plan):
            return f"the names that match have no fans for {override.value!r}; give a law"
        names = self._plan.names
        near = difflib.get_close_matches(match, names, n=_FEW, cutoff=0.4)
        return f"nearest names: {_listed(near or names[:_FEW])}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(text.printable, names))


def _kept_whole(rows: Iterable[tuple[Assignment, Override | None]]) -> dict[str, Override]:
    """Return the parameters to keep; all of a parameter's regions must be."""
    keeping: dict[str, Override] = {}
    others: dict[str, Assignment] = {}
    for row, override in rows:
        if override is not None and override.value == KEEP:
            keeping[row.name] = override
        else:
            others[row.name] = row
    for name in keeping.keys() & others.keys():
        left = others[name].region
        raise PlanError(
            f"`{text.printable(name)}`: {keeping[name]} keeps a part of it, but {left} would be"
            " drawn",
            hint="match the whole parameter by its name",
        )
    return keeping
