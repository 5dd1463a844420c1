"""Layer-sequential unit variance, in one forward pass.

Each contraction is run, its weight divided by the standard deviation of what came out, and run
again before the signal goes on; the reference implementation runs the whole model for every
layer. A dense layer is linear in its weight, so one division is exact.

Reference:
    Mishkin and Matas, "All you need is a good init", 2016.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from xavier import laws
from xavier._errors import TraceError
from xavier._types.flow import OpKind
from xavier._types.plan import Plan
from xavier.frameworks.torch._example import arguments, copied, describe, hint_for
from xavier.frameworks.torch._op_kinds import kind_of
from xavier.frameworks.torch._restore import unchanged
from xavier.frameworks.torch._shadows import storage_of
from xavier.frameworks.torch.names import slots


class _Rescaler(TorchDispatchMode):
    def __init__(self, weights: dict[int, tuple[str, torch.Tensor]]) -> None:
        super().__init__()
        self._weights = weights
        self.factors: dict[str, float] = {}
        self.unscaled: dict[str, float] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if kind_of(func) is not OpKind.CONTRACT:
            return out
        for each in tree_flatten(args)[0]:
            if not isinstance(each, torch.Tensor):
                continue
            name, stored = self._weights.get(storage_of(each), ("", None))
            if stored is None or name in self.factors or each.dim() < 2:  # noqa: PLR2004
                continue
            size = float(out.double().std())
            if not 0 < size < float("inf"):
                self.unscaled[name] = size
                continue
            self.factors[name] = 1 / size
            stored.mul_(1 / size)
            out = func(*args, **(kwargs or {}))
        return out


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
    drawn = {each.name for each in plan.assignments if each.fan_in == each.fan_in}
    weights = {
        storage_of(slot.stored): (slot.name, slot.stored)
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
    notes = [
        f"{name}: not rescaled, since its output on the example has standard deviation {size:.4g}"
        for name, size in rescaler.unscaled.items()
        if name not in rescaler.factors
    ]
    return replace(
        plan,
        notes=(*plan.notes, *notes),
        assignments=tuple(
            each
            if each.name not in rescaler.factors
            else replace(
                each,
                law=laws.round_law(laws.scaled(each.law, rescaler.factors[each.name])),
                predicted_q=1.0,
                reason=f"{each.reason}; times {rescaler.factors[each.name]:.6g}, so that its"
                " output on the example has unit variance",
            )
            for each in plan.assignments
        ),
    )
