"""What common operators return on meta tensors, where the framework's own answer is slow.

PyTorch decomposes these in Python, at up to a millisecond a call; what they return is plain for
dense tensors of one dtype. For all else, and for what is wrong, its own answer is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch

from xavier.frameworks.torch._op_kinds import base_name

_WIDE: Final = (torch.float32, torch.float64)  # whose statistics have their own dtype
_TRAINING: Final = 5  # where batch norm's arguments say whether it is


def quick_answer(func: torch._ops.OpOverload, args: Any, kwargs: Any) -> Any:
    """Return fresh meta tensors of the shapes that an operator returns; None if it is not known."""
    answer = _ANSWERS.get(base_name(func))
    return None if answer is None or kwargs or func._schema.is_mutable else answer(*args)


def _addmm(bias: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> Any:
    fits = left.dim() == right.dim() == 2 and left.shape[1] == right.shape[0]  # noqa: PLR2004 - a matrix has two axes
    if fits and bias.shape == right.shape[1:] and bias.dtype == left.dtype == right.dtype:
        return left.new_empty((left.shape[0], right.shape[1]))
    return None


def _layer_norm(
    x: torch.Tensor,
    shape: Sequence[int],
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    _: float,
) -> Any:
    sizes, kept = tuple(shape), x.dim() - len(shape)
    fits = sizes == tuple(x.shape[kept:]) and all(
        each is None or (each.dtype == x.dtype and tuple(each.shape) == sizes)
        for each in (weight, bias)
    )
    if not (fits and sizes and _is_plain(x)):
        return None
    statistic = (*x.shape[:kept], *(1 for _ in sizes))
    return torch.empty_like(x), x.new_empty(statistic), x.new_empty(statistic)


def _batch_norm(x: torch.Tensor, *rest: Any) -> Any:
    channels = x.shape[1] if x.dim() > 1 else -1
    fits = all(
        each is None or (each.dtype == x.dtype and tuple(each.shape) == (channels,))
        for each in rest[: _TRAINING - 1]
    )
    if not (fits and _is_plain(x)) or rest[_TRAINING - 1] or rest[_TRAINING - 2] is None:
        return None
    return torch.empty_like(x), x.new_empty((channels,)), x.new_empty((channels,))


def _both(x: torch.Tensor, y: Any) -> Any:
    if isinstance(y, torch.Tensor):
        alike = isinstance(x, torch.Tensor) and x.shape == y.shape and x.dtype == y.dtype
        return torch.empty_like(x) if alike and _is_plain(x) and _is_plain(y) else None
    number = type(y) in (int, float) and isinstance(x, torch.Tensor)
    return torch.empty_like(x) if number and _is_plain(x) else None


def _like(x: torch.Tensor, *_: Any) -> Any:
    return torch.empty_like(x) if _is_plain(x) else None


def _is_plain(x: torch.Tensor) -> bool:
    return x.dtype in _WIDE and x.is_contiguous() and x.numel() > 0


_ANSWERS: Final[dict[str, Callable[..., Any]]] = {
    "addmm": _addmm,
    "native_layer_norm": _layer_norm,
    "native_batch_norm": _batch_norm,
    "gelu": _like,
    "add": _both,
    "mul": _both,
    "_safe_softmax": lambda x, axis: _like(x) if -x.dim() <= axis < x.dim() else None,
}
