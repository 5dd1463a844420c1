"""Do all processes that share a model draw the same? Asked before any of them begins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from xavier._errors import PlanError
from xavier._types.plan import Plan
from xavier.frameworks.torch._shards import is_dtensor
from xavier.frameworks.torch.names import slots


def agreed(model: nn.Module, plan: Plan, *, seeded: bool) -> Plan:
    """Compare seed, scope, recipe and the plan's digest with the processes that hold other shards.

    Every process of the mesh must call this; a model without sharded parameters asks nobody.

    Args:
        model: The model.
        plan: What this process is about to draw, seed and scope included.
        seeded: Whether the seed was given; else it is this process's proposal.

    Returns:
        The plan; where nobody's seed was given, with that of the first process.

    Raises:
        PlanError: If another process is about to draw anything else; raised by all of them.
    """
    said = _gathered(
        model,
        {
            "seed": plan.seed if seeded else None,
            "scope": plan.scope,
            "recipe": plan.recipe,
            "plan": plan.digest,
            "proposal": plan.seed,
        },
    )
    first = said[min(said)] if said else {"proposal": plan.seed}
    for key in ("seed", "scope", "recipe", "plan"):
        told = {rank: each[key] for rank, each in sorted(said.items())}
        if len(set(told.values())) > 1:
            raise PlanError(
                f"the processes disagree about the {key}: {_listed(told)}",
                hint="give every process the same seed, scope, recipe and plan",
            )
    return plan if seeded else replace(plan, seed=first["proposal"])


def is_sharded(model: nn.Module) -> bool:
    """Return whether other processes hold parts of a model's parameters."""
    return any(True for _ in _meshes(model))


def _gathered(model: nn.Module, mine: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    """Return what every process of the model's meshes says, by rank; nothing without a mesh.

    Along one axis after another each process passes on all that it has heard, so that in the end
    all have heard all. Nobody may stop before that: the others would wait.
    """
    heard: dict[int, Mapping[str, Any]] = {}
    for mesh in _meshes(model):
        heard.setdefault(torch.distributed.get_rank(), mine)
        for axis in range(mesh.ndim):
            parts: list[Any] = [None] * mesh.size(axis)
            torch.distributed.all_gather_object(parts, heard, group=mesh.get_group(axis))
            for each in parts:
                heard.update(each)
    return heard


def _meshes(model: nn.Module) -> Iterator[Any]:
    """Yield the device meshes of a model's parameters, each once, in the model's order."""
    seen: list[Any] = []
    for slot in slots(model):
        held: Any = slot.stored
        if is_dtensor(held) and held.device_mesh not in seen:
            seen.append(held.device_mesh)
            yield held.device_mesh


def _listed(told: Mapping[int, object]) -> str:
    return ", ".join(
        f"{'none' if value is None else repr(value)} in process {rank}"
        for rank, value in told.items()
    )
