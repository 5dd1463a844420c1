"""Measure the signal of a model: one forward and one backward pass, nothing kept or changed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from xavier._errors import TraceError, brief
from xavier._types.signal import (
    LOOKUPS,
    NONFINITE_EXAMPLE,
    NONFINITE_OUTPUT,
    OpSignal,
    Signal,
    WeightSignal,
)
from xavier.frameworks.torch import _moments, _ranges
from xavier.frameworks.torch._copies import twins
from xavier.frameworks.torch._example import (
    arguments,
    copied,
    describe,
    hint_for,
    hint_for_backward,
    tensors_in,
)
from xavier.frameworks.torch._objective import Loss, ends_of, objective_of
from xavier.frameworks.torch._observe import Observer, Op, Scene
from xavier.frameworks.torch._restore import unchanged
from xavier.frameworks.torch._shards import is_dtensor
from xavier.frameworks.torch.jacobian import singular_means
from xavier.frameworks.torch.names import canonical


def measure(  # noqa: PLR0913 - the subject, and how to measure it
    model: nn.Module,
    example: Any,
    *,
    target: Any = None,
    loss: Loss = None,
    seed: int = 0,
    jacobian: bool = False,
    deep: bool = False,
    histograms: bool = False,
) -> Signal:
    """Run the model once each way and return the signal at every op that holds a weight.

    The model runs in its present mode, on copies of the example's tensors. Without a loss,
    the backward pass starts from a cotangent of unit variance at every floating output,
    drawn from a generator of its own. Everything is put back afterwards, also on an error:
    see `xavier.frameworks.torch._restore.unchanged`. Frozen parameters are measured like
    the others. The update ratio is the gradient's RMS over the weight's, that is, the
    relative step of plain gradient descent at learning rate 1 for this loss or cotangent.

    Args:
        model: The model; every parameter on a real device.
        example: What its forward takes: a tensor, a tuple of positional arguments, or a
            mapping of keyword arguments.
        target: What the loss compares the output with.
        loss: A function of output and target that returns a scalar, or `"cross_entropy"` or
            `"mse"`. With a target and no loss: cross entropy for integers, else mse.
        seed: Of the cotangent.
        deep: Whether to measure norms, sums of two signals and functions too, which hold no weight,
            and the effective rank at every op; costs a small decomposition an op.
        jacobian: Whether to decompose the Jacobian of each dense layer with the function
            that follows it; costs a singular value decomposition per layer.
        histograms: Whether to count how outputs and gradients are distributed.

    Returns:
        Ops in order of execution, weights in the model's order, and notes.

    Raises:
        TraceError: If the model or the loss raises, nothing in the output can be
            differentiated, the example has no elements, or there are no parameters or some
            that take no gradient: on the meta device, lazy, sharded, sparse, or inference tensors.
        UnknownNameError: If `loss` is a string that names no loss.

    Example:
        >>> from torch import nn
        >>> signal = measure(nn.Linear(4, 3), torch.ones(2, 4))
        >>> [(op.op, op.weights) for op in signal.ops]
        [('linear', ('weight', 'bias'))]
    """
    _require_measurable(model, example)
    objective = objective_of(loss, target)
    example = copied(example)
    asked = {"jacobian": jacobian, "histograms": histograms, "deep": deep}
    observer = Observer(_scene(model, example, **asked))
    leaves = _leaves(model)
    with unchanged(model), torch.inference_mode(mode=False), torch.enable_grad():
        for _, parameter in leaves:
            parameter.requires_grad_()
        with _errors(model, example), observer.modules(), observer, _eager():
            args, kwargs = arguments(example)
            output = model(*args, **kwargs)
        _require_seen(observer.ops, leaves)
        ends, cotangents = ends_of(output, target, objective, seed=seed)
        gradients = _gradients(ends, cotangents, leaves, observer.ops)
        weights = tuple(_weight_signals(leaves, gradients, observer.ops))
        notes = (
            *observer.notes,
            *_unseen(observer.ops, leaves),
            *_unreached(observer.ops, leaves, gradients),
            *_of_example(example, observer.ops),
            *_of_output(output),
        )
    return Signal(ops=tuple(map(_op_signal, observer.ops)), weights=weights, notes=notes)


def _require_measurable(model: nn.Module, example: Any) -> None:
    for name, tensor in model.named_parameters():
        for holds, what, hint in _UNMEASURABLE:
            if holds(tensor):
                shape = "" if is_lazy(tensor) else f" {tuple(tensor.shape)}"
                told = f"`{canonical(name)}`{shape}: the parameter {what}"
                raise TraceError(told, hint=hint)
    if not any(_is_measured(parameter) for parameter in model.parameters()):
        raise TraceError(
            "the model has no floating-point parameter, so there is nothing to check",
            hint="are its weights quantized, or held outside of parameters?",
        )
    data = list(tensors_in(example))
    if data and not any(tensor.numel() for tensor in data):
        raise TraceError(f"the example has no elements: {describe(example)}")


_UNMEASURABLE: tuple[tuple[Callable[[torch.Tensor], bool], str, str], ...] = (
    (
        is_lazy,
        "is lazy and has no shape yet",
        "run the model once on an example before it is measured",
    ),
    (
        lambda tensor: tensor.is_meta,
        "is on the meta device and has no values",
        "draw the model first: xavier.init_(model, example)",
    ),
    (
        is_dtensor,
        "is sharded, expected a whole one",
        "check the model before it is sharded: the same seed gives it the same weights",
    ),
    (
        lambda tensor: tensor.layout != torch.strided,
        "is sparse, expected a dense one",
        "measure the model with dense parameters",
    ),
    (
        lambda tensor: tensor.is_inference(),
        "is an inference tensor, which takes no gradient",
        "build the model outside torch.inference_mode()",
    ),
)


def _leaves(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Return the floating parameters by canonical name, each storage's object once."""
    return [
        (canonical(name), parameter)
        for name, parameter in model.named_parameters()
        if _is_measured(parameter) and parameter.is_leaf
    ]


def _is_measured(parameter: torch.Tensor) -> bool:
    return parameter.is_floating_point() or parameter.is_complex()


def _scene(model: nn.Module, example: Any, **asked: bool) -> Scene:
    data = list(tensors_in(example))
    return Scene(
        model=model,
        parameters=[(canonical(name), p) for name, p in model.named_parameters()],
        data=data,
        inputs=next((len(tensor) for tensor in data if tensor.ndim), 0),
        **asked,
        paths={id(module): canonical(name) for name, module in model.named_modules()},
    )


@contextmanager
def _eager() -> Iterator[None]:
    """Run compiled parts eagerly; only where the compiler was loaded by the user."""
    if "torch._dynamo" in sys.modules:
        with torch.compiler.set_stance("force_eager"):
            yield
    else:
        yield


@contextmanager
def _errors(model: nn.Module, example: Any) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise TraceError(
            f"{type(model).__name__} raised {type(error).__name__} on the example "
            f"({describe(example)}): {brief(str(error)) or 'no message'}",
            hint=hint_for(error, example),
        ) from error


def _gradients(
    ends: list[torch.Tensor],
    cotangents: list[torch.Tensor | None],
    leaves: list[tuple[str, nn.Parameter]],
    ops: list[Op],
) -> list[torch.Tensor | None]:
    # A forward may have frozen a parameter under our hands.
    parameters = [p for _, p in leaves if p.requires_grad]
    if not parameters:
        return [None] * len(leaves)
    steps = [(op.steps, op.steps.leaf) for op in ops if op.steps and op.steps.leaf is not None]
    inputs = [*parameters, *(leaf for _, leaf in steps)]
    try:
        found = torch.autograd.grad(ends, inputs, cotangents, allow_unused=True)
    except Exception as error:
        raise TraceError(
            f"the backward pass raised {type(error).__name__}: {brief(str(error))}",
            hint=hint_for_backward(error),
        ) from error
    for (each, _), gradient in zip(steps, found[len(parameters) :], strict=True):
        if gradient is not None:
            each.keep(gradient)
    by_identity = {id(p): gradient for p, gradient in zip(parameters, found, strict=False)}
    return [by_identity.get(id(p)) for _, p in leaves]


def contracted(ops: Iterable[Op]) -> set[str]:
    """Return the names of the weights that met data, and are no tables."""
    tables, used = set[str](), set[str]()
    for op in ops:
        (tables if op.name in LOOKUPS else used).update(op.weights)
    return used - tables


def _weight_signals(
    leaves: list[tuple[str, nn.Parameter]],
    gradients: list[torch.Tensor | None],
    ops: list[Op],
) -> Iterator[WeightSignal]:
    multiplied = contracted(ops)
    for (name, parameter), gradient in zip(leaves, gradients, strict=True):
        size = _moments.moments(parameter)
        push = None if gradient is None else _moments.moments(gradient)
        pull = None if push is None else _rms(push)
        matrix = gradient is not None and parameter.ndim > 1 and name in multiplied
        yield WeightSignal(
            name=name,
            shape=tuple(parameter.shape),
            rms=size.rms,
            std=size.std,
            gradient_rms=pull,
            update_ratio=None if pull is None or not size.rms else pull / size.rms,
            twins=twins(parameter, gradient) if matrix else None,
            **_of_gradient(gradient, size.rms),
        )


def _of_gradient(gradient: torch.Tensor | None, size: float) -> dict[str, Any]:
    if gradient is None:
        return {}
    reaches, step, below = _ranges.of_gradient(gradient)
    ratio = step / size if size else None
    return {"adam_ratio": ratio, "below_epsilon": below, "gradient_range": reaches}


def _rms(found: _moments.Moments) -> float:
    """Return the RMS, NaN if any element is not finite: half a gradient is none."""
    return float("nan") if found.nonfinite else found.rms


def _op_signal(op: Op) -> OpSignal:
    mean, rms = singular_means(op.jacobian) if op.jacobian is not None else (None, None)
    return OpSignal(
        index=op.index,
        op=op.name,
        path=op.path,
        weights=op.weights,
        shape=op.shape,
        mean=op.output.mean,
        std=op.output.std,
        rms=op.output.rms,
        gradient_rms=None if op.gradient is None else _rms(op.gradient),
        activation=op.activation,
        saturation=op.saturation,
        dead=op.dead,
        correlation=op.correlation,
        nonfinite=op.output.nonfinite,
        silent=op.silent,
        step_gradients=None if op.steps is None else op.steps.gradient_rms,
        rank=op.rank,
        jacobian_mean=mean,
        jacobian_rms=rms,
        range=op.range,
        gradient_range=op.gradient_range,
        histogram=op.histogram,
        gradient_histogram=op.gradient_histogram,
    )


def _require_seen(ops: list[Op], leaves: list[tuple[str, nn.Parameter]]) -> None:
    matrices = [name for name, parameter in leaves if parameter.ndim > 1 and parameter.numel()]
    if matrices and not any(op.weights for op in ops):
        raise TraceError(
            f"no op was seen to contract `{matrices[0]}` or any other weight with the data",
            hint="scripted modules and functions under vmap cannot be looked into",
        )


def _of_example(example: Any, ops: list[Op]) -> Iterator[str]:
    """Say so if what is not finite came from outside."""
    if any(op.output.nonfinite for op in ops):
        data = (each for each in tensors_in(example) if each.layout == torch.strided)
        if not all(bool(each.isfinite().all()) for each in data):
            yield NONFINITE_EXAMPLE


def _of_output(output: Any) -> Iterator[str]:
    """Say so if the output is not finite; minus infinity is a mask's right."""
    numbers = (each for each in tensors_in(output) if each.layout == torch.strided)
    if any(
        bool((each.isnan() | each.isposinf()).any()) for each in numbers if each.is_floating_point()
    ):
        yield NONFINITE_OUTPUT


def _unseen(ops: list[Op], leaves: list[tuple[str, nn.Parameter]]) -> Iterator[str]:
    seen = {name for op in ops for name in op.weights}
    for name, parameter in leaves:
        if parameter.ndim > 1 and name not in seen:
            yield f"{name}: no op was seen to contract it with the data"


def _unreached(
    ops: list[Op],
    leaves: list[tuple[str, nn.Parameter]],
    gradients: list[torch.Tensor | None],
) -> Iterator[str]:
    """Say which weights were used, and yet no path leads from them to what is differentiated."""
    seen = {name for op in ops for name in op.weights}
    for (name, parameter), gradient in zip(leaves, gradients, strict=True):
        if gradient is None and parameter.ndim > 1 and name in seen:
            yield f"{name}: no gradient reaches it: what is differentiated does not depend on it"
