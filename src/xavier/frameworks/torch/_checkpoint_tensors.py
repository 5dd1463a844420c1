"""The tensors of a checkpoint, each made when it is asked for and forgotten after."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import nn

from xavier._errors import DtypeError, WriteError, a
from xavier._types.plan import Plan
from xavier.frameworks.torch._elements import write_assignment
from xavier.frameworks.torch._fit import Job, jobs, require_drawable
from xavier.frameworks.torch._huge_pages import prefer_huge_pages
from xavier.frameworks.torch._mirror import Mirror
from xavier.frameworks.torch._safetensors import CODES, Entry, raw
from xavier.frameworks.torch._shards import is_dtensor
from xavier.frameworks.torch._storages import identity
from xavier.frameworks.torch.names import buffers, slots
from xavier.frameworks.torch.owners import owner_values
from xavier.frameworks.torch.write import write


def entries_of(model: nn.Module, plan: Plan, dtype: torch.dtype | None) -> Iterator[Entry]:
    """Yield the tensors of a model's state dict in its order, tied ones once.

    What is drawn is drawn as `init_` does; what is kept, and buffers, are what the model holds,
    or what their owners give them where they are on the meta device.

    Args:
        model: The model, which is left as it is.
        plan: What to draw, seed and scope included.
        dtype: What floating tensors are written in; None for each its own.

    Raises:
        PlanError: If the plan does not fit the model, or a law has no room in the dtype.
        DtypeError: If a tensor's dtype has no place in the format.
        WriteError: If the model is sharded, or its state holds more than tensors.
    """
    drawn = {job.slot.name: job for job in jobs(model, plan)}
    by_identity = {identity(slot.stored): slot for slot in (*slots(model), *buffers(model))}
    computed = _Computed(model, plan, drawn)
    values = owner_values(model, plan)
    for key, (name, tensor) in _named(model).items():
        slot = by_identity.get(key)
        shape, kind = tuple(tensor.shape), _written_in(tensor, dtype)
        _require_writable(name, tensor, kind)
        job = drawn.get(slot.name) if slot is not None else None
        if key in computed.parts:
            yield Entry(name, shape, kind, computed.maker(name, key, kind))
        elif job is not None and slot is not None:
            for each in job.assignments:
                require_drawable(each, kind, f"`{name}` {shape}")
            start = None if job.whole else values.get(slot.name, slot.stored)
            make = _Drawn(job, plan, kind, start)
            count = sum(prod(each.shape) for each in job.assignments)
            yield Entry(name, shape, kind, make, count)
        else:
            held = values.get(slot.name if slot is not None else name, tensor)
            yield Entry(name, shape, kind, _Held(held, kind))


def held_entries(model: nn.Module) -> Iterator[Entry]:
    """Yield the tensors of a model's state dict as they are, tied ones once.

    Raises:
        DtypeError: If a tensor's dtype has no place in the format.
        WriteError: If the model is sharded, or its state holds more than tensors.
    """
    for name, tensor in _named(model).values():
        _require_writable(name, tensor, tensor.dtype)
        yield Entry(name, tuple(tensor.shape), tensor.dtype, _Held(tensor, tensor.dtype))


def _named(model: nn.Module) -> dict[Hashable, tuple[str, torch.Tensor]]:
    """Return every tensor of a model's state dict under its first name, by identity."""
    found: dict[Hashable, tuple[str, torch.Tensor]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if not isinstance(tensor, torch.Tensor):
            told = f"`{name}` is {a(type(tensor).__name__)}, and safetensors holds tensors alone"
            raise WriteError(told, hint="override get_extra_state() to return a tensor")
        found.setdefault(identity(tensor), (name, tensor))
    return found


def kept_digest(entries: Iterable[Entry]) -> str:
    """Return a digest of what a checkpoint holds that is not drawn."""
    found = hashlib.blake2b(digest_size=16)
    for each in entries:
        kept = each.make.start if isinstance(each.make, _Drawn | _Held) else None
        if kept is not None:
            found.update(each.name.encode())
            for block in raw(kept):
                found.update(block)
    return found.hexdigest()


def _written_in(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.dtype:
    return tensor.dtype if dtype is None or not tensor.is_floating_point() else dtype


def _require_writable(name: str, tensor: torch.Tensor, kind: torch.dtype) -> None:
    where = f"`{name}` {tuple(tensor.shape)}"
    if is_dtensor(tensor):
        raise WriteError(
            f"{where} is sharded, and a checkpoint is written of whole tensors",
            hint="write it from the model before it is sharded, on the meta device",
        )
    if kind not in CODES:
        told = f"{where}: safetensors has no {str(kind).removeprefix('torch.')}"
        raise DtypeError(told, hint="convert it, or leave it out of the state dict")


@dataclass(frozen=True, slots=True)
class _Held:
    """Gives what is there."""

    start: torch.Tensor
    dtype: torch.dtype

    def __call__(self) -> torch.Tensor:
        return self.start.detach().to(self.dtype)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Draws one weight in memory of its own, over what it holds where it is drawn in part."""

    job: Job
    plan: Plan
    dtype: torch.dtype
    start: torch.Tensor | None

    def __call__(self) -> torch.Tensor:
        out = prefer_huge_pages(torch.empty(self.job.slot.shape, dtype=self.dtype))
        if self.start is not None:
            out.copy_(self.start.detach())
        name = self.plan.scope + self.job.slot.name
        for each in self.job.assignments:
            write_assignment(out, each, seed=self.plan.seed or 0, name=name, report=lambda _: None)
        return out


class _Computed:
    """Weights behind a parametrization: drawn on a double of the model, one owner's parts real."""

    def __init__(self, model: nn.Module, plan: Plan, drawn: Mapping[str, Job]) -> None:
        self._model, self._plan = model, plan
        computed = [job.slot for job in drawn.values() if job.slot.parametrization]
        plain = {identity(slot.stored) for slot in slots(model) if not slot.parametrization}
        self._names: dict[nn.Module, set[str]] = {}
        for slot in computed:
            self._names.setdefault(slot.owner, set()).add(slot.name)
        self.parts: dict[Hashable, nn.Module] = {
            key: owner
            for owner in self._names
            for tensor in (*owner.parameters(), *owner.buffers())
            if (key := identity(tensor)) not in plain
        }
        self._made: tuple[nn.Module | None, Mapping[str, torch.Tensor]] = None, {}

    def maker(self, name: str, part: Hashable, dtype: torch.dtype) -> Callable[[], torch.Tensor]:
        """Return what makes the part of that name in the state dict."""
        owner = self.parts[part]
        return lambda: self._state(owner)[name].detach().to(dtype)

    def _state(self, owner: nn.Module) -> Mapping[str, torch.Tensor]:
        """Return a state dict in which the tensors of one owner are drawn."""
        if self._made[0] is not owner:
            empty = [
                (each, torch.zeros(each.shape, dtype=each.dtype))
                for each in (*owner.parameters(), *owner.buffers())
                if self.parts.get(identity(each)) is owner
            ]
            double = Mirror(empty).of(self._model)
            rows = [each for each in self._plan.assignments if each.name in self._names[owner]]
            part = replace(self._plan, assignments=tuple(rows))
            write(double, part, seed=self._plan.seed or 0, scope=self._plan.scope)
            self._made = owner, double.state_dict(keep_vars=True)
        return self._made[1]
