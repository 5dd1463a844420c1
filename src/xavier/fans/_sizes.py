"""Sizes of kernels, strides and channels, and the checks on them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from xavier._errors import ShapeError

Sizes = int | Sequence[int]
"""One number for every spatial axis, or one for each."""


def whole(sizes: Sizes) -> tuple[int, ...]:
    """Return sizes as a tuple; a number is that of a single axis."""
    return (sizes,) if isinstance(sizes, int) else tuple(sizes)


def each(sizes: Sizes, rank: int) -> tuple[int, ...]:
    """Return one size for each axis; one number stands for all of them."""
    given = whole(sizes)
    if len(given) not in (1, rank):
        expected = "expected 1" if rank == 1 else f"expected 1 or {rank}"
        raise ShapeError(f"{given} has {len(given)} numbers, {expected}, as the kernel has")
    return given * rank if len(given) == 1 else given


def volumes(kernel: Sizes, stride: Sizes, dilation: Sizes) -> tuple[int, int]:
    """Return the volumes of kernel and stride, having checked all three."""
    window = whole(kernel)
    strides, dilations = each(stride, len(window)), each(dilation, len(window))
    for name, sizes in (("kernel", window), ("stride", strides), ("dilation", dilations)):
        if any(size < 1 for size in sizes):
            raise ShapeError(f"{name} is {sizes}, expected positive integers")
    return math.prod(window), math.prod(strides)


def require_positive(**sizes: int) -> None:
    """Raise unless every named size is positive."""
    for name, size in sizes.items():
        if size < 1:
            raise ShapeError(f"{name} is {size}, expected a positive integer")


def require_groups(c_in: int, c_out: int, groups: int) -> None:
    """Raise unless the groups divide both channel counts."""
    require_positive(c_in=c_in, c_out=c_out, groups=groups)
    if c_in % groups or c_out % groups:
        raise ShapeError(f"groups is {groups}, expected a divisor of c_in {c_in} and c_out {c_out}")
