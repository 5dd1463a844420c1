"""Models of the transformers library, built small from their configurations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

IDS = {"vocab_size": 96, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
BODY = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
TEXT = {**IDS, **BODY, "max_position_embeddings": 32}


def _ids(length: int = 8, *, batch: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(length)
    return torch.randint(3, 96, (batch, length), generator=generator)


def _pictures() -> torch.Tensor:
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def _made(kind: str, config: str, **settings: Any) -> nn.Module:
    import transformers

    return getattr(transformers, kind)(getattr(transformers, config)(**settings)).eval()


def _text(kind: str, config: str, **settings: Any) -> tuple[nn.Module, dict[str, Any]]:
    return _made(kind, config, **settings), {"input_ids": _ids(), "use_cache": False}


def gpt2():
    """Dense layers stored transposed (`Conv1D`), queries, keys and values packed."""
    return _text("GPT2LMHeadModel", "GPT2Config", **IDS, n_embd=64, n_layer=2, n_head=4)


def t5():
    """Encoder and decoder, tied tables, relative positions."""
    model = _made(
        "T5ForConditionalGeneration", "T5Config", **IDS, d_model=64, d_kv=16, d_ff=128,
        num_layers=2, num_heads=4,
    )  # fmt: skip
    return model, {"input_ids": _ids(), "decoder_input_ids": _ids(5), "use_cache": False}


def bart():
    """Encoder and decoder, norms after the residual adds."""
    model = _made(
        "BartForConditionalGeneration", "BartConfig", **IDS, d_model=64, encoder_layers=2,
        decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
        encoder_ffn_dim=128, decoder_ffn_dim=128, max_position_embeddings=32,
    )  # fmt: skip
    return model, {"input_ids": _ids(), "decoder_input_ids": _ids(5), "use_cache": False}


def mixtral():
    """Routed experts, their weights stacked."""
    return _text(
        "MixtralForCausalLM", "MixtralConfig", **TEXT, intermediate_size=96,
        num_key_value_heads=2, num_local_experts=4,
    )  # fmt: skip


def mamba():
    """Selective state spaces."""
    return _text("MambaForCausalLM", "MambaConfig", **IDS, hidden_size=64, num_hidden_layers=2,
                 state_size=8)  # fmt: skip


def rwkv():
    """Linear attention as a recurrence of exponentials, written step by step."""
    return _text("RwkvForCausalLM", "RwkvConfig", **IDS, hidden_size=64, num_hidden_layers=2,
                 attention_hidden_size=64, context_length=64)  # fmt: skip


def llama():
    """Grouped queries, SwiGLU, norms written out."""
    return _text("LlamaForCausalLM", "LlamaConfig", **TEXT, intermediate_size=128,
                 num_key_value_heads=2)  # fmt: skip


def gpt_neox():
    """Attention and MLP in parallel: `mlp + attention + stream`."""
    return _text("GPTNeoXForCausalLM", "GPTNeoXConfig", **TEXT, intermediate_size=128)


def phi():
    """Attention and MLP in parallel behind one norm."""
    return _text("PhiForCausalLM", "PhiConfig", **TEXT, intermediate_size=128)


def falcon():
    """Attention and MLP in parallel, one key for all queries."""
    return _text("FalconForCausalLM", "FalconConfig", **IDS, **BODY)


def bert():
    """An encoder with norms after the adds, and a head tied to the table."""
    model = _made("BertForMaskedLM", "BertConfig", **TEXT, intermediate_size=128)
    return model, {"input_ids": _ids()}


def deberta():
    """Layers that are applied to a table of relative positions."""
    model = _made(
        "DebertaV2ForMaskedLM", "DebertaV2Config", **TEXT, intermediate_size=128,
        relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=8,
    )  # fmt: skip
    return model, {"input_ids": _ids()}


def vit():
    """Patches of pictures, a class token."""
    model = _made("ViTForImageClassification", "ViTConfig", **BODY, intermediate_size=128,
                  image_size=32, patch_size=8)  # fmt: skip
    return model, {"pixel_values": _pictures()}


def convnext():
    """Depthwise convolutions, and branches behind a layer scale."""
    model = _made("ConvNextForImageClassification", "ConvNextConfig", hidden_sizes=[32, 64],
                  depths=[1, 2], num_stages=2, image_size=32)  # fmt: skip
    return model, {"pixel_values": _pictures()}


MODELS: dict[str, Callable[[], tuple[nn.Module, dict[str, Any]]]] = {
    each.__name__: each
    for each in (
        *(gpt2, t5, bart, mixtral, mamba, rwkv, llama, gpt_neox, phi, falcon),
        *(bert, deberta, vit, convnext),
    )
}
