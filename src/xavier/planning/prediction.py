"""What a plan predicts for every op of a flow that holds weights."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xavier import laws
from xavier._types.flow import Flow, OpKind, WeightUse
from xavier._types.plan import Assignment, Plan, Region
from xavier.flow.feeds import Feed
from xavier.flow.gradients import gradients
from xavier.flow.ledger import Passed
from xavier.flow.moments import Propagation
from xavier.flow.structure import structure
from xavier.planning.parameters import arrived_moments, arrived_rows, constant_rows, drawn_moments


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a plan predicts for one weighted op.

    Attributes:
        second: The second moment of what it computes, biases not counted.
        gradient: That of the gradient there, for cotangents of unit second moment at every
            output; None where the theory says nothing (see `xavier.flow.gradients`).
    """

    second: float
    gradient: float | None


def predict(flow: Flow, plan: Plan) -> dict[int, Predicted]:
    """Carry second moments through a flow under the laws of a plan, forward and back.

    Args:
        flow: What the model computes.
        plan: Any plan for the model, whoever made it.

    Returns:
        The predictions, by the op's index; without ops whose weights are kept at values that are
        not known.
    """
    rows: Mapping[str, list[Assignment]] = defaultdict(list)
    for row in plan.assignments:
        rows[row.name].append(row)
    kept = {each.name: float(each.facts.get("second", math.nan)) for each in flow.parameters}
    found: dict[int, float] = {}

    def on_weights(at: int, feed: Feed | None) -> Passed:
        op = flow.ops[at]
        contracts = op.kind is OpKind.CONTRACT
        power = feed.forward if feed is not None else 1.0
        total = size = back = 0.0
        for use in op.weights:
            held = rows.get(use.parameter)
            second = _second_moment(use, held) if held else kept[use.parameter]
            share = use.fan_out if contracts else 1.0
            total += share * second * use.scale**2 * (use.fan_in * power if contracts else 1.0)
            size += share
            back += use.fan_out * second * use.scale**2
        if math.isnan(total):
            return Passed(power, 1.0)
        found[at] = total / size
        return Passed(found[at], back)

    planned = arrived_moments(flow) | {name: drawn_moments(held) for name, held in rows.items()}
    vectors = {
        each.name: constant_rows(each.shape, rows[each.name])
        if each.name in rows
        else arrived_rows(each)
        for each in flow.parameters
    }
    propagation = Propagation(
        flow,
        structure(flow),
        planned=planned,
        rows={name: each for name, each in vectors.items() if each is not None},
        on_weights=on_weights,
    )
    propagation.run()
    back = gradients(propagation)
    return {at: Predicted(second, back.get(at)) for at, second in found.items()}


def _second_moment(use: WeightUse, rows: Sequence[Assignment]) -> float:
    """Return the mean square of the elements that a use reads; 0 where they stay zero."""
    shared = [(_shared(row, use.region), row) for row in rows]
    total = sum(size for size, _ in shared)
    if not total:
        return 0.0
    return sum(size * laws.second_moment(row.law, row.shape) for size, row in shared) / total


def _shared(row: Assignment, region: Region) -> float:
    """Return how many elements of a row a region has; of one cut along another axis, all count."""
    size = float(math.prod(row.shape))
    if row.region.axis is None or row.region.axis != region.axis:
        return size
    length = row.shape[row.region.axis]
    common = sum(
        max(0, min(a[1], b[1]) - max(a[0], b[0])) for a in row.region.ranges for b in region.ranges
    )
    return size * common / length
