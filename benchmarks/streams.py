"""Orders in which to read the generator's words, and generators that are bad on purpose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.stream_tests import BUFFER
from xavier.bits import Key, _kernel, _threefry, fill_words
from xavier.bits._samplers import SINGLE, raw_words
from xavier.bits._words import BLOCK, KeyWords

NAMES = 1 << 16
Words = NDArray[np.uint32]
Stream = Callable[[int], Words]  # from a buffer's number to its words


def sequential(number: int) -> Words:
    """Return the words of one key, in order."""
    out = np.empty(BUFFER, np.uint32)
    fill_words(out, key=Key(0, "quality"), start=number * BUFFER)
    return out


def names() -> Stream:
    """Return one word of each of 2**16 names in turn."""
    return _in_turns([Key(0, f"layers.{j}.weight").words for j in range(NAMES)])


def seeds() -> Stream:
    """Return one word of each of 2**16 adjacent seeds in turn."""
    return _in_turns([Key(j, "weight").words for j in range(NAMES)])


def _in_turns(keys: list[KeyWords]) -> Stream:
    each = BUFFER // NAMES
    isa = _kernel.instruction_set()

    def buffer(number: int) -> Words:
        out = np.empty((each, NAMES), np.uint32)
        for j, key in enumerate(keys):
            _kernel.write(
                out[:, j],
                ("words", (0,), "uint32"),
                key=key,
                place=(number * each, (1,)),
                threads=1,
                isa=isa,
            )
        return out.ravel()

    return buffer


def four_rounds(number: int) -> Words:
    """Return the words of the generator with 4 of its 20 rounds, under one key."""
    return _weakened((1, 0, 0, 0), number * BUFFER // BLOCK, BUFFER // BLOCK).ravel()


def four_rounds_added_keys(number: int) -> Words:
    """Return one word of each of 2**16 keys `seed + index`, not hashed, with 4 rounds."""
    blocks = BUFFER // NAMES // BLOCK
    out = np.empty((BUFFER // NAMES, NAMES), np.uint32)
    for j in range(NAMES):
        out[:, j] = _weakened((1 + j, 0, 0, 0), number * blocks, blocks).ravel()
    return out.ravel()


def _weakened(key: KeyWords, first: int, count: int) -> NDArray[Any]:
    rounds, _threefry.ROUNDS = _threefry.ROUNDS, 4
    try:
        blocks = np.arange(first, first + count, dtype=np.uint64)
        return raw_words(SINGLE).draw(key, blocks)
    finally:
        _threefry.ROUNDS = rounds


STREAMS: dict[str, Callable[[], Stream]] = {
    "sequential": lambda: sequential,
    "2**16 names in turns": names,
    "2**16 adjacent seeds in turns": seeds,
    "bad: 4 rounds": lambda: four_rounds,
    "bad: 4 rounds, key = seed + index, in turns": lambda: four_rounds_added_keys,
}
