"""Weights that are not what is stored: normalized, generated, or adapted by a small product."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from xavier.frameworks.torch.zoo import _examples


class WeightNormed(nn.Module):
    """Dilated convolutions over a sequence and a head, all under weight normalization."""

    def __init__(self, *, depth: int, width: int, in_channels: int, classes: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList()
        for at in range(depth):
            before, reach = (width if at else in_channels), 2**at
            conv = nn.Conv1d(before, width, 3, padding=reach, dilation=reach)
            self.convs.append(parametrizations.weight_norm(conv))
        self.head = parametrizations.weight_norm(nn.Linear(width, classes))
        self.in_channels = in_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits, (batch, classes), for sequences, (batch, channels, length)."""
        for conv in self.convs:
            x = torch.relu(conv(x))
        return self.head(x.mean(dim=2))

    def example_input(self, batch: int = 2, *, seed: int = 0) -> torch.Tensor:
        """Return sequences of 32 standard normal vectors."""
        return _examples.normal(batch, self.in_channels, 32, seed=seed)


def weight_normed(
    depth: int = 3, width: int = 64, *, in_channels: int = 16, classes: int = 10
) -> WeightNormed:
    """Build a convolutional network whose every weight is a direction times a magnitude.

    Args:
        depth: Convolutions; the dilation doubles from one to the next.
        width: Channels of each.
        in_channels: Channels of a sequence.
        classes: Outputs of the head.

    Reference:
        Salimans and Kingma, "Weight Normalization", 2016, section 2.
    """
    return WeightNormed(depth=depth, width=width, in_channels=in_channels, classes=classes)


class SpectralNormed(nn.Module):
    """A critic: strided convolutions and dense layers, each of spectral norm one."""

    def __init__(self, *, width: int, in_channels: int) -> None:
        super().__init__()
        normed = parametrizations.spectral_norm
        self.conv1 = normed(nn.Conv2d(in_channels, width, 4, stride=2, padding=1))
        self.conv2 = normed(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1))
        self.dense = normed(nn.Linear(2 * width, 2 * width))
        self.head = normed(nn.Linear(2 * width, 1))
        self.in_channels = in_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a score, (batch, 1), for pictures, (batch, channels, height, width)."""
        x = functional.leaky_relu(self.conv1(x), 0.2)
        x = functional.leaky_relu(self.conv2(x), 0.2)
        return self.head(functional.leaky_relu(self.dense(x.mean(dim=(2, 3))), 0.2))

    def example_input(self, batch: int = 2, *, seed: int = 0) -> torch.Tensor:
        """Return pictures of 16 x 16 standard normal pixels."""
        return _examples.normal(batch, self.in_channels, 16, 16, seed=seed)


def spectral_normed(width: int = 32, *, in_channels: int = 3) -> SpectralNormed:
    """Build a critic whose every weight is divided by its largest singular value.

    Args:
        width: Channels of the first convolution.
        in_channels: Channels of a picture.

    Reference:
        Miyato et al., "Spectral Normalization for Generative Adversarial Networks", 2018,
        section 2.1.
    """
    return SpectralNormed(width=width, in_channels=in_channels)


class Hypernetwork(nn.Module):
    """A small network that computes the weights of a larger one, a layer from each code."""

    def __init__(self, *, depth: int, width: int, codes: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.depth, self.width = depth, width
        self.codes = nn.Embedding(depth, codes)
        self.inner = nn.Linear(codes, hidden)
        self.outer = nn.Linear(hidden, width * width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits, (batch, classes), for rows, (batch, width)."""
        codes = self.codes(torch.arange(self.depth, device=x.device))
        weights = self.outer(torch.tanh(self.inner(codes)))
        weights = weights.view(self.depth, self.width, self.width) / math.sqrt(self.width)
        for weight in weights.unbind(0):
            x = torch.relu(functional.linear(x, weight))
        return self.head(x)

    def example_input(self, batch: int = 2, *, seed: int = 0) -> torch.Tensor:
        """Return standard normal rows."""
        return _examples.normal(batch, self.width, seed=seed)


def hypernetwork(
    depth: int = 2, width: int = 64, *, codes: int = 64, hidden: int = 64, classes: int = 10
) -> Hypernetwork:
    """Build a perceptron whose hidden weights another network computes.

    Args:
        depth: Layers whose weights are computed.
        width: Units of each.
        codes: Size of a layer's code.
        hidden: Units of the network that computes.
        classes: Outputs of the head, whose weight is stored.

    Reference:
        Ha, Dai and Le, "HyperNetworks", 2016, section 3.1.
    """
    return Hypernetwork(depth=depth, width=width, codes=codes, hidden=hidden, classes=classes)


class AdaptedLinear(nn.Module):
    """A frozen dense layer, and a trained product of two thin matrices beside it.

    Args:
        in_features: Features that go in.
        out_features: Features that come out.
        rank: Inner size of the product.
        alpha: The product is scaled by `alpha / rank`.
    """

    def __init__(
        self, in_features: int, out_features: int, *, rank: int, alpha: float = 8.0
    ) -> None:
        super().__init__()
        self.base = nn.Linear(in_features, out_features)
        self.base.requires_grad_(requires_grad=False)
        self.lora_A = nn.Parameter(torch.empty(rank, in_features))
        self.lora_B = nn.Parameter(torch.empty(out_features, rank))
        self.scale = alpha / rank
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw A as `nn.Linear` draws its weight, and set B to zero: nothing is added yet."""
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return `base(x) + scale * B A x`."""
        added = functional.linear(functional.linear(x, self.lora_A), self.lora_B)
        return self.base(x) + self.scale * added


class LowRankAdapted(nn.Module):
    """A perceptron of adapted layers."""

    def __init__(
        self, *, depth: int, width: int, rank: int, in_features: int, out_features: int
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            AdaptedLinear(width if at else in_features, width, rank=rank) for at in range(depth)
        )
        self.head = nn.Linear(width, out_features)
        self.in_features = in_features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return outputs, (batch, out_features), for rows, (batch, in_features)."""
        for layer in self.layers:
            x = torch.relu(layer(x))
        return self.head(x)

    def example_input(self, batch: int = 2, *, seed: int = 0) -> torch.Tensor:
        """Return standard normal rows."""
        return _examples.normal(batch, self.in_features, seed=seed)


def lora(
    depth: int = 3,
    width: int = 96,
    *,
    rank: int = 8,
    in_features: int = 64,
    out_features: int = 10,
) -> LowRankAdapted:
    """Build a perceptron of frozen layers with low-rank adapters.

    Args:
        depth: Adapted layers.
        width: Units of each.
        rank: Rank of the adapters.
        in_features: Features of an input row.
        out_features: Outputs of the head.

    Reference:
        Hu et al., "LoRA", 2021, section 4.1.
    """
    return LowRankAdapted(
        depth=depth, width=width, rank=rank, in_features=in_features, out_features=out_features
    )
