"""The numbers a model holds, as NumPy arrays, for the audit of weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils import parametrize

from xavier.frameworks.torch._parametrizations import effective_weights
from xavier.frameworks.torch._restore import unchanged
from xavier.frameworks.torch.names import buffers, canonical, slots
from xavier.frameworks.torch.owners import made_anew

_CONSTRAINTS = ("spectral_norm", "orthogonal")
_BEGIN_AT_ZERO = ("running_mean", "num_batches_tracked")


@dataclass(frozen=True, slots=True)
class Stored:
    """A parameter, a buffer, or the effective weight that a parametrization computes.

    Attributes:
        name: The canonical name; an effective weight bears its own, such as `conv.weight`.
        kind: `parameter`, `buffer`, `effective`, or `constrained` for an effective weight
            whose size is its parametrization's.
        array: The values this process holds, in float32 or float64.
        frozen: Whether it takes no gradient.
    """

    name: str
    kind: str
    array: NDArray[Any]
    frozen: bool


class Walk:
    """All arrays of a model, from the first to the last as often as they are asked for.

    Attributes:
        runs_code: Whether to walk is to run parametrizations, some of which keep a state: walk
            under `unchanged` then.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.runs_code = any(map(parametrize.is_parametrized, model.modules()))

    def __iter__(self) -> Iterator[Stored]:
        return stored(self._model)


def stored(model: nn.Module) -> Iterator[Stored]:
    """Yield every floating parameter, buffer and effective weight, one at a time.

    Parametrizations are run to get effective weights, some of which keep a state: call this
    under `unchanged`.

    Args:
        model: The model, on a real device.

    Yields:
        Tied parameters once. Arrays may share memory with the model; do not write to them.
    """
    hidden = _parts_of_parametrizations(model)
    for name, parameter in model.named_parameters():
        if id(parameter) not in hidden and parameter.is_floating_point():
            frozen = not parameter.requires_grad
            yield Stored(canonical(name), "parameter", _array(parameter), frozen)
    for name, buffer in model.named_buffers():
        if id(buffer) not in hidden and buffer.is_floating_point():
            yield Stored(canonical(name), "buffer", _array(buffer), frozen=True)
    for path, module in model.named_modules():
        if parametrize.is_parametrized(module):
            constrained = {
                each.attribute for each in effective_weights(module) if each.kind in _CONSTRAINTS
            }
            for tensor_name in _parametrized_names(module):
                with torch.no_grad():
                    value = getattr(module, tensor_name)
                name = canonical(f"{path}.{tensor_name}" if path else tensor_name)
                if value.is_floating_point():
                    kind = "constrained" if tensor_name in constrained else "effective"
                    yield Stored(name, kind, _array(value), frozen=False)


def unregistered(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield path and kind of tensors that modules hold outside their parameters.

    Args:
        model: The model.

    Yields:
        The path, and `plain` for a tensor that asks for a gradient but is no parameter, so
        that no optimizer sees it; `stale` for a weight whose parametrization's parameters
        are there while the hook that recomputes it is not.
    """
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            continue
        for name, value in vars(module).items():
            if not isinstance(value, torch.Tensor) or not value.is_floating_point():
                continue
            where = canonical(f"{path}.{name}" if path else name)
            parts = {f"{name}_g", f"{name}_v", f"{name}_orig"} & set(module._parameters)
            if parts:
                if not module._forward_pre_hooks:
                    yield where, "stale"
            elif value.requires_grad and value.is_leaf:
                yield where, "plain"


def unwritten(model: nn.Module) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield buffers that are zero everywhere and to which their owners give other values.

    Fresh memory most often holds zeros, so that what `to_empty` left looks like them. Owners'
    initializers are run on a double, and all that they touch is put back.

    Args:
        model: The model, on a real device.

    Yields:
        The canonical name and the shape.
    """
    silent = {
        slot.name: slot.shape
        for slot in buffers(model)
        if slot.stored.numel()
        and not slot.stored.is_quantized
        and slot.stored.layout == torch.strided
        and not slot.stored.any()
        and not slot.name.endswith(_BEGIN_AT_ZERO)
    }
    if not silent:
        return
    with unchanged(model):
        made = made_anew(model, silent)
    for name, value in made.items():
        if value.any():
            yield name, silent[name]


def tied(model: nn.Module) -> Iterator[tuple[str, ...]]:
    """Yield the names of every parameter that has several."""
    for slot in slots(model):
        if slot.aliases:
            yield slot.name, *slot.aliases


def untied(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield names that a Hugging Face model declares to be one tensor and that are two.

    Args:
        model: The model.

    Yields:
        The name that should be the other, and the other.
    """
    for path, module in model.named_modules():
        declared = getattr(module, "all_tied_weights_keys", None)
        if not isinstance(declared, dict):
            continue
        for name, other in declared.items():
            held = [_found(module, each) for each in (name, other)]
            if None not in held and held[0] is not held[1]:
                yield (
                    canonical(f"{path}.{name}".lstrip(".")),
                    canonical(f"{path}.{other}".lstrip(".")),
                )


def _found(module: nn.Module, name: str) -> torch.Tensor | None:
    for part in name.split("."):
        held = getattr(module, part, None)
        if held is None:
            return None
        module = held
    return module if isinstance(module, torch.Tensor) else None


def _parametrized_names(module: nn.Module) -> list[str]:
    held = module.parametrizations
    return [name for name, _ in held.named_children()] if isinstance(held, nn.Module) else []


def _parts_of_parametrizations(model: nn.Module) -> set[int]:
    return {
        id(tensor)
        for module in model.modules()
        if isinstance(module, parametrize.ParametrizationList)
        for tensor in (*module.parameters(), *module.buffers())
    }


def _array(tensor: torch.Tensor) -> NDArray[Any]:
    tensor = tensor.detach()
    tensor = getattr(tensor, "_local_tensor", tensor)
    if tensor.layout != torch.strided:
        # What a sparse tensor stores: zeros that it does not store are no fault.
        tensor = tensor.coalesce() if tensor.layout == torch.sparse_coo else tensor
        tensor = tensor.values()
    if tensor.dtype not in (torch.float32, torch.float64):
        tensor = tensor.float()
    return np.asarray(tensor.cpu().numpy())
