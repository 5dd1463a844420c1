"""Convolutions of any rank, and their transposes."""

from __future__ import annotations

import math

from xavier._types.fans import Fans
from xavier.fans._frameworks import Convention, count_stored
from xavier.fans._sizes import Sizes, each, require_groups, volumes, whole


def conv(  # noqa: PLR0913 - as many as the layer itself has
    c_in: int,
    c_out: int,
    kernel: Sizes,
    *,
    stride: Sizes = 1,
    dilation: Sizes = 1,
    groups: int = 1,
    convention: Convention = "xavier",
) -> Fans:
    """Count the fans of a convolution of any rank.

    With kernel volume `k` and stride volume `s`, `fan_in = c_in / groups * k` and
    `fan_out = c_out / groups * k / s`: a stride lets an input element enter only every
    s-th output. Where the stride does not divide the kernel, or shares a factor with the
    dilation, some inputs enter more products than others (see `is_uneven`) and the count is
    the mean over one stride period. Dilation itself changes no count.

    Args:
        c_in: Channels of the input, over all groups.
        c_out: Channels of the output, over all groups.
        kernel: Sizes of the kernel, one for each spatial axis; a number for a rank of 1.
        stride: Strides.
        dilation: Dilations; they change how evenly inputs are used, not the mean count.
        groups: Groups; both channel counts must divide by it.
        convention: Whose count. The frameworks ignore the stride, and count the outputs of
            all groups.

    Returns:
        The fans.

    Raises:
        ShapeError: If a size is not positive, or the groups do not divide the channels.

    Example:
        >>> conv(64, 128, (3, 3), stride=2, groups=4)
        Fans(fan_in=144.0, fan_out=72.0)
        >>> conv(64, 128, (3, 3), stride=2, groups=4, convention="torch")
        Fans(fan_in=144.0, fan_out=1152.0)
    """
    volume, strides = volumes(kernel, stride, dilation)
    require_groups(c_in, c_out, groups)
    if convention == "xavier":
        return Fans(c_in / groups * volume, c_out / groups * volume / strides)
    window = whole(kernel)
    stored = (
        (c_out, c_in // groups, *window)
        if convention == "torch"
        else (*window, c_in // groups, c_out)
    )
    return count_stored(stored, convention)


def conv_transpose(  # noqa: PLR0913 - as above
    c_in: int,
    c_out: int,
    kernel: Sizes,
    *,
    stride: Sizes = 1,
    dilation: Sizes = 1,
    groups: int = 1,
    convention: Convention = "xavier",
) -> Fans:
    """Count the fans of a transposed convolution of any rank.

    It is a convolution run backwards, so the stride thins what is summed:
    `fan_in = c_in / groups * k / s` and `fan_out = c_out / groups * k`. Where the count varies
    inside the stride period (see `is_uneven`) the outputs' variance does too: the
    checkerboard pattern.

    Args:
        c_in: Channels of the input, over all groups.
        c_out: Channels of the output, over all groups.
        kernel: Sizes of the kernel, one for each spatial axis; a number for a rank of 1.
        stride: Strides.
        dilation: Dilations.
        groups: Groups; both channel counts must divide by it.
        convention: Whose count. PyTorch and Keras store the kernel as the convolution that it
            is the transpose of, so their fans are swapped, and they ignore the stride.

    Returns:
        The fans.

    Raises:
        ShapeError: If a size is not positive, or the groups do not divide the channels.

    Example:
        >>> conv_transpose(64, 32, (4, 4), stride=2)
        Fans(fan_in=256.0, fan_out=512.0)
        >>> conv_transpose(64, 32, (4, 4), stride=2, convention="torch")
        Fans(fan_in=512.0, fan_out=1024.0)

    Reference:
        Odena, Dumoulin and Olah, "Deconvolution and Checkerboard Artifacts", 2016.
    """
    volume, strides = volumes(kernel, stride, dilation)
    require_groups(c_in, c_out, groups)
    if convention == "xavier":
        return Fans(c_in / groups * volume / strides, c_out / groups * volume)
    window = whole(kernel)
    stored = {
        "torch": (c_in, c_out // groups, *window),
        "keras": (*window, c_out, c_in // groups),
        "jax": (*window, c_in // groups, c_out),
    }
    return count_stored(stored.get(convention, ()), convention)


def is_uneven(kernel: Sizes, *, stride: Sizes = 1, dilation: Sizes = 1) -> bool:
    """Tell whether counts vary inside one stride period, so that a fan is only their mean.

    Tap t of a kernel reaches position `dilation * t` modulo the stride, and the taps reach
    all positions equally often only if the stride divides the kernel and shares no factor
    with the dilation.

    Args:
        kernel: Sizes of the kernel, one for each spatial axis.
        stride: Strides.
        dilation: Dilations.

    Returns:
        True if, on some axis, the taps do not spread evenly.

    Example:
        >>> is_uneven((3, 3), stride=2), is_uneven((4, 4), stride=2)
        (True, False)
    """
    volumes(kernel, stride, dilation)
    rank = len(whole(kernel))
    axes = zip(whole(kernel), each(stride, rank), each(dilation, rank), strict=True)
    return any(k % s != 0 or math.gcd(s, d) > 1 for k, s, d in axes)
