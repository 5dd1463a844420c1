"""Write a stream, or a region of a weight's stream, into an array."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock, Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xavier._errors import ShapeError
from xavier._types.laws import Law
from xavier.bits._dtypes import Format, bit_view
from xavier.bits._environment import standard_environment
from xavier.bits._index import Index, parse_index
from xavier.bits._key import Key, StreamError
from xavier.bits._pieces import PIECE, Piece, Run, require_destination, runs, scattered
from xavier.bits._samplers import DOUBLE, SINGLE, Sampler, sampler
from xavier.bits._words import BLOCK, KeyWords

Array = NDArray[Any]
_STREAM_END = 2**64
_PARALLEL_FROM = 1 << 20  # elements; below, starting threads costs more than they save


def fill(
    out: Array,
    law: Law,
    *,
    key: Key,
    start: int = 0,
    dtype: str | None = None,
    threads: int | None = None,
) -> None:
    """Write elements `start, start + 1, ...` of a stream into `out`, in row-major order.

    Element i depends on the key, the law, the precision and i alone: not on the array's
    layout, on where a call starts or ends, or on threads. float16 and bfloat16 get the
    float32 values rounded to nearest even; float64 is a stream of its own.

    Args:
        out: The destination: float64, float32, float16, or bfloat16 as explained under `dtype`;
            any shape and strides.
        law: An elementwise law.
        key: The stream.
        start: The index of the first element.
        dtype: `bfloat16` to fill an array of int16 or uint16 with the bits of bfloat16
            numbers; else None, or the name of the dtype that the array must have.
        threads: How many threads share the work; None for the machine's cores where the
            array is large.

    Raises:
        DtypeError: If the array's dtype cannot be drawn, or is not `dtype`.
        LawError: If the law is not elementwise, or reaches beyond the dtype's range.
        ShapeError: If the array cannot be written, or two of its elements share memory.
        StreamError: If the elements do not lie in [0, 2**64), or `key` or `threads` is none.

    Example:
        >>> import numpy as np
        >>> from xavier._types.laws import Uniform
        >>> out = np.empty(4, np.float32)
        >>> fill(out, Uniform(-1.0, 1.0), key=Key(0, "weight"))
        >>> bool((abs(out) <= 1).all())
        True
    """
    require_destination(out)
    storage, form = bit_view(out, dtype)
    first = _integer(start, "start")
    if first < 0 or first + storage.size > _STREAM_END:
        raise StreamError(
            f"start is {first} for {storage.size} elements, expected a range within [0, 2**64)"
        )
    _Job(law, key, form).run(runs(storage, first), _thread_count(threads, storage.size))


def fill_region(
    out: Array,
    law: Law,
    *,
    key: Key,
    shape: tuple[int, ...],
    index: Index,
    dtype: str | None = None,
) -> None:
    """Write the part `index` of a weight of the shape `shape` into `out`.

    The values are those that the part has in the whole weight, whose element at row-major
    index i is element i of the stream. A range of rows costs what its elements cost; a narrow
    range of columns may cost a block of 64 elements for every row.

    Args:
        out: The destination, of the shape that `index` selects.
        law: An elementwise law.
        key: The weight's stream.
        shape: The shape of the whole weight.
        index: Integers, slices (any step) and at most one ellipsis, as NumPy takes them.
        dtype: As for `fill`.

    Raises:
        DtypeError: As for `fill`.
        LawError: As for `fill`.
        ShapeError: If the index does not fit the shape, or `out` not the index; as for `fill`.

    Example:
        >>> import numpy as np
        >>> from xavier._types.laws import Normal
        >>> whole, shard = np.empty((6, 4)), np.empty((6, 2))
        >>> fill(whole, Normal(0.0, 1.0), key=Key(0, "weight"))
        >>> part = (slice(None), slice(2, 4))
        >>> fill_region(shard, Normal(0.0, 1.0), key=Key(0, "weight"), shape=(6, 4), index=part)
        >>> bool((shard == whole[part]).all())
        True
    """
    require_destination(out)
    storage, form = bit_view(out, dtype)
    part = parse_index(index, shape)
    if storage.shape != part.shape:
        raise ShapeError(
            f"the destination has shape {storage.shape}, expected {part.shape}, "
            f"which the index selects from {tuple(shape)}"
        )
    # The ellipsis makes it a view even of a single element.
    ascending = storage[(..., *part.flips)]
    pieces = scattered(ascending, part.first, part.axes)
    _Job(law, key, form).run(pieces, _thread_count(None, storage.size))


def _integer(value: object, what: str) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise StreamError(f"{what} is {value!r}, expected an integer")
    return operator.index(value)  # pyright: ignore[reportArgumentType]


def _thread_count(threads: int | None, size: int) -> int:
    if threads is None:
        return _cores() if size >= _PARALLEL_FROM else 1
    count = _integer(threads, "threads")
    if count < 1:
        raise StreamError(f"threads is {count}, expected a positive integer")
    return min(count, -(-size // PIECE) or 1)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class _Job:
    """One law drawn from one key in one format."""

    law: Law
    key: Key
    form: Format

    def run(self, pieces: Iterator[Piece], threads: int) -> None:
        """Draw all pieces, each thread taking the next one that is left."""
        if not isinstance(self.key, Key):
            raise StreamError(f"key is {self.key!r}, expected an xavier.Key")
        precision = DOUBLE if self.form.name == "float64" else SINGLE
        with standard_environment():
            draw = sampler(self.law, precision)
        words = self.key.words
        queue = _Queue(pieces)
        helpers = [
            Thread(target=queue.drain, args=(draw, words, self.form), daemon=True)
            for _ in range(threads - 1)
        ]
        for helper in helpers:
            helper.start()
        try:
            queue.drain(draw, words, self.form)
        finally:
            queue.join(helpers)
        queue.raise_failure()


class _Queue:
    """Pieces that several threads take from; the first failure ends the work."""

    def __init__(self, pieces: Iterator[Piece]) -> None:
        self._pieces = pieces
        self._lock = Lock()
        self._failure: BaseException | None = None

    def drain(self, draw: Sampler, words: KeyWords, form: Format) -> None:
        """Draw pieces until none is left."""
        try:
            with standard_environment():
                while (piece := self._next()) is not None:
                    _draw_piece(piece, draw, words, form)
        except BaseException as error:
            self._failure = self._failure or error

    def _next(self) -> Piece | None:
        with self._lock:
            return None if self._failure else next(self._pieces, None)

    def join(self, helpers: list[Thread]) -> None:
        """Wait for the other threads; an interrupt of the wait stops them first."""
        try:
            for helper in helpers:
                helper.join()
        except BaseException as error:
            self._failure = self._failure or error
            for helper in helpers:
                helper.join()

    def raise_failure(self) -> None:
        """Raise what a thread ended with."""
        if self._failure is not None:
            raise self._failure


def _draw_piece(piece: Piece, draw: Sampler, words: KeyWords, form: Format) -> None:
    if isinstance(piece, Run):
        values = _consecutive_values(piece.first, piece.out.size, draw, words)
    else:
        values = _values_at(piece.indices(), draw, words)
    piece.out[...] = form.rounded(values).reshape(piece.out.shape)


def _consecutive_values(first: int, count: int, draw: Sampler, words: KeyWords) -> Array:
    begin, end = first // BLOCK, -(-(first + count) // BLOCK)
    blocks = np.arange(end - begin, dtype=np.uint64) + np.uint64(begin)
    skip = first - begin * BLOCK
    return draw(words, blocks).reshape(-1)[skip : skip + count]


def _values_at(indices: NDArray[np.uint64], draw: Sampler, words: KeyWords) -> Array:
    """Return the values at increasing indices, drawing every block that they touch once."""
    blocks, places = indices // np.uint64(BLOCK), indices % np.uint64(BLOCK)
    fresh = np.empty(len(blocks), np.bool_)
    fresh[0] = True
    np.not_equal(blocks[1:], blocks[:-1], out=fresh[1:])
    starts = np.append(np.flatnonzero(fresh), len(blocks))
    rows = np.cumsum(fresh) - 1
    group = PIECE // BLOCK
    parts = []
    for at in range(0, len(starts) - 1, group):
        begin, end = starts[at], starts[min(at + group, len(starts) - 1)]
        drawn = draw(words, blocks[starts[at : min(at + group, len(starts) - 1)]])
        parts.append(drawn[rows[begin:end] - at, places[begin:end]])
    return np.concatenate(parts)
