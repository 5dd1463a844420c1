"""How far a signal strays from constant variance: each symptom in e-folds, with its place."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Final

from xavier._types.signal import LOOKUPS, OpSignal, Signal, Verdict
from xavier.checking.thresholds import BOUNDED, FEWEST_OPS, LEAST_SPREAD, TOLERANCES, units

_LEAST = 1e-38  # of an RMS, whose logarithm is taken
_Profile = Sequence[tuple[OpSignal, float]]


class Kind(StrEnum):
    """What strays."""

    GROWTH = "growth"  # of the outputs, over the depth
    DECAY = "decay"
    GRADIENT_GROWTH = "gradient growth"  # on the way back
    GRADIENT_DECAY = "gradient decay"
    STEP_DECAY = "step decay"  # of the gradient, half-way back through a recurrent layer's steps
    FAINTNESS = "faintness"  # of a quarter of the outputs, wherever they stand
    LIKENESS = "likeness"  # of different inputs
    SATURATION = "saturation"  # of bounded functions
    CHOICE = "choice"  # of a softmax, which passes no gradient where one has it all
    OUTPUT = "output"  # its size, beside one


VERDICTS: Final = {
    Kind.GROWTH: Verdict.EXPLODING,
    Kind.DECAY: Verdict.VANISHING,
    Kind.GRADIENT_GROWTH: Verdict.EXPLODING,
    Kind.GRADIENT_DECAY: Verdict.VANISHING,
    Kind.STEP_DECAY: Verdict.VANISHING,
    Kind.FAINTNESS: Verdict.VANISHING,
    Kind.LIKENESS: Verdict.COLLAPSED,
    Kind.SATURATION: Verdict.SATURATED,
    Kind.CHOICE: Verdict.SATURATED,
    Kind.OUTPUT: Verdict.EXPLODING,
}


@dataclass(frozen=True, slots=True)
class Symptom:
    """One way in which a signal strays.

    Attributes:
        kind: What strays.
        size: How far, in e-folds: the logarithm of a ratio of RMS or of a share that is left.
        where: The op at which it first exceeds its tolerance; if none does, the one of its peak.
        evidence: The numbers, in one sentence.
    """

    kind: Kind
    size: float
    where: str
    evidence: str

    @property
    def verdict(self) -> Verdict:
        """Return what it is called where it goes too far."""
        return VERDICTS[self.kind]

    @property
    def share(self) -> float:
        """Return the size in units of its tolerance, at which training is a matter of luck."""
        return self.size / TOLERANCES[self.kind]


def symptoms(signal: Signal) -> tuple[Symptom, ...]:
    """Return every symptom that a signal shows, however weak, those of the forward pass first."""
    finders: tuple[Callable[[Signal], Symptom | None], ...] = (
        _growth,
        _output,
        _gradient_growth,
        _decay,
        _faintness,
        _gradient_decay,
        _step_decay,
        _likeness,
        _saturation,
        _choice,
    )
    found = (find(signal) for find in finders)
    return tuple(each for each in found if each is not None)


def contractions(signal: Signal) -> list[OpSignal]:
    """Return the ops in which a weight multiplies the data."""
    return [op for op in signal.ops if op.weights and op.op not in LOOKUPS]


def graded(ops: Sequence[OpSignal]) -> list[tuple[OpSignal, float]]:
    """Return the ops that a gradient reached, each with its RMS."""
    return [(op, op.gradient_rms) for op in ops if op.gradient_rms is not None]


def place(op: OpSignal) -> str:
    """Return the path of an op; of an op of the model itself, its first weight's name."""
    return op.path or (op.weights[0] if op.weights else op.op)


def _symptom(
    kind: Kind, profile: _Profile, text: Callable[[OpSignal, float], str]
) -> Symptom | None:
    """Return the symptom of a profile along the way of the signal, if it strays at all."""
    size = max((each for _, each in profile), default=0.0)
    if not size > 0:
        return None
    bound = min(size, TOLERANCES[kind])
    op, there = next((op, each) for op, each in profile if each >= bound)
    return Symptom(kind, size, place(op), text(op, there))


def _log(value: float) -> float:
    return math.log(max(value, _LEAST))


def _growth(signal: Signal) -> Symptom | None:
    ops = contractions(signal)
    base = max((op.rms for op in ops[:FEWEST_OPS]), default=0.0)
    if not base > 0:
        return None
    profile = [(op, _log(op.rms) - math.log(base)) for op in ops]
    return _symptom(Kind.GROWTH, profile, _of_outputs(ops, base))


def _decay(signal: Signal) -> Symptom | None:
    """Every op from one on is faint; the head is not counted, which may be small."""
    ops = contractions(signal)[:-1]
    base = max((op.rms for op in ops[:FEWEST_OPS]), default=0.0)
    if len(ops) <= FEWEST_OPS or not base > 0:
        return None
    profile: list[tuple[OpSignal, float]] = []
    most = 0.0
    for place_from_end, op in enumerate(reversed(ops), 1):
        most = max(most, op.rms)
        if place_from_end >= FEWEST_OPS:
            profile.append((op, math.log(base) - _log(most)))
    return _symptom(Kind.DECAY, profile[::-1], _of_outputs(ops, base))


def _faintness(signal: Signal) -> Symptom | None:
    """Three quarters of the ops are stronger; those of zero weights are meant, and not counted."""
    ops = [op for op in contractions(signal)[:-1] if not op.silent]
    base = max((op.rms for op in ops[:FEWEST_OPS]), default=0.0)
    if len(ops) <= FEWEST_OPS or not base > 0:
        return None
    at = sorted(ops, key=lambda op: op.rms)[len(ops) // 4]
    profile = [(at, math.log(base) - _log(at.rms))]
    return _symptom(Kind.FAINTNESS, profile, _of_outputs(ops, base))


def _of_outputs(ops: Sequence[OpSignal], base: float) -> Callable[[OpSignal, float], str]:
    return lambda op, _: _ratio_text("output RMS", op.rms, base, place(ops[0]))


def _output(signal: Signal) -> Symptom | None:
    """The last op's output is large beside the one that losses are made for."""
    last = contractions(signal)[-1:]
    return _symptom(
        Kind.OUTPUT,
        [(op, _log(op.rms)) for op in last],
        lambda op, _: f"the output RMS of the last op is {op.rms:.3g}, where losses expect about 1",
    )


def _gradient_growth(signal: Signal) -> Symptom | None:
    """A gradient that is large where the output is small is undone by the norm that made it so."""
    last = max((op.rms for op in contractions(signal)[-FEWEST_OPS - 1 : -1]), default=0.0)
    depth = [
        (op, _log(gradient) - math.log(reference) + min(0.0, _log(op.rms) - _log(last)))
        for op, gradient, _, reference in _backward(signal)
    ]
    steps = [(op, _log(max(each)) - math.log(each[-1])) for op, each in _through_steps(signal)]
    return _symptom(Kind.GRADIENT_GROWTH, [*depth, *steps], _grown(last))


def _gradient_decay(signal: Signal) -> Symptom | None:
    """No op up to one gets more than a trace of the gradient that the last ones have."""
    depth = [(op, math.log(reference) - _log(most)) for op, _, most, reference in _backward(signal)]
    return _symptom(Kind.GRADIENT_DECAY, depth, _faded)


def _step_decay(signal: Signal) -> Symptom | None:
    profile = [(op, math.log(each[-1]) - _log(median(each))) for op, each in _through_steps(signal)]
    return _symptom(Kind.STEP_DECAY, profile, _faded)


def _grown(last: float) -> Callable[[OpSignal, float], str]:
    def text(op: OpSignal, folds: float) -> str:
        told = _of_gradient(op, math.exp(folds))
        if op.step_gradients is None and op.rms < last:
            return f"{told}, both times the RMS of the output there"
        return told

    return text


def _faded(op: OpSignal, folds: float) -> str:
    return _of_gradient(op, math.exp(-folds))


def _of_gradient(op: OpSignal, ratio: float) -> str:
    if op.step_gradients is not None:
        return f"gradient RMS on the way through the steps of {op.op} {ratio:.3g} times the last's"
    return f"gradient RMS {op.gradient_rms:.3g}, {ratio:.3g} times that of the last ops"


def _through_steps(signal: Signal) -> Iterator[tuple[OpSignal, tuple[float, ...]]]:
    """Yield the recurrent ops with their gradient by step, if any reaches the last one."""
    for op in signal.ops:
        if op.step_gradients and op.step_gradients[-1] > 0:
            yield op, op.step_gradients


def _backward(signal: Signal) -> Iterator[tuple[OpSignal, float, float, float]]:
    """Yield each op from the last back, with what its gradient is held against.

    The gradient RMS of the op; the largest of it and all before it, for queries and keys get
    little by design, and what counts is the most that comes this far; and the reference, which
    is the largest of the last ops or what the head sends back, for the last ops may all lie in
    a branch that starts nearly closed.
    """
    found = graded(contractions(signal))
    if len(found) <= FEWEST_OPS:
        return
    *body, head = found
    # A head's own output is the loss's business: what it sends back is the reference.
    gradients = [g for _, g in body]
    reference = max(*gradients[-FEWEST_OPS:], _sent_back(signal, *head))
    if not reference > 0:
        return
    for i in range(len(body) - 1, -1, -1):
        most = max(gradients[: max(i + 1, FEWEST_OPS)])
        yield body[i][0], gradients[i], most, reference


def _sent_back(signal: Signal, op: OpSignal, gradient: float) -> float:
    """Return the RMS of the gradient that a dense op of random weights hands to its input.

    Where a mean over positions lies between, each op before gets less than that: a body that
    learns so much more slowly than its head trains worse, and the calibration counts it.
    """
    sizes = {weight.name: weight.rms for weight in signal.weights if len(weight.shape) > 1}
    size = next((sizes[name] for name in op.weights if name in sizes), 0.0)
    return gradient * size * math.sqrt(units(op))


def _likeness(signal: Signal) -> Symptom | None:
    """Of the spread `1 - cosine` between inputs less and less is left, up to the last op."""
    spread = [
        (op, max(1 - op.correlation, 1e-15)) for op in signal.ops if op.correlation is not None
    ]
    base = max((s for _, s in spread[:FEWEST_OPS]), default=0.0)
    if base < LEAST_SPREAD:
        return None
    profile: list[tuple[OpSignal, float]] = []
    least = math.inf
    for place_from_end, (op, left) in enumerate(reversed(spread), 1):
        least = min(least, math.log(base / left))
        if place_from_end >= FEWEST_OPS:
            profile.append((op, least))
    return _symptom(
        Kind.LIKENESS,
        profile[::-1],
        lambda op, folds: (
            f"the outputs of different inputs have mean cosine {op.correlation:.6g}; of the spread "
            f"1 - cosine = {base:.3g} of the first ops {math.exp(-folds):.2g} is left"
        ),
    )


def _saturation(signal: Signal) -> Symptom | None:
    flat = [op for op in signal.ops if op.activation in BOUNDED]
    return _symptom(Kind.SATURATION, _flatness(flat), _flat_text)


def _choice(signal: Signal) -> Symptom | None:
    flat = [op for op in signal.ops if op.activation == "softmax"]
    return _symptom(Kind.CHOICE, _flatness(flat), _flat_text)


def _flatness(ops: Sequence[OpSignal]) -> _Profile:
    return [
        (op, -math.log(max(1 - op.saturation, _LEAST))) for op in ops if op.saturation is not None
    ]


def _flat_text(op: OpSignal, _: float) -> str:
    if op.activation == "softmax":
        return f"{op.saturation:.0%} of the rows of {op.op} choose one of their entries"
    return (
        f"{op.saturation:.0%} of the inputs of {op.activation} lie where its slope is below "
        f"5 % of the largest (their RMS is {op.rms:.3g})"
    )


def _ratio_text(what: str, value: float, base: float, against: str) -> str:
    return f"{what} {value:.3g}, {value / base:.3g} times the {base:.3g} of {against}"
