"""Random models: the layers people write, put together by chance, with no word on what they are.

`random_model(seed)` returns a model and an input that it takes. All widths are 64 or more, so
that second moments are near their limits; what shrinks or pads with zeros is left out, so that
every output element is a sum of as many products as every other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

Function = Callable[[torch.Tensor], torch.Tensor]

WIDTHS = (64, 96, 128)

ACTIVATIONS: tuple[Function, ...] = (
    torch.relu,
    torch.tanh,
    torch.sin,
    functional.gelu,
    functional.elu,
    functional.silu,
    lambda x: functional.leaky_relu(x, 0.2),
    lambda x: x * torch.sigmoid(1.702 * x),
    lambda x: 1.7159 * torch.tanh(2 * x / 3),
    lambda x: x * torch.tanh(torch.log1p(torch.exp(x))),
    lambda x: torch.where(x < -0.5, 0.1 * x - 0.2, torch.where(x > 1, 0.5 * x + 0.5, x)),
    lambda x: x.clamp(-1.5, 1.0),
    lambda x: torch.sin(x) + x,
    lambda x: x / (1 + x.abs()),
)


class Luck:
    """What the draw decides."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def of(self, *choices: Any) -> Any:
        return choices[self.rng.integers(len(choices))]

    def one(self) -> Function:
        return self.of(*ACTIVATIONS)

    def two(self) -> tuple[Function, Function]:
        return self.one(), self.one()


Maker = Callable[[int, int, Luck], tuple[nn.Module, int]]


def _weight(*shape: int, fan_in: int) -> nn.Parameter:
    bound = 1 / math.sqrt(fan_in)
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


class Bent(nn.Module):
    """An activation, be it a function or a lambda."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


# ---------------------------------------------------------------- features on the last axis


class Dense(nn.Module):
    def __init__(self, before: int, after: int, function: Function) -> None:
        super().__init__()
        self.layer = nn.Linear(before, after)
        self.function = function

    def forward(self, x):
        return self.function(self.layer(x))


class StoredTransposed(nn.Module):
    """A weight stored (in, out), used in one of the ways that such a weight is."""

    def __init__(self, before: int, after: int, function: Function, way: str) -> None:
        super().__init__()
        self.kernel = _weight(before, after, fan_in=before)
        self.shift = nn.Parameter(torch.zeros(after))
        self.function, self.way = function, way

    def forward(self, x):
        if self.way == "matmul":
            y = x @ self.kernel + self.shift
        elif self.way == "linear":
            y = functional.linear(x, self.kernel.t(), self.shift)
        else:
            y = torch.addmm(self.shift, x.flatten(0, -2), self.kernel).unflatten(0, x.shape[:-1])
        return self.function(y)


class ByHeads(nn.Module):
    """An einsum to (heads, size), and one back that sums over both."""

    def __init__(self, before: int, after: int, function: Function, heads: int) -> None:
        super().__init__()
        self.into = _weight(before, heads, 64, fan_in=before)
        self.outof = _weight(heads, 64, after, fan_in=64 * heads)
        self.function = function

    def forward(self, x):
        y = self.function(torch.einsum("...i,ihd->...hd", x, self.into))
        return torch.einsum("...hd,hdo->...o", y, self.outof)


class Stacked(nn.Module):
    """A matrix for each of two halves of the features, in one batched product."""

    def __init__(self, before: int, function: Function) -> None:
        super().__init__()
        self.widen = nn.Linear(before, 128)
        self.kernel = _weight(2, 64, 64, fan_in=64)
        self.function = function

    def forward(self, x):
        rows = self.function(self.widen(x)).flatten(0, -2)
        halves = torch.bmm(torch.stack(rows.chunk(2, dim=-1)), self.kernel)
        return torch.cat(halves.unbind(0), dim=-1).unflatten(0, x.shape[:-1])


class PreNorm(nn.Module):
    """A residual branch behind a norm, torch's own or written out."""

    def __init__(self, width: int, function: Function, own: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width) if own else Bent(_root_mean_square)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)
        self.function = function

    def forward(self, x):
        return x + self.down(self.function(self.up(self.norm(x))))


def _root_mean_square(x: torch.Tensor) -> torch.Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


class Residual(nn.Module):
    """Two residual branches of one matrix each, without a norm."""

    def __init__(self, width: int, functions: tuple[Function, Function]) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.functions = functions

    def forward(self, x):
        x = x + self.first(self.functions[0](x))
        return x + self.second(self.functions[1](x))


class Gated(nn.Module):
    """A product of two projections, packed in one weight or not, and a third that closes it."""

    def __init__(self, before: int, after: int, function: Function, packed: bool) -> None:
        super().__init__()
        hidden = 96
        self.packed = nn.Linear(before, 2 * hidden) if packed else None
        if not packed:
            self.gate = nn.Linear(before, hidden, bias=False)
            self.up = nn.Linear(before, hidden, bias=False)
        self.down = nn.Linear(hidden, after)
        self.function = function

    def forward(self, x):
        gate, up = self.packed(x).chunk(2, dim=-1) if self.packed else (self.gate(x), self.up(x))
        return self.down(self.function(gate) * up)


class UsedTwice(nn.Module):
    """One matrix in two places."""

    def __init__(self, width: int, functions: tuple[Function, Function]) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)
        self.functions = functions

    def forward(self, x):
        return self.functions[1](self.layer(self.functions[0](self.layer(x))))


class Joined(nn.Module):
    """Two branches with activations of their own, side by side."""

    def __init__(self, before: int, functions: tuple[Function, Function]) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(before, 64), nn.Linear(before, 96)
        self.mix = nn.Linear(160, 96)
        self.functions = functions

    def forward(self, x):
        branches = self.functions[0](self.left(x)), self.functions[1](self.right(x))
        return self.mix(torch.cat(branches, dim=-1))


class Packed(nn.Module):
    """Three projections in one weight, each of which goes its own way."""

    def __init__(self, before: int, functions: tuple[Function, Function]) -> None:
        super().__init__()
        self.project = nn.Linear(before, 3 * 64)
        self.mix = nn.Linear(64, 64)
        self.functions = functions

    def forward(self, x):
        first, second, third = self.project(x).split(64, dim=-1)
        first, second = self.functions[0](first), self.functions[1](second)
        return torch.cat([self.mix(first), second, third], dim=-1)


class CutApart(nn.Module):
    """One stored weight whose upper half is a first layer, its lower half a second."""

    def __init__(self, width: int, function: Function) -> None:
        super().__init__()
        self.both = _weight(2 * width, width, fan_in=width)
        self.function = function

    def forward(self, x):
        upper, lower = self.both.chunk(2, dim=0)
        return functional.linear(self.function(functional.linear(x, upper)), lower)


class Convolved(nn.Module):
    """A convolution along the sequence, features last before and after."""

    def __init__(self, before: int, after: int, function: Function) -> None:
        super().__init__()
        self.conv = nn.Conv1d(before, after, 3)
        self.function = function

    def forward(self, x):
        return self.function(self.conv(x.transpose(1, 2)).transpose(1, 2))


# What a step is made from: the width before, one to go to, and the luck of the draw.
FEATURE_STEPS: tuple[Maker, ...] = (
    lambda before, after, luck: (Dense(before, after, luck.one()), after),
    lambda before, after, luck: (
        StoredTransposed(before, after, luck.one(), luck.of("matmul", "linear", "addmm")),
        after,
    ),
    lambda before, after, luck: (ByHeads(before, after, luck.one(), luck.of(2, 3)), after),
    lambda before, _, luck: (Stacked(before, luck.one()), 128),
    lambda before, _, luck: (PreNorm(before, luck.one(), luck.of(True, False)), before),
    lambda before, _, luck: (Residual(before, luck.two()), before),
    lambda before, after, luck: (Gated(before, after, luck.one(), luck.of(True, False)), after),
    lambda before, _, luck: (UsedTwice(before, luck.two()), before),
    lambda before, _, luck: (Joined(before, luck.two()), 96),
    lambda before, _, luck: (Packed(before, luck.two()), 192),
    lambda before, _, luck: (CutApart(before, luck.one()), before),
)
SEQUENCE_STEPS: tuple[Maker, ...] = (
    *FEATURE_STEPS,
    lambda before, after, luck: (Convolved(before, after, luck.one()), after),
)

# ---------------------------------------------------------------- channels on the second axis


class Conv(nn.Module):
    """A convolution and an activation; whatever pads repeats pixels, so that no sum is short."""

    def __init__(self, before: int, after: int, function: Function, **facts: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, **facts)
        self.function = function

    def forward(self, x):
        return self.function(self.conv(x))


class Upward(nn.Module):
    """A transposed convolution whose windows do not overlap."""

    def __init__(self, before: int, after: int, function: Function) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(before, after, 2, stride=2)
        self.function = function

    def forward(self, x):
        return self.function(self.conv(x))


class ResidualUnit(nn.Module):
    """A normalized residual branch of two convolutions."""

    def __init__(self, channels: int, function: Function) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(2, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")
        self.conv2 = nn.Conv2d(channels, channels, 1)
        self.function = function

    def forward(self, x):
        return x + self.conv2(self.function(self.conv1(self.norm(x))))


class GatedChannels(nn.Module):
    """One convolution whose halves are multiplied."""

    def __init__(self, before: int, after: int, function: Function) -> None:
        super().__init__()
        self.both = nn.Conv2d(before, 2 * after, 1)
        self.close = nn.Conv2d(after, after, 1)
        self.function = function

    def forward(self, x):
        gate, up = self.both(x).chunk(2, dim=1)
        return self.close(self.function(gate) * up)


class JoinedChannels(nn.Module):
    """A wide and a narrow window, side by side."""

    def __init__(self, before: int, functions: tuple[Function, Function]) -> None:
        super().__init__()
        self.wide = nn.Conv2d(before, 64, 3, padding=1, padding_mode="reflect")
        self.narrow = nn.Conv2d(before, 64, 1)
        self.mix = nn.Conv2d(128, 96, 1)
        self.functions = functions

    def forward(self, x):
        branches = self.functions[0](self.wide(x)), self.functions[1](self.narrow(x))
        return self.mix(torch.cat(branches, dim=1))


SAME = {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"}
DILATED = {"kernel_size": 3, "padding": 2, "padding_mode": "reflect", "dilation": 2}

PICTURE_STEPS: tuple[Maker, ...] = (
    lambda before, after, luck: (Conv(before, after, luck.one(), **SAME), after),
    lambda before, _, luck: (Conv(before, 128, luck.one(), **SAME, groups=2), 128),
    lambda before, _, luck: (Conv(before, 96, luck.one(), **DILATED), 96),
    lambda before, after, luck: (
        Conv(before, after, luck.one(), kernel_size=2, stride=2),
        after,
    ),
    lambda before, after, luck: (Upward(before, after, luck.one()), after),
    lambda before, _, luck: (ResidualUnit(before, luck.one()), before),
    lambda before, after, luck: (GatedChannels(before, after, luck.one()), after),
    lambda before, _, luck: (JoinedChannels(before, luck.two()), 96),
)


def random_model(seed: int) -> tuple[nn.Module, torch.Tensor]:
    """Return a model of two to four steps and a head, and a batch of standard normal numbers."""
    rng = np.random.default_rng(seed)
    luck = Luck(rng)
    kind = luck.of("rows", "rows", "sequences", "sequences", "pictures")
    start = width = luck.of(*WIDTHS)
    pictures = kind == "pictures"
    makers = {"rows": FEATURE_STEPS, "sequences": SEQUENCE_STEPS, "pictures": PICTURE_STEPS}[kind]
    steps: list[nn.Module] = [
        nn.Conv2d(width, width, 1) if pictures else nn.Linear(width, width),
        Bent(luck.one()),
    ]
    # No step comes twice, so that models of many kinds of steps come up.
    for at in rng.choice(len(makers), size=rng.integers(2, 5), replace=False):
        step, width = makers[at](width, luck.of(*WIDTHS), luck)
        steps.append(step)
    steps.append(nn.Conv2d(width, 64, 1) if pictures else nn.Linear(width, 64))
    shape = {"rows": (96, start), "sequences": (12, 8, start), "pictures": (3, start, 12, 12)}[kind]
    generator = torch.Generator().manual_seed(seed)
    return nn.Sequential(*steps), torch.randn(shape, generator=generator)
