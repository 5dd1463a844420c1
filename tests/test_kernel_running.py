"""How the kernel runs: threads, forks, interrupts, the environment's variables, and without it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from xavier._errors import UnknownNameError
from xavier._types.laws import Normal, TruncatedNormal, Uniform
from xavier.bits import KernelError, Key, _fill, _kernel, _threads, fill
from xavier.bits._threads import granted

KEY = Key(7, "layers.0.weight")
LAW = Normal(0.0, 1.0)
LARGE = 1 << 21

HEAD = """
import os, signal, sys, threading
import numpy as np
from xavier._types.laws import *
from xavier.bits import Key, fill
from xavier.bits._environment import is_standard
from xavier.bits._threads import default_threads

KEY, LAW = Key(7, "layers.0.weight"), Normal(0.0, 1.0)

def drawn(count=1 << 20, threads=2):
    out = np.empty(count, np.float32)
    fill(out, LAW, key=KEY, threads=threads)
    return out
"""


def run(code: str, *, first: str = "", **variables: str) -> str:
    """Run a script in an interpreter of its own, and return what it printed."""
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", first + HEAD + code],
        env={**os.environ, "XAVIER_ISA": "", "XAVIER_NUM_THREADS": "", **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout + found.stderr


def plain(count: int) -> np.ndarray[Any, Any]:
    out = np.empty(count, np.float32)
    fill(out, LAW, key=KEY, threads=1)
    return out


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collect the number of threads of every call of the kernel."""
    seen: list[int] = []
    write = _kernel.write

    def counting(*args: Any, **names: Any) -> None:
        seen.append(names["threads"])
        write(*args, **names)

    monkeypatch.setattr(_kernel, "write", counting)
    monkeypatch.delenv("XAVIER_NUM_THREADS", raising=False)
    return seen


# How many threads


@pytest.mark.parametrize("count", [1, 3])
def test_a_large_fill_uses_as_many_threads_as_torch(count: int, counts: list[int]) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        plain_draw = np.empty(LARGE, np.float32)
        fill(plain_draw, LAW, key=KEY)
    finally:
        torch.set_num_threads(before)
    assert counts == [count]


def test_a_small_fill_starts_no_thread(counts: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAVIER_NUM_THREADS", "8")
    fill(np.empty(1000, np.float32), LAW, key=KEY)
    fill(np.empty(LARGE, np.float32), LAW, key=KEY)
    assert counts == [1, 8]


def test_what_the_caller_says_goes_before_the_variable(
    counts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XAVIER_NUM_THREADS", "5")
    fill(np.empty(LARGE, np.float32), LAW, key=KEY, threads=2)
    assert counts == [2]


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5"])
def test_impossible_numbers_of_threads_are_refused(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XAVIER_NUM_THREADS", text)
    with pytest.raises(KernelError, match=f"XAVIER_NUM_THREADS is '{text}', expected a positive"):
        fill(np.empty(4, np.float32), LAW, key=KEY)


def test_without_torch_it_is_the_cores() -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert run("print('torch' in sys.modules, default_threads())").split() == ["False", str(cores)]


def test_fills_at_once_share_the_helpers_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAVIER_NUM_THREADS", "4")
    with (
        granted(None, most=3) as first,
        granted(None, most=9) as second,
        granted(None, most=9) as third,
        granted(5, most=9) as named,
    ):
        assert (first, second, third, named) == (3, 2, 1, 5)
    with granted(None, most=9) as after:
        assert after == 4
    with pytest.raises(ZeroDivisionError), granted(None, most=9):
        _ = 1 / 0
    assert _threads._process.helpers == 0


# Processes

FORKS = """
stop = threading.Event()

def busy():
    while not stop.is_set():
        drawn()

expected = drawn().tobytes()
threads = [threading.Thread(target=busy) for _ in range(3)]
for thread in threads:
    thread.start()
bad = 0
for _ in range(30):
    child = os.fork()
    if child == 0:
        fine = default_threads() == 1 and drawn().tobytes() == expected
        fine = fine and drawn(1 << 20, None).tobytes() == expected
        os._exit(0 if fine else 1)
    bad += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
stop.set()
for thread in threads:
    thread.join()
print(bad)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_that_was_forked_amid_fills_draws_the_same_bits_alone() -> None:
    # From 3.12 on, Python warns that such a fork can deadlock; this test is that it does not.
    code = "import warnings; warnings.simplefilter('ignore', DeprecationWarning)\n" + FORKS
    assert run(code).strip() == "0"


WORKERS = """
import multiprocessing
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
import torch

class Items(torch.utils.data.Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, item):
        return default_threads(), float(drawn(1 << 20, None)[-1])

def count(_):
    return default_threads()

if __name__ == "__main__":
    torch.set_num_threads(2)
    expected = float(drawn()[-1])
    for workers, most in ((0, 2), (2, 1)):
        for threads, last in torch.utils.data.DataLoader(Items(), num_workers=workers):
            assert int(threads) == most and float(last) == expected, (workers, int(threads))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(pool.map(count, range(4)))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_data_loaders_and_pools_have_one_thread_a_worker() -> None:
    assert run(WORKERS, OMP_NUM_THREADS="2").strip() == "[1, 1, 1, 1]"


# Many at once


def test_many_python_threads_draw_at_once_and_all_get_their_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_fill, "_SHARE", 1 << 12)
    laws = [LAW, Uniform(-1.0, 1.0), TruncatedNormal(0.0, 1.0, cut=4.0)]
    jobs = [(law, Key(seed, "w"), 3 * seed) for law in laws for seed in range(40)]

    def one(law: Any, key: Key, start: int, threads: int | None) -> bytes:
        out = np.empty((2, 30_011), np.float32)[:, ::2]
        fill(out, law, key=key, start=start, threads=threads)
        return out.tobytes()

    expected = [one(*job, 1) for job in jobs]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda n: one(*jobs[n], 1 + n % 4 or None), range(len(jobs))))
        shared = list(pool.map(lambda job: one(*job, None), jobs))
    assert found == expected
    assert shared == expected


def test_other_python_threads_run_during_a_fill() -> None:
    out = np.empty(1 << 24, np.float32)
    turns, done = 0, threading.Event()

    def count() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1

    thread = threading.Thread(target=count)
    thread.start()
    before = turns
    _kernel.write(
        out,
        ("normal", (0.0, 1.0), "float32"),
        key=KEY.words,
        place=(0, (1,)),
        threads=1,
        isa="baseline",
    )
    during = turns - before
    done.set()
    thread.join()
    assert during > 1000


# Interrupts

INTERRUPT = """
def stop(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, stop)
out = np.zeros(1 << 27, np.float16)
signal.setitimer(signal.ITIMER_REAL, 0.05)
try:
    fill(out, TruncatedNormal(0.0, 1.0, cut=4.0), key=KEY, threads=int(sys.argv[1]))
    print("it was too fast to be interrupted")
except KeyboardInterrupt:
    print("interrupted", bool(out[0]), bool(out[-1]), is_standard(), threading.active_count())
fill(out[:1000], LAW, key=KEY)
assert (out[:1000] == drawn(1000).astype(np.float16)).all()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no interval timers here")
@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupt_ends_a_long_fill_and_leaves_things_sane(threads: int) -> None:
    code = INTERRUPT.replace("int(sys.argv[1])", str(threads))
    assert run(code, XAVIER_ISA="baseline").split() == ["interrupted", "True", "False", "True", "1"]


# The choice of the instruction set, and none


def test_unknown_instruction_sets_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAVIER_ISA", "avx256")
    with pytest.raises(UnknownNameError, match="unknown XAVIER_ISA 'avx256'\nHint: did you mean"):
        fill(np.empty(4, np.float32), LAW, key=KEY)


def test_an_instruction_set_that_the_machine_lacks_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XAVIER_ISA", "avx512")
    monkeypatch.setattr(_kernel, "runnable", lambda: ("baseline",))
    message = "XAVIER_ISA is avx512, expected one of numpy, baseline: this machine lacks it"
    with pytest.raises(KernelError, match=message):
        fill(np.empty(4, np.float32), LAW, key=KEY)


BLOCKED = "import sys; sys.modules['xavier.bits._kernel._native'] = None"


def test_without_the_kernel_all_is_drawn_with_numpy_and_it_says_so_once() -> None:
    said = run("drawn(10); print(drawn(70)[-1:].tobytes().hex())", first=BLOCKED)
    assert said.startswith(plain(70)[-1:].tobytes().hex())
    assert said.count("the compiled kernel is missing: weights are drawn with NumPy") == 1


def test_without_the_kernel_numpy_can_be_asked_for_in_silence_and_nothing_else() -> None:
    assert run("drawn(10)", first=BLOCKED, XAVIER_ISA="numpy") == ""
    code = "try: drawn(10)\nexcept RuntimeError as error: print(error)"
    refused = run(code, first=BLOCKED, XAVIER_ISA="avx2")
    assert refused.startswith("XAVIER_ISA is avx2, expected one of numpy: the compiled")


# What the compiled module itself refuses


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"kind": "gamma"}, ValueError, "the kernel has no gamma"),
        ({"format": "float8"}, ValueError, "the kernel has no float8"),
        ({"format": "uint32"}, ValueError, "normal has no values of this format"),
        ({"kind": "words"}, ValueError, "words has no values of this format"),
        ({"isa": "mmx"}, ValueError, "this machine has no loops for mmx"),
        ({"threads": 0}, ValueError, "the kernel cannot draw with 0 threads"),
        ({"steps": (1, 1)}, ValueError, "does not fit its format or its steps"),
        ({"out": np.zeros(3, np.float64)}, ValueError, "does not fit its format or its steps"),
        ({"out": np.broadcast_to(np.float32(0), 3)}, ValueError, "read-only"),
        ({"out": [0.0]}, TypeError, "bytes-like"),
        ({"numbers": (1.0,)}, TypeError, "takes exactly 2 arguments"),
        ({"key": (1, 2)}, TypeError, "sequence of length 4"),
    ],
)
def test_the_compiled_module_checks_what_memory_depends_on(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    given = {
        "out": np.zeros(3, np.float32),
        "kind": "normal",
        "numbers": (0.0, 1.0),
        "format": "float32",
        "key": KEY.words,
        "first": 0,
        "steps": (1,),
        "threads": 1,
        "isa": "baseline",
    } | changes
    native = _kernel._native
    assert native is not None
    with pytest.raises(error, match=message):
        native.fill(*given.values())  # type: ignore[call-arg] - by position, as C takes them
