"""The compiled kernel of the stream, and the choice of its instruction set.

The C sources lie in `c/`; the module that they become, `_native`, may be missing where the
package was built without a compiler. What it writes equals what NumPy writes, to the bit.
"""

from __future__ import annotations

import logging
import os
from functools import cache
from typing import Any

from numpy.typing import NDArray

from xavier._errors import UnknownNameError, XavierError

try:
    # Not `from ... import`, whose error would blame a circular import.
    import xavier.bits._kernel._native as _native  # noqa: PLR0402 - the compiled module has a stub of this name
except ImportError as error:
    _native, _missing = None, str(error)
else:
    _missing = ""

NUMPY = "numpy"
INSTRUCTION_SETS = ("baseline", "avx2", "avx512")
VARIABLE = "XAVIER_ISA"


class KernelError(XavierError, RuntimeError):  # pyright: ignore[reportUnsafeMultipleInheritance] - both are exceptions
    """A setting that this installation of the kernel cannot serve."""


def runnable() -> tuple[str, ...]:
    """Return the instruction sets that can be chosen here: the slowest first, NumPy not among them.

    Without the compiled kernel there is none.
    """
    return () if _native is None else _native.instruction_sets()


def instruction_set() -> str:
    """Return the instruction set to draw with, or `numpy`.

    It is the fastest of this machine, unless the environment variable XAVIER_ISA names another.

    Raises:
        UnknownNameError: If the variable names none.
        KernelError: If it names one that this machine or this installation lacks.
    """
    asked = os.environ.get(VARIABLE, "")
    if not asked:
        return _default()
    if asked not in (*INSTRUCTION_SETS, NUMPY):
        raise UnknownNameError(VARIABLE, asked, (*INSTRUCTION_SETS, NUMPY))
    if asked != NUMPY and asked not in runnable():
        lack = (
            f"the compiled kernel is missing: {_missing}" if _missing else "this machine lacks it"
        )
        raise KernelError(
            f"{VARIABLE} is {asked}, expected one of {', '.join((NUMPY, *runnable()))}: {lack}"
        )
    return asked


@cache
def _default() -> str:
    if runnable():
        return runnable()[-1]
    logging.getLogger("xavier").warning(
        "the compiled kernel is missing: weights are drawn with NumPy, the same bits at a small "
        "part of the speed (%s)\nHint: install a C compiler, then build the package again; or "
        "XAVIER_ISA=numpy, and this is not said",
        _missing,
    )
    return NUMPY


def write(
    out: NDArray[Any],
    values: tuple[str, tuple[float, ...], str],
    *,
    key: tuple[int, int, int, int],
    place: tuple[int, tuple[int, ...]],
    threads: int,
    isa: str,
) -> None:
    """Fill an array with the compiled kernel: see `_native.fill`.

    Args:
        out: The destination.
        values: The kind of law, its numbers, and the format of the destination.
        key: The words of the key.
        place: The stream's index of the first element, and what each axis adds to it.
        threads: How many threads share the work.
        isa: One of `runnable()`.
    """
    assert _native is not None
    _native.fill(out, *values, key, *place, threads, isa)
