"""What parameters hold when they arrive: zeros, a constant, a default draw, or something meant.

Of a real model the values tell. Of a meta model the owners do: their `reset_parameters` (and a
Hugging Face model's `_init_weights`) run on the meta tensors, and what they write is watched.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from xavier.frameworks.torch._mirror import Mirror, in_workshop
from xavier.frameworks.torch._module_facts import default_fan_in, forget_gate
from xavier.frameworks.torch._op_kinds import base_name
from xavier.frameworks.torch._shadows import storage_of
from xavier.frameworks.torch._shards import is_dtensor
from xavier.frameworks.torch.names import Slot

_RANDOM = frozenset({"normal", "uniform", "random", "bernoulli", "exponential", "log_normal"})
_KEEPS_RANDOM = frozenset({"mul", "add", "erfinv", "clamp", "sub", "div"})
_SMALL = 2**20
_PART = 2**15  # elements that are summed at once, and that caches hold in float64
_HEAD = 64

_MOST_RUNS = 5  # as an LSTM's gates have, one open
_FEWEST, _DEVIATIONS = 8, 4.0  # of numbers that may be told from others, and of their mean


@dataclass(frozen=True)
class Arrival:
    """What is known of a parameter's values before anything is drawn.

    Attributes:
        mean: Their mean; nan if unknown.
        second: Their second moment; nan if unknown.
        constant: The one value they all have, if they do.
        deliberate: Whether they hold what no framework's default gives.
        largest: The largest of their magnitudes; nan if unknown.
        runs: The constants that a vector is made of, each with how often it comes, if few.
        facts: `random` where they were drawn, or look like noise about 0.
    """

    mean: float = math.nan
    second: float = math.nan
    constant: float | None = None
    deliberate: bool = False
    largest: float = math.nan
    runs: tuple[tuple[float, int], ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def zero(self) -> bool:
        """Whether every element is zero."""
        return self.constant == 0.0


def arrivals(model: nn.Module, slots: Sequence[Slot]) -> Mapping[str, Arrival]:
    """Return what each parameter holds, by its canonical name."""
    on_meta = [slot for slot in slots if slot.stored.device.type == "meta" and not slot.lazy]
    watched = _watched(model, on_meta) if on_meta else {}
    # Not `owner.weight`, which would run a parametrization.
    weights = {id(slot.owner): slot for slot in slots if slot.attribute == "weight"}
    return {
        slot.name: watched[slot.name]
        if slot.name in watched
        else _of_values(slot, weights.get(id(slot.owner)))
        for slot in slots
    }


def _of_values(slot: Slot, weight: Slot | None) -> Arrival:
    if is_dtensor(slot.stored):
        return _of_shards(slot, weight)
    if slot.lazy or slot.stored.layout != torch.strided:
        return Arrival()
    values = slot.stored.detach()
    if values.numel() == 0 or not (values.is_floating_point() or values.is_complex()):
        return Arrival()
    if values.element_size() == 1:
        values = values.float()  # eight bits have no comparisons of their own
    first = values.reshape(-1)[0]
    if values.numel() > _SMALL and slot.stored.dim() > 1:
        head = values.reshape(values.shape[0], -1)[0]
        if bool((head != first).any()):
            return Arrival()
    if _is_constant(values):
        value = float(first.real if values.is_complex() else first)
        return Arrival(value, value * value, value, _is_meant(slot, weight, value))
    if values.numel() > _SMALL:
        return Arrival()
    found = of_tensor(values)
    others = _but_open_gate(slot, values)
    largest = found.largest if others is values else _largest(others)
    meant = largest > _default(slot, weight)
    if slot.attribute == "weight" and values.dim() == 1 and _is_noise(values):
        return replace(found, facts={"random": True})
    return replace(found, deliberate=meant, runs=_runs(values))


def _is_noise(values: torch.Tensor) -> bool:
    """Tell whether a vector holds numbers of either sign whose mean is 0 as far as they can tell.

    Of normal numbers about 0 one vector in 10,000 looks otherwise; scales that were trained, or
    are meant, lie about a mean of their own.
    """
    if values.is_complex() or len(values) < _FEWEST:
        return False
    wide = values.double()
    few = min(int((wide < 0).sum()), int((wide > 0).sum()))
    return 8 * few >= len(wide) and bool(
        wide.mean().abs() < _DEVIATIONS * wide.std() / math.sqrt(len(wide))
    )


def _largest(values: torch.Tensor) -> float:
    parts = torch.view_as_real(values.resolve_conj()) if values.is_complex() else values
    low, high = parts.aminmax()
    return max(abs(float(low)), abs(float(high)))


def _but_open_gate(slot: Slot, values: torch.Tensor) -> torch.Tensor:
    """Return a bias without the forget gate's, if that is 1: it is what a plan gives it."""
    gate = forget_gate(slot.owner, slot.attribute)
    if gate is None or not bool((values[gate] == 1).all()):
        return values
    return torch.cat((values[: gate.start], values[gate.stop :]))


def _runs(values: torch.Tensor) -> tuple[tuple[float, int], ...]:
    """Return the constants that a vector is made of, each with how often it comes, if few."""
    if values.dim() != 1 or values.is_complex():
        return ()
    found, counts = torch.unique_consecutive(values, return_counts=True)
    if len(found) > _MOST_RUNS:
        return ()
    return tuple(zip(found.tolist(), counts.tolist(), strict=True))


def _of_shards(slot: Slot, weight: Slot | None) -> Arrival:
    """Return what all shards of a parameter hold; all processes of its mesh must ask."""
    held: Any = slot.stored
    values = held._local_tensor.detach().double()
    count = float(values.numel())
    raw = [count, float(values.sum()), float((values * values).sum())]
    sums = torch.tensor(raw, dtype=torch.float64)
    ends = torch.full((2,), -math.inf, dtype=torch.float64)
    if count:
        ends = torch.stack((values.max().cpu(), -values.min().cpu()))
    for place, placement in enumerate(held.placements):
        if placement.is_shard():
            _reduce(sums, "SUM", held.device_mesh, place)
            _reduce(ends, "MAX", held.device_mesh, place)
    total, first, second = sums.tolist()
    high, low = float(ends[0]), -float(ends[1])
    if not total:
        return Arrival()
    mean, power = first / total, second / total
    if high == low:
        return Arrival(high, high * high, high, _is_meant(slot, weight, high))
    largest = max(abs(high), abs(low))
    return Arrival(mean, power, None, largest > _default(slot, weight), largest)


def _reduce(values: torch.Tensor, how: str, mesh: Any, place: int) -> None:
    """Reduce a few numbers over one axis of a mesh, on its devices."""
    there = values.to(mesh.device_type)
    operation = getattr(torch.distributed.ReduceOp, how)
    torch.distributed.all_reduce(there, operation, group=mesh.get_group(place))
    values.copy_(there)


def of_tensor(values: torch.Tensor) -> Arrival:
    """Return what a tensor with elements holds; of a complex one, moments of its magnitudes."""
    sizes = values.abs() if values.is_complex() else values
    total = square = 0.0
    for part in sizes.reshape(-1).split(_PART):
        wide = part.double()
        total, square = total + float(wide.sum()), square + float(torch.dot(wide, wide))
    constant = float(values.reshape(-1)[0].real) if _is_constant(values) else None
    return Arrival(
        total / values.numel(), square / values.numel(), constant, largest=_largest(values)
    )


def _is_constant(values: torch.Tensor) -> bool:
    flat = values.reshape(-1)
    return all(bool((part == flat[0]).all()) for part in (flat[:_HEAD], flat))


def _is_meant(slot: Slot, weight: Slot | None, value: float) -> bool:
    """Tell whether one value in all places is more than a default; one alone may be drawn."""
    if not slot.attribute.startswith("bias"):
        return value not in (0.0, 1.0)
    return abs(value) > _default(slot, weight) if slot.stored.numel() == 1 else value != 0.0


def _default(slot: Slot, weight: Slot | None) -> float:
    """Return the largest value that PyTorch's default draws for a bias: 1/sqrt(fan_in)."""
    if not slot.attribute.startswith("bias"):
        return 0.0
    fan_in = default_fan_in(slot.owner)
    if fan_in is None:
        if weight is None or len(weight.shape) < 2:  # noqa: PLR2004 - a matrix has two axes
            return 0.0
        fan_in = math.prod(weight.shape[1:])
    return 1.001 / math.sqrt(max(fan_in, 1))


class _Watcher(TorchDispatchMode):
    """Notes the last thing that was written to each storage."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[int, Arrival] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = base_name(func)
        if func._schema.is_mutable and args and isinstance(args[0], torch.Tensor):
            self._written(name, args)
        return out

    def _written(self, name: str, args: tuple[Any, ...]) -> None:
        target = args[0]
        key = storage_of(target)
        before = self.found.get(key)
        whole = target.numel() * target.element_size() >= target.untyped_storage().nbytes()
        if name in _RANDOM:
            self.found[key] = Arrival(facts={"random": True})
        elif name in ("zero", "fill") and whole:
            value = 0.0 if name == "zero" else _number(args[1])
            self.found[key] = (
                Arrival(deliberate=True)
                if value is None
                else Arrival(value, value * value, value, value not in (0.0, 1.0))
            )
        elif name == "copy" and whole and args[1].device.type != "meta":
            held = of_tensor(args[1].to(target.dtype))
            self.found[key] = replace(held, deliberate=True)
        elif not (name in _KEEPS_RANDOM and before is not None and before.facts):
            self.found[key] = Arrival(deliberate=True)


def _number(thing: Any) -> float | None:
    if isinstance(thing, torch.Tensor):
        return None if thing.device.type == "meta" else float(thing)
    return float(thing)


def _watched(model: nn.Module, slots: Sequence[Slot]) -> Mapping[str, Arrival]:
    """Return what owners write to meta parameters, watched on a double of the model."""
    mirror, watcher = Mirror(), _Watcher()
    mirror.of(model)
    modules = [each for each in reversed(list(model.modules())) if _all_meta(each)]
    with in_workshop(), watcher:
        for each in modules:
            reset = getattr(mirror.of(each), "reset_parameters", None)
            if callable(reset):
                _quietly(reset)
        init_weights = getattr(mirror.of(model), "_init_weights", None)
        for each in modules if callable(init_weights) else ():
            _quietly(init_weights, mirror.of(each))
    twins = {slot.name: mirror.twin(slot.stored) for slot in slots}
    return {
        name: Arrival() if twin is None else watcher.found.get(storage_of(twin), Arrival())
        for name, twin in twins.items()
    }


def _all_meta(module: nn.Module) -> bool:
    tensors = [*module.parameters(), *module.buffers()]
    return bool(tensors) and all(each.device.type == "meta" for each in tensors)


def _quietly(call: Any, *args: Any) -> None:
    """Run an owner's initializer; one that cannot run on meta tensors tells us nothing."""
    try:
        call(*args)
    except Exception:
        return
