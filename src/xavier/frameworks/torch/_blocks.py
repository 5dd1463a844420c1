"""Packed projections: which outputs of a contraction are read as a block of their own.

A projection to queries, keys and values in one matrix, or to the gates of a cell, is several
weights in one tensor. Its output carries, element by element, the coordinate on the kept
axis; views and joins of a bias keep it; the sets of coordinates that are first *computed
with* are the blocks. Sets that overlap are one block, or rotary embeddings would split the
queries in two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

_EXPLICIT_LIMIT = 2**24
_ADDENDS = 2  # of a sum that is followed


@dataclass(frozen=True)
class Coordinates:
    """The kept-axis coordinate of every element of a value, and the op that made it."""

    op: int
    tensor: torch.Tensor

    def moved(self, move: Callable[[torch.Tensor], object]) -> list[Coordinates] | None:
        """Apply an op that moves elements; None if the coordinates cannot be followed."""
        if self.tensor.numel() > _EXPLICIT_LIMIT:
            return None
        try:
            out = move(self.tensor)
        except (RuntimeError, TypeError, IndexError):
            return None
        outs = out if isinstance(out, tuple | list) else (out,)
        if any(isinstance(each, torch.Tensor) and each.is_meta for each in outs):
            return None
        return [Coordinates(self.op, each) for each in outs if isinstance(each, torch.Tensor)]


@dataclass
class BlockTracker:
    """Follows contractions' outputs to where they are first computed with."""

    _sizes: dict[int, int] = field(default_factory=dict)
    _carried: dict[int, tuple[Coordinates, ...]] = field(default_factory=dict)
    _blocks: dict[int, list[np.ndarray]] = field(default_factory=dict)

    def start(self, op: int, value: int, shape: torch.Size, axis: int) -> None:
        """Begin to follow the output `value` of contraction `op` along one axis."""
        size = shape[axis]
        view = [1] * len(shape)
        view[axis] = size
        tensor = torch.arange(size, dtype=torch.int32, device="cpu").view(view).expand(shape)
        self._sizes[op] = size
        self._blocks[op] = []
        self._carried[value] = (Coordinates(op, tensor),)

    def carry(self, sources: list[int], value: int, shape: torch.Size) -> bool:
        """Carry coordinates through a sum of at most two followed values."""
        found = [each for source in sources for each in self._carried.get(source, ())]
        if not found or len(found) > _ADDENDS or any(each.tensor.shape != shape for each in found):
            return False
        self._carried[value] = tuple(found)
        return True

    def move(self, source: int, values: list[int], move: Callable[[torch.Tensor], object]) -> bool:
        """Carry coordinates through an op that moves elements into `values`."""
        carried = self._carried.get(source, ())
        moved = [each.moved(move) for each in carried]
        if not carried or any(each is None or len(each) != len(values) for each in moved):
            return False
        for at, value in enumerate(values):
            self._carried[value] = tuple(each[at] for each in moved if each is not None)
        return True

    def read(self, value: int) -> None:
        """Note that `value` is computed with: its coordinates are a block."""
        for each in self._carried.get(value, ()):
            known = self._blocks[each.op]
            if len(known) == 1 and len(known[0]) == self._sizes[each.op]:
                continue
            _merge(known, _distinct(each.tensor))

    def blocks(self, op: int) -> list[np.ndarray]:
        """Return the op's blocks, in order of their first coordinate, or none if there is one."""
        found = sorted(self._blocks.get(op, []), key=lambda block: int(block[0]))
        covered = sum(len(block) for block in found)
        return found if len(found) > 1 and covered == self._sizes[op] else []


def _distinct(tensor: torch.Tensor) -> np.ndarray:
    for axis, stride in enumerate(tensor.stride()):
        if stride == 0:
            tensor = tensor.narrow(axis, 0, min(1, tensor.shape[axis]))
    return np.unique(tensor.numpy())


def _merge(blocks: list[np.ndarray], block: np.ndarray) -> None:
    if len(block) == 0:
        return
    for known in list(blocks):
        if np.intersect1d(known, block, assume_unique=True).size:
            blocks[:] = [each for each in blocks if each is not known]
            block = np.union1d(known, block)
    blocks.append(block)
