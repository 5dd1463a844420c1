"""State spaces and recurrences, alone and among layers of attention."""

from __future__ import annotations

from benchmarks.transformers_models.making import IDS, TEXT, WIDE, Made, decoder, named

STATE = {**IDS, "hidden_size": 64, "num_hidden_layers": 2}


def mamba() -> Made:
    """Selective state spaces."""
    return decoder("MambaForCausalLM", "MambaConfig", **STATE, state_size=8)


def mamba2() -> Made:
    """State spaces in heads, over chunks."""
    return decoder(
        "Mamba2ForCausalLM", "Mamba2Config", **STATE, state_size=8, num_heads=8, head_dim=16,
        n_groups=2, chunk_size=4, expand=2,
    )  # fmt: skip


def falcon_mamba() -> Made:
    """Mamba with norms on what its step, input and output depend on."""
    return decoder("FalconMambaForCausalLM", "FalconMambaConfig", **STATE, state_size=8)


def rwkv() -> Made:
    """Linear attention as a recurrence of exponentials, written step by step."""
    return decoder(
        "RwkvForCausalLM", "RwkvConfig", **STATE, attention_hidden_size=64, context_length=64
    )


def recurrent_gemma() -> Made:
    """A gated linear recurrence in turns with attention over a window."""
    return decoder(
        "RecurrentGemmaForCausalLM", "RecurrentGemmaConfig", **IDS, hidden_size=64,
        num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=1, intermediate_size=128,
        lru_width=64, attention_window_size=8, head_dim=16,
    )  # fmt: skip


def jamba() -> Made:
    """State spaces, attention, and experts in turns."""
    return decoder(
        "JambaForCausalLM", "JambaConfig", **TEXT, intermediate_size=96, num_key_value_heads=2,
        num_experts=4, attn_layer_period=2, attn_layer_offset=1, expert_layer_period=2,
        expert_layer_offset=1, mamba_d_state=8, use_mamba_kernels=False,
    )  # fmt: skip


def xlstm() -> Made:
    """Matrices for memories, with exponential gates."""
    return decoder("xLSTMForCausalLM", "xLSTMConfig", **STATE, num_heads=4, chunk_size=8)


def falcon_h1() -> Made:
    """Attention and a state space side by side, with multipliers."""
    return decoder(
        "FalconH1ForCausalLM", "FalconH1Config", **WIDE, num_key_value_heads=2, mamba_d_ssm=64,
        mamba_n_heads=4, mamba_d_head=16, mamba_d_state=8, mamba_chunk_size=4,
    )  # fmt: skip


def lfm2() -> Made:
    """Short convolutions behind gates, in turns with attention."""
    return decoder(
        "Lfm2ForCausalLM", "Lfm2Config", **WIDE, num_key_value_heads=2,
        layer_types=["conv", "full_attention"],
    )  # fmt: skip


RECURRENT = named(
    mamba, mamba2, falcon_mamba, rwkv, recurrent_gemma, jamba, xlstm, falcon_h1, lfm2
)  # fmt: skip
