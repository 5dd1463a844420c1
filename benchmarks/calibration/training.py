"""Training a case for a fixed small budget, with every optimizer and learning rate.

*Trains* was fixed before the first run: the best of all optimizers and learning rates brings the
loss down by 80 % of the best that any start of that architecture does. The loss is the mean cross
entropy of the last steps' batches, and counts from that of a guess among the classes, so that a
start is not praised for a loss that it made itself.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Final

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.calibration.cases import Case
from benchmarks.calibration.networks import CLASSES, build

RATES: Final = {"sgd": (0.003, 0.03, 0.1, 0.5), "adam": (1e-4, 1e-3, 3e-3, 1e-2)}
STEPS: Final = 120
BATCH: Final = 64
LAST: Final = 12  # steps whose losses are averaged


@functools.cache
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Return scikit-learn's handwritten digits, each pixel standardized, and their labels."""
    pictures, labels = load_digits(return_X_y=True)
    x = torch.tensor(pictures, dtype=torch.float32)
    x = (x - x.mean(0)) / x.std(0).clamp_min(1e-3)
    return x.reshape(-1, 1, 8, 8).clamp(-5, 5), torch.tensor(labels)


def started(case: Case, *, seed: int = 0) -> nn.Module:
    """Return the network of a case as its trainings find it."""
    return build(case, digits()[0][:BATCH], seed=seed)


def reductions(case: Case, *, seed: int = 0) -> dict[str, list[float]]:
    """Return how far each learning rate of each optimizer brought the loss down."""
    return {
        optimizer: [_trained(case, optimizer, rate, seed=seed) for rate in rates]
        for optimizer, rates in RATES.items()
    }


def _trained(case: Case, optimizer: str, rate: float, *, seed: int) -> float:
    pictures, labels = digits()
    model = started(case, seed=seed)
    stepper = _optimizer(optimizer, model, rate)
    order = torch.Generator().manual_seed(seed)
    losses: list[float] = []
    for _ in range(STEPS):
        chosen = torch.randint(len(pictures), (BATCH,), generator=order)
        loss = cross_entropy(model(pictures[chosen]), labels[chosen])
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            return 0.0
        stepper.zero_grad()
        loss.backward()
        stepper.step()
    end = sum(losses[-LAST:]) / LAST
    return max(0.0, math.log(CLASSES) - end)


def _optimizer(name: str, model: nn.Module, rate: float) -> Any:
    if name == "sgd":
        return torch.optim.SGD(model.parameters(), rate, momentum=0.9)
    return torch.optim.Adam(model.parameters(), rate)
