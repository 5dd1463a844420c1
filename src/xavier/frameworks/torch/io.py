"""Models, inputs and files for the command line."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from xavier._errors import MissingFrameworkError, TargetError, WriteError

_READERS = (".npz", ".safetensors", ".pt")


def is_model(thing: object) -> bool:
    """Return whether something is a model of this framework."""
    return isinstance(thing, nn.Module)


def seed_generator(seed: int) -> None:
    """Seed the framework's own generator, for models that draw their weights when built."""
    torch.manual_seed(seed)


def on_meta(factory: Callable[..., Any], kwargs: Mapping[str, Any]) -> Any:
    """Call a factory with the meta device as the default, so that its weights take no memory."""
    with torch.device("meta"):
        return factory(**kwargs)


def random_input(
    shape: tuple[int, ...], *, dtype: str, high: int | None, seed: int
) -> torch.Tensor:
    """Return an input made of standard normal numbers, integers or truth values.

    Args:
        shape: Its shape.
        dtype: The name of its dtype.
        high: For integers, one above the largest.
        seed: The seed of a generator of its own.

    Raises:
        TargetError: If there is not the memory for it.
    """
    generator = torch.Generator().manual_seed(seed)
    try:
        if dtype == "bool":
            return torch.rand(shape, generator=generator) < 0.5  # noqa: PLR2004
        if high is not None:
            kind = getattr(torch, dtype)
            return torch.randint(high, shape, generator=generator, dtype=kind)
        return torch.randn(shape, generator=generator).to(getattr(torch, dtype))
    except (RuntimeError, MemoryError):
        told = f"an input of shape {shape} cannot be made: {math.prod(shape):,} elements"
        raise TargetError(
            told, hint="give a smaller one; a plan depends on no batch size"
        ) from None


def load_batch(path: Path) -> Any:
    """Read an example from a file of arrays; nothing in the file is executed.

    Args:
        path: An `.npz`, `.safetensors` or `.pt` file. Arrays named `arr_0`, `arr_1`, … and a
            single array are positional; others go to the arguments of their names. A `.pt`
            file may hold a tensor, or a tuple or dict of tensors.

    Returns:
        A tensor, a tuple of tensors, or a dict of tensors.

    Raises:
        TargetError: If there is no such file, or it holds anything else.
        MissingFrameworkError: If `safetensors` is needed and not installed.
    """
    if path.suffix not in _READERS:
        known = ", ".join(_READERS)
        raise TargetError(f"--batch {path}: cannot read {path.suffix!r}", hint=f"known: {known}")
    if not path.is_file():
        raise TargetError(f"--batch {path}: there is no such file", hint="is the path right?")
    reader = {".npz": _read_npz, ".safetensors": _read_safetensors, ".pt": _read_pt}[path.suffix]
    return _example(reader(path), path)


def split_target(example: Any) -> tuple[Any, Any]:
    """Return an example without its entry `target`, and that entry; None if it has none."""
    if not isinstance(example, dict) or "target" not in example:
        return example, None
    rest = {name: value for name, value in example.items() if name != "target"}
    return (next(iter(rest.values())) if list(rest) == ["input"] else rest), example["target"]


def save_weights(model: nn.Module, path: Path, *, metadata: Mapping[str, str]) -> None:
    """Write a model's parameters and buffers as safetensors, tied ones once.

    Args:
        model: The model, on real devices.
        path: The file, which is replaced.
        metadata: What to note in the file's header.

    Raises:
        WriteError: If it cannot be written.
        MissingFrameworkError: If `safetensors` is not installed.
    """
    try:
        from safetensors.torch import save_model  # noqa: PLC0415 - optional
    except ImportError:
        raise MissingFrameworkError("safetensors", extra="torch") from None
    try:
        save_model(model, str(path), metadata=dict(metadata))
    except Exception as error:
        told = f"the weights could not be written: {type(error).__name__}: {error}"
        raise WriteError(told, hint="is there room on the disk?") from error


def load_weights(model: nn.Module, path: Path) -> None:
    """Load weights that `save_weights` wrote into a model, all of them or none.

    Raises:
        TargetError: If the file is no safetensors file, or does not fit the model.
        MissingFrameworkError: If `safetensors` is not installed.
    """
    try:
        from safetensors.torch import load_model  # noqa: PLC0415 - optional
    except ImportError:
        raise MissingFrameworkError("safetensors", extra="torch") from None
    try:
        load_model(model, str(path), strict=True)
    except Exception as error:
        told = f"--weights {path} does not fit: {type(error).__name__}: {error}"
        raise TargetError(told, hint="was it written for this model?") from error


def _example(found: Any, path: Path) -> Any:
    if isinstance(found, torch.Tensor):
        return found
    if isinstance(found, list | tuple) and found and all(map(torch.is_tensor, found)):
        return tuple(found)
    if isinstance(found, dict) and found and all(map(torch.is_tensor, found.values())):
        ordered = [f"arr_{place}" for place in range(len(found))]
        if sorted(found) == sorted(ordered):
            found = tuple(found[name] for name in ordered)
            return found[0] if len(found) == 1 else found
        return next(iter(found.values())) if len(found) == 1 else found
    held = "nothing" if not found else f"a {type(found).__name__}"
    raise TargetError(f"--batch {path} holds {held}, expected tensors")


def _read_npz(path: Path) -> dict[str, torch.Tensor]:
    hint = "save it with numpy.savez, numbers only"
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise TargetError(f"--batch {path} cannot be read: {error}", hint=hint) from error
    try:
        return {name: torch.from_numpy(array) for name, array in arrays.items()}
    except TypeError as error:
        raise TargetError(f"--batch {path}: {error}", hint=hint) from error


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        from safetensors import SafetensorError  # noqa: PLC0415 - optional
        from safetensors.torch import load_file  # noqa: PLC0415 - optional
    except ImportError:
        raise MissingFrameworkError("safetensors", extra="torch") from None
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise TargetError(f"--batch {path} cannot be read: {error}") from error


def _read_pt(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise TargetError(
            f"--batch {path} cannot be read: {type(error).__name__}",
            hint="only tensors, tuples and dicts of them are read; nothing in it is executed",
        ) from error
