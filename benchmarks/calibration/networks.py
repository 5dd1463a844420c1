"""The networks of the calibration, small enough to be trained by the hundred."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import pairwise
from typing import Final

import torch
from torch import nn
from torch.nn import functional

import xavier
from benchmarks.calibration.cases import Case

CLASSES: Final = 10
HEADS: Final = 4
SIDE: Final = 8  # of a picture, in pixels

FUNCTIONS: Final[dict[str, Callable[[torch.Tensor], torch.Tensor]]] = {
    "tanh": torch.tanh, "relu": functional.relu, "gelu": functional.gelu, "sine": torch.sin,
    "sigmoid": torch.sigmoid, "softsign": functional.softsign, "elu": functional.elu,
    "silu": functional.silu, "leaky_relu": functional.leaky_relu,
}  # fmt: skip


def build(case: Case, batch: torch.Tensor, *, seed: int) -> nn.Module:
    """Return the network of a case with its start.

    Args:
        case: The case.
        batch: Pictures, to plan by.
        seed: Of the weights.
    """
    torch.manual_seed(seed)
    model = _KINDS[case.family](case)
    if case.recipe != "default":  # else what its layers draw when they are built
        xavier.init_(model, batch, recipe=case.recipe, seed=seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(case.gain)
    return model


def start_of(model: nn.Module) -> str:
    """Return a digest of a model's weights, to the bit."""
    found = hashlib.blake2b(digest_size=8)
    for weight in model.parameters():
        found.update(weight.detach().numpy().tobytes())
    return found.hexdigest()


class Plain(nn.Module):
    """Dense layers, one after the other."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.function = FUNCTIONS[case.activation]
        sizes = [SIDE * SIDE, *(case.width for _ in range(case.depth))]
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(sizes))
        self.head = nn.Linear(case.width, CLASSES)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        x = pictures.flatten(1)
        for layer in self.layers:
            x = self.function(layer(x))
        return self.head(x)


class Convolution(nn.Module):
    """Convolutions of three by three, one after the other, and a mean over places."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.function = FUNCTIONS[case.activation]
        sizes = [1, *(case.width for _ in range(case.depth))]
        self.layers = nn.ModuleList(nn.Conv2d(*pair, 3, padding=1) for pair in pairwise(sizes))
        self.head = nn.Linear(case.width, CLASSES)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        x = pictures
        for layer in self.layers:
            x = self.function(layer(x))
        return self.head(x.mean((2, 3)))


class _Wrapped(nn.Module):
    """A branch added to the stream, with the norm before, after, or nowhere."""

    def __init__(self, branch: nn.Module, width: int, variant: str) -> None:
        super().__init__()
        self.branch, self.variant = branch, variant
        self.norm = nn.Identity() if variant == "bare" else nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.variant == "post-norm":
            return self.norm(x + self.branch(x))
        return x + self.branch(self.norm(x))


class _FeedForward(nn.Module):
    def __init__(self, case: Case, hidden: int) -> None:
        super().__init__()
        self.function = FUNCTIONS[case.activation]
        self.up, self.down = nn.Linear(case.width, hidden), nn.Linear(hidden, case.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(self.function(self.up(x)))


class _Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.packed, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        split = self.packed(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(*split)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Residual(nn.Module):
    """Blocks of two dense layers on a stream."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.into = nn.Linear(SIDE * SIDE, case.width)
        self.blocks = nn.ModuleList(
            _Wrapped(_FeedForward(case, case.width), case.width, case.variant)
            for _ in range(case.depth)
        )
        self.norm = nn.LayerNorm(case.width) if case.variant == "pre-norm" else nn.Identity()
        self.head = nn.Linear(case.width, CLASSES)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        x = self.into(pictures.flatten(1))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Attention(nn.Module):
    """A transformer over a picture's rows."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.into = nn.Linear(SIDE, case.width)
        self.places = nn.Parameter(torch.randn(SIDE, case.width) * 0.02)
        branches = (
            branch
            for _ in range(case.depth)
            for branch in (_Attention(case.width), _FeedForward(case, 4 * case.width))
        )
        self.blocks = nn.ModuleList(_Wrapped(each, case.width, case.variant) for each in branches)
        self.norm = nn.LayerNorm(case.width) if case.variant == "pre-norm" else nn.Identity()
        self.head = nn.Linear(case.width, CLASSES)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        x = self.into(pictures.flatten(1, 2)) + self.places
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


class Recurrent(nn.Module):
    """One recurrent layer that reads a picture in `depth` steps."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.steps = case.depth
        kinds = {"gru": nn.GRU, "lstm": nn.LSTM}
        settings = {"nonlinearity": "relu"} if case.variant == "rnn-relu" else {}
        kind = kinds.get(case.variant, nn.RNN)
        self.cell = kind(SIDE * SIDE // case.depth, case.width, batch_first=True, **settings)
        self.head = nn.Linear(case.width, CLASSES)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        states, _ = self.cell(pictures.flatten(1).unflatten(1, (self.steps, -1)))
        return self.head(states[:, -1])


_KINDS: Final[dict[str, Callable[[Case], nn.Module]]] = {
    "plain": Plain, "convolution": Convolution, "residual": Residual, "attention": Attention,
    "recurrent": Recurrent,
}  # fmt: skip
