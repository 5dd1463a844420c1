"""The key of a stream: 128 bits from a seed and a name."""

from __future__ import annotations

import hashlib
import operator
import unicodedata
from dataclasses import dataclass

from xavier._errors import StreamError

STREAM_VERSION = 1
_TAG = b"xavier.stream.1\0"


@dataclass(frozen=True, slots=True)
class Key:
    """Name a stream of bits: one for every seed and every name.

    The key's 128 bits are BLAKE2b of the stream's version tag (16 bytes), the seed (8 bytes,
    little-endian, two's complement) and the name in UTF-8, Unicode normal form C. Two keys
    share no part of their streams, except by a collision of the hash.

    Args:
        seed: An integer in [-2**63, 2**63).
        name: The weight's name, such as `layers.3.weight`; any text.

    Raises:
        StreamError: If the seed is no 64-bit integer, or the name is no valid Unicode text.

    Example:
        >>> hex(Key(0, "weight").words[0])
        '0x612b27b8'
    """

    seed: int
    name: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", _checked_seed(self.seed))
        if not isinstance(self.name, str):
            raise StreamError(f"name is {self.name!r}, expected a string")
        _encoded(self.name)

    @property
    def words(self) -> tuple[int, int, int, int]:
        """Return the four 32-bit words of the key, in the generator's order."""
        seed = self.seed.to_bytes(8, "little", signed=True)
        digest = hashlib.blake2b(_TAG + seed + _encoded(self.name), digest_size=16).digest()
        first, second, third, fourth = (
            int.from_bytes(digest[at : at + 4], "little") for at in (0, 4, 8, 12)
        )
        return first, second, third, fourth


def _checked_seed(seed: object) -> int:
    if isinstance(seed, bool):
        raise StreamError(f"seed is {seed}, expected an integer")
    try:
        value = operator.index(seed)  # pyright: ignore[reportArgumentType] - whatever is no integer is refused
    except TypeError:
        raise StreamError(f"seed is {seed!r}, expected an integer") from None
    if not -(2**63) <= value < 2**63:
        raise StreamError(
            f"seed is {value}, expected an integer in [-2**63, 2**63)",
            hint="take it modulo 2**63",
        )
    return value


def _encoded(name: str) -> bytes:
    try:
        return unicodedata.normalize("NFC", name).encode()
    except UnicodeEncodeError as error:
        raise StreamError(f"name {name!r} is no valid Unicode text: {error.reason}") from None
