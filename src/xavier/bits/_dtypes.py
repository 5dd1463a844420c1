"""The dtypes that can be drawn: their working precision, their storage, their rounding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xavier._errors import DtypeError

DTYPES = ("float64", "float32", "float16", "bfloat16")
Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Format:
    """How the values of a dtype are computed and stored.

    Attributes:
        name: One of `DTYPES`.
        working: The precision of the stream that it comes from: float64 or float32.
        storage: What NumPy stores; bfloat16 has the bits of a uint16.
    """

    name: str
    working: np.dtype[Any]
    storage: np.dtype[Any]

    def rounded(self, values: Array) -> Array:
        """Round values of the working precision to nearest, ties to even."""
        if self.name == "bfloat16":
            return _bfloat16_bits(values)
        return values.astype(self.storage, copy=False)


def format_of(dtype: Any) -> Format:
    """Return the format of a dtype or of its name.

    Raises:
        DtypeError: If it cannot be drawn.
    """
    name = dtype if isinstance(dtype, str) else _name(dtype)
    if name not in DTYPES:
        raise DtypeError(
            f"dtype is {name}, expected one of {', '.join(DTYPES)}",
            hint="an array of bfloat16 bits (int16 or uint16) is filled with dtype='bfloat16'",
        )
    working = np.dtype("float64" if name == "float64" else "float32")
    return Format(name, working, np.dtype("uint16" if name == "bfloat16" else name))


def bit_view(out: Array, dtype: Any) -> tuple[Array, Format]:
    """Return `out` as the storage of its format, and the format.

    Args:
        out: The destination.
        dtype: The name that the destination's dtype should have; `bfloat16` if it holds the
            bits of bfloat16 numbers as 16-bit integers; None to take the array's own.

    Raises:
        DtypeError: If the destination's dtype is not that one, or cannot be drawn.
    """
    held = _name(out.dtype)
    form = format_of(held if dtype is None else dtype)
    if form.name == "bfloat16" and held in _BFLOAT16_HOLDERS:
        return out.view(np.dtype(np.uint16).newbyteorder(out.dtype.byteorder)), form
    if form.name != held:
        raise DtypeError(f"the destination is {held}, expected {form.name}")
    return out, form


def word_format(out: Array) -> Format:
    """Return the format of an array of the stream's raw words.

    Raises:
        DtypeError: If it is neither uint32 nor uint64.
    """
    name = _name(out.dtype)
    if name not in ("uint32", "uint64"):
        raise DtypeError(f"the destination is {name}, expected uint32 or uint64")
    return Format(name, np.dtype(name), np.dtype(name))


_BFLOAT16_HOLDERS = ("int16", "uint16", "bfloat16")


def _name(dtype: Any) -> str:
    if dtype is None:
        return "None"
    try:
        return np.dtype(dtype).name
    except TypeError:
        return str(dtype)


def _bfloat16_bits(values: Array) -> Array:
    """Round finite or infinite float32 to the upper half of its bits, ties to even."""
    bits = values.view(np.uint32)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    return ((bits + (np.uint32(0x7FFF) + odd)) >> np.uint32(16)).astype(np.uint16)
