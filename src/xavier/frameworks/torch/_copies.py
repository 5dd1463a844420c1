"""Units that are copies of each other, in weight and gradient, and so stay it."""

from __future__ import annotations

import numpy as np
import torch

from xavier.frameworks.torch._moments import all_zero, plain, unguarded

_PAIR = 2


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
    if not weight.numel() or (all_zero(weight) and all_zero(gradient)):
        return 0.0  # A zero weight behind a zero one gets its gradient a step later.
    return max(_twins_along(weight, gradient, axis) for axis in (0, 1))


def _twins_along(weight: torch.Tensor, gradient: torch.Tensor, axis: int) -> float:
    rows = plain(weight).movedim(axis, 0)
    near = _alike(rows)
    if not len(near):
        return 0.0
    slopes_ = plain(gradient).movedim(axis, 0)
    left, right = _pairs(rows[near].flatten(1))
    if not len(left):
        return 0.0
    size = slopes_.abs().max()
    pushed = slopes_[near].flatten(1)
    together = ((pushed[left] - pushed[right]).abs() <= 1e-5 * size).all(dim=1)
    return float(together.sum()) / (len(rows) - 1)


def _alike(rows: torch.Tensor) -> torch.Tensor:
    """Return the places of the rows whose first element is another one's, too."""
    first = rows[(slice(None), *(0,) * (rows.ndim - 1))].to("cpu", torch.float64).numpy()
    ordered = np.sort(first)
    same = ordered[1:] == ordered[:-1]
    if not same.any():
        return torch.empty(0, dtype=torch.int64)
    order = np.argsort(first, kind="stable")
    either = np.append(same, [False]) | np.append([False], same)
    return torch.from_numpy(np.sort(order[either])).to(rows.device)


def _pairs(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the places of rows that are equal, pair by pair."""
    # Cheap first: a few elements of twins are equal.
    keys = rows[:, :: max(1, rows.shape[1] // 4)][:, :8].to(torch.float64)
    _, group = torch.unique(keys, dim=0, return_inverse=True)
    order = torch.argsort(group, stable=True)
    left, right = order[:-1], order[1:]
    near = group[left] == group[right]
    left, right = left[near], right[near]
    equal = (rows[left] == rows[right]).all(dim=1)
    return left[equal], right[equal]
