"""A checkpoint written straight from a plan: never more than one tensor of it in memory.

The layout is the ecosystem's: `model-00001-of-00002.safetensors`, … with
`model.safetensors.index.json`, or one `model.safetensors`; a Hugging Face model's configuration
lies beside. `xavier.checkpoint.json` tells what was written, so that a writer that was stopped can
be called again: what is finished is verified and kept.
"""

from __future__ import annotations

import copy
import hashlib
import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from xavier._errors import DtypeError, WriteError
from xavier._types.plan import Plan
from xavier.frameworks.torch._elements import write_assignment
from xavier.frameworks.torch._files import Folder
from xavier.frameworks.torch._fit import DTYPES, Job, jobs
from xavier.frameworks.torch._mirror import Mirror
from xavier.frameworks.torch._storages import identity
from xavier.frameworks.torch.names import Slot, buffers, slots
from xavier.frameworks.torch.owners import owner_values
from xavier.frameworks.torch.write import write

__all__ = ["DEFAULT_SHARD_SIZE", "write_checkpoint"]

DEFAULT_SHARD_SIZE: Final = 5 * 10**9  # bytes, as Hugging Face's writer has it
MANIFEST: Final = "xavier.checkpoint.json"
INDEX: Final = "model.safetensors.index.json"
_FORMAT: Final = "xavier-checkpoint/1"
_CODES: Final = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
_WRITTEN: Final = 1 << 24  # bytes handed to the file at once


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of the checkpoint.

    Attributes:
        name: Its name in the state dict.
        shape: Its shape.
        dtype: What it is written in.
        make: Makes it.
        drawn: How many of its elements are drawn.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    make: Callable[[], torch.Tensor] = field(repr=False)
    drawn: int = 0

    @property
    def size(self) -> int:
        """Its bytes."""
        return prod(self.shape) * self.dtype.itemsize


def write_checkpoint(
    model: nn.Module,
    plan: Plan,
    folder: Path,
    *,
    dtype: str | None = None,
    max_shard_size: int = DEFAULT_SHARD_SIZE,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draw a plan into a sharded safetensors checkpoint, one tensor in memory at a time.

    What is drawn is what `init_` draws with the same plan, seed and scope; what is kept, and
    buffers, are made by their owners. The model itself is left as it is, on the meta device or
    not. Tied weights are written once, under their first name.

    Args:
        model: The model, best on the meta device.
        plan: What to draw, seed and scope included.
        folder: Where to write; made if it is not there.
        dtype: What floating tensors are written in: the name of a dtype, or None for each its own.
        max_shard_size: The most bytes of a shard; a larger tensor has one to itself.
        force: Whether to replace another checkpoint that is there.
        progress: Called with (elements drawn, elements in all) as it goes on; shards that are
            kept count as drawn.

    Returns:
        The index, or the single file.

    Raises:
        PlanError: If the plan does not fit the model.
        DtypeError: If the dtype is unknown, or a tensor's has no place in the format.
        WriteError: If the folder holds something else, another process writes to it, or the
            disk is full. Calling again goes on where this one stopped.
    """
    entries = tuple(_entries(model, plan, _dtype(dtype)))
    shards = _sharded(entries, max_shard_size)
    task = _task(plan, entries, shards)
    total = sum(each.drawn for each in entries)
    done = 0
    with Folder(folder) as files:
        finished = _finished(files, task, force=force)
        for name, shard in shards.items():
            before = done

            def report(elements: int, before: int = before) -> None:
                if progress is not None:
                    progress(before + elements, total)

            if not files.holds(name, finished.get(name)):
                finished[name] = files.write(name, _bytes(shard, plan, report))
                files.write(MANIFEST, [_document({**task, "files": finished})])
            done += sum(each.drawn for each in shard)
            report(done - before)
        _write_config(files, model, dtype)
        if len(shards) == 1:
            return folder / next(iter(shards))
        files.write(INDEX, [_document(_index(entries, shards))])
        return folder / INDEX


def _dtype(name: str | None) -> torch.dtype | None:
    if name is None:
        return None
    known = {label: each for each, label in DTYPES.items()}
    if name not in known:
        raise DtypeError(f"dtype {name!r} cannot be drawn", hint=f"known: {', '.join(known)}")
    return known[name]


# What is written


def _entries(model: nn.Module, plan: Plan, dtype: torch.dtype | None) -> Iterator[Entry]:
    """Yield the tensors of the state dict, tied ones once, in its order."""
    drawn = {job.slot.name: job for job in jobs(model, plan)}
    by_identity = {identity(slot.stored): slot for slot in (*slots(model), *buffers(model))}
    special = _Computed(model, plan, drawn)
    values = owner_values(model, plan)
    seen: set[Any] = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        key = identity(tensor)
        if key in seen:
            continue
        seen.add(key)
        slot = by_identity.get(key)
        wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
        if wanted not in _CODES:
            kind = str(wanted).removeprefix("torch.")
            raise DtypeError(f"`{name}` {tuple(tensor.shape)}: safetensors has no {kind}")
        job = drawn.get(slot.name) if slot is not None else None
        shape = tuple(tensor.shape)
        if key in special.parts:
            yield Entry(name, shape, wanted, special.maker(name, wanted))
        elif job is not None and slot is not None:
            make = _Drawn(job, plan, wanted, _start(slot, values))
            count = sum(prod(each.shape) for each in job.assignments)
            yield Entry(name, shape, wanted, make, count)
        else:
            value = values.get(slot.name if slot is not None else name)
            if value is None and tensor.is_meta:
                raise WriteError(f"`{name}` {shape}: nobody gives it a value")
            held = tensor.detach() if value is None else value
            yield Entry(name, shape, wanted, lambda held=held, wanted=wanted: held.to(wanted))


def _start(slot: Slot, values: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
    """Return what a weight that is drawn in part holds in the rest."""
    if slot.name in values:
        return values[slot.name]
    return None if slot.stored.is_meta else slot.stored.detach()


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Draws one weight, in memory of its own."""

    job: Job
    plan: Plan
    dtype: torch.dtype
    start: torch.Tensor | None

    def __call__(self) -> torch.Tensor:
        out = torch.empty(self.job.slot.shape, dtype=self.dtype)
        if not self.job.whole:
            assert self.start is not None
            out.copy_(self.start)
        name = self.plan.scope + self.job.slot.name
        for each in self.job.assignments:
            write_assignment(out, each, seed=self.plan.seed or 0, name=name, report=lambda _: None)
        return out


class _Computed:
    """Weights behind a parametrization: drawn on a double of the model, these parts of it real."""

    def __init__(self, model: nn.Module, plan: Plan, drawn: Mapping[str, Job]) -> None:
        self._model, self._plan = model, plan
        self._names = {job.slot.name for job in drawn.values() if job.slot.parametrization}
        plain = {identity(slot.stored) for slot in slots(model) if not slot.parametrization}
        owners = {job.slot.owner for job in drawn.values() if job.slot.parametrization}
        self.parts = {
            key: tensor
            for owner in owners
            for tensor in (*owner.parameters(), *owner.buffers())
            if (key := identity(tensor)) not in plain
        }
        self._state: dict[str, torch.Tensor] = {}

    def maker(self, name: str, dtype: torch.dtype) -> Callable[[], torch.Tensor]:
        """Return what makes the part of that name in the state dict."""
        return lambda: self._values()[name].detach().to(dtype)

    def _values(self) -> dict[str, torch.Tensor]:
        if not self._state:
            empty = [
                (each, torch.zeros(each.shape, dtype=each.dtype)) for each in self.parts.values()
            ]
            double = Mirror(empty).of(self._model)
            rows = tuple(each for each in self._plan.assignments if each.name in self._names)
            part = replace(self._plan, assignments=rows)
            write(double, part, seed=self._plan.seed or 0, scope=self._plan.scope)
            self._state = dict(double.state_dict(keep_vars=True))
        return self._state


# How it is laid out


def _sharded(entries: Sequence[Entry], limit: int) -> dict[str, list[Entry]]:
    """Return the shards in their order, each with its tensors in theirs."""
    if limit < 1:
        raise WriteError(f"max_shard_size is {limit}, expected a positive number of bytes")
    groups: list[list[Entry]] = [[]]
    room = limit
    for each in entries:
        if groups[-1] and each.size > room:
            groups.append([])
            room = limit
        groups[-1].append(each)
        room -= each.size
    if len(groups) == 1:
        return {"model.safetensors": groups[0]}
    count = len(groups)
    return {
        f"model-{at:05d}-of-{count:05d}.safetensors": group
        for at, group in enumerate(groups, start=1)
    }


def _task(
    plan: Plan, entries: Sequence[Entry], shards: Mapping[str, Sequence[Entry]]
) -> dict[str, Any]:
    """Return what identifies a checkpoint: two writers with one task write the same bytes."""
    layout = {
        name: [(each.name, each.shape, _CODES[each.dtype]) for each in shard]
        for name, shard in shards.items()
    }
    text = json.dumps(layout, separators=(",", ":"))
    return {
        "format": _FORMAT,
        "plan": plan.digest,
        "seed": plan.seed,
        "scope": plan.scope,
        "layout": hashlib.blake2b(text.encode(), digest_size=16).hexdigest(),
        "bytes": sum(each.size for each in entries),
    }


def _finished(files: Folder, task: Mapping[str, Any], *, force: bool) -> dict[str, str]:
    """Return the digests of the files that an earlier writer of the same task finished."""
    text = files.read(MANIFEST)
    try:
        found = json.loads(text) if text is not None else None
    except ValueError:
        found = {}
    if isinstance(found, dict) and all(found.get(key) == each for key, each in task.items()):
        return {str(name): str(digest) for name, digest in found.get("files", {}).items()}
    others = [each for each in files.names() if each.endswith((".safetensors", ".json"))]
    if others and not force:
        raise WriteError(
            f"{files.path} holds another checkpoint ({others[0]}, …)"
            if len(others) > 1
            else f"{files.path} holds {others[0]}",
            hint="name another folder, or replace it with force=True (--force)",
        )
    for each in others:
        files.remove(each)
    return {}


def _bytes(
    shard: Sequence[Entry], plan: Plan, report: Callable[[int], None]
) -> Iterator[bytes | memoryview]:
    """Yield a safetensors file: its header's length, its header, its tensors."""
    header: dict[str, Any] = {
        "__metadata__": {
            "format": "pt",
            "xavier.digest": plan.digest,
            "xavier.recipe": plan.recipe,
            "xavier.seed": str(plan.seed),
            "xavier.scope": plan.scope,
        }
    }
    at = 0
    for each in shard:
        ends = [at, at + each.size]
        header[each.name] = {
            "dtype": _CODES[each.dtype], "shape": list(each.shape), "data_offsets": ends
        }  # fmt: skip
        at += each.size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield struct.pack("<Q", len(text)) + text
    drawn = 0
    for each in shard:
        made = each.make().detach().cpu().contiguous()
        if made.numel():
            raw = memoryview(made.reshape(-1).view(torch.uint8).numpy())
            yield from (raw[begin : begin + _WRITTEN] for begin in range(0, len(raw), _WRITTEN))
        del made
        drawn += each.drawn
        report(drawn)


def _index(entries: Sequence[Entry], shards: Mapping[str, Sequence[Entry]]) -> dict[str, Any]:
    return {
        "metadata": {"total_size": sum(each.size for each in entries)},
        "weight_map": {each.name: name for name, shard in shards.items() for each in shard},
    }


def _write_config(files: Folder, model: nn.Module, dtype: str | None) -> None:
    """Write a Hugging Face model's configuration, so that `from_pretrained` finds it."""
    config: Any = getattr(model, "config", None)
    if not hasattr(config, "to_json_string"):
        return
    config = copy.deepcopy(config)
    config.architectures = [type(model).__name__]
    if dtype is not None:
        config.dtype = dtype
    files.write("config.json", [config.to_json_string().encode()])


def _document(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
