"""Two towers, one for pictures and one for text, that learn to agree."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from xavier.frameworks.torch.zoo import _examples

_SIDE, _PATCH = 16, 4  # pixels of a picture, and of a patch


class TowerBlock(nn.Module):
    """torch's multi-head attention and a GELU layer, each a pre-norm residual branch."""

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the stream with this block's two writes."""
        y = self.norm1(x)
        mixed, _ = self.attention(y, y, y, need_weights=False)
        x = x + mixed
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class ImageTower(nn.Module):
    """Patches and a class token through blocks; the class token's channels come out."""

    def __init__(self, *, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, _PATCH, stride=_PATCH, bias=False)
        self.class_token = nn.Parameter(torch.empty(width))
        self.positions = nn.Embedding((_SIDE // _PATCH) ** 2 + 1, width)
        self.blocks = nn.ModuleList(TowerBlock(width, heads=heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the class token to zero: its position tells it from the patches."""
        nn.init.zeros_(self.class_token)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return features, (batch, width), for pictures, (batch, 3, 16, 16)."""
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(x.shape[0], 1, -1), x], dim=1)
        x = x + self.positions(torch.arange(x.shape[1], device=x.device))
        for block in self.blocks:
            x = block(x)
        return self.norm(x[:, 0])


class TextTower(nn.Module):
    """Token numbers through blocks; the last token's channels come out."""

    def __init__(
        self, *, vocabulary: int, context: int, width: int, heads: int, depth: int
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(TowerBlock(width, heads=heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return features, (batch, width), for token numbers, (batch, length)."""
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        return self.norm(x[:, -1])


class TwoTowers(nn.Module):
    """Features of both towers in one space, and a learned temperature."""

    def __init__(
        self, *, vocabulary: int, context: int, width: int, heads: int, depth: int
    ) -> None:
        super().__init__()
        self.image = ImageTower(width=width, heads=heads, depth=depth)
        self.text = TextTower(
            vocabulary=vocabulary, context=context, width=width, heads=heads, depth=depth
        )
        self.image_projection = nn.Linear(width, width, bias=False)
        self.text_projection = nn.Linear(width, width, bias=False)
        self.logit_scale = nn.Parameter(torch.empty(()))
        self.vocabulary, self.context = vocabulary, context
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the logit scale to the logarithm of 1 / 0.07."""
        nn.init.constant_(self.logit_scale, math.log(1 / 0.07))

    def forward(self, images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """Return scaled cosines, (pictures, texts)."""
        seen = functional.normalize(self.image_projection(self.image(images)), dim=-1)
        read = functional.normalize(self.text_projection(self.text(texts)), dim=-1)
        return self.logit_scale.exp() * seen @ read.t()

    def example_input(self, batch: int = 2, *, seed: int = 0) -> dict[str, torch.Tensor]:
        """Return as many pictures of standard normal pixels as rows of token numbers."""
        return {
            "images": _examples.normal(batch, 3, _SIDE, _SIDE, seed=seed),
            "texts": _examples.tokens(batch, self.context, high=self.vocabulary, seed=seed),
        }


def clip_like(
    vocabulary: int = 128, *, context: int = 12, width: int = 64, heads: int = 4, depth: int = 2
) -> TwoTowers:
    """Build two towers with a learned logit scale.

    Args:
        vocabulary: Number of tokens.
        context: Longest text.
        width: Channels of both towers; a multiple of `heads`.
        heads: Attention heads.
        depth: Blocks of each tower.

    Reference:
        Radford et al., "Learning Transferable Visual Models From Natural Language
        Supervision", 2021, figure 3.
    """
    return TwoTowers(vocabulary=vocabulary, context=context, width=width, heads=heads, depth=depth)
