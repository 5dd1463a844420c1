"""Sequence models with a state: an LSTM and a selective state space."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from xavier.frameworks.torch.zoo import _examples


class LSTMModel(nn.Module):
    """A token table, an LSTM, and a head."""

    def __init__(self, *, vocabulary: int, width: int, depth: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, width, num_layers=depth, batch_first=True)
        self.head = nn.Linear(width, vocabulary)
        self.vocabulary = vocabulary

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return logits, (batch, length, vocabulary), for token numbers, (batch, length)."""
        states, _ = self.lstm(self.tokens(ids))
        return self.head(states)

    def example_input(self, batch: int = 2, *, seed: int = 0) -> torch.Tensor:
        """Return rows of twelve token numbers."""
        return _examples.tokens(batch, 12, high=self.vocabulary, seed=seed)


def lstm(vocabulary: int = 128, *, width: int = 96, depth: int = 2) -> LSTMModel:
    """Build a language model on torch's own LSTM.

    Args:
        vocabulary: Number of tokens.
        width: Channels of the table and of the states.
        depth: Layers of the LSTM.
    """
    return LSTMModel(vocabulary=vocabulary, width=width, depth=depth)


class StepProjection(nn.Linear):
    """The step sizes of a state space: small ones and large ones, spread evenly in the log.

    At zero input the softplus of the outputs runs from `SMALLEST` to `LARGEST`.
    """

    SMALLEST = 1e-3
    LARGEST = 1e-1

    def reset_parameters(self) -> None:
        """Draw the weight from U[±1/√rank]; set the bias to the inverse softplus of the steps."""
        bound = 1 / math.sqrt(self.in_features)
        nn.init.uniform_(self.weight, -bound, bound)
        ends = math.log(self.SMALLEST), math.log(self.LARGEST)
        steps = torch.linspace(*ends, self.out_features, dtype=torch.float64, device="cpu").exp()
        with torch.no_grad():
            self.bias.copy_(steps + torch.log(-torch.expm1(-steps)))


class SelectiveStateSpace(nn.Module):
    """Mamba's mixer: a gated, input-dependent linear recurrence for every channel.

    Args:
        width: Channels of the residual stream.
        states: Numbers that each channel remembers.
        kernel: Length of the causal depthwise convolution.

    Reference:
        Gu and Dao, "Mamba", 2023, algorithm 2 and section 3.6.
    """

    def __init__(self, width: int, *, states: int, kernel: int) -> None:
        super().__init__()
        inner, rank = 2 * width, math.ceil(width / 16)
        self.states, self.rank, self.kernel = states, rank, kernel
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv = nn.Conv1d(inner, inner, kernel, groups=inner, padding=kernel - 1)
        self.x_proj = nn.Linear(inner, rank + 2 * states, bias=False)
        self.dt_proj = StepProjection(rank, inner)
        self.A_log = nn.Parameter(torch.empty(inner, states))
        self.D = nn.Parameter(torch.empty(inner))
        self.out_proj = nn.Linear(inner, width, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the decay rates to 1, 2, …, states in every channel, and the skips to 1."""
        rates = torch.arange(1, self.states + 1, dtype=torch.float32, device=self.A_log.device)
        with torch.no_grad():
            self.A_log.copy_(rates.log().expand_as(self.A_log))
            self.D.fill_(1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what this layer writes, (batch, length, width)."""
        length = x.shape[1]
        x, gate = self.in_proj(x).chunk(2, dim=-1)
        x = self.conv(x.transpose(1, 2))[..., :length].transpose(1, 2)
        x = functional.silu(x)
        low, into, outof = self.x_proj(x).split([self.rank, self.states, self.states], dim=-1)
        steps = functional.softplus(self.dt_proj(low))
        y = self._scan(x, steps, into, outof) + self.D * x
        return self.out_proj(y * functional.silu(gate))

    def _scan(
        self, x: torch.Tensor, steps: torch.Tensor, into: torch.Tensor, outof: torch.Tensor
    ) -> torch.Tensor:
        rates = -torch.exp(self.A_log)
        kept = torch.exp(steps[..., None] * rates)
        added = (steps * x)[..., None] * into[:, :, None, :]
        state = torch.zeros_like(added[:, 0])
        seen: list[torch.Tensor] = []
        for at in range(x.shape[1]):
            state = kept[:, at] * state + added[:, at]
            seen.append((state * outof[:, at, None, :]).sum(dim=-1))
        return torch.stack(seen, dim=1)


class MambaBlock(nn.Module):
    """A selective state space as a pre-norm residual branch."""

    def __init__(self, width: int, *, states: int, kernel: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mixer = SelectiveStateSpace(width, states=states, kernel=kernel)
        self.width = width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the stream, (batch, length, width), with this block's write."""
        return x + self.mixer(self.norm(x))

    def example_input(self, batch: int = 2, *, seed: int = 0) -> torch.Tensor:
        """Return rows of twelve standard normal vectors."""
        return _examples.normal(batch, 12, self.width, seed=seed)


def mamba_block(width: int = 64, *, states: int = 16, kernel: int = 4) -> MambaBlock:
    """Build one block of a selective state space, with the values that its paper gives it.

    Args:
        width: Channels of the residual stream.
        states: Numbers that each channel remembers.
        kernel: Length of the causal depthwise convolution.

    Note:
        The paper draws the step sizes at random; here they are spread evenly, so that the
        block's deliberate values are the same in every build.
    """
    return MambaBlock(width, states=states, kernel=kernel)
