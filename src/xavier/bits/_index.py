"""Read a NumPy-style index as ranges of row-major indices."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from types import EllipsisType
from typing import SupportsIndex

from xavier._errors import ShapeError

Part = SupportsIndex | slice | EllipsisType
Index = Part | tuple[Part, ...] | None


@dataclass(frozen=True, slots=True)
class Selection:
    """The part of an array that an index selects.

    Attributes:
        shape: The shape of the part.
        first: The row-major index, in the whole, of its least element.
        axes: For each axis of the part, what its positions add to `first`, increasing.
        flips: The slices that bring the part into increasing order.
    """

    shape: tuple[int, ...]
    first: int
    axes: tuple[range, ...]
    flips: tuple[slice, ...]


def parse_shape(shape: SupportsIndex | tuple[SupportsIndex, ...]) -> tuple[int, ...]:
    """Return a shape as a tuple of integers.

    Raises:
        ShapeError: If a side is negative, or the elements are too many for a stream.
    """
    sides = shape if isinstance(shape, tuple | list) else (shape,)
    try:
        sizes = tuple(operator.index(side) for side in sides)
    except TypeError:
        raise ShapeError(f"shape is {shape!r}, expected integers") from None
    if any(size < 0 for size in sizes):
        raise ShapeError(f"shape is {sizes}, expected no negative side")
    if math.prod(sizes) > 2**64:
        raise ShapeError(f"shape is {sizes}, expected at most 2**64 elements")
    return sizes


def parse_index(index: Index, shape: tuple[SupportsIndex, ...]) -> Selection:
    """Return what `index` selects from an array of the given shape.

    Raises:
        ShapeError: If the index does not fit the shape, or has parts other than integers,
            slices and one ellipsis.
    """
    sizes = parse_shape(shape)
    parts = _expanded(index, sizes)
    first, counts, axes, flips = 0, [], [], []
    stride = math.prod(sizes)
    for place, (part, size) in enumerate(zip(parts, sizes, strict=True)):
        stride = stride // size if size else 0
        if not isinstance(part, slice):
            first += _position(part, size, place) * stride
            continue
        chosen = _range(part, size)
        flips.append(slice(None, None, -1 if chosen.step < 0 else None))
        chosen = chosen[::-1] if chosen.step < 0 else chosen
        first += chosen.start * stride if chosen else 0
        counts.append(len(chosen))
        axes.append(range(0, len(chosen) * chosen.step * stride, chosen.step * stride or 1))
    return Selection(tuple(counts), first, tuple(axes), tuple(flips))


def _expanded(index: Index, sizes: tuple[int, ...]) -> list[SupportsIndex | slice]:
    """Replace the ellipsis and what is left out by full slices."""
    given = list(index) if isinstance(index, tuple) else [... if index is None else index]
    dots = [place for place, part in enumerate(given) if part is Ellipsis]
    if len(dots) > 1 or len(given) - len(dots) > len(sizes):
        raise ShapeError(
            f"index {index!r} does not fit the shape {sizes}, expected at most one part an axis"
        )
    at = dots[0] if dots else len(given)
    missing = [slice(None)] * (len(sizes) - len(given) + len(dots))
    parts = given[:at] + missing + given[at + 1 :]
    for part in parts:
        if isinstance(part, bool) or not (isinstance(part, slice) or hasattr(part, "__index__")):
            raise ShapeError(f"index part {part!r} is neither an integer nor a slice")
    return parts  # pyright: ignore[reportReturnType] - no ellipsis is left in it


def _range(part: slice, size: int) -> range:
    try:
        return range(size)[part]
    except (TypeError, ValueError) as error:
        raise ShapeError(f"index part {part!r} is no slice of an axis: {error}") from None


def _position(part: SupportsIndex, size: int, place: int) -> int:
    try:
        position = operator.index(part)
    except TypeError:
        raise ShapeError(f"index part {part!r} is neither an integer nor a slice") from None
    if not -size <= position < size:
        raise ShapeError(f"index {position} is outside axis {place} of size {size}")
    return position % size
