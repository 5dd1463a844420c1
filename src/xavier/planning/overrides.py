"""Overrides: the user's own rules for some of a plan's weights.

The forms that they are given in are those of `xavier.planning.override_matching`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from xavier import laws, rules
from xavier._errors import LawError, PlanError, ShapeError
from xavier._types.plan import Assignment, Kept, Plan, Region, Role
from xavier.planning.override_matching import (
    KEEP,
    Override,
    Spec,
    compile_overrides,
    find,
    glob,
)
from xavier.planning.selection import whole_shape

__all__ = ["KEEP", "Override", "apply_overrides", "compile_overrides", "find"]

_FEW: Final = 5  # names in a hint


def apply_overrides(plan: Plan, overrides: Spec | None, *, module_types: Mapping[str, str]) -> Plan:
    """Return a plan in which the matched regions have the overrides' laws.

    A kept parameter is drawn only by an override that gives its whole name and a law; a
    glob leaves it alone.

    Args:
        plan: The recipe's plan.
        overrides: What to change; None for nothing.
        module_types: The type name of the owning module, by canonical parameter name.

    Raises:
        PlanError: If an override matches nothing, a rule cannot be applied to a weight it
            matches, or a part of a parameter should be kept and another drawn.
        UnknownNameError: If a role or a rule's name is unknown.
    """
    compiled = compile_overrides(overrides)
    if not compiled:
        return plan
    _require_matches(plan, compiled, module_types)
    rows = [(each, _found(compiled, each, module_types)) for each in plan]
    kept_names = _kept_whole(rows)
    drawn = [
        each if override is None else _overridden(each, override)
        for each, override in rows
        if each.name not in kept_names
    ]
    revived = [(each, _exactly(compiled, each)) for each in plan.kept]
    drawn += [_revived(kept, override) for kept, override in revived if override is not None]
    kept = [kept for kept, override in revived if override is None]
    kept += [_kept(plan[name], kept_names[name]) for name in kept_names]
    changed = sum(override is not None for _, override in rows) - len(kept_names)
    return replace(
        plan,
        assignments=tuple(drawn),
        kept=tuple(kept),
        notes=(*plan.notes, *_note(changed, plan)),
    )


def _note(changed: int, plan: Plan) -> tuple[str, ...]:
    if not changed:
        return ()
    return (
        f"{changed} of {len(plan)} regions are by override; what the others are chosen for and"
        f" predict counts the laws that {plan.recipe} would have given those",
    )


def _found(
    overrides: Iterable[Override], row: Assignment, module_types: Mapping[str, str]
) -> Override | None:
    kind = module_types.get(row.name, "")
    return find(overrides, name=row.name, module_type=kind, role=row.role, assignment=row)


def _exactly(overrides: Iterable[Override], kept: Kept) -> Override | None:
    found = None
    for each in overrides:
        if each.exact and each.match == kept.name:
            found = each
    return None if found is None or found.value == KEEP else found


def _overridden(row: Assignment, override: Override) -> Assignment:
    rule = override.value
    assert isinstance(rule, rules.Rule)
    facts = rules.Facts(
        shape=row.shape,
        fan_in=row.fan_in,
        fan_out=row.fan_out,
        forward_power=row.forward_power,
        backward_power=row.backward_power,
        kernel=row.shape[2:],
    )
    try:
        law = rule.law(facts)
        after = laws.second_moment(law, row.shape)
    except (LawError, ShapeError) as error:
        message = f"`{row.name}` {row.shape}: {rule!r} cannot be applied: {error.message}"
        raise PlanError(message, hint=error.hint or f"change the override {override}") from error
    before = laws.second_moment(row.law, row.shape)
    ratio = after / before if before else float("nan")
    alone = row.fan_in * row.forward_power * before
    # A second moment that has addends beside this weight's own does not scale with its law.
    proportional = math.isclose(alone, row.predicted_q, rel_tol=1e-6)
    return replace(
        row,
        rule=repr(rule),
        law=law,
        reason=f"by the override {override.label}, in place of {row.rule}",
        predicted_q=row.predicted_q * ratio if proportional else float("nan"),
        predicted_chi=row.predicted_chi * ratio,
    )


def _revived(kept: Kept, override: Override) -> Assignment:
    if kept.kind != "parameter":
        raise PlanError(f"`{kept.name}` {kept.shape} is a {kept.kind}, expected a parameter")
    if not isinstance(override.value, rules.Fixed):
        hint = "give a law, such as Normal(0, 0.02)"
        message = f"`{kept.name}` {kept.shape} has no fans for {override.value!r}"
        raise PlanError(f"{message}, since {kept.reason}", hint=hint)
    nan = float("nan")
    return Assignment(
        name=kept.name,
        region=Region(),
        shape=kept.shape,
        role=Role.OTHER,
        fan_in=nan,
        fan_out=nan,
        fed_by="",
        followed_by="",
        rule=repr(override.value),
        law=override.value.to,
        reason=f"by the override {override.label}; else it would keep its value, "
        f"since {kept.reason}",
    )


def _kept_whole(rows: Iterable[tuple[Assignment, Override | None]]) -> dict[str, Override]:
    """Return the parameters to keep; all of a parameter's regions must be."""
    asked: dict[str, Override] = {}
    others: dict[str, Assignment] = {}
    for row, override in rows:
        if override is not None and override.value == KEEP:
            asked[row.name] = override
        else:
            others[row.name] = row
    for name in asked.keys() & others.keys():
        left = others[name].region
        raise PlanError(
            f"`{name}`: {asked[name]} keeps a part of it, but {left} would be drawn",
            hint="match the whole parameter by its name",
        )
    return asked


def _kept(rows: tuple[Assignment, ...], override: Override) -> Kept:
    return Kept(rows[0].name, whole_shape(rows), "parameter", f"by the override {override.label}")


def _require_matches(
    plan: Plan, overrides: Iterable[Override], module_types: Mapping[str, str]
) -> None:
    for each in overrides:
        if any(_found((each,), row, module_types) for row in plan):
            continue
        if any(each.exact and each.match == kept.name for kept in plan.kept):
            continue
        raise PlanError(f"override {each} matches nothing", hint=_near(plan, each, module_types))


def _near(plan: Plan, override: Override, module_types: Mapping[str, str]) -> str:
    match = override.match
    if not isinstance(match, str):
        return "the predicate was false for every assignment"
    kind, _, wanted = match.partition(":")
    if kind == "role":
        present = sorted({row.role.value for row in plan})
        return f"roles in this plan: {', '.join(present)}"
    if kind == "type":
        types = sorted(set(module_types.values()))
        near = difflib.get_close_matches(wanted, types, n=_FEW, cutoff=0.5)
        return f"module types with weights: {', '.join(near or types)}"
    kept = [each.name for each in plan.kept if glob(match).fullmatch(each.name)]
    if kept:
        return f"it matches what the plan keeps, such as {kept[0]}: write the whole name to draw it"
    if any(glob(match).fullmatch(row.name) for row in plan):
        return f"the names that match have no fans for {override.value!r}; give a law"
    near = difflib.get_close_matches(match, plan.names, n=_FEW, cutoff=0.4)
    return f"nearest names: {', '.join(near or plan.names[:_FEW])}"
