"""From a PyTorch model and an example of its input to a `Flow`.

The model runs once, on meta tensors, in eval mode, under a dispatch mode. Fake tensors were the
alternative: they solve nothing here that meta tensors do not, and refuse branches that depend
on data; `torch.fx` and `torch.export` fail on ordinary control flow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map

from xavier._errors import PlanError, TraceError, XavierError
from xavier._types.flow import Flow, Op, Origin, Parameter, Value
from xavier.frameworks.torch._arrival import Arrival, arrivals, of_tensor
from xavier.frameworks.torch._example import arguments, tensors_in
from xavier.frameworks.torch._graph_writer import GraphWriter
from xavier.frameworks.torch._meta_run import (
    MetaParameters,
    RealReads,
    as_it_was,
    following_modules,
    remove_weight_hook,
    swap_in,
)
from xavier.frameworks.torch._module_facts import fed_by_order, is_layer_weight, module_facts
from xavier.frameworks.torch._own_backwards import noting_own_backwards
from xavier.frameworks.torch._parametrizations import effective_weights
from xavier.frameworks.torch._randomness import seed_generators
from xavier.frameworks.torch._recorder import Recorder
from xavier.frameworks.torch._untraceable import failed, initialized_copy, notes, require_traceable
from xavier.frameworks.torch.names import Slot, buffers, canonical, slots, structure_digest
from xavier.frameworks.torch.owners import kept_values

_TURNS = 8  # branches at which a model that raised may take the other way


def trace(model: nn.Module, example: Any) -> Flow:
    """Return what `model` computes on `example`, without changing either.

    Args:
        model: Any module, on any device, meta included.
        example: What its forward takes: a tensor, a tuple of positional arguments, or a
            dict of keyword arguments.

    Returns:
        The flow. Float inputs count as standardized. A model with lazy parameters is copied,
        and the copy run once on the example, for their shapes.

    Raises:
        TraceError: If the model raises, or holds what cannot be followed.
    """
    found, held = require_traceable(model)
    lazy = [slot.name for slot in found if slot.lazy]
    if lazy:
        model = initialized_copy(model, example)
        found, held = slots(model), buffers(model)
    arrived = arrivals(model, found)
    outputs, graph = _run_to_the_end(model, example, found)
    ops = graph.finish(outputs)
    arrived = _completed(model, arrived, ops, graph.values)
    values = tuple(_with_facts(value, arrived) for value in graph.values)
    return Flow(
        ops=ops,
        values=values,
        outputs=tuple(outputs),
        parameters=tuple(
            _parameter(
                slot,
                arrived[slot.name],
                touched=slot.name in graph.touched,
                through=graph.through.get(slot.name, ""),
            )
            for slot in found
        ),
        buffers=tuple((each.name, tuple(each.shape)) for each in held),
        model_digest=structure_digest(model, found),
        notes=(*graph.notes, *notes(model, lazy)),
    )


def untraced(model: nn.Module) -> Flow:
    """Return a flow with the model's parameters and no ops, for planning without an example.

    Raises:
        TraceError: If the model holds what cannot be followed.
        PlanError: If a parameter has no shape yet.
    """
    found, held = require_traceable(model)
    for slot in found:
        if slot.lazy:
            told = f"`{slot.name}`: a lazy parameter has no shape yet"
            raise PlanError(told, hint="pass an example, or run the model once on one")
    arrived = arrivals(model, found)
    fed_by = fed_by_order(model)
    return Flow(
        ops=(),
        values=(),
        outputs=(),
        parameters=tuple(
            _parameter(
                slot, arrived[slot.name], touched=True, fed_by=fed_by.get(slot.owner, "identity")
            )
            for slot in found
        ),
        buffers=tuple((each.name, tuple(each.shape)) for each in held),
        model_digest=structure_digest(model, found),
        notes=tuple(notes(model, [])),
        traced=False,
    )


def _run_to_the_end(
    model: nn.Module, example: Any, found: tuple[Slot, ...]
) -> tuple[list[int], GraphWriter]:
    """Run the model; where it raises behind a branch that was guessed, run on the other one.

    A check of computed values, such as a distribution's of its parameters, is such a branch.
    """
    made = _made_buffers(model)
    turned: frozenset[int] = frozenset()
    first: TraceError | None = None
    while True:
        recorder = Recorder(turned=turned)
        try:
            # In inference mode no operator would be seen on its way.
            with as_it_was(model), torch.inference_mode(mode=False):
                return _run(model, example, found, recorder, made), recorder.graph
        except TraceError as error:
            first = first or error
            coin = recorder.shadows.last_coin
            if coin is None or coin in turned or len(turned) == _TURNS:
                raise first from first.__cause__
            turned |= {coin}


def _made_buffers(model: nn.Module) -> dict[int, torch.Tensor]:
    """Return what owners give to the buffers that are on the meta device, by identity."""
    on_meta = {each.name: each.stored for each in buffers(model) if each.stored.is_meta}
    found = kept_values(model, on_meta)
    return {id(on_meta[name]): value for name, value in found.items()}


def _run(
    model: nn.Module,
    example: Any,
    found: tuple[Slot, ...],
    recorder: Recorder,
    made: Mapping[int, torch.Tensor],
) -> list[int]:
    graph = recorder.graph
    leaves: dict[tuple[int, str], torch.Tensor] = {}
    paths = {each: canonical(path) for path, each in model.named_modules()}
    twins = MetaParameters(recorder.shadows)
    swap_in(model, twins, recorder.shadows, made)
    for slot in found:
        layer = is_layer_weight(slot.owner, slot.attribute)
        if slot.parametrization is None:
            graph.weights.add(slot.name, twins.of(slot.stored), layer=layer)
        else:
            leaf = torch.empty(tuple(slot.shape), dtype=slot.dtype, device="meta")
            graph.weights.add(slot.name, leaf, layer=layer)
            leaves[id(slot.owner), slot.attribute] = leaf
            remove_weight_hook(slot.owner, slot.attribute, leaf)
    args, kwargs = _arguments(example, recorder)

    def parametrization(module: nn.Module, entering: bool) -> torch.Tensor | None:  # noqa: FBT001 - the workshop's signature
        recorder.paused += 1 if entering else -1
        if entering:
            return None
        return next(
            (
                leaves[id(owner), name]
                for owner in paths
                for name, each in getattr(owner, "parametrizations", {}).items()
                if each is module and (id(owner), name) in leaves
            ),
            None,
        )

    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(following_modules(paths, graph.paths, parametrization))
        stack.enter_context(RealReads(recorder.real, recorder.handed_over))
        stack.enter_context(recorder)
        stack.enter_context(noting_own_backwards(graph.note, lambda: graph.paths[-1]))
        seed_generators()
        try:
            out = model(*args, **kwargs)
        except XavierError:
            raise
        except Exception as error:
            told = recorder.left or failed(error, graph.paths[-1], example)
            raise told from error
    return [value for each in tensors_in(out) if (value := graph.value_of(each)) is not None]


def _arguments(example: Any, recorder: Recorder) -> tuple[tuple[Any, ...], dict[str, Any]]:
    def enter(thing: Any) -> Any:
        return recorder.add_input(thing, "input") if isinstance(thing, torch.Tensor) else thing

    args, kwargs = arguments(example)
    entered = tuple(tree_map(enter, each) for each in args)
    return entered, {name: tree_map(enter, each) for name, each in kwargs.items()}


def _with_facts(value: Value, arrived: Mapping[str, Arrival]) -> Value:
    if value.origin is not Origin.PARAMETER or value.name not in arrived:
        return value
    facts = arrived[value.name]
    return replace(value, mean=facts.mean, second=facts.second)


def _completed(
    model: nn.Module,
    arrived: Mapping[str, Arrival],
    ops: Sequence[Op],
    values: Sequence[Value],
) -> Mapping[str, Arrival]:
    """Add what owners give to kept meta parameters, where the signal depends on it."""
    drawn = {use.parameter for op in ops for use in op.weights}
    unknown = {
        value.name
        for value in values
        if value.origin is Origin.PARAMETER and value.name not in drawn
        if value.name in arrived and math.isnan(arrived[value.name].mean)
    }
    found = {name: of_tensor(value) for name, value in kept_values(model, unknown).items()}
    given = {
        name: replace(found[name], deliberate=arrived[name].deliberate, facts=arrived[name].facts)
        for name in found
    }
    return {**arrived, **given}


def _norm_axis(slot: Slot) -> int:
    """Return the stored axis that a spectral norm leaves as the rows of its matrix."""
    found = effective_weights(slot.owner) if slot.parametrization == "spectral_norm" else ()
    return next((each.dim for each in found if each.attribute == slot.attribute), 0)


def _greatest_finite(dtype: torch.dtype) -> float:
    """Return the largest number of a dtype that is drawn; infinity of one that is not."""
    return torch.finfo(dtype).max if dtype.is_floating_point or dtype.is_complex else math.inf


def _parameter(slot: Slot, arrival: Arrival, *, touched: bool, **extra: str) -> Parameter:
    return Parameter(
        name=slot.name,
        shape=tuple(slot.shape),
        module=type(slot.owner).__name__,
        attribute=slot.attribute,
        aliases=slot.aliases,
        touched=touched,
        zero=arrival.zero,
        parametrization=slot.parametrization,
        drawable=slot.dtype.is_floating_point or slot.dtype.is_complex,
        facts={
            **module_facts(slot.owner),
            "constant": arrival.constant,
            "deliberate": arrival.deliberate,
            "second": arrival.second,
            "largest": arrival.largest,
            "random": bool(arrival.facts.get("random")),
            "runs": arrival.runs,
            "norm_axis": _norm_axis(slot),
            "greatest_finite": _greatest_finite(slot.dtype),
            **extra,
        },
    )
