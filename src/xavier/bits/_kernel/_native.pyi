"""The compiled kernel: `c/module.c`."""

from typing import Any

from numpy.typing import NDArray

def fill(
    out: NDArray[Any],
    kind: str,
    numbers: tuple[float, ...],
    format: str,
    key: tuple[int, int, int, int],
    first: int,
    steps: tuple[int, ...],
    threads: int,
    isa: str,
    /,
) -> None:
    """Write the values of a law into `out`, in its own memory, without the interpreter's lock.

    Args:
        out: A writable array of the machine's byte order; any strides and alignment.
        kind: filled, uniform, normal, truncated, sparse or words.
        numbers: What the kind takes, rounded to the working precision.
        format: float64, float32, float16 or bfloat16, and for words uint64 or uint32.
        key: The four words of the key.
        first: The stream's index of the element at index 0 of every axis.
        steps: What each axis adds to that index.
        threads: How many threads, this one included.
        isa: One of `instruction_sets()`.

    Raises:
        ValueError: If a name is unknown, or the array does not fit the format or the steps.
        KeyboardInterrupt: Or whatever a signal's handler raises, in the main thread; what is
            written then is a part of the values.
    """

def instruction_sets() -> tuple[str, ...]:
    """Return the instruction sets that the kernel has loops for and this machine runs.

    The slowest, `baseline`, is first.
    """
