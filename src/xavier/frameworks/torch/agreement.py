"""Do all processes that share a model draw the same? Asked before any of them begins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from xavier._errors import PlanError
from xavier._types.plan import Plan
from xavier.frameworks.torch._shards import is_dtensor
from xavier.frameworks.torch.names import slots


def require_agreement(model: nn.Module, plan: Plan) -> None:
    """Compare seed, scope, recipe and the plan's digest with the processes that hold other shards.

    Every process of the mesh must call this; a model without sharded parameters asks nobody.

    Args:
        model: The model.
        plan: What this process is about to draw, seed and scope included.

    Raises:
        PlanError: If another process is about to draw anything else; raised by all of them.
    """
    mine = {
        "seed": plan.seed,
        "scope": plan.scope,
        "recipe": plan.recipe,
        "plan": plan.digest,
    }
    for mesh in _meshes(model):
        for axis in range(mesh.ndim):
            group = mesh.get_group(axis)
            said: list[Any] = [None] * mesh.size(axis)
            torch.distributed.all_gather_object(said, mine, group=group)
            for key, own in mine.items():
                others = [each[key] for each in said]
                if any(each != own for each in others):
                    raise PlanError(
                        f"the processes disagree about the {key}: {_listed(others)}",
                        hint="give every process the same seed, scope, recipe and plan",
                    )


def _meshes(model: nn.Module) -> Iterator[Any]:
    """Yield the device meshes of a model's parameters, each once, in the model's order."""
    seen: list[Any] = []
    for slot in slots(model):
        held: Any = slot.stored
        if is_dtensor(held) and held.device_mesh not in seen:
            seen.append(held.device_mesh)
            yield held.device_mesh


def _listed(values: list[Any]) -> str:
    return ", ".join(f"{value!r} in process {at}" for at, value in enumerate(values))
