"""Decoders: models that go on with a text."""

from __future__ import annotations

from benchmarks.transformers_models.making import BODY, IDS, WIDE, Made, decoder, named

GROUPED = {**WIDE, "num_key_value_heads": 2}


def gpt2() -> Made:
    """Dense layers stored transposed (`Conv1D`), queries, keys and values packed."""
    return decoder("GPT2LMHeadModel", "GPT2Config", **IDS, n_embd=64, n_layer=2, n_head=4)


def gpt_neo() -> Made:
    """Attention without a scale, in turns over a window and over all."""
    return decoder(
        "GPTNeoForCausalLM", "GPTNeoConfig", **IDS, hidden_size=64, num_layers=2, num_heads=4,
        attention_types=[[["global", "local"], 1]], max_position_embeddings=32,
    )  # fmt: skip


def gpt_neox() -> Made:
    """Attention and MLP in parallel: `mlp + attention + stream`."""
    return decoder("GPTNeoXForCausalLM", "GPTNeoXConfig", **WIDE)


def opt() -> Made:
    """Norms before, ReLU."""
    return decoder(
        "OPTForCausalLM", "OPTConfig", **IDS, **BODY, ffn_dim=128, max_position_embeddings=32,
        word_embed_proj_dim=64,
    )  # fmt: skip


def bloom() -> Made:
    """Slopes added to the scores in place of positions."""
    return decoder("BloomForCausalLM", "BloomConfig", **IDS, hidden_size=64, n_layer=2, n_head=4)


def llama() -> Made:
    """Grouped queries, SwiGLU, norms written out."""
    return decoder("LlamaForCausalLM", "LlamaConfig", **GROUPED)


def mistral() -> Made:
    """Llama with a window of attention."""
    return decoder("MistralForCausalLM", "MistralConfig", **GROUPED, sliding_window=4)


def qwen2() -> Made:
    """Llama with biases on queries, keys and values."""
    return decoder("Qwen2ForCausalLM", "Qwen2Config", **GROUPED)


def qwen3() -> Made:
    """Llama with norms on queries and keys."""
    return decoder("Qwen3ForCausalLM", "Qwen3Config", **GROUPED, head_dim=16)


def gemma2() -> Made:
    """Norms on both sides of a branch, scores and logits behind a tanh, rows times the root."""
    return decoder("Gemma2ForCausalLM", "Gemma2Config", **GROUPED, head_dim=16)


def phi() -> Made:
    """Attention and MLP in parallel behind one norm."""
    return decoder("PhiForCausalLM", "PhiConfig", **WIDE)


def phi3() -> Made:
    """Gates and values packed in one weight."""
    return decoder("Phi3ForCausalLM", "Phi3Config", **GROUPED)


def falcon() -> Made:
    """Attention and MLP in parallel, one key for all queries."""
    return decoder("FalconForCausalLM", "FalconConfig", **IDS, **BODY)


def mpt() -> Made:
    """Slopes added to the scores, no biases."""
    return decoder("MptForCausalLM", "MptConfig", vocab_size=96, d_model=64, n_layers=2, n_heads=4)


def olmo2() -> Made:
    """Norms behind the branches alone."""
    return decoder("Olmo2ForCausalLM", "Olmo2Config", **GROUPED)


def granite() -> Made:
    """Llama with multipliers on rows, scores, branches and logits."""
    return decoder(
        "GraniteForCausalLM", "GraniteConfig", **GROUPED, embedding_multiplier=12.0,
        residual_multiplier=0.22, logits_scaling=8.0, attention_multiplier=0.0625,
    )  # fmt: skip


DECODERS = named(
    gpt2, gpt_neo, gpt_neox, opt, bloom, llama, mistral, qwen2, qwen3, gemma2, phi, phi3, falcon,
    mpt, olmo2, granite,
)  # fmt: skip
