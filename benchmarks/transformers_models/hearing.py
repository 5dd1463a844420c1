"""Models that listen."""

from __future__ import annotations

from typing import Any

from benchmarks.transformers_models.making import (
    BODY,
    PAIR,
    SPEECH,
    Made,
    build,
    ids,
    named,
    normal,
)


def _listener(kind: str, config: str, **settings: Any) -> Made:
    return build(kind, config, **{**SPEECH, **settings}), {"input_values": normal(4, 400)}


def wav2vec2() -> Made:
    """Convolutions over the waveform, positions by a weight-normed convolution."""
    return _listener("Wav2Vec2ForCTC", "Wav2Vec2Config")


def hubert() -> Made:
    """Wav2Vec2 with layer norms and norms before."""
    return _listener(
        "HubertForCTC", "HubertConfig", feat_extract_norm="layer", do_stable_layer_norm=True
    )


def wavlm() -> Made:
    """Relative positions behind a gate."""
    return _listener("WavLMForCTC", "WavLMConfig", num_buckets=16, max_bucket_distance=32)


def whisper() -> Made:
    """An encoder of spectra and a decoder of texts."""
    settings = {each: PAIR[each] for each in PAIR if each != "max_position_embeddings"}
    model = build(
        "WhisperForConditionalGeneration", "WhisperConfig", **settings, num_mel_bins=16,
        max_source_positions=16, max_target_positions=16, suppress_tokens=None,
        begin_suppress_tokens=None,
    )  # fmt: skip
    given = {"input_features": normal(4, 16, 32), "decoder_input_ids": ids(5), "use_cache": False}
    return model, given


def speecht5() -> Made:
    """A text in, spectra out, through a network with dropout that never stops."""
    model = build(
        "SpeechT5ForTextToSpeech", "SpeechT5Config", **BODY, vocab_size=96, encoder_layers=2,
        decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
        encoder_ffn_dim=128, decoder_ffn_dim=128, num_mel_bins=16, speech_decoder_prenet_units=32,
        speech_decoder_postnet_units=32, speech_decoder_postnet_layers=2, speaker_embedding_dim=16,
        max_text_positions=32, max_speech_positions=64,
    )  # fmt: skip
    given = {
        "input_ids": ids(), "decoder_input_values": normal(4, 6, 16),
        "speaker_embeddings": normal(4, 16),
    }  # fmt: skip
    return model, given


def ast() -> Made:
    """ViT over a spectrogram."""
    model = build(
        "ASTForAudioClassification", "ASTConfig", **BODY, intermediate_size=128, max_length=32,
        num_mel_bins=16, patch_size=8, time_stride=8, frequency_stride=8,
    )  # fmt: skip
    return model, {"input_values": normal(4, 32, 16)}


def encodec() -> Made:
    """A codec: strided convolutions, recurrences, and tables that are looked up."""
    model = build(
        "EncodecModel", "EncodecConfig", num_filters=8, upsampling_ratios=[4, 2], hidden_size=32,
        codebook_size=32, codebook_dim=32, target_bandwidths=[24.0], sampling_rate=8000,
    )  # fmt: skip
    return model, {"input_values": normal(4, 1, 320)}


HEARING = named(wav2vec2, hubert, wavlm, whisper, speecht5, ast, encodec)
