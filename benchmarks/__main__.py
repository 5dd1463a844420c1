"""Draw the table of drawing: `xavier` beside PyTorch, NumPy and JAX, on the same work in turns.

After the timing, each contender's numbers are tested against ours: a fast draw of another
distribution would be no result.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.contenders import LAWS, Elementwise, matrices
from benchmarks.machine import machine
from benchmarks.report import text
from benchmarks.shards import Shards
from benchmarks.timing import interleaved

LEAST_P = 1e-6  # of a dozen tests; a run in 80,000 fails by chance
SAMPLE = 1_000_000


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, check, print, and write JSON where asked to."""
    options = _options(arguments)
    described = machine()
    work = Elementwise(options.elements, options.threads)
    drawn = _drawn(work, options.rounds)
    shards, orthogonal = _shards(options), _orthogonal(options)
    result = {
        "machine": described,
        "settings": {
            name: getattr(options, name) for name in ("elements", "threads", "rounds", "side")
        },
        "rates": drawn["rates"],
        "ratios": drawn["ratios"] | {"orthogonal / torch": orthogonal},
        "shards": shards,
        "agreement": _agreement(work),
    }
    print(text(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("benchmarks", description=__doc__)
    parser.add_argument("--elements", type=int, default=1 << 26)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--side", type=int, default=2048, help="of the orthogonal matrix")
    parser.add_argument("--json", type=Path, help="write the result here, too")
    return parser.parse_args(arguments)


def _drawn(work: Elementwise, rounds: int) -> dict[str, Any]:
    rates: dict[str, Any] = {}
    ratios: dict[str, float] = {}
    for law in LAWS:
        times = interleaved(work.contenders(law), rounds=rounds)
        for name in times.seconds:
            label = f"{name}, beside {law}" if name == "fill/torch" else name
            rates[label] = {"rate": work.size / times.median(name), "spread": times.spread(name)}
        ours = f"{law}/xavier"
        for peer in ("torch", "numpy", "jax"):
            if f"{law}/{peer}" in times.seconds:
                ratios[f"{law} / {peer}"] = times.ratio(f"{law}/{peer}", ours)
        ratios[f"{law} / bandwidth of fill_"] = times.ratio("fill/torch", ours)
        ratios[f"{law}, 1 thread to all"] = times.ratio(f"{ours}, 1 thread", ours)
    return {"rates": rates, "ratios": ratios}


def _shards(options: argparse.Namespace) -> dict[str, float]:
    shards = Shards(int(options.elements**0.5))
    times = interleaved(shards.contenders(), rounds=5 * options.rounds)  # they are short
    shards.require_equal()
    return {
        name: times.ratio(name, "whole") * int(name[2 : name.index(" ")]) for name in shards.parts
    }


def _orthogonal(options: argparse.Namespace) -> float:
    contenders = matrices(options.side)
    times = interleaved(contenders, rounds=options.rounds)
    for run in contenders.values():
        matrix = np.asarray(run(), np.float64)
        assert abs(matrix.T @ matrix - np.eye(options.side)).max() < 2e-6
    return times.ratio("orthogonal/torch", "orthogonal/xavier")


def _agreement(work: Elementwise) -> dict[str, float]:
    """Return, for every peer, the least p of two tests that its numbers are of our law."""
    found: dict[str, float] = {}
    for law in LAWS:
        every = work.contenders(law)
        ours = work.sample(law, every[f"{law}/xavier"], most=SAMPLE).astype(np.float64)
        for name in (f"{law}/{peer}" for peer in ("torch", "numpy", "jax")):
            if name not in every:
                continue
            theirs = work.sample(name, every[name], most=SAMPLE).astype(np.float64)
            if name == "uniform/numpy":  # whose numbers lie in [0, 1)
                theirs = 2 * theirs - 1
            whole = stats.ks_2samp(ours, theirs).pvalue
            spread = stats.ks_2samp(np.abs(ours), np.abs(theirs)).pvalue
            found[name] = float(min(whole, spread))
            assert found[name] > LEAST_P, f"{name} and ours are not of one law: p = {found[name]}"
    return found


if __name__ == "__main__":
    main()
