"""From a plan to weights: every assignment drawn in place, or none."""

from __future__ import annotations

import functools
import gc
import hashlib
import math
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any, Final

import torch
from torch import nn

from xavier._errors import PlanError, WriteError, XavierWarning, said
from xavier._types.laws import Constant
from xavier._types.plan import Plan
from xavier.bits import Key
from xavier.frameworks.torch._effective import is_rebuilt, rebuilt, settle, tensors_of, unfold
from xavier.frameworks.torch._elements import write_assignment
from xavier.frameworks.torch._fit import Job, check_fits, jobs
from xavier.frameworks.torch.agreement import is_sharded
from xavier.frameworks.torch.names import inner

__all__ = [
    "SameBitsWarning",
    "all_or_nothing",
    "check_fits",
    "default_seed",
    "forgotten",
    "next_seed",
    "write",
]

_drawn: Final[weakref.WeakValueDictionary[bytes, nn.Module]] = weakref.WeakValueDictionary()


class SameBitsWarning(XavierWarning):
    """Two models were drawn with one seed, scope and names: their weights are the same bits."""


def write(
    model: nn.Module,
    plan: Plan,
    *,
    seed: int,
    scope: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Draw every weight of a plan in place, after the whole plan was found to fit.

    Element i of a weight follows from the seed, `scope` and canonical name, the law, and i
    alone, the row-major index in the whole stored parameter (see `_elements.write_assignment`
    for laws that are not elementwise, and for complex weights). bfloat16 and float16 weights
    are the float32 ones rounded. A frozen parameter is drawn like any other: that it is not
    trained says nothing of its values.

    Weight norm gets direction and magnitude such that the effective weight is what was drawn;
    spectral norm's original is drawn and its singular vectors found anew; a parametrization
    with a `right_inverse` is given what it returns for the drawn weight; of others the original
    is drawn.

    Args:
        model: The model, on a real device.
        plan: What to draw.
        seed: The seed, a signed 64-bit integer.
        scope: The prefix of every name in the stream of bits.
        progress: Called with (elements drawn, elements in all) as the drawing goes on.

    Raises:
        PlanError: If the plan does not fit the model; nothing has been touched then.
        DtypeError: If a parameter's dtype cannot be drawn; likewise.
        WriteError: If a parameter cannot be written to; likewise. Or if the drawing was
            interrupted: then the message tells how far it came, and calling again with the
            same plan completes it to the same bits.

    Warns:
        SameBitsWarning: If another model that is still alive was drawn with the same seed,
            scope and names.
    """
    Key(seed, scope)
    todo = jobs(model, plan)
    _refuse_meta(todo)
    names = _stream_names(plan, scope)
    _warn_of_twins(model, names, seed=seed, scope=scope)
    # Nothing here draws from the generators of other devices.
    with torch.no_grad(), torch.inference_mode(mode=False), torch.random.fork_rng(devices=[]):
        made = {job.slot.name: rebuilt(job, seed=seed, scope=scope) for job in todo}
        _draw(todo, made, seed=seed, scope=scope, progress=progress)
    _drawn[_twins_key(names, seed)] = inner(model)


@contextmanager
def forgotten() -> Iterator[None]:
    """Forget afterwards which models the block drew, so that no later one is told it repeats them.

    Yields:
        Nothing; the block draws.
    """
    before = dict(_drawn)
    try:
        yield
    finally:
        _drawn.clear()
        _drawn.update(before)


@contextmanager
def all_or_nothing(model: nn.Module, plan: Plan) -> Iterator[None]:
    """Put back every weight that a plan draws if the block raises.

    Args:
        model: The model, on a real device; its drawn weights are copied.
        plan: The plan.

    Yields:
        Nothing; the block draws.
    """
    todo = jobs(model, plan)
    with torch.no_grad(), torch.inference_mode(mode=False):
        kept = [
            (tensor, tensor.detach().clone())
            for job in todo
            for tensor in tensors_of(job.slot, rebuilt=is_rebuilt(job))
        ]
        copies = [(job.slot, vars(job.slot.owner).get(job.slot.attribute)) for job in todo]
        try:
            yield
        except BaseException:
            for tensor, before in kept:
                tensor.detach().copy_(before)
                torch.autograd.graph.increment_version(tensor)
            for slot, before in copies:
                if before is not None:
                    vars(slot.owner)[slot.attribute] = before
            raise


def default_seed() -> int:
    """Return a seed from torch's default generator, the same on all ranks.

    The generator advances by one number. Where `torch.distributed` is initialized, rank 0's
    seed is broadcast.
    """
    seed = _own_seed()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        shared = [seed]
        torch.distributed.broadcast_object_list(shared, src=0)
        seed = shared[0]
    return seed


def _own_seed() -> int:
    return int(torch.empty((), dtype=torch.int64, device="cpu").random_())


def next_seed(model: nn.Module) -> tuple[int, Callable[[], None]]:
    """Return what `default_seed` would, and what advances the generator as that does.

    For a sharded model it is this process's own proposal: `agreed` takes one for all.
    """
    before = torch.get_rng_state()
    seed = _own_seed() if is_sharded(model) else default_seed()
    after = torch.get_rng_state()
    torch.set_rng_state(before)
    return seed, functools.partial(torch.set_rng_state, after)


def _draw(
    todo: Sequence[Job],
    made: dict[str, Any],
    *,
    seed: int,
    scope: str,
    progress: Callable[[int, int], None] | None,
) -> None:
    total = sum(prod(each.shape) for job in todo for each in job.assignments)
    count = 0

    def report(elements: int) -> None:
        nonlocal count
        count += elements
        if progress is not None and elements:
            progress(count, total)

    done: list[str] = []
    try:
        for job in todo:
            values = made.pop(job.slot.name)
            _draw_one(job, values, seed=seed, scope=scope, report=report)
            done.append(job.slot.name)
    except (Exception, KeyboardInterrupt) as error:
        raise _interrupted(error, done, todo, seed) from error


def _draw_one(
    job: Job, values: Any, *, seed: int, scope: str, report: Callable[[int], None]
) -> None:
    name = scope + job.slot.name
    if is_rebuilt(job):
        values.store()
        report(sum(prod(each.shape) for each in job.assignments))
    else:
        unfold(job)
        for each in job.assignments:
            write_assignment(job.slot.stored, each, seed=seed, name=name, report=report)
    settle(job, seed=seed, name=name)
    # The elements were written behind autograd's back: a graph that holds them must notice.
    torch.autograd.graph.increment_version(job.slot.stored)


def _interrupted(
    error: BaseException, done: Sequence[str], todo: Sequence[Job], seed: int
) -> WriteError:
    what = "interrupted" if isinstance(error, KeyboardInterrupt) else said(error)
    at = todo[len(done)].slot.name
    last = f", the last one `{done[-1]}`" if done else ""
    return WriteError(
        f"drawing stopped ({what}) in `{at}`: {len(done)} of {len(todo)} parameters "
        f"are drawn{last}",
        hint=f"call again with the same plan and seed={seed}: it completes to the same bits",
    )


def _refuse_meta(todo: Sequence[Job]) -> None:
    held = [job.slot.name for job in todo if job.slot.stored.device.type == "meta"]
    if held:
        told = ", ".join(f"`{name}`" for name in held[:3]) + (", …" if len(held) > 3 else "")  # noqa: PLR2004 - as many as are told
        raise PlanError(
            f"{len(held)} parameters are on the meta device: {told}",
            hint="xavier.init_ materializes a model before it draws",
        )


def _stream_names(plan: Plan, scope: str) -> tuple[str, ...]:
    return tuple(
        sorted(
            f"{scope}{each.name}{each.shape}"
            for each in plan.assignments
            if not isinstance(each.law, Constant) and math.prod(each.shape)
        )
    )


def _twins_key(names: Sequence[str], seed: int) -> bytes:
    return hashlib.blake2b(repr((seed, names)).encode("utf-8", "surrogatepass")).digest()


def _warn_of_twins(model: nn.Module, names: Sequence[str], *, seed: int, scope: str) -> None:
    key = _twins_key(names, seed)
    if not names or _drawn.get(key) in (None, inner(model)):
        return
    gc.collect()  # a model that no one can reach any more is no twin
    if _drawn.get(key) is not None:
        warnings.warn(
            f"two models were drawn with seed {seed}, scope {scope!r} and the same names: "
            "their weights are the same bits; pass another seed, or a scope for each",
            SameBitsWarning,
            stacklevel=6,  # whoever called init_
        )
