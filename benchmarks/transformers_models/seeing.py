"""Models that look at pictures, some of them beside a text."""

from __future__ import annotations

from benchmarks.transformers_models.making import (
    BODY,
    VISION,
    WIDE,
    Made,
    build,
    ids,
    named,
    pictures,
    viewer,
)


def vit() -> Made:
    """Patches of pictures, a class token."""
    return viewer("ViTForImageClassification", "ViTConfig", **VISION, patch_size=8)


def deit() -> Made:
    """ViT with a second token, and a mean of two heads."""
    return viewer("DeiTForImageClassificationWithTeacher", "DeiTConfig", **VISION, patch_size=8)


def swin() -> Made:
    """Windows that shift, and patches that merge."""
    return viewer(
        "SwinForImageClassification", "SwinConfig", image_size=32, patch_size=2, embed_dim=32,
        depths=[2, 2], num_heads=[2, 4], window_size=4,
    )  # fmt: skip


def beit() -> Made:
    """Layer scales, and relative positions of pixels."""
    return viewer(
        "BeitForImageClassification", "BeitConfig", **VISION, patch_size=8,
        use_relative_position_bias=True,
    )  # fmt: skip


def dinov2() -> Made:
    """ViT behind layer scales, with gated layers."""
    settings = {**BODY, "image_size": 32, "patch_size": 8, "mlp_ratio": 2}
    return viewer("Dinov2ForImageClassification", "Dinov2Config", **settings, use_swiglu_ffn=True)


def convnext() -> Made:
    """Depthwise convolutions, and branches behind a layer scale."""
    return viewer(
        "ConvNextForImageClassification", "ConvNextConfig", hidden_sizes=[32, 64], depths=[1, 2],
        num_stages=2, image_size=32,
    )  # fmt: skip


def resnet() -> Made:
    """Convolutions, batch norms, skips."""
    return viewer(
        "ResNetForImageClassification", "ResNetConfig", embedding_size=32, hidden_sizes=[64, 128],
        depths=[2, 2],
    )  # fmt: skip


def mobilenet() -> Made:
    """Inverted bottlenecks with depthwise convolutions."""
    return viewer(
        "MobileNetV2ForImageClassification", "MobileNetV2Config", image_size=64, side=64,
        depth_multiplier=0.5,
    )  # fmt: skip


def efficientnet() -> Made:
    """Depthwise convolutions, and channels weighed by their means."""
    return viewer(
        "EfficientNetForImageClassification", "EfficientNetConfig", side=64, image_size=64,
        width_coefficient=0.5, depth_coefficient=0.5, hidden_dim=640,
    )  # fmt: skip


def segformer() -> Made:
    """A pyramid of attention over fewer and fewer keys, and a head for every pixel."""
    return viewer(
        "SegformerForSemanticSegmentation", "SegformerConfig", side=64, num_encoder_blocks=2,
        depths=[1, 1], sr_ratios=[4, 2], hidden_sizes=[32, 64], patch_sizes=[7, 3],
        strides=[4, 2], num_attention_heads=[1, 2], mlp_ratios=[2, 2], decoder_hidden_size=32,
    )  # fmt: skip


def yolos() -> Made:
    """Tokens for detections beside those of patches."""
    return viewer(
        "YolosForObjectDetection", "YolosConfig", **{**VISION, "image_size": [32, 32]},
        patch_size=8, num_detection_tokens=10,
    )  # fmt: skip


def detr() -> Made:
    """A decoder of learned queries over a residual network's pictures."""
    import transformers

    backbone = transformers.ResNetConfig(
        embedding_size=32, hidden_sizes=[32, 64], depths=[1, 1], out_features=["stage2"]
    )
    return viewer(
        "DetrForObjectDetection", "DetrConfig", side=64, use_timm_backbone=False,
        use_pretrained_backbone=False, backbone=None, backbone_config=backbone, d_model=64,
        encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
        encoder_ffn_dim=128, decoder_ffn_dim=128, num_queries=10,
    )  # fmt: skip


def mae() -> Made:
    """An encoder of some patches and a decoder of all."""
    return viewer(
        "ViTMAEForPreTraining", "ViTMAEConfig", **VISION, patch_size=8, decoder_hidden_size=32,
        decoder_num_hidden_layers=1, decoder_num_attention_heads=2, decoder_intermediate_size=64,
    )  # fmt: skip


def _two(kind: str, config: str) -> Made:
    text = {**WIDE, "projection_dim": 32}
    model = build(kind, config, text_config=text, vision_config={**VISION, "patch_size": 8})
    return model, {"input_ids": ids(), "pixel_values": pictures()}


def clip() -> Made:
    """Two towers and a logit scale."""
    return _two("CLIPModel", "CLIPConfig")


def siglip() -> Made:
    """Two towers, pooled by an attention with one learned query."""
    return _two("SiglipModel", "SiglipConfig")


def perceiver() -> Made:
    """A few learned vectors that look at many pixels."""
    model = build(
        "PerceiverForImageClassificationLearned", "PerceiverConfig", num_latents=8, d_latents=64,
        d_model=64, num_blocks=1, num_self_attends_per_block=2, num_self_attention_heads=4,
        num_cross_attention_heads=4, image_size=16, num_labels=5,
    )  # fmt: skip
    return model, {"inputs": pictures(16)}


SEEING = named(
    vit, deit, swin, beit, dinov2, convnext, resnet, mobilenet, efficientnet, segformer, yolos,
    detr, mae, clip, siglip, perceiver,
)  # fmt: skip
