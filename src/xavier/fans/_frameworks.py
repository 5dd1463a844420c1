"""The fans that the frameworks' own initializers read from a stored shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from xavier._errors import ShapeError, UnknownNameError
from xavier._types.fans import Fans

Convention = Literal["xavier", "torch", "keras", "jax"]
"""Whose count: ours, by use, or that of a framework's initializers, by stored shape."""

LEAST_AXES = 2
"""A weight with fewer axes has no input and output to tell apart."""

CONVENTIONS: tuple[Convention, ...] = ("xavier", "torch", "keras", "jax")


def count_stored(shape: Sequence[int], convention: Convention) -> Fans:
    """Count as the framework `convention` does, from the shape that it stores."""
    match convention:
        case "torch":
            return torch_fans(shape)
        case "keras":
            return keras_fans(shape)
        case "jax":
            return jax_fans(shape)
        case _:
            raise UnknownNameError("convention", str(convention), CONVENTIONS)


def torch_fans(shape: Sequence[int]) -> Fans:
    """Count as `torch.nn.init` does: axis 0 is the output, axis 1 the input, the rest a kernel.

    Args:
        shape: The stored shape; at least two axes.

    Returns:
        The fans.

    Raises:
        ShapeError: If there are fewer than two axes.

    Reference:
        PyTorch, `torch.nn.init._calculate_fan_in_and_fan_out`.
    """
    if len(shape) < LEAST_AXES:
        raise ShapeError(f"shape {tuple(shape)} has no fans in torch, expected at least 2 axes")
    volume = math.prod(shape[2:])
    return Fans(float(shape[1] * volume), float(shape[0] * volume))


def keras_fans(shape: Sequence[int]) -> Fans:
    """Count as Keras does: the last axis is the output, the one before the input.

    Args:
        shape: The stored shape; any number of axes.

    Returns:
        The fans; a vector's length counts as both, a scalar's as 1.

    Reference:
        Keras 3, `keras.initializers`, `compute_fans`.
    """
    if len(shape) < LEAST_AXES:
        size = float(math.prod(shape))
        return Fans(size, size)
    volume = math.prod(shape[:-2])
    return Fans(float(shape[-2] * volume), float(shape[-1] * volume))


def jax_fans(
    shape: Sequence[int],
    *,
    in_axis: int | Sequence[int] = -2,
    out_axis: int | Sequence[int] = -1,
    batch_axis: int | Sequence[int] = (),
) -> Fans:
    """Count as `jax.nn.initializers` does: every axis that is not named is the kernel's.

    Args:
        shape: The stored shape; at least two axes.
        in_axis: The axis or axes of the input.
        out_axis: The axis or axes of the output.
        batch_axis: The axis or axes that are left out, such as that of stacked experts.

    Returns:
        The fans.

    Raises:
        ShapeError: If there are fewer than two axes, or one of them has no elements.

    Reference:
        JAX, `jax.nn.initializers`, `_compute_fans`.
    """
    if len(shape) < LEAST_AXES or 0 in shape:
        expected = "at least 2 axes of positive size"
        raise ShapeError(f"shape {tuple(shape)} has no fans in jax, expected {expected}")
    inputs, outputs, batch = (_volume(shape, axis) for axis in (in_axis, out_axis, batch_axis))
    # The quotient may be a fraction: Flax's embeddings name one axis as input and output.
    volume = math.prod(shape) / inputs / outputs / batch
    return Fans(inputs * volume, outputs * volume)


def _volume(shape: Sequence[int], axis: int | Sequence[int]) -> int:
    axes = (axis,) if isinstance(axis, int) else axis
    return math.prod(shape[at] for at in axes)
