"""Hold a model's tensors against a reference's, one at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn

from xavier._errors import PlanError, TargetError
from xavier._types.contrast import Change, Fate
from xavier.frameworks.torch._reference import Reference, matched, opened
from xavier.frameworks.torch._shards import is_dtensor
from xavier.frameworks.torch._storages import identity
from xavier.frameworks.torch.names import canonical

_AT_ONCE: Final = 1 << 22  # elements
# What a forward pass or a drawing writes to by itself.
_RUNNING: Final = ("running_mean", "running_var", "num_batches_tracked", "_u", "_v")


@dataclass(frozen=True, slots=True)
class Compared:
    """What became of every tensor.

    Attributes:
        what: The reference in words.
        changes: Every tensor.
        names: The canonical name of each of the model's, by its name in the state dict.
        running: Names of buffers that a forward pass or a drawing writes to by itself.
        parted: Pairs of canonical names that are one storage there and two here.
        notes: What the reader should know.
    """

    what: str
    changes: tuple[Change, ...]
    names: dict[str, str]
    running: frozenset[str]
    parted: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def compared(model: nn.Module, reference: Any, *, option: str = "reference") -> Compared:
    """Compare every parameter and buffer of a model's state dict with a reference's.

    Names are those of the state dict, without what wrappers add, and less a prefix that all of one
    side have. Tied tensors count once. Buffers that are not saved are not compared.

    Args:
        model: The model, on real devices; it is read alone.
        reference: As for `_reference.opened`.
        option: What named it, for the messages.

    Raises:
        TargetError: If the reference cannot be read, or has no tensor of a name of the model's.
        PlanError: If the model is sharded, or on the meta device.
    """
    held = _held(model)
    with opened(reference, option=option) as there:
        names, prefix = matched([name for group in held for name in group[0]], there.shapes)
        if not names:
            few = ", ".join(f"`{name}`" for name in list(there.shapes)[:3])
            told = f"{option} {there.what} has no tensor of the model's; it has {few}"
            raise TargetError(told, hint="was it written for this model?")
        changes = [_change(group, names, there) for group in held]
        lost = sorted(set(there.shapes) - set(names.values()), key=list(there.shapes).index)
        changes += [Change(each, "tensor", Fate.ONLY_THERE, there.shapes[each]) for each in lost]
        parted = tuple(_parted(held, names, there))
        note = (f"{there.what} has {prefix}: left out of account",) if prefix else ()
    root = {group[0][0]: canonical(group[0][0], root=model) for group in held}
    running = frozenset(n for n in root if n.rpartition(".")[2].endswith(_RUNNING))
    return Compared(there.what, tuple(changes), root, running, parted, note)


_Group = tuple[list[str], str, torch.Tensor]


def _held(model: nn.Module) -> list[_Group]:
    """Return names, kind and tensor of everything that is saved, tied names together."""
    parameters = {id(each) for each in model.parameters()}
    groups: dict[Any, _Group] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if not isinstance(tensor, torch.Tensor):
            continue
        if is_dtensor(tensor) or tensor.is_meta:
            what = "on the meta device" if tensor.is_meta else "sharded"
            raise PlanError(f"`{name}` is {what}, expected values to compare")
        kind = "parameter" if id(tensor) in parameters else "buffer"
        groups.setdefault(identity(tensor), ([], kind, tensor))[0].append(name)
    return list(groups.values())


def _change(group: _Group, names: dict[str, str], there: Reference) -> Change:
    own, kind, tensor = group
    shape = tuple(tensor.shape)
    name = next((each for each in own if each in names), None)
    if name is None:
        return Change(own[0], kind, Fate.ONLY_HERE, shape)
    other = there.tensor(names[name])
    unlike = tuple(other.shape) != shape or other.dtype != tensor.dtype
    said = f"{str(other.dtype).removeprefix('torch.')} {tuple(other.shape)}" if unlike else ""
    if tuple(other.shape) != shape:
        return Change(own[0], kind, Fate.RESHAPED, shape, said)
    difference = _difference(tensor.detach(), other.to(tensor.device))
    fate = (Fate.ROUNDED if unlike else Fate.UNCHANGED) if difference == 0 else Fate.CHANGED
    return Change(own[0], kind, fate, shape, said, difference)


def _difference(here: torch.Tensor, there: torch.Tensor) -> float:
    """Return the RMS of the difference over the RMS there; exactly 0 only if all bits agree."""
    if here.dtype != there.dtype:
        coarse = min(here.dtype, there.dtype, key=lambda dtype: dtype.itemsize)
        here, there = here.to(coarse), there.to(coarse)
    change, size, equal = 0.0, 0.0, True
    for one, two in zip(_blocks(here), _blocks(there), strict=True):
        same = one == two
        if one.is_floating_point() or one.is_complex():
            same |= one.isnan() & two.isnan()
        equal = equal and bool(same.all())
        size += float(two.abs().square().sum())
        change += float((one - two)[~same].abs().square().sum())
    if equal:
        return 0.0
    return math.sqrt(change / size) if size > 0 and change > 0 else math.inf


def _blocks(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield parts of a tensor, wide enough for sums; integers above 2**53 lose their last bits."""
    wide = torch.complex128 if tensor.is_complex() else torch.float64
    flat = tensor.reshape(-1)
    yield from (flat[at : at + _AT_ONCE].to(wide) for at in range(0, flat.numel(), _AT_ONCE))


def _parted(
    held: list[_Group], names: dict[str, str], there: Reference
) -> Iterator[tuple[str, str]]:
    """Yield pairs of names that are one storage there and two here."""
    ours = {theirs: group[0][0] for group in held for n in group[0] if (theirs := names.get(n))}
    for tie in there.ties:
        first, *rest = dict.fromkeys(ours[name] for name in tie if name in ours) or [""]
        yield from ((each, first) for each in rest)
