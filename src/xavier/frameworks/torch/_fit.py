"""Whether a plan fits a model: asked in full before the first element is written."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from xavier import laws
from xavier._errors import DtypeError, LawError, PlanError, ShapeError, WriteError, XavierError
from xavier._types.plan import Assignment, Plan
from xavier._types.region import overlap
from xavier.bits import Key, fill
from xavier.frameworks.torch._shards import is_dtensor, refuse_partial
from xavier.frameworks.torch._storages import has_one_place_an_element
from xavier.frameworks.torch.names import Slot, slots, structure_digest

DTYPES: Final[Mapping[torch.dtype, str]] = {
    torch.float64: "float64",
    torch.float32: "float32",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
}
REAL_PARTS: Final[Mapping[torch.dtype, str]] = {
    torch.complex64: "float32",
    torch.complex128: "float64",
}
_SIGMAS: Final = 10.0  # no draw lies farther out


@dataclass(frozen=True, slots=True)
class Job:
    """A parameter, and the regions of it that are drawn."""

    slot: Slot
    assignments: tuple[Assignment, ...]

    @property
    def whole(self) -> bool:
        """Whether every element is drawn."""
        sizes = (each.region.size(self.slot.shape) for each in self.assignments)
        return sum(sizes) == int(np.prod(self.slot.shape, dtype=np.int64))


def check_fits(model: nn.Module, plan: Plan) -> None:
    """Refuse a plan that cannot be carried out on a model; nothing is changed.

    Args:
        model: The model, on any device, meta included.
        plan: The plan.

    Raises:
        PlanError: If a name, a shape or a region does not fit, an element would be drawn twice,
            or the plan was made for a model of another structure.
        DtypeError: If a parameter's dtype cannot be drawn.
        WriteError: If a parameter cannot be written to.
    """
    jobs(model, plan)


def jobs(model: nn.Module, plan: Plan) -> tuple[Job, ...]:
    """Return what is to be drawn, parameter by parameter, in the plan's order.

    Raises:
        PlanError: As `check_fits`.
        DtypeError: As `check_fits`.
        WriteError: As `check_fits`.
        StreamError: If a name is no valid Unicode text.
    """
    found = slots(model)
    by_name = {name: slot for slot in found for name in (*slot.aliases, slot.name)}
    _require_same_model(model, plan, found)
    grouped: dict[str, list[Assignment]] = {}
    for each in plan.assignments:
        if each.name not in by_name:
            raise _unknown(each.name, tuple(by_name))
        grouped.setdefault(by_name[each.name].name, []).append(each)
    made = tuple(Job(by_name[name], tuple(group)) for name, group in grouped.items())
    for job in made:
        _check(job)
    return made


def _require_same_model(model: nn.Module, plan: Plan, found: Sequence[Slot]) -> None:
    if not plan.model_digest or any(slot.lazy for slot in found):
        return
    digest = structure_digest(model, found)
    if plan.model_digest != digest:
        raise PlanError(
            f"the plan was made for another model: {_difference(plan, found, digest)}",
            hint="plan this model: xavier.plan(model, example)",
        )


def _difference(plan: Plan, found: Sequence[Slot], digest: str) -> str:
    """Return the first thing that a plan's model has and this one has not, or the reverse."""
    here = {name: slot for slot in found for name in (slot.name, *slot.aliases)}
    there = {each.name for each in plan.kept if each.kind == "parameter"}
    there |= {name for each in plan.assignments for name in (each.name, *each.aliases)}
    gone = [each for each in plan.names if each in there and each not in here]
    if gone:
        return f"this one has no `{gone[0]}`"
    new = [f"`{slot.name}` {slot.shape}" for name, slot in here.items() if name not in there]
    if new:
        return f"that one has no {new[0]}"
    for each in plan.assignments:
        if each.region.axis is None and tuple(each.shape) != here[each.name].shape:
            return f"`{each.name}` is {here[each.name].shape} here and {tuple(each.shape)} there"
    return f"its structure is {plan.model_digest}, this model's is {digest}"


def _unknown(name: str, known: Sequence[str]) -> PlanError:
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else "was the plan made for this model?"
    return PlanError(f"`{name}`: the model has no parameter of that name", hint=hint)


def _check(job: Job) -> None:
    slot = job.slot
    where = f"`{slot.name}` {slot.shape}"
    Key(0, slot.name)
    if slot.lazy:
        told = f"`{slot.name}`: a lazy parameter has no shape yet"
        raise PlanError(told, hint="run the model once on an example, then draw")
    _check_tensor(slot, where)
    for at, each in enumerate(job.assignments):
        try:
            shape = each.region.shape_in(slot.shape)
        except ShapeError as error:
            raise PlanError(f"{where}: {error.message}") from None
        if shape != tuple(each.shape):
            raise PlanError(
                f"{where}: the plan's region {each.region} has shape {tuple(each.shape)}, "
                f"expected {shape}"
            )
        for other in job.assignments[:at]:
            if overlap(other.region, each.region):
                told = f"{where}: regions {other.region} and {each.region} share elements"
                raise PlanError(f"{told}, expected each element to be drawn once")
        require_drawable(each, slot.stored.dtype, where)


def _check_tensor(slot: Slot, where: str) -> None:
    for tensor in (slot.stored, slot.magnitude):
        if tensor is None:
            continue
        if tensor.is_quantized or tensor.dtype not in {*DTYPES, *REAL_PARTS}:
            raise DtypeError(
                f"{where}: a {str(tensor.dtype).removeprefix('torch.')} parameter cannot be "
                "drawn, expected a floating or complex one",
                hint="draw it in float32 and convert it afterwards",
            )
        if tensor.is_inference():
            raise WriteError(
                f"{where}: the parameter is an inference tensor, which cannot be written to",
                hint="build the model outside torch.inference_mode()",
            )
        if tensor.layout != torch.strided or _is_unknown_wrapper(tensor):
            kind = type(tensor).__name__ if tensor.layout == torch.strided else tensor.layout
            raise WriteError(f"{where}: {kind} cannot be written to, expected a dense tensor")
        if not has_one_place_an_element(tensor):
            raise WriteError(
                f"{where}: several elements lie at one address (strides {tensor.stride()})",
                hint="an expanded parameter: give it memory of its own with .clone()",
            )

    if is_dtensor(slot.stored):
        refuse_partial(slot.stored, where)
    if slot.parametrization and is_dtensor(slot.stored):
        told = f"{where}: a sharded weight under {slot.parametrization} cannot be drawn"
        raise WriteError(told, hint="draw the model before it is sharded")


def _is_unknown_wrapper(tensor: torch.Tensor) -> bool:
    return is_traceable_wrapper_subclass(tensor) and not is_dtensor(tensor)


def require_drawable(assignment: Assignment, dtype: torch.dtype, where: str) -> None:
    """Refuse a law that a dtype has no room for, or that its region cannot have.

    Args:
        assignment: The law, and the shape of its region.
        dtype: What the draws are written in.
        where: The parameter's name and shape, for the message.

    Raises:
        PlanError: If it cannot be drawn so.
    """
    law = assignment.law
    real = DTYPES.get(dtype) or REAL_PARTS[dtype]
    if dtype in REAL_PARTS and (not law.elementwise or isinstance(law, laws.Sparse)):
        raise PlanError(f"{where}: {law!r} is for real weights, expected a normal or uniform law")
    try:
        if law.elementwise:
            working = np.float64 if real == "float64" else np.float32
            fill(np.empty(0, working), law, key=Key(0, ""))
            reach = abs(laws.mean(law)) + _SIGMAS * laws.std(law)
            if reach > torch.finfo(dtype).max:
                raise LawError(
                    f"{law!r} reaches beyond the range of {real}",
                    hint="give this weight another law with overrides=, or the model a norm",
                )
        else:
            laws.std(law, assignment.shape)
            _check_kernel(law, assignment.shape)
    except XavierError as error:
        raise PlanError(f"{where}: {error.message}", hint=error.hint) from error


def _check_kernel(law: laws.Law, shape: tuple[int, ...]) -> None:
    if not isinstance(law, laws.DeltaOrthogonal):
        return
    outputs, inputs, *kernel = shape
    if inputs > outputs or any(side % 2 == 0 for side in kernel):
        raise ShapeError(
            f"{law!r} cannot fill shape {shape}, expected no more input than output channels "
            "and odd kernel sides"
        )
