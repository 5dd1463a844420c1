"""What a check costs beside one plain forward and backward pass: `python -m benchmarks.checks`.

Each model is run and checked in turns, in one process for the times, and each way in a process of
its own for the peak of its memory, the model's included. A check works out a plan to hold the
weights against, unless it is given one; what that costs depends on the number of ops alone, so a
small batch shows it most. Seconds are those of the wall's clock, and of the processor, all threads
together, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

import xavier
from benchmarks.machine import machine
from benchmarks.memory import forget_peak, peak, resident
from benchmarks.timing import Times, clocked
from xavier import zoo

MODELS: Final[dict[str, Callable[[], tuple[nn.Module, torch.Tensor]]]] = {
    "ResNet-18, 16 pictures of 64 x 64": lambda: (zoo.resnet18(64), torch.randn(16, 3, 64, 64)),
    "GPT of 12 layers, 8 texts of 64 tokens": lambda: (
        zoo.gpt(1024, depth=12, width=256, heads=8),
        torch.randint(1024, (8, 64)),
    ),
    "ResNet-18, 64 pictures of 64 x 64": lambda: (zoo.resnet18(64), torch.randn(64, 3, 64, 64)),
    "GPT of 12 layers, 32 texts of 64 tokens": lambda: (
        zoo.gpt(1024, depth=12, width=256, heads=8),
        torch.randint(1024, (32, 64)),
    ),
    "perceptron of 2 layers, 4 rows": lambda: (
        nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4)),
        torch.randn(4, 16),
    ),
}
SMALL: Final = "perceptron of 2 layers, 4 rows"  # to try the benchmark with
PLAIN: Final = "plain"
WAYS: Final = (PLAIN, "check", "check, given the plan")
CLOCKS: Final = {"wall": time.perf_counter, "processor": time.process_time}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write JSON where asked to."""
    options = _options(arguments)
    if options.way:
        print(_peak(options.model, options.way))
        return
    if options.threads:
        torch.set_num_threads(options.threads)
    names = [SMALL] if options.small else [name for name in MODELS if name != SMALL]
    result = {
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "models": {name: _costs(name, options) for name in names},
    }
    text = json.dumps(result, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("benchmarks.checks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, help="of the framework; its own choice otherwise")
    parser.add_argument("--small", action="store_true", help="a tiny model, to try it")
    parser.add_argument("--json", type=Path, help="write the result here, too")
    parser.add_argument("--model", choices=MODELS, help=argparse.SUPPRESS)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _costs(name: str, options: argparse.Namespace) -> dict[str, Any]:
    ways = _ways(name)
    times = clocked(ways, rounds=options.rounds, clocks=CLOCKS)
    memory = {way: _peak_alone(name, way) for way in WAYS}
    return {
        **{f"seconds, {clock}": _medians(times[clock]) for clock in CLOCKS},
        **{f"times plain, {clock}": _ratios(times[clock]) for clock in CLOCKS},
        "memory": memory,
        "memory, times plain": {way: memory[way] / memory[PLAIN] for way in WAYS},
        "profile": _profile(ways["check"]),
    }


def _medians(times: Times) -> dict[str, float]:
    return {way: times.median(way) for way in WAYS}


def _ratios(times: Times) -> dict[str, float]:
    return {way: times.ratio(way, PLAIN) for way in WAYS}


def _ways(name: str) -> dict[str, Callable[[], object]]:
    torch.manual_seed(0)
    model, batch = MODELS[name]()
    plan = xavier.init_(model, batch, seed=0)
    parameters = list(model.parameters())

    def plain() -> None:
        output = model(batch)
        torch.autograd.grad(output, parameters, torch.ones_like(output))

    ways = (
        plain,
        lambda: xavier.check(model, batch),
        lambda: xavier.check(model, batch, plan=plan),
    )
    return dict(zip(WAYS, ways, strict=True))


def _peak_alone(name: str, way: str) -> int:
    command = [sys.executable, "-m", "benchmarks.checks", "--model", name, "--way", way]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout.split()[-1])


def _peak(name: str, way: str) -> int:
    _ways(SMALL)[way]()  # imports are not the work
    before = resident()
    run = _ways(name)[way]
    forget_peak()
    run()
    return peak() - before


def _profile(run: Callable[[], object]) -> dict[str, float]:
    """Return the seconds of the functions of the package that took most, with what they call."""
    profiler = cProfile.Profile()
    profiler.runcall(run)
    spent = pstats.Stats(profiler).stats  # type: ignore[attr-defined] - the stub lacks it
    ours = {
        f"{Path(path).name}:{name}": row[3]
        for (path, _, name), row in spent.items()
        if "/xavier/" in path
    }
    return dict(sorted(ours.items(), key=lambda each: -each[1])[:15])


if __name__ == "__main__":
    main()
