"""Would a tensor's numbers fit a narrower dtype? And what Adam makes of a gradient.

Both look at 8,192 elements at most.
"""

from __future__ import annotations

import math
from typing import Final

import torch

from xavier._types.signal import Reach, Reaches
from xavier.frameworks.torch._moments import sample, unguarded

_BITS: Final = {torch.float16: 10, torch.bfloat16: 7}  # of the fraction
_EPSILON: Final = 1e-8  # of Adam, by default


@unguarded
def reaches(tensor: torch.Tensor) -> Reaches | None:
    """Return which shares of a tensor's elements float16 and bfloat16 would lose.

    Args:
        tensor: Floating or complex; elements that are zero or not finite are lost to no dtype.

    Returns:
        Shares of all sampled elements; None of a tensor without elements.
    """
    return _reaches(sample(tensor).abs_())


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
    sizes = sample(gradient).abs_()
    if not len(sizes) or not bool(torch.isfinite(sizes).all()):
        return _reaches(sizes), math.nan, math.nan
    step = sizes / (sizes + _EPSILON)
    below = (sizes < _EPSILON) & (sizes > 0)
    return _reaches(sizes), float(step.square().mean().sqrt()), float(below.double().mean())


def _reaches(sizes: torch.Tensor) -> Reaches | None:
    if not len(sizes):
        return None
    return Reaches(_reach(sizes, torch.float16), _reach(sizes, torch.bfloat16))


def _reach(sizes: torch.Tensor, kind: torch.dtype) -> Reach:
    limits, bits = torch.finfo(kind), _BITS[kind]
    # To nearest even: half of the smallest number becomes zero, half a step past the largest
    # infinity.
    least = limits.smallest_normal * 2.0**-bits / 2
    most = limits.max * (1 + 2.0 ** -(bits + 2) / (1 - 2.0 ** -(bits + 1)))
    under = (sizes <= least) & (sizes > 0)
    over = (sizes >= most) & (sizes < math.inf)
    return Reach(float(under.double().mean()), float(over.double().mean()))
