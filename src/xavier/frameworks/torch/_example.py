"""The example input: how it is handed to a model, and what may be wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

import torch

from xavier._errors import a

_FEW: Final = 4  # tensors that a message describes
_SHAPE: Final = "does the example have the shape that the model takes?"
_CALL: Final = "pass a tuple for positional, or a mapping for keyword arguments"
_MEMORY: Final = "give fewer inputs: a verdict needs no more than a few"
_DTYPE: Final = "does the example have the dtype of the model's parameters?"
# What a message says, in lower case, and what it hints at; the first that fits.
_MARKS: Final = (
    ("torch.utils.checkpoint", "switch activation checkpointing off for this run"),
    ("out of memory", _MEMORY),
    ("can't allocate memory", _MEMORY),
    ("more than 1 value per channel", "give two inputs or more, or call model.eval() before"),
    ("recursion depth", "it is nested too deep to be watched: sys.setrecursionlimit(10_000)"),
    ("shapes cannot be multiplied", _SHAPE),
    ("size mismatch", _SHAPE),
    ("expected input", _SHAPE),
    ("reduction dim", _SHAPE),
    ("to be at least 1d", _SHAPE),
    ("positional argument", _CALL),
    ("keyword", _CALL),
    ("multiple values for argument", _CALL),
    ("out of range", "is an id in the example larger than the model's table?"),
    ("indices", "should the example hold integers, such as token ids?"),
    ("dtype", _DTYPE),
    ("scalar type", _DTYPE),
    ("device", "are the example and the model on the same device?"),
)


def arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the positional and the keyword arguments that an example stands for.

    Args:
        example: A tuple of positional arguments, a mapping of keyword arguments, or anything
            else, which is the one argument.
    """
    if isinstance(example, Mapping):
        return (), dict(example)
    return (tuple(example), {}) if isinstance(example, tuple) else ((example,), {})


def copied(example: Any) -> Any:
    """Return an example with each tensor copied once, so that no forward can write to it."""
    return _copied(example, {})


def _copied(value: Any, memo: dict[int, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        if id(value) not in memo:
            with torch.inference_mode(mode=False):
                memo[id(value)] = value.detach().clone()
        return memo[id(value)]
    if isinstance(value, Mapping):
        return {key: _copied(item, memo) for key, item in value.items()}
    if isinstance(value, tuple | list):
        items = [_copied(item, memo) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """Yield every tensor in nested sequences, sets, mappings and dataclasses, in order."""
    for each in leaves_of(value):
        if isinstance(each, torch.Tensor):
            yield each


def leaves_of(value: Any) -> Iterator[Any]:
    """Yield what nested sequences, sets, mappings and dataclasses hold, in order."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from leaves_of(item)
    elif isinstance(value, tuple | list | set | frozenset):
        for item in value:
            yield from leaves_of(item)
    elif is_dataclass(value) and not isinstance(value, type):
        for each in fields(value):
            yield from leaves_of(getattr(value, each.name, None))
    else:
        yield value


def describe(example: Any) -> str:
    """Return the shapes and dtypes of an example's tensors in a few words."""
    shapes = [
        f"{tuple(each.shape)} {str(each.dtype).removeprefix('torch.')}"
        for each in tensors_in(example)
    ]
    more = [f"{len(shapes) - _FEW} more"] if len(shapes) > _FEW else []
    return ", ".join(shapes[:_FEW] + more) or f"{a(type(example).__name__)} without tensors"


def hint_for(error: BaseException, example: Any) -> str:
    """Return a question or an advice for a model that raised on an example."""
    held = list(leaves_of(example))
    if any(type(each).__module__ == "numpy" for each in held):
        return "pass tensors: torch.from_numpy(array)"
    if held and isinstance(example, tuple) and all(type(each) is int for each in held):
        return f"an example is data, not a shape: torch.zeros({tuple(example)})"
    if isinstance(example, list):
        return "a list is one argument: pass a tuple for several"
    if not any(isinstance(each, torch.Tensor) for each in held):
        return "pass what the model's forward takes, such as a tensor"
    if isinstance(error, MemoryError):
        return _MEMORY
    text = str(error).lower()
    found = next((hint for mark, hint in _MARKS if mark in text), None)
    return found or "does the model run on this example by itself?"


def hint_for_backward(error: BaseException) -> str:
    """Return a question or an advice for a backward pass that raised."""
    text = f"{type(error).__name__} {error}".lower()
    if "checkpoint" in text:
        return "switch activation checkpointing off for this run"
    is_full = isinstance(error, MemoryError) or "out of memory" in text
    return _MEMORY if is_full else "does loss.backward() run on this model?"
