"""How many directions a tensor's rows span in effect."""

from __future__ import annotations

import torch

from xavier.frameworks.torch._moments import SAMPLE, plain, unguarded

_UNITS = 128
_MATRIX = 2


@unguarded
def effective_rank(tensor: torch.Tensor, *, unit_axis: int = -1) -> float | None:
    """Return the effective rank of a tensor as a matrix: inputs and positions by units.

    The exponential of the entropy of its singular values, each as a share of their sum: 1 where
    all rows are multiples of one, and at the most the smaller of its sides.

    Args:
        tensor: Of two axes or more.
        unit_axis: The axis that counts units.

    Returns:
        The rank of at most 128 units on as many rows as make 8,192 elements, both evenly spaced;
        None of a vector, of zeros, and of what is not finite.

    Reference:
        Roy and Vetterli, "The effective rank: a measure of effective dimensionality", 2007.
    """
    tensor = plain(tensor)
    if tensor.ndim < _MATRIX or not tensor.numel():
        return None
    rows = tensor.movedim(unit_axis, -1).flatten(0, -2)
    units = rows[:, :: -(-rows.shape[1] // _UNITS)]
    step = max(1, -(-units.numel() // SAMPLE))
    picked = units[::step].to("cpu", torch.float64)
    if not bool(picked.isfinite().all()) or not bool(picked.any()):
        return None
    found = torch.linalg.svdvals(picked)
    shares = found / found.sum()
    return float(torch.special.entr(shares).sum().exp())
