"""Train, record and draw: `python -m benchmarks.glorot2010 record` and `... draw`.

`record` trains the three networks (minutes on one core) and writes
`benchmarks/results/glorot2010.json`; `draw` makes the pictures of `docs/monitor.md` of it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import torch

from benchmarks.glorot2010.drawing import pictures
from benchmarks.glorot2010.training import HELD_OUT, NETWORKS, WIDTH, trained
from benchmarks.machine import machine

ROOT: Final = Path(__file__).parent.parent.parent
RECORDED: Final = ROOT / "benchmarks" / "results" / "glorot2010.json"
DRAWN: Final = ROOT / "docs" / "pictures"


def main(arguments: Sequence[str] | None = None) -> None:
    """Record, or draw what is recorded."""
    options = _options(arguments)
    if options.what == "record":
        torch.set_num_threads(1)
        result = {
            "command": "python -m benchmarks.glorot2010 record",
            "machine": machine(),
            "width": WIDTH,
            "held out": HELD_OUT,
            "networks": {
                each.name: asdict(each) | trained(each, updates=options.updates)
                for each in NETWORKS
            },
        }
        options.json.write_text(json.dumps(result) + "\n")
    else:
        options.folder.mkdir(exist_ok=True)
        for name, text in pictures(json.loads(options.json.read_text())).items():
            (options.folder / name).write_text(text)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("benchmarks.glorot2010", description=__doc__)
    parser.add_argument("what", choices=("record", "draw"))
    parser.add_argument("--json", type=Path, default=RECORDED, help="the record")
    parser.add_argument("--folder", type=Path, default=DRAWN, help="of the pictures")
    parser.add_argument("--updates", type=int, help="fewer, to try it")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
