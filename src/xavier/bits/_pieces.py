"""Cut a destination into pieces, each drawn at once and written where it belongs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xavier._errors import ShapeError

Array = NDArray[Any]
PIECE = 1 << 18  # elements; fewer, and threads wait for the interpreter more than they draw
_LONG_RUN = 1 << 12  # a run worth a piece of its own


@dataclass(frozen=True, slots=True)
class Run:
    """A part of the destination whose elements follow one another in the stream."""

    out: Array
    first: int


@dataclass(frozen=True, slots=True)
class Scatter:
    """A part of the destination whose elements lie apart in the stream.

    `axes` has for each axis of `out` what its indices add to the index in the stream.
    """

    out: Array
    first: int
    axes: tuple[range, ...]

    def indices(self) -> NDArray[np.uint64]:
        """Return the stream's index of every element, in the order of `out`; increasing."""
        total = np.full((1,) * len(self.axes), self.first, np.uint64)
        for place, axis in enumerate(self.axes):
            shape = [1] * len(self.axes)
            shape[place] = len(axis)
            total = total + np.arange(len(axis), dtype=np.uint64).reshape(shape) * np.uint64(
                axis.step
            )
        return total.ravel()


Piece = Run | Scatter


def row_major(shape: tuple[int, ...]) -> tuple[range, ...]:
    """Return what each axis of a whole array adds to the row-major index."""
    axes, step = [], 1
    for size in reversed(shape):
        axes.append(range(0, size * step, step))
        step *= size or 1
    return tuple(reversed(axes))


def runs(out: Array, first: int) -> Iterator[Run]:
    """Yield the pieces of a destination that holds elements `first ...` in row-major order."""
    if out.size == 0:
        return
    flat = flat_view(out)
    if flat is not None:
        yield from _chunks(flat, first)
    elif out.size <= PIECE:
        yield Run(out, first)
    else:
        row = out.size // out.shape[0]
        step = max(1, PIECE // row)
        for at in range(0, out.shape[0], step):
            part = out[at] if step == 1 else out[at : at + step]
            yield from runs(part, first + at * row)


def _chunks(flat: Array, first: int) -> Iterator[Run]:
    """Cut at multiples of PIECE in the stream, so that no block is drawn twice."""
    at = 0
    while at < flat.size:
        stop = min(flat.size, at + PIECE - (first + at) % PIECE)
        yield Run(flat[at:stop], first + at)
        at = stop


def scattered(out: Array, first: int, axes: tuple[range, ...]) -> Iterator[Piece]:
    """Yield the pieces of a destination whose axis k adds `axes[k]` to the index `first`."""
    if out.size == 0:
        return
    if _consecutive(axes):
        yield from runs(out, first)
        return
    row = out.size // out.shape[0]
    if row < _LONG_RUN and out.size <= PIECE:
        yield Scatter(out, first, axes)
        return
    step = 1 if row >= _LONG_RUN else PIECE // row
    for at in range(0, out.shape[0], step):
        begin = first + at * axes[0].step
        if step == 1:
            yield from scattered(out[at], begin, axes[1:])
        else:
            yield from scattered(out[at : at + step], begin, (axes[0][at : at + step], *axes[1:]))


def _consecutive(axes: tuple[range, ...]) -> bool:
    expected = 1
    for axis in reversed(axes):
        if len(axis) > 1 and axis.step != expected:
            return False
        expected *= len(axis)
    return True


def flat_view(out: Array) -> Array | None:
    """Return `out` as one axis in row-major order without a copy, or None."""
    axes = [(n, s) for n, s in zip(out.shape, out.strides, strict=True) if n != 1]
    if all(s == m * t for (_, s), (m, t) in pairwise(axes)):
        return out.reshape(-1)
    return None


def require_destination(out: object) -> None:
    """Refuse what cannot be written element by element.

    Raises:
        ShapeError: If it is no NumPy array, is read-only, or has two elements at one address.
    """
    if not isinstance(out, np.ndarray):
        raise ShapeError(
            f"the destination is a {type(out).__name__}, expected a NumPy array",
            hint="torch: tensor.numpy(); bfloat16: tensor.view(torch.int16).numpy()",
        )
    if not out.flags.writeable:
        raise ShapeError(f"the destination {out.shape} is read-only, expected a writable array")
    if out.size > 1 and _overlaps(out):
        raise ShapeError(
            f"the destination {out.shape} with strides {out.strides} has several elements "
            "at one address, expected an array of its own",
            hint="a broadcast or expanded view: fill its base",
        )


def _overlaps(out: Array) -> bool:
    """Say whether two elements share memory; arrays that nest are cleared at once."""
    axes = sorted((abs(s), n) for n, s in zip(out.shape, out.strides, strict=True) if n > 1)
    extent = out.itemsize
    for stride, count in axes:
        if stride < extent:
            break
        extent += stride * (count - 1)
    else:
        return False
    places = np.zeros(1, np.int64)
    for stride, count in axes:
        places = np.add.outer(places, np.arange(count, dtype=np.int64) * stride).ravel()
    places.sort()
    return bool((np.diff(places) < out.itemsize).any())
