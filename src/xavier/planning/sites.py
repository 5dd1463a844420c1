"""Sites: the weight regions of a flow, each with all its uses."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod

from xavier._types.flow import Flow, OpKind, Parameter, WeightUse
from xavier._types.plan import Region, Role
from xavier.flow.structure import Structure


@dataclass(frozen=True)
class Use:
    """One op's reading of a site."""

    op: int
    weights: WeightUse


@dataclass(frozen=True)
class Site:
    """A region of a parameter that gets one law.

    Attributes:
        parameter: The parameter.
        region: The part of it.
        shape: The region's shape.
        uses: The ops that read it.
        role: What it does.
        fan_in: Products summed into one output element; over all addends of a shared sum.
        fan_out: Products that one input element enters.
        writes: For a residual writer: how many writes its stream has, without those that stay
            zero.
        in_recurrence: Whether it multiplies a state that comes back, or is added to one that does.
    """

    parameter: Parameter
    region: Region
    shape: tuple[int, ...]
    uses: tuple[Use, ...]
    role: Role
    fan_in: float
    fan_out: float
    writes: int = 0
    in_recurrence: bool = False
    notes: tuple[str, ...] = field(default=())

    @property
    def key(self) -> tuple[str, Region]:
        """What identifies it in a plan."""
        return (self.parameter.name, self.region)

    @property
    def scale(self) -> float:
        """The constant that multiplies the stored weight on its way into the op."""
        return self.uses[0].weights.scale


def region_shape(shape: tuple[int, ...], region: Region) -> tuple[int, ...]:
    """Return the shape of a region of a parameter."""
    if region.axis is None:
        return shape
    size = sum(stop - start for start, stop in region.ranges)
    return (*shape[: region.axis], size, *shape[region.axis + 1 :])


def sites(flow: Flow, structure: Structure) -> list[Site]:
    """Return the weight regions that the flow's ops read, in the order of the parameters.

    Args:
        flow: The flow.
        structure: Its structure, without what stays zero.
    """
    uses: dict[str, list[Use]] = defaultdict(list)
    for at, op in enumerate(flow.ops):
        if at in structure.scores:
            continue
        for each in op.weights:
            uses[each.parameter].append(Use(at, each))
    found: list[Site] = []
    for parameter in flow.parameters:
        for region, group in _partition(parameter, uses.get(parameter.name, [])):
            found.append(_site(flow, structure, parameter, region, group))
    return found


def _partition(parameter: Parameter, uses: list[Use]) -> list[tuple[Region, list[Use]]]:
    """Group uses by region; regions that overlap without being equal become the whole."""
    groups: dict[Region, list[Use]] = {}
    for use in uses:
        groups.setdefault(use.weights.region, []).append(use)
    if len(groups) > 1 and _overlap(list(groups)):
        return [(Region(), uses)]
    ordered = sorted(groups.items(), key=lambda item: item[0].ranges)
    return _with_siblings_merged(ordered)


def _overlap(regions: list[Region]) -> bool:
    if any(region.axis is None for region in regions):
        return True
    if len({region.axis for region in regions}) > 1:
        return True
    spans = sorted(span for region in regions for span in region.ranges)
    return any(left[1] > right[0] for left, right in pairwise(spans))


def _with_siblings_merged(
    groups: list[tuple[Region, list[Use]]],
) -> list[tuple[Region, list[Use]]]:
    """Join slices along a batched axis, such as experts read one at a time, into one region.

    Blocks of a packed projection, which are cut along a kept axis of one op, stay apart.
    """
    merged: list[tuple[Region, list[Use]]] = []
    for region, uses in groups:
        first = uses[0].weights
        alone = region.axis is None or region.axis in (*first.kept, *first.contracted)
        if merged and not alone:
            before, known = merged[-1]
            other = known[0].weights
            same = (other.fan_in, other.fan_out) == (first.fan_in, first.fan_out)
            if before.axis == region.axis and same:
                merged[-1] = (Region(region.axis, _joined(before, region)), [*known, *uses])
                continue
        merged.append((region, list(uses)))
    return merged


def _joined(left: Region, right: Region) -> tuple[tuple[int, int], ...]:
    spans = sorted((*left.ranges, *right.ranges))
    out: list[tuple[int, int]] = []
    for start, stop in spans:
        if out and out[-1][1] == start:
            out[-1] = (out[-1][0], stop)
        else:
            out.append((start, stop))
    return tuple(out)


def _site(
    flow: Flow,
    structure: Structure,
    parameter: Parameter,
    region: Region,
    uses: list[Use],
) -> Site:
    if region.axis is not None:
        covered = sum(stop - start for start, stop in region.ranges)
        if covered == parameter.shape[region.axis]:
            region = Region()
    ops = [use.op for use in uses]
    fan_in = max(_fan_in(flow, structure, use) for use in uses)
    return Site(
        parameter=parameter,
        region=region,
        shape=region_shape(parameter.shape, region),
        uses=tuple(uses),
        role=_role(flow, structure, ops),
        fan_in=fan_in,
        fan_out=max(use.weights.fan_out for use in uses),
        writes=max(map(structure.count_of_writes, ops), default=0),
        in_recurrence=any(
            op in structure.recurrent or op in structure.recurrent_sums for op in ops
        ),
    )


def _fan_in(flow: Flow, structure: Structure, use: Use) -> float:
    addends = structure.shared.get(use.op)
    if not addends or use.op in structure.writes:
        return use.weights.fan_in
    others = [at for at in addends if at != use.op]
    return use.weights.fan_in + sum(
        max(each.fan_in for each in flow.ops[at].weights) for at in others
    )


def _role(flow: Flow, structure: Structure, ops: list[int]) -> Role:
    kinds = {flow.ops[op].kind for op in ops}
    if kinds == {OpKind.LOOKUP}:
        return Role.EMBEDDING
    if OpKind.LOOKUP in kinds:
        return Role.TIED
    if any(op in structure.recurrent for op in ops):
        return Role.RECURRENT
    if any(op in structure.writes for op in ops):
        return Role.RESIDUAL
    if any(op in structure.heads for op in ops):
        return Role.HEAD
    if any(op in structure.first for op in ops):
        return Role.INPUT
    return Role.HIDDEN


def size(shape: tuple[int, ...]) -> int:
    """Return the number of elements of a shape."""
    return prod(shape)
