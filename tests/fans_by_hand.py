"""Layers of every kind: their fans derived by hand, and how each is run by itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional

from xavier import fans
from xavier.fans import Fans

Index = tuple[slice | type(Ellipsis), ...]
EVERYWHERE: Index = (...,)


@dataclass(frozen=True)
class Experiment:
    """A layer to run: the weights to draw, the input to feed, and where to look."""

    weights: tuple[Tensor, ...]
    forward: Callable[[Tensor], Tensor]
    inputs: Callable[[], Tensor]
    inside_x: Index = EVERYWHERE
    inside_y: Index = EVERYWHERE

    def run(self, variance: float) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            for weight in self.weights:
                weight.normal_(std=math.sqrt(variance))
        x = self.inputs().requires_grad_()
        return x, self.forward(x)

    def output_moment(self, variance: float) -> float:
        _, y = self.run(variance)
        return float(y[self.inside_y].detach().square().mean())

    def gradient_moment(self, variance: float) -> float:
        x, y = self.run(variance)
        (gradient,) = torch.autograd.grad(y, x, torch.randn_like(y))
        return float(gradient[self.inside_x].square().mean())


def gaussian(*shape: int, dtype: torch.dtype = torch.float32) -> Callable[[], Tensor]:
    return lambda: torch.randn(shape, dtype=dtype)


def dense(layer: nn.Linear, *batch: int, block: slice = slice(None)) -> Experiment:
    shape = (*(batch or (64,)), layer.in_features)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return Experiment((layer.weight,), lambda x: layer(x)[..., block], gaussian(*shape))


def function(weight: Tensor, forward: Callable[[Tensor, Tensor], Tensor], *shape: int):
    return Experiment((weight,), lambda x: forward(x, weight), gaussian(*shape))


def convolution(layer: nn.Module) -> Experiment:
    """Crop what a border can reach, and keep a whole number of stride periods.

    On the finer side of the layer a border reaches over the whole kernel; on the coarser side,
    over the elements whose windows hold padding.
    """
    rank = len(layer.kernel_size)
    size = {1: 48, 2: 24, 3: 14}[rank]
    options = (layer.kernel_size, layer.stride, layer.dilation, layer.padding)
    axes = list(zip(*options, strict=True))
    fine = [((kernel - 1) * dilation + stride, stride) for kernel, stride, dilation, _ in axes]
    coarse = [(-(-padding // stride), 1) for _, stride, _, padding in axes]
    x_crop, y_crop = (coarse, fine) if layer.transposed else (fine, coarse)
    with torch.no_grad():
        layer.bias.zero_()
        sizes = layer(torch.zeros(1, layer.in_channels, *[size] * rank)).shape[2:]
    return Experiment(
        (layer.weight,),
        layer,
        gaussian(2, layer.in_channels, *[size] * rank),
        crop(x_crop, [size] * rank),
        crop(y_crop, sizes),
    )


def crop(axes: list[tuple[int, int]], sizes: list[int]) -> Index:
    lengths = [
        (size - 2 * margin) // period * period
        for (margin, period), size in zip(axes, sizes, strict=True)
    ]
    assert min(lengths) > 0
    cuts = (slice(m, m + length) for (m, _), length in zip(axes, lengths, strict=True))
    return (slice(None), slice(None), *cuts)


def embedding() -> Experiment:
    layer = nn.Embedding(100, 48)
    ids = torch.randint(100, (64,))

    def forward(one_hot: Tensor) -> Tensor:
        y = one_hot @ layer.weight
        torch.testing.assert_close(y, layer(ids))
        return y

    return Experiment((layer.weight,), forward, lambda: functional.one_hot(ids, 100).float())


def embedding_bag() -> Experiment:
    layer = nn.EmbeddingBag(100, 48, mode="sum")
    ids = torch.stack([torch.randperm(100)[:6] for _ in range(64)])

    def forward(counts: Tensor) -> Tensor:
        y = counts @ layer.weight
        torch.testing.assert_close(y, layer(ids))
        return y

    bags = functional.one_hot(ids, 100).sum(1).float()
    return Experiment((layer.weight,), forward, bags.clone)


FAR = 60.0  # A bias at which a float64 sigmoid is 0 or 1 and a tanh is 1.


def recurrent(kind: type[nn.RNNBase], gate: str, side: str, **options: int) -> Experiment:
    """Run one step, with biases that let only `gate` through, and read what enters it."""
    layer = kind(24, 40, batch_first=True, **options).double()
    read = GATES[kind, gate](layer)
    state = options.get("proj_size", 40)
    x, h = gaussian(64, 24, dtype=torch.float64), gaussian(64, state, dtype=torch.float64)
    forward = {"x": lambda value: read(value, h()), "h": lambda value: read(x(), value)}[side]
    weights = [
        p for name, p in layer.named_parameters() if name.startswith(("weight_ih", "weight_hh"))
    ]
    return Experiment(tuple(weights), forward, {"x": x, "h": h}[side])


def set_biases(layer: nn.RNNBase, *gates: float) -> None:
    with torch.no_grad():
        layer.bias_hh_l0.zero_()
        layer.bias_ih_l0.copy_(torch.tensor(gates).repeat_interleave(40))


def rnn_sum(layer: nn.RNN):
    set_biases(layer, 0)
    return lambda x, h: layer(x[:, None], h[None])[1][0].atanh()


def lstm_gate(*biases: float, inverse: Callable[[Tensor], Tensor]):
    def make(layer: nn.LSTM):
        set_biases(layer, *biases)

        def read(x: Tensor, h: Tensor) -> Tensor:
            cell = torch.zeros(1, 64, 40, dtype=torch.float64)
            return inverse(layer(x[:, None], (h[None], cell))[1][1][0])

        return read

    return make


def gru_candidate(layer: nn.GRU):
    """The new state is the candidate where the update gate is 0; the reset gate is 1."""
    set_biases(layer, FAR, -FAR, 0)
    return lambda x, h: layer(x[:, None], h[None])[1][0].atanh()


def gru_update(layer: nn.GRU):
    """The new state is `(1 - z) n + z h`, with the candidate n held at 1."""
    set_biases(layer, 0, 0, FAR)
    return lambda x, h: ((layer(x[:, None], h[None])[1][0] - 1) / (h - 1)).logit()


GATES = {
    (nn.RNN, "sum"): rnn_sum,
    (nn.LSTM, "input"): lstm_gate(0, -FAR, FAR, 0, inverse=torch.logit),
    (nn.LSTM, "cell"): lstm_gate(FAR, -FAR, 0, 0, inverse=torch.atanh),
    (nn.GRU, "candidate"): gru_candidate,
    (nn.GRU, "update"): gru_update,
}


@dataclass(frozen=True)
class Row:
    """A layer, its fans by hand, its fans by `xavier.fans`, and the experiment."""

    label: str
    fan_in: float
    fan_out: float
    counted: Fans
    experiment: Callable[[], Experiment] = field(repr=False)


def attention_in() -> Experiment:
    layer = nn.MultiheadAttention(48, 4)
    key = slice(48, 96)
    weight = layer.in_proj_weight
    return function(weight, lambda x, w: functional.linear(x, w)[..., key], 64, 48)


def weight_of(*shape: int) -> Tensor:
    return nn.Parameter(torch.empty(shape))


def einsum(equation: str, weight: tuple[int, ...], *x: int) -> Experiment:
    return function(weight_of(*weight), lambda a, w: torch.einsum(equation, a, w), *x)


def bilinear(side: int) -> Experiment:
    layer = nn.Bilinear(12, 9, 16, bias=False)
    mine, other = gaussian(256, (12, 9)[side]), gaussian(256, (9, 12)[side])
    forward = [lambda x: layer(x, other()), lambda x: layer(other(), x)][side]
    return Experiment((layer.weight,), forward, mine)


def conv_row(label: str, layer: nn.Module, fan_in: float, fan_out: float) -> Row:
    count = fans.conv_transpose if layer.transposed else fans.conv
    counted = count(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        stride=layer.stride,
        dilation=layer.dilation,
        groups=layer.groups,
    )
    return Row(label, fan_in, fan_out, counted, lambda: convolution(layer))


def recurrent_rows() -> list[Row]:
    in_x, in_h = fans.recurrent(24, 40, gates=4)
    rows = [
        Row(
            f"{kind.__name__} {gate}, W_{'ih' if side == 'x' else 'hh'}",
            24 + 40,
            40,
            in_x if side == "x" else in_h,
            lambda kind=kind, gate=gate, side=side: recurrent(kind, gate, side),
        )
        for kind, gate in GATES
        for side in "xh"
    ]
    proj_x, proj_h = fans.recurrent(24, 40, projection=16, gates=4)
    projected = {"x": proj_x, "h": proj_h}
    return rows + [
        Row(
            f"LSTM projected, from {side}",
            24 + 16,
            40,
            counted,
            lambda side=side: recurrent(nn.LSTM, "cell", side, proj_size=16),
        )
        for side, counted in projected.items()
    ]


C1, C2, C3 = nn.Conv1d, nn.Conv2d, nn.Conv3d
T1, T2, T3 = nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d

CONVOLUTIONS = [
    conv_row("conv1d", C1(16, 24, 5), 16 * 5, 24 * 5),
    conv_row("conv2d, padded", C2(8, 12, 3, padding=1), 8 * 9, 12 * 9),
    conv_row("conv2d, circular", C2(8, 12, 3, padding=1, padding_mode="circular"), 8 * 9, 12 * 9),
    conv_row("conv3d", C3(4, 6, 3), 4 * 27, 6 * 27),
    conv_row("conv2d, oblong kernel", C2(6, 10, (3, 5)), 6 * 15, 10 * 15),
    conv_row("conv2d, pointwise", C2(24, 40, 1), 24, 40),
    conv_row("conv2d, grouped", C2(16, 32, 3, groups=4), 16 / 4 * 9, 32 / 4 * 9),
    conv_row("conv1d, grouped", C1(24, 12, 4, groups=3), 24 / 3 * 4, 12 / 3 * 4),
    conv_row("conv2d, depthwise", C2(32, 32, 3, groups=32), 9, 9),
    conv_row("conv2d, depthwise, multiplier 3", C2(16, 48, 5, groups=16), 25, 3 * 25),
    conv_row("conv1d, depthwise", C1(48, 48, 4, groups=48), 4, 4),
    conv_row("conv3d, depthwise", C3(12, 12, 3, groups=12), 27, 27),
    conv_row("conv2d, strided", C2(8, 16, 4, stride=2), 8 * 16, 16 * 16 / 4),
    conv_row("conv1d, strided", C1(12, 24, 6, stride=3), 12 * 6, 24 * 6 / 3),
    conv_row("conv2d, patches", C2(3, 64, 4, stride=4), 3 * 16, 64),
    conv_row("conv2d, stride does not divide", C2(8, 16, 3, stride=2), 8 * 9, 16 * 9 / 4),
    conv_row("conv1d, stride does not divide", C1(12, 24, 7, stride=3), 12 * 7, 24 * 7 / 3),
    conv_row("conv2d, pointwise, strided", C2(16, 64, 1, stride=2), 16, 64 / 4),
    conv_row("conv2d, dilated", C2(8, 12, 3, dilation=2), 8 * 9, 12 * 9),
    conv_row("conv1d, common factor", C1(8, 24, 3, stride=2, dilation=2), 8 * 3, 24 * 3 / 2),
    conv_row("conv2d, dilated, strided", C2(6, 12, 3, stride=2, dilation=3), 6 * 9, 12 * 9 / 4),
    conv_row("conv2d, one axis strided", C2(8, 12, 4, stride=(2, 1)), 8 * 16, 12 * 16 / 2),
    conv_row(
        "conv2d, grouped, strided, dilated",
        C2(16, 24, 2, stride=2, dilation=3, groups=4),
        16 / 4 * 4,
        24 / 4 * 4 / 4,
    ),
    conv_row("conv3d, strided", C3(3, 8, (3, 2, 2), stride=(1, 2, 2)), 3 * 12, 8 * 12 / 4),
    conv_row("transposed 1d", T1(16, 8, 4, stride=2), 16 * 4 / 2, 8 * 4),
    conv_row("transposed 1d, stride 1", T1(8, 12, 3), 8 * 3, 12 * 3),
    conv_row("transposed 2d", T2(8, 12, 4, stride=2, padding=1), 8 * 16 / 4, 12 * 16),
    conv_row("transposed 2d, no overlap", T2(16, 12, 2, stride=2), 16, 12 * 4),
    conv_row("transposed 2d, stride does not divide", T2(8, 12, 3, stride=2), 8 * 9 / 4, 12 * 9),
    conv_row(
        "transposed 2d, output padding",
        T2(8, 12, 3, stride=2, padding=1, output_padding=1),
        8 * 9 / 4,
        12 * 9,
    ),
    conv_row("transposed 2d, grouped", T2(16, 32, 4, stride=2, groups=4), 4 * 16 / 4, 8 * 16),
    conv_row("transposed 2d, depthwise", T2(24, 24, 4, stride=2, groups=24), 16 / 4, 16),
    conv_row("transposed 1d, common factor", T1(8, 12, 3, stride=2, dilation=2), 8 * 3 / 2, 12 * 3),
    conv_row("transposed 3d", T3(8, 4, 2, stride=2), 8, 4 * 8),
    conv_row(
        "transposed 3d, grouped, one axis not strided",
        T3(8, 4, (3, 2, 2), stride=(1, 2, 2), groups=2),
        8 / 2 * 12 / 4,
        4 / 2 * 12,
    ),
]

OTHERS = [
    Row("dense", 48, 32, fans.dense(48, 32), lambda: dense(nn.Linear(48, 32))),
    Row("dense, no bias", 20, 70, fans.dense(20, 70), lambda: dense(nn.Linear(20, 70, bias=False))),
    Row("dense, on sequences", 30, 50, fans.dense(30, 50), lambda: dense(nn.Linear(30, 50), 4, 16)),
    Row(
        "dense, stored transposed",
        48,
        96,
        fans.dense(48, 96),
        lambda: function(
            weight_of(48, 96), lambda x, w: torch.addmm(torch.zeros(96), x, w), 64, 48
        ),
    ),
    Row("embedding", 1, 48, fans.embedding(100, 48), embedding),
    Row("embedding bag", 6, 48, fans.embedding(100, 48, bag=6), embedding_bag),
    Row(
        "head tied to an embedding",
        48,
        100,
        fans.dense(48, 100),
        lambda: function(nn.Embedding(100, 48).weight, lambda x, w: x @ w.T, 64, 48),
    ),
    Row(
        "packed QKV, query",
        48,
        48,
        fans.packed(48, (48, 48, 48))[0],
        lambda: dense(nn.Linear(48, 144), block=slice(0, 48)),
    ),
    Row("packed QKV of attention, key", 48, 48, fans.packed(48, (48, 48, 48))[1], attention_in),
    Row(
        "grouped queries, value",
        64,
        16,
        fans.packed(64, (64, 16, 16))[2],
        lambda: dense(nn.Linear(64, 96), block=slice(80, 96)),
    ),
    Row(
        "gate and up, up",
        48,
        80,
        fans.packed(48, (80, 80))[1],
        lambda: dense(nn.Linear(48, 160), block=slice(80, 160)),
    ),
    Row(
        "experts, batched product",
        24,
        40,
        fans.experts(6, 24, 40),
        lambda: function(weight_of(6, 24, 40), torch.bmm, 6, 32, 24),
    ),
    Row(
        "experts, einsum",
        24,
        40,
        fans.experts(6, 24, 40),
        lambda: einsum("end,edh->enh", (6, 24, 40), 6, 32, 24),
    ),
    Row(
        "experts, one input for all",
        24,
        6 * 40,
        fans.experts(6, 24, 40, shared_input=True),
        lambda: einsum("nd,edh->neh", (6, 24, 40), 64, 24),
    ),
    Row(
        "heads kept, later batched",
        32,
        4 * 12,
        fans.dense(32, 4 * 12),
        lambda: einsum("btd,dhk->bhtk", (32, 4, 12), 8, 8, 32),
    ),
    Row(
        "heads contracted",
        4 * 12,
        32,
        fans.dense(4 * 12, 32),
        lambda: einsum("bhtk,hkd->btd", (4, 12, 32), 8, 4, 8, 12),
    ),
    Row("bilinear, first input", 12 * 9, 16 * 9, fans.bilinear(12, 9, 16), lambda: bilinear(0)),
    Row("bilinear, second input", 12 * 9, 16 * 12, fans.bilinear(9, 12, 16), lambda: bilinear(1)),
    Row(
        "low-rank adapter, down",
        64,
        8,
        fans.dense(64, 8),
        lambda: function(weight_of(8, 64), functional.linear, 128, 64),
    ),
    Row(
        "low-rank adapter, up",
        8,
        64,
        fans.dense(8, 64),
        lambda: function(weight_of(64, 8), functional.linear, 128, 8),
    ),
]

ROWS = list(chain(OTHERS, recurrent_rows(), CONVOLUTIONS))
