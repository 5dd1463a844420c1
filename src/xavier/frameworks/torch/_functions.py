"""Which of the framework's functions hold a weight, follow one, or lie between."""

from __future__ import annotations

from typing import Any

_CONVOLUTIONS = {f"conv{t}{d}d" for t in ("", "_transpose") for d in (1, 2, 3)}
_LOOPS = {"lstm", "gru", "rnn_tanh", "rnn_relu"}

RECURRENT = frozenset(_LOOPS | {f"{name}_cell" for name in _LOOPS})

TABLES = frozenset({"embedding", "embedding_bag"})

# These take a weight by its place: they count even where no data are seen to enter.
LAYERS = TABLES | _CONVOLUTIONS | RECURRENT | {"linear", "bilinear", "_convolution", "convolution"}

# These multiply any two tensors: they count if a weight meets data.
PRODUCTS = frozenset(
    {
        "matmul",
        "__matmul__",
        "__rmatmul__",
        "mm",
        "bmm",
        "mv",
        "addmm",
        "addbmm",
        "baddbmm",
        "addmv",
        "einsum",
        "tensordot",
        "inner",
        "linalg_multi_dot",
        "multi_dot",
        "chain_matmul",
        "_grouped_mm",
        "grouped_mm",
    }
)

# These pick rows of a table by the data.
SELECTIONS = frozenset({"__getitem__", "index_select", "take_along_dim", "gather"})

# These hold no weight that they contract, and change what the signal is: where the signal is looked
# at deeply, they are looked at too, beside the functions below.
NORMS = frozenset({"layer_norm", "rms_norm", "group_norm", "instance_norm", "batch_norm"})
SUMS = frozenset({"add", "add_", "__add__", "__radd__", "__iadd__"})

# These are looked into rather than at.
COMPOSITES = frozenset({"multi_head_attention_forward"})

ACTIVATIONS = frozenset(
    {
        "relu",
        "relu6",
        "leaky_relu",
        "prelu",
        "rrelu",
        "elu",
        "selu",
        "celu",
        "gelu",
        "silu",
        "mish",
        "softplus",
        "softsign",
        "tanh",
        "tanhshrink",
        "hardtanh",
        "hardsigmoid",
        "hardswish",
        "sigmoid",
        "expit",
        "logsigmoid",
        "log_sigmoid",
        "erf",
        "sin",
        "cos",
        "sinc",
        "atan",
        "arctan",
        "asinh",
        "arcsinh",
        "clamp",
        "clamp_min",
        "clip",
        "softshrink",
        "hardshrink",
        "threshold",
    }
)

# What lies between a weight and its activation without being one.
PASSING = frozenset(
    {
        "view",
        "reshape",
        "view_as",
        "reshape_as",
        "transpose",
        "permute",
        "t",
        "adjoint",
        "swapaxes",
        "movedim",
        "flatten",
        "unflatten",
        "contiguous",
        "squeeze",
        "unsqueeze",
        "chunk",
        "split",
        "unbind",
        "__getitem__",
        "narrow",
        "to",
        "type_as",
        "float",
        "half",
        "bfloat16",
        "double",
        "clone",
        "expand",
        "batch_norm",
        "layer_norm",
        "group_norm",
        "instance_norm",
        "rms_norm",
        "dropout",
        "dropout1d",
        "dropout2d",
        "dropout3d",
        "alpha_dropout",
        "add",
        "__add__",
        "__radd__",
        "__iadd__",
        "sub",
        "__sub__",
        "mul",
        "__mul__",
        "__rmul__",
        "div",
        "__truediv__",
        "pad",
        "masked_fill",
    }
)

_NAMES = {
    "__matmul__": "matmul",
    "__rmatmul__": "matmul",
    "linalg_multi_dot": "multi_dot",
    "expit": "sigmoid",
    "log_sigmoid": "logsigmoid",
    "arctan": "atan",
    "arcsinh": "asinh",
    "sin": "sine",
    "cos": "cosine",
}


def base(name: str) -> str:
    """Return a function's name without the underscore of its in-place form."""
    return name if name.startswith("__") else name.rstrip("_")


def common(name: str) -> str:
    """Return the one name of a function that the framework knows by several."""
    return _NAMES.get(base(name), base(name))


def named_by_bounds(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return the name of an activation, which for one that is cut to a range depends on it.

    A hardtanh from 0 up is flat for every negative input, by design, as ReLU is: it is ReLU6.
    """
    if name != "hardtanh":
        return name
    low = kwargs.get("min_val", args[1] if len(args) > 1 else -1.0)
    return "relu6" if low >= 0 else name
