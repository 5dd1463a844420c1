"""Encoders of texts."""

from __future__ import annotations

from benchmarks.transformers_models.making import TEXT, WIDE, Made, encoder, named


def bert() -> Made:
    """Norms after the adds, and a head tied to the table."""
    return encoder("BertForMaskedLM", "BertConfig", **WIDE)


def roberta() -> Made:
    """BERT with positions counted from the padding token."""
    settings = {**WIDE, "max_position_embeddings": 40}
    return encoder("RobertaForSequenceClassification", "RobertaConfig", **settings)


def distilbert() -> Made:
    """BERT with half of its layers and a classifier of two."""
    return encoder(
        "DistilBertForSequenceClassification", "DistilBertConfig", vocab_size=96, dim=64,
        n_layers=2, n_heads=4, hidden_dim=128, max_position_embeddings=32, pad_token_id=2,
    )  # fmt: skip


def albert() -> Made:
    """One layer used over and over, behind a table of thin rows."""
    return encoder("AlbertForMaskedLM", "AlbertConfig", **WIDE, embedding_size=32)


def electra() -> Made:
    """A discriminator of every token."""
    return encoder("ElectraForPreTraining", "ElectraConfig", **WIDE, embedding_size=32)


def deberta() -> Made:
    """Layers that are applied to a table of relative positions."""
    return encoder(
        "DebertaV2ForMaskedLM", "DebertaV2Config", **WIDE, relative_attention=True,
        pos_att_type=["p2c", "c2p"], position_buckets=8,
    )  # fmt: skip


def modernbert() -> Made:
    """Norms before, gated layers, and windows of attention in turns with the whole."""
    return encoder(
        "ModernBertForMaskedLM", "ModernBertConfig", **WIDE, cls_token_id=0, sep_token_id=1,
        local_attention=4,
    )  # fmt: skip


def mpnet() -> Made:
    """BERT with a table of relative positions that is added to the scores."""
    settings = {**WIDE, "max_position_embeddings": 40}
    return encoder("MPNetForMaskedLM", "MPNetConfig", **settings)


def fnet() -> Made:
    """A Fourier transform in place of attention."""
    settings = {each: WIDE[each] for each in WIDE if each != "num_attention_heads"}
    return encoder("FNetForMaskedLM", "FNetConfig", **settings)


def funnel() -> Made:
    """Sequences that are pooled on their way and stretched again."""
    return encoder(
        "FunnelForMaskedLM", "FunnelConfig", vocab_size=96, block_sizes=[1, 1],
        num_decoder_layers=1, d_model=64, n_head=4, d_head=16, d_inner=128,
    )  # fmt: skip


def xlnet() -> Made:
    """Relative positions contracted with weights of their own, stored as cubes."""
    return encoder(
        "XLNetLMHeadModel", "XLNetConfig", vocab_size=96, d_model=64, n_layer=2, n_head=4,
        d_inner=128,
    )  # fmt: skip


def squeezebert() -> Made:
    """Grouped convolutions of width 1 in place of dense layers."""
    return encoder("SqueezeBertForMaskedLM", "SqueezeBertConfig", **WIDE, embedding_size=64)


def longformer() -> Made:
    """Attention in windows that slide."""
    return encoder("LongformerForMaskedLM", "LongformerConfig", **WIDE, attention_window=4)


def mobilebert() -> Made:
    """Bottlenecks inside of every layer."""
    return encoder(
        "MobileBertForMaskedLM", "MobileBertConfig", **TEXT, intermediate_size=64,
        embedding_size=32, true_hidden_size=32, intra_bottleneck_size=32,
    )  # fmt: skip


ENCODERS = named(
    bert, roberta, distilbert, albert, electra, deberta, modernbert, mpnet, fnet, funnel, xlnet,
    squeezebert, longformer, mobilebert,
)  # fmt: skip
