"""Train every case that is not in the file yet, then the starts between two outcomes, and so on.

`python -m benchmarks.calibration benchmarks/results/calibration.jsonl`; it goes on where it was
stopped. Of several processes each takes a part: `--part 1/2` and `--part 2/2`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.calibration.cases import CASES, Case
from benchmarks.calibration.networks import start_of
from benchmarks.calibration.outcomes import between, outcomes, read
from benchmarks.calibration.training import reductions, started
from xavier.monitoring.files import cut_torn_line


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, and append a line to the file after each case."""
    parser = argparse.ArgumentParser("benchmarks.calibration", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--part", default="1/1", help="K/N: every N-th network, from the K-th on")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # the networks are small; several processes take a part each
    part, parts = map(int, options.part.split("/"))
    if part == 1:
        cut_torn_line(options.file)  # the other parts are started after the first
    groups = list(dict.fromkeys(each.group for each in CASES))[part - 1 :: parts]
    while missing := [each for each in _missing(options.file) if each.group in groups]:
        for case in missing:
            _record(case, options.file)


def _missing(file: Path) -> Iterator[Case]:
    """Yield what is to be trained still: the cases, then what lies between their outcomes."""
    rows = read(file)
    done = {row["name"] for row in rows}
    first = [case for case in CASES if case.name not in done]
    yield from first
    waiting = {case.group for case in first}
    yield from (case for case in between(outcomes(rows)) if case.group not in waiting)


def _record(case: Case, file: Path) -> None:
    begin = time.perf_counter()
    line = {"name": case.name, **asdict(case), "start": start_of(started(case))}
    line["reductions"] = reductions(case)
    with file.open("a") as opened:
        opened.write(json.dumps(line) + "\n")
    taken = time.perf_counter() - begin
    best = {name: round(max(each), 3) for name, each in line["reductions"].items()}
    print(f"{case.name:50} {taken:6.1f} s  {best}", flush=True)


if __name__ == "__main__":
    main()
