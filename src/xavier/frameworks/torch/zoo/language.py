"""Transformers that read tokens: one of the GPT family, one of the Llama family."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from xavier.frameworks.torch.zoo import _examples


class PackedAttention(nn.Module):
    """Causal attention with the queries', keys' and values' projections in one weight."""

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what this layer writes, (batch, length, width)."""
        batch, length, width = x.shape
        query, key, value = (
            part.view(batch, length, self.heads, -1).transpose(1, 2)
            for part in self.qkv(x).split(width, dim=2)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))


class GPTBlock(nn.Module):
    """Attention and a GELU layer, each a pre-norm residual branch."""

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = PackedAttention(width, heads=heads)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the stream with this block's two writes."""
        x = x + self.attention(self.norm1(x))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class GPT(nn.Module):
    """Token and position tables, blocks, a norm, and a head that is the token table."""

    def __init__(
        self, *, vocabulary: int, context: int, depth: int, width: int, heads: int
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(GPTBlock(width, heads=heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight
        self.vocabulary = vocabulary
        self.context = context

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return logits, (batch, length, vocabulary), for token numbers, (batch, length)."""
        places = torch.arange(ids.shape[1], device=ids.device)
        x = self.tokens(ids) + self.positions(places)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

    def example_input(self, batch: int = 2, *, seed: int = 0) -> torch.Tensor:
        """Return token numbers, at most 16 in a row."""
        return _examples.tokens(batch, min(16, self.context), high=self.vocabulary, seed=seed)


def gpt(
    vocabulary: int = 256,
    *,
    context: int = 64,
    depth: int = 4,
    width: int = 128,
    heads: int = 4,
) -> GPT:
    """Build a GPT-2: packed attention, learned positions, pre-norm, tied head.

    With `vocabulary=50257, context=1024, depth=12, width=768, heads=12` it has the 124,439,808
    parameters of the smallest GPT-2.

    Args:
        vocabulary: Number of tokens.
        context: Longest sequence.
        depth: Blocks.
        width: Channels of the residual stream; a multiple of `heads`.
        heads: Attention heads.

    Reference:
        Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, section 2.3.
    """
    return GPT(vocabulary=vocabulary, context=context, depth=depth, width=width, heads=heads)


class RootMeanSquare(nn.Module):
    """Divides each row by its root mean square, and scales each channel."""

    def __init__(self, channels: int, *, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.empty(channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set every scale to one."""
        nn.init.ones_(self.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return rows of root mean square one, scaled."""
        mean_square = x.pow(2).mean(dim=-1, keepdim=True)
        return x * torch.rsqrt(mean_square + self.epsilon) * self.weight


class RotaryTable(nn.Module):
    """Turns pairs of channels by angles that grow with the position.

    Args:
        channels: Channels of a head; even.
        context: Longest sequence.
        base: Ratio of the slowest to the fastest wavelength.

    Reference:
        Su et al., "RoFormer", 2021, section 3.2.
    """

    cosines: torch.Tensor
    sines: torch.Tensor

    def __init__(self, channels: int, *, context: int, base: float = 10000.0) -> None:
        super().__init__()
        self.base = base
        empty = torch.empty(context, channels)
        self.register_buffer("cosines", empty, persistent=False)
        self.register_buffer("sines", torch.empty_like(empty), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Write the tables, computed in float64."""
        context, channels = self.cosines.shape
        device = self.cosines.device
        powers = torch.arange(0, channels, 2, dtype=torch.float64, device=device) / channels
        places = torch.arange(context, dtype=torch.float64, device=device)
        angles = (places[:, None] * self.base**-powers).repeat(1, 2)
        with torch.no_grad():
            self.cosines.copy_(angles.cos())
            self.sines.copy_(angles.sin())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the channels turned: (…, length, channels) as they came in."""
        cosines, sines = self.cosines[: x.shape[-2]], self.sines[: x.shape[-2]]
        first, second = x.chunk(2, dim=-1)
        return x * cosines + torch.cat([-second, first], dim=-1) * sines


class GroupedQueryAttention(nn.Module):
    """Causal attention in which several queries share one key and value."""

    def __init__(self, width: int, *, heads: int, kv_heads: int, context: int) -> None:
        super().__init__()
        self.heads, self.kv_heads = heads, kv_heads
        self.head_size = width // heads
        self.q = nn.Linear(width, heads * self.head_size, bias=False)
        self.k = nn.Linear(width, kv_heads * self.head_size, bias=False)
        self.v = nn.Linear(width, kv_heads * self.head_size, bias=False)
        self.o = nn.Linear(heads * self.head_size, width, bias=False)
        self.rotary = RotaryTable(self.head_size, context=context)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what this layer writes, (batch, length, width)."""
        batch, length, _ = x.shape
        shape = batch, length, -1, self.head_size
        query = self.rotary(self.q(x).view(shape).transpose(1, 2))
        key = self.rotary(self.k(x).view(shape).transpose(1, 2))
        value = self.v(x).view(shape).transpose(1, 2)
        shared = self.heads // self.kv_heads
        key, value = (each.repeat_interleave(shared, dim=1) for each in (key, value))
        scores = query @ key.transpose(-2, -1) / math.sqrt(self.head_size)
        places = torch.arange(length, device=x.device)
        scores = scores.masked_fill(places[:, None] < places, float("-inf"))
        mixed = torch.softmax(scores, dim=-1) @ value
        return self.o(mixed.transpose(1, 2).reshape(batch, length, -1))


class SwiGLU(nn.Module):
    """A gated layer: `down(silu(gate(x)) * up(x))`."""

    def __init__(self, width: int, *, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what this layer writes, (batch, length, width)."""
        return self.down(functional.silu(self.gate(x)) * self.up(x))


class LlamaBlock(nn.Module):
    """Attention and a gated layer, each a pre-norm residual branch."""

    def __init__(self, width: int, *, heads: int, kv_heads: int, context: int) -> None:
        super().__init__()
        self.norm1 = RootMeanSquare(width)
        self.attention = GroupedQueryAttention(
            width, heads=heads, kv_heads=kv_heads, context=context
        )
        self.norm2 = RootMeanSquare(width)
        self.mlp = SwiGLU(width, hidden=8 * width // 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the stream with this block's two writes."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Llama(nn.Module):
    """A token table, blocks, a norm, and a head of its own."""

    def __init__(
        self,
        *,
        vocabulary: int,
        context: int,
        depth: int,
        width: int,
        heads: int,
        kv_heads: int,
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(
            LlamaBlock(width, heads=heads, kv_heads=kv_heads, context=context) for _ in range(depth)
        )
        self.norm = RootMeanSquare(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.vocabulary = vocabulary
        self.context = context

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return logits, (batch, length, vocabulary), for token numbers, (batch, length)."""
        x = self.tokens(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

    def example_input(self, batch: int = 2, *, seed: int = 0) -> torch.Tensor:
        """Return token numbers, at most 16 in a row."""
        return _examples.tokens(batch, min(16, self.context), high=self.vocabulary, seed=seed)


def llama(
    vocabulary: int = 256,
    *,
    context: int = 64,
    depth: int = 3,
    width: int = 128,
    heads: int = 4,
    kv_heads: int = 2,
) -> Llama:
    """Build a Llama: rotary positions, grouped queries, SwiGLU, root-mean-square norms.

    Args:
        vocabulary: Number of tokens.
        context: Longest sequence.
        depth: Blocks.
        width: Channels of the residual stream; an even multiple of `heads`.
        heads: Attention heads of the queries; a multiple of `kv_heads`.
        kv_heads: Attention heads of the keys and values.

    Reference:
        Touvron et al., "Llama 2", 2023, section 2.2.
    """
    return Llama(
        vocabulary=vocabulary,
        context=context,
        depth=depth,
        width=width,
        heads=heads,
        kv_heads=kv_heads,
    )
