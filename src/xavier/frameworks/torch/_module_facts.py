"""What a module's type tells of its parameters, for modules whose type is known."""

from __future__ import annotations

import math
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, _NormBase)
_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}
_ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.ReLU: "relu", nn.ReLU6: "relu6", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid", nn.GELU: "gelu",
    nn.SiLU: "silu", nn.Mish: "mish", nn.Softplus: "softplus", nn.Softsign: "softsign",
    nn.ELU: "elu", nn.SELU: "selu", nn.CELU: "celu", nn.Hardtanh: "hardtanh",
    nn.Hardswish: "hardswish", nn.Hardsigmoid: "hardsigmoid", nn.Tanhshrink: "tanhshrink",
    nn.LogSigmoid: "log_sigmoid",
}  # fmt: skip


def module_facts(owner: nn.Module) -> dict[str, Any]:
    """Return what a module's type says; empty if the type is not known.

    The key `kind` is `dense`, `conv`, `conv_transpose`, `embedding`, `recurrent`, `attention`
    or `norm`; the others are the module's settings of the same names.
    """
    if isinstance(owner, _ConvNd):
        transposed = isinstance(owner, _ConvTransposeNd)
        return {
            "kind": "conv_transpose" if transposed else "conv",
            "stride": tuple(owner.stride),
            "dilation": tuple(owner.dilation),
            "groups": owner.groups,
        }
    if isinstance(owner, nn.Linear | nn.Bilinear):
        return {"kind": "dense", "transposed": False}
    if isinstance(owner, nn.Embedding | nn.EmbeddingBag):
        return {"kind": "embedding", "padding_idx": owner.padding_idx}
    if isinstance(owner, nn.RNNBase):
        gates = _GATES[owner.mode]
        return {"kind": "recurrent", "gates": gates, "hidden": owner.hidden_size,
                "lstm": gates == _GATES["LSTM"]}  # fmt: skip
    if isinstance(owner, nn.RNNCellBase):
        gates = owner.weight_hh.shape[0] // owner.hidden_size
        return {"kind": "recurrent", "gates": gates, "hidden": owner.hidden_size,
                "lstm": gates == _GATES["LSTM"]}  # fmt: skip
    if isinstance(owner, nn.MultiheadAttention):
        return {"kind": "attention"}
    if isinstance(owner, _NORMS):
        return {"kind": "norm"}
    if type(owner).__name__ == "Conv1D" and hasattr(owner, "nf"):  # transformers' dense layer
        return {"kind": "dense", "transposed": True}
    return {}


def default_fan_in(owner: nn.Module) -> int | None:
    """Return n of the U(+-1/sqrt(n)) that PyTorch draws a bias of a module from; None if unknown.

    It is the module's own, whatever has been put in the place of its weight.
    """
    if isinstance(owner, nn.Linear):
        return owner.in_features
    if isinstance(owner, nn.Bilinear):
        return owner.in1_features
    if isinstance(owner, _ConvNd):
        seen = owner.out_channels if isinstance(owner, _ConvTransposeNd) else owner.in_channels
        return seen // owner.groups * math.prod(owner.kernel_size)
    hidden = getattr(owner, "hidden_size", None)
    return hidden if isinstance(hidden, int) else None


def forget_gate(owner: nn.Module, attribute: str) -> slice | None:
    """Return where an LSTM's input bias holds its forget gate's; None for any other parameter."""
    facts = module_facts(owner)
    if not facts.get("lstm") or not attribute.startswith("bias_ih"):
        return None
    return slice(facts["hidden"], 2 * facts["hidden"])


def is_layer_weight(owner: nn.Module, attribute: str) -> bool:
    """Tell whether an attribute is what a layer of known type multiplies its input by."""
    kind = module_facts(owner).get("kind", "")
    return attribute == "weight" and kind in ("dense", "conv", "conv_transpose")


def activation_name(module: nn.Module) -> str | None:
    """Return the registered name of an activation module, or None if it is none we know."""
    if isinstance(module, nn.LeakyReLU):
        return f"leaky_relu({module.negative_slope})"
    if isinstance(module, nn.GELU) and module.approximate == "tanh":
        return "gelu_tanh"
    return _ACTIVATIONS.get(type(module))


def fed_by_order(model: nn.Module) -> dict[nn.Module, str]:
    """Return, for each weighted module, the activation module that stands before it in order."""
    found: dict[nn.Module, str] = {}
    last = "identity"
    for module in model.modules():
        if next(module.children(), None) is not None:
            continue
        name = activation_name(module)
        if name is not None:
            last = name
        elif module_facts(module).get("kind") == "norm":
            last = "normalization"
        elif module_facts(module):
            found[module] = last
            last = "identity"
    return found
