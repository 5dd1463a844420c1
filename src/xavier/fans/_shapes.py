"""Fans from a stored shape, and where the frameworks count otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from xavier._errors import ShapeError
from xavier._types.fans import Fans
from xavier.fans._convolutions import conv, conv_transpose
from xavier.fans._frameworks import LEAST_AXES, Convention, count_stored
from xavier.fans._layers import dense
from xavier.fans._sizes import Sizes


def of_shape(
    shape: Sequence[int],
    *,
    convention: Convention = "xavier",
    transposed: bool = False,
    stride: Sizes = 1,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Fans:
    """Count the fans of a dense or convolution kernel from its stored shape alone.

    `xavier` and `torch` read it as PyTorch stores it, (out, in / groups, *kernel) or, if
    transposed, (in, out / groups, *kernel). `keras` and `jax` read the channels-last
    (*kernel, in, out). The frameworks know no more than the shape, so the rest is ignored.

    Args:
        shape: The stored shape; at least two axes.
        convention: Whose count.
        transposed: Whether it is the kernel of a transposed convolution.
        stride: Strides.
        dilation: Dilations.
        groups: Groups.

    Returns:
        The fans.

    Raises:
        ShapeError: If the shape has too few axes, or an axis without elements.
        UnknownNameError: If there is no such convention.

    Example:
        >>> of_shape((128, 64, 3, 3), stride=2)
        Fans(fan_in=576.0, fan_out=288.0)
        >>> of_shape((3, 3, 64, 128), convention="keras")
        Fans(fan_in=576.0, fan_out=1152.0)
    """
    if convention != "xavier":
        return count_stored(shape, convention)
    if len(shape) < LEAST_AXES:
        raise ShapeError(f"shape {tuple(shape)} has no fans, expected at least 2 axes")
    first, second, *kernel = shape
    if not kernel:
        return dense(*((first, second) if transposed else (second, first)))
    count = conv_transpose if transposed else conv
    c_in, c_out = (first, second * groups) if transposed else (second * groups, first)
    return count(c_in, c_out, kernel, stride=stride, dilation=dilation, groups=groups)


def differs(
    fans: Fans, shape: Sequence[int], *, conventions: Iterable[Convention] = ("torch",)
) -> dict[str, tuple[float, float]]:
    """Return what the frameworks count for a stored weight, where it is not `fans`.

    Args:
        fans: The fans by use.
        shape: The weight's stored shape.
        conventions: The frameworks to ask; those that store it in that layout.

    Returns:
        `{framework: (fan_in, fan_out)}` for each that counts otherwise; a framework that
        has no count for such a shape is left out.

    Example:
        >>> differs(conv(64, 128, (3, 3), stride=2), (128, 64, 3, 3))
        {'torch': (576.0, 1152.0)}
        >>> differs(dense(64, 128), (128, 64))
        {}
    """
    found: dict[str, tuple[float, float]] = {}
    for convention in conventions:
        try:
            theirs = count_stored(shape, convention)
        except ShapeError:
            continue
        if theirs != fans:
            found[convention] = (theirs.fan_in, theirs.fan_out)
    return found
