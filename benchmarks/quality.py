"""Test the generator's words: `python -m benchmarks.quality --bytes 36 --json FILE`.

Every stream is tested up to 2**BYTES bytes, and its p-values are written down at each power of
two. A run that was broken off goes on from its last power. The bad generators stop where they
fail; that none fails is an error of the tests.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine
from benchmarks.stream_tests import BUFFER, Counts
from benchmarks.streams import STREAMS

SUSPECT = 1e-6  # of about a hundred p-values with two ends: a chance of 1 in 5,000
STATE = Path("build/quality")
FIRST = 30  # the least power of two of bytes that is reported


def main(arguments: Sequence[str] | None = None) -> None:
    """Run every stream, print its p-values, and fail if a good one fails or a bad one passes."""
    parser = argparse.ArgumentParser("benchmarks.quality", description=__doc__)
    parser.add_argument("--bytes", type=int, default=30, help="the power of two to go to")
    parser.add_argument("--only", choices=STREAMS, help="one stream")
    parser.add_argument("--json", type=Path, help="write the p-values here")
    options = parser.parse_args(arguments)
    chosen = [options.only] if options.only else list(STREAMS)
    streams = {name: _tested(name, options.bytes) for name in chosen}
    if options.json:
        result = {"machine": machine(), "streams": streams}
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    wrong = [name for name, run in streams.items() if run["failed"] != name.startswith("bad")]
    if wrong:
        raise SystemExit(f"not as it should be: {', '.join(wrong)}")


def _tested(name: str, power: int) -> dict[str, Any]:
    state, record = _paths(name)
    counts = Counts.resumed(dict(np.load(state))) if state.exists() else Counts()
    run = json.loads(record.read_text()) if record.exists() else {"failed": False, "at": {}}
    stream = STREAMS[name]()
    begin, before = time.perf_counter(), counts.words
    for goal in range(min(FIRST, power), power + 1):
        if str(goal) in run["at"] or (run["failed"] and name.startswith("bad")):
            continue
        while counts.words * 4 < 2**goal:
            counts.add(stream(counts.words // BUFFER))
        run["at"][str(goal)] = counts.results()
        run["failed"] = run["failed"] or _failed(counts.results())
        _save(counts, run, name)
        rate = (counts.words - before) * 4e-6 / (time.perf_counter() - begin)
        _show(name, goal, counts.results(), rate)
    return run


def _failed(results: dict[str, float]) -> bool:
    return any(not SUSPECT <= p <= 1 - SUSPECT for p in results.values())


def _paths(name: str) -> tuple[Path, Path]:
    plain = "".join(letter if letter.isalnum() else "_" for letter in name)
    return STATE / f"{plain}.npz", STATE / f"{plain}.json"


def _save(counts: Counts, run: dict[str, Any], name: str) -> None:
    """Write both files under other names first, so that a broken-off write loses nothing."""
    STATE.mkdir(parents=True, exist_ok=True)
    state, record = _paths(name)
    fresh = state.with_suffix(".fresh.npz")  # its own, so that streams can run side by side
    np.savez_compressed(fresh, **counts.state())
    fresh.replace(state)
    fresh.write_text(json.dumps(run))
    fresh.replace(record)


def _show(name: str, power: int, results: dict[str, float], rate: float) -> None:
    print(f"{name}, 2**{power} bytes, {rate:.0f} MB/s", flush=True)
    for test, p in results.items():
        print(f"    {test:40}{p:12.3g}{'  FAILS' if _failed({test: p}) else ''}", flush=True)


if __name__ == "__main__":
    main()
