"""Plan, draw and check all models, and write the table: `python -m benchmarks.transformers_models`.

The record goes to `benchmarks/results/transformers.json`, the table to `docs/transformers.md`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.transformers_models.models import KINDS
from benchmarks.transformers_models.outcomes import outcome
from benchmarks.transformers_models.table import with_table
from benchmarks.transformers_models.training import losses

ROOT = Path(__file__).parent.parent.parent
RECORD = ROOT / "benchmarks" / "results" / "transformers.json"
PAGE = ROOT / "docs" / "transformers.md"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all models, or those that are named; only all are written down."""
    import transformers

    parser = argparse.ArgumentParser("benchmarks.transformers_models", description=__doc__)
    parser.add_argument("names", nargs="*", help="of models; all, if none is given")
    options = parser.parse_args(arguments)
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    rows = []
    for kind, makers in KINDS.items():
        for name, make in makers.items():
            if options.names and name not in options.names:
                continue
            row = outcome(name, kind, make).to_dict()
            if row["before"][0] != "healthy":
                starts = {"own": False, "auto": True}
                row["trained"] = {start: losses(make, drawn=at) for start, at in starts.items()}
            rows.append(row)
            verdicts = f"{row['before'][0]:10} {row['after'][0]:10}"
            print(f"{name:16} {verdicts} {row['meta']}", flush=True)
    if options.names:
        return
    versions = {"transformers": transformers.__version__, "torch": torch.__version__.split("+")[0]}
    record = {"versions": versions, "models": rows}
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
    PAGE.write_text(with_table(PAGE.read_text(), record))


if __name__ == "__main__":
    main()
