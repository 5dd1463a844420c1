"""What a check measures at every recorded start, before its first step.

`python -m benchmarks.calibration.measured benchmarks/results/calibration.jsonl OUT.jsonl` writes a
line a start: the sizes of its symptoms in e-folds, and what the baselines are given.
"""

from __future__ import annotations

import argparse
import json
import math
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn

import xavier
from benchmarks.calibration.cases import Case
from benchmarks.calibration.networks import start_of
from benchmarks.calibration.outcomes import outcomes, read
from benchmarks.calibration.training import BATCH, digits, started
from xavier import theory
from xavier._types.signal import Signal, Verdict
from xavier.checking import judge
from xavier.checking.symptoms import contractions, symptoms
from xavier.frameworks.torch.measure import measure
from xavier.monitoring.files import cut_torn_line

SURE = (Verdict.BROKEN, Verdict.ASYMMETRIC, Verdict.DEAD)
_DIGITS = 5  # of a number that is written down


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser("benchmarks.calibration.measured", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--part", default="1/1", help="K/N: every N-th start, from the K-th on")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    part, parts = map(int, options.part.split("/"))
    warnings.simplefilter("ignore", xavier.XavierWarning)  # the same bits, on purpose
    if part == 1:
        cut_torn_line(options.out)
    done = {row["name"]: row for row in read(options.out)}
    for each in outcomes(read(options.file))[part - 1 :: parts]:
        if done.get(each.case.name, {}).get("start") != each.start:
            with options.out.open("a") as opened:
                opened.write(json.dumps(measured(each.case)) + "\n")


def measured(case: Case) -> dict[str, Any]:
    """Return a start's line."""
    model = started(case)
    signal = measure(model, digits()[0][:BATCH])
    return {
        "name": case.name,
        "start": start_of(model),
        "sure": next((each.verdict for each in judge(signal) if each.verdict in SURE), ""),
        "symptoms": {each.kind: _short(each.size) for each in symptoms(signal)},
        "baselines": {name: _short(size) for name, size in _baselines(case, model, signal).items()},
    }


def _baselines(case: Case, model: nn.Module, signal: Signal) -> dict[str, float]:
    """Return what simpler criteria look at, each 0 where nothing changes with depth."""
    ops = contractions(signal)[:-1]
    gradients = [op.gradient_rms or 0.0 for op in ops]
    found = {
        "last-to-first gradient ratio": _folds(gradients[0], gradients[-1]),
        "forward variance": _folds(ops[0].rms, ops[-1].rms),
    }
    if case.family in ("plain", "convolution"):
        found["chi_1 to the depth"] = abs(_log_chi(case, model, ops[0].rms ** 2))
    return found


def _folds(first: float, last: float) -> float:
    return abs(math.log(max(first, 1e-38) / max(last, 1e-38)))


def _log_chi(case: Case, model: nn.Module, q: float) -> float:
    """Return the sum of half the logarithms of chi_1 over the layers, from the drawn variances."""
    weights = [each.detach() for each in model.parameters() if each.ndim > 1]
    total = 0.0
    for _, weight in pairwise(weights):
        sigma_w = float(weight.square().mean().sqrt()) * math.sqrt(weight[0].numel())
        total += math.log(max(theory.chi_1(case.activation, q=q, sigma_w=sigma_w), 1e-38)) / 2
        q = min(max(theory.length_map(case.activation, q, sigma_w=sigma_w), 1e-30), 1e30)
    return total


def _short(number: float) -> float:
    return float(f"{number:.{_DIGITS}g}")


if __name__ == "__main__":
    main()
