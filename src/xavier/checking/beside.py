"""Theory beside measurement: what each op was expected to give, and where the two part."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from xavier._types import signal_text, text
from xavier._types.flow import Flow, OpKind, Origin
from xavier._types.region import Region
from xavier._types.signal import OpSignal, Signal
from xavier._types.theory import Band, OpPrediction, Theory
from xavier.checking.expectation import Expected, Held, Measured, expect
from xavier.checking.limits import WHY, Limits
from xavier.checking.spreads import Spreads, spreads
from xavier.checking.stacks import plain_stacks
from xavier.checking.thresholds import FALSE_ALARMS, QUANTILE
from xavier.flow.graph import Graph
from xavier.flow.structure import structure

# What the theory itself leaves out, such as that a sum of few terms is not normal: of a healthy
# model's wide layers some percent.
_MATERIAL: Final = 1.25
_RECURRENT: Final = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})


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
    found = structure(flow)
    seen = _measured(flow, joined)
    known = given.unit_cotangent and len(flow.outputs) == 1
    cotangent = 1.0 if known else math.nan
    whole = expect(flow, found, held, cotangent=1.0)
    step = expect(flow, found, held, cotangent=cotangent, measured=seen)
    chance = spreads(
        step,
        outputs=frozenset(seen.outputs),
        gradients=frozenset(seen.gradients),
    )
    limits = Limits(step.propagation, frozen_norms=given.frozen_norms)
    teller = _Teller(flow, joined, whole, step, chance)
    scale = 1.0 if known else teller.scale()
    slack = 1 / max(1 - given.dropped, 1e-3)
    ops = tuple(
        teller.prediction(at, limits, scale=scale, slack=slack)
        for at in sorted(joined, key=lambda at: joined[at].index)
    )
    measured = {op.index: op for op in signal.ops}
    departs = _departs(ops, measured)
    return Theory(
        ops=ops,
        departs=None if departs is None else departs.index,
        summary=_summary(departs, ops, measured),
        stacks=tuple(plain_stacks(flow, whole, held, joined, biases(flow, joined))),
    )


def moments_held(
    flow: Flow, signal: Signal
) -> tuple[dict[tuple[str, Region], float], set[tuple[str, Region]]]:
    """Return the second moments of whole weights, as measured, and the regions that lack one."""
    rms = {each.name: each.rms for each in signal.weights}
    plain = {each.name: each for each in flow.parameters if each.parametrization is None}
    found: dict[tuple[str, Region], float] = {}
    wanted: set[tuple[str, Region]] = set()
    for use in (use for op in flow.ops for use in op.weights):
        given = plain.get(use.parameter)
        if given is not None and given.name in rms and use.region.covers(given.shape):
            found[use.parameter, use.region] = rms[given.name] ** 2
        else:
            wanted.add((use.parameter, use.region))
    return found, wanted


def join(flow: Flow, ops: Sequence[OpSignal]) -> dict[int, OpSignal]:
    """Return the measured op of each weighted op of a flow, by the flow's index.

    Both are in the order of execution. Two are the same if they stand in one module, read a
    parameter in common, and give as many elements; what one of them saw alone is left out, and
    so are recurrent layers, which the flow takes apart.
    """
    waiting: Mapping[str, list[OpSignal]] = defaultdict(list)
    for op in ops:
        if op.op.removesuffix("_cell") not in _RECURRENT:
            waiting[op.path].append(op)
    found: dict[int, OpSignal] = {}
    for at, op in enumerate(flow.ops):
        names = {use.parameter for use in op.weights}
        size = math.prod(flow.values[op.output].shape)
        for each in waiting[op.path] if names else ():
            if math.prod(each.shape) == size and not names.isdisjoint(_effective(each.weights)):
                found[at] = each
                waiting[op.path].remove(each)
                break
    return found


def _effective(names: Sequence[str]) -> Iterator[str]:
    """Yield names, those of a parametrization's parts as that of the weight that they make."""
    for name in names:
        yield name
        head, _, tail = name.partition("parametrizations.")
        if tail:
            yield head + tail.partition(".")[0]
        for suffix in ("_g", "_v", "_orig"):
            yield name.removesuffix(suffix)


def biases(flow: Flow, joined: Mapping[int, OpSignal]) -> dict[int, float]:
    """Return the second moment of the bias that the measured output of each op includes."""
    graph = Graph(flow)
    found: dict[int, float] = {}
    for at, op in joined.items():
        value: int | None = flow.ops[at].output
        while value is not None and graph.is_read_once(value):
            reader = flow.ops[graph.consumers[value][0]]
            added = [flow.values[each] for each in reader.inputs if each != value]
            value = reader.output if reader.kind is OpKind.MOVE else None
            if reader.kind is OpKind.ADD and len(added) == 1:
                own = added[0].origin is Origin.PARAMETER and added[0].name in op.weights
                found |= {at: added[0].second} if own else {}
    return found


def _measured(flow: Flow, joined: Mapping[int, OpSignal]) -> Measured:
    added = biases(flow, joined)
    outputs = {
        at: max(op.rms**2 - added.get(at, 0.0), 1e-6 * op.rms**2)
        for at, op in joined.items()
        if math.isfinite(op.rms) and not op.nonfinite
    }
    gradients = {
        at: op.gradient_rms**2
        for at, op in joined.items()
        if op.gradient_rms is not None and math.isfinite(op.gradient_rms)
    }
    return Measured(outputs, gradients)


class _Teller:
    """Makes predictions from second moments and their spreads."""

    def __init__(
        self,
        flow: Flow,
        joined: Mapping[int, OpSignal],
        whole: Expected,
        step: Expected,
        chance: Spreads,
    ) -> None:
        self._joined = joined
        self._biases = biases(flow, joined)
        self._whole = whole
        self._step = step
        self._chance = chance

    def scale(self) -> float:
        """Return what the last op's gradient is, for one that is expected at unit cotangents."""
        for at in sorted(self._joined, key=lambda at: -self._joined[at].index):
            expected, real = self._whole.gradients.get(at), self._joined[at].gradient_rms
            if expected and real is not None and 0 < real < math.inf:
                return real / math.sqrt(expected)
        return math.nan

    def prediction(self, at: int, limits: Limits, *, scale: float, slack: float) -> OpPrediction:
        """Return an op's prediction.

        Args:
            at: The op's index in the flow.
            limits: Tells what the theory does not follow.
            scale: Of the carried gradients.
            slack: By what dropout may enlarge a second moment.
        """
        chance, level = self._chance, FALSE_ALARMS / (2 * len(self._joined))
        gradient, step_gradient = (
            _root(each.gradients.get(at)) for each in (self._whole, self._step)
        )
        back, back_step = (
            each.get(at, 0.0) for each in (chance.gradients, chance.step_gradients)
        )
        return OpPrediction(
            index=self._joined[at].index,
            output=_deep(self._output(at, self._whole), chance.outputs[at]),
            gradient=_deep(None if gradient is None else gradient * scale, back),
            step_output=_one(
                self._output(at, self._step), chance.step_outputs[at], level, slack=slack
            ),
            step_gradient=_one(step_gradient, back_step, level, slack=slack),
            limits=limits.before(at),
            gradient_limits=limits.after(at),
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
    return Band(rms, rms * math.exp(-variance / 4 - spread), rms * math.exp(spread))


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


def _summary(
    departs: OpPrediction | None, ops: Sequence[OpPrediction], measured: Measures
) -> str:
    if departs is None:
        known = sum(not each.limits and each.step_output is not None for each in ops)
        told = f"theory and measurement agree at {known} of {text.count(len(measured), 'op')}"
        rest = len(measured) - known
        return f"{told}; at the other {rest} nothing is concluded" if rest else told
    op = measured[departs.index]
    if _output_parts(departs, measured):
        what, near, real, band = "output", "before", op.rms, departs.step_output
    else:
        what, near, real, band = "gradient", "after", op.gradient_rms, departs.step_gradient
    assert band is not None
    low, expected, high = map(signal_text.quantity, (band.low, band.rms, band.high))
    return (
        f"theory and measurement part at {signal_text.place(op)}: its {what} has RMS "
        f"{signal_text.quantity(real)}, where its weights and the ops right {near} it predict "
        f"{expected}, and chance gives {low} to {high}"
    )


def limits_in_words(theory: Theory) -> list[str]:
    """Return what the theory does not follow in a model, each with the reason and how often."""
    counted: dict[str, int] = defaultdict(int)
    for each in theory.ops:
        for word in dict.fromkeys((*each.limits, *each.gradient_limits)):
            counted[word] += 1
    return [f"{word} ({number}): {WHY[word]}" for word, number in counted.items()]
