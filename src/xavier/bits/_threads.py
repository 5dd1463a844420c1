"""How many threads a fill may use."""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from xavier.bits._kernel import KernelError
from xavier.bits._key import StreamError

VARIABLE = "XAVIER_NUM_THREADS"


class _Process:
    """What this process's fills share: the helper threads at work now."""

    def __init__(self, *, forked: bool) -> None:
        self.forked = forked
        self.lock = Lock()
        self.helpers = 0


_process = _Process(forked=False)


def _start_anew() -> None:
    # The parent's lock may be held by a thread that the child does not have.
    global _process  # noqa: PLW0603 - one a process, made anew after a fork
    _process = _Process(forked=True)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)


@contextmanager
def granted(threads: int | None, *, most: int) -> Iterator[int]:
    """Give the number of threads of one fill, this one included.

    A number that the caller names is what it gets. The default is shared: fills that run at
    once, in threads of one process, have no more helpers together than one alone would have.

    Args:
        threads: How many the caller wants; None for the default.
        most: How many the work is enough for.

    Raises:
        KernelError: If XAVIER_NUM_THREADS is no positive integer.
        StreamError: If `threads` is none.
    """
    if threads is not None:
        yield min(_positive(threads), most)
        return
    wanted, process = min(default_threads(), most), _process
    with process.lock:
        helpers = max(0, min(wanted - 1, default_threads() - 1 - process.helpers))
        process.helpers += helpers
    try:
        yield 1 + helpers
    finally:
        with process.lock:
            process.helpers -= helpers


def default_threads() -> int:
    """Return how many threads a large fill uses where its caller does not say.

    One in a forked or daemonic process: a data loader's worker, a pool's. Else what the
    environment variable XAVIER_NUM_THREADS says; else what PyTorch uses, where it is loaded;
    else the cores that this process may run on.
    """
    if _is_worker():
        return 1
    if asked := os.environ.get(VARIABLE, ""):
        if not asked.isdecimal() or int(asked) < 1:
            raise KernelError(f"{VARIABLE} is {asked!r}, expected a positive integer")
        return int(asked)
    count = getattr(sys.modules.get("torch"), "get_num_threads", None)
    return _cores() if count is None else int(count())


def _is_worker() -> bool:
    processes = sys.modules.get("multiprocessing.process")
    return _process.forked or (processes is not None and processes.current_process().daemon)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _positive(threads: object) -> int:
    if isinstance(threads, bool) or not hasattr(threads, "__index__"):
        raise StreamError(f"threads is {threads!r}, expected an integer")
    count = operator.index(threads)  # pyright: ignore[reportArgumentType] - whatever is no integer is refused
    if count < 1:
        raise StreamError(f"threads is {count}, expected a positive integer")
    return count
