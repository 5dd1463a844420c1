"""What a plan predicts for every op of a flow that holds weights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from xavier import laws
from xavier._types.flow import Flow, OpKind, WeightUse
from xavier._types.plan import Assignment, Plan
from xavier.flow.moments import Feed, Propagation
from xavier.flow.structure import structure
from xavier.planning.parameters import planned_moments


def predict(flow: Flow, plan: Plan) -> dict[int, float]:
    """Carry second moments through a flow under the laws of a plan.

    Args:
        flow: What the model computes.
        plan: Any plan for the model, whoever made it.

    Returns:
        The second moment of what each weighted op computes, by the op's index.
    """
    rows: Mapping[str, list[Assignment]] = defaultdict(list)
    for row in plan.assignments:
        rows[row.name].append(row)
    found: dict[int, float] = {}

    def on_weights(at: int, feed: Feed | None) -> float:
        op = flow.ops[at]
        contracts = op.kind is OpKind.CONTRACT
        power = feed.forward if feed is not None else 1.0
        sizes = [use.fan_out for use in op.weights]
        seconds = [
            _second_moment(use, rows[use.parameter])
            * use.scale**2
            * (use.fan_in * power if contracts else 1.0)
            for use in op.weights
        ]
        total = sum(size * each for size, each in zip(sizes, seconds, strict=True))
        found[at] = total / sum(sizes)
        return found[at]

    drawn = frozenset(rows)
    Propagation(
        flow, structure(flow), planned=planned_moments(flow, drawn), on_weights=on_weights
    ).run()
    return found


def _second_moment(use: WeightUse, rows: list[Assignment]) -> float:
    """Return the second moment of the elements that a use reads; 0 where they stay zero."""
    exact = [row for row in rows if row.region == use.region]
    weights = [(1.0, row) for row in exact] or [
        (float(_overlap(row, use)), row) for row in rows if _overlap(row, use)
    ]
    total = sum(weight for weight, _ in weights)
    if not total:
        return 0.0
    return sum(w * laws.second_moment(row.law, row.shape) for w, row in weights) / total


def _overlap(row: Assignment, use: WeightUse) -> int:
    if row.region.axis is None or use.region.axis is None:
        return 1
    if row.region.axis != use.region.axis:
        return 1
    return sum(
        max(0, min(a[1], b[1]) - max(a[0], b[0]))
        for a in row.region.ranges
        for b in use.region.ranges
    )
