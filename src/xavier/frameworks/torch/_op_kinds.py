"""Which PyTorch operator does what to the signal.

Names are those of ATen's operators without overload and without the in-place underscore.
"""

from __future__ import annotations

from functools import cache

import torch

from xavier._types.flow import OpKind

# The axes of the two factors and of the result, as in an einsum.
PRODUCTS: dict[str, tuple[int, str, str, str]] = {
    "mm": (0, "ik", "kj", "ij"),
    "bmm": (0, "bik", "bkj", "bij"),
    "mv": (0, "ik", "k", "i"),
    "dot": (0, "k", "k", ""),
    "addmm": (1, "ik", "kj", "ij"),
    "baddbmm": (1, "bik", "bkj", "bij"),
    "addbmm": (1, "bik", "bkj", "ij"),
    "addmv": (1, "ik", "k", "i"),
    "_grouped_mm": (0, "ik", "ekj", "ij"),
}

ATTENTIONS = frozenset(
    {
        "_scaled_dot_product_attention_math",
        "_scaled_dot_product_flash_attention",
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_efficient_attention",
        "_scaled_dot_product_fused_attention_overrideable",
        "_scaled_dot_product_cudnn_attention",
    }
)

NORMALIZATIONS = frozenset(
    {
        "native_layer_norm",
        "native_group_norm",
        "native_batch_norm",
        "_native_batch_norm_legit",
        "_native_batch_norm_legit_no_training",
        "_native_batch_norm_legit_functional",
        "cudnn_batch_norm",
        "_batch_norm_no_update",
        "_batch_norm_with_update",
        "_fused_rms_norm",
        "rms_norm",
    }
)

_KINDS: dict[str, OpKind] = {
    **dict.fromkeys(ATTENTIONS, OpKind.ATTENTION),
    **dict.fromkeys(NORMALIZATIONS, OpKind.NORMALIZE),
    **dict.fromkeys(("embedding", "_embedding_bag"), OpKind.LOOKUP),
    **dict.fromkeys(("_softmax", "_safe_softmax"), OpKind.SOFTMAX),
    **dict.fromkeys(("_log_softmax",), OpKind.SOFTMAX),
    **dict.fromkeys(("mean", "var", "std", "linalg_vector_norm", "norm", "sum"), OpKind.MEAN),
    **dict.fromkeys(
        (
            *("avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool2d_with_indices"),
            *("max_pool3d_with_indices", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d"),
            *("adaptive_max_pool2d", "adaptive_max_pool3d", "amax", "amin", "max", "min"),
            *("median", "topk", "sort", "cummax", "logsumexp"),
        ),
        OpKind.POOL,
    ),
    **dict.fromkeys(
        (
            *("view", "_unsafe_view", "reshape", "_reshape_alias", "t", "transpose", "permute"),
            *("select", "slice", "expand", "squeeze", "unsqueeze", "split", "unsafe_split"),
            *("split_with_sizes", "unsafe_split_with_sizes", "unbind", "unsafe_chunk", "clone"),
            *("contiguous", "_to_copy", "detach", "alias", "lift_fresh", "lift_fresh_copy"),
            *("cat", "stack", "index_select", "index", "gather", "flip", "roll", "repeat"),
            *("as_strided", "unfold", "im2col", "col2im", "constant_pad_nd", "diagonal"),
            *("reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d"),
            *("masked_fill", "masked_select", "masked_scatter", "tril", "triu", "scatter"),
            *("index_put", "index_copy", "slice_scatter", "select_scatter", "index_add"),
            *("diagonal_scatter", "as_strided_scatter"),
            *("_index_put_impl", "scatter_add", "copy", "take", "take_along_dim", "rot90"),
            *("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "pixel_shuffle"),
            *("upsample_bilinear2d", "upsample_linear1d", "upsample_bicubic2d", "channel_shuffle"),
            *("repeat_interleave", "native_channel_shuffle", "pixel_unshuffle", "view_as"),
            *("_pad_circular", "native_dropout", "dropout", "unfold_copy", "diag_embed"),
            *("_nested_tensor_from_mask", "cumsum", "view_as_real", "view_as_complex"),
        ),
        OpKind.MOVE,
    ),
}

_ELEMENTWISE = frozenset(
    {"_prelu_kernel", "hardswish", "prelu", "rrelu_with_noise", "threshold", "zero"}
)
_SELECTS = frozenset(
    {
        *("select", "slice", "split", "unsafe_split", "split_with_sizes", "unbind", "unsafe_chunk"),
        *("unsafe_split_with_sizes", "index_select", "index", "gather", "flip", "roll", "diagonal"),
        *("cat", "stack", "take", "masked_select", "index_put", "index_add", "scatter", "rot90"),
        *("scatter_add", "copy", "as_strided", "unfold", "im2col", "slice_scatter"),
    }
)
_ADDS = frozenset({"add", "sub", "rsub"})


@cache
def base_name(func: torch._ops.OpOverload) -> str:
    """Return an operator's name without namespace, overload and in-place underscore."""
    name = func._schema.name.split("::")[-1]
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name


@cache
def kind_of(func: torch._ops.OpOverload) -> OpKind:
    """Return what an operator does to the signal; OPAQUE if nothing is known of it."""
    name = base_name(func)
    if name in PRODUCTS or name in ("convolution", "_convolution", "convolution_overrideable"):
        return OpKind.CONTRACT
    if name == "_trilinear":
        return OpKind.CONTRACT
    if name in _KINDS:
        return _KINDS[name]
    if name in _ADDS:
        return OpKind.ADD
    if name == "mul":
        return OpKind.MULTIPLY
    if torch.Tag.pointwise in func.tags or name in _ELEMENTWISE:
        return OpKind.ELEMENTWISE
    return OpKind.OPAQUE


def selects(func: torch._ops.OpOverload) -> bool:
    """Tell whether a MOVE takes some of the elements, so that its outputs are independent."""
    return base_name(func) in _SELECTS
