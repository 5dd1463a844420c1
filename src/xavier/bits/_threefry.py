"""Threefry-4x32-20, the counter-based generator, over arrays of counters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]

ROUNDS = 20
_PARITY = 0x1BD11BDA
_ROTATIONS = ((10, 26), (11, 21), (13, 27), (23, 5), (6, 20), (17, 11), (25, 10), (18, 20))


def threefry(counter: tuple[Words, Words, Words, Words], key: tuple[int, int, int, int]) -> Words:
    """Return the four output words of each counter, by twenty rounds of Threefry-4x32.

    Args:
        counter: The four words of every counter; arrays of one shape.
        key: The four 32-bit words of the key.

    Returns:
        An array of the shape `(4, *shape)`: word w of every counter.

    Reference:
        Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011, section 4.
    """
    schedule = [*key, _PARITY ^ key[0] ^ key[1] ^ key[2] ^ key[3]]
    x = np.stack(counter)
    spare = np.empty_like(x[0])
    for word in range(4):
        x[word] += np.uint32(schedule[word])
    for number in range(ROUNDS):
        first, second = _ROTATIONS[number % 8]
        # The permutation of the words exchanges 1 and 3 after every round.
        odd, even = (1, 3) if number % 2 == 0 else (3, 1)
        _mix(x[0], x[odd], first, spare)
        _mix(x[2], x[even], second, spare)
        turn, left = divmod(number + 1, 4)
        if left == 0:
            _inject(x, schedule, turn)
    return x


def _mix(a: Words, b: Words, rotation: int, spare: Words) -> None:
    """Set `a, b = a + b, rotate(b) ^ (a + b)` in place."""
    np.add(a, b, out=a)
    np.right_shift(b, np.uint32(32 - rotation), out=spare)
    np.left_shift(b, np.uint32(rotation), out=b)
    np.bitwise_or(b, spare, out=b)
    np.bitwise_xor(b, a, out=b)


def _inject(x: Words, schedule: list[int], turn: int) -> None:
    for word in range(4):
        x[word] += np.uint32(schedule[(turn + word) % 5])
    x[-1] += np.uint32(turn)
