"""Observe a training step that must go on whatever is seen: guarded, and without a trace."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from xavier._errors import said
from xavier._types.sample import ActivationSignal
from xavier.frameworks.torch import _moments
from xavier.frameworks.torch._example import tensors_in
from xavier.frameworks.torch._functions import base
from xavier.frameworks.torch._observe import Observer, Op, Scene, _keep_gradient

_BINS = 40
_MOST_NOTES = 20


class StepObserver(Observer):
    """The observer of a check, but that an error of its own is a note, and no number is drawn.

    Args:
        scene: The model and the names; the data become known as modules are entered.
        on_gradient: Is called when a gradient has come: the backward pass has begun.

    Attributes:
        activations: What the functions behind the ops gave.
    """

    def __init__(self, scene: Scene, *, on_gradient: Callable[[], None]) -> None:
        super().__init__(scene)
        self.activations: list[ActivationSignal] = []
        self._on_gradient = on_gradient
        self._handles: list[Any] = []

    def meet(self, arguments: Any) -> None:
        """Take what a module is called with from outside as data."""
        for tensor in tensors_in(arguments):
            if tensor not in self._names:
                self._data[tensor] = True
                self._scene.inputs = self._scene.inputs or (len(tensor) if tensor.ndim else 0)

    def enter(self, module: torch.nn.Module) -> None:
        """Note that a module runs, and the names of parameters that were put in their places."""
        self._stack.append(module)
        path = self._scene.paths.get(id(module), "")
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter not in self._names:
                full = f"{path}.{name}" if path else name
                self._names[parameter] = (full,)
                if parameter.ndim < 2:  # noqa: PLR2004 - a matrix has two axes
                    self._vectors.add(full)

    def leave(self, module: torch.nn.Module) -> bool:
        """Note that a module has run, and tell whether it was the outermost one."""
        if not self._stack or self._stack[-1] is not module:
            return False
        self._stack.pop()
        return not self._stack

    @property
    def parameters(self) -> list[tuple[str, torch.Tensor]]:
        """The parameters of the model, by canonical name."""
        return self._scene.parameters

    @property
    def inside(self) -> bool:
        """Whether a module is running."""
        return bool(self._stack)

    def let_go(self) -> None:
        """Leave no hook on any tensor."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._stack.clear()

    def note(self, told: str) -> None:
        """Add a note, once, while there are few."""
        if told not in self.notes and len(self.notes) < _MOST_NOTES:
            self.notes.append(told)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        # What is being compiled while this mode is on becomes the same code as without it.
        if torch.compiler.is_compiling():
            return func(*args, **(kwargs or {}))
        return super().__torch_function__(func, types, args, kwargs)

    def _guarded(self, look: Callable[..., Any], *args: Any) -> Any:
        """Look at the step with no other mode looking on; on an error the step goes on."""
        try:
            with torch._C.DisableTorchFunction():
                return look(*args)
        except Exception as error:
            self.note(f"{self._path()}: could not be looked at: {said(error)}")
            return None

    def _after(
        self, name: str, args: tuple[Any, ...], inputs: list[torch.Tensor], result: Any
    ) -> None:
        self._guarded(super()._after, name, args, inputs, result)

    def _record(
        self,
        name: str,
        weights: tuple[str, ...],
        inputs: list[torch.Tensor],
        output: torch.Tensor,
    ) -> None:
        if any(map(held_elsewhere, (*inputs, output))):
            self.note(f"{self._path()}: {name} could not be read, of a tensor class of its own")
            return
        super()._record(name, weights, inputs, output)

    def _before_activation(
        self, name: str, inputs: list[torch.Tensor]
    ) -> tuple[Op, torch.Tensor] | None:
        return self._guarded(super()._before_activation, name, inputs)

    def _activation(
        self,
        before: tuple[Op, torch.Tensor],
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: Any,
    ) -> None:
        at = result.device if isinstance(result, torch.Tensor) else torch.device("cpu")
        devices = [at] if at.type == "cuda" else []
        # To probe a random function would move the generator that the training draws from.
        draws = base(getattr(func, "__name__", "")) == "rrelu"
        with torch.random.fork_rng(devices, enabled=draws):
            self._guarded(super()._activation, before, func, args, kwargs, result)
        found = self._guarded(_distribution, before[0], result)
        if found is not None:
            self.activations.append(found)

    def _steps(self, name: str, args: tuple[Any, ...]) -> None:
        """Leave the input of a recurrent layer as it is: training goes on with it."""

    def _station(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: torch.Tensor
    ) -> None:
        self._guarded(super()._station, name, args, kwargs, result)

    def _await_gradient(self, op: Op, output: torch.Tensor) -> None:
        self._handles.append(output.register_hook(functools.partial(self._take_gradient, op)))

    def _take_gradient(self, op: Op, gradient: torch.Tensor | None) -> None:
        self._on_gradient()
        if gradient is None:
            return  # one of several outputs, and the loss uses another
        if held_elsewhere(gradient):
            self.note(f"{op.path}: its gradient could not be read, of a tensor class of its own")
        else:
            self._guarded(functools.partial(_keep_gradient, histogram=False), op, gradient)


def held_elsewhere(tensor: torch.Tensor) -> bool:
    """Tell whether a tensor, or this process's part of it, only stands for others."""
    return is_traceable_wrapper_subclass(getattr(tensor, "_local_tensor", tensor))


def _distribution(op: Op, result: Any) -> ActivationSignal | None:
    if not isinstance(result, torch.Tensor) or not result.is_floating_point():
        return None
    values = _moments.sample(result).double().numpy()
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = float(values.min()), float(values.max())
    counts, _ = np.histogram(values, bins=_BINS, range=(low, high))
    return ActivationSignal(
        op=op.index,
        function=op.activation,
        mean=float(values.mean()),
        std=float(values.std()),
        p98=float(np.percentile(values, 98)),
        low=low,
        high=high,
        counts=tuple(map(int, counts)),
    )
