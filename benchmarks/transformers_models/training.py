"""A few steps of training, to see whether a verdict is right."""

from __future__ import annotations

import torch
from torch import nn

import xavier
from benchmarks.transformers_models.making import Maker
from xavier.frameworks.torch._example import tensors_in

STEPS = 40
RUNS = (("SGD", 0.1), ("SGD", 0.01), ("Adam", 1e-3), ("Adam", 3e-3))


def losses(make: Maker, *, drawn: bool) -> tuple[float, float]:
    """Return the loss before and after learning random targets for one batch, by the best run.

    Args:
        make: Builds the model, with its batch.
        drawn: Whether `auto` draws the model, or it starts as its library has it.
    """
    first, best = 0.0, float("inf")
    for optimizer, rate in RUNS:
        torch.manual_seed(0)
        model, example = make()
        if drawn:
            xavier.init_(model, example, seed=0)
        found = _trained(model, example, getattr(torch.optim, optimizer)(model.parameters(), rate))
        first, best = found[0], min(best, found[-1])
    return first, best


def _trained(model: nn.Module, example: dict, optimizer: torch.optim.Optimizer) -> list[float]:
    """Return the losses of all steps; infinity at the end of a run that diverged."""
    found: list[float] = []
    targets: list[torch.Tensor] = []
    for _ in range(STEPS):
        ends = [each for each in tensors_in(dict(model(**example))) if each.requires_grad][:2]
        generator = torch.Generator().manual_seed(1)
        targets = targets or [torch.randn(each.shape, generator=generator) for each in ends]
        pairs = zip(ends, targets, strict=True)
        loss = torch.stack([(end - target).pow(2).mean() for end, target in pairs]).sum()
        found.append(loss.item())
        if not loss.isfinite():
            return [*found, float("inf")]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return found
