"""What the theory expects at each weighted op, from the weights that are there.

A prediction of a plan takes each weight's law; this one takes the second moment that a weight
really has, so that it holds for any start. Carried through the whole graph it is the theory
beside the measurement. Told at each op what was measured there before it goes on, it predicts one
step at a time, and a difference is the fault of one op.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from xavier._types.flow import Flow, Op, OpKind
from xavier._types.region import Region
from xavier.checking.bends import Bends
from xavier.flow.feeds import Feed
from xavier.flow.gradients import gradients
from xavier.flow.ledger import Passed
from xavier.flow.moments import Propagation
from xavier.flow.structure import Structure
from xavier.planning.parameters import arrived_moments, arrived_rows

Held = Mapping[tuple[str, Region], float]


@dataclass(frozen=True, slots=True)
class Measured:
    """Second moments that were measured, by the op's index.

    Attributes:
        outputs: Of what a weighted op gives, biases taken off.
        gradients: Of the gradient there.
    """

    outputs: Mapping[int, float]
    gradients: Mapping[int, float]


@dataclass(frozen=True)
class Expected:
    """Second moments that the theory expects.

    Attributes:
        outputs: Of what each weighted op gives, biases not counted, by its index.
        gradients: Of the gradient there; without ops of which the theory says nothing.
        feeds: What each weighted op multiplies.
        propagation: The pass over the flow that they come from.
        bends: How chance passes the functions that were met.
    """

    outputs: dict[int, float]
    gradients: dict[int, float]
    feeds: dict[int, Feed]
    propagation: Propagation
    bends: Bends


def expect(
    flow: Flow,
    structure: Structure,
    held: Held,
    *,
    cotangent: float,
    measured: Measured | None = None,
) -> Expected:
    """Carry second moments through a flow under the weights that are there, both ways.

    Args:
        flow: What the model computes, its inputs with the moments that they have.
        structure: Its structure.
        held: The second moment of each region of a weight that an op reads.
        cotangent: The second moment of the gradient at the outputs; nan if it is not known.
        measured: What to go on from behind each op, in place of what is expected there.

    Returns:
        What is expected, without ops whose weights' moments are not known.
    """
    known, bends = measured or Measured({}, {}), Bends()
    found: dict[int, float] = {}
    feeds: dict[int, Feed] = {}

    def on_weights(at: int, feed: Feed | None) -> Passed:
        power = 1.0 if feed is None else feed.forward
        second, back = through(flow.ops[at], held, power)
        if feed is not None:
            feeds[at] = feed
        if math.isnan(second):
            return Passed(known.outputs.get(at, power), 1.0)
        found[at] = second
        return Passed(known.outputs.get(at, second), back)

    passing = Propagation if measured is None else _Stepping
    propagation = passing(
        flow, structure, planned=arrived_moments(flow), rows=_rows(flow), on_weights=on_weights
    )
    propagation.run()
    back = gradients(
        propagation, cotangent=cotangent, measured=known.gradients, derivatives=bends.slopes
    )
    return Expected(found, back, feeds, propagation, bends)


def _rows(flow: Flow) -> dict[str, np.ndarray]:
    """Return the vectors that are constants by parts."""
    vectors = {each.name: arrived_rows(each) for each in flow.parameters}
    return {name: rows for name, rows in vectors.items() if rows is not None}


class _Stepping(Propagation):
    """A propagation that asks of a feed nothing but its size: no name, no derivative."""

    def feed(self, inputs: tuple[int, ...]) -> Feed:
        """Return what a weighted op multiplies."""
        expressions = [self.expression(each) for each in inputs]
        if any(root.recurrent for each in expressions for root in each.all_roots):
            return super().feed(inputs)
        return Feed("", math.prod(self._moments(each)[1] for each in expressions), 1.0)


def through(op: Op, held: Held, power: float) -> tuple[float, float]:
    """Return what an op's weights make of a second moment, and of a gradient's on the way back.

    At a convolution's borders some products meet the padding: they count as none.
    """
    contracts = op.kind is OpKind.CONTRACT
    inside = op.attributes.get("inside", 1.0)
    total = size = back = 0.0
    for use in op.weights:
        second = held.get((use.parameter, use.region), math.nan) * use.scale**2
        share = use.fan_out if contracts else 1.0
        total += share * second * (use.fan_in * inside * power if contracts else 1.0)
        size += share
        back += use.fan_out * inside * second
    return total / size if size else math.nan, back
