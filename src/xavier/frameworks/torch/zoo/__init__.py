"""Models written for this project: small, of every kind, and untrained.

Each is made by a factory without required arguments, and knows an input that it takes:
`model.example_input(batch, seed=0)`. Weights are drawn as torch draws them. A module that gives
a parameter or buffer a value on purpose does so in `reset_parameters`, so that a model built on
the meta device can be completed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from xavier._errors import UnknownNameError
from xavier.frameworks.torch.zoo.contrastive import clip_like
from xavier.frameworks.torch.zoo.experts import mixture_of_experts, unused_parameter
from xavier.frameworks.torch.zoo.language import gpt, llama
from xavier.frameworks.torch.zoo.perceptrons import (
    custom_activations,
    deep_sigmoid_mlp,
    deep_tanh_mlp,
    layer_scaled,
)
from xavier.frameworks.torch.zoo.pictures import plain_relu_cnn, resnet18, unet
from xavier.frameworks.torch.zoo.reparametrized import (
    hypernetwork,
    lora,
    spectral_normed,
    weight_normed,
)
from xavier.frameworks.torch.zoo.sequences import lstm, mamba_block

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


@dataclass(frozen=True, slots=True)
class ZooEntry:
    """One model of the zoo.

    Attributes:
        name: The name of its factory.
        factory: What builds it.
    """

    name: str
    factory: Callable[..., nn.Module]

    @property
    def summary(self) -> str:
        """Return what it is, in a sentence."""
        return (self.factory.__doc__ or "").strip().partition("\n")[0]

    def to_dict(self) -> dict[str, Any]:
        """Return name and summary as plain data."""
        return {"name": self.name, "summary": self.summary}


_FACTORIES: tuple[Callable[..., nn.Module], ...] = (
    deep_sigmoid_mlp,
    deep_tanh_mlp,
    custom_activations,
    layer_scaled,
    plain_relu_cnn,
    resnet18,
    unet,
    gpt,
    llama,
    mixture_of_experts,
    clip_like,
    lstm,
    mamba_block,
    weight_normed,
    spectral_normed,
    hypernetwork,
    lora,
    unused_parameter,
)
_ENTRIES = {factory.__name__: ZooEntry(factory.__name__, factory) for factory in _FACTORIES}


def names() -> tuple[str, ...]:
    """Return the names of all models, which are those of their factories."""
    return tuple(_ENTRIES)


def entries() -> tuple[ZooEntry, ...]:
    """Return all models: name, factory, summary."""
    return tuple(_ENTRIES.values())


def build(name: str, **kwargs: Any) -> nn.Module:
    """Return a new model.

    Args:
        name: One of `names()`.
        **kwargs: What its factory takes.

    Raises:
        UnknownNameError: If there is no such model; with the nearest names.
    """
    if name not in _ENTRIES:
        raise UnknownNameError("model of the zoo", name, _ENTRIES)
    return _ENTRIES[name].factory(**kwargs)


def example(name: str, **kwargs: Any) -> Any:
    """Return an input that a model takes when its factory is called without arguments.

    Args:
        name: One of `names()`.
        **kwargs: What `example_input` takes: `batch`, 2 by default, and `seed`, 0.

    Returns:
        A tensor, or a dict of keyword arguments, on the CPU; the same on every call.

    Raises:
        UnknownNameError: If there is no such model; with the nearest names.
    """
    with torch.device("meta"):
        model: Any = build(name)
    return model.example_input(**kwargs)
