"""Fans: how many products a weight puts into an output, and an input puts into the outputs.

One definition serves every layer. `fan_in` is the number of products that are summed into
one output element; `fan_out` is the number of products that one input element enters. Both
are counted in the interior (padding is ignored) and averaged over one stride period.

With inputs of mean square 1, weights of mean 0 and variance `1 / fan_in` give outputs of
variance 1; with output gradients of mean square 1, weights of variance `1 / fan_out` give
input gradients of variance 1.

Each layer function also takes `convention="torch" | "keras" | "jax"`, which gives the
numbers that the framework's own initializers use for that layer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

from xavier._errors import ShapeError, UnknownNameError
from xavier._framework_fans import jax_fans, keras_fans, torch_fans
from xavier._types.fans import Fans

__all__ = [
    "CONVENTIONS",
    "Convention",
    "Fans",
    "bilinear",
    "conv",
    "conv_transpose",
    "dense",
    "differs",
    "embedding",
    "experts",
    "is_uneven",
    "jax_fans",
    "keras_fans",
    "of_shape",
    "packed",
    "recurrent",
    "torch_fans",
]

Convention = Literal["xavier", "torch", "keras", "jax"]
CONVENTIONS: tuple[Convention, ...] = ("xavier", "torch", "keras", "jax")

_FRAMEWORKS = {"torch": torch_fans, "keras": keras_fans, "jax": jax_fans}

Sizes = int | Sequence[int]
"""One number for every spatial axis, or one for each."""


def dense(in_features: int, out_features: int, *, convention: Convention = "xavier") -> Fans:
    """Count the fans of a dense layer: its inputs and its outputs.

    Args:
        in_features: Elements of one input vector.
        out_features: Elements of one output vector.
        convention: Whose count; all agree on a dense layer.

    Returns:
        The fans.

    Example:
        >>> dense(784, 300)
        Fans(fan_in=784.0, fan_out=300.0)
    """
    _require_positive(in_features=in_features, out_features=out_features)
    if convention == "xavier":
        return Fans(float(in_features), float(out_features))
    stored = (out_features, in_features) if convention == "torch" else (in_features, out_features)
    return of_shape(stored, convention=convention)


def conv(
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
    volume, strides = _volumes(kernel, stride, dilation)
    _require_groups(c_in, c_out, groups)
    if convention == "xavier":
        return Fans(c_in / groups * volume, c_out / groups * volume / strides)
    window = _tuple(kernel)
    torch_shape, channels_last = (c_out, c_in // groups, *window), (*window, c_in // groups, c_out)
    return of_shape(torch_shape if convention == "torch" else channels_last, convention=convention)


def conv_transpose(
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
    volume, strides = _volumes(kernel, stride, dilation)
    _require_groups(c_in, c_out, groups)
    if convention == "xavier":
        return Fans(c_in / groups * volume / strides, c_out / groups * volume)
    window = _tuple(kernel)
    stored = {
        "torch": (c_in, c_out // groups, *window),
        "keras": (*window, c_out, c_in // groups),
        "jax": (*window, c_in // groups, c_out),
    }
    return of_shape(stored.get(convention, ()), convention=convention)


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
    _volumes(kernel, stride, dilation)
    rank = len(_tuple(kernel))
    axes = zip(_tuple(kernel), _each(stride, rank), _each(dilation, rank), strict=True)
    return any(k % s != 0 or math.gcd(s, d) > 1 for k, s, d in axes)


def embedding(rows: int, width: int, *, bag: int = 1, convention: Convention = "xavier") -> Fans:
    """Count the fans of a lookup table: one row is read, so `fan_in` is 1.

    A lookup is a product with a one-hot vector. All but one of its products are zero, and
    are not counted.

    Args:
        rows: Rows of the table.
        width: Elements of one row.
        bag: Rows summed into one output, for a bag of embeddings in `sum` mode.
        convention: Whose count. PyTorch and Keras read the table as a dense kernel; `jax`
            is Flax's `Embed`, which scales by the width.

    Returns:
        The fans.

    Example:
        >>> embedding(50257, 768)
        Fans(fan_in=1.0, fan_out=768.0)
    """
    _require_positive(rows=rows, width=width, bag=bag)
    if convention == "xavier":
        return Fans(float(bag), float(width))
    if convention == "jax":
        return jax_fans((rows, width), out_axis=0)
    return of_shape((rows, width), convention=convention)


def recurrent(
    input_size: int, hidden_size: int, *, gates: int = 1, convention: Convention = "xavier"
) -> tuple[Fans, Fans]:
    """Count the fans of one gate's two weights in an RNN, GRU or LSTM.

    `W_ih x` and `W_hh h` are added before the nonlinearity, so they share the unit variance:
    the `fan_in` of both is `input_size + hidden_size`. Each gate is a block of its own, so
    both `fan_out` are `hidden_size`.

    Args:
        input_size: Elements of the input x; with a bidirectional layer below, of both its
            directions.
        hidden_size: Elements of the state that comes back: the projected one, if any.
        gates: Blocks packed into each stored weight: 1 for an RNN, 3 for a GRU, 4 for an
            LSTM. Only the frameworks' counts depend on it.
        convention: Whose count. Each framework takes the two weights apart; PyTorch and
            Keras count all gates as outputs, Flax has a weight for each.

    Returns:
        The fans of a block of `W_ih`, and of a block of `W_hh`.

    Example:
        >>> recurrent(128, 256, gates=4)
        (Fans(fan_in=384.0, fan_out=256.0), Fans(fan_in=384.0, fan_out=256.0))
        >>> recurrent(128, 256, gates=4, convention="torch")
        (Fans(fan_in=128.0, fan_out=1024.0), Fans(fan_in=256.0, fan_out=1024.0))

    Note:
        A GRU's candidate is `tanh(W_in x + r * (W_hn h))`: the reset gate multiplies the
        second addend before the sum. That changes the size of its products and not their
        number, so the fans are the same; the gate's mean square, `E[r**2]`, 0.29 at
        `r = sigmoid(N(0, 1))`, is part of the power that feeds `W_hn`. Left out, the
        candidate's variance is `(input_size + 0.29 hidden_size) / (input_size + hidden_size)`.
    """
    _require_positive(input_size=input_size, hidden_size=hidden_size, gates=gates)
    if convention == "xavier":
        both = Fans(float(input_size + hidden_size), float(hidden_size))
        return both, both
    stored = hidden_size if convention == "jax" else hidden_size * gates
    return (
        dense(input_size, stored, convention=convention),
        dense(hidden_size, stored, convention=convention),
    )


def packed(
    in_features: int, blocks: Sequence[int], *, convention: Convention = "xavier"
) -> tuple[Fans, ...]:
    """Count the fans of several dense layers that are stored as one: QKV, GQA, gate and up.

    By convention each block has its own fans, as if it were a separate weight.

    Args:
        in_features: Elements of one input vector.
        blocks: Outputs of each block, such as `(768, 768, 768)` or, with grouped queries,
            `(4096, 1024, 1024)`.
        convention: Whose count. The frameworks see one dense kernel.

    Returns:
        The fans of each block.

    Example:
        >>> packed(4096, (4096, 1024, 1024))[1]
        Fans(fan_in=4096.0, fan_out=1024.0)
    """
    if not blocks:
        raise ShapeError("blocks is empty, expected the outputs of at least one block")
    if convention == "xavier":
        return tuple(dense(in_features, block) for block in blocks)
    return (dense(in_features, sum(blocks), convention=convention),) * len(blocks)


def experts(
    count: int,
    in_features: int,
    out_features: int,
    *,
    shared_input: bool = False,
    convention: Convention = "xavier",
) -> Fans:
    """Count the fans of stacked expert weights, stored (count, in_features, out_features).

    An axis that is batched in the contraction itself is no fan: each expert is a dense
    layer of its own. If instead every input enters every expert in one contraction
    (`einsum("bd,edh->beh")`), the expert axis is one more kept axis and is counted.

    Args:
        count: Number of experts.
        in_features: Elements of one input vector.
        out_features: Elements of one expert's output vector.
        shared_input: Whether one contraction gives the same input to all experts.
        convention: Whose count. The frameworks take the expert axis for a kernel's (JAX has
            `batch_axis` to tell it; see `jax_fans`).

    Returns:
        The fans.

    Example:
        >>> experts(8, 512, 2048)
        Fans(fan_in=512.0, fan_out=2048.0)
        >>> experts(8, 512, 2048, convention="torch")
        Fans(fan_in=1048576.0, fan_out=16384.0)
    """
    _require_positive(count=count, in_features=in_features, out_features=out_features)
    if convention == "xavier":
        return dense(in_features, out_features * (count if shared_input else 1))
    return of_shape((count, in_features, out_features), convention=convention)


def bilinear(
    in_features: int, other_features: int, out_features: int, *, convention: Convention = "xavier"
) -> Fans:
    """Count the fans of a bilinear layer, seen from the input of `in_features` elements.

    Args:
        in_features: Elements of the input that is looked at.
        other_features: Elements of the other input.
        out_features: Elements of the output.
        convention: Whose count.

    Returns:
        The fans; those seen from the other input have the same `fan_in`.

    Example:
        >>> bilinear(8, 5, 3)
        Fans(fan_in=40.0, fan_out=15.0)
    """
    sizes = {"in_features": in_features, "other_features": other_features}
    _require_positive(**sizes, out_features=out_features)
    if convention == "xavier":
        return Fans(float(in_features * other_features), float(out_features * other_features))
    return of_shape((out_features, in_features, other_features), convention=convention)


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
    if convention in _FRAMEWORKS:
        return _FRAMEWORKS[convention](shape)
    if convention != "xavier":
        raise UnknownNameError("convention", str(convention), CONVENTIONS)
    if len(shape) < 2:
        raise ShapeError(f"shape {tuple(shape)} has no fans, expected at least 2 axes")
    first, second, *kernel = shape
    if not kernel:
        return dense(*((first, second) if transposed else (second, first)))
    options = {"stride": stride, "dilation": dilation, "groups": groups}
    if transposed:
        return conv_transpose(first, second * groups, kernel, **options)
    return conv(second * groups, first, kernel, **options)


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
            theirs = of_shape(shape, convention=convention)
        except ShapeError:
            continue
        if theirs != fans:
            found[convention] = (theirs.fan_in, theirs.fan_out)
    return found


def _tuple(sizes: Sizes) -> tuple[int, ...]:
    return (sizes,) if isinstance(sizes, int) else tuple(sizes)


def _each(sizes: Sizes, rank: int) -> tuple[int, ...]:
    """Return one size for each axis; one number stands for all of them."""
    each = _tuple(sizes)
    if len(each) not in (1, rank):
        raise ShapeError(f"{each} has {len(each)} numbers, expected 1 or {rank}, as the kernel has")
    return each * rank if len(each) == 1 else each


def _volumes(kernel: Sizes, stride: Sizes, dilation: Sizes) -> tuple[int, int]:
    """Return the volumes of kernel and stride, having checked all three."""
    window = _tuple(kernel)
    strides, dilations = _each(stride, len(window)), _each(dilation, len(window))
    for name, sizes in (("kernel", window), ("stride", strides), ("dilation", dilations)):
        if any(size < 1 for size in sizes):
            raise ShapeError(f"{name} is {sizes}, expected positive integers")
    return math.prod(window), math.prod(strides)


def _require_positive(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ShapeError(f"{name} is {size}, expected a positive integer")


def _require_groups(c_in: int, c_out: int, groups: int) -> None:
    _require_positive(c_in=c_in, c_out=c_out, groups=groups)
    if c_in % groups or c_out % groups:
        raise ShapeError(f"groups is {groups}, expected a divisor of c_in {c_in} and c_out {c_out}")
