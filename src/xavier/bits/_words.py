"""The map from an element to its random words, for blocks of 64 elements.

Element i lies in block `i // 64`, at place `p = i % 64`, in lane `p % 16` of group
`p // 16`. See docs/bits.md; the map is part of the stream.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xavier.bits._threefry import Words, threefry

BLOCK = 64
_LANES = 16
KeyWords = tuple[int, int, int, int]
Blocks = NDArray[np.uint64]

VALUES_32, VALUES_64, MASK = 0, 1, 2  # the counter's third word: which of a key's streams


def words_32(key: KeyWords, stream: int, blocks: Blocks) -> Words:
    """Return one word an element, by group: word g of the counters `16 block + lane`.

    Returns:
        Shape (4, number of blocks, 16): group, block, lane.
    """
    lanes = np.arange(_LANES, dtype=np.uint64)
    counters = ((blocks << np.uint64(4))[:, None] + lanes).ravel()
    return _generate(key, stream, counters).reshape(4, len(blocks), _LANES)


def words_64(key: KeyWords, stream: int, blocks: Blocks) -> NDArray[np.uint64]:
    """Return 64 bits an element, by group: two words, the first the upper half.

    Groups 0 and 1 have the counters `32 block + lane`, groups 2 and 3 those that follow.

    Returns:
        Shape (2, number of blocks, 2, 16): group modulo 2, block, group // 2, lane.
    """
    lanes = np.arange(2 * _LANES, dtype=np.uint64)
    counters = ((blocks << np.uint64(5))[:, None] + lanes).ravel()
    x = _generate(key, stream, counters).astype(np.uint64)
    pairs = (x[0::2] << np.uint64(32)) | x[1::2]
    return pairs.reshape(2, len(blocks), 2, _LANES)


def _generate(key: KeyWords, stream: int, counters: Blocks) -> Words:
    low = counters.astype(np.uint32)
    high = (counters >> np.uint64(32)).astype(np.uint32)
    return threefry((low, high, np.full_like(low, stream), np.zeros_like(low)), key)


def in_order(groups: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return values by group, as `words_32` or `words_64` have them, as (blocks, 64)."""
    if groups.shape[0] == BLOCK // _LANES:
        moved = groups.transpose(1, 0, 2)
    else:
        moved = groups.transpose(1, 2, 0, 3)
    return moved.reshape(-1, BLOCK)
