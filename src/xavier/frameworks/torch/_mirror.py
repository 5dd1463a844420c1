"""A model's double, whose tensors take no memory but for a few: owners may write to it."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MethodType
from typing import Any, Final

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from xavier.frameworks.torch._parametrizations import effective_weights
from xavier.frameworks.torch._storages import Twins, identity
from xavier.frameworks.torch.names import join, paths

_PLAIN: Final = "attribute"


@dataclass(frozen=True, slots=True)
class Held:
    """A tensor, and where a module holds it.

    Attributes:
        path: The first canonical path of the module.
        module: The module.
        table: `_parameters`, `_buffers`, or `attribute` for a tensor that is neither.
        key: Its name there.
        tensor: The tensor.
    """

    path: str
    module: nn.Module
    table: str
    key: str
    tensor: torch.Tensor

    @property
    def name(self) -> str:
        """Its full name, as it is stored."""
        return join(self.path, self.key)


def held_tensors(model: nn.Module) -> Iterator[Held]:
    """Yield every tensor that the modules of a model hold, at every place where they do."""
    for path, module in paths(model):
        for table in ("_parameters", "_buffers"):
            for key, tensor in getattr(module, table).items():
                if tensor is not None:
                    yield Held(path, module, table, key, tensor)
        if isinstance(module, torch.jit.ScriptModule):
            continue
        computed = {each.attribute for each in effective_weights(module)}
        for key, value in list(vars(module).items()):
            if isinstance(value, torch.Tensor) and key not in computed:
                yield Held(path, module, _PLAIN, key, value)


def table_of(module: nn.Module, table: str) -> dict[str, Any]:
    """Return the mapping in which a module holds tensors of a kind."""
    return vars(module) if table == _PLAIN else getattr(module, table)


class Mirror:
    """The double of a module tree.

    Modules are new objects with the attributes of the old ones; lists, tuples, dictionaries
    and bound methods in them lead to doubles too. No double shares memory with the model.

    Args:
        real: The tensors to have in memory, each with what it is to hold.
    """

    def __init__(self, real: Sequence[tuple[torch.Tensor, torch.Tensor]] = ()) -> None:
        self._contents = {id(tensor): content for tensor, content in real}
        self._real = {identity(tensor) for tensor, _ in real}
        self._here = Twins("cpu")
        self._nowhere = Twins("meta")
        self._memo: dict[int, Any] = {}
        self._alive: list[Any] = []

    def of(self, module: nn.Module) -> nn.Module:
        """Return the double of a module."""
        return self._value(module)

    def twin(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """Return the double of a tensor that a module holds; None if it has none."""
        return self._memo.get(id(tensor))

    def _value(self, value: Any) -> Any:
        if id(value) in self._memo:
            return self._memo[id(value)]
        make = self._maker(value)
        if make is None:
            return value
        self._alive.append(value)  # an id must not be used twice
        return make(value)

    def _maker(self, value: Any) -> Callable[[Any], Any] | None:
        if isinstance(value, torch.jit.ScriptModule):
            return None
        if isinstance(value, nn.Module):
            return self._module
        if isinstance(value, torch.Tensor):
            return None if is_lazy(value) else self._tensor
        if isinstance(value, MethodType):
            return self._method if isinstance(value.__self__, nn.Module) else None
        kinds = {list: self._list, tuple: self._tuple}
        return self._dict if isinstance(value, dict) else kinds.get(type(value))

    def _module(self, module: nn.Module) -> nn.Module:
        double = object.__new__(type(module))
        self._memo[id(module)] = double
        for key, value in vars(module).items():
            double.__dict__[key] = self._value(value)
        return double

    def _tensor(self, tensor: torch.Tensor) -> torch.Tensor:
        if identity(tensor) in self._real:
            double = self._here.of(tensor)
            if id(tensor) in self._contents:
                double.copy_(self._contents[id(tensor)])
        else:
            double = self._nowhere.of(tensor)
        if isinstance(tensor, nn.Parameter):
            double = nn.Parameter(double, requires_grad=tensor.requires_grad)
        self._memo[id(tensor)] = double
        return double

    def _dict(self, value: dict[Any, Any]) -> dict[Any, Any]:
        double = value.copy()
        self._memo[id(value)] = double
        for key, item in value.items():
            fresh = self._value(item)
            if fresh is not item:
                double[key] = fresh
        return double

    def _list(self, value: list[Any]) -> list[Any]:
        double: list[Any] = []
        self._memo[id(value)] = double
        double.extend(self._value(item) for item in value)
        return double

    def _tuple(self, value: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(self._value(item) for item in value)

    def _method(self, value: MethodType) -> MethodType:
        return MethodType(value.__func__, self._value(value.__self__))


@contextmanager
def in_workshop() -> Iterator[None]:
    """Let owners write without a trace: no graph, tensors on the CPU, random states put back."""
    numpy_state = np.random.get_state()
    python_state = random.getstate()
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            torch.inference_mode(mode=False),
            torch.no_grad(),
            torch.random.fork_rng(devices=[]),
            torch.device("cpu"),
        ):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


def seed_all(seed: int) -> None:
    """Seed the generators that owners draw from; only inside `in_workshop`."""
    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)
