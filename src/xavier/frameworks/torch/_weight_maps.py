"""Which stored element of which parameter each element of a tensor is.

A tensor that holds weights and nothing else (a parameter, a transpose of it, a slice, a
copy in another dtype) carries a *stand-in*: a tensor of the same shape whose strides and
offset address the stored parameters. Any op that only moves elements is applied to the
stand-in too, and PyTorch itself keeps the addresses right. All parameters of a model share
one address space, so that joined weights can be told apart again.

While strides suffice the stand-in is a meta tensor and costs nothing. Where they do not (a
join, an index list, a reshape of a transpose) it becomes a real tensor of addresses.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch

from xavier._types.plan import Region

_EXPLICIT_LIMIT = 2**25  # elements for which addresses may be written out: 256 MiB


class LostAxesError(Exception):
    """A weight's elements can be followed no further; carries no message for users."""


@dataclass(frozen=True)
class WeightMap:
    """Where the elements of a tensor of weights are stored.

    Attributes:
        stand_in: Addresses of the elements, in its strides (meta) or its values (int64).
        scale: A constant that the stored elements were multiplied by.
    """

    stand_in: torch.Tensor
    scale: float = 1.0

    def explicit(self) -> torch.Tensor:
        """Return the addresses written out, as an int64 tensor.

        Raises:
            LostAxesError: If there are too many.
        """
        if self.stand_in.device.type != "meta":
            return self.stand_in
        if self.stand_in.numel() > _EXPLICIT_LIMIT:
            raise LostAxesError
        addresses = torch.full(
            (), int(self.stand_in.storage_offset()), dtype=torch.int64, device="cpu"
        )
        for axis, (size, stride) in enumerate(
            zip(self.stand_in.shape, self.stand_in.stride(), strict=True)
        ):
            shape = [1] * self.stand_in.dim()
            shape[axis] = size
            addresses = addresses + (torch.arange(size, device="cpu") * stride).view(shape)
        return addresses.expand(self.stand_in.shape).contiguous()

    def moved(self, move: Callable[[torch.Tensor], torch.Tensor]) -> WeightMap:
        """Return the map of `move(tensor)`, for an op that only moves elements."""
        try:
            out = move(self.stand_in)
            aliases = out.untyped_storage()._cdata == self.stand_in.untyped_storage()._cdata
            if self.stand_in.device.type != "meta" or aliases:
                return WeightMap(out, self.scale)
        except RuntimeError:  # a view that the stored strides do not allow
            pass
        return WeightMap(move(self.explicit()), self.scale)


@dataclass(frozen=True)
class _Place:
    name: str
    start: int
    shape: tuple[int, ...]


class AddressSpace:
    """One range of addresses for all parameters of a model."""

    def __init__(self) -> None:
        self._places: list[_Place] = []
        self._end = 0

    def add(self, name: str, shape: Sequence[int]) -> WeightMap:
        """Give a parameter its addresses, row-major, and return the map of the whole."""
        shape = tuple(shape)
        self._places.append(_Place(name, self._end, shape))
        strides = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
        stand_in = torch.empty(self._end + prod(shape), dtype=torch.uint8, device="meta")
        view = stand_in.as_strided(shape, strides, self._end)
        self._end += prod(shape)
        return WeightMap(view)

    def _place(self, address: int) -> _Place:
        starts = [place.start for place in self._places]
        index = bisect.bisect_right(starts, address) - 1
        while prod(self._places[index].shape) == 0 and index > 0:
            index -= 1
        return self._places[index]

    def names(self, weights: WeightMap) -> tuple[str, ...]:
        """Return the parameters that a tensor of weights holds elements of."""
        if weights.stand_in.numel() == 0:
            return ()
        if weights.stand_in.device.type == "meta":
            return (self._place(int(weights.stand_in.storage_offset())).name,)
        bounds = [place.start for place in self._places]
        found = np.unique(np.searchsorted(bounds, weights.stand_in.numpy(), side="right") - 1)
        return tuple(self._places[int(index)].name for index in found)

    def pieces(self, weights: WeightMap) -> list[Piece]:
        """Return, for each parameter in a tensor of weights, its coordinates along every axis."""
        if weights.stand_in.numel() == 0:
            return []
        if weights.stand_in.device.type == "meta":
            return [self._strided_piece(weights.stand_in)]
        return self._explicit_pieces(weights.stand_in.numpy())

    def _strided_piece(self, stand_in: torch.Tensor) -> Piece:
        place = self._place(int(stand_in.storage_offset()))
        offset = int(stand_in.storage_offset()) - place.start
        origin = np.unravel_index(offset, place.shape) if place.shape else ()
        rows: list[dict[int, np.ndarray]] = []
        for size, stride in zip(stand_in.shape, stand_in.stride(), strict=True):
            steps = np.unravel_index(offset + np.arange(size) * stride, place.shape)
            rows.append(
                {
                    axis: np.asarray(steps[axis])
                    for axis in range(len(place.shape))
                    if size and stride and np.any(steps[axis] != origin[axis])
                }
            )
        fixed = tuple(int(at) for at in origin)
        return Piece(place.name, place.shape, fixed, rows)

    def _explicit_pieces(self, addresses: np.ndarray) -> list[Piece]:
        starts = np.array([place.start for place in self._places])
        owner = np.searchsorted(starts, addresses, side="right") - 1
        return [
            self._explicit_piece(self._places[int(index)], addresses, owner == index)
            for index in np.unique(owner)
        ]

    def _explicit_piece(self, place: _Place, addresses: np.ndarray, mine: np.ndarray) -> Piece:
        local = np.where(mine, addresses - place.start, -1)
        first = tuple(int(at) for at in np.argwhere(mine)[0])
        origin = np.unravel_index(int(local[first]), place.shape) if place.shape else ()
        rows: list[dict[int, np.ndarray]] = []
        for dim in range(addresses.ndim):
            line = local[(*first[:dim], slice(None), *first[dim + 1 :])]
            steps = np.unravel_index(line[line >= 0], place.shape)
            rows.append(
                {
                    axis: np.asarray(steps[axis])
                    for axis in range(len(place.shape))
                    if np.any(steps[axis] != origin[axis])
                }
            )
        return Piece(place.name, place.shape, tuple(int(at) for at in origin), rows)


@dataclass(frozen=True)
class Piece:
    """The part of one parameter that a tensor of weights holds.

    Attributes:
        name: The parameter.
        shape: Its stored shape.
        origin: Coordinates of its first element here.
        rows: For each axis of the tensor, the stored axes that it walks, with coordinates.
    """

    name: str
    shape: tuple[int, ...]
    origin: tuple[int, ...]
    rows: list[dict[int, np.ndarray]]

    def axes(self, dims: Sequence[int]) -> tuple[int, ...]:
        """Return the stored axes that the given axes of the tensor walk."""
        return tuple(sorted({axis for dim in dims for axis in self.rows[dim]}))

    def coordinates(self) -> list[np.ndarray]:
        """Return, for each stored axis, the sorted coordinates that occur."""
        found: list[np.ndarray] = []
        for axis, at in enumerate(self.origin):
            walks = [row[axis] for row in self.rows if axis in row]
            if len(walks) > 1:  # two tensor axes share one stored axis: a split axis
                sums = np.asarray([at])
                for walk in walks:
                    sums = (sums[:, None] + (walk - at)[None, :]).reshape(-1)
                found.append(np.unique(sums))
            else:
                found.append(np.unique(walks[0]) if walks else np.asarray([at]))
        return found

    def region(self) -> Region | None:
        """Return the region covered; None if it is cut along more than one axis."""
        cut = [
            (axis, at) for axis, at in enumerate(self.coordinates()) if len(at) < self.shape[axis]
        ]
        if not cut:
            return Region()
        if len(cut) > 1:
            return None
        axis, at = cut[0]
        return Region(axis, ranges(at))


def ranges(coordinates: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Return sorted coordinates as half-open ranges."""
    if len(coordinates) == 0:
        return ()
    breaks = np.flatnonzero(np.diff(coordinates) != 1) + 1
    return tuple((int(run[0]), int(run[-1]) + 1) for run in np.split(coordinates, breaks))
