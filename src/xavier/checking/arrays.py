"""What one walk over an array tells, in pieces that the processor's caches hold."""

from __future__ import annotations

import functools
import hashlib
import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

HUGE: Final = 1e15  # no law in use reaches it, and memory that was not written often does
TINY: Final = 1e-30  # a law of std 1e-6 gives less than 1e-24 of its elements below it
_TINY_SHARE = 1e-3
_PIECE = 1 << 15
_HEAD = 64
_SAMPLE = 1024
_LEAST_ROW = 8  # shorter rows in low precision may be equal by chance
_LEAST_PART = 64  # elements; smaller parts in low precision may be equal by chance
_PRIMES = (2, 3, 5, 7)  # of how many processes share a weight
_LEAST_SQUARE = 1e-30  # on average; squares of much smaller elements than 1e-15 underflow
_LARGEST_MEAN = 0.9  # of the second moment, beyond which their difference loses digits


@dataclass(frozen=True, slots=True)
class Facts:
    """What the audit asks of every array.

    Attributes:
        largest: The largest magnitude; NaN if any element is.
        tiny: How many elements are not zero and smaller than `TINY`.
        constant: Whether all elements are equal.
        std: The standard deviation, to five digits; NaN if any element is not finite.
    """

    largest: float
    tiny: int
    constant: bool
    std: float


def facts(array: NDArray[Any]) -> Facts:
    """Walk once over an array of at least one floating element."""
    flat = array.ravel(order="K")  # in the order of the memory, where that saves a copy
    buffer = np.empty(min(_PIECE, flat.size), flat.dtype)
    largest, tiny = 0.0, 0
    for start in range(0, flat.size, _PIECE):
        piece = flat[start : start + _PIECE]
        size = np.abs(piece, out=buffer[: piece.size])
        largest = float(np.maximum(largest, size.max()))  # which passes on a NaN
        if size.min() < TINY:
            tiny += int(np.count_nonzero(size < TINY) - np.count_nonzero(size == 0))
    constant = bool((flat[:_HEAD] == flat[0]).all() and (flat == flat[0]).all())
    return Facts(largest, tiny, constant, std(flat) if math.isfinite(largest) else math.nan)


def std(array: NDArray[Any]) -> float:
    """Return the standard deviation of a finite array, to five digits.

    Pieces are summed in the array's own precision, and in float64 where their squares may
    underflow or the mean takes most of the second moment.
    """
    flat = array.ravel(order="K")
    total = square = 0.0
    ones = _ones(flat.dtype.str)
    with np.errstate(all="ignore"):
        for start in range(0, flat.size, _PIECE):
            piece = flat[start : start + _PIECE]
            second = float(piece.dot(piece))
            if not (_LEAST_SQUARE * piece.size < second < math.inf):
                return float(flat.std(dtype=np.float64))
            square += second
            total += float(piece.dot(ones[: piece.size]))
    mean, second = total / flat.size, square / flat.size
    if mean * mean > _LARGEST_MEAN * second:
        return float(flat.std(dtype=np.float64))
    return math.sqrt(second - mean * mean)


@functools.cache
def _ones(dtype: str) -> NDArray[Any]:
    return np.ones(_PIECE, dtype)


def uninitialized(array: NDArray[Any], found: Facts, *, mask: bool) -> tuple[int, int] | None:
    """Return how many elements are huge and how many tiny, if there are too many of them.

    Args:
        array: The array.
        found: What is known of it.
        mask: Whether one huge number, however often it comes, may be a mask's.
    """
    few = found.tiny <= _TINY_SHARE * array.size
    if found.largest <= HUGE and few:
        return None
    size = np.abs(array)
    size = size[np.isfinite(size)]
    above = size[size > HUGE]
    if mask and above.size and len(np.unique(above)) == 1:
        return None
    many = found.tiny > _TINY_SHARE * size.size
    return (above.size, found.tiny) if above.size or many else None


def equal_rows(array: NDArray[Any]) -> tuple[int, int, int]:
    """Return how many rows equal an earlier one, and one such pair."""
    rows = array.reshape(len(array), -1)
    if rows.shape[1] < _LEAST_ROW:
        return 0, 0, 0
    first = np.sort(rows[:, 0])
    if (first[1:] != first[:-1]).all():
        return 0, 0, 0
    keys = np.ascontiguousarray(rows[:, :_LEAST_ROW]) + 0.0
    keys = keys.view(np.dtype((np.void, keys.dtype.itemsize * _LEAST_ROW))).ravel()
    _, inverse = np.unique(keys, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    left, right = order[:-1], order[1:]
    near = inverse[left] == inverse[right]
    left, right = left[near], right[near]
    # Rows that are all zero were pruned or masked on purpose.
    same = [
        (int(a), int(b))
        for a, b in zip(left, right, strict=True)
        if np.array_equal(rows[a], rows[b]) and rows[a].any()
    ]
    return (len(same), *same[0]) if same else (0, 0, 0)


def fingerprint(array: NDArray[Any]) -> tuple[object, ...]:
    """Return what equal arrays have in common and others hardly ever: shape and some elements."""
    flat = array.reshape(-1)
    step = -(-flat.size // _SAMPLE) | 1  # odd, so that it visits every column
    return array.shape, flat[::step].tobytes()


def digest(array: NDArray[Any]) -> bytes:
    """Return what equal arrays alone have in common."""
    return hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=16).digest()


def repeats(array: NDArray[Any]) -> int:
    """Return how many equal parts a matrix has along its second axis; equal rows are looked for."""
    columns = np.moveaxis(array, 1, 0)
    size, count = len(columns), 1
    for parts in _PRIMES:
        while size % parts == 0 and _is_repeated(columns[:size], parts):
            size, count = size // parts, count * parts
    return count


def _is_repeated(rows: NDArray[Any], parts: int) -> bool:
    step = len(rows) // parts
    if rows[:step].size < _LEAST_PART or not np.array_equal(rows[0], rows[step]):
        return False
    return np.array_equal(rows[step:], rows[:-step])
