"""From a signal and findings to a verdict: what is wrong, where it begins, the numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from xavier._types.signal import NONFINITE_OUTPUT, Finding, OpSignal, Severity, Signal, Verdict
from xavier.checking.strain import odds_of, strain
from xavier.checking.symptoms import contractions, graded, place, symptoms
from xavier.checking.thresholds import FALSE_ALARMS, TWIN_SHARE, dead_share_bound, units

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
    broken = _broken(signal, findings)
    if broken is not None:
        return (broken,)
    sure = (_asymmetric(signal, findings), _dead(signal))
    return (*(fault for fault in sure if fault is not None), *_strained(signal))


def healthy_evidence(signal: Signal) -> str:
    """Return the numbers behind a clean bill: the range of both signals over the ops."""
    ops = contractions(signal)
    forward = [op.rms for op in ops if op.rms > 0]
    backward = [op.gradient_rms for op in ops if op.gradient_rms]
    count = sum(bool(op.weights) for op in signal.ops)
    parts = ["1 op that holds a weight" if count == 1 else f"{count} ops that hold a weight"]
    if forward:
        parts.append(f"output RMS {min(forward):.3g} to {max(forward):.3g}")
    if backward:
        parts.append(f"gradient RMS {min(backward):.3g} to {max(backward):.3g}")
    total = strain(symptoms(signal))
    return f"{', '.join(parts)}; strain {total:.2g}, where it counts as ill from 1 on"


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
    if NONFINITE_OUTPUT in signal.notes:
        where = place(signal.ops[-1]) if signal.ops else ""
        return Fault(Verdict.BROKEN, where, f"{NONFINITE_OUTPUT}, after the last op's is finite")
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
    for op in contractions(signal):
        for name in op.weights:
            if name in texts:
                return Fault(Verdict.ASYMMETRIC, place(op), texts[name])
    return None


def _dead(signal: Signal) -> Fault | None:
    ops = contractions(signal)
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
    reached = graded([op for op in signal.ops if op.weights])
    alive = next((i for i, (_, g) in enumerate(reached) if g > 0), len(reached))
    if alive == 0 or not reached:
        return None
    if alive == len(reached):
        text = "the gradient is exactly zero at every op"
        return Fault(Verdict.DEAD, place(reached[-1][0]), text)
    op, gradient = reached[alive]
    if gradient < max(g for _, g in reached) * _UNDERFLOW:
        return None  # It faded below the smallest number: vanishing, not cut.
    if op.silent and _has_another_way(signal, op):
        return None  # A head or branch that starts at zero opens after one step.
    text = f"the gradient RMS is {gradient:.3g} at {place(op)} and exactly zero at all ops before"
    return Fault(Verdict.DEAD, place(reached[alive - 1][0]), text)


def _has_another_way(signal: Signal, op: OpSignal) -> bool:
    """Whether the data reach what comes after an op of zero weight; true of the last op."""
    later = [other for other in signal.ops if other.index > op.index]
    cosines = [other.correlation for other in later if other.correlation is not None]
    if cosines:
        return min(cosines) < 1 - _IDENTICAL
    return not later or any(other.rms > 0 for other in later)


def _strained(signal: Signal) -> Iterator[Fault]:
    """Yield what strays too far, alone or with the rest: one fault a verdict, by precedence."""
    found = symptoms(signal)
    total = strain(found)
    if total <= 1:
        return
    beyond = [each for each in found if each.share >= 1] or [max(found, key=lambda s: s.share)]
    odds = (
        f"strain {total:.3g}: the calibration predicts that {odds_of(total)} of such starts train"
    )
    for verdict in (Verdict.EXPLODING, Verdict.VANISHING, Verdict.COLLAPSED, Verdict.SATURATED):
        called = [each for each in beyond if each.verdict is verdict]
        if called:
            worst = max(called, key=lambda s: s.share)
            yield Fault(verdict, worst.where, f"{worst.evidence}; {odds}")
