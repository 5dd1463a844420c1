"""Train every case that is not in the file yet: `python -m benchmarks.calibration FILE.jsonl`."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.calibration.cases import CASES
from benchmarks.calibration.training import reductions


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, and append a line to the file after each case."""
    parser = argparse.ArgumentParser("benchmarks.calibration", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--part", default="1/1", help="K/N: every N-th case, from the K-th on")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # the networks are small; several processes take a part each
    part, parts = map(int, options.part.split("/"))
    lines = options.file.read_text().splitlines() if options.file.exists() else []
    done = {json.loads(line)["name"] for line in lines}
    for case in CASES[part - 1 :: parts]:
        if case.name in done:
            continue
        begin = time.perf_counter()
        line = {"name": case.name, **asdict(case), "reductions": reductions(case)}
        with options.file.open("a") as file:
            file.write(json.dumps(line) + "\n")
        taken = time.perf_counter() - begin
        best = {name: round(max(each), 3) for name, each in line["reductions"].items()}
        print(f"{case.name:50} {taken:6.1f} s  {best}", flush=True)


if __name__ == "__main__":
    main()
