"""Models, inputs and files for the command line."""

from __future__ import annotations

import math
import pickle
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from xavier._errors import MissingFrameworkError, TargetError, WriteError, a
from xavier._types.plan import Plan
from xavier.frameworks.torch._checkpoint_tensors import held_entries
from xavier.frameworks.torch._reference import Reference, matched, opened
from xavier.frameworks.torch._safetensors import content
from xavier.frameworks.torch._storages import identity

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
    if high is not None and high > torch.iinfo(getattr(torch, dtype)).max:
        raise TargetError(f"an {dtype} has no {high:,} values", hint="give a smaller number")
    try:
        if dtype == "bool":
            made = torch.rand(shape, generator=generator, device="cpu") < 0.5  # noqa: PLR2004 - a fair coin
        elif high is not None:
            kind = getattr(torch, dtype)
            made = torch.randint(high, shape, generator=generator, dtype=kind, device="cpu")
        else:
            made = torch.randn(shape, generator=generator, device="cpu").to(getattr(torch, dtype))
        return made.to(torch.get_default_device())
    except (RuntimeError, MemoryError, TypeError, ValueError):
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
        ends = f"files that end in {path.suffix}" if path.suffix else "a file without a suffix"
        raise TargetError(f"--batch {path}: cannot read {ends}", hint=f"known: {known}")
    if path.is_dir():
        raise TargetError(f"--batch {path} is a folder, expected a file of arrays")
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


def save_weights(model: nn.Module, plan: Plan, path: Path) -> None:
    """Write a model's parameters and buffers as safetensors, tied ones once.

    Args:
        model: The model, on real devices.
        plan: What drew it, noted in the file's header.
        path: The file, which is replaced.

    Raises:
        DtypeError: If a tensor's dtype has no place in the format.
        WriteError: If it cannot be written.
    """
    entries = tuple(held_entries(model))
    try:
        with path.open("wb") as file:
            file.writelines(content(entries, plan))
    except OSError as error:
        told = f"the weights could not be written: {error.strerror}"
        raise WriteError(told, hint="is there room on the disk?") from error


def load_weights(model: nn.Module, path: Path) -> None:
    """Load the weights of a checkpoint into a model, all of them or none.

    Names are matched as `_reference.matched` does; tied weights may be there under any of their
    names. One tensor at a time is in memory.

    Args:
        model: The model.
        path: A safetensors file, a folder of them, or a state dict that `torch.save` wrote.

    Raises:
        TargetError: If the file cannot be read, or does not fit the model.
        MissingFrameworkError: If `safetensors` is needed and not installed.
    """
    with opened(path, option="--weights") as file:
        groups: dict[Any, tuple[list[str], torch.Tensor]] = {}
        for name, tensor in model.state_dict(keep_vars=True).items():
            if isinstance(tensor, torch.Tensor):
                groups.setdefault(identity(tensor), ([], tensor))[0].append(name)
        names, _ = matched([name for own, _ in groups.values() for name in own], file.shapes)
        _require_fit(list(groups.values()), names, file)
        with torch.no_grad():
            for own, tensor in groups.values():
                tensor.copy_(file.tensor(next(names[name] for name in own if name in names)))


def _require_fit(
    groups: list[tuple[list[str], torch.Tensor]], names: dict[str, str], file: Reference
) -> None:
    lost = [own[0] for own, _ in groups if not any(name in names for name in own)]
    more = [name for name in file.shapes if name not in names.values()]
    faults = [
        f"{len(found)} {what}, such as `{found[0]}`"
        for found, what in ((lost, "of the model's are missing"), (more, "are none of the model's"))
        if found
    ]
    for own, tensor in groups:
        for theirs in (names[name] for name in own if name in names):
            if file.shapes[theirs] != tuple(tensor.shape):
                faults.append(
                    f"`{own[0]}` is {tuple(tensor.shape)} here and {file.shapes[theirs]} there"
                )
    if faults:
        told = f"--weights {file.what} does not fit the model: {'; '.join(faults[:3])}"
        raise TargetError(told, hint="was it written for this model? --against tells all of it")


def _example(found: Any, path: Path) -> Any:
    if isinstance(found, torch.Tensor):
        return found
    if isinstance(found, list | tuple) and found and all(map(torch.is_tensor, found)):
        return tuple(found)
    if isinstance(found, dict) and found and all(map(torch.is_tensor, found.values())):
        if not all(isinstance(name, str) for name in found):
            odd = next(name for name in found if not isinstance(name, str))
            told = f"--batch {path} has a tensor under {odd!r}, expected names of arguments"
            raise TargetError(told, hint="save a tuple for positional arguments")
        ordered = [f"arr_{place}" for place in range(len(found))]
        if sorted(found) == sorted(ordered):
            found = tuple(found[name] for name in ordered)
            return found[0] if len(found) == 1 else found
        return next(iter(found.values())) if len(found) == 1 else found
    held = "nothing" if not found else a(type(found).__name__)
    raise TargetError(
        f"--batch {path} holds {held}, expected tensors",
        hint="a tensor, a tuple of tensors, or a dict of tensors by argument name",
    )


def _read_npz(path: Path) -> dict[str, torch.Tensor]:
    hint = "save it with numpy.savez, numbers only"
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise ValueError("it is a single array, no archive of them")
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        # numpy would have the file's code run, which is not for a stranger's file.
        foreign = isinstance(error, ValueError) and "pickle" in str(error)
        why = "it is no archive of numbers" if foreign else str(error)
        raise TargetError(f"--batch {path} cannot be read: {why}", hint=hint) from error
    try:
        return {name: torch.from_numpy(_native(array)) for name, array in arrays.items()}
    except TypeError as error:
        raise TargetError(f"--batch {path}: {error}", hint=hint) from error


def _native(array: np.ndarray) -> np.ndarray:
    """Return an array in this machine's byte order, which PyTorch wants."""
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        from safetensors import SafetensorError  # noqa: PLC0415 - optional
        from safetensors.torch import load_file  # noqa: PLC0415 - optional
    except ImportError:
        raise MissingFrameworkError("safetensors", extra="torch") from None
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        told = f"--batch {path} cannot be read: {error}"
        raise TargetError(told, hint="is it a safetensors file, and whole?") from error


def _read_pt(path: Path) -> Any:
    hint = "only tensors, tuples and dicts of them are read; nothing in it is executed"
    try:
        with warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        told = f"--batch {path} is refused: it holds more than tensors, or is damaged"
        raise TargetError(told, hint=hint) from error
    except Exception as error:
        told = f"--batch {path} cannot be read: {type(error).__name__}"
        raise TargetError(told, hint=hint) from error
