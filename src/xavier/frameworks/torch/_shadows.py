"""What is known of a meta tensor's values although the model runs without memory.

A value that depends on inputs, buffers and constants alone is computed for real beside the
meta run; it is the tensor's *shadow*. Shadows follow storages, so that views and in-place
writes need no bookkeeping: a write of something unknown takes the whole storage's shadow.
"""

from __future__ import annotations

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
    """The real contents of meta storages, where they are known."""

    def __init__(self, seed: int = 0) -> None:
        self._bases: dict[int, torch.Tensor] = {}
        self._twins: dict[int, torch.Tensor] = {}
        self._alive: list[Any] = []
        self._generator = torch.Generator().manual_seed(seed)

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

    def guess(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return plausible values for an unknown tensor: normal, fair coins, or zeros."""
        if tensor.dtype == torch.bool:
            return torch.randint(2, tensor.shape, generator=self._generator, device="cpu").bool()
        if tensor.is_floating_point():
            values = torch.randn(tensor.shape, generator=self._generator, device="cpu")
            return values.to(tensor.dtype)
        return torch.zeros(tensor.shape, dtype=tensor.dtype, device="cpu")
