"""Where tensors lie in memory: which are one, which overlap, and twins that do the same."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from xavier.frameworks.torch._huge_pages import prefer_huge_pages
from xavier.frameworks.torch._shards import is_dtensor

Form = tuple[int, tuple[tuple[int, int], ...]]  # first byte; (stride, size), widest stride first


@dataclass(frozen=True, slots=True)
class Place:
    """The bytes of a storage that a tensor has.

    Attributes:
        storage: An identity of the storage, valid while it lives.
        form: The first byte and the axes, in bytes, merged as far as they go: equal for two
            tensors that have the same bytes, whatever their shapes and strides.
    """

    storage: int
    form: Form


def place_of(tensor: torch.Tensor) -> Place | None:
    """Return the bytes that a tensor has; None if it has no element, or no storage to compare."""
    if tensor.layout != torch.strided or is_traceable_wrapper_subclass(tensor):
        return None
    if tensor.numel() == 0:
        return None
    item = tensor.element_size()
    axes = [
        (stride * item, size)
        for stride, size in zip(tensor.stride(), tensor.shape, strict=True)
        if size > 1
    ]
    merged: list[tuple[int, int]] = [(1, item)]
    for stride, size in sorted(axes):
        inner_stride, inner_size = merged[-1]
        if stride == inner_stride * inner_size:
            merged[-1] = (inner_stride, inner_size * size)
        else:
            merged.append((stride, size))
    storage = tensor.untyped_storage()._cdata
    return Place(storage, (int(tensor.storage_offset()) * item, tuple(reversed(merged))))


def identity(tensor: torch.Tensor) -> Hashable:
    """Return what two tensors have in common if they are one: the bytes, or the object."""
    place = None if is_lazy(tensor) else place_of(tensor)
    return id(tensor) if place is None else (tensor.dtype, place.storage, place.form)


def forms_overlap(left: Form, right: Form) -> bool:
    """Return whether two forms of one storage share a byte."""
    low, high = max(left[0], right[0]), min(end_of(left), end_of(right))
    if low >= high:
        return False
    if len(left[1]) == 1 and len(right[1]) == 1:
        return True
    # A byte's mark costs a byte, and only storages that two parameters interleave pay it.
    marks = np.zeros(max(end_of(left), end_of(right)), np.bool_)
    _window(marks, left)[...] = True
    return bool(_window(marks, right).any())


def end_of(form: Form) -> int:
    """Return the byte after the last one of a form."""
    return form[0] + sum(stride * (size - 1) for stride, size in form[1]) + 1


def _window(marks: np.ndarray, form: Form) -> np.ndarray:
    strides, sizes = zip(*form[1], strict=True)
    return np.lib.stride_tricks.as_strided(marks[form[0] :], sizes, strides)


def has_one_place_an_element(tensor: torch.Tensor) -> bool:
    """Return whether no two elements of a tensor lie at one address."""
    place = place_of(tensor)
    if place is None:
        return True
    reach = 0
    for stride, size in reversed(place.form[1]):
        if stride <= reach:
            return _counted(place.form) == math.prod(size for _, size in place.form[1])
        reach += stride * (size - 1)
    return True


def _counted(form: Form) -> int:
    marks = np.zeros(end_of(form), np.bool_)
    _window(marks, form)[...] = True
    return int(np.count_nonzero(marks))


class Twins:
    """Tensors like others on another device, which share storages where those do.

    Args:
        device: The device of the twins.
    """

    def __init__(self, device: torch.device | str) -> None:
        self._device = torch.device(device)
        self._storages: dict[int, torch.UntypedStorage] = {}
        self._originals: list[torch.Tensor] = []

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return an uninitialized twin: of the same dtype, shape, strides and offset."""
        self._originals.append(tensor)  # an identity must not be used twice
        place = place_of(tensor)
        if is_dtensor(tensor):  # whole, whatever this process holds of it
            return torch.empty(tensor.shape, dtype=tensor.dtype, device=self._device)
        if place is None:
            return torch.empty_like(tensor, device=self._device, requires_grad=False)
        if place.storage not in self._storages:
            size = tensor.untyped_storage().nbytes()
            base = prefer_huge_pages(torch.empty(size, dtype=torch.uint8, device=self._device))
            self._storages[place.storage] = base.untyped_storage()
        twin = torch.empty(0, dtype=tensor.dtype, device=self._device)
        offset, shape, strides = tensor.storage_offset(), tensor.shape, tensor.stride()
        with torch.no_grad():
            twin.set_(self._storages[place.storage], offset, shape, strides)
        return twin
