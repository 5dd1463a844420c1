"""Check a model: audit its weights, measure its signal both ways, and say what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from xavier._errors import ActivationError, PlanError, TraceError
from xavier._types.contrast import Contrast
from xavier._types.flow import Flow
from xavier._types.plan import Plan
from xavier._types.signal import NONFINITE_EXAMPLE, Check, Finding, Severity, Signal, Verdict
from xavier._types.theory import Theory
from xavier.checking import cures
from xavier.checking.audit import audit, unregistered, unwritten
from xavier.checking.catalogue import FINDINGS, require_known
from xavier.checking.numbers import off_theory, out_of_range
from xavier.checking.serving import file_for
from xavier.checking.strain import outside, strain_of
from xavier.checking.symptoms import contractions
from xavier.checking.ties import overwritten, untied
from xavier.checking.verdict import Fault, healthy_evidence, judge

__all__ = ["FINDINGS", "check", "judge"]


def check(  # noqa: PLR0913 - the public contract
    model: Any,
    example: Any,
    *,
    target: Any = None,
    loss: Callable[[Any, Any], Any] | str | None = None,
    recipe: str | None = None,
    plan: Plan | None = None,
    jacobian: bool = False,
    deep: bool = False,
    theory: bool = True,
    histograms: bool = False,
    against: Any = None,
    ignore: Iterable[str] = (),
) -> Check:
    """Audit a model's weights and measure its signal, to say whether it can start to train.

    One forward and one backward pass. The model, its gradients and modes, and every random
    state are afterwards as they were, to the bit, also on an error.

    Args:
        model: A model of a framework that is loaded; parameters on real devices.
        example: What its forward takes: a tensor, a tuple of positional arguments, or a
            mapping of keyword arguments. Two inputs at least, to see whether they collapse.
        target: What the loss compares the output with.
        loss: A function of output and target, `"cross_entropy"` or `"mse"`; without it the
            backward pass starts from a random cotangent.
        recipe: The recipe that the weights should follow: a weight that does not is then a
            warning. None compares them with `auto`, and such a weight is a note.
        plan: The plan that they should follow, such as the one that drew them, in place of a
            recipe's.
        jacobian: Whether to add the singular values of each dense layer's Jacobian.
        deep: Whether to look at norms, at sums of stream and branch and at functions too, which
            hold no weight, and to add the effective rank at every op.
        theory: Whether to hold the measurement against what the theory expects of these weights;
            costs about a millisecond an op.
        histograms: Whether to add how outputs and gradients are distributed, for a report.
        against: What the weights were, to tell what changed since: as for `xavier.contrast`, whose
            findings are added; a weight that should have been drawn or kept is a warning or a
            note as by `recipe`.
        ignore: Codes of findings to leave out; the verdict stays what it is.

    Returns:
        The verdict, the op where it breaks, the numbers, the cure, and all findings.

    Raises:
        TraceError: If the model cannot be run on the example.
        PlanError: If plan and recipe are both given.
        UnknownNameError: If the recipe, the loss or a code to ignore names none.

    Reference:
        The bounds of each verdict are derived in `xavier.checking.thresholds`.
    """
    silenced, asked = require_known(ignore), recipe is not None or plan is not None
    if recipe is not None and plan is not None:
        raise PlanError("plan and recipe were both given, expected one of them")
    measuring = file_for(model, "measure")
    asked_for = {"jacobian": jacobian, "deep": deep, "histograms": histograms}
    signal = measuring.measure(model, example, target=target, loss=loss, **asked_for)
    flow, plan, missing = _followed(model, example, plan, recipe, theory=theory)
    expected = None
    if theory and flow is not None:
        plain = loss is None and target is None
        expected = _expected(model, example, flow, signal, unit_cotangent=plain)
    held = None if against is None else _contrasted(model, against, plan, asked=asked)
    findings = (
        *_audited(model, signal, plan, asked=asked),
        *missing,
        *off_theory(expected, signal),
        *out_of_range(signal),
        *(held.findings if held is not None else ()),
    )
    return replace(
        _outcome(signal, findings, plan, silenced),
        model_digest="" if plan is None else plan.model_digest,
        theory=expected,
        contrast=held,
    )


def _traced(model: Any, example: Any) -> tuple[Flow | None, tuple[Finding, ...]]:
    """Return the flow, or why there is none: a model may run and yet not be traced."""
    from xavier.planning.backend import backend_of  # noqa: PLC0415 - as below

    try:
        return backend_of(model).trace(model, example), ()
    except (PlanError, TraceError) as error:
        return None, (_no_plan(error),)


def _followed(
    model: Any, example: Any, plan: Plan | None, recipe: str | None, *, theory: bool
) -> tuple[Flow | None, Plan | None, tuple[Finding, ...]]:
    """Return the flow, if anything needs it, the plan, and why there is none."""
    flow, missing = _traced(model, example) if plan is None or theory else (None, ())
    if plan is not None:
        return flow, plan, ()
    if flow is None:
        return None, None, missing
    from xavier.planning.api import plan_of  # noqa: PLC0415 - loads much that an import need not

    try:
        return flow, plan_of(flow, recipe="auto" if recipe is None else recipe), ()
    except (ActivationError, PlanError, TraceError) as error:
        return flow, None, (_no_plan(error),)


def _no_plan(error: ActivationError | PlanError | TraceError) -> Finding:
    text = f"no plan could be made, so no law was held against a weight: {error.message}"
    return Finding("no-plan", Severity.NOTE, "", text)


def _expected(
    model: Any, example: Any, flow: Flow, signal: Signal, *, unit_cotangent: bool
) -> Theory | None:
    """Return theory beside measurement; None where the theory has no answer."""
    from xavier.checking.beside import Circumstances, beside  # noqa: PLC0415 - as above
    from xavier.checking.joining import moments_held  # noqa: PLC0415 - as above

    actual = file_for(model, "actual")
    given = Circumstances(
        unit_cotangent, actual.most_dropped(model), actual.has_frozen_norms(model)
    )
    held, wanted = moments_held(flow, signal)
    computed = {each.name for each in flow.parameters if each.parametrization is not None}
    held |= actual.second_moments(model, wanted, computed=computed)
    try:
        return beside(actual.with_inputs(flow, example), signal, held, given)
    except (ActivationError, ArithmeticError):
        return None


def _audited(model: Any, signal: Signal, plan: Plan | None, *, asked: bool) -> tuple[Finding, ...]:
    arrays, restore = file_for(model, "_stored"), file_for(model, "_restore")
    used = {name for op in contractions(signal) for name in op.weights}
    severity = Severity.WARNING if asked else Severity.NOTE
    walk = arrays.Walk(model)
    with restore.unchanged(model) if walk.runs_code else nullcontext():
        found = audit(walk, used=used, plan=plan, severity=severity)
        return (
            *found,
            *unwritten(arrays.unwritten(model)),
            *unregistered(arrays.unregistered(model)),
            *untied(arrays.untied(model)),
            *overwritten(arrays.tied(model), plan),
        )


def _contrasted(model: Any, against: Any, plan: Plan | None, *, asked: bool) -> Contrast:
    from xavier.checking.contrasting import contrast  # noqa: PLC0415 - which imports this

    severity = Severity.WARNING if asked else Severity.NOTE
    return contrast(model, against, plan=plan, severity=severity)


def _outcome(
    signal: Signal, findings: tuple[Finding, ...], plan: Plan | None, silenced: frozenset[str]
) -> Check:
    """Return the verdict on a signal and findings, of which the silenced ones are not told."""
    faults = judge(signal, findings)
    first = faults[0] if faults else None
    by_auto = plan is not None and plan.recipe == "auto" and _follows_plan(findings)
    return Check(
        verdict=Verdict.HEALTHY if first is None else first.verdict,
        verdicts=tuple(fault.verdict for fault in faults) or (Verdict.HEALTHY,),
        where="" if first is None else first.where,
        evidence=healthy_evidence(signal) if first is None else first.evidence,
        cure="" if first is None else _cure(first, signal, drawn_by_auto=by_auto),
        findings=tuple(each for each in findings if each.code not in silenced),
        signal=replace(signal, notes=(*signal.notes, *outside(signal))),
        strain=strain_of(signal),
    )


def _follows_plan(findings: tuple[Finding, ...]) -> bool:
    off = {"std-off-recipe", "residual-unscaled", "constant", "nonfinite", "uninitialized"}
    return not any(finding.code in off for finding in findings)


def _cure(fault: Fault, signal: Signal, *, drawn_by_auto: bool) -> str:
    if fault.verdict is Verdict.BROKEN and NONFINITE_EXAMPLE in signal.notes:
        return cures.FINITE_EXAMPLE
    return cures.cure(fault.verdict, fault.where, drawn_by_auto=drawn_by_auto)
