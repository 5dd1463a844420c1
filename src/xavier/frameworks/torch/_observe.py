"""Watch a model run: every op that holds a weight, and the function that follows it.

A function mode sees each call with its name and arguments. Which tensors come from
parameters alone, which from the data, is carried from call to call, so that a transposed,
sliced, cast, masked or parametrized weight is still known as a weight.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.nn.modules import module as _hooks
from torch.nn.utils.parametrize import ParametrizationList
from torch.overrides import TorchFunctionMode

from xavier._types.signal import Reaches
from xavier.frameworks.torch import _moments, _ranges
from xavier.frameworks.torch._attention import SOFTMAXES, softmax_saturation
from xavier.frameworks.torch._functions import (
    ACTIVATIONS,
    COMPOSITES,
    LAYERS,
    NORMS,
    PASSING,
    PRODUCTS,
    RECURRENT,
    SELECTIONS,
    SUMS,
    TABLES,
    base,
    common,
    named_by_bounds,
)
from xavier.frameworks.torch._marks import Marks
from xavier.frameworks.torch._moments import Moments
from xavier.frameworks.torch._rank import effective_rank
from xavier.frameworks.torch._restore import quiet_about_hooks
from xavier.frameworks.torch._steps import Steps, is_packed, steps_of
from xavier.frameworks.torch._trees import tensors_of


@dataclass(slots=True)
class Op:
    """What has been seen of one op so far."""

    index: int
    name: str
    path: str
    weights: tuple[str, ...]
    shape: tuple[int, ...]
    output: Moments
    correlation: float | None
    silent: bool = False
    gradient: Moments | None = None
    activation: str = ""
    saturation: float | None = None
    dead: float | None = None
    jacobian: Any = None
    steps: Steps | None = None
    range: Reaches | None = None
    gradient_range: Reaches | None = None
    rank: float | None = None
    histogram: tuple[float, ...] | None = None
    gradient_histogram: tuple[float, ...] | None = None


@dataclass(slots=True)
class Scene:
    """The names that an observer needs, and what it must not disturb.

    Attributes:
        model: The model that runs.
        parameters: The canonical name of each parameter, by identity.
        data: The tensors that the model is given.
        inputs: The size of the batch; 0 if unknown.
        jacobian: Whether to keep what the layers' Jacobians need.
        deep: Whether to look at norms, sums and functions too, and at ranks.
        histograms: Whether to count how outputs and gradients are distributed.
    """

    model: nn.Module
    parameters: list[tuple[str, torch.Tensor]]
    data: list[torch.Tensor]
    inputs: int
    jacobian: bool = False
    deep: bool = False
    histograms: bool = False
    paths: dict[int, str] = field(default_factory=dict)


class Observer(TorchFunctionMode):
    """Note every op that holds a weight while the model runs under this mode.

    Args:
        scene: The model, the names, the data.

    Attributes:
        ops: What was seen, in order of execution.
        notes: What could not be followed.
    """

    def __init__(self, scene: Scene) -> None:
        super().__init__()
        self.ops: list[Op] = []
        self.notes: list[str] = []
        self._scene = scene
        self._names: Marks[tuple[str, ...]] = Marks()
        self._data: Marks[bool] = Marks()
        self._follows: Marks[Op] = Marks()
        self._stack: list[nn.Module] = []
        self._vectors = {name for name, parameter in scene.parameters if parameter.ndim < 2}  # noqa: PLR2004 - a matrix has two axes
        for name, parameter in scene.parameters:
            self._names[parameter] = (name,)
        for tensor in scene.data:
            self._data[tensor] = True

    @contextmanager
    def modules(self) -> Iterator[None]:
        """Keep track of the running module, for the paths of ops."""

        def leave_one(*_: Any) -> None:
            self._stack.pop()

        enter = _hooks.register_module_forward_pre_hook(lambda m, _: self._stack.append(m))
        leave = _hooks.register_module_forward_hook(leave_one, always_call=True)
        try:
            with quiet_about_hooks():
                yield
        finally:
            enter.remove()
            leave.remove()
            self._stack.clear()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in COMPOSITES and isinstance(func, _FUNCTION):
            with self:
                return _without_dispatch(func)(*args, **kwargs)
        inputs = tensors_of((args, kwargs))
        before = self._before_activation(name, inputs)
        steps = self._steps(name, args)
        if steps is not None:
            args = (steps.probe(args[0]), *args[1:])
        result = func(*args, **kwargs)
        if inputs and name not in {"size", "dim", "stride", "__len__", "__set__"}:
            self._after(name, args, inputs, result)
            if before is not None:
                self._activation(before, func, args, kwargs, result)
            if isinstance(result, torch.Tensor) and self._is_station(name, inputs):
                self._station(name, args, kwargs, result)
            op = None if steps is None else self._follows.get(result[0])
            if op is not None:
                op.steps = steps
        return result

    def _after(
        self, name: str, args: tuple[Any, ...], inputs: list[torch.Tensor], result: Any
    ) -> None:
        outputs = tensors_of(result)
        weights = self._weights(inputs)
        data = any(self._is_data(tensor) for tensor in inputs)
        if self._holds_weight(name, args, weights, data=data) and outputs:
            self._record(name, weights, inputs, outputs[0])
            self._keep_for_jacobian(name, inputs, outputs[0])
            data = data or name in SELECTIONS
        elif base(name) in PASSING:
            self._pass_on(inputs, outputs)
        if name == "__setitem__" or (base(name) != name and not name.startswith("__")):
            outputs.append(inputs[0])
        for output in outputs:
            if data:
                self._data[output] = True
            elif weights:
                self._names[output] = weights

    def _weights(self, tensors: Iterable[torch.Tensor]) -> tuple[str, ...]:
        """Return the names of the parameters behind the tensors that no data reached."""
        found: dict[str, None] = {}
        for tensor in tensors:
            if tensor not in self._data:
                found |= dict.fromkeys(self._names.get(tensor) or ())
        return tuple(found)

    def _is_data(self, tensor: torch.Tensor) -> bool:
        # A tensor with a history that was not seen comes from foreign code that read data.
        return tensor in self._data or (tensor not in self._names and tensor.requires_grad)

    def _holds_weight(
        self, name: str, args: tuple[Any, ...], weights: tuple[str, ...], *, data: bool
    ) -> bool:
        if not weights or any(isinstance(m, ParametrizationList) for m in self._stack):
            return False
        if name in LAYERS:
            return True
        if name in PRODUCTS:
            return data
        table = args[0] if args else None
        if name not in SELECTIONS or not data or not isinstance(table, torch.Tensor):
            return False
        # Of three axes and more it is the choice of an expert's matrix, and no lookup.
        return bool(self._weights([table])) and table.ndim <= 2  # noqa: PLR2004 - a matrix has two axes

    def _record(
        self,
        name: str,
        weights: tuple[str, ...],
        inputs: list[torch.Tensor],
        output: torch.Tensor,
    ) -> None:
        if not (output.is_floating_point() or output.is_complex()) or not _readable(output):
            self.notes.append(f"{self._path()}: the output of {name} could not be read")
            return
        if not output.numel():
            self.notes.append(f"{self._path()}: the output of {name} has no elements")
            return
        lookup = name in TABLES or name in SELECTIONS
        op = Op(
            index=len(self.ops),
            name="lookup" if name in SELECTIONS else common(name),
            path=self._path(),
            # What is contracted before what is added, whichever the call names first.
            weights=tuple(sorted(weights, key=lambda each: each in self._vectors)),
            shape=tuple(output.shape),
            output=_moments.moments(output),
            correlation=None if lookup else _moments.correlation(output, inputs=self._scene.inputs),
            silent=self._is_silent(name, inputs),
            rank=self._rank(output, axis=1 if "conv" in name and output.ndim > 2 else -1),  # noqa: PLR2004 - a matrix has two axes
            range=_ranges.reaches(output),
            histogram=_moments.histogram(output) if self._scene.histograms else None,
        )
        self.ops.append(op)
        self._follows[output] = op
        if output.requires_grad:
            self._await_gradient(op, output)

    def _await_gradient(self, op: Op, output: torch.Tensor) -> None:
        output.register_hook(
            lambda gradient: _keep_gradient(op, gradient, histogram=self._scene.histograms)
        )

    def _steps(self, name: str, args: tuple[Any, ...]) -> Steps | None:
        if name not in RECURRENT:
            return None
        told = f"{self._path()}: the steps of packed sequences are not told apart"
        if is_packed(args) and told not in self.notes:
            self.notes.append(told)
        return steps_of(args)

    def _rank(self, tensor: torch.Tensor, *, axis: int) -> float | None:
        return effective_rank(tensor, unit_axis=axis) if self._scene.deep else None

    def _is_station(self, name: str, inputs: list[torch.Tensor]) -> bool:
        """Tell whether an op is looked at although it contracts no weight."""
        if name in SOFTMAXES:
            return True
        if not self._scene.deep:
            return False
        if name in SUMS:  # of the stream and a branch, not of a bias
            return sum(map(self._is_data, inputs)) > 1 and inputs[0].shape == inputs[1].shape
        return name in NORMS or base(name) in ACTIVATIONS

    def _station(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: torch.Tensor
    ) -> None:
        """Note an op that holds no weight, and yet decides what passes."""
        if result not in self._data or not result.numel() or not _readable(result):
            return
        op = Op(
            index=len(self.ops),
            name="add" if name in SUMS else common(base(name)),
            path=self._path(),
            weights=(),
            shape=tuple(result.shape),
            output=_moments.moments(result),
            correlation=None,
            activation="softmax" if name in SOFTMAXES else "",
            saturation=softmax_saturation(name, args, kwargs) if name in SOFTMAXES else None,
            rank=self._rank(result, axis=-1),
        )
        self.ops.append(op)
        if result.requires_grad:
            self._await_gradient(op, result)

    def _is_silent(self, name: str, inputs: list[torch.Tensor]) -> bool:
        """Tell whether what multiplies the data, however the model made it, is zero everywhere."""
        factors = [
            each
            for each in inputs
            if each.ndim > 1 and each not in self._data and self._names.get(each)
        ]
        # The first of a recurrent layer's matrices meets the data, the others its states.
        met = factors[:1] if name in RECURRENT else factors
        return any(map(_moments.all_zero, met))

    def _keep_for_jacobian(
        self, name: str, inputs: list[torch.Tensor], output: torch.Tensor
    ) -> None:
        if self._scene.jacobian and name == "linear" and self.ops and output in self._follows:
            weight = inputs[1].detach()
            row = output.detach().reshape(-1, output.shape[-1])[0]
            self.ops[-1].jacobian = (weight, row, None)

    def _path(self) -> str:
        for module in reversed(self._stack):
            path = self._scene.paths.get(id(module))
            if path is not None:
                return path
        return ""

    def _pass_on(self, inputs: list[torch.Tensor], outputs: list[torch.Tensor]) -> None:
        """Let the op of the only data that enter be followed through to what comes out."""
        data = [tensor for tensor in inputs if self._is_data(tensor)]
        op = self._follows.get(data[0]) if len(data) == 1 else None
        if op is not None:
            for output in outputs:
                self._follows[output] = op

    def _before_activation(
        self, name: str, inputs: list[torch.Tensor]
    ) -> tuple[Op, torch.Tensor] | None:
        """Return the op that the activation follows and a sample, before it is overwritten."""
        if base(name) not in ACTIVATIONS or not inputs:
            return None
        op = self._follows.get(inputs[0])
        if op is None or op.activation or not inputs[0].is_floating_point():
            return None
        return op, _moments.sample(inputs[0])

    def _activation(
        self,
        before: tuple[Op, torch.Tensor],
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: Any,
    ) -> None:
        op, at = before
        name = base(getattr(func, "__name__", ""))
        op.activation = named_by_bounds(common(name), args, kwargs)
        if not isinstance(result, torch.Tensor) or name == "prelu":
            return
        rest = args[1:]

        def function(point: torch.Tensor) -> torch.Tensor:
            return func(point, *rest, **{k: v for k, v in kwargs.items() if k != "input"})

        op.saturation = _moments.saturation(function, at)
        axis = 1 if "conv" in op.name and result.ndim == len(op.shape) else -1
        # A function that passes a gradient at its zeros, as silu does at 0, kills no unit there.
        flat = _moments.is_flat_at_zeros(function, at)
        op.dead = _moments.dead_share(result, unit_axis=axis) if flat else 0.0
        if op.jacobian is not None:
            weight, row, _ = op.jacobian
            op.jacobian = (weight, row, _moments.slopes(function, row.double()))


_FUNCTION = types.FunctionType


def _without_dispatch(func: types.FunctionType) -> Callable[..., Any]:
    """Return a copy of a composite function that runs its body instead of asking the mode."""
    scope = {**func.__globals__, "has_torch_function": lambda *_: False}
    twin = _FUNCTION(func.__code__, scope, func.__name__, func.__defaults__, func.__closure__)
    twin.__kwdefaults__ = func.__kwdefaults__
    return twin


def _keep_gradient(op: Op, gradient: torch.Tensor | None, *, histogram: bool) -> None:
    if gradient is None:
        return  # one of several outputs, and the loss uses another
    op.gradient = _moments.moments(gradient)
    op.gradient_range = _ranges.reaches(gradient)
    if histogram:
        op.gradient_histogram = _moments.histogram(gradient)


def _readable(tensor: torch.Tensor) -> bool:
    return not is_functorch_wrapped_tensor(tensor) and not tensor.is_meta
