"""What a model and its example really hold, where a plan would go by laws and standard data."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from xavier._types.flow import Flow, Origin
from xavier._types.region import Region
from xavier.frameworks.torch import _moments
from xavier.frameworks.torch._example import tensors_in
from xavier.frameworks.torch._restore import unchanged
from xavier.frameworks.torch.names import canonical, slots


def with_inputs(flow: Flow, example: Any) -> Flow:
    """Return a flow whose inputs have the example's own moments, not those of standard data.

    Args:
        flow: As traced on the example.
        example: The example.
    """
    given = [each for each in tensors_in(example) if each.layout == torch.strided]
    values = list(flow.values)
    for at, value in enumerate(values):
        if value.origin is not Origin.INPUT or value.producer is not None:
            continue
        tensor = next((each for each in given if tuple(each.shape) == value.shape), None)
        if tensor is None:
            continue
        given = [each for each in given if each is not tensor]
        wide = tensor if tensor.is_floating_point() or tensor.is_complex() else tensor.float()
        found = _moments.moments(wide)
        if found.rms == found.rms:
            values[at] = replace(value, mean=found.mean, second=found.rms * found.rms)
    return replace(flow, values=tuple(values))


def second_moments(
    model: nn.Module, wanted: Iterable[tuple[str, Region]], *, computed: Collection[str] = ()
) -> dict[tuple[str, Region], float]:
    """Return the mean square of regions of a model's effective weights.

    Args:
        model: The model, on a real device.
        wanted: Canonical names and regions; a name that the model lacks is left out.
        computed: Which of these names are weights that a parametrization computes.
    """
    plain = {canonical(name): parameter for name, parameter in model.named_parameters()}
    held = {slot.name: slot for slot in slots(model)} if computed else {}
    found: dict[tuple[str, Region], float] = {}
    # To run a parametrization may change its state.
    with unchanged(model) if computed else nullcontext(), torch.no_grad():
        for name, region in wanted:
            value: torch.Tensor | None = plain.get(name)
            if name in computed and name in held:
                value = getattr(held[name].owner, held[name].attribute)
            if value is None:
                continue
            parts = [value[index] for index in region.slices(tuple(value.shape))]
            sizes = [float(part.numel()) for part in parts]
            powers = [_squared(_moments.moments(part).rms) for part in parts]
            total = sum(size * power for size, power in zip(sizes, powers, strict=True))
            found[name, region] = total / (sum(sizes) or 1.0)
    return found


def _squared(value: float) -> float:
    return value * value  # not `** 2`, which raises where this is infinite


def most_dropped(model: nn.Module) -> float:
    """Return the largest share of elements that a dropout of a model drops in its present mode."""
    active = (each for each in model.modules() if isinstance(each, _DropoutNd) and each.training)
    return max((float(each.p) for each in active), default=0.0)


def has_frozen_norms(model: nn.Module) -> bool:
    """Tell whether a batch norm of a model uses its running statistics in its present mode."""
    norms = (each for each in model.modules() if isinstance(each, _BatchNorm))
    return any(not each.training and each.track_running_stats for each in norms)
