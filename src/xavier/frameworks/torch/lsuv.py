"""Layer-sequential unit variance, in one forward pass.

Each contraction is run, its weight divided by the standard deviation of what came out, and run
again before the signal goes on; the reference implementation runs the whole model for every
layer. A dense layer is linear in its weight, so one division is exact.

Reference:
    Mishkin and Matas, "All you need is a good init", 2016.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from xavier import laws
from xavier._errors import TraceError
from xavier._types.flow import OpKind
from xavier._types.plan import Assignment, Plan, Role
from xavier.frameworks.torch._example import arguments, copied, describe, hint_for
from xavier.frameworks.torch._op_kinds import kind_of
from xavier.frameworks.torch._restore import unchanged
from xavier.frameworks.torch._shadows import storage_of
from xavier.frameworks.torch._trees import map_tensors, tensors_of
from xavier.frameworks.torch.names import slots


class _Rescaler(TorchDispatchMode):
    """Rescales each weight at its first contraction, and runs that again.

    A tensor that was made from one weight alone (transposed, copied, cast) counts as that weight.
    """

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.factors: dict[str, float] = {}
        self.unscaled: dict[str, float] = {}
        self._stored = weights
        self._names = {storage_of(each): name for name, each in weights.items()}
        self._alive: list[torch.Tensor] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        named: dict[str, Any] = kwargs or {}
        out = func(*args, **named)
        tensors = tensors_of((args, named))
        if kind_of(func) is not OpKind.CONTRACT:
            self._hand_on(tensors, out)
            return out
        for each in tensors:
            name = self._names.get(storage_of(each))
            if name is None or name in self.factors or each.dim() < 2:  # noqa: PLR2004 - a matrix has two axes
                continue
            size = float(out.double().std(correction=0))
            if not 0 < size < float("inf"):
                self.unscaled[name] = size
                continue
            self.factors[name] = 1 / size
            self._stored[name].mul_(1 / size)
            again = each if self._is_stored(each, name) else each / size
            swap = lambda t, old=each, new=again: new if t is old else t  # noqa: E731 - a formula in a line
            out = func(*map_tensors(swap, args), **named)
        return out

    def _is_stored(self, tensor: torch.Tensor, name: str) -> bool:
        return storage_of(tensor) == storage_of(self._stored[name])

    def _hand_on(self, tensors: list[torch.Tensor], out: Any) -> None:
        names = {self._names.get(storage_of(each)) for each in tensors}
        name = names.pop() if len(names) == 1 else None
        for each in tensors_of(out) if name is not None else ():
            self._alive.append(each)  # a storage's identity must not be used twice
            self._names[storage_of(each)] = str(name)


def rescale(model: nn.Module, example: Any, plan: Plan) -> Plan:
    """Return the plan under which every contraction's output on `example` has unit variance.

    Args:
        model: A model that was drawn by `plan`; it is left as it is, to the bit.
        example: What its forward takes.
        plan: The plan it was drawn by.

    Returns:
        The plan with every law's standard deviation rescaled; to be drawn with the same seed.

    Raises:
        TraceError: If the model raises on the example.
    """
    tables = (Role.EMBEDDING, Role.TIED)  # looked up before they are contracted, if at all
    drawn = {
        each.name
        for each in plan.assignments
        if not math.isnan(each.fan_in) and each.role not in tables and not _is_fixed(each)
    }
    weights = {
        slot.name: slot.stored
        for slot in slots(model)
        if slot.name in drawn and slot.parametrization is None
    }
    rescaler = _Rescaler(weights)
    with unchanged(model), torch.no_grad():
        model.eval()
        args, kwargs = arguments(copied(example))
        try:
            with rescaler:
                model(*args, **kwargs)
        except Exception as error:
            raise TraceError(
                f"the model raised {type(error).__name__} on {describe(example)}: "
                + " ".join(str(error).split()),
                hint=hint_for(error, example),
            ) from error
    rows = tuple(_rescaled(each, rescaler) for each in plan.assignments)
    notes = (
        f"{name}: not rescaled, since its output on the example has standard deviation {size:.4g}"
        for name, size in rescaler.unscaled.items()
        if name not in rescaler.factors
    )
    return replace(plan, assignments=rows, notes=(*plan.notes, *notes))


def _rescaled(row: Assignment, rescaler: _Rescaler) -> Assignment:
    if math.isnan(row.fan_in) or row.role is Role.EMBEDDING or _is_fixed(row):
        return row
    factor = rescaler.factors.get(row.name)
    if factor is None:
        why = "it is looked up first, computed from other tensors, or not met"
        if row.name in rescaler.unscaled:
            why = "its output on the example has no spread"
        return replace(row, reason=f"{row.reason}; it was not rescaled: {why}")
    told = f"times {factor:.6g}, so that its output on the example has unit variance"
    return replace(
        row,
        law=laws.round_law(laws.scaled(row.law, factor)),
        predicted_q=1.0,
        reason=f"{row.reason}; {told}",
    )


def _is_fixed(row: Assignment) -> bool:
    """Tell whether an override names the law, which then is what was asked for."""
    return row.rule.startswith("Fixed(")
