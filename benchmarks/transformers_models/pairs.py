"""Encoders with decoders."""

from __future__ import annotations

from benchmarks.transformers_models.making import IDS, PAIR, Made, build, named, normal, pair

T5 = {**IDS, "d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4,
      "decoder_start_token_id": 0}  # fmt: skip


def t5() -> Made:
    """Tied tables, relative positions."""
    return pair("T5ForConditionalGeneration", "T5Config", **T5)


def mt5() -> Made:
    """T5 with gated layers and a head of its own."""
    return pair("MT5ForConditionalGeneration", "MT5Config", **T5)


def bart() -> Made:
    """Norms after the residual adds."""
    return pair("BartForConditionalGeneration", "BartConfig", **PAIR)


def marian() -> Made:
    """Positions that are sines, and swish."""
    return pair("MarianMTModel", "MarianConfig", **PAIR)


def pegasus() -> Made:
    """Norms before, sines for positions."""
    return pair("PegasusForConditionalGeneration", "PegasusConfig", **PAIR)


def led() -> Made:
    """An encoder whose attention slides."""
    settings = {**PAIR, "max_encoder_position_embeddings": 32, "attention_window": 4}
    del settings["max_position_embeddings"]
    settings["max_decoder_position_embeddings"] = 32
    return pair("LEDForConditionalGeneration", "LEDConfig", **settings)


def prophetnet() -> Made:
    """A decoder that foretells several tokens at once."""
    return pair(
        "ProphetNetForConditionalGeneration", "ProphetNetConfig", **IDS, hidden_size=64,
        num_encoder_layers=2, num_decoder_layers=2, num_encoder_attention_heads=4,
        num_decoder_attention_heads=4, encoder_ffn_dim=128, decoder_ffn_dim=128,
        max_position_embeddings=32, decoder_start_token_id=0,
    )  # fmt: skip


def time_series() -> Made:
    """Numbers in place of texts, and a distribution at the end."""
    model = build(
        "TimeSeriesTransformerForPrediction", "TimeSeriesTransformerConfig", prediction_length=4,
        context_length=8, lags_sequence=[1, 2], num_time_features=2, d_model=32, encoder_layers=2,
        decoder_layers=2, encoder_ffn_dim=64, decoder_ffn_dim=64,
    )  # fmt: skip
    given = {
        "past_values": normal(4, 10), "past_time_features": normal(4, 10, 2),
        "past_observed_mask": normal(4, 10) * 0 + 1, "future_values": normal(4, 4),
        "future_time_features": normal(4, 4, 2),
    }  # fmt: skip
    return model, given


PAIRS = named(t5, mt5, bart, marian, pegasus, led, prophetnet, time_series)
