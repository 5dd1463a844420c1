"""Statistics of one tensor, streamed: nothing is kept but a few numbers."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from xavier._types.signal import BINS

_CHUNK = 1 << 20
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
    """Return the moments of a floating or complex tensor, accumulated in float64.

    Args:
        tensor: Of any shape; an empty one has NaN for moments. A complex one counts as
            twice as many real numbers.

    Returns:
        The moments over all finite elements.
    """
    total = square = 0.0
    count = nonfinite = 0
    for part in _parts(tensor):
        first, second = float(part.sum()), float(torch.dot(part, part))
        if not (math.isfinite(first) and math.isfinite(second)):
            finite = part[torch.isfinite(part)]
            nonfinite += part.numel() - finite.numel()
            part = finite  # noqa: PLW2901
            first, second = float(part.sum()), float(torch.dot(part, part))
        total, square, count = total + first, square + second, count + part.numel()
    if not count:
        return Moments(math.nan, math.nan, math.nan, nonfinite)
    mean, second = total / count, square / count
    return Moments(mean, math.sqrt(max(second - mean * mean, 0.0)), math.sqrt(second), nonfinite)


def _parts(tensor: torch.Tensor) -> Any:
    tensor = _plain(tensor)
    wide = torch.float32 if tensor.device.type == "mps" else torch.float64
    return (part.to(wide) for part in tensor.reshape(-1).split(_CHUNK))


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """Return the numbers that this process holds of `tensor`, without its history."""
    tensor = tensor.detach()
    tensor = getattr(tensor, "_local_tensor", tensor)
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    return tensor


@unguarded
def sample(tensor: torch.Tensor, *, limit: int = SAMPLE) -> torch.Tensor:
    """Return at most `limit` elements, evenly spaced, as a flat copy in float64."""
    flat = _plain(tensor).reshape(-1)
    step = max(1, -(-flat.numel() // limit))
    # An odd step that shares no factor with usual widths visits every column.
    step += step > 1 and step % 2 == 0
    return flat[::step].to("cpu", torch.float64, copy=True)


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
    tensor = _plain(tensor)
    if inputs < _PAIR or tensor.ndim < _PAIR or not tensor.numel() or tensor.shape[0] % inputs:
        return None
    rows = tensor.reshape(inputs, -1)[:_INPUTS]
    step = max(1, -(-rows.shape[1] * rows.shape[0] // SAMPLE))
    step += step > 1 and step % 2 == 0
    picked = rows[:, ::step].to("cpu", torch.float64).numpy()
    scale = np.abs(picked).max(axis=1, keepdims=True)
    with np.errstate(all="ignore"):
        picked = picked / scale
        picked = picked / np.linalg.norm(picked, axis=1, keepdims=True)
    picked = picked[np.isfinite(picked).all(axis=1)]
    count = len(picked)
    if count < _PAIR:
        return None
    gram = picked @ picked.T
    return float((gram.sum() - np.trace(gram)) / (count * (count - 1)))


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
    largest = float(slopes(function, grid).abs().nan_to_num(0.0).max())
    steep = slopes(function, at).abs()
    return float((steep < _SATURATED * max(largest, float(steep.max()))).double().mean())


@unguarded
def is_flat_at_zeros(function: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor) -> bool:
    """Tell whether no gradient passes a function wherever it gives exactly zero on `at`."""
    zeros = at[function(at) == 0]
    return not len(zeros) or not bool(slopes(function, zeros).any())


@unguarded
def all_zero(tensor: torch.Tensor) -> bool:
    """Tell whether every element of a tensor is zero; of one without elements, False."""
    plain = _plain(tensor)
    if not plain.numel() or bool((plain[(0,) * (plain.ndim - 1)] != 0).any()):
        return False  # one row is looked at before the whole
    return not bool((plain != 0).any())


@unguarded
def dead_share(tensor: torch.Tensor, *, unit_axis: int) -> float:
    """Return the share of units along `unit_axis` that are zero everywhere else."""
    tensor = _plain(tensor)
    if not tensor.ndim or not tensor.numel():
        return math.nan
    units = tensor.movedim(unit_axis, 0).reshape(tensor.shape[unit_axis], -1)
    return float((units == 0).all(dim=1).double().mean())


@unguarded
def twins(weight: torch.Tensor, gradient: torch.Tensor) -> float:
    """Return the share of output units that are copies of another and must stay so.

    Two units are twins if their weights are equal and so are the gradients of these: no
    step of an optimizer that treats elements alike can part them. Either of the first two
    axes may count the output units; the one with more twins is told.

    Args:
        weight: At least two axes.
        gradient: Of the same shape.

    Returns:
        A share: 0 if all are different, 1 if all are copies of one; 0 for a zero weight
        that no gradient reaches.
    """
    if not weight.any() and not gradient.any():
        return 0.0  # A zero weight behind a zero one gets its gradient a step later.
    return max(_twins_along(weight, gradient, axis) for axis in (0, 1))


def _twins_along(weight: torch.Tensor, gradient: torch.Tensor, axis: int) -> float:
    rows = _plain(weight).movedim(axis, 0).flatten(1)
    if len(rows) < _PAIR:
        return 0.0
    slopes_ = _plain(gradient).movedim(axis, 0).flatten(1)
    # Cheap first: the corner elements of twins are equal.
    keys = rows[:, :: max(1, rows.shape[1] // 4)][:, :8].to(torch.float64)
    _, group = torch.unique(keys, dim=0, return_inverse=True)
    order = torch.argsort(group, stable=True)
    left, right = order[:-1], order[1:]
    near = group[left] == group[right]
    left, right = left[near], right[near]
    if not len(left):
        return 0.0
    equal = (rows[left] == rows[right]).all(dim=1)
    left, right = left[equal], right[equal]
    difference = (slopes_[left] - slopes_[right]).abs()
    size = slopes_.abs().max()
    together = (difference <= 1e-5 * size).all(dim=1) if len(left) else equal[:0]
    return float(together.sum()) / (len(rows) - 1)
