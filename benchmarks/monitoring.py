"""What a monitor costs a training: `python -m benchmarks.monitoring`.

A plain step of training, one with a monitor whose turn has not come, and a sampled one are timed in
turns. What a monitor costs between samples is far below the noise of a step, so it is timed by
itself, around nothing. Amortized over `EVERY` steps both give the cost.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

import xavier
from benchmarks.checks import MODELS, SMALL
from benchmarks.machine import machine
from benchmarks.timing import interleaved

EVERY: Final = 100
EMPTY: Final = 10_000  # steps around nothing


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write JSON where asked to."""
    options = _options(arguments)
    names = [SMALL] if options.small else [name for name in MODELS if name != SMALL]
    result = {
        "command": "python -m benchmarks.monitoring",
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "every": EVERY,
        "models": {name: _costs(name, options.rounds) for name in names},
    }
    text = json.dumps(result, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("benchmarks.monitoring", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--small", action="store_true", help="a tiny model, to try it")
    parser.add_argument("--json", type=Path, help="write the result here, too")
    return parser.parse_args(arguments)


def _costs(name: str, rounds: int) -> dict[str, Any]:
    times = interleaved(_ways(name), rounds=rounds)
    plain, between = times.median("plain"), _between(name)
    sampled = times.ratio("sampled", "plain") - 1
    return {
        "seconds": {way: times.median(way) for way in times.seconds},
        "spread": {way: times.spread(way) for way in times.seconds},
        "a sampled step over a plain one": 1 + sampled,
        "seconds that a step between samples adds": between,
        "amortized cost": (sampled + (EVERY - 1) * between / plain) / EVERY,
    }


def _ways(name: str) -> dict[str, Callable[[], object]]:
    """Return the ways to make a step: two models that are equal, each with its optimizer."""
    kept: list[xavier.Sample] = []

    def last(sample: xavier.Sample) -> None:
        kept[:] = [sample]

    plain, _ = _step_of(name)
    step, model = _step_of(name)
    always = xavier.Monitor(model, every=1, to=last)

    def sampled() -> None:
        with always.step():
            step()

    return {"plain": plain, "sampled": sampled}


def _step_of(name: str) -> tuple[Callable[[], object], nn.Module]:
    torch.manual_seed(0)
    model, batch = MODELS[name]()
    xavier.init_(model, batch, seed=0, scope=str(time.perf_counter_ns()))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    with torch.no_grad():
        target = torch.randint(model(batch).shape[-1], model(batch).shape[:-1])

    def step() -> None:
        logits = model(batch)
        loss = nn.functional.cross_entropy(logits.flatten(0, -2), target.flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step, model


def _between(name: str) -> float:
    """Return the seconds that a monitor adds to a step that it does not sample."""
    model, _ = MODELS[name]()
    monitor = xavier.Monitor(model, every=10 * EMPTY, to=[])
    with monitor.step():
        pass
    found = []
    for _ in range(5):
        begin = time.perf_counter()
        for _ in range(EMPTY):
            with monitor.step():
                pass
        found.append((time.perf_counter() - begin) / EMPTY)
    return statistics.median(found)


if __name__ == "__main__":
    main()
