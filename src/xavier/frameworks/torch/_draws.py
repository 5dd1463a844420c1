"""Drawing into one tensor, outside of any plan: checked first, then written in place."""

from __future__ import annotations

import math

import numpy as np
import torch

from xavier._errors import DtypeError, WriteError, a
from xavier._types.laws import Law, Uniform
from xavier._types.plan import Assignment, Region, Role
from xavier.bits import Key, fill
from xavier.frameworks.torch._elements import write_assignment
from xavier.frameworks.torch._fit import DTYPES
from xavier.frameworks.torch._scopes import key_for
from xavier.frameworks.torch._shards import copy_clip, copy_into, part_of
from xavier.frameworks.torch._storages import has_one_place_an_element
from xavier.frameworks.torch._truncated import between

_CHUNK = 1 << 20  # elements whose float64 values are held at once


def require_tensor(thing: object) -> None:
    """Refuse what is no tensor, such as a list.

    Raises:
        DtypeError: If it is none.
    """
    if not isinstance(thing, torch.Tensor):
        raise DtypeError(f"{a(type(thing).__name__)} was given, expected a torch.Tensor")


def require_drawable(tensor: torch.Tensor) -> None:
    """Refuse a tensor that cannot be drawn; on the meta device only for its dtype.

    Raises:
        DtypeError: If it is no tensor, or its dtype is not one of the four floating ones.
        WriteError: If it is not dense, is an inference tensor outside of inference mode, or
            two of its elements share memory.
    """
    require_tensor(tensor)
    if tensor.dtype not in DTYPES:
        known = ", ".join(DTYPES.values())
        raise DtypeError(f"dtype is {tensor.dtype}, expected one of {known}")
    if tensor.is_meta:
        return
    if tensor.layout != torch.strided:
        raise WriteError(f"a tensor of layout {tensor.layout} was given, expected a dense one")
    if tensor.is_inference() and not torch.is_inference_mode_enabled():
        raise WriteError("an inference tensor cannot be written to outside of inference mode")
    if not has_one_place_an_element(tensor):
        raise WriteError(
            f"several elements lie at one address (strides {tensor.stride()})",
            hint="an expanded tensor: give it memory of its own with .clone()",
        )


def draw_law(
    tensor: torch.Tensor,
    law: Law,
    generator: torch.Generator | None,
    *,
    name: str | None,
    seed: int | None,
) -> torch.Tensor:
    """Draw a tensor from a law under the name and seed that were given, or that the scope has."""
    require_drawable(tensor)
    key = key_for(tensor, name=name, seed=seed, generator=generator)
    if key is not None:
        write_law(tensor, law, key)
    return tensor


def write_law(tensor: torch.Tensor, law: Law, key: Key) -> None:
    """Write a law's values into a tensor, the bits that `xavier.init_` gives a weight.

    Raises:
        LawError: If the law reaches beyond the dtype's range.
    """
    shape = tuple(tensor.shape)
    nan = math.nan
    whole = Assignment(key.name, Region(), shape, Role.OTHER, nan, nan, "", "", "", law, "")
    with torch.no_grad():
        write_assignment(tensor, whole, seed=key.seed, name=key.name, report=lambda _: None)
    # The elements were written behind autograd's back: a graph that holds them must notice.
    if not tensor.is_inference():
        torch.autograd.graph.increment_version(tensor)


def write_between(
    tensor: torch.Tensor, key: Key, *, mean: float, std: float, ends: tuple[float, float]
) -> None:
    """Write values of a normal law given an interval into a tensor.

    Element i is the quantile of element i of the float64 stream of uniforms.

    Args:
        tensor: The tensor.
        key: The stream.
        mean: The mean before the cut.
        std: The standard deviation before the cut.
        ends: The interval; not infinite at both ends.
    """
    low, high = ((end - mean) / std for end in ends)
    values = torch.empty(tensor.numel(), dtype=tensor.dtype, device="cpu")
    for begin in range(0, len(values), _CHUNK):
        target = values[begin : begin + _CHUNK]
        uniforms = np.empty(len(target))
        fill(uniforms, Uniform(0.0, 1.0), key=key, start=begin)
        drawn = mean + std * between(low, high, torch.from_numpy(uniforms))
        # A low-precision weight is the float32 one rounded, here as everywhere.
        target.copy_(drawn if target.dtype == torch.float64 else drawn.float())
    with torch.no_grad():
        copy_into(tensor, values.view(tensor.shape))


def clamp(tensor: torch.Tensor, low: float, high: float) -> None:
    """Bring what this process holds of a tensor into an interval."""
    with torch.no_grad():
        part_of(tensor).tensor.clamp_(low, high)


def zero_in_columns(tensor: torch.Tensor, count: int, *, key: Key) -> None:
    """Set `count` elements of each column of a matrix to zero, every choice equally likely."""
    ranks = np.empty(tuple(tensor.shape))
    fill(ranks, Uniform(0.0, 1.0), key=key)
    lowest = np.argsort(ranks, axis=0, kind="stable")[:count]
    zero = np.zeros(ranks.shape, np.bool_)
    np.put_along_axis(zero, lowest, values=True, axis=0)
    part = part_of(tensor)
    mask = torch.zeros(part.tensor.shape, dtype=torch.bool, device=part.tensor.device)
    copy_clip(part, mask, torch.from_numpy(zero))
    with torch.no_grad():
        part.tensor.masked_fill_(mask, 0.0)
