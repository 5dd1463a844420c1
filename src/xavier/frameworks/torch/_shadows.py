"""What is known of a meta tensor's values although the model runs without memory.

A value that depends on inputs, buffers and constants alone is computed for real beside the
meta run; it is the tensor's *shadow*. Shadows follow storages, so that views and in-place
writes need no bookkeeping: a write of something unknown takes the whole storage's shadow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from xavier._errors import TraceError, a


def storage_of(tensor: torch.Tensor) -> int:
    """Return an identity of the tensor's storage, valid while the storage lives."""
    return tensor.untyped_storage()._cdata


def _kind(tensor: torch.Tensor) -> str:
    kind = tensor.dtype if tensor.layout == torch.strided else tensor.layout
    return str(kind).removeprefix("torch.")


class Shadows:
    """The real contents of meta storages, where they are known.

    Args:
        seed: Of the guesses.
        turned: The guesses, by number, whose coins lie on the other side.

    Attributes:
        last_coin: The number of the last guess of a single truth value.
    """

    def __init__(self, seed: int = 0, *, turned: frozenset[int] = frozenset()) -> None:
        self._bases: dict[int, torch.Tensor] = {}
        self._twins: dict[int, torch.Tensor] = {}
        self._former: dict[int, torch.Tensor] = {}
        self._alive: list[Any] = []
        self._generator = torch.Generator()
        self._guesses = seed
        self._turned = turned
        self.last_coin: int | None = None

    def keep(self, tensor: torch.Tensor) -> None:
        """Keep a storage alive, so that its identity is never used twice."""
        self._alive.append(tensor.untyped_storage())

    def enter(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the meta twin of a real tensor, with the tensor's values as its shadow."""
        if tensor.device.type == "meta":
            return tensor
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise TraceError(
                f"{a(_kind(tensor))} tensor cannot be traced",
                hint="trace the dense, unquantized model",
            )
        tensor = tensor.detach()
        storage = storage_of(tensor)
        base = self._twins.get(storage)
        if base is None or base.dtype != tensor.dtype:
            count = tensor.untyped_storage().nbytes() // tensor.element_size()
            base = torch.empty(count, dtype=tensor.dtype, device="meta")
            real = tensor.as_strided((count,), (1,), 0).to("cpu", copy=True)
            self._twins[storage] = base
            self._alive.append((tensor.untyped_storage(), base))
            self._bases[storage_of(base)] = real
        return base.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())

    def known(self, tensor: torch.Tensor) -> bool:
        """Tell whether the tensor's values are known."""
        base = self._bases.get(storage_of(tensor))
        return base is not None and base.element_size() == tensor.element_size()

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the real values of a known tensor, sharing memory with its views."""
        base = self._bases[storage_of(tensor)]
        if base.dtype != tensor.dtype:
            base = base.view(tensor.dtype)
        return base.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())

    def give(self, real: torch.Tensor) -> torch.Tensor:
        """Return a meta tensor whose shadow is `real`, freshly computed and shared by nobody."""
        count = real.untyped_storage().nbytes() // max(real.element_size(), 1)
        base = torch.empty(count, dtype=real.dtype, device="meta")
        self._bases[storage_of(base)] = real.detach().as_strided((count,), (1,), 0)
        self.keep(base)
        return base.as_strided(real.shape, real.stride(), real.storage_offset())

    def forget(self, tensor: torch.Tensor) -> None:
        """Mark the tensor's storage as unknown: something unknown was written there."""
        self._bases.pop(storage_of(tensor), None)

    def remember(self, tensors: Sequence[torch.Tensor], *, copied: bool) -> None:
        """Keep what is known of tensors that the next op writes to, until the one after it."""
        known = [each for each in tensors if self.known(each)]
        self._former = {
            storage_of(each): base.clone() if copied else base
            for each in known
            for base in (self._bases[storage_of(each)],)
        }

    def former(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """Return what a tensor held before the op that just wrote to it, if that was known."""
        base = self._former.get(storage_of(tensor))
        if base is None or base.dtype != tensor.dtype:
            return None
        return base.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())

    def former_whole(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """Return what all of a tensor's storage held before that."""
        return self._former.get(storage_of(tensor))

    def resized(self, tensor: torch.Tensor) -> None:
        """Follow a storage that was resized: what is new there counts as zeros."""
        old = self._bases.pop(storage_of(tensor), None)
        if old is None:
            return
        count = tensor.untyped_storage().nbytes() // tensor.element_size()
        new = torch.zeros(count, dtype=tensor.dtype)
        if old.dtype == new.dtype:
            kept = min(len(old), count)
            new[:kept] = old[:kept]
        self._bases[storage_of(tensor)] = new

    def guess(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return plausible values for an unknown tensor: normal, fair coins, or zeros."""
        self._guesses += 1  # a guess of another size must not change those that follow
        self._generator.manual_seed(self._guesses)
        if tensor.dtype == torch.bool:
            coins = torch.randint(2, tensor.shape, generator=self._generator, device="cpu").bool()
            if coins.numel() == 1:
                self.last_coin = self._guesses
            return ~coins if self._guesses in self._turned else coins
        if tensor.is_floating_point():
            values = torch.randn(tensor.shape, generator=self._generator, device="cpu")
            return values.to(tensor.dtype)
        return torch.zeros(tensor.shape, dtype=tensor.dtype, device="cpu")
