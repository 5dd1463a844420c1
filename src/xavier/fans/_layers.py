"""Layers without spatial axes."""

from __future__ import annotations

from collections.abc import Sequence

from xavier._errors import ShapeError
from xavier._types.fans import Fans
from xavier.fans._frameworks import Convention, count_stored, jax_fans
from xavier.fans._sizes import require_positive


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
    require_positive(in_features=in_features, out_features=out_features)
    if convention == "xavier":
        return Fans(float(in_features), float(out_features))
    stored = (out_features, in_features) if convention == "torch" else (in_features, out_features)
    return count_stored(stored, convention)


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
    require_positive(rows=rows, width=width, bag=bag)
    if convention == "xavier":
        return Fans(float(bag), float(width))
    if convention == "jax":
        return jax_fans((rows, width), out_axis=0)
    return count_stored((rows, width), convention)


def recurrent(
    input_size: int,
    hidden_size: int,
    *,
    projection: int | None = None,
    gates: int = 1,
    convention: Convention = "xavier",
) -> tuple[Fans, Fans]:
    """Count the fans of one gate's two weights in an RNN, GRU or LSTM.

    `W_ih x` and `W_hh h` are added before the nonlinearity, so they share the unit variance:
    the `fan_in` of both is `input_size + hidden_size`. Each gate is a block of its own, so
    both `fan_out` are `hidden_size`.

    Args:
        input_size: Elements of the input x; with a bidirectional layer below, of both its
            directions.
        hidden_size: Elements of one gate.
        projection: Elements of the state h, where an LSTM projects it to another size.
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
    state = hidden_size if projection is None else projection
    sizes = {"input_size": input_size, "hidden_size": hidden_size, "projection": state}
    require_positive(**sizes, gates=gates)
    if convention == "xavier":
        both = Fans(float(input_size + state), float(hidden_size))
        return both, both
    stored = hidden_size if convention == "jax" else hidden_size * gates
    return (
        dense(input_size, stored, convention=convention),
        dense(state, stored, convention=convention),
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
    require_positive(count=count, in_features=in_features, out_features=out_features)
    if convention == "xavier":
        return dense(in_features, out_features * (count if shared_input else 1))
    return count_stored((count, in_features, out_features), convention)


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
    require_positive(**sizes, out_features=out_features)
    if convention == "xavier":
        return Fans(float(in_features * other_features), float(out_features * other_features))
    return count_stored((out_features, in_features, other_features), convention)
