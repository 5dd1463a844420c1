"""Watch a training loop's own step: its forward and backward pass, and what it does to weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim.optimizer import register_optimizer_step_post_hook

from xavier._errors import said
from xavier._types.sample import ActivationSignal
from xavier._types.signal import OpSignal, Signal, WeightSignal
from xavier.frameworks.torch import _moments
from xavier.frameworks.torch._copies import twins
from xavier.frameworks.torch._doors import Doors
from xavier.frameworks.torch._observe import Scene
from xavier.frameworks.torch._shards import is_dtensor
from xavier.frameworks.torch._step_observer import StepObserver, held_elsewhere
from xavier.frameworks.torch.measure import _is_measured, _op_signal, _rms, _unseen, contracted
from xavier.frameworks.torch.names import canonical, inner


@dataclass(slots=True)
class _Weight:
    """What is known of a parameter since the step began."""

    name: str
    parameter: nn.Parameter
    size: _moments.Moments
    before: torch.Tensor
    gradient_rms: float | None = None
    update_ratio: float | None = None
    twins: float | None = None
    stepped: bool = False


class Watch:
    """One step of training, from `begin` to `end`, with nothing run, drawn or changed for it.

    Within the step the first forward pass is observed, up to the first gradient: what runs
    afterwards, such as the other parts of an accumulated gradient, is not. Then every weight
    that an optimizer of `torch.optim` steps is compared with itself before.

    Args:
        model: The model, wrapped or not.
        loss_scale: What the loss is multiplied with before the backward pass.
    """

    def __init__(self, model: nn.Module, *, loss_scale: float = 1.0) -> None:
        bare = inner(model)
        paths = {id(module): canonical(name) for name, module in bare.named_modules()}
        named: list[tuple[str, torch.Tensor]] = [
            (canonical(name), parameter)
            for name, parameter in bare.named_parameters()
            if not is_lazy(parameter)
        ]
        scene = Scene(model=bare, parameters=named, data=[], inputs=0, paths=paths)
        self._scale = loss_scale
        self._observer = StepObserver(scene, on_gradient=self._backward_begins)
        self._doors = Doors(model, self._observer, paths)
        self._weights: dict[int, _Weight] = {}
        self._optimizers: Any = None

    def begin(self) -> None:
        """Look at the weights, and wait for the model to run."""
        for name, parameter in self._observer.parameters:
            odd = parameter.layout != torch.strided or held_elsewhere(parameter)
            if (
                not (odd or parameter.is_meta)
                and _is_measured(parameter)
                and parameter.is_leaf
                and parameter.numel()
            ):
                self._look(name, self._remember, name, parameter)
        self._optimizers = register_optimizer_step_post_hook(self._stepped)
        self._doors.open()

    def end(self) -> tuple[Signal, tuple[ActivationSignal, ...]]:
        """Return what was seen, and leave nothing behind."""
        self.cancel()
        for weight in self._weights.values():
            if not weight.stepped:
                self._look(weight.name, self._look_at_gradient, weight)
        ops = self._observer.ops
        signal = Signal(
            ops=tuple(self._op(_op_signal(op)) for op in ops),
            weights=tuple(_weight_signal(each) for each in self._weights.values()),
            notes=(*self._observer.notes, *self._not_seen()),
        )
        return signal, tuple(self._observer.activations)

    def cancel(self) -> None:
        """Leave nothing behind."""
        self._doors.close()
        self._observer.let_go()
        if self._optimizers is not None:
            self._optimizers.remove()
            self._optimizers = None

    def _look(self, name: str, look: Callable[..., None], *at: Any) -> None:
        try:
            look(*at)
        except Exception as error:
            self._observer.note(f"{name}: could not be looked at: {said(error)}")

    def _remember(self, name: str, parameter: Any) -> None:
        size, sample = _moments.moments(parameter), _moments.sample(parameter)
        self._weights[id(parameter)] = _Weight(name, parameter, size, sample)
        if is_dtensor(parameter):
            self._observer.note(f"{name}: sharded, and measured on this process's part")

    def _backward_begins(self) -> None:
        self._doors.shut()

    def _stepped(self, optimizer: Any, *_: Any) -> None:
        if torch.compiler.is_compiling():
            return
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                weight = self._weights.get(id(parameter))
                if weight is not None:
                    self._look(weight.name, self._look_at_update, weight)

    def _look_at_update(self, weight: _Weight) -> None:
        if weight.parameter.grad is None:
            return
        self._look_at_gradient(weight)
        weight.stepped = True
        before = weight.before.double()
        difference = _moments.sample(weight.parameter).double() - before
        base = float(before.square().mean())
        if base:
            weight.update_ratio = math.sqrt(float(difference.square().mean()) / base)

    def _look_at_gradient(self, weight: _Weight) -> None:
        gradient = weight.parameter.grad
        if gradient is None:
            return
        weight.gradient_rms = _gradient_rms(gradient)
        if weight.parameter.ndim > 1 and weight.name in contracted(self._observer.ops):
            # Of the parts that are here: to compare the whole would take every process.
            parts = (_moments.plain(weight.parameter), _moments.plain(gradient))
            weight.twins = twins(*parts)

    def _op(self, op: OpSignal) -> OpSignal:
        if op.gradient_rms is None or self._scale == 1.0:
            return op
        return replace(op, gradient_rms=op.gradient_rms / self._scale)

    def _not_seen(self) -> Iterator[str]:
        leaves = [(each.name, each.parameter) for each in self._weights.values()]
        if self._observer.ops:
            yield from _unseen(self._observer.ops, leaves)
        else:
            yield "no op was seen: did the model run in this step, uncompiled and with gradients?"


def rank() -> int:
    """Return the rank of this process, 0 if there is but one."""
    ready = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_rank() if ready else 0


def _gradient_rms(gradient: torch.Tensor) -> float:
    if gradient.layout == torch.strided:
        return _rms(_moments.moments(gradient))
    values = gradient.detach().coalesce().values()
    rms = _rms(_moments.moments(values)) if values.numel() else 0.0
    return rms * math.sqrt(values.numel() / gradient.numel())


def _weight_signal(weight: _Weight) -> WeightSignal:
    return WeightSignal(
        name=weight.name,
        shape=tuple(weight.parameter.shape),
        rms=weight.size.rms,
        std=weight.size.std,
        gradient_rms=weight.gradient_rms,
        update_ratio=weight.update_ratio,
        twins=weight.twins,
    )
