"""Putting a plan together: decisions, untouched parameters, overrides, buffers."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from xavier import fans, laws
from xavier._types.flow import Flow, Parameter, WeightUse
from xavier._types.laws import Constant
from xavier._types.plan import Assignment, Kept, Plan, Region, Role
from xavier.flow.feeds import Feed
from xavier.planning.biases import biases
from xavier.planning.constraints import SETTLED, constrained
from xavier.planning.parameters import planned_moments, planned_rows, treat
from xavier.planning.planner import Decision, Planner
from xavier.planning.recipes import Recipe
from xavier.planning.setting import Setting
from xavier.planning.sites import Site, Use, region_shape
from xavier.theory.activations import resolve
from xavier.theory.quadrature import powers

_CONTRACTIONS = ("dense", "conv", "conv_transpose", "embedding", "recurrent", "attention")
_SIGMAS = 10.0  # no draw lies farther out


def draft(
    flow: Flow,
    recipe: Recipe,
    *,
    overwrite_zeros: bool = False,
    revived: frozenset[str] = frozenset(),
    held: Mapping[str, tuple[float, float]] | None = None,
) -> Plan:
    """Return the plan that a recipe gives for a flow.

    Args:
        flow: What the model computes; without ops, the plan is by module type and order.
        recipe: The recipe.
        overwrite_zeros: Whether to draw weights that arrived as zeros too.
        revived: Weights to draw although they arrived as zeros.
        held: Mean and second moment of parameters that will hold something else than usual.
    """
    used = {use.parameter for op in flow.ops for use in op.weights}
    added = biases(flow)
    planner = Planner(
        flow,
        recipe,
        planned={**planned_moments(flow, frozenset(used), added), **(held or {})},
        rows=planned_rows(flow, held or {}),
        silent=frozenset() if overwrite_zeros else _silent(flow) - revived,
    )
    decisions = planner.decide()
    by_name: dict[str, list[Decision]] = defaultdict(list)
    for each in decisions:
        by_name[each.site.parameter.name].append(each)
    drafter = _Drafter(flow, recipe, by_name, planner, added)
    assignments: list[Assignment] = []
    kept: list[Kept] = []
    for parameter in flow.parameters:
        mine, left = drafter.parameter(parameter)
        drafter.note_range(parameter, mine)
        assignments.extend(mine)
        kept.extend(left)
    kept.extend(
        Kept(name, shape, "buffer", "buffers keep what their owner gives them")
        for name, shape in flow.buffers
    )
    return Plan(
        assignments=tuple(assignments),
        kept=tuple(kept),
        recipe=recipe.name,
        model_digest=flow.model_digest,
        notes=(*flow.notes, *planner.notes, *drafter.notes),
    )


def _silent(flow: Flow) -> frozenset[str]:
    """Return the weights that arrived as zeros and may stay so: the signal goes around them."""
    probe = Planner(flow, _Unit(), planned={}, silent=frozenset())
    around: set[str] = set()
    for site in probe.sites:
        if not site.parameter.zero:
            continue
        ops = [use.op for use in site.uses]
        shared = any(op in probe.structure.shared for op in ops)
        if site.role is Role.RESIDUAL or shared:
            around.add(site.parameter.name)
    return frozenset(around)


class _Unit:
    """Not a recipe of ours: the probe asks for sites alone."""

    name = "unit"

    def choose(self, setting: Setting) -> Any:
        raise AssertionError(setting)


class _Drafter:
    def __init__(
        self,
        flow: Flow,
        recipe: Recipe,
        decisions: Mapping[str, list[Decision]],
        planner: Planner,
        added: Mapping[str, tuple[float, ...]],
    ) -> None:
        self._flow = flow
        self._recipe = recipe
        self._decisions = decisions
        self._planner = planner
        self._added = added
        self._parameters = {each.name: each for each in flow.parameters}
        self._patterns: dict[tuple[str, tuple[int, ...]], str] = {}
        for name in decisions:
            key = (_pattern(name), self._parameters[name].shape)
            self._patterns.setdefault(key, name)
        self.notes: list[str] = []
        if planner.structure.post_norms:
            self.notes.append(
                "the norms stand after the residual adds: writers are not scaled for their number;"
                " if many such layers do not train, DeepNorm (Wang et al. 2022) weighs the stream"
                " by more than 1 and scales them by less"
            )
        if not flow.traced:
            self.notes.append(
                "planned without an example input: fans and functions are by module type and"
                " order, so functional activations, residual writers and packed weights are not"
                " seen"
            )

    def parameter(self, parameter: Parameter) -> tuple[list[Assignment], list[Kept]]:
        """Return what happens to every element of one parameter."""
        name = parameter.name
        if name in self._planner.silent:
            reason = "it arrived as zeros, and the signal goes around it; overwrite_zeros draws it"
            return [], [Kept(name, parameter.shape, "parameter", reason, parameter.aliases)]
        if name in self._decisions and parameter.drawable and 0 not in parameter.shape:
            return self._drawn(parameter, [_assignment(d) for d in self._decisions[name]]), []
        sibling = self._patterns.get((_pattern(name), parameter.shape))
        if sibling is not None and not parameter.touched:
            told = f"this run did not reach it; as `{sibling}`"
            sites = (replace(each.site, parameter=parameter) for each in self._decisions[sibling])
            rows = [_assignment(self._planner.decision(each)) for each in sites]
            rows = [replace(each, reason=f"{told}: {each.reason}") for each in rows]
            return self._drawn(parameter, rows), []
        if self._is_weight(parameter) and (not self._flow.traced or not parameter.touched):
            return self._drawn(parameter, self._by_type(parameter)), []
        treatment = treat(parameter, added_to=self._added.get(name, ()))
        return list(treatment.assignments), list(treatment.kept)

    @staticmethod
    def _is_weight(parameter: Parameter) -> bool:
        kind = parameter.facts.get("kind")
        bias = "bias" in parameter.attribute
        return (
            kind in _CONTRACTIONS
            and not bias
            and parameter.drawable
            and (len(parameter.shape) > 1 and 0 not in parameter.shape)
        )

    def _by_type(self, parameter: Parameter) -> list[Assignment]:
        """Assign by module type and order, which is all that is known without a run."""
        found = fans_by_type(parameter)
        feed_name = str(parameter.facts.get("fed_by", "identity"))
        lookup = parameter.facts.get("kind") == "embedding"
        role = Role.EMBEDDING if lookup else Role.HIDDEN
        if parameter.facts.get("kind") == "recurrent" and "_hh" in parameter.attribute:
            role = Role.RECURRENT
        rows = []
        for region in _gates(parameter):
            shape = region_shape(parameter.shape, region)
            share = shape[0] / parameter.shape[0] if region.axis == 0 else 1.0
            use = WeightUse(parameter.name, region, found.fan_in, found.fan_out)
            site = Site(
                parameter=parameter,
                region=region,
                shape=shape,
                uses=(Use(-1, use),),
                role=role,
                fan_in=found.fan_in,
                fan_out=found.fan_out * share,
            )
            setting = Setting(site, _feed_named(feed_name))
            choice = constrained(site) or self._recipe.choose(setting)
            law = choice.law(setting)
            traced = self._flow.traced
            told = "this run did not reach it" if traced else "by module type and order"
            decision = Decision(
                site, setting.feed, choice, law, float("nan"), float("nan"), "unknown"
            )
            row = _assignment(decision)
            rows.append(replace(row, reason=f"{told}: {row.reason}"))
        return rows

    def note_range(self, parameter: Parameter, rows: Sequence[Assignment]) -> None:
        """Note a law that the parameter's dtype has no room for, before anyone tries to draw it."""
        largest = float(parameter.facts.get("greatest_finite", math.inf))
        for row in rows:
            std = laws.std(row.law, row.shape) if row.law is not None else 0.0
            if std * _SIGMAS > largest:
                self.notes.append(
                    f"`{row.name}`: {row.law!r} reaches beyond its dtype, whose largest number is"
                    f" {largest:.3g}, so it cannot be drawn: the signal is lost before it;"
                    " overrides= may give it another law, or a norm the signal its size"
                )
                return

    def _drawn(self, parameter: Parameter, rows: list[Assignment]) -> list[Assignment]:
        rows = _with_rest(parameter, rows)
        padding = parameter.facts.get("padding_idx")
        if padding is None or len(rows) != 1 or rows[0].region.axis is not None:
            return rows
        return _with_padding(parameter, rows[0], int(padding))


def _assignment(decision: Decision) -> Assignment:
    site, feed = decision.site, decision.feed
    reason = "; ".join((decision.choice.reason, *decision.notes))
    if site.parameter.parametrization not in (None, *SETTLED):
        reason += (
            f"; stored under {site.parameter.parametrization}, so the law is that of the stored"
            " original, and the effective weight's is what the constraint makes of it"
        )
    return Assignment(
        name=site.parameter.name,
        region=site.region,
        shape=site.shape,
        role=site.role,
        fan_in=site.fan_in,
        fan_out=site.fan_out,
        fed_by=feed.name,
        followed_by=decision.followed_by,
        rule=repr(decision.choice.rule),
        law=decision.law,
        reason=reason,
        forward_power=_rounded(feed.forward),
        backward_power=_rounded(feed.backward),
        predicted_q=_rounded(decision.predicted_q),
        predicted_chi=_rounded(decision.predicted_chi),
        follower_law=decision.follower_law,
        aliases=site.parameter.aliases,
        frameworks=_other_counts(site),
    )


def _rounded(value: float) -> float:
    """Return a number without the digits that two machines may compute otherwise."""
    return float(f"{value:.9g}")


def _other_counts(site: Site) -> dict[str, tuple[float, float]]:
    if len(site.parameter.shape) < 2:  # noqa: PLR2004 - a matrix has two axes
        return {}
    theirs = fans.of_shape(site.parameter.shape, convention="torch")
    if (theirs.fan_in, theirs.fan_out) == (site.fan_in, site.fan_out):
        return {}
    return {"torch": (theirs.fan_in, theirs.fan_out)}


def _pattern(name: str) -> str:
    return re.sub(r"\d+", "#", name)


def _with_rest(parameter: Parameter, rows: list[Assignment]) -> list[Assignment]:
    """Add what no op of this run read of a parameter that was read in part."""
    axis = rows[0].region.axis
    if axis is None:
        return rows
    size = parameter.shape[axis]
    spans = sorted(span for row in rows for span in row.region.ranges)
    rest: list[tuple[int, int]] = []
    at = 0
    for start, stop in spans:
        if start > at:
            rest.append((at, start))
        at = max(at, stop)
    if at < size:
        rest.append((at, size))
    if not rest:
        return rows
    region = Region(axis, tuple(rest))
    extra = replace(
        rows[-1],
        region=region,
        shape=region_shape(parameter.shape, region),
        reason=f"this run did not reach it; as the rest: {rows[-1].reason}",
    )
    return [*rows, extra]


def _with_padding(parameter: Parameter, row: Assignment, padding: int) -> list[Assignment]:
    size = parameter.shape[0]
    padding %= size
    spans = tuple(span for span in ((0, padding), (padding + 1, size)) if span[0] < span[1])
    region, hole = Region(0, spans), Region(0, ((padding, padding + 1),))
    return [
        replace(row, region=region, shape=region_shape(parameter.shape, region)),
        replace(
            row,
            region=hole,
            shape=region_shape(parameter.shape, hole),
            rule=f"Fixed({Constant(0.0)!r})",
            law=Constant(0.0),
            reason="the row of the padding index stays zero",
        ),
    ]


def fans_by_type(parameter: Parameter) -> fans.Fans:
    """Return a parameter's fans from its module's type."""
    facts, shape = parameter.facts, parameter.shape
    kind = facts.get("kind")
    if kind == "embedding":
        return fans.Fans(1.0, float(shape[1]))
    if kind in ("conv", "conv_transpose"):
        groups = facts["groups"]
        settings = {"stride": facts["stride"], "dilation": facts["dilation"], "groups": groups}
        if kind == "conv":
            return fans.conv(shape[1] * groups, shape[0], shape[2:], **settings)
        return fans.conv_transpose(shape[0], shape[1] * groups, shape[2:], **settings)
    rest = 1
    for each in shape[1:]:
        rest *= each
    if facts.get("transposed"):
        return fans.Fans(float(shape[0]), float(rest))
    return fans.Fans(float(rest), float(shape[0]))


def _gates(parameter: Parameter) -> list[Region]:
    count = parameter.facts.get("gates", 1)
    if parameter.facts.get("kind") == "attention" and parameter.attribute == "in_proj_weight":
        count = 3
    if count == 1:
        return [Region()]
    step = parameter.shape[0] // count
    return [Region(0, ((at * step, (at + 1) * step),)) for at in range(count)]


def _feed_named(name: str) -> Feed:
    if name in ("identity", "normalization"):
        return Feed(name, 1.0, 1.0)
    function = resolve(name).function
    found = powers(function)
    return Feed(name, found.forward, found.backward, (), function)
