"""Weights that a module computes from other tensors, in PyTorch's new style and its old one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrizations import _Orthogonal, _SpectralNorm, _WeightNorm
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

_KINDS: dict[type[nn.Module], str] = {
    _WeightNorm: "weight_norm",
    _SpectralNorm: "spectral_norm",
    _Orthogonal: "orthogonal",
}


@dataclass(frozen=True, slots=True)
class Effective:
    """A weight that is computed.

    Attributes:
        attribute: The name under which the module reads it.
        kind: As `Slot.parametrization`.
        shape: The shape of what is computed.
        stored: The tensor that is written.
        magnitude: Weight norm's magnitude.
        parts: Every tensor that it is computed from.
        machine: What computes it: a list of parametrizations, or a hook of the old style.
        dim: The axis that the norm of a weight norm or spectral norm leaves; -1 for none.
    """

    attribute: str
    kind: str
    shape: tuple[int, ...]
    stored: torch.Tensor
    magnitude: torch.Tensor | None
    parts: tuple[torch.Tensor, ...]
    machine: Any
    dim: int = -1


def effective_weights(module: nn.Module) -> Iterator[Effective]:
    """Yield the weights that a module computes from its own parameters."""
    held = getattr(module, "parametrizations", None)
    if isinstance(held, nn.ModuleDict):
        for attribute, machine in held.items():
            if isinstance(machine, ParametrizationList):
                made = _of_list(attribute, machine)
                if made is not None:
                    yield made
    for hook in module._forward_pre_hooks.values():
        made = _of_hook(module, hook)
        if made is not None:
            yield made


def _of_list(attribute: str, machine: ParametrizationList) -> Effective | None:
    originals = [part for part in machine._parameters.values() if part is not None]
    if not originals:
        return None  # a parametrized buffer
    steps: list[Any] = list(machine)
    kind = _KINDS.get(type(steps[0])) if len(steps) == 1 else None
    if kind == "weight_norm":
        magnitude, stored = originals
        shape, dim = tuple(stored.shape), steps[0].dim
    else:
        magnitude, stored, dim = None, originals[0], getattr(steps[0], "dim", -1)
        shape = tuple(stored.shape) if kind else _computed_shape(machine, originals)
    name = kind or "+".join(type(step).__name__ for step in steps)
    return Effective(attribute, name, shape, stored, magnitude, tuple(originals), machine, dim)


def _computed_shape(
    machine: ParametrizationList, originals: Sequence[torch.Tensor]
) -> tuple[int, ...]:
    """Return the shape of the weight, run on meta copies where it is not the stored one."""
    if any(is_lazy(part) for part in originals):
        return ()
    inverted = any(hasattr(step, "right_inverse") for step in machine)
    if len(originals) == 1 and not inverted:
        return tuple(originals[0].shape)
    held = machine.state_dict(keep_vars=True)
    state = {name: torch.empty_like(part, device="meta") for name, part in held.items()}
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            computed = torch.func.functional_call(machine, state, ())
        return tuple(computed.shape)
    except Exception:
        return tuple(originals[0].shape)


def _of_hook(module: nn.Module, hook: Any) -> Effective | None:
    if not isinstance(hook, WeightNorm | SpectralNorm | BasePruningMethod):
        return None
    parameters = dict(module._parameters.items())
    if isinstance(hook, WeightNorm):
        magnitude, stored = parameters.get(f"{hook.name}_g"), parameters.get(f"{hook.name}_v")
        if magnitude is None or stored is None:
            return None
        parts = (magnitude, stored)
        return Effective(
            hook.name, "weight_norm", tuple(stored.shape), stored, magnitude, parts, hook, hook.dim
        )
    if isinstance(hook, SpectralNorm):
        kind, name, dim = "spectral_norm", hook.name, hook.dim
    else:
        kind, name, dim = type(hook).__name__, hook._tensor_name, -1
    stored = parameters.get(f"{name}_orig")
    if stored is None:
        return None
    return Effective(name, kind, tuple(stored.shape), stored, None, (stored,), hook, dim)
