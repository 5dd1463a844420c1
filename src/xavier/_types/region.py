"""A region: the part of a stored parameter that one law is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any, Self

from xavier._errors import PlanError, ShapeError
from xavier._types import codec


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a stored parameter: all of it, or index ranges along one axis.

    Attributes:
        axis: The stored axis that is cut, or None for the whole parameter.
        ranges: Half-open, increasing, disjoint index ranges along `axis`.
    """

    axis: int | None = None
    ranges: tuple[tuple[int, int], ...] = ()

    def __str__(self) -> str:
        """Return it as an index, such as `[0:768]`, `[:, 4:8]` or `[0:2+6:8]`."""
        if self.axis is None:
            return "[:]"
        spans = "+".join(f"{start}:{stop}" for start, stop in self.ranges) or "0:0"
        return f"[{':, ' * self.axis}{spans}]"

    def covers(self, shape: Sequence[int]) -> bool:
        """Return whether it is all of a parameter of that shape."""
        return self.size(shape) == prod(shape)

    def size(self, shape: Sequence[int]) -> int:
        """Return how many elements of a parameter of that shape it has.

        Raises:
            ShapeError: If it reaches beyond the parameter.
        """
        return prod(self.shape_in(shape))

    def shape_in(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return its own shape in a parameter of that shape.

        Raises:
            ShapeError: If it reaches beyond the parameter.
        """
        if self.axis is None:
            return tuple(shape)
        if self.axis >= len(shape) or any(stop > shape[self.axis] for _, stop in self.ranges):
            raise ShapeError(f"region {self} reaches beyond a parameter of shape {tuple(shape)}")
        length = sum(stop - start for start, stop in self.ranges)
        return (*shape[: self.axis], length, *shape[self.axis + 1 :])

    def slices(self, shape: Sequence[int]) -> list[tuple[slice, ...]]:
        """Return the indices of its parts in the stored parameter, one for each range.

        Raises:
            ShapeError: If it reaches beyond the parameter.
        """
        self.shape_in(shape)
        if self.axis is None:
            return [(slice(None),) * len(shape)]
        before = (slice(None),) * self.axis
        after = (slice(None),) * (len(shape) - self.axis - 1)
        return [(*before, slice(start, stop), *after) for start, stop in self.ranges]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data: `axis` (None for the whole) and `ranges`."""
        return codec.plain(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, where: str = "region") -> Self:
        """Return the region that `to_dict` gave.

        Args:
            data: `axis` and `ranges`.
            where: What it belongs to, for the messages.

        Raises:
            PlanError: If a key is unknown, or the ranges are not increasing and disjoint.
        """
        reader = codec.Reader(data, where=where)
        axis = reader.integer("axis", None)
        ranges = reader.pairs("ranges", ())
        reader.finish()
        edges = [edge for span in ranges for edge in span]
        apart = edges == sorted(edges) and all(start < stop for start, stop in ranges)
        if not apart or (edges and edges[0] < 0):
            raise reader.misfit("ranges", ranges, "increasing, disjoint, not empty ranges from 0")
        if (axis is None) != (not ranges) or (axis is not None and axis < 0):
            raise reader.misfit("axis", axis, "an axis from 0 with ranges, or neither")
        return cls(axis, ranges)


def check_cover(shape: Sequence[int], regions: Sequence[Region]) -> None:
    """Check that regions cover every element of a parameter exactly once.

    Args:
        shape: The parameter's stored shape.
        regions: Its regions, in any order.

    Raises:
        PlanError: If elements are left out or covered twice; with the first such range.
        ShapeError: If a region reaches beyond the parameter.
    """
    if prod(shape) == 0:
        return
    cut = [region for region in regions if region.size(shape)]
    axes = {region.axis for region in cut}
    if len(axes) > 1 or (None in axes and len(cut) > 1):
        found = " and ".join(str(region) for region in cut)
        raise PlanError(f"regions {found} of a parameter of shape {tuple(shape)} overlap")
    if axes == {None}:
        return
    axis = axes.pop() or 0 if axes else 0
    length = shape[axis] if shape else 1
    reached = 0
    spans = sorted(span for region in cut for span in region.ranges)
    for start, stop in [*spans, (length, length)]:
        if start != reached:
            fault = "covered twice" if start < reached else "not covered"
            part = Region(axis, ((min(start, reached), max(start, reached)),))
            raise PlanError(f"elements {part} of a parameter of shape {tuple(shape)} are {fault}")
        reached = stop


def overlap(left: Region, right: Region) -> bool:
    """Return whether two regions of one parameter share an element."""
    if left.axis is None or right.axis is None or left.axis != right.axis:
        return True
    spans = sorted((*left.ranges, *right.ranges))
    return any(one[1] > two[0] for one, two in pairwise(spans))
