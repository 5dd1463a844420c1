"""What this process holds of a parameter, and where that lies in the whole.

A DTensor's shard is found by cutting the axes' indices as the tensor itself was cut, one
placement after another, so that any mesh and any order of cuts comes out right: uneven shards, an
axis that is cut twice, and the strided cut with which FSDP2 goes over tensor parallelism.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xavier._errors import WriteError
from xavier.frameworks.torch._huge_pages import prefer_huge_pages

Index = tuple[slice, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """Indices of one axis that follow one another both in the whole and here."""

    whole: int
    here: int
    length: int

    def common(self, low: int, high: int) -> tuple[slice, slice] | None:
        """Return where the indices from `low` to `high` of the whole lie, there and here."""
        first, last = max(low, self.whole), min(high, self.whole + self.length)
        if first >= last:
            return None
        moved = self.here - self.whole
        return slice(first, last), slice(first + moved, last + moved)


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a parameter that this process holds.

    Attributes:
        tensor: A plain strided tensor.
        shape: The whole parameter's shape.
        spans: For each axis, which indices of the whole this process has.
    """

    tensor: torch.Tensor
    shape: tuple[int, ...]
    spans: tuple[tuple[Span, ...], ...]

    def clip(self, index: Index) -> Iterator[tuple[Index, Index]]:
        """Yield where parts of an index of the whole lie in the whole and here."""
        axes: list[list[tuple[slice, slice]]] = []
        for wanted, size, spans in zip(index, self.shape, self.spans, strict=True):
            low, high, _ = wanted.indices(size)
            axes.append([each for span in spans if (each := span.common(low, high))])
        for corner in product(*axes):
            yield tuple(whole for whole, _ in corner), tuple(here for _, here in corner)


def is_dtensor(tensor: torch.Tensor) -> bool:
    """Return whether a tensor is a `DTensor`, without importing what defines it."""
    return hasattr(tensor, "_local_tensor") and hasattr(tensor, "placements")


def part_of(tensor: torch.Tensor) -> Part:
    """Return what this process holds of a parameter: all of it, or a DTensor's shard."""
    shape = tuple(tensor.shape)
    if not is_dtensor(tensor):
        return Part(tensor.detach(), shape, tuple((Span(0, 0, size),) for size in shape))
    held: Any = tensor
    local = held._local_tensor.detach()
    if held.device_mesh.get_coordinate() is None:  # this process is no part of the mesh
        return Part(local, shape, tuple(() for _ in shape))
    spans = tuple(_spans(_held_indices(held, axis)) for axis in range(len(shape)))
    return Part(local, shape, spans)


def empty_shard_like(tensor: Any) -> torch.Tensor:
    """Return a DTensor like one on the meta device, this process's part of it uninitialized."""
    local = tensor._local_tensor
    real = torch.empty_strided(
        local.shape, local.stride(), dtype=local.dtype, device=tensor.device_mesh.device_type
    )
    return type(tensor).from_local(
        prefer_huge_pages(real),
        tensor.device_mesh,
        tensor.placements,
        run_check=False,
        shape=tensor.shape,
        stride=tensor.stride(),
    )


def copy_into(tensor: torch.Tensor, content: torch.Tensor) -> None:
    """Copy a whole content into a tensor, or into the part of it that this process holds."""
    part = part_of(tensor)
    copy_clip(part, part.tensor, content)


def copy_clip(part: Part, target: torch.Tensor, content: torch.Tensor) -> None:
    """Copy what a part has of a whole content into a tensor of the part's shape."""
    for whole, here in part.clip(tuple(slice(None) for _ in part.shape)):
        target[here].copy_(content[whole])


def refuse_partial(tensor: torch.Tensor, where: str) -> None:
    """Refuse a DTensor whose shards are addends: no shard of it has a law of its own.

    Args:
        tensor: The tensor.
        where: The parameter's name and shape.
    """
    held: Any = tensor
    partial = [str(each) for each in held.placements if each.is_partial()]
    if partial:
        raise WriteError(
            f"{where}: a parameter placed {partial[0]} cannot be drawn, "
            "expected Shard or Replicate",
            hint="redistribute it before it is drawn",
        )


def _held_indices(tensor: Any, axis: int) -> NDArray[np.int64]:
    """Return the indices along one axis of the whole that this process has, in its own order."""
    sides = [1] * tensor.dim()
    sides[axis] = tensor.shape[axis]
    indices = torch.arange(tensor.shape[axis]).reshape(sides)
    coordinate = tensor.device_mesh.get_coordinate()
    for place, placement in enumerate(tensor.placements):
        if getattr(placement, "dim", None) != axis:
            continue
        pieces, _ = placement._split_tensor(
            indices, tensor.device_mesh.size(place), with_padding=False
        )
        indices = pieces[coordinate[place]]
    return indices.reshape(-1).numpy()


def _spans(indices: NDArray[np.int64]) -> tuple[Span, ...]:
    if not len(indices):
        return ()
    starts = np.flatnonzero(np.diff(indices, prepend=indices[0] - 2) != 1)
    ends = np.append(starts[1:], len(indices))
    return tuple(
        Span(int(indices[start]), int(start), int(end - start))
        for start, end in zip(starts, ends, strict=True)
    )
