"""Activations that are one operator here, written with the operators that they are made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import torch
from torch.nn import functional


def _glu(x: torch.Tensor, axis: int = -1) -> torch.Tensor:
    left, right = x.chunk(2, axis)
    return left * right.sigmoid()


def _log_sigmoid(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    # -log(1 + exp(-x)); the second is a buffer for the backward pass.
    return -functional.softplus(-x), torch.empty_like(x)


def _rrelu(
    x: torch.Tensor,
    _noise: torch.Tensor,
    low: float = 1 / 8,
    high: float = 1 / 3,
    training: bool = False,  # noqa: FBT001, FBT002 - the operator's own order
    **_: Any,
) -> torch.Tensor:
    """Return `leaky_relu` with the random slope's root mean square, which gives its powers."""
    slope = (low + high) / 2
    if training:
        slope = math.sqrt((low * low + low * high + high * high) / 3)
    return functional.leaky_relu(x, slope)


SPELLED_OUT: Final[dict[str, Callable[..., Any]]] = {
    "glu": _glu,
    "log_sigmoid_forward": _log_sigmoid,
    "rrelu_with_noise": _rrelu,
}
