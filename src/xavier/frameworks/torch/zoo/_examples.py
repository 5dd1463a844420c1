"""Example inputs: repeatable, on the CPU, and without a touch on the global generator."""

from __future__ import annotations

import torch


def normal(*shape: int, seed: int) -> torch.Tensor:
    """Return standard normal numbers of a shape, in float32."""
    return torch.randn(shape, generator=_generator(seed), device="cpu", dtype=torch.float32)


def tokens(*shape: int, high: int, seed: int) -> torch.Tensor:
    """Return integers of a shape, each of 0 to `high - 1` equally likely."""
    return torch.randint(high, shape, generator=_generator(seed), device="cpu", dtype=torch.int64)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator(device="cpu").manual_seed(seed)
