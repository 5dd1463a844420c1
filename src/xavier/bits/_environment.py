"""The floating-point environment of the stream: round to nearest, denormals kept."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from xavier._errors import XavierError

_ENVIRONMENT_BYTES = 256  # more than any platform's fenv_t


@contextmanager
def standard_environment() -> Iterator[None]:
    """Run the block rounding to nearest and keeping denormals, then put back what was set.

    Other libraries change these modes for the whole thread (`torch.set_flush_denormal`), and
    NumPy then follows. NumPy's own warnings are silenced inside: what overflows in a cast to
    float16 is infinite, as IEEE 754 has it.

    Raises:
        XavierError: If the modes are not the standard ones and cannot be set here.
    """
    set_environment, default = _LIBRARY
    with np.errstate(all="ignore"):
        if set_environment is None:
            _require_standard()
            yield
            return
        saved = ctypes.create_string_buffer(_ENVIRONMENT_BYTES)
        set_environment("get", saved)
        try:
            set_environment("set", default)
            yield
        finally:
            set_environment("set", saved)


def is_standard() -> bool:
    """Say whether this thread rounds to nearest and keeps denormals."""
    one, half_step = np.ones(1, np.float32), np.full(1, 2.0**-25, np.float32)
    least = np.full(1, 2.0**-126, np.float32)
    bits = (least * np.float32(0.5)).view(np.uint32)
    tiny = np.full(1, 1, np.uint32).view(np.float32)
    kept = bits[0] == 1 << 22 and (tiny * np.float32(2.0**100)).view(np.uint32)[0] != 0
    nearest = one + half_step == one and -one - half_step == -one
    upward = one + np.float32(3) * half_step > one
    return bool(kept and nearest[0] and upward[0])


def _require_standard() -> None:
    if not is_standard():
        raise XavierError(
            "this thread flushes denormals or does not round to nearest, expected IEEE 754",
            hint="torch.set_flush_denormal(False)",
        )


def _load() -> tuple[Callable[[str, object], None] | None, object]:
    """Find fegetenv and fesetenv, and the pointer that names the default environment."""
    if sys.platform == "win32":
        return None, None
    try:
        library = ctypes.CDLL(None)
        get, put = library.fegetenv, library.fesetenv
        default = (
            ctypes.addressof(ctypes.c_char.in_dll(library, "_FE_DFL_ENV"))
            if sys.platform == "darwin"
            else -1
        )
    except (OSError, AttributeError, ValueError):
        return None, None
    get.argtypes = put.argtypes = [ctypes.c_void_p]

    def call(what: str, where: object) -> None:
        if (get if what == "get" else put)(where):
            raise XavierError("the C library could not change the floating-point modes")

    return call, ctypes.c_void_p(default)


_LIBRARY = _load()
