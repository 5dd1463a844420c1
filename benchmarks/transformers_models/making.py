"""How a model is made from a configuration, and what it is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Made = tuple[nn.Module, dict[str, Any]]
Maker = Callable[[], Made]

IDS = {"vocab_size": 96, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
BODY = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
TEXT = {**IDS, **BODY, "max_position_embeddings": 32}
WIDE = {**TEXT, "intermediate_size": 128}
VISION = {**BODY, "intermediate_size": 128, "image_size": 32}
SPEECH = {
    **WIDE, "conv_dim": (32, 32), "conv_kernel": (10, 4), "conv_stride": (5, 2),
    "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
PAIR = {
    **IDS, "d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128,
    "max_position_embeddings": 32, "decoder_start_token_id": 0,
}  # fmt: skip


def build(kind: str, config: str, **settings: Any) -> nn.Module:
    """Return a model of a class, with the configuration's settings.

    It is in evaluation mode, without the noise of dropouts, but for its batch norms: these do
    nothing before they have seen a batch, and it is how the model starts to train that matters.
    """
    import transformers

    model = getattr(transformers, kind)(getattr(transformers, config)(**settings)).eval()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train()
    return model


def ids(length: int = 8, *, batch: int = 4) -> torch.Tensor:
    """Return rows of tokens, none of them a special one."""
    generator = torch.Generator().manual_seed(length)
    return torch.randint(3, 96, (batch, length), generator=generator)


def normal(*shape: int) -> torch.Tensor:
    """Return standard normal numbers, the same on every call."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def pictures(side: int = 32) -> torch.Tensor:
    """Return four standardized pictures of three channels."""
    return normal(4, 3, side, side)


def encoder(kind: str, config: str, **settings: Any) -> Made:
    """Return a model that reads a text, and a text."""
    return build(kind, config, **settings), {"input_ids": ids()}


def decoder(kind: str, config: str, **settings: Any) -> Made:
    """Return a model that goes on with a text, and a text."""
    return build(kind, config, **settings), {"input_ids": ids(), "use_cache": False}


def pair(kind: str, config: str, **settings: Any) -> Made:
    """Return a model that writes one text after another, and two texts."""
    given = {"input_ids": ids(), "decoder_input_ids": ids(5), "use_cache": False}
    return build(kind, config, **settings), given


def viewer(kind: str, config: str, *, side: int = 32, **settings: Any) -> Made:
    """Return a model that looks at pictures, and pictures."""
    return build(kind, config, **settings), {"pixel_values": pictures(side)}


def named(*makers: Maker) -> dict[str, Maker]:
    """Return functions by their names."""
    return {each.__name__: each for each in makers}
