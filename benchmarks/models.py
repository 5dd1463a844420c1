"""Whole models: the time and the memory of starting one, each way in a process of its own.

    python -m benchmarks.models init                 GPT-2 XL, beside the framework's own init
    python -m benchmarks.models checkpoint FOLDER    a 7 B Llama, from meta to files in bfloat16

The processes take turns. Memory is the process's peak beyond what the imports took. What `init`
spends its time on comes from one more run under the profiler.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

import xavier
from benchmarks.machine import machine
from benchmarks.memory import forget_peak, peak, resident

_Sizes = dict[str, Any]
# For each model its class, its configuration, its sizes, and those to try the benchmark with.
GPT2: Final = "GPT2LMHeadModel", "GPT2Config", {"n_embd": 1600, "n_layer": 48, "n_head": 25}
GPT2_SMALL: Final = *GPT2[:2], {"n_embd": 64, "n_layer": 2, "n_head": 4}
LLAMA: Final[tuple[str, str, _Sizes]] = "LlamaForCausalLM", "LlamaConfig", {}  # 7 B as it is
LLAMA_SMALL: Final = *LLAMA[:2], {"num_hidden_layers": 1, "hidden_size": 512}
STAGES: Final = {
    "trace": ("torch/trace.py", "trace"),
    "rules": ("planning/overrides.py", "draft_with"),
    "owners' values": ("torch/owners.py", "owner_values"),
    "materialize": ("torch/owners.py", "materialize"),
    "draw": ("torch/write.py", "write"),
    "draw, in the kernel": ("~", "_native.fill"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one way, or all of them in turns and print what they took."""
    options = _options(arguments)
    if options.what == "one":
        print(json.dumps(WAYS[options.way](options)))
        return
    if options.what == "checkpoint":
        result = _run("checkpoint", options)
    else:
        rounds = [
            {way: _run(way, options) for way in ("framework", "xavier")}
            for _ in range(options.rounds)
        ]
        result = _summary(rounds) | {"profile": _run("profile", options)}
    result = {"machine": machine(), "small": options.small} | result
    text = json.dumps(result, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("benchmarks.models", description=__doc__)
    parser.add_argument("--small", action="store_true", help="models of a few layers, to try it")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the result here, too")
    what = parser.add_subparsers(dest="what", required=True)
    what.add_parser("init")
    what.add_parser("checkpoint").add_argument("folder")
    one = what.add_parser("one")
    one.add_argument("way")
    one.add_argument("folder", nargs="?")
    return parser.parse_args(arguments)


def _run(way: str, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.models", "--threads", str(options.threads)]
    command += ["--small"] if options.small else []
    command += ["one", way, *filter(None, [getattr(options, "folder", None)])]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _summary(rounds: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    ratios = [each["framework"]["seconds"] / each["xavier"]["seconds"] for each in rounds]
    return {
        "rounds": rounds,
        "times as fast, median": statistics.median(ratios),
        "peak over weights, most": max(
            each["xavier"]["peak"] / each["xavier"]["weights"] for each in rounds
        ),
    }


# The ways, each in its own process


def _framework(options: argparse.Namespace) -> dict[str, Any]:
    """Build the model as its library does, weights drawn and all."""
    return _measured(lambda: _built(*(GPT2_SMALL if options.small else GPT2)), options)


def _xavier(options: argparse.Namespace) -> dict[str, Any]:
    """Build it on the meta device, plan it, and draw it."""
    return _measured(lambda: _drawn(options), options)


def _profile(options: argparse.Namespace) -> dict[str, Any]:
    """Return the seconds that each stage took, under the profiler."""
    _prepared(options)
    _warm_memory(options)
    profiler = cProfile.Profile()
    begin = time.perf_counter()
    profiler.runcall(_drawn, options)
    whole = time.perf_counter() - begin
    spent = pstats.Stats(profiler).stats  # type: ignore[attr-defined] - the stub lacks it
    return {"whole": whole} | {
        stage: sum(row[3] for at, row in spent.items() if _is_at(at, place))
        for stage, place in STAGES.items()
    }


def _is_at(function: tuple[str, int, str], place: tuple[str, str]) -> bool:
    """Return whether a function of the profiler's is the one of that name in that file."""
    path, _, name = function
    return path.endswith(place[0]) and name.rstrip(">").endswith(place[1])


def _checkpoint(options: argparse.Namespace) -> dict[str, Any]:
    """Plan a Llama from meta, and write all of it."""
    _prepared(options)
    before, begin = resident(), time.perf_counter()
    with torch.device("meta"):
        model = _built(*(LLAMA_SMALL if options.small else LLAMA))
    built = time.perf_counter()
    plan = xavier.plan(model, _tokens())
    planned, at_plan = time.perf_counter(), peak()
    xavier.write_checkpoint(
        model,
        options.folder,
        plan=plan,
        seed=0,
        dtype="bfloat16",
        max_shard_size=2 * 10**9,
    )
    written = time.perf_counter()
    files = sorted(Path(options.folder).glob("*.safetensors"))
    return {
        "parameters": sum(each.numel() for each in model.parameters()),
        "seconds": {"build": built - begin, "plan": planned - built, "write": written - planned},
        "files": {each.name: each.stat().st_size for each in files},
        "peak at the plan": at_plan,
        "peak beyond the imports": peak() - before,
        "peak": peak(),
    }


WAYS: Final[dict[str, Callable[[argparse.Namespace], dict[str, Any]]]] = {
    "framework": _framework,
    "xavier": _xavier,
    "profile": _profile,
    "checkpoint": _checkpoint,
}


def _drawn(options: argparse.Namespace) -> nn.Module:
    with torch.device("meta"):
        model = _built(*(GPT2_SMALL if options.small else GPT2))
    xavier.init_(model, _tokens(), seed=0)
    return model


def _built(name: str, config: str, sizes: _Sizes) -> nn.Module:
    import transformers

    return getattr(transformers, name)(getattr(transformers, config)(**sizes))


def _prepared(options: argparse.Namespace) -> None:
    """Import everything, and set the threads: neither is the work."""
    torch.set_num_threads(options.threads)
    for small in (GPT2_SMALL, LLAMA_SMALL):
        with torch.device("meta"):
            model = _built(*small)
        xavier.plan(model, _tokens())


def _warm_memory(options: argparse.Namespace) -> None:
    """Touch as much memory as will be needed, and give it back; forget the peak that this was.

    A virtual machine's host finds memory for it on the first touch, at a tenth of the speed of
    later ones, and soon takes back what lies idle: without this, it is the host that is timed.
    """
    np.ones(1 << 20 if options.small else 7 << 30, np.uint8)
    forget_peak()


def _measured(make: Callable[[], nn.Module], options: argparse.Namespace) -> dict[str, Any]:
    _prepared(options)
    _warm_memory(options)
    before, begin = resident(), time.perf_counter()
    model = make()
    seconds = time.perf_counter() - begin
    assert all(not each.is_meta for each in model.parameters())
    weights = {each.data_ptr(): each.nbytes for each in (*model.parameters(), *model.buffers())}
    return {
        "seconds": seconds,
        "weights": sum(weights.values()),
        "peak": peak() - before,
    }


def _tokens() -> dict[str, Any]:
    return {"input_ids": torch.zeros(1, 8, dtype=torch.long), "use_cache": False}


if __name__ == "__main__":
    main()
