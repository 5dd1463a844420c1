"""Marks on tensors that keep none of them alive."""

from __future__ import annotations

import weakref
from typing import Generic, TypeVar

import torch

T = TypeVar("T")


class Marks(Generic[T]):
    """What is known of tensors, by identity; of one that is gone nothing is.

    The framework's `WeakIdKeyDictionary` does the same, at several times the cost a look.
    """

    def __init__(self) -> None:
        self._held: dict[int, tuple[weakref.ref[torch.Tensor], T]] = {}

    def __setitem__(self, tensor: torch.Tensor, mark: T) -> None:
        self._held[id(tensor)] = weakref.ref(tensor), mark

    def __contains__(self, tensor: torch.Tensor) -> bool:
        return self.get(tensor) is not None

    def get(self, tensor: torch.Tensor) -> T | None:
        """Return a tensor's mark, if it has one."""
        found = self._held.get(id(tensor))
        # An identity is used again once its tensor is gone.
        return found[1] if found is not None and found[0]() is tensor else None
