"""From a signal and findings to a verdict: what is wrong, where it begins, the numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from xavier._types.signal import Finding, OpSignal, Severity, Signal, Verdict
from xavier.checking.thresholds import (
    BOUNDED,
    E_FOLDS,
    FALSE_ALARMS,
    FEWEST_OPS,
    LEAST_SPREAD,
    SATURATED_SHARE,
    TWIN_SHARE,
    dead_share_bound,
    depth_tolerance,
    units,
)

_LOOKUPS = frozenset({"embedding", "embedding_bag", "lookup"})
_UNDERFLOW = 1e-20  # of the largest gradient: float32 ends some 38 decades down, in its square
_IDENTICAL = 1e-9  # of 1 - cosine, which is computed in float64 from rounded rows


@dataclass(frozen=True, slots=True)
class Fault:
    """One verdict that holds, with its place and its numbers."""

    verdict: Verdict
    where: str
    evidence: str


def judge(signal: Signal, findings: Sequence[Finding] = ()) -> tuple[Fault, ...]:
    """Return every fault of a measured signal, in order of precedence.

    Args:
        signal: What was measured.
        findings: The audit of the weights; errors on NaN and constant weights are faults.

    Returns:
        At most one fault a verdict; empty if the model is healthy, and only one if it is
        broken, since nothing else can be read off NaN. `where` is the first op in forward
        order for a forward fault, in backward order for a gradient fault.

    Reference:
        He et al. 2015, section 2.2; Schoenholz et al. 2017, section 5; the bounds and their
        derivations are in `xavier.checking.thresholds`.
    """
    judges: tuple[Callable[[Signal, Sequence[Finding]], Fault | None], ...] = (
        _asymmetric,
        _dead,
        _exploding,
        _vanishing,
        _collapsed,
        _saturated,
    )
    broken = _broken(signal, findings)
    if broken is not None:
        return (broken,)
    found = (decide(signal, findings) for decide in judges)
    return tuple(fault for fault in found if fault is not None)


def healthy_evidence(signal: Signal) -> str:
    """Return the numbers behind a clean bill: the range of both signals over the ops."""
    ops = _contractions(signal)
    forward = [op.rms for op in ops if op.rms > 0]
    backward = [op.gradient_rms for op in ops if op.gradient_rms]
    count = len(signal.ops)
    parts = ["1 op that holds a weight" if count == 1 else f"{count} ops that hold a weight"]
    if forward:
        parts.append(f"output RMS {min(forward):.3g} to {max(forward):.3g}")
    if backward:
        parts.append(f"gradient RMS {min(backward):.3g} to {max(backward):.3g}")
    return ", ".join(parts)


def place(op: OpSignal) -> str:
    """Return the path of an op; of an op of the model itself, its first weight's name."""
    return op.path or (op.weights[0] if op.weights else op.op)


def _contractions(signal: Signal) -> list[OpSignal]:
    return [op for op in signal.ops if op.op not in _LOOKUPS]


def _graded(ops: Sequence[OpSignal]) -> list[tuple[OpSignal, float]]:
    return [(op, op.gradient_rms) for op in ops if op.gradient_rms is not None]


def _broken(signal: Signal, findings: Sequence[Finding]) -> Fault | None:
    for op in signal.ops:
        if op.nonfinite:
            size = math.prod(op.shape)
            text = f"{op.nonfinite} of {size} outputs of {op.op} are not finite"
            return Fault(Verdict.BROKEN, place(op), text)
    for op in reversed(signal.ops):
        if op.gradient_rms is not None and not math.isfinite(op.gradient_rms):
            text = f"the gradient at the output of {op.op} is not finite"
            return Fault(Verdict.BROKEN, place(op), text)
    for finding in findings:
        if finding.code == "nonfinite" and finding.severity is Severity.ERROR:
            return Fault(Verdict.BROKEN, finding.path, finding.message)
    return None


def _asymmetric(signal: Signal, findings: Sequence[Finding]) -> Fault | None:
    texts = {f.path: f.message for f in findings if f.code == "constant"}
    for weight in signal.weights:
        if weight.twins is not None and weight.twins >= TWIN_SHARE:
            share = f"{weight.twins:.0%} of the units of {weight.name} {weight.shape}"
            text = f"{share} are copies in weight and gradient; no step can part them"
            texts.setdefault(weight.name, text)
    for op in _contractions(signal):
        for name in op.weights:
            if name in texts:
                return Fault(Verdict.ASYMMETRIC, place(op), texts[name])
    return None


def _dead(signal: Signal, findings: Sequence[Finding]) -> Fault | None:
    del findings
    ops = _contractions(signal)
    for op in ops:
        bound = dead_share_bound(op, ops=len(ops))
        if op.dead is not None and (op.dead > bound or _all_dead(op)):
            text = f"{op.dead:.0%} of the units after {op.op} are zero for every input"
            if bound < 1:
                text += f", where a healthy layer of {units(op)} has at most {bound:.0%}"
            return Fault(Verdict.DEAD, place(op), text)
    return _all_zero(ops) or _cut(signal)


def _all_dead(op: OpSignal) -> bool:
    # With n units, all of them dead by chance has probability 2**-n at most.
    return op.dead == 1 and 2.0 ** -units(op) < FALSE_ALARMS


def _all_zero(ops: Sequence[OpSignal]) -> Fault | None:
    """All matrices before the head are zero: nothing passes either way."""
    before = ops[:-1]
    if before and all(op.silent for op in before):
        many = f"the weights of all {len(before)} ops before the last are zero"
        text = many if before[1:] else "the weight of the only op before the last is zero"
        return Fault(Verdict.DEAD, place(before[0]), text)
    return None


def _cut(signal: Signal) -> Fault | None:
    """The gradient is there at one op and exactly zero at all before it."""
    graded = _graded(signal.ops)
    alive = next((i for i, (_, g) in enumerate(graded) if g > 0), len(graded))
    if alive == 0 or not graded:
        return None
    if alive == len(graded):
        text = "the gradient is exactly zero at every op"
        return Fault(Verdict.DEAD, place(graded[-1][0]), text)
    op, gradient = graded[alive]
    if gradient < max(g for _, g in graded) * _UNDERFLOW:
        return None  # It faded below the smallest number: vanishing, not cut.
    if op.silent and _has_another_way(signal, op):
        return None  # A head or branch that starts at zero opens after one step.
    text = f"the gradient RMS is {gradient:.3g} at {place(op)} and exactly zero at all ops before"
    return Fault(Verdict.DEAD, place(graded[alive - 1][0]), text)


def _has_another_way(signal: Signal, op: OpSignal) -> bool:
    """Whether the data reach what comes after an op of zero weight; true of the last op."""
    later = [other for other in signal.ops if other.index > op.index]
    cosines = [other.correlation for other in later if other.correlation is not None]
    if cosines:
        return min(cosines) < 1 - _IDENTICAL
    return not later or any(other.rms > 0 for other in later)


def _exploding(signal: Signal, findings: Sequence[Finding]) -> Fault | None:
    del findings
    ops = _contractions(signal)
    if not ops:
        return None
    base = max(op.rms for op in ops[:FEWEST_OPS])
    for i, op in enumerate(ops):
        up = depth_tolerance(ops[: i + 1])[1]
        if base > 0 and op.rms > base * math.exp(E_FOLDS + up):
            text = _ratio_text("output RMS", op.rms, base, place(ops[0]), E_FOLDS + up)
            return Fault(Verdict.EXPLODING, place(op), text)
    for op, gradient, _, reference, tail in _backward(signal):
        up = depth_tolerance(tail)[1]
        if gradient > reference * math.exp(E_FOLDS + up):
            text = _ratio_text("gradient RMS", gradient, reference, "the last ops", E_FOLDS + up)
            return Fault(Verdict.EXPLODING, place(op), text)
    return None


def _vanishing(signal: Signal, findings: Sequence[Finding]) -> Fault | None:
    del findings
    ops = _contractions(signal)
    return _fading_forward(ops) or _fading_backward(signal)


def _fading_forward(ops: Sequence[OpSignal]) -> Fault | None:
    """Every op from one on is tiny against the first ones."""
    if len(ops) <= FEWEST_OPS:
        return None
    base = max(op.rms for op in ops[:FEWEST_OPS])
    first = len(ops)
    for i in range(len(ops) - 1, -1, -1):
        down = depth_tolerance(ops[: i + 1])[0]
        if not ops[i].rms < base * math.exp(-E_FOLDS - down):
            break
        first = i
    if len(ops) - first < FEWEST_OPS:
        return None
    bound = -E_FOLDS - depth_tolerance(ops[: first + 1])[0]
    text = _ratio_text("output RMS", ops[first].rms, base, place(ops[0]), bound)
    return Fault(Verdict.VANISHING, place(ops[first]), text)


def _fading_backward(signal: Signal) -> Fault | None:
    """No op up to one gets more than a trace of the gradient that the last ones have."""
    for op, _, most, reference, tail in _backward(signal):
        down = depth_tolerance(tail)[0]
        if most < reference * math.exp(-E_FOLDS - down):
            least = min(g for _, g in _graded(_contractions(signal)))
            text = _ratio_text("gradient RMS", most, reference, "the last ops", -E_FOLDS - down)
            return Fault(Verdict.VANISHING, place(op), f"{text}; the smallest is {least:.3g}")
    return None


def _backward(
    signal: Signal,
) -> Iterator[tuple[OpSignal, float, float, float, Sequence[OpSignal]]]:
    """Yield each op from the last back, with what its gradient is held against.

    The gradient RMS of the op; the largest of it and all before it, for queries and keys get
    little by design, and what counts is the most that comes this far; the reference, which
    is the largest of the last ops or what the head sends back, for the last ops may all lie in
    a branch that starts nearly closed; and the ops in between.
    """
    graded = _graded(_contractions(signal))
    # A head's own output is the loss's business: what it sends back is the reference.
    body, head = (graded[:-1], graded[-1:]) if len(graded) > FEWEST_OPS else (graded, [])
    gradients = [g for _, g in body]
    sent = [_sent_back(signal, op, g) for op, g in head]
    reference = max((*gradients[-FEWEST_OPS:], *sent), default=0.0)
    if not reference > 0:
        return
    for i in range(len(body) - 1, -1, -1):
        most = max(gradients[: max(i + 1, FEWEST_OPS)])
        yield body[i][0], gradients[i], most, reference, [op for op, _ in body[i + 1 :]]


def _sent_back(signal: Signal, op: OpSignal, gradient: float) -> float:
    """Return the RMS of the gradient that a dense op of random weights hands to its input."""
    sizes = {weight.name: weight.rms for weight in signal.weights if len(weight.shape) > 1}
    size = next((sizes[name] for name in op.weights if name in sizes), 0.0)
    return gradient * size * math.sqrt(units(op))


def _ratio_text(what: str, value: float, base: float, against: str, bound: float) -> str:
    return (
        f"{what} {value:.3g}, {value / base:.3g} times the {base:.3g} of {against}; "
        f"a healthy signal of this depth and width stays "
        f"{'below' if bound > 0 else 'above'} {math.exp(bound):.3g} times"
    )


def _collapsed(signal: Signal, findings: Sequence[Finding]) -> Fault | None:
    del findings
    spread = [(op, 1 - op.correlation) for op in signal.ops if op.correlation is not None]
    base = max((s for _, s in spread[:FEWEST_OPS]), default=0.0)
    if base < LEAST_SPREAD:
        return None
    # The spread is a ratio of second moments: twice the log RMS, by chance as in its drift.
    bounds = [
        base * math.exp(-E_FOLDS - 2 * depth_tolerance([o for o, _ in spread[:i]])[0])
        for i in range(1, len(spread) + 1)
    ]
    alike = 0
    while alike < len(spread) and spread[-1 - alike][1] < bounds[-1 - alike]:
        alike += 1
    if alike < FEWEST_OPS:
        return None
    op, left = spread[-alike]
    text = (
        f"the outputs of different inputs have mean cosine {op.correlation:.6g}; of the spread "
        f"1 - cosine = {base:.3g} of the first ops {left / base:.2g} is left, "
        f"expected at least {bounds[-alike] / base:.2g}"
    )
    return Fault(Verdict.COLLAPSED, place(op), text)


def _saturated(signal: Signal, findings: Sequence[Finding]) -> Fault | None:
    del findings
    for op in signal.ops:
        share = op.saturation if op.activation in BOUNDED else None
        if share is not None and share > SATURATED_SHARE:
            text = (
                f"{share:.0%} of the inputs of {op.activation} lie where its slope is below "
                f"5 % of the largest, expected at most {SATURATED_SHARE:.0%} "
                f"(their RMS is {op.rms:.3g})"
            )
            return Fault(Verdict.SATURATED, place(op), text)
    return None
