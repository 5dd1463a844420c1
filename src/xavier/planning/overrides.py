"""Overrides: the user's own rules for some of a plan's weights.

The recipe plans first, and the overrides match by what it made of each region. Then the flow is
planned again with the overrides in the recipe's place, so that whatever stands behind an overridden
weight is chosen for, and predicted from, the law that this one really has.

The forms that overrides are given in are those of `xavier.planning.override_matching`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from xavier import laws, rules
from xavier._errors import LawError, PlanError, ShapeError
from xavier._types.flow import Flow, Parameter
from xavier._types.laws import Normal
from xavier._types.plan import Assignment, Kept, Plan, Region, Role
from xavier._types.region import overlap
from xavier.planning.asked import Asked, asked, where
from xavier.planning.drafting import draft
from xavier.planning.override_matching import KEEP, Override
from xavier.planning.parameters import arrived_moments, drawn_moments
from xavier.planning.recipes import Recipe
from xavier.planning.selection import kept_of
from xavier.planning.setting import Choice, Setting


def draft_with(
    flow: Flow, recipe: Recipe, overrides: Sequence[Override], *, overwrite_zeros: bool = False
) -> Plan:
    """Return a recipe's plan in which the matched regions have the overrides' laws.

    A kept parameter is drawn only by an override that gives its whole name; a glob leaves it alone.

    Args:
        flow: What the model computes.
        recipe: The recipe.
        overrides: What to change, as `compile_overrides` returns it.
        overwrite_zeros: As for `draft`.

    Raises:
        PlanError: If an override matches nothing, a rule cannot be applied to a weight that it
            matches, or a part of a parameter should be kept and another drawn.
    """
    plan = draft(flow, recipe, overwrite_zeros=overwrite_zeros)
    if not overrides:
        return plan
    wanted = asked(plan, overrides, flow)
    fixed = _without_fans(plan, wanted)
    again = draft(
        flow,
        Overridden(recipe, wanted.by_name, arrived_moments(flow)),
        overwrite_zeros=overwrite_zeros,
        revived=wanted.revived,
        held=_held(flow, wanted, fixed),
    )
    drawn = [
        *(each for each in again if each.name not in {*fixed, *wanted.kept}),
        *(each for rows in fixed.values() for each in rows),
    ]
    kept = [
        *(each for each in again.kept if each.name not in fixed),
        *(kept_of(plan[name], f"by the override {by.label}") for name, by in wanted.kept.items()),
    ]
    place = {each.name: at for at, each in enumerate(flow.parameters)}
    return replace(
        again,
        assignments=tuple(sorted(drawn, key=lambda each: place[each.name])),
        kept=tuple(sorted(kept, key=lambda each: place.get(each.name, len(place)))),
        notes=(*again.notes, *wanted.notes),
    )


@dataclass(frozen=True)
class Overridden:
    """A recipe that has the user's overrides in the place of some of its choices.

    Attributes:
        recipe: What chooses where nobody asked for anything.
        by_name: What is asked for each parameter, region by region.
        arrived: Mean and second moment of what each parameter holds; nan if unknown.
    """

    recipe: Recipe
    by_name: Mapping[str, Sequence[tuple[Region, Override]]]
    arrived: Mapping[str, tuple[float, float]]

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.recipe.name

    def choose(self, setting: Setting) -> Choice:
        """Return the override for one weight region, else what the recipe chooses."""
        choice = self.recipe.choose(setting)
        site = setting.site
        found = (
            override
            for region, override in self.by_name.get(site.parameter.name, ())
            if overlap(region, site.region)
        )
        override = next(found, None)
        if override is None:
            return choice
        if override.value == KEEP:
            return self._as_it_is(site.parameter, choice)
        assert isinstance(override.value, rules.Rule)
        _law(override, setting.facts, name=site.parameter.name)
        return Choice(override.value, _reason(override, repr(choice.rule)))

    def _as_it_is(self, parameter: Parameter, choice: Choice) -> Choice:
        """Return what stands for a weight that is kept: the size that it has, where known."""
        _, second = self.arrived[parameter.name]
        if math.isnan(second):
            return choice
        return Choice(rules.Fixed(Normal(0.0, math.sqrt(second))), "it keeps its value")


def _without_fans(plan: Plan, wanted: Asked) -> dict[str, list[Assignment]]:
    """Return the rows of every parameter that is overridden and that no contraction reads."""
    found: dict[str, list[Assignment]] = {}
    for name, pairs in wanted.by_name.items():
        if name in wanted.kept or name in wanted.revived:
            continue
        rows = plan[name]
        if not rows:
            kept = next(each for each in plan.kept if each.name == name)
            found[name] = [_revived(kept, pairs[0][1])]
        elif math.isnan(rows[0].fan_in):
            asked_for = dict(pairs)
            found[name] = [_fixed(row, asked_for.get(row.region)) for row in rows]
    return found


def _fixed(row: Assignment, override: Override | None) -> Assignment:
    if override is None:
        return row
    law = _law(override, _unknown_fans(row.shape), name=row.name)
    return replace(row, rule=repr(override.value), law=law, reason=_reason(override, row.rule))


def _reason(override: Override, rule: str) -> str:
    return f"by the override {override.label}, in place of {rule}"


def _revived(kept: Kept, override: Override) -> Assignment:
    if not isinstance(override.value, rules.Fixed):
        hint = "give a law, such as Normal(0, 0.02)"
        message = f"{where(kept.name, kept.shape)} has no fans for {override.value!r}"
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
        law=_law(override, _unknown_fans(kept.shape), name=kept.name),
        reason=f"by the override {override.label}; else it would keep its value, "
        f"since {kept.reason}",
        aliases=kept.aliases,
    )


def _law(override: Override, facts: rules.Facts, *, name: str) -> laws.Law:
    """Return the law that an override gives a weight, having checked that there is one."""
    rule = override.value
    assert isinstance(rule, rules.Rule)
    try:
        law = rule.law(facts)
        laws.second_moment(law, facts.shape)
    except (LawError, ShapeError) as error:
        message = f"{where(name, facts.shape)}: {rule!r} cannot be applied: {error.message}"
        raise PlanError(message, hint=error.hint or f"change the override {override}") from error
    return law


def _unknown_fans(shape: tuple[int, ...]) -> rules.Facts:
    return rules.Facts(shape=shape, fan_in=math.nan, fan_out=math.nan)


def _held(
    flow: Flow, wanted: Asked, fixed: Mapping[str, Sequence[Assignment]]
) -> dict[str, tuple[float, float]]:
    """Return mean and second moment of what overridden parameters without fans will hold."""
    arrived = arrived_moments(flow)
    held = {name: arrived[name] for name in wanted.kept}
    return held | {name: drawn_moments(rows) for name, rows in fixed.items()}
