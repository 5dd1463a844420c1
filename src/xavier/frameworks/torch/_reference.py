"""Named tensors to hold a model against: of a file, a folder, a state dict or a model.

Files are read one tensor at a time, and nothing in them is executed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from xavier._errors import MissingFrameworkError, TargetError, a, said
from xavier.frameworks.torch._storages import identity
from xavier.frameworks.torch.checkpoint import INDEX
from xavier.frameworks.torch.names import bare

_PICKLED: Final = (".pt", ".pth", ".bin")
_WHOLE: Final = "model.safetensors"


@dataclass(frozen=True, slots=True)
class Reference:
    """Named tensors.

    Attributes:
        what: What they are, in words.
        shapes: The shape of each.
        ties: Groups of names that are one storage, where that can be known.
    """

    what: str
    shapes: Mapping[str, tuple[int, ...]]
    ties: tuple[tuple[str, ...], ...]
    _get: Any

    def tensor(self, name: str) -> torch.Tensor:
        """Return one tensor; of a file, read now."""
        return self._get(name)


@contextmanager
def opened(reference: Any, *, option: str) -> Iterator[Reference]:
    """Give the named tensors of a reference.

    Args:
        reference: A model, a state dict, or the path of a safetensors file, of a folder of them, or
            of a file that `torch.save` wrote of a state dict.
        option: What named it, for the messages.

    Yields:
        The reference; a file is open as long as the block runs.

    Raises:
        TargetError: If it is none of these, or cannot be read.
        MissingFrameworkError: If `safetensors` is needed and not installed.
    """
    with ExitStack() as stack:
        if isinstance(reference, nn.Module):
            held = reference.state_dict(keep_vars=True)
            yield _of_mapping(held, f"{a(type(reference).__name__)}")
        elif isinstance(reference, Mapping):
            yield _of_mapping(reference, "a state dict")
        elif isinstance(reference, str | os.PathLike):
            path = Path(reference)
            pickled = path.suffix in _PICKLED and not path.is_dir()
            yield _unpickled(path, option) if pickled else _of_files(path, option, stack)
        else:
            told = (
                f"{option} is {a(type(reference).__name__)}, expected a path, state dict or model"
            )
            raise TargetError(told)


def matched(ours: Iterable[str], theirs: Iterable[str]) -> tuple[dict[str, str], str]:
    """Return which of their names is which of ours, and what tells them apart.

    What wrappers add to a name is left out of account, and so is one prefix that all names of
    one side have and the other side's lack, such as `model.`.

    Args:
        ours: The model's names.
        theirs: The reference's.

    Returns:
        Their name for each of ours that is there, and the prefix in words; empty without one.

    Example:
        >>> matched(["0.weight"], ["module.net.0.weight", "module.net.0.bias"])
        ({'0.weight': 'module.net.0.weight'}, 'net. before its names')
    """
    own, known = list(ours), {bare(name): name for name in theirs}
    best: dict[str, str] = {}
    told = ""
    for prefix, says in _prefixes(own, known):
        found = {
            name: known[place]
            for name in own
            if (place := _moved(bare(name), prefix, added=says == "before its names")) in known
        }
        if len(found) > len(best):
            best, told = found, f"{prefix} {says}" if prefix else ""
    return best, told


def _prefixes(ours: Iterable[str], theirs: Iterable[str]) -> Iterator[tuple[str, str]]:
    yield "", "before its names"
    for names, says in ((theirs, "before its names"), (ours, "before the model's names")):
        firsts = dict.fromkeys(bare(name).partition(".")[0] + "." for name in names)
        yield from ((first, says) for first in firsts)


def _moved(name: str, prefix: str, *, added: bool) -> str:
    return prefix + name if added else name.removeprefix(prefix)


def _of_mapping(held: Mapping[Any, Any], what: str) -> Reference:
    tensors = {str(name): each for name, each in held.items() if isinstance(each, torch.Tensor)}
    if not tensors:
        raise TargetError(f"{what} holds no tensor", hint="pass model.state_dict()")
    groups: dict[Hashable, list[str]] = {}
    for name, each in tensors.items():
        groups.setdefault(identity(each), []).append(name)
    ties = tuple(tuple(names) for names in groups.values() if names[1:])
    shapes = {name: tuple(each.shape) for name, each in tensors.items()}
    return Reference(what, shapes, ties, lambda name: tensors[name].detach())


def _unpickled(path: Path, option: str) -> Reference:
    _require_file(path, option)
    try:
        held = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        told = f"{option} {path} cannot be read: {said(error).partition('. ')[0]}"
        hint = "only a state dict of tensors is read; nothing in it is executed"
        raise TargetError(told, hint=hint) from error
    if not isinstance(held, Mapping):
        told = f"{option} {path} holds {a(type(held).__name__)}, expected a state dict"
        raise TargetError(told, hint="save it with torch.save(model.state_dict(), path)")
    inner = held.get("state_dict", held)
    return _of_mapping(inner if isinstance(inner, Mapping) else held, str(path))


def _of_files(path: Path, option: str, stack: ExitStack) -> Reference:
    try:
        from safetensors import safe_open  # noqa: PLC0415 - optional
    except ImportError:
        raise MissingFrameworkError("safetensors", extra="torch") from None
    places: dict[str, Any] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for file in _files(path, option):
        _require_file(file, option)
        try:
            one = stack.enter_context(safe_open(str(file), "pt"))
            for name in one.keys():  # noqa: SIM118 - no mapping
                places[name], shapes[name] = one, tuple(one.get_slice(name).get_shape())
        except Exception as error:
            told = f"{option} {file} cannot be read: {said(error)}"
            raise TargetError(told, hint="is it a safetensors file, and whole?") from error
    return Reference(str(path), shapes, (), lambda name: places[name].get_tensor(name))


def _files(path: Path, option: str) -> list[Path]:
    if not path.is_dir():
        return [path]
    if not (path / INDEX).is_file():
        return [path / _WHOLE]
    try:
        listed = json.loads((path / INDEX).read_text(encoding="utf-8"))["weight_map"].values()
        names = sorted(
            {Path(str(each)).name for each in listed}
        )  # in this folder, wherever it says
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        told = f"{option} {path / INDEX} cannot be read: {said(error)}"
        raise TargetError(told, hint="is it a checkpoint's index?") from error
    return [path / name for name in names]


def _require_file(path: Path, option: str) -> None:
    if not path.is_file():
        raise TargetError(f"{option} {path}: there is no such file", hint="is the path right?")
