"""Masks that are the same for all data, and writes into parts of a tensor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch

from xavier.frameworks.torch._calls import Call, is_tensor
from xavier.frameworks.torch._shadows import storage_of
from xavier.frameworks.torch._trees import map_tensors

_MOST: Final = 1 << 24  # elements of a storage whose layers are told apart
_WRITES: Final = {  # where what they write stands among their arguments
    **dict.fromkeys(("slice_scatter", "select_scatter", "diagonal_scatter"), 1),
    "as_strided_scatter": 1,
    **dict.fromkeys(("index_put", "_index_put_impl", "masked_scatter"), 2),
    **dict.fromkeys(("index_copy", "scatter"), 3),
}
_REMOVES: Final = 1e4  # a fill beyond this, such as before a softmax, is no part of the signal


@dataclass(frozen=True)
class Choice:
    """An op that takes, at each element, one thing or another.

    Attributes:
        mask: Which of them.
        others: What may be a fill: tensors or numbers.
    """

    mask: torch.Tensor
    others: tuple[Any, ...]

    def removes(self, real_if_known: Callable[[torch.Tensor], torch.Tensor]) -> bool:
        """Tell whether what it fills in is so large that a softmax will remove it."""
        for each in self.others:
            value = real_if_known(each) if is_tensor(each) else torch.tensor(each)
            if value.device.type == "meta" or value.numel() == 0:
                continue
            if not bool((value.abs() < _REMOVES).all()):
                return True
        return False


def choice_of(call: Call) -> Choice | None:
    """Return what a call chooses between, if it is a choice by a mask that can be run again."""
    if call.name == "where" and len(call.args) == 3:  # noqa: PLR2004 - mask, one, other
        return Choice(call.args[0], tuple(call.args[1:]))
    if call.name == "masked_fill" and not is_tensor(call.args[2]):
        return Choice(call.args[1], (call.args[2],))
    return None


def is_mask(real: torch.Tensor) -> bool:
    """Tell whether values are zeros and ones, some of each."""
    if real.dtype == torch.bool:
        return True
    if real.is_complex() or real.numel() < 2 or not real.any():  # noqa: PLR2004 - a pair
        return False
    return bool(((real == 0) | (real == 1)).all())


def written_into(call: Call) -> torch.Tensor | None:
    """Return the tensor that a call writes into some of the elements of its first, if it does."""
    at = _WRITES.get(call.name)
    if at is None or len(call.args) <= at or "reduce" in call.kwargs:
        return None
    adds = call.name in ("index_put", "_index_put_impl") and any(call.args[3:4])
    return call.args[at] if is_tensor(call.args[at]) and not adds else None


def share_of(
    call: Call, new: torch.Tensor, real_if_known: Callable[[torch.Tensor], torch.Tensor]
) -> float:
    """Return which share of the elements such a call writes to."""
    old = call.args[0]
    marks = {id(old): torch.zeros(old.shape), id(new): torch.ones(new.shape)}
    own = lambda each: marks[id(each)] if id(each) in marks else real_if_known(each)  # noqa: E731 - a formula in a line
    try:
        args, kwargs = map_tensors(own, (call.args, call.placeless))
        return float(call.func(*args, **kwargs).mean())
    except (RuntimeError, TypeError, IndexError, NotImplementedError):
        return min(1.0, new.numel() / max(old.numel(), 1))


class Layers:
    """Which value was last written to each element of a storage, where parts were written to."""

    def __init__(self) -> None:
        self._last: dict[int, torch.Tensor] = {}

    def has(self, tensor: torch.Tensor) -> bool:
        """Tell whether parts of the tensor's storage were written to."""
        return storage_of(tensor) in self._last

    def drop(self, tensor: torch.Tensor) -> None:
        """Forget the layers of a storage: all of it was written to."""
        self._last.pop(storage_of(tensor), None)

    def write(self, tensor: torch.Tensor, value: int, before: int) -> None:
        """Note that a value was written to a part, where there was another before."""
        count = tensor.untyped_storage().nbytes() // tensor.element_size()
        if storage_of(tensor) not in self._last:
            if count > _MOST:
                return
            self._last[storage_of(tensor)] = torch.full((count,), before, dtype=torch.int32)
        last = self._last[storage_of(tensor)]
        if len(last) == count:
            _seen_as(last, tensor).fill_(value)

    def shares(self, tensor: torch.Tensor) -> dict[int, float]:
        """Return the values that a tensor's elements are of, each with its share."""
        last = self._last[storage_of(tensor)]
        if len(last) != tensor.untyped_storage().nbytes() // tensor.element_size():
            return {}
        values, counts = _seen_as(last, tensor).unique(return_counts=True)
        pairs = zip(values.tolist(), counts.tolist(), strict=True)
        return {value: count / tensor.numel() for value, count in pairs}


def _seen_as(last: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    return last.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())
