"""The zoo: small untrained PyTorch models of every kind, for the demo, tests and documentation.

    >>> from xavier import zoo
    >>> model = zoo.gpt(depth=2)
    >>> model(model.example_input(batch=3)).shape
    torch.Size([3, 16, 256])

`names()` lists them, `example(name)` gives an input. On the command line a model is the target
`xavier.zoo:gpt`. PyTorch is imported when the first of these names is used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from xavier._errors import MissingFrameworkError

if TYPE_CHECKING:
    from xavier.frameworks.torch.zoo import (
        ZooEntry,
        build,
        clip_like,
        custom_activations,
        deep_sigmoid_mlp,
        deep_tanh_mlp,
        entries,
        example,
        gpt,
        hypernetwork,
        layer_scaled,
        llama,
        lora,
        lstm,
        mamba_block,
        mixture_of_experts,
        names,
        plain_relu_cnn,
        resnet18,
        spectral_normed,
        unet,
        unused_parameter,
        weight_normed,
    )

__all__ = [
    "ZooEntry",
    "build",
    "clip_like",
    "custom_activations",
    "deep_sigmoid_mlp",
    "deep_tanh_mlp",
    "entries",
    "example",
    "gpt",
    "hypernetwork",
    "layer_scaled",
    "llama",
    "lora",
    "lstm",
    "mamba_block",
    "mixture_of_experts",
    "names",
    "plain_relu_cnn",
    "resnet18",
    "spectral_normed",
    "unet",
    "unused_parameter",
    "weight_normed",
]


def __getattr__(name: str) -> Any:
    """Load a name on its first use, and keep it."""
    if name not in __all__:
        raise AttributeError(f"module 'xavier.zoo' has no attribute {name!r}")
    if find_spec("torch") is None:
        raise MissingFrameworkError("torch", extra="torch")
    value = getattr(import_module("xavier.frameworks.torch.zoo"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
