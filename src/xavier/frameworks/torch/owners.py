"""A meta model becomes real: memory for every tensor, and values for those that are not drawn."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from xavier._errors import PlanError, WriteError, said
from xavier._types.plan import Plan
from xavier.frameworks.torch._effective import is_rebuilt, tensors_of
from xavier.frameworks.torch._fit import jobs
from xavier.frameworks.torch._mirror import Held, held_tensors, in_workshop, table_of
from xavier.frameworks.torch._shards import copy_into, empty_shard_like, is_dtensor
from xavier.frameworks.torch._storages import Twins, identity
from xavier.frameworks.torch._workshop import Workshop
from xavier.frameworks.torch.names import buffers, slots

__all__ = ["kept_values", "made_anew", "materialize", "owner_values"]


def owner_values(model: nn.Module, plan: Plan) -> dict[str, torch.Tensor]:
    """Return what their owners give to the meta tensors that a plan does not draw.

    Parameters that are kept, buffers, and tensors that modules hold outside of both are made
    on the CPU as a real build makes them: by `reset_parameters`, by `_init_weights` of the
    model around, or by building their module again; the weights that will be drawn take no
    memory. What owners draw at random follows from the plan's seed and scope. The model and
    the random states are left as they were.

    Args:
        model: The model, some of it on the meta device.
        plan: What will be drawn.

    Returns:
        Values by canonical name; nothing for tensors that are real already.

    Raises:
        PlanError: If the plan does not fit, or no owner can make a tensor; with all of them.
    """
    drawn = _drawn(model, plan)
    wanted = {
        name: held
        for name, held in _by_name(model).items()
        if held.tensor.device.type == "meta" and identity(held.tensor) not in drawn
    }
    if not wanted:
        return {}
    hopeless = {name: reason for name, held in wanted.items() if (reason := _hopeless(held.tensor))}
    if hopeless:
        raise _unmade(hopeless)
    workshop = Workshop(model, wanted, seed=plan.seed or 0, scope=plan.scope)
    with in_workshop():
        made = workshop.make()
    missing = {
        name: workshop.reasons.get(name, "no owner writes it")
        for name in wanted
        if name not in made
    }
    if missing:
        raise _unmade(missing)
    return made


def kept_values(model: nn.Module, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """Return what owners give to the named meta tensors, as far as they can be made.

    Args:
        model: The model, left as it was.
        names: Canonical names.

    Returns:
        Values by name; what is real already, or cannot be made, is left out.
    """
    asked = tuple(names)
    held = _by_name(model) if asked else {}
    wanted = {
        name: held[name]
        for name in asked
        if name in held and held[name].tensor.is_meta and not _hopeless(held[name].tensor)
    }
    if not wanted:
        return {}
    with in_workshop():
        return Workshop(model, wanted, seed=0, scope="").make()


def made_anew(model: nn.Module, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """Return what owners would give to the named tensors, whatever these hold now.

    Args:
        model: The model, left as it was.
        names: Canonical names.

    Returns:
        Values by name; what owners cannot make is left out.
    """
    held = _by_name(model)
    wanted = {name: held[name] for name in names if not _hopeless(held[name].tensor)}
    if not wanted:
        return {}
    with in_workshop():
        return Workshop(model, wanted, seed=0, scope="").make()


def _hopeless(tensor: torch.Tensor) -> str:
    if is_lazy(tensor):
        return "it is lazy and has no shape yet"
    return ""


def _unmade(missing: Mapping[str, str]) -> PlanError:
    told = "; ".join(f"`{name}`: {reason}" for name, reason in missing.items())
    return PlanError(
        f"{len(missing)} tensors are on the meta device, are not drawn, and no owner can make "
        f"them: {told}",
        hint="give their modules a reset_parameters(), or build the model on a real device",
    )


def _drawn(model: nn.Module, plan: Plan) -> set[Hashable]:
    """Return the identities of all tensors that drawing the plan will fill."""
    found: set[Hashable] = set()
    for job in jobs(model, plan):
        if job.whole:
            found.update(identity(each) for each in tensors_of(job.slot, rebuilt=is_rebuilt(job)))
    return found


def _by_name(model: nn.Module) -> dict[str, Held]:
    """Return every tensor once, by canonical name; what has none by the name it is stored under."""
    names = {id(slot.stored): slot.name for slot in (*slots(model), *buffers(model))}
    found: dict[Hashable, tuple[str, Held]] = {}
    for held in held_tensors(model):
        found.setdefault(identity(held.tensor), (names.get(id(held.tensor), held.name), held))
    return dict(found.values())


def materialize(
    model: nn.Module,
    values: Mapping[str, torch.Tensor],
    *,
    device: torch.device | str = "cpu",
) -> Callable[[], None] | None:
    """Give memory to the meta tensors of a model, in place.

    Shared storages stay shared, strides stay as they are, and each weight is allocated once.
    Parameters keep their identity, so that an optimizer that has them goes on to work, but
    for those that something holds a weak reference to, as `nn.LSTM` does: these are replaced.
    All memory is taken before the first tensor changes.

    Args:
        model: The model; tensors that are real already are left as they are.
        values: What tensors are to hold, by canonical name, as `owner_values` gives them. The
            others are left uninitialized.
        device: Where they are to be.

    Returns:
        What puts the meta tensors back, for when the drawing does not come to its end: what
        it did not reach would hold whatever lay in memory. None if there are none.

    Raises:
        WriteError: If there is not the memory.
    """
    with torch.inference_mode(mode=False), torch.no_grad():
        twins = Twins(device)
        contents = {
            id(held.tensor): values[name]
            for name, held in _by_name(model).items()
            if name in values
        }
        places: dict[int, list[Held]] = {}
        for held in held_tensors(model):
            if held.tensor.device.type == "meta" and not is_lazy(held.tensor):
                places.setdefault(id(held.tensor), []).append(held)
        if not places:
            return None
        real: dict[int, torch.Tensor] = {}
        try:
            for key, held in places.items():
                real[key] = _real(held[0].tensor, twins, contents.get(key))
        except (RuntimeError, MemoryError) as error:
            size = sum(held[0].tensor.nbytes for held in places.values())
            raise WriteError(
                f"the model's {size:,} bytes could not be allocated: {said(error)}",
                hint="is there the memory for it?",
            ) from error
        undo = [_exchange(held, real[key]) for key, held in places.items()]
        recurrent = {
            held.module
            for group in places.values()
            for held in group
            if isinstance(held.module, nn.RNNBase)
        }
        for module in recurrent:
            module._init_flat_weights()

    def put_back() -> None:
        with torch.inference_mode(mode=False), torch.no_grad():
            for each in undo:
                each()
            for module in recurrent:
                module._init_flat_weights()

    return put_back


def _real(tensor: torch.Tensor, twins: Twins, content: torch.Tensor | None) -> torch.Tensor:
    twin = empty_shard_like(tensor) if is_dtensor(tensor) else twins.of(tensor)
    if content is not None:
        copy_into(twin, content)
    if isinstance(tensor, nn.Parameter):
        twin = nn.Parameter(twin, requires_grad=tensor.requires_grad)
        if type(tensor) is not type(twin) and type(tensor).__base__ is nn.Parameter:
            twin = torch.Tensor._make_subclass(type(tensor), twin, tensor.requires_grad)
    for key, value in vars(tensor).items():
        setattr(twin, key, value)
    return twin


def _exchange(places: list[Held], real: torch.Tensor) -> Callable[[], None]:
    """Put a real tensor in the place of a meta one; return what puts the meta one back."""
    tensor = places[0].tensor
    try:
        torch.utils.swap_tensors(tensor, real)
    except RuntimeError:
        _replace(places, real)
        return lambda: _replace(places, tensor)

    def put_back() -> None:
        try:
            torch.utils.swap_tensors(tensor, real)
        except RuntimeError:
            _replace(places, real)

    return put_back


def _replace(places: list[Held], tensor: torch.Tensor) -> None:
    for held in places:
        table_of(held.module, held.table)[held.key] = tensor
