"""Huge pages for memory that is about to be written for the first time.

The system gives memory a page at a time, when it is first touched. At four kilobytes a page this
takes longer than drawing what goes there; at two megabytes it does not.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
from collections.abc import Callable
from typing import Any, Final

import torch

_ADVICE: Final[int | None] = getattr(mmap, "MADV_HUGEPAGE", None)  # on Linux alone
_LEAST: Final = 1 << 22  # bytes: two huge pages, so that one lies within


def prefer_huge_pages(tensor: torch.Tensor) -> torch.Tensor:
    """Ask the system to put a contiguous tensor's memory into huge pages; it may decline.

    Args:
        tensor: Any tensor; one that is small, or not on the CPU, is left alone.

    Returns:
        The tensor.

    Reference:
        madvise(2), MADV_HUGEPAGE.
    """
    advise = _madvise()
    if advise is not None and tensor.device.type == "cpu" and tensor.nbytes >= _LEAST:
        begin, end = tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes
        first = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE  # it takes whole pages
        advise(first, end // mmap.PAGESIZE * mmap.PAGESIZE - first, _ADVICE)
    return tensor


@functools.cache
def _madvise() -> Callable[..., Any] | None:
    if _ADVICE is None:
        return None
    try:
        found = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):  # a C library without it
        return None
    found.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    return found
