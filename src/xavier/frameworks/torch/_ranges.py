"""Would a tensor's numbers fit a narrower dtype? And what Adam makes of a gradient.

Both look at 1,024 elements at most: to fetch more from memory costs more than the rest.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from xavier._types.signal import Reach, Reaches
from xavier.frameworks.torch._moments import sample, unguarded

_EPSILON: Final = 1e-8  # of Adam, by default
_SAMPLE: Final = 1024


def _ends(kind: torch.dtype, bits: int) -> tuple[float, float]:
    """Return what is at most rounded to zero, and at least to infinity, of a dtype.

    To nearest even: half of the smallest number becomes zero, half a step past the largest one
    infinity.
    """
    limits = torch.finfo(kind)
    least = limits.smallest_normal * 2.0**-bits / 2
    return least, limits.max * (1 + 2.0 ** -(bits + 2) / (1 - 2.0 ** -(bits + 1)))


_ENDS: Final = {torch.float16: _ends(torch.float16, 10), torch.bfloat16: _ends(torch.bfloat16, 7)}


@unguarded
def reaches(tensor: torch.Tensor) -> Reaches | None:
    """Return which shares of a tensor's elements float16 and bfloat16 would lose.

    Args:
        tensor: Floating or complex; elements that are zero or not finite are lost to no dtype.

    Returns:
        Shares of all sampled elements; None of a tensor without elements.
    """
    return _reaches(_sizes(tensor))


@unguarded
def of_gradient(gradient: torch.Tensor) -> tuple[Reaches | None, float, float]:
    """Return what `reaches` does, and what Adam makes of a gradient in its first step.

    After bias correction both of Adam's averages are the gradient's own, so that its first step at
    learning rate 1 is `g / (|g| + epsilon)`: 1 per element wherever `|g|` is far above epsilon,
    by default 1e-8.

    Args:
        gradient: Of a parameter.

    Returns:
        The reaches, the step's RMS, and the share of the elements that are not zero and smaller
        than epsilon; the latter two nan for a gradient without an element, or with one that is
        not finite.

    Reference:
        Kingma and Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1.
    """
    sizes = _sizes(gradient)
    if not len(sizes) or not np.isfinite(sizes).all():
        return _reaches(sizes), math.nan, math.nan
    step = sizes / (sizes + _EPSILON)
    below = np.count_nonzero((sizes < _EPSILON) & (sizes > 0)) / len(sizes)
    return _reaches(sizes), float(np.sqrt(np.mean(step * step))), below


def _sizes(tensor: torch.Tensor) -> NDArray[np.float64]:
    return np.abs(sample(tensor, limit=_SAMPLE).numpy())


def _reaches(sizes: NDArray[np.float64]) -> Reaches | None:
    if not len(sizes):
        return None
    return Reaches(_reach(sizes, torch.float16), _reach(sizes, torch.bfloat16))


def _reach(sizes: NDArray[np.float64], kind: torch.dtype) -> Reach:
    least, most = _ENDS[kind]
    under = np.count_nonzero((sizes <= least) & (sizes > 0))
    over = np.count_nonzero((sizes >= most) & (sizes < math.inf))
    return Reach(under / len(sizes), over / len(sizes))
