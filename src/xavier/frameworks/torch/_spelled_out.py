"""Activations that are one operator here, written with the operators that they are made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import torch
from torch.nn import functional

from xavier.frameworks.torch._calls import is_tensor
from xavier.frameworks.torch._op_kinds import base_name


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


def _normal(mean: Any, std: Any = 1.0, **_: Any) -> torch.Tensor:
    one = mean if isinstance(mean, torch.Tensor) else std
    return mean + std * torch.randn_like(one)


def spelled_out(
    func: torch._ops.OpOverload, args: Any
) -> Callable[..., torch.Tensor | tuple[torch.Tensor, ...]] | None:
    """Return what an operator is made of, if it is spelled out here."""
    name, in_place = base_name(func), func._schema.name.endswith("_")
    if name == "normal" and not in_place and any(map(is_tensor, args)):
        return _normal
    return _SPELLED_OUT.get(name)


_SPELLED_OUT: Final[dict[str, Callable[..., Any]]] = {
    "glu": _glu,
    "log_sigmoid_forward": _log_sigmoid,
    "rrelu_with_noise": _rrelu,
}
