"""The main job, end to end: real models, real data, a plan, and a check before and after.

Run it with `make demo`, or `python examples/demo.py` where `xavier-init[demo]` is installed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from copy import deepcopy

import numpy as np
import torch
from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

import xavier
from xavier import zoo
from xavier.report import render_check, render_plan, write_html

SEED = 0
BATCH = 128
STEPS = 300
WIDTH = 100
REPORT = "demo-report.html"


def main() -> int:
    """Plan, draw and check two networks on scikit-learn's digits.

    Returns:
        0 if the network that `auto` drew can start, else 1.
    """
    # The networks are small: a second thread gains little, and waits where another program has it.
    torch.set_num_threads(1)
    console = _console()
    pictures, labels = digits()
    console.print(Rule("[bold]xavier[/]: does the signal survive?"))
    _say(console, f"{len(labels)} handwritten digits of 8 x 8 pixels, each pixel standardized.")
    return max(
        _show(
            console,
            "A perceptron of 20 tanh layers",
            zoo.deep_tanh_mlp(depth=20, width=100, in_features=64, out_features=10),
            pictures.flatten(1),
            labels,
            page=REPORT,
        ),
        _show(
            console,
            "A plain ReLU network of 30 convolutions, without norm or skip",
            zoo.plain_relu_cnn(in_channels=1, classes=10),
            pictures,
            labels,
        ),
    )


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Return the pictures, (n, 1, 8, 8), mean 0 and variance 1 in all, and their labels."""
    data = load_digits()
    pictures = (data.images - data.images.mean()) / data.images.std()
    order = np.random.default_rng(SEED).permutation(len(pictures))
    pictures = torch.from_numpy(pictures[order].astype("float32"))[:, None]
    return pictures, torch.from_numpy(data.target[order])


def _show(
    console: Console,
    title: str,
    model: nn.Module,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    *,
    page: str = "",
) -> int:
    batch, target = inputs[:BATCH], labels[:BATCH]
    console.print()
    console.print(Rule(f"[bold]{title}[/]", align="left"))
    torch.manual_seed(SEED)
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    _step(console, "1", "the start that PyTorch gave it", "xavier.check(model, batch)")
    before = xavier.check(model, batch, target=target, loss="cross_entropy")
    render_check(before, console)
    if page:
        write_html(before, page)
        _say(console, f"The same as a page to open in a browser: {page}")
    learned_before = accuracy(deepcopy(model), inputs, labels)

    _step(console, "2", "the plan: a law for every weight", "xavier.init_(model, batch, seed=0)")
    plan = xavier.init_(model, batch, seed=SEED)
    render_plan(plan, console)
    middle = [each.name for each in plan if each.name.endswith("weight")][len(plan) // 4]
    _say(console, plan.explain(middle))

    _step(console, "3", "the start that auto gave it", "xavier.check(model, batch)")
    after = xavier.check(model, batch, target=target, loss="cross_entropy", recipe="auto")
    render_check(after, console)
    learned_after = accuracy(deepcopy(model), inputs, labels)

    _say(
        console,
        f"Trained from each start, {STEPS} steps of gradient descent on the same batches: "
        f"{learned_before:.0%} and {learned_after:.0%} of unseen digits are right. One run each "
        "illustrates and proves nothing.",
    )
    return after.exit_code()


def accuracy(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> float:
    """Train on four fifths of the digits, and return the share of the others that is right."""
    split = len(inputs) * 4 // 5
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    for rows in _batches(split):
        optimizer.zero_grad()
        loss = cross_entropy(model(inputs[rows]), labels[rows])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    with torch.no_grad():
        right = model(inputs[split:]).argmax(1) == labels[split:]
    return float(right.float().mean())


def _batches(count: int) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(SEED)
    for _ in range(STEPS):
        yield torch.randint(count, (64,), generator=generator)


def _console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    return console


def _step(console: Console, number: str, what: str, code: str) -> None:
    console.print()
    console.print(Text.assemble((f"{number}. {what}", "bold"), ("   " + code, "cyan")))
    console.print()


def _say(console: Console, words: str) -> None:
    console.print()
    console.print(Padding(Text(words), (0, 0, 0, 2), expand=False))


if __name__ == "__main__":
    sys.exit(main())
