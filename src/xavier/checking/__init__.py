"""Check a model: audit its weights, measure its signal both ways, and say what is wrong."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from xavier._errors import ActivationError, MissingFrameworkError, PlanError, TraceError, a
from xavier._types.flow import Flow
from xavier._types.plan import Plan
from xavier._types.signal import NONFINITE_EXAMPLE, Check, Finding, Severity, Signal, Verdict
from xavier._types.theory import Theory
from xavier.checking import cures
from xavier.checking.audit import audit, unregistered
from xavier.checking.catalogue import FINDINGS, require_known
from xavier.checking.numbers import off_theory, out_of_range
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
    theory: bool = True,
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
        theory: Whether to hold the measurement against what the theory expects of these weights;
            costs some milliseconds an op.
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
    measuring = _framework(model, "measure")
    signal = measuring.measure(model, example, target=target, loss=loss, jacobian=jacobian)
    flow, missing = _traced(model, example) if plan is None or theory else (None, ())
    if plan is None:
        plan, missing = _planned(flow, missing, "auto" if recipe is None else recipe)
    else:
        missing = ()
    expected = None
    if theory and flow is not None:
        expected = _expected(model, example, flow, signal, unit_cotangent=loss is target is None)
    findings = (
        *_audited(model, signal, plan, asked=asked),
        *missing,
        *off_theory(expected, signal),
        *out_of_range(signal),
    )
    faults = judge(signal, findings)
    follows = plan is not None and plan.recipe == "auto" and _follows_plan(findings)
    told = tuple(each for each in findings if each.code not in silenced)
    outcome = _outcome(faults, told, signal, drawn_by_auto=follows)
    digest = "" if plan is None else plan.model_digest
    return replace(outcome, model_digest=digest, theory=expected)


def _framework(model: Any, file: str) -> Any:
    """Return a module of the framework that serves `model`, which the model's use loaded."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        return importlib.import_module(f"xavier.frameworks.torch.{file}")
    if torch is None:
        raise MissingFrameworkError("torch", extra="torch")
    raise TraceError(
        f"{a(type(model).__name__)} was given, expected a torch.nn.Module",
        hint="pass the model itself, not its class or its state dict",
    )


def _traced(model: Any, example: Any) -> tuple[Flow | None, tuple[Finding, ...]]:
    """Return the flow, or why there is none: a model may run and yet not be traced."""
    from xavier.planning.backend import backend_of  # noqa: PLC0415 - as below

    try:
        return backend_of(model).trace(model, example), ()
    except (PlanError, TraceError) as error:
        return None, (_no_plan(error),)


def _planned(
    flow: Flow | None, missing: tuple[Finding, ...], recipe: str
) -> tuple[Plan | None, tuple[Finding, ...]]:
    from xavier.planning.api import plan_of  # noqa: PLC0415 - loads much that an import need not

    try:
        return (None, missing) if flow is None else (plan_of(flow, recipe=recipe), ())
    except (PlanError, TraceError) as error:
        return None, (_no_plan(error),)


def _no_plan(error: PlanError | TraceError) -> Finding:
    text = f"no plan could be made, so no law was held against a weight: {error.message}"
    return Finding("no-plan", Severity.NOTE, "", text)


def _expected(
    model: Any, example: Any, flow: Flow, signal: Signal, *, unit_cotangent: bool
) -> Theory | None:
    """Return theory beside measurement; None where the theory has no answer."""
    from xavier.checking.beside import Circumstances, beside  # noqa: PLC0415
    from xavier.checking.joining import moments_held  # noqa: PLC0415

    actual = _framework(model, "actual")
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
    arrays, restore = _framework(model, "_stored"), _framework(model, "_restore")
    lookups = {"embedding", "embedding_bag", "lookup"}
    used = {name for op in signal.ops if op.op not in lookups for name in op.weights}
    severity = Severity.WARNING if asked else Severity.NOTE
    with restore.unchanged(model):
        found = audit(arrays.stored(model), used=used, plan=plan, severity=severity)
        return (*found, *unregistered(arrays.unregistered(model)))


def _follows_plan(findings: tuple[Finding, ...]) -> bool:
    off = {"std-off-recipe", "residual-unscaled", "constant", "nonfinite", "uninitialized"}
    return not any(finding.code in off for finding in findings)


def _outcome(
    faults: tuple[Fault, ...],
    findings: tuple[Finding, ...],
    signal: Signal,
    *,
    drawn_by_auto: bool,
) -> Check:
    if not faults:
        return Check(
            verdict=Verdict.HEALTHY,
            verdicts=(Verdict.HEALTHY,),
            where="",
            evidence=healthy_evidence(signal),
            cure="",
            findings=findings,
            signal=signal,
        )
    first = faults[0]
    return Check(
        verdict=first.verdict,
        verdicts=tuple(fault.verdict for fault in faults),
        where=first.where,
        evidence=first.evidence,
        cure=cures.FINITE_EXAMPLE
        if first.verdict is Verdict.BROKEN and NONFINITE_EXAMPLE in signal.notes
        else cures.cure(first.verdict, first.where, drawn_by_auto=drawn_by_auto),
        findings=findings,
        signal=signal,
    )
