"""Building a module again, from the arguments that it kept as attributes."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from math import prod
from typing import Any, Final

import torch
from torch import nn
from torch.nn.utils.parametrize import type_before_parametrizations
from torch.overrides import TorchFunctionMode

from xavier._errors import said
from xavier.frameworks.torch.names import canonical

_LEAN: Final = 4096  # elements from which uninitialized memory is not taken
_MOST: Final = 1 << 26  # elements of a module that may be built in full
_PLACEMENT: Final = frozenset({"device", "dtype"})
_SCALARS: Final = (bool, int, float, str, type(None))
_ABSENT: Final = object()


class NotRebuilt(Exception):  # noqa: N818 - a fact for the caller, never raised to the user
    """Why a module could not be built again."""


class _Lean(TorchFunctionMode):
    """Takes no memory for large uninitialized tensors: weights that will be drawn."""

    def __init__(self, shapes: Collection[tuple[int, ...]]) -> None:
        super().__init__()
        self._shapes = set(shapes)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = dict(kwargs or {})
        if func is torch.empty:
            size = given.get("size", args[0] if len(args) == 1 else args)
            shape = (size,) if isinstance(size, int) else tuple(size)
            if prod(shape) > _LEAN and shape not in self._shapes:
                given["device"] = "meta"
        return func(*args, **given)


def build_again(
    module: nn.Module,
    double: nn.Module,
    wanted: Mapping[str, torch.Tensor],
    *,
    full: bool,
) -> dict[str, torch.Tensor]:
    """Return tensors of a module as its constructor makes them.

    Args:
        module: The module.
        double: Its double, parts of which may be handed to the constructor.
        wanted: The tensors that are wanted, by their names within the module.
        full: Whether to try with memory for all weights where it fails without.

    Returns:
        Values by name, of the wanted shapes and dtypes.

    Raises:
        NotRebuilt: If it cannot be built, or what is built differs from the module.
    """
    arguments = _arguments(module, double)
    kind: Any = type_before_parametrizations(module)
    shapes = [tuple(tensor.shape) for tensor in wanted.values()]
    fault = NotRebuilt("")
    for lean in (True, False) if full else (True,):
        if not lean and sum(each.numel() for each in module.parameters()) > _MOST:
            break
        try:
            if lean:
                with _Lean(shapes):
                    fresh = kind(**arguments)
            else:
                fresh = kind(**arguments)
            _require_alike(module, fresh)
            return {name: _value(fresh, name, tensor) for name, tensor in wanted.items()}
        except NotRebuilt as error:
            fault = error
        except Exception as error:
            fault = NotRebuilt(f"{kind.__name__}(...) raised {said(error)}")
    raise fault


def _arguments(module: nn.Module, double: nn.Module) -> dict[str, Any]:
    kind = type_before_parametrizations(module)
    lenient = any(each.__name__ == "PreTrainedModel" for each in kind.__mro__)
    found: dict[str, Any] = {}
    for name, parameter in list(inspect.signature(kind.__init__).parameters.items())[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise NotRebuilt(f"{kind.__name__} takes `{name}` by position only")
        value = _argument(module, double, name, parameter.default)
        if value is not _ABSENT:
            found[name] = value
        elif parameter.default is parameter.empty or not (lenient or name in _PLACEMENT):
            raise NotRebuilt(f"{kind.__name__} does not keep its argument `{name}`")
    return found


def _argument(module: nn.Module, double: nn.Module, name: str, default: Any) -> Any:
    if name == "device":
        return _ABSENT
    if name == "dtype":
        floating = (each for each in module.parameters(recurse=False) if each.is_floating_point())
        return next((each.dtype for each in floating), _ABSENT)
    for table in (module._parameters, module._buffers):
        if name in table:
            if not isinstance(default, bool):
                raise NotRebuilt(f"the argument `{name}` is a tensor")
            return table[name] is not None
    for holder in (vars(double), double._modules):
        for key in (name, f"_{name}"):
            if key in holder:
                return holder[key]
    config = getattr(module, "config", None)
    if config is not None and hasattr(config, name):
        return getattr(config, name)
    return _ABSENT


def _require_alike(module: nn.Module, fresh: nn.Module) -> None:
    """Refuse a module that has other parameters, or other settings, than the first one."""
    before, after = _shapes(module), _shapes(fresh)
    if before.keys() != after.keys():
        odd = sorted(before.keys() ^ after.keys())[0]
        raise NotRebuilt(f"{type(fresh).__name__} was built with other parameters: `{odd}`")
    for name, shape in before.items():
        if shape != after[name]:
            told = f"`{name}` has shape {after[name]}, expected {shape}"
            raise NotRebuilt(f"{type(fresh).__name__} was built otherwise: {told}")
    doubles = dict(fresh.named_modules())
    for path, each in module.named_modules():
        other = doubles.get(path)
        for key, value in vars(each).items() if other is not None else ():
            if key == "training" or key.startswith("_") or not isinstance(value, _SCALARS):
                continue
            again = vars(other).get(key, _ABSENT)
            if again is not _ABSENT and again != value:
                told = f"`{key}` is {again!r}, expected {value!r}"
                raise NotRebuilt(f"{type(fresh).__name__} was built otherwise: {told}")


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the effective shapes; weight norm's magnitude has its direction's name."""
    found: dict[str, tuple[int, ...]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if not name.endswith(("original0", "weight_g")):
            found[canonical(name, root=module)] = tuple(parameter.shape)
    return found


def _value(fresh: nn.Module, name: str, tensor: torch.Tensor) -> torch.Tensor:
    value: Any = fresh
    for part in name.split("."):
        value = getattr(value, part, None)
    if not isinstance(value, torch.Tensor) or value.device.type == "meta":
        raise NotRebuilt(f"{type(fresh).__name__} did not make `{name}`")
    if value.shape != tensor.shape:
        told = f"`{name}` with shape {tuple(value.shape)}, expected {tuple(tensor.shape)}"
        raise NotRebuilt(f"{type(fresh).__name__} made {told}")
    if value.is_floating_point() != tensor.is_floating_point():
        raise NotRebuilt(f"{type(fresh).__name__} made `{name}` in {value.dtype}")
    return value.detach().to(tensor.dtype)
