"""Perceptrons: deep plain stacks, activations written by hand, and a scaled residual stack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from xavier.frameworks.torch.zoo import _examples

Function = Callable[[torch.Tensor], torch.Tensor]
Formula = Callable[[NDArray[np.float64]], NDArray[np.float64]]

_KNEE = 0.75  # where the slope of the piecewise activation triples


class Perceptron(nn.Module):
    """Dense layers, an activation after each but the last.

    Args:
        activations: The function after each hidden layer, in order.
        width: Units of every hidden layer.
        in_features: Features of an input row.
        out_features: Outputs of the head.
    """

    def __init__(
        self, activations: Sequence[Function], *, width: int, in_features: int, out_features: int
    ) -> None:
        super().__init__()
        sizes = [in_features] + [width] * len(activations)
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(sizes))
        self.head = nn.Linear(sizes[-1], out_features)
        self.in_features = in_features
        self._activations = tuple(activations)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return outputs, (batch, out_features), for rows, (batch, in_features)."""
        for layer, activation in zip(self.layers, self._activations, strict=True):
            x = activation(layer(x))
        return self.head(x)

    def example_input(self, batch: int = 2, *, seed: int = 0) -> torch.Tensor:
        """Return standard normal rows."""
        return _examples.normal(batch, self.in_features, seed=seed)


def deep_sigmoid_mlp(
    depth: int = 50, width: int = 128, *, in_features: int = 64, out_features: int = 10
) -> Perceptron:
    """Build a stack of sigmoid layers, which no initial variance keeps alive.

    Args:
        depth: Hidden layers.
        width: Units of each.
        in_features: Features of an input row.
        out_features: Outputs of the head.

    Reference:
        Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
        networks", 2010, section 3.1.
    """
    return Perceptron(
        [torch.sigmoid] * depth, width=width, in_features=in_features, out_features=out_features
    )


def deep_tanh_mlp(
    depth: int = 20, width: int = 128, *, in_features: int = 64, out_features: int = 10
) -> Perceptron:
    """Build a stack of tanh layers, for which Xavier's rule was made.

    Args:
        depth: Hidden layers.
        width: Units of each.
        in_features: Features of an input row.
        out_features: Outputs of the head.

    Reference:
        Glorot and Bengio, 2010, section 4.2.
    """
    return Perceptron(
        [torch.tanh] * depth, width=width, in_features=in_features, out_features=out_features
    )


def _mish(x: torch.Tensor) -> torch.Tensor:
    return x * torch.tanh(functional.softplus(x))


def _quick_gelu(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(1.702 * x)


def _scaled_tanh(x: torch.Tensor) -> torch.Tensor:
    return 1.7159 * torch.tanh(2.0 / 3.0 * x)


def _squared_relu(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x) ** 2


def _three_slopes(x: torch.Tensor) -> torch.Tensor:
    upper = torch.where(x > _KNEE, 1.5 * x - _KNEE, 0.5 * x)
    return torch.where(x < -1.0, 0.1 * x - 0.4, upper)


def _wavy(x: torch.Tensor) -> torch.Tensor:
    return torch.sin(x) + x


_BY_HAND: tuple[tuple[Function, Formula], ...] = (
    (_mish, lambda x: x * np.tanh(np.logaddexp(0.0, x))),
    (_quick_gelu, lambda x: x * 0.5 * (1 + np.tanh(0.851 * x))),
    (_scaled_tanh, lambda x: 1.7159 * np.tanh(2.0 / 3.0 * x)),
    (_squared_relu, lambda x: np.maximum(x, 0.0) ** 2),
    (
        _three_slopes,
        lambda x: np.select(
            [x < -1.0, x > _KNEE], [0.1 * x - 0.4, 1.5 * x - _KNEE], default=0.5 * x
        ),
    ),
    (_wavy, lambda x: np.sin(x) + x),
)


class HandActivated(Perceptron):
    """A perceptron whose hidden layers each have another activation that torch does not name."""

    def formulas(self) -> dict[str, Formula]:
        """Return, by weight, the function that feeds it, written on float64 arrays."""
        fed = [*(f"layers.{at}.weight" for at in range(1, len(self.layers))), "head.weight"]
        return {name: formula for name, (_, formula) in zip(fed, _BY_HAND, strict=True)}

    def before(self, name: str) -> str:
        """Return the weight whose output goes through the function that feeds weight `name`."""
        order = [f"layers.{at}.weight" for at in range(len(self.layers))] + ["head.weight"]
        return order[order.index(name) - 1]


def custom_activations(
    width: int = 128, *, in_features: int = 64, out_features: int = 10
) -> HandActivated:
    """Build a perceptron of six layers, each with an activation written by hand.

    They are Mish, the sigmoid form of GELU, LeCun's scaled tanh, the squared ReLU, a function
    of three slopes, and `sin(x) + x`.

    Args:
        width: Units of every hidden layer.
        in_features: Features of an input row.
        out_features: Outputs of the head.
    """
    return HandActivated(
        [function for function, _ in _BY_HAND],
        width=width,
        in_features=in_features,
        out_features=out_features,
    )


class ChannelScale(nn.Module):
    """Multiplies every channel by a number of its own that starts small.

    Args:
        channels: Size of the last axis.
        start: What the numbers start at.
    """

    def __init__(self, channels: int, start: float) -> None:
        super().__init__()
        self.start = start
        self.gamma = nn.Parameter(torch.empty(channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set every number to `start`."""
        nn.init.constant_(self.gamma, self.start)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the input times the numbers."""
        return x * self.gamma


class ScaledResidual(nn.Module):
    """A pre-norm residual block, its branch scaled: `x + gamma * down(gelu(up(norm(x))))`."""

    def __init__(self, width: int, *, start: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.scale = ChannelScale(width, start)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the stream with this block's write."""
        return x + self.scale(self.down(functional.gelu(self.up(self.norm(x)))))


class LayerScaled(nn.Module):
    """Scaled residual blocks between a stem and a head."""

    def __init__(
        self, *, depth: int, width: int, start: float, in_features: int, out_features: int
    ) -> None:
        super().__init__()
        self.stem = nn.Linear(in_features, width)
        self.blocks = nn.Sequential(*(ScaledResidual(width, start=start) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, out_features)
        self.in_features = in_features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return outputs, (batch, out_features), for rows, (batch, in_features)."""
        return self.head(self.norm(self.blocks(self.stem(x))))

    def example_input(self, batch: int = 2, *, seed: int = 0) -> torch.Tensor:
        """Return standard normal rows."""
        return _examples.normal(batch, self.in_features, seed=seed)


def layer_scaled(
    depth: int = 8,
    width: int = 128,
    *,
    start: float = 1e-5,
    in_features: int = 64,
    out_features: int = 10,
) -> LayerScaled:
    """Build a residual perceptron whose branches start nearly closed.

    Args:
        depth: Blocks.
        width: Channels of the residual stream.
        start: What the layer scales start at.
        in_features: Features of an input row.
        out_features: Outputs of the head.

    Reference:
        Touvron et al., "Going deeper with image transformers", 2021, section 2.
    """
    return LayerScaled(
        depth=depth, width=width, start=start, in_features=in_features, out_features=out_features
    )
