"""Statistics of one tensor, streamed: nothing is kept but a few numbers."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xavier._types.signal import BINS

_CHUNK = 1 << 20
_SMALL = 4096  # elements, below which float64 costs nothing
_NARROW = 1 << 15  # elements that are summed in float32 at once, and that caches hold
_LEAST_SQUARE = 1e-30  # on average; squares of much smaller elements than 1e-15 underflow
_LEAST_POWER = 1e-200  # of a row; the products of smaller ones underflow
_LARGEST_MEAN = 0.9  # of the second moment, beyond which their difference loses digits
Sums = tuple[float, float, int, int]
_ONES = np.ones(_NARROW, np.float32)
SAMPLE = 8192
_INPUTS = 8
_BOUND = 4.0  # RMS, to which a histogram goes
_SATURATED = 0.05
_PAIR = 2


def unguarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run a function outside every dispatch mode: it reads, and the modes need not look."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        with torch._C._DisableTorchDispatch():
            return function(*args, **kwargs)

    return run


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean, standard deviation and RMS of the finite elements; how many are not finite."""

    mean: float
    std: float
    rms: float
    nonfinite: int


@unguarded
def moments(tensor: torch.Tensor) -> Moments:
    """Return the moments of a floating or complex tensor, to five digits at least.

    Parts are summed in float32 where that is sure to be enough, in float64 where it may not
    be, and added up in float64.

    Args:
        tensor: Of any shape; an empty one has NaN for moments. A complex one counts as
            twice as many real numbers.

    Returns:
        The moments over all finite elements; not one that is not finite is missed.
    """
    flat = _flat(tensor)
    with np.errstate(all="ignore"):
        sums = _narrow_sums(flat)
    if sums is None:
        sums = tuple(map(sum, zip(*map(_wide_sums, flat.split(_CHUNK)), strict=True)))
    total, square, count, nonfinite = sums
    if not count:
        return Moments(math.nan, math.nan, math.nan, nonfinite)
    mean, second = total / count, square / count
    std = math.sqrt(max(second - mean * mean, 0.0))
    return Moments(mean, std, math.sqrt(second), nonfinite)


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    """Return the elements in one row, in the order of the memory where that saves a copy."""
    tensor = plain(tensor)
    if not tensor.is_contiguous():
        strides = tensor.stride()
        tensor = tensor.permute(sorted(range(tensor.ndim), key=lambda at: -strides[at]))
    return tensor.reshape(-1)


def _narrow_sums(flat: torch.Tensor) -> Sums | None:
    """Return sum, sum of squares, count and zero, from sums in float32; None if these are unsure.

    As long as squares neither overflow nor underflow, a part's sum of them is right to 2e-7 for
    random elements, and to 1e-5 where all have one magnitude, whose roundings have one sign. So
    is the variance, unless the mean takes most of the second moment. An element that is not
    finite makes the sum of squares one that is not.
    """
    if type(flat) is not torch.Tensor or flat.device.type != "cpu":
        return None
    if flat.dtype == torch.float64 or flat.numel() < _SMALL:
        return None
    total = square = 0.0
    for part in _narrow_parts(flat):
        second = float(part.dot(part))
        if not (_LEAST_SQUARE * len(part) < second < math.inf):
            return None
        square += second
        total += float(part.dot(_ONES[: len(part)]))
    count = flat.numel()
    if total * total > _LARGEST_MEAN * square * count:
        return None
    return total, square, count, 0


def _narrow_parts(flat: torch.Tensor) -> Iterator[NDArray[np.float32]]:
    if flat.dtype == torch.float32:
        array = flat.numpy()
        yield from (array[at : at + _NARROW] for at in range(0, len(array), _NARROW))
    else:
        yield from (part.float().numpy() for part in flat.split(_NARROW))


def _wide_sums(part: torch.Tensor) -> Sums:
    """Return sum, sum of squares and count of the finite elements, and the count of the others."""
    part = part.to(torch.float32 if part.device.type == "mps" else torch.float64)
    size = part.numel()
    total, square = float(part.sum()), float(torch.dot(part, part))
    if not (math.isfinite(total) and math.isfinite(square)):
        part = part[torch.isfinite(part)]
        total, square = float(part.sum()), float(torch.dot(part, part))
    return total, square, part.numel(), size - part.numel()


def plain(tensor: torch.Tensor) -> torch.Tensor:
    """Return the numbers that this process holds of `tensor`, without its history."""
    # What is detached outside of dispatch has lost its local part, and any memory.
    tensor = getattr(tensor, "_local_tensor", tensor).detach()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    return tensor.resolve_neg()


@unguarded
def sample(tensor: torch.Tensor, *, limit: int = SAMPLE) -> torch.Tensor:
    """Return at most `limit` elements, evenly spaced, as a flat copy in float32 or 64."""
    flat = plain(tensor).reshape(-1)
    step = max(1, -(-flat.numel() // limit))
    # An odd step that shares no factor with usual widths visits every column.
    step += step > 1 and step % 2 == 0
    dtype = torch.float64 if flat.dtype == torch.float64 else torch.float32
    return flat[::step].to("cpu", dtype, copy=True)


@unguarded
def histogram(tensor: torch.Tensor) -> tuple[float, ...] | None:
    """Return the shares of elements in equal bins of -4 to 4 RMS, the end bins with all beyond.

    Args:
        tensor: Of any shape; 8,192 of its elements are looked at.

    Returns:
        One share a bin; None if no finite element differs from zero.
    """
    at = sample(tensor)
    at = at[torch.isfinite(at)]
    size = float(at.square().mean().sqrt()) if len(at) else 0.0
    if not 0 < size < math.inf:
        return None
    bins = ((at / size + _BOUND) * (BINS / (2 * _BOUND))).floor().clamp(0, BINS - 1)
    counts = torch.bincount(bins.long(), minlength=BINS)
    return tuple((counts / len(at)).tolist())


@unguarded
def correlation(tensor: torch.Tensor, *, inputs: int) -> float | None:
    """Return the mean cosine between the rows of different inputs of a batch.

    Args:
        tensor: Whose first axis counts inputs, or inputs times positions.
        inputs: The size of the batch.

    Returns:
        The mean over pairs of the first eight inputs, on sampled features; None if the
        tensor has no such axis or fewer than two rows that are not zero.
    """
    tensor = plain(tensor)
    if inputs < _PAIR or tensor.ndim < _PAIR or not tensor.numel() or tensor.shape[0] % inputs:
        return None
    rows = tensor.reshape(inputs, -1)[:_INPUTS]
    step = max(1, -(-rows.shape[1] * rows.shape[0] // SAMPLE))
    step += step > 1 and step % 2 == 0
    picked = rows[:, ::step].to("cpu", torch.float64).numpy()
    with np.errstate(all="ignore"):
        power = np.einsum("ij,ij->i", picked, picked)
        if not ((power > _LEAST_POWER) & (power < 1 / _LEAST_POWER)).all():
            picked = picked / np.abs(picked).max(axis=1, keepdims=True)
            picked = picked[np.isfinite(picked).all(axis=1)]
    count = len(picked)
    if count < _PAIR:
        return None
    gram = picked @ picked.T
    norm = np.sqrt(gram.diagonal())
    cosine = gram / np.outer(norm, norm)
    return float((cosine.sum() - np.trace(cosine)) / (count * (count - 1)))


def _as_it_is(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def slopes(function: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor) -> torch.Tensor:
    """Return the derivative of an elementwise function at each element of `at`."""
    # Of the hooks on saved tensors only the last are called: what is saved here is no business
    # of a checkpoint's that the model runs under.
    own = torch.autograd.graph.saved_tensors_hooks(_as_it_is, _as_it_is)
    with torch.enable_grad(), own:
        point = at.detach().clone().requires_grad_()
        # The product is no leaf, so that a function that works in place may be probed.
        value = function(point * 1.0)
        (slope,) = torch.autograd.grad(value.sum(), point)
    return slope


@unguarded
def saturation(function: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor) -> float:
    """Return the share of `at` where the slope is below a twentieth of the largest one.

    Args:
        function: An elementwise function.
        at: What it is applied to.

    Returns:
        A share between 0 and 1; NaN without a finite element.
    """
    at = at[torch.isfinite(at)]
    if not len(at):
        return math.nan
    grid = torch.linspace(-8, 8, 1025, dtype=at.dtype, device=at.device)
    found = slopes(function, torch.cat((grid, at))).abs()
    elsewhere, steep = found[: len(grid)], found[len(grid) :]
    largest = max(float(elsewhere.nan_to_num(0.0).max()), float(steep.max()))
    return int((steep < _SATURATED * largest).sum()) / len(steep)


@unguarded
def is_flat_at_zeros(function: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor) -> bool:
    """Tell whether no gradient passes a function wherever it gives exactly zero on `at`."""
    zeros = at[function(at) == 0]
    return not len(zeros) or not bool(slopes(function, zeros).any())


@unguarded
def all_zero(tensor: torch.Tensor) -> bool:
    """Tell whether every element of a tensor is zero; of one without elements, False."""
    tensor = plain(tensor)
    if not tensor.numel() or tensor[(0,) * tensor.ndim].item() != 0:
        return False
    return not bool((tensor != 0).any())


@unguarded
def dead_share(tensor: torch.Tensor, *, unit_axis: int) -> float:
    """Return the share of units along `unit_axis` that are zero everywhere else."""
    tensor = plain(tensor)
    if not tensor.ndim or not tensor.numel():
        return math.nan
    tensor = tensor.movedim(unit_axis, -1)
    if tensor.ndim > 1:
        # Mostly the first inputs show that every unit lives.
        head = tensor[: max(1, len(tensor) // 8)]
        if not _dead(head).any():
            return 0.0
    return float(_dead(tensor).double().mean())


def _dead(tensor: torch.Tensor) -> torch.Tensor:
    """Tell for each place on the last axis whether all else is zero there."""
    alive = tensor != 0
    return ~(alive.any(dim=tuple(range(tensor.ndim - 1))) if tensor.ndim > 1 else alive)
