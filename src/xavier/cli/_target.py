"""From a target on the command line to a model: the only code that runs is what was named."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from xavier._errors import MissingFrameworkError, TargetError, TraceError, a, said

_FORM = "write package.module:function or path/to/file.py:function"


def parse_kwargs(text: str | None) -> dict[str, Any]:
    """Return the factory's keyword arguments.

    Args:
        text: A JSON object, or None.

    Raises:
        TargetError: If it is none.
    """
    if text is None:
        return {}
    hint = """quote it for the shell, such as --kwargs '{"depth": 20}'"""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise TargetError(f"--kwargs {text!r} is no JSON: {error}", hint=hint) from None
    if not isinstance(found, dict):
        raise TargetError(f"--kwargs {text!r} is no JSON object", hint=hint)
    return found


def find(target: str) -> Any:
    """Import what a target names, and return it.

    Args:
        target: `package.module:attribute` or `path/to/file.py:attribute`.

    Raises:
        TargetError: If it is written otherwise, or there is no such file, module or attribute.
        TraceError: If the module raises while it is imported.
    """
    place, colon, attribute = target.rpartition(":")
    if not colon or not place or not attribute:
        raise TargetError(f"{target!r} names no function", hint=_FORM)
    from_file = place.endswith(".py") or "/" in place or "\\" in place
    module = _import_file(place) if from_file else _import_module(place)
    found: Any = module
    mark = ":"
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise _no_attribute(found, part, place)
        found = getattr(found, part)
        place, mark = f"{place}{mark}{part}", "."
    return found


def build(target: str, kwargs: dict[str, Any], *, meta: bool, seed: int) -> Any:
    """Build the model that a target names.

    Args:
        target: Names a function that returns a model, a model's class, or a model.
        kwargs: The function's arguments.
        meta: Whether to build it without memory, on the meta device.
        seed: Seeds the framework's generator first, so that the model's own start is repeatable.

    Returns:
        The model.

    Raises:
        TargetError: If the target is misnamed, does not take the arguments, or makes no model.
        TraceError: If it raises.
    """
    factory = find(target)
    torch_io = _torch_io()
    if torch_io is not None and torch_io.is_model(factory):
        if kwargs or meta:
            raise TargetError(f"`{target}` is a model, not a function: it takes no arguments")
        return factory
    if not callable(factory):
        name = a(type(factory).__name__)
        raise TargetError(f"`{target}` is {name}, expected a function that returns a model")
    _require_taken(target, factory, kwargs)
    model = _called(target, factory, kwargs, meta=meta, seed=seed)
    torch_io = _torch_io()
    if torch_io is None or not torch_io.is_model(model):
        if inspect.iscoroutine(model):
            model.close()  # else Python complains that it was never awaited
        made = "None" if model is None else a(type(model).__name__)
        raise TargetError(
            f"`{target}` returned {made}, expected a torch.nn.Module",
            hint="does the function return the model, and nothing beside it?",
        )
    return model


def _torch_io() -> ModuleType | None:
    """Return the helpers for the framework that the target has loaded."""
    if "torch" not in sys.modules:
        return None
    return importlib.import_module("xavier.frameworks.torch.io")


def _called(
    target: str, factory: Callable[..., Any], kwargs: dict[str, Any], *, meta: bool, seed: int
) -> Any:
    torch_io = _torch_io()
    try:
        if torch_io is None:
            return factory(**kwargs)
        torch_io.seed_generator(seed)
        return torch_io.on_meta(factory, kwargs) if meta else factory(**kwargs)
    except Exception as error:
        hint = "does it run by itself? --debug prints the traceback"
        if meta:
            hint = "it may need real numbers while it is built: try without --meta"
        told = f"`{target}` raised {said(error)}"
        raise TraceError(told, hint=hint) from error


def _require_taken(target: str, factory: Callable[..., Any], kwargs: dict[str, Any]) -> None:
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(**kwargs)
    except TypeError as error:
        takes = ", ".join(map(str, signature.parameters.values())) or "no arguments"
        raise TargetError(
            f"`{target}` cannot be called with --kwargs {json.dumps(kwargs)}: {error}"
            if kwargs
            else f"`{target}` cannot be called without --kwargs: {error}",
            hint=f"it takes {takes}",
        ) from None


def _import_file(place: str) -> ModuleType:
    path = Path(place)
    if not path.is_file():
        near = difflib.get_close_matches(path.name, _python_files(path.parent), n=1)
        hint = f"did you mean {path.parent / near[0]}?" if near else _FORM
        raise TargetError(f"there is no file {place!r}", hint=hint)
    name = f"_xavier_target_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"{place!r} is no Python file", hint=_FORM)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _look_also_in(path.parent)
    loader = spec.loader
    return _imported(place, lambda: (loader.exec_module(module), module)[1])


def _import_module(name: str) -> ModuleType:
    _look_also_in(Path())
    return _imported(name, lambda: importlib.import_module(name))


def _look_also_in(folder: Path) -> None:
    # At the end, so that a file of the user's cannot stand in for an installed package.
    if str(folder.resolve()) not in sys.path:
        sys.path.append(str(folder.resolve()))


def _imported(place: str, load: Callable[[], ModuleType]) -> ModuleType:
    try:
        return load()
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing == "torch":
            raise MissingFrameworkError("torch", extra="torch") from error
        if missing and (place == missing or place.startswith(f"{missing}.")):
            raise TargetError(
                f"there is no module {missing!r}", hint="a file is written with its .py"
            ) from None
        raise TraceError(f"importing `{place}` needs {missing!r}, which is not there") from error
    except Exception as error:
        told = f"importing `{place}` raised {said(error)}"
        raise TraceError(told, hint="--debug prints the traceback") from error


def _python_files(folder: Path) -> list[str]:
    return [each.name for each in folder.glob("*.py")] if folder.is_dir() else []


def _no_attribute(owner: Any, name: str, place: str) -> TargetError:
    known = [each for each in dir(owner) if not each.startswith("_")]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else None
    return TargetError(f"`{place}` has no {name!r}", hint=hint)
