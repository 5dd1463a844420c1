"""Tensors in nested arguments, found without asking a registry about every number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as registry

_LEAVES = frozenset(
    {int, float, bool, str, type(None), torch.dtype, torch.device, torch.layout}
    | {torch.memory_format}
)


def tensors_of(tree: Any) -> list[torch.Tensor]:
    """Return the tensors in nested arguments, in order."""
    found: list[torch.Tensor] = []
    _collect(tree, found)
    return found


def _collect(tree: Any, found: list[torch.Tensor]) -> None:
    kind = type(tree)
    if kind in _LEAVES:
        return
    if kind is tuple or kind is list:
        for each in tree:
            _collect(each, found)
    elif kind is dict:
        for each in tree.values():
            _collect(each, found)
    elif isinstance(tree, torch.Tensor):
        found.append(tree)
    elif _is_nested(tree):
        leaves = registry.tree_leaves(tree)
        found.extend(each for each in leaves if isinstance(each, torch.Tensor))


def map_tensors(change: Callable[[torch.Tensor], Any], tree: Any) -> Any:
    """Return nested arguments with every tensor replaced by what `change` makes of it."""
    kind = type(tree)
    if kind in _LEAVES:
        return tree
    if isinstance(tree, torch.Tensor):
        return change(tree)
    if kind is tuple:
        return tuple([map_tensors(change, each) for each in tree])
    if kind is list:
        return [map_tensors(change, each) for each in tree]
    if kind is dict:
        return {key: map_tensors(change, each) for key, each in tree.items()}
    return registry.tree_map_only(torch.Tensor, change, tree) if _is_nested(tree) else tree


def _is_nested(thing: Any) -> bool:
    """Tell whether something is a container of another type than Python's plainest."""
    return isinstance(thing, tuple | list | dict) or type(thing) in registry.SUPPORTED_NODES
