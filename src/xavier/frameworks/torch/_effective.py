"""Weights that are computed: what must be stored so that the effective weight has the law."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.parametrize import ParametrizationList

from xavier._errors import PlanError, XavierError, said
from xavier._types.laws import Normal
from xavier.bits import Key, draw
from xavier.frameworks.torch._elements import write_assignment
from xavier.frameworks.torch._fit import Job
from xavier.frameworks.torch._parametrizations import Effective, effective_weights
from xavier.frameworks.torch.names import Slot

_POWER_ITERATIONS = 15  # as many as PyTorch runs when spectral norm is registered


@dataclass(slots=True)
class Rebuilt:
    """What a parametrization is to hold: tensors, and the values to copy into them."""

    targets: list[torch.Tensor]
    values: list[torch.Tensor]

    def store(self) -> None:
        """Copy the values into place, so that no storage changes hands."""
        for target, value in zip(self.targets, self.values, strict=True):
            target.detach().copy_(value)
            torch.autograd.graph.increment_version(target)


def is_rebuilt(job: Job) -> bool:
    """Return whether a weight is stored as what its parametrizations' `right_inverse` returns."""
    found = _effective(job.slot)
    if found is None or job.slot.parametrization in {"weight_norm", "spectral_norm"}:
        return False
    machine = found.machine
    if not isinstance(machine, ParametrizationList):
        return False
    return all(hasattr(step, "right_inverse") for step in machine) and _invertible(machine)


def _invertible(machine: ParametrizationList) -> bool:
    """Return False for PyTorch's orthogonal maps without a base, which have no inverse."""
    for step in machine:
        kind = getattr(getattr(step, "orthogonal_map", None), "name", "")
        if kind in {"matrix_exp", "cayley"} and "base" not in step._buffers:
            return False
    return True


def _effective(slot: Slot) -> Effective | None:
    found = effective_weights(slot.owner) if slot.parametrization else ()
    return next((each for each in found if each.attribute == slot.attribute), None)


def rebuilt(job: Job, *, seed: int, scope: str) -> Rebuilt | None:
    """Return what a parametrization is to hold, without touching it.

    Args:
        job: The weight and its regions; one that `is_rebuilt` says no of gives None.
        seed: The seed.
        scope: The prefix of the name.

    Raises:
        PlanError: If the parametrization refuses the drawn weight.
    """
    if not is_rebuilt(job):
        return None
    slot, found = job.slot, _effective(job.slot)
    assert found is not None
    name = scope + slot.name
    wide = slot.dtype if slot.dtype in (torch.float64, torch.complex128) else torch.float32
    if job.whole:
        weight = torch.zeros(slot.shape, dtype=slot.dtype, device=slot.stored.device)
    else:
        weight = getattr(slot.owner, slot.attribute).detach().clone()
    for each in job.assignments:
        write_assignment(weight, each, seed=seed, name=name, report=lambda _: None)
    if not weight.is_complex():
        weight = weight.to(wide)  # factorizations know no low precision
    torch.default_generator.manual_seed(seed_of(seed, f"{name}#right_inverse"))
    try:
        return _inverted(found, weight)
    except XavierError:
        raise
    except Exception as error:
        raise PlanError(
            f"`{slot.name}` {slot.shape}: its parametrization {slot.parametrization} refused "
            f"the drawn weight: {said(error)}",
            hint="draw it with another law, or keep it: overrides={'" + slot.name + "': 'keep'}",
        ) from error


def seed_of(seed: int, name: str) -> int:
    """Return a seed of torch's generator that follows from a seed and a name."""
    high, low, *_ = Key(seed, name).words
    return (high << 32 | low) & (2**63 - 1)


def _inverted(found: Effective, weight: torch.Tensor) -> Rebuilt:
    targets: list[torch.Tensor] = list(found.parts)
    values: list[torch.Tensor] = []
    value: Any = weight
    for step in reversed(list(found.machine)):
        before = {name: held for name, held in step._buffers.items() if held is not None}
        try:
            value = step.right_inverse(value)
            for name, held in before.items():
                fresh = step._buffers[name]
                if fresh is not None and fresh is not held:
                    targets.append(held)
                    values.append(fresh)
        finally:
            step._buffers.update(before)
    parts = [value] if isinstance(value, torch.Tensor) else list(value)
    _check_parts(found.parts, parts)
    return Rebuilt(targets, [*parts, *values])


def _check_parts(parts: Sequence[torch.Tensor], values: Sequence[Any]) -> None:
    wanted = [tuple(part.shape) for part in parts]
    given = [tuple(value.shape) for value in values]
    if wanted != given:
        raise ValueError(f"right_inverse returned shapes {given}, expected {wanted}")


def unfold(job: Job) -> None:
    """Make weight norm's direction the effective weight, before a part of it is drawn."""
    found = _effective(job.slot)
    if found is None or job.slot.magnitude is None or job.whole:
        return
    direction, magnitude = job.slot.stored.detach(), job.slot.magnitude.detach()
    wide = _wide(direction)
    norm = torch.norm_except_dim(wide, 2, found.dim)
    safe = torch.where(norm == 0, torch.ones_like(norm), norm)
    direction.copy_(wide * (magnitude.to(wide.dtype) / safe))


def settle(job: Job, *, seed: int, name: str) -> None:
    """Bring what belongs to a computed weight in line with what was drawn.

    Args:
        job: The weight.
        seed: The seed.
        name: Its name in the stream of bits.
    """
    slot = job.slot
    found = _effective(slot)
    if found is None:
        return
    if slot.magnitude is not None:
        _settle_weight_norm(slot.stored.detach(), slot.magnitude.detach(), found.dim)
    if slot.parametrization == "spectral_norm":
        _settle_spectral_norm(found, slot, seed=seed, name=name)
    if not isinstance(found.machine, ParametrizationList):
        _refresh(found, slot)


def _settle_weight_norm(direction: torch.Tensor, magnitude: torch.Tensor, dim: int) -> None:
    wide = _wide(direction)
    norm = torch.norm_except_dim(wide, 2, dim)
    if bool((norm == 0).any()):
        # A direction of zeros would make the weight NaN; any other with magnitude 0 makes it 0.
        direction.copy_(torch.where(norm == 0, torch.ones_like(wide), wide))
    magnitude.copy_(norm)
    torch.autograd.graph.increment_version(magnitude)


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    low = tensor.dtype in (torch.float16, torch.bfloat16)
    return tensor.float() if low else tensor


def _settle_spectral_norm(found: Effective, slot: Slot, *, seed: int, name: str) -> None:
    """Find the singular vectors of the new weight, from a start that the seed gives."""
    left, right = _singular_vectors(found, slot)
    if left is None or right is None:
        return  # a vector's norm needs no iteration
    stored = slot.stored.detach()
    axes = [found.dim, *(axis for axis in range(stored.ndim) if axis != found.dim)]
    matrix = stored.permute(axes).flatten(1).to(torch.promote_types(stored.dtype, torch.float32))
    _power_iterate(matrix, left, right, seed=seed, name=name)


def _power_iterate(
    matrix: torch.Tensor, left: torch.Tensor, right: torch.Tensor, *, seed: int, name: str
) -> None:
    start = draw(Normal(0.0, 1.0), (matrix.shape[1],), seed=seed, name=f"{name}#power_iteration")
    v = torch.from_numpy(start).to(matrix.device, matrix.dtype)
    u = matrix @ v
    for _ in range(_POWER_ITERATIONS):
        u = _unit(matrix @ v)
        v = _unit(matrix.mH @ u)
    left.copy_(u)
    right.copy_(v)


def _unit(vector: torch.Tensor) -> torch.Tensor:
    """Return a vector of length one; a vector of zeros stays one."""
    return torch.nn.functional.normalize(vector, dim=0)


def _refresh(found: Effective, slot: Slot) -> None:
    """Recompute the copy of the weight that a hook of the old style leaves in the module."""
    owner = slot.owner
    before = vars(owner).get(slot.attribute)
    if not isinstance(before, torch.Tensor):
        return
    with torch.set_grad_enabled(before.requires_grad):
        if slot.parametrization == "weight_norm":
            fresh = found.machine.compute_weight(owner)
        elif slot.parametrization == "spectral_norm":
            fresh = found.machine.compute_weight(owner, do_power_iteration=False)
        else:
            fresh = found.machine.apply_mask(owner)
    setattr(owner, slot.attribute, fresh)


def tensors_of(slot: Slot, *, rebuilt: bool) -> tuple[torch.Tensor, ...]:
    """Return every tensor that drawing all of a weight fills.

    Args:
        slot: The weight.
        rebuilt: Whether it `is_rebuilt`.
    """
    found = _effective(slot)
    if found is None:
        return (slot.stored,)
    filled = [slot.stored] if slot.magnitude is None else [slot.stored, slot.magnitude]
    if rebuilt:
        steps = list(found.machine)
        filled = [*found.parts, *(b for step in steps for b in step._buffers.values())]
    elif slot.parametrization == "spectral_norm":
        filled += [each for each in _singular_vectors(found, slot) if each is not None]
    return tuple(each for each in filled if each is not None)


def _singular_vectors(found: Effective, slot: Slot) -> tuple[Any, Any]:
    if isinstance(found.machine, ParametrizationList):
        held: Any = found.machine[0]._buffers
        return held.get("_u"), held.get("_v")
    held = slot.owner._buffers
    return held.get(f"{slot.attribute}_u"), held.get(f"{slot.attribute}_v")
