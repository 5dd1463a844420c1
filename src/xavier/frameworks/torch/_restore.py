"""Run a model and leave no trace: everything it may change is put back, to the bit.

Parameters are not copied up front, which would cost their memory once more: a dispatch mode
sees every write that goes through the framework's operators, and copies a guarded storage
just before the first one. Buffers are small and are copied at once, because some fused
kernels (batch norm's running statistics) write to them without saying so. What is not seen:
a parameter written through NumPy or by foreign code that bypasses the operators.
"""

from __future__ import annotations

import collections
import functools
import operator
import random
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as _module_globals
from torch.utils._python_dispatch import TorchDispatchMode

from xavier.frameworks.torch._calls import written_places

_CONTAINERS = (
    list,
    dict,
    set,
    collections.OrderedDict,
    collections.defaultdict,
    collections.deque,
)
_PLAIN = frozenset({bool, int, float, str, type(None)})


@contextmanager
def unchanged(model: nn.Module, *, copied: bool = False) -> Iterator[None]:
    """Put back all that the block changes of `model` and of the process, also on an error.

    Of the model: the values, storage, `requires_grad` and `grad` of parameters, buffers,
    every module's attributes (its own training flag, hooks, plain containers and tensors
    among them). Of the process: the generators of Python, NumPy and the framework, the
    global module hooks, grad mode, autocast, the default dtype and device, and the flags
    for determinism and precision.

    Args:
        model: The module to guard, with all below it.
        copied: Whether to copy parameters and gradients in advance, for a block that writes to
            them in other ways than through the framework's operators.

    Yields:
        Nothing; the block runs under the guard.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> with unchanged(layer):
        ...     _ = layer.eval().weight.data.zero_()
        >>> layer.training, bool(layer.weight.any())
        (True, True)
    """
    with ExitStack() as stack:
        # The last registered runs first: contents come back before the names that hold them.
        for undo in process_state():
            stack.callback(undo)
        tensors = _Tensors()
        for undo in _module_state(model, tensors):
            stack.callback(undo)
        if copied:
            tensors.save_all()
        stack.callback(tensors.restore)
        with tensors:
            yield


@contextmanager
def quiet_about_hooks() -> Iterator[None]:
    """Let no compiled module warn of the global hooks that watch it: they are ours."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s).*when there are global hooks on modules")
        yield


class _Tensors(TorchDispatchMode):
    """The guarded storages, copied before the first write to them."""

    def __init__(self) -> None:
        super().__init__()
        self._guarded: dict[int, torch.UntypedStorage] = {}
        self._saved: dict[int, torch.UntypedStorage] = {}

    def guard(self, tensor: torch.Tensor, *, copy_now: bool = False) -> None:
        """Guard the storage of `tensor`, which is kept alive until the end."""
        tensor = getattr(tensor, "_local_tensor", tensor)
        address = _address(tensor)
        if not address:
            return
        self._guarded.setdefault(address, tensor.untyped_storage())
        if copy_now:
            self._save(address)

    def save_all(self) -> None:
        """Copy everything that is guarded now."""
        for address in self._guarded:
            self._save(address)

    def _save(self, address: int) -> None:
        if address in self._guarded and address not in self._saved:
            self._saved[address] = self._guarded[address].clone()

    def restore(self) -> None:
        """Write the saved contents back."""
        for address, saved in self._saved.items():
            storage = self._guarded[address]
            if storage.nbytes() != saved.nbytes():
                storage.resize_(saved.nbytes())
            storage.copy_(saved)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        for place, name in written_places(func):
            value = args[place] if place < len(args) else kwargs.get(name)
            for tensor in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(tensor, torch.Tensor):
                    self._save(_address(tensor))
        return func(*args, **kwargs)


def _address(tensor: torch.Tensor) -> int:
    try:
        return tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):  # sparse, fake and wrapped tensors have none
        return 0


def _module_state(model: nn.Module, tensors: _Tensors) -> Iterator[Callable[[], Any]]:
    """Yield what puts back the model's attributes and parameters; guard its tensors."""
    seen: set[int] = set()
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            yield functools.partial(_set_training, module, module.training)
        else:
            yield from containers(module.__dict__, tensors.guard, seen)
    for buffer in model.buffers():
        tensors.guard(buffer, copy_now=True)
    for parameter in model.parameters():
        tensors.guard(parameter)
        if parameter.grad is not None:
            tensors.guard(parameter.grad)
        yield functools.partial(
            _restore_parameter,
            parameter,
            parameter.detach(),
            parameter.grad,
            requires_grad=parameter.requires_grad,
        )


def _set_training(module: nn.Module, training: bool) -> None:  # noqa: FBT001 - as torch's train() takes it
    module.training = training


def _restore_parameter(
    parameter: nn.Parameter,
    alias: torch.Tensor,
    grad: torch.Tensor | None,
    *,
    requires_grad: bool,
) -> None:
    moved = _address(parameter) != _address(alias) or parameter.stride() != alias.stride()
    if moved or parameter.shape != alias.shape or parameter.dtype != alias.dtype:
        parameter.data = alias
    if parameter.requires_grad != requires_grad:
        parameter.requires_grad_(requires_grad)
    if parameter.grad is not grad:
        parameter.grad = grad


def containers(
    value: Any, guard: Callable[[torch.Tensor], Any], seen: set[int]
) -> Iterator[Callable[[], Any]]:
    """Yield what restores a plain container and, inside it, containers and generators.

    Args:
        value: The container.
        guard: Is told of every tensor in it.
        seen: The identities of containers that have been dealt with.
    """
    held: list[tuple[Any, Any]] = []
    generators: list[torch.Generator] = []
    _collect(value, guard, seen, held, generators)
    for generator in generators:
        yield functools.partial(generator.set_state, generator.get_state())
    if held:
        yield functools.partial(_refill_all, held)


def _collect(
    value: Any,
    guard: Callable[[torch.Tensor], Any],
    seen: set[int],
    held: list[tuple[Any, Any]],
    generators: list[torch.Generator],
) -> None:
    if isinstance(value, torch.Tensor):
        guard(value)
    elif isinstance(value, torch.Generator):
        generators.append(value)
    elif (type(value) in _CONTAINERS or isinstance(value, dict)) and id(value) not in seen:
        seen.add(id(value))
        held.append((value, _snapshot(value)))
        for child in value.values() if isinstance(value, dict) else value:
            if type(child) not in _PLAIN:
                _collect(child, guard, seen, held, generators)


def _snapshot(container: Any) -> Any:
    """Return what a container holds, in its order."""
    if isinstance(container, dict):
        return dict(container)
    return set(container) if isinstance(container, set) else list(container)


def _refill_all(held: list[tuple[Any, Any]]) -> None:
    for container, before in reversed(held):  # what is inside comes back first
        _refill(container, before)


def _refill(container: Any, before: Any) -> None:
    """Put the same objects back into `container`, unless they are all still there."""
    same = len(container) == len(before)
    if isinstance(container, set):
        same = same and set(map(id, container)) == set(map(id, before))
    else:
        same = same and all(map(operator.is_, container, before))
        if isinstance(container, dict):
            same = same and all(map(operator.is_, container.values(), before.values()))
    if not same:
        container.clear()
        (container.update if isinstance(container, dict | set) else container.extend)(before)


def process_state() -> Iterator[Callable[[], Any]]:
    """Yield what puts back the generators, the global hooks and the framework's flags."""
    for name, value in vars(_module_globals).items():
        if name.startswith("_global_") and isinstance(value, dict):
            yield functools.partial(_refill, value, dict(value))
    for read, write in _flags():
        yield functools.partial(_write_if_changed, read, write, read())
    yield functools.partial(random.setstate, random.getstate())
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        yield functools.partial(numpy.random.set_state, numpy.random.get_state())
    yield functools.partial(torch.set_rng_state, torch.get_rng_state())
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        yield functools.partial(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all())


def _write_if_changed(read: Callable[[], Any], write: Callable[[Any], Any], value: Any) -> None:
    if read() != value:
        write(value)


def _flags() -> Iterable[tuple[Callable[[], Any], Callable[[Any], Any]]]:
    yield torch.get_default_dtype, torch.set_default_dtype
    yield torch.is_grad_enabled, torch._C._set_grad_enabled
    yield torch.get_num_threads, torch.set_num_threads
    yield torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
    yield torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled
    yield torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly
    yield torch.get_default_device, torch.set_default_device
    yield _determinism, _set_determinism
    for device in ("cpu", "cuda"):
        yield (
            functools.partial(_autocast, device),
            functools.partial(_set_autocast, device),
        )
    cudnn = torch.backends.cudnn
    for flag in ("enabled", "benchmark", "deterministic"):
        yield functools.partial(getattr, cudnn, flag), functools.partial(setattr, cudnn, flag)


def _determinism() -> tuple[bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )


def _set_determinism(value: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(value[0], warn_only=value[1])


def _autocast(device: str) -> tuple[bool, torch.dtype]:
    return torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)


def _set_autocast(device: str, value: tuple[bool, torch.dtype]) -> None:
    torch.set_autocast_enabled(device, value[0])
    torch.set_autocast_dtype(device, value[1])
