"""Canonical names, and the parameters and buffers that stand behind them.

A name is the same however the model is wrapped and however its weights are stored: wrapper
prefixes and parametrization suffixes are removed, and a tied weight has its first name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import ParametrizationList
from torch.optim.swa_utils import AveragedModel

from xavier._errors import PlanError
from xavier.frameworks.torch._parametrizations import Effective, effective_weights
from xavier.frameworks.torch._storages import Form, end_of, forms_overlap, identity, place_of

_UNMISTAKABLE: Final = frozenset(
    {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
)
_WRAPPERS: Final = (DataParallel, DistributedDataParallel, AveragedModel)
_WRAPPER_NAMES: Final = frozenset({"DeepSpeedEngine"})
_ORIGINAL: Final = re.compile(r"(^|\.)parametrizations\.([^.]+)\.original\d*$")
_OLD_STYLE: Final = re.compile(r"(^|\.)(weight[^.]*)_(?:g|v|orig)$")


@dataclass(frozen=True, slots=True)
class Slot:
    """A parameter or buffer: its name, and the tensor that holds it.

    Attributes:
        name: Canonical name; of a tied weight the first one.
        shape: The shape of the effective weight; empty while it is lazy.
        dtype: The stored dtype.
        owner: The first module that has it.
        attribute: Its name there, such as `weight`.
        stored: What is written: the parameter itself, or weight norm's direction.
        magnitude: Weight norm's magnitude.
        parametrization: `weight_norm`, `spectral_norm`, `orthogonal`, the names of other
            parametrizations, or None.
        trainable: Whether it asks for a gradient.
        aliases: The other canonical names of the same storage.
        lazy: Whether its shape is not known before the first forward pass.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    owner: nn.Module
    attribute: str
    stored: torch.Tensor
    magnitude: torch.Tensor | None = None
    parametrization: str | None = None
    trainable: bool = True
    aliases: tuple[str, ...] = ()
    lazy: bool = False


def canonical(name: str, *, root: nn.Module | None = None) -> str:
    """Return a parameter's, buffer's or module's name without what wrappers add to it.

    Args:
        name: The name as `named_parameters` or `named_modules` gives it.
        root: The model that the name is of. Without it, `module` at the front counts as a
            wrapper's, and `weight_g`, `weight_v` and `weight_orig` as parts of a weight.

    Returns:
        The canonical name; empty for a wrapped model itself.

    Example:
        >>> canonical("module.0._orig_mod.parametrizations.weight.original")
        '0.weight'
    """
    parts = name.split(".")
    if root is None:
        return _OLD_STYLE.sub(r"\1\2", _ORIGINAL.sub(r"\1\2", bare(name)))
    stem, owner = _unwrapped(parts, root)
    last = stem[-1] if stem else ""
    for each in effective_weights(owner) if owner is not None else ():
        if any(held is each.stored or held is each.magnitude for held in _named(owner, last)):
            stem = [*stem[:-1], each.attribute]
    return _ORIGINAL.sub(r"\1\2", ".".join(stem))


def bare(name: str) -> str:
    """Return a name without what wrappers add to it; of a parametrization its parts remain."""
    kept = [part for part in name.split(".") if part not in _UNMISTAKABLE]
    return ".".join(kept[1:] if kept[:1] == ["module"] else kept)


def _unwrapped(parts: list[str], root: nn.Module) -> tuple[list[str], nn.Module | None]:
    """Return the parts that no wrapper added, and the module that the last part is looked up in."""
    kept: list[str] = []
    module: nn.Module | None = root
    owner: nn.Module | None = root
    for part in parts:
        if not (part in _UNMISTAKABLE or (part == "module" and _is_wrapper(module))):
            kept.append(part)
        owner = module
        module = None if module is None else dict(module._modules.items()).get(part)
    return kept, owner


def _named(owner: nn.Module | None, name: str) -> list[torch.Tensor]:
    held = None if owner is None else dict(owner._parameters.items()).get(name)
    return [] if held is None else [held]


def _is_wrapper(module: nn.Module | None) -> bool:
    if isinstance(module, _WRAPPERS):
        return True
    return any(each.__name__ in _WRAPPER_NAMES for each in type(module).__mro__)


def paths(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield every module under each of its canonical paths, in the model's order.

    A wrapper and the module in it have one path.
    """
    yield from _paths(model, "", ())


def _paths(
    module: nn.Module, path: str, above: tuple[nn.Module, ...]
) -> Iterator[tuple[str, nn.Module]]:
    if module in above:
        return
    yield path, module
    wrapper = _is_wrapper(module)
    for name, child in module._modules.items():
        if child is None:
            continue
        unseen = name in _UNMISTAKABLE or (wrapper and name == "module")
        yield from _paths(child, path if unseen else join(path, name), (*above, module))


def join(path: str, name: str) -> str:
    """Return the path of an attribute of the module at `path`."""
    return f"{path}.{name}" if path else name


def slots(model: nn.Module) -> tuple[Slot, ...]:
    """Return the parameters of a model in module order, tied ones once.

    Args:
        model: The model, on any device.

    Raises:
        PlanError: If two parameters share a part of their storage, or it is flattened.
    """
    return _merged(_parameters(model))


def buffers(model: nn.Module) -> tuple[Slot, ...]:
    """Return the buffers of a model in module order, shared ones once.

    Args:
        model: The model, on any device.
    """
    found: dict[Any, Slot] = {}
    for path, module in paths(model):
        for name, buffer in module._buffers.items():
            if buffer is None:
                continue
            full = join(path, name)
            if isinstance(module, ParametrizationList):
                full = _ORIGINAL.sub(r"\1\2", full)
            _add(found, identity(buffer), _slot(full, module, name, buffer))
    return tuple(found.values())


def _parameters(model: nn.Module) -> Iterator[Slot]:
    for path, module in paths(model):
        if isinstance(module, ParametrizationList):
            continue
        parts: set[int] = set()
        for each in effective_weights(module):
            parts.update(id(part) for part in each.parts)
            yield _effective_slot(join(path, each.attribute), module, each)
        for name, parameter in module._parameters.items():
            if parameter is None or id(parameter) in parts:
                continue
            if name == "_flat_param":
                told = f"`{join(path, name)}`: flattened parameters have no shape of their own"
                raise PlanError(told, hint="draw before sharding, or shard with fully_shard")
            yield _slot(join(path, name), module, name, parameter)


def _slot(name: str, module: nn.Module, attribute: str, tensor: torch.Tensor) -> Slot:
    lazy = is_lazy(tensor)
    return Slot(
        name=name,
        shape=() if lazy else tuple(tensor.shape),
        dtype=tensor.dtype,
        owner=module,
        attribute=attribute,
        stored=tensor,
        trainable=tensor.requires_grad,
        lazy=lazy,
    )


def _effective_slot(name: str, module: nn.Module, weight: Effective) -> Slot:
    plain = _slot(name, module, weight.attribute, weight.stored)
    return replace(
        plain,
        shape=weight.shape,
        magnitude=weight.magnitude,
        parametrization=weight.kind,
        trainable=any(part.requires_grad for part in weight.parts),
    )


def _add(found: dict[Any, Slot], key: Any, slot: Slot) -> None:
    first = found.setdefault(key, slot)
    known = (first.name, *first.aliases)
    if slot.name not in known:
        found[key] = replace(first, aliases=(*first.aliases, slot.name))


def _merged(found_slots: Iterable[Slot]) -> tuple[Slot, ...]:
    found: dict[Any, Slot] = {}
    for slot in found_slots:
        magnitude = None if slot.magnitude is None else identity(slot.magnitude)
        _add(found, (slot.parametrization, magnitude, identity(slot.stored)), slot)
    by_storage: dict[int, list[tuple[Form, Slot]]] = {}
    for slot in found.values():
        place = None if slot.lazy else place_of(slot.stored)
        if place is not None:
            by_storage.setdefault(place.storage, []).append((place.form, slot))
    for together in by_storage.values():
        _refuse_overlaps(together)
    return tuple(found.values())


def _refuse_overlaps(together: list[tuple[Form, Slot]]) -> None:
    reaching: list[tuple[Form, Slot]] = []
    for form, slot in sorted(together, key=lambda each: each[0][0]):
        reaching = [each for each in reaching if end_of(each[0]) > form[0]]
        for other, first in reaching:
            if forms_overlap(other, form):
                raise PlanError(
                    f"`{slot.name}` {slot.shape} shares a part of its storage with "
                    f"`{first.name}` {first.shape}; expected all of it or none",
                    hint="give one of them a storage of its own: nn.Parameter(weight.clone())",
                )
        reaching.append((form, slot))


def structure_digest(model: nn.Module, found: Iterable[Slot] | None = None) -> str:
    """Return a digest of the parameters' names, ties, shapes and parametrizations.

    It is the same for a wrapped model, a copy on another device, and another dtype.

    Args:
        model: The model, on any device.
        found: Its parameters, where they are known already.

    Returns:
        32 hexadecimal digits of BLAKE2b.
    """
    state = hashlib.blake2b(digest_size=16)
    for slot in slots(model) if found is None else found:
        line = (slot.name, slot.aliases, slot.shape, slot.parametrization)
        state.update(repr(line).encode("utf-8", "surrogatepass") + b"\n")
    return state.hexdigest()


def inner(model: nn.Module) -> nn.Module:
    """Return the model inside of all wrappers."""
    for name, child in model._modules.items():
        if name in _UNMISTAKABLE or (name == "module" and _is_wrapper(model)):
            return model if child is None else inner(child)
    return model
