"""Which weights a contraction, convolution or lookup reads, and with what fans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch

from xavier import fans
from xavier._types.flow import WeightUse
from xavier._types.plan import Region
from xavier.frameworks.torch._weight_maps import AddressSpace, LostAxesError, Piece, WeightMap


@dataclass(frozen=True)
class Reading:
    """How an op reads one tensor of weights.

    Attributes:
        weights: The tensor's map.
        contracted: Its axes that are summed over.
        kept: Its axes that stay in the output.
        batched: Its axes that are batched in the op.
        fan_in: Products summed into one output element.
        fan_out: Products that one input element enters.
        output_axis: The output's axis on which the kept axes lie; None if not one.
    """

    weights: WeightMap
    contracted: tuple[int, ...]
    kept: tuple[int, ...]
    batched: tuple[int, ...]
    fan_in: float
    fan_out: float
    output_axis: int | None


def product_reading(
    weights: WeightMap, other: torch.Tensor, labels: tuple[str, str, str]
) -> Reading:
    """Read a matrix product; `labels` are those of the weights, the other factor, the result."""
    mine, others, out = labels
    contracted = tuple(at for at, axis in enumerate(mine) if axis in others and axis not in out)
    kept = tuple(at for at, axis in enumerate(mine) if axis not in others and axis in out)
    batched = tuple(at for at in range(len(mine)) if at not in contracted and at not in kept)
    shape = weights.stand_in.shape
    axis = out.index(mine[kept[0]]) if len(kept) == 1 else None
    return Reading(
        weights,
        contracted,
        kept,
        batched,
        float(prod(shape[at] for at in contracted)),
        float(prod(shape[at] for at in kept)),
        axis,
    )


def convolution_reading(
    weights: WeightMap,
    stride: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,  # noqa: FBT001 - ATen's own argument
    groups: int,
) -> Reading:
    """Read a convolution's kernel, stored (out, in/groups, …) or, transposed, (in, out/groups, …)."""
    shape = tuple(weights.stand_in.shape)
    count = fans.conv_transpose if transposed else fans.conv
    c_in, c_out = (shape[0], shape[1] * groups) if transposed else (shape[1] * groups, shape[0])
    found = count(c_in, c_out, shape[2:], stride=stride, dilation=dilation, groups=groups)
    space = tuple(range(2, len(shape)))
    contracted, kept = ((0, *space), (1,)) if transposed else ((1, *space), (0,))
    axis = None if transposed and groups > 1 else 1
    return Reading(weights, contracted, kept, (), found.fan_in, found.fan_out, axis)


def lookup_reading(weights: WeightMap) -> Reading:
    """Read rows of a table: one row is summed, and one row's element enters one product."""
    width = prod(weights.stand_in.shape[1:])
    kept = tuple(range(1, weights.stand_in.dim()))
    return Reading(weights, (), kept, (0,), 1.0, float(width), None)


def uses(reading: Reading, space: AddressSpace) -> tuple[list[WeightUse], list[Piece], list[str]]:
    """Return the regions of parameters that a reading covers, and what could not be told.

    The second list holds, for each use, where its elements lie; the third the names of
    parameters whose axes were lost.
    """
    found: list[WeightUse] = []
    pieces: list[Piece] = []
    lost: list[str] = []
    try:
        candidates = space.pieces(reading.weights)
    except LostAxesError:
        return [], [], list(space.names(reading.weights))
    for piece in candidates:
        region = piece.region()
        if region is None:
            lost.append(piece.name)
            region = Region()
        found.append(
            WeightUse(
                parameter=piece.name,
                region=region,
                fan_in=reading.fan_in,
                fan_out=reading.fan_out,
                scale=reading.weights.scale,
                contracted=piece.axes(reading.contracted),
                kept=piece.axes(reading.kept),
                batched=piece.axes(reading.batched),
            )
        )
        pieces.append(piece)
    return found, pieces, lost
