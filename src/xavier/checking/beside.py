"""Theory beside measurement: what each op was expected to give, and where the two part."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from xavier._types import signal_text, text
from xavier._types.flow import Flow
from xavier._types.signal import OpSignal, Signal
from xavier._types.theory import Band, OpPrediction, PlainStack, Theory
from xavier.checking.expectation import Expected, Held, expect
from xavier.checking.joining import biases, join, second_moments
from xavier.checking.limits import Limits
from xavier.checking.spreads import spreads
from xavier.checking.stacks import plain_stacks
from xavier.checking.thresholds import FALSE_ALARMS, QUANTILE
from xavier.flow.structure import structure

# What the theory itself leaves out, such as that a sum of few terms is not normal: of a healthy
# model's wide layers some percent.
_MATERIAL: Final = 1.25
_LEAST_KEPT: Final = 1e-3
_MOST: Final = 100.0  # e-folds, beyond which nothing is told apart


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Under what the model ran, as far as the theory minds.

    Attributes:
        unit_cotangent: Whether the gradient at the only output was of unit second moment.
        dropped: The largest share of elements that a dropout drops.
        frozen_norms: Whether a batch norm used its running statistics.
    """

    unit_cotangent: bool = True
    dropped: float = 0.0
    frozen_norms: bool = False


def beside(flow: Flow, signal: Signal, held: Held, given: Circumstances) -> Theory:
    """Return what the theory expects at each op, and where the measurement parts from it.

    Args:
        flow: What the model computes, its inputs with the example's moments.
        signal: What was measured.
        held: The second moment of each region of a weight that an op reads.
        given: Under what the model ran.

    Returns:
        Predictions for the ops that were found in both; recurrent layers have none.
    """
    joined = join(flow, signal.ops)
    if not joined:
        return Theory()
    teller = _Teller(flow, joined, held, given)
    ops = tuple(map(teller.prediction, sorted(joined, key=lambda at: joined[at].index)))
    measured = {op.index: op for op in signal.ops}
    departs = _departs(ops, measured)
    return Theory(
        ops=ops,
        departs=None if departs is None else departs.index,
        summary=_summary(departs, ops, measured),
        evidence="" if departs is None else _apart(departs, measured[departs.index]),
        stacks=tuple(teller.stacks()),
    )


class _Teller:
    """Makes predictions from second moments and their spreads."""

    def __init__(
        self, flow: Flow, joined: Mapping[int, OpSignal], held: Held, given: Circumstances
    ) -> None:
        self._flow, self._joined, self._held = flow, joined, held
        self._biases = biases(flow, joined)
        known = given.unit_cotangent and len(flow.outputs) == 1
        seen, found = second_moments(flow, joined), structure(flow)
        self._whole = expect(flow, found, held, cotangent=1.0)
        self._step = expect(flow, found, held, cotangent=1.0 if known else math.nan, measured=seen)
        self._chance = spreads(
            self._step, outputs=frozenset(seen.outputs), gradients=frozenset(seen.gradients)
        )
        self._limits = Limits(self._step.propagation, held, frozen_norms=given.frozen_norms)
        self._scale = 1.0 if known else self._scale_of_last()
        self._slack = 1 / max(1 - given.dropped, _LEAST_KEPT)
        self._level = FALSE_ALARMS / (2 * len(joined))
        of_loss = not given.unit_cotangent or any(not flow.values[at].shape for at in flow.outputs)
        self._everywhere = ("loss",) if of_loss else ()

    def _scale_of_last(self) -> float:
        """Return what the last op's gradient is, for one that is expected at unit cotangents."""
        for at in sorted(self._joined, key=lambda at: -self._joined[at].index):
            expected, real = self._whole.gradients.get(at), self._joined[at].gradient_rms
            if expected and real is not None and 0 < real < math.inf:
                return real / math.sqrt(expected)
        return math.nan

    def stacks(self) -> Iterator[PlainStack]:
        """Yield the model's plain stacks."""
        return plain_stacks(self._flow, self._whole, self._held, self._joined, self._biases)

    def prediction(self, at: int) -> OpPrediction:
        """Return the prediction for an op, by its index in the flow."""
        chance, level, slack = self._chance, self._level, self._slack
        gradient, step_gradient = (
            _root(each.gradients.get(at)) for each in (self._whole, self._step)
        )
        output, step_output = (self._output(at, each) for each in (self._whole, self._step))
        back, back_step = (each.get(at, 0.0) for each in (chance.gradients, chance.step_gradients))
        return OpPrediction(
            index=self._joined[at].index,
            output=_deep(output, chance.outputs[at]),
            gradient=_deep(None if gradient is None else gradient * self._scale, back),
            step_output=_one(step_output, chance.step_outputs[at], level, slack=slack),
            step_gradient=_one(step_gradient, back_step, level, slack=slack),
            limits=self._limits.before(at),
            gradient_limits=(*self._everywhere, *self._limits.after(at)),
        )

    def _output(self, at: int, expected: Expected) -> float | None:
        second = expected.outputs.get(at)
        return None if second is None else _root(second + self._biases.get(at, 0.0))


def _root(second: float | None) -> float | None:
    return math.sqrt(second) if second is not None and 0 <= second < math.inf else None


def _deep(rms: float | None, variance: float) -> Band | None:
    """Return the band for many layers: a log-normal law, which drifts down."""
    if rms is None or math.isnan(rms):
        return None
    spread = QUANTILE * math.sqrt(variance) / 2
    drift = min(variance / 4 + spread, _MOST)
    return Band(rms, rms * math.exp(-drift), rms * math.exp(min(spread, _MOST)))


def _one(rms: float | None, variance: float, level: float, *, slack: float) -> Band | None:
    """Return the band for one layer, whose bounds are passed with the probability `level`.

    A mean of squares over n units is a chi squared one over its degrees of freedom, `2 / variance`.
    Chernoff's bound on both of its tails is `x - 1 - log(x) = variance * log(2 / level)`.
    """
    if rms is None or math.isnan(rms):
        return None
    goal = variance * math.log(2 / level)
    low, high = -1.0 - goal, 1.0 + goal  # the logarithm of the lower x, and the upper x
    for _ in range(60):
        low, high = math.exp(low) - 1 - goal, 1 + goal + math.log(high)
    down, up = math.exp(low / 2), math.sqrt(high)
    return Band(rms, rms * min(down, 1 / _MATERIAL) / slack, rms * max(up, _MATERIAL) * slack)


Measures = Mapping[int, OpSignal]


def _departs(ops: Sequence[OpPrediction], measured: Measures) -> OpPrediction | None:
    """Return the first op in forward order that parts, else the first in backward order."""
    forward = (each for each in ops if _output_parts(each, measured))
    backward = (each for each in reversed(ops) if _gradient_parts(each, measured))
    return next(forward, None) or next(backward, None)


def _output_parts(each: OpPrediction, measured: Measures) -> bool:
    band = None if each.limits else each.step_output
    return band is not None and not band.holds(measured[each.index].rms)


def _gradient_parts(each: OpPrediction, measured: Measures) -> bool:
    band = None if each.gradient_limits else each.step_gradient
    return band is not None and not band.holds(measured[each.index].gradient_rms)


def _summary(departs: OpPrediction | None, ops: Sequence[OpPrediction], measured: Measures) -> str:
    if departs is not None:
        return f"theory and measurement part at {signal_text.place(measured[departs.index])}"
    outputs = sum(each.step_output is not None and not each.limits for each in ops)
    gradients = sum(each.step_gradient is not None and not each.gradient_limits for each in ops)
    size = sum(bool(op.weights) for op in measured.values())
    if outputs == gradients == size:
        return f"theory and measurement agree both ways at {text.count(size, 'op')}"
    return (
        f"theory and measurement agree: outputs at {outputs} of {text.count(size, 'op')}, "
        f"gradients at {gradients}; of the rest nothing is concluded"
    )


def _apart(departs: OpPrediction, op: OpSignal) -> str:
    """Return the numbers of an op at which theory and measurement part."""
    if _output_parts(departs, {op.index: op}):
        what, near, real, band = "output", "before", op.rms, departs.step_output
    else:
        what, near, real, band = "gradient", "after", op.gradient_rms, departs.step_gradient
    assert band is not None
    low, expected, high = map(signal_text.quantity, (band.low, band.rms, band.high))
    return (
        f"its {what} has RMS {signal_text.quantity(real)}, where its weights and the ops right "
        f"{near} it predict {expected}, and chance gives {low} to {high}"
    )
