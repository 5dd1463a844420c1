"""Fill a destination with NumPy: the specification at work, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock, Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xavier.bits._dtypes import Format
from xavier.bits._environment import standard_environment
from xavier.bits._pieces import PIECE, Piece, Run
from xavier.bits._samplers import Sampler
from xavier.bits._words import BLOCK, KeyWords

Array = NDArray[Any]


def draw_pieces(
    pieces: Iterator[Piece], sampler: Sampler, *, words: KeyWords, form: Format, threads: int
) -> None:
    """Draw all pieces, each thread taking the next one that is left."""
    queue = _Queue(pieces)
    helpers = [
        Thread(target=queue.drain, args=(sampler, words, form), daemon=True)
        for _ in range(threads - 1)
    ]
    for helper in helpers:
        helper.start()
    try:
        queue.drain(sampler, words, form)
    finally:
        queue.join(helpers)
    queue.raise_failure()


class _Queue:
    """Pieces that several threads take from; the first failure ends the work."""

    def __init__(self, pieces: Iterator[Piece]) -> None:
        self._pieces = pieces
        self._lock = Lock()
        self._failure: BaseException | None = None

    def drain(self, sampler: Sampler, words: KeyWords, form: Format) -> None:
        """Draw pieces until none is left."""
        try:
            with standard_environment():
                while (piece := self._next()) is not None:
                    _draw_piece(piece, sampler, words, form)
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


def _draw_piece(piece: Piece, sampler: Sampler, words: KeyWords, form: Format) -> None:
    if isinstance(piece, Run):
        values = _consecutive_values(piece.first, piece.out.size, sampler, words)
    else:
        values = _values_at(piece.indices(), sampler, words)
    piece.out[...] = form.rounded(values).reshape(piece.out.shape)


def _consecutive_values(first: int, count: int, sampler: Sampler, words: KeyWords) -> Array:
    begin, end = first // BLOCK, -(-(first + count) // BLOCK)
    blocks = np.arange(end - begin, dtype=np.uint64) + np.uint64(begin)
    skip = first - begin * BLOCK
    return sampler.draw(words, blocks).reshape(-1)[skip : skip + count]


def _values_at(indices: NDArray[np.uint64], sampler: Sampler, words: KeyWords) -> Array:
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
        drawn = sampler.draw(words, blocks[starts[at : min(at + group, len(starts) - 1)]])
        parts.append(drawn[rows[begin:end] - at, places[begin:end]])
    return np.concatenate(parts)
