"""Mixtures of experts."""

from __future__ import annotations

from benchmarks.transformers_models.making import IDS, TEXT, Made, decoder, named, pair

GROUPED = {**TEXT, "num_key_value_heads": 2}


def mixtral() -> Made:
    """Routed experts, their weights stacked."""
    return decoder(
        "MixtralForCausalLM", "MixtralConfig", **GROUPED, intermediate_size=96, num_local_experts=4
    )


def qwen2_moe() -> Made:
    """Routed experts beside one that always answers, behind a gate."""
    return decoder(
        "Qwen2MoeForCausalLM", "Qwen2MoeConfig", **GROUPED, intermediate_size=96,
        moe_intermediate_size=48, shared_expert_intermediate_size=96, num_experts=4,
        num_experts_per_tok=2,
    )  # fmt: skip


def olmoe() -> Made:
    """Many small experts, norms on queries and keys."""
    return decoder(
        "OlmoeForCausalLM", "OlmoeConfig", **GROUPED, intermediate_size=48, num_experts=4,
        num_experts_per_tok=2,
    )  # fmt: skip


def dbrx() -> Made:
    """Experts stacked along the rows of one matrix, queries, keys and values packed."""
    return decoder(
        "DbrxForCausalLM", "DbrxConfig", vocab_size=96, d_model=64, n_heads=4, n_layers=2,
        max_seq_len=32, ffn_config={"ffn_hidden_size": 96, "moe_num_experts": 4, "moe_top_k": 2},
        attn_config={"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
    )  # fmt: skip


def granitemoe() -> Made:
    """Experts whose inputs are sorted and split."""
    return decoder(
        "GraniteMoeForCausalLM", "GraniteMoeConfig", **GROUPED, intermediate_size=96,
        num_local_experts=4, num_experts_per_tok=2,
    )  # fmt: skip


def gpt_oss() -> Made:
    """Experts with biases and clamped gates, attention with sinks."""
    return decoder(
        "GptOssForCausalLM", "GptOssConfig", **GROUPED, intermediate_size=96, head_dim=16,
        num_local_experts=4, num_experts_per_tok=2, sliding_window=4,
    )  # fmt: skip


def deepseek_v3() -> Made:
    """Queries, keys and values behind thin layers; experts in groups, with a bias that balances."""
    return decoder(
        "DeepseekV3ForCausalLM", "DeepseekV3Config", **TEXT, intermediate_size=96,
        num_key_value_heads=4, moe_intermediate_size=48, n_routed_experts=4, n_shared_experts=1,
        num_experts_per_tok=2, n_group=2, topk_group=1, first_k_dense_replace=1, kv_lora_rank=32,
        q_lora_rank=32, qk_rope_head_dim=8, v_head_dim=16, qk_nope_head_dim=16,
    )  # fmt: skip


def switch() -> Made:
    """Encoder and decoder whose tokens each see one expert."""
    return pair(
        "SwitchTransformersForConditionalGeneration", "SwitchTransformersConfig", **IDS,
        d_model=64, d_kv=16, d_ff=128, num_layers=2, num_decoder_layers=2,
        num_sparse_encoder_layers=1, num_sparse_decoder_layers=1, num_heads=4, num_experts=4,
        expert_capacity=16, decoder_start_token_id=0,
    )  # fmt: skip


EXPERTS = named(
    mixtral, qwen2_moe, olmoe, dbrx, granitemoe, gpt_oss, deepseek_v3, switch
)  # fmt: skip
