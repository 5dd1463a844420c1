"""Which weights a contraction, convolution or lookup reads, and with what fans."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

import torch

from xavier import fans
from xavier._types.flow import OpKind, WeightUse
from xavier._types.plan import Region
from xavier.frameworks.torch._calls import Call, is_tensor
from xavier.frameworks.torch._op_kinds import PRODUCTS, kind_of
from xavier.frameworks.torch._trees import tensors_of
from xavier.frameworks.torch._weight_maps import AddressSpace, LostAxesError, Piece, WeightMap
from xavier.frameworks.torch._weights_followed import FollowedWeights


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
        data: What it multiplies the weights by; empty for a lookup.
    """

    weights: WeightMap
    contracted: tuple[int, ...]
    kept: tuple[int, ...]
    batched: tuple[int, ...]
    fan_in: float
    fan_out: float
    output_axis: int | None
    data: tuple[torch.Tensor, ...] = ()


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
        (other,),
    )


def convolution_reading(
    weights: WeightMap,
    stride: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,  # noqa: FBT001 - ATen's own argument
    groups: int,
) -> Reading:
    """Read a convolution's kernel, stored (out, in/groups, …); transposed, (in, out/groups, …)."""
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


def reading_of(
    call: Call, weights: FollowedWeights, by_input: Callable[[torch.Tensor], bool]
) -> Reading | None:
    """Return how an op reads weights, if it is a contraction or lookup that does.

    Args:
        call: The op.
        weights: The tensors that hold weights.
        by_input: Whether a tensor depends on the model's input.
    """
    name, args = call.name, call.args
    if name in PRODUCTS:
        start, left, right, out = PRODUCTS[name]
        a, b = args[start], args[start + 1]
        for mine, other, labels in ((b, a, (right, left, out)), (a, b, (left, right, out))):
            found = weights.map_of(mine)
            # A layer may be applied to a table or token that is itself a parameter.
            applied = mine is b and weights.is_layer(mine) and not weights.is_layer(other)
            if found is not None and (applied or other not in weights):
                return product_reading(found, other, labels)
        return None
    if name == "convolution" and (found := weights.map_of(args[1])) is not None:
        data, _, _, stride, _, dilation, transposed, _, groups = args[:9]
        reading = convolution_reading(found, stride, dilation, transposed, groups)
        return replace(reading, data=(data,))
    if name == "_trilinear" and (found := weights.map_of(args[1])) is not None:
        return _bilinear_reading(found, (args[0], args[2]))
    if not is_tensor(args[0]) or (found := weights.map_of(args[0])) is None:
        return None
    if kind_of(call.func) is OpKind.LOOKUP or _selects_rows(call, by_input):
        return lookup_reading(found)
    return None


def addend(call: Call) -> torch.Tensor | None:
    """Return what a contraction adds to its products: a bias, or a residual stream."""
    if call.name == "convolution":
        return call.args[2]
    return call.args[0] if call.name in PRODUCTS and PRODUCTS[call.name][0] == 1 else None


def steps(call: Call) -> dict[str, float]:
    """Return what a convolution that is not transposed does at its borders, and how it steps.

    The volume of its stride, and which share of an interior element's products one has on average:
    the rest would read the padding.
    """
    if call.name != "convolution" or call.args[6]:
        return {}
    data, kernel, _, *settings = call.args[:6]
    sizes = kernel.shape[2:]
    each_axis = (given if len(given) > 1 else given * len(sizes) for given in map(list, settings))
    axes = zip(data.shape[-len(sizes) :], sizes, *each_axis, strict=True)
    return {"stride": prod(settings[0]), "inside": prod(_inside(*axis) for axis in axes)}


def _inside(size: int, kernel: int, stride: int, padding: int, dilation: int) -> float:
    """Return which share of a convolution's reads along one axis meets the data."""
    starts = range(-padding, size + padding - dilation * (kernel - 1), stride)
    met = 0
    for start in starts:
        first, after = (-(begin // dilation) for begin in (start, start - size))
        met += max(min(kernel, after) - max(0, first), 0)
    return met / (kernel * len(starts)) if starts else 1.0


def _selects_rows(call: Call, by_input: Callable[[torch.Tensor], bool]) -> bool:
    """Tell whether an op takes rows of a table by indices that depend on the input."""
    first_only = (call.name == "index" and len(call.args[1]) == 1) or (
        call.name == "index_select" and call.args[1] == 0
    )
    return first_only and any(map(by_input, tensors_of(call.args[1:])))


def _bilinear_reading(weights: WeightMap, data: tuple[torch.Tensor, ...]) -> Reading:
    out, left, right = weights.stand_in.shape[-3:]
    dims = weights.stand_in.dim()
    contracted, kept = (dims - 2, dims - 1), (dims - 3,)
    return Reading(weights, contracted, kept, (), left * right, out * right, None, data)


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
