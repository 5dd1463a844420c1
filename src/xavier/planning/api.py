"""`plan`, `init_` and `write_checkpoint`: the public verbs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Final

from xavier._errors import PlanError, WriteError, a
from xavier._types.flow import Flow
from xavier._types.plan import Plan
from xavier.bits import Key
from xavier.planning.backend import backend_of
from xavier.planning.override_matching import compile_overrides
from xavier.planning.overrides import draft_with
from xavier.planning.recipes import Recipe, resolve
from xavier.planning.selection import Only, completed, select

Progress = Callable[[int, int], None]
_BY_DATA: Final = "lsuv"  # the recipe that measures what was drawn


def plan(
    model: Any,
    example: Any = None,
    *,
    recipe: str | Recipe = "auto",
    overrides: Mapping[Any, Any] | None = None,
    overwrite_zeros: bool = False,
) -> Plan:
    """Work out a law for every weight of a model from how the weight is used.

    The model runs once, on meta tensors, and is left as it was, to the bit. The plan depends
    on the architecture, not on the example's batch size, sequence length or picture size.

    Args:
        model: A `torch.nn.Module`, on any device, meta included.
        example: What its forward takes: a tensor, a tuple of positional arguments, or a
            dict of keyword arguments. Without one, the plan is by module type and order, and
            says so.
        recipe: The name of a recipe, or an object with `name` and `choose(setting)`.
        overrides: Rules or laws for some weights: a mapping from a glob on the name,
            `"type:Linear"`, `"role:head"` or a predicate on the recipe's assignments to a
            rule, a law, a rule's name, or `"keep"`. The last match wins, and what stands behind
            an overridden weight is planned for the law that this one has.
        overwrite_zeros: Whether to draw also weights that are zero on arrival although the
            signal has another way around them (LoRA's B, a zeroed residual writer).

    Returns:
        The plan: what `init_` does.

    Raises:
        TraceError: If the model raises on the example.
        PlanError: If the model cannot be planned, or an override matches nothing.
        UnknownNameError: If there is no such recipe, role or rule.

    Example:
        >>> import torch, xavier
        >>> layers = torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)
        >>> model = torch.nn.Sequential(*layers)
        >>> drawn = xavier.plan(model, torch.zeros(1, 8))
        >>> [each.fed_by for each in drawn["2.weight"]]
        ['relu']
    """
    chosen, compiled = _resolved(recipe), compile_overrides(overrides)
    backend = backend_of(model)
    flow = backend.untraced(model) if example is None else backend.trace(model, example)
    return draft_with(flow, chosen, compiled, overwrite_zeros=overwrite_zeros)


def plan_of(flow: Flow, *, recipe: str | Recipe = "auto") -> Plan:
    """Work out the plan of a model that has been traced.

    Args:
        flow: The trace.
        recipe: As for `plan`.

    Returns:
        What `plan` gives for the model and the example.

    Raises:
        PlanError: If the model cannot be planned.
        UnknownNameError: If there is no such recipe.
    """
    return draft_with(flow, _resolved(recipe), compile_overrides(None), overwrite_zeros=False)


def init_(  # noqa: PLR0913 - the public contract
    model: Any,
    example: Any = None,
    *,
    seed: int | None = None,
    scope: str = "",
    recipe: str | Recipe = "auto",
    plan: Plan | None = None,
    only: Only | None = None,
    overrides: Mapping[Any, Any] | None = None,
    overwrite_zeros: bool = False,
    progress: Progress | None = None,
) -> Plan:
    """Draw a model's weights in place, each from the law that the plan gives it.

    The whole plan is worked out, and checked against the model, before the first weight is
    touched. A meta model is materialized; weight norm is reached through, so that the
    *effective* weight has the law.

    Args:
        model: A `torch.nn.Module`, on any device, meta included.
        example: As for `plan`.
        seed: The seed of the bits; None takes the plan's, and if it has none, draws one from
            the framework's own generator.
        scope: A prefix of every name, for two networks of one shape.
        recipe: As for `plan`; ignored if `plan` is given.
        plan: A plan to carry out, such as one read from a file.
        only: Draw these weights alone: names, globs as in `overrides`, or a predicate on
            names; the rest are left as they are.
        overrides: As for `plan`, which must not be given then.
        overwrite_zeros: As for `plan`, likewise.
        progress: Called with (elements drawn, elements in all) as the drawing goes on.

    Returns:
        The plan that was carried out, with the seed and the scope. A parameter that a given plan
        does not name is listed as kept.

    Raises:
        TraceError: If the model raises on the example.
        PlanError: If the plan does not fit the model; nothing has been touched then.
        DtypeError: If a weight's dtype cannot be drawn; likewise.
        StreamError: If the seed or the scope is none; likewise.
        WriteError: If a weight cannot be written to; likewise. Or if drawing was interrupted:
            calling again with the same plan and seed, which are in the error's `plan`,
            completes it to the same bits. What was on the meta device is there again.
    """
    _require_usable(plan, progress)
    by_data = plan is None and _resolved(recipe).name == _BY_DATA
    if by_data and example is None:
        raise PlanError(f"the recipe {_BY_DATA} needs an example input", hint="pass example=")
    made, seeded, advance = _settled(
        model,
        example,
        plan,
        seed=seed,
        scope=scope,
        only=only,
        recipe=recipe,
        overrides=overrides,
        overwrite_zeros=overwrite_zeros,
    )
    backend_of(model).check_fits(model, made)
    made = backend_of(model).agreed(model, made, seeded=seeded)
    drawn = _carried_out(model, made, example if by_data else None, progress)
    advance()
    return drawn if plan is None else completed(drawn, backend_of(model).slots(model))


def write_checkpoint(  # noqa: PLR0913 - the public contract
    model: Any,
    folder: str | PathLike[str],
    example: Any = None,
    *,
    seed: int | None = None,
    scope: str = "",
    recipe: str | Recipe = "auto",
    plan: Plan | None = None,
    only: Only | None = None,
    overrides: Mapping[Any, Any] | None = None,
    overwrite_zeros: bool = False,
    dtype: str | None = None,
    max_shard_size: int = 5 * 10**9,
    force: bool = False,
    progress: Progress | None = None,
) -> Plan:
    """Draw a model's weights into a folder of safetensors files, one tensor in memory at a time.

    The values are those that `init_` draws, and the model, best on the meta device, is left as it
    is. The layout is the one that `from_pretrained` reads: `model-00001-of-00002.safetensors`, …
    with `model.safetensors.index.json`, or one `model.safetensors`; for a Hugging Face model its
    `config.json` too. Tied weights are written once. Each file has its name only when it is
    finished, and calling again with the same plan, seed and dtype goes on after the last that is.

    Args:
        model: As for `init_`; not sharded.
        folder: Where to write; made if it is not there.
        example: As for `plan`.
        seed: As for `init_`.
        scope: As for `init_`.
        recipe: As for `init_`, but `lsuv`, which measures drawn weights.
        plan: As for `init_`.
        only: As for `init_`: what the others hold is written as it is.
        overrides: As for `plan`.
        overwrite_zeros: As for `plan`.
        dtype: The name of the dtype that floating tensors are written in, such as `"bfloat16"`;
            None for each its own.
        max_shard_size: The most bytes of tensors in a file; a larger tensor has one to itself.
        force: Whether to replace another checkpoint that is in the folder. Only safetensors files,
            their index and this function's own record are removed.
        progress: As for `init_`; files that were finished before count as drawn.

    Returns:
        The plan that was carried out, with the seed and the scope.

    Raises:
        TraceError: If the model raises on the example.
        PlanError: If the plan does not fit the model, or the recipe needs drawn weights.
        DtypeError: If the dtype is unknown, or a tensor's has no place in the format.
        StreamError: If the seed or the scope is none.
        WriteError: If the folder holds another checkpoint, another process writes to it, the disk
            is full, or the model is sharded.

    Example:
        >>> import json, tempfile, pathlib, torch, xavier
        >>> with torch.device("meta"):
        ...     model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Linear(64, 8))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     drawn = xavier.write_checkpoint(model, folder, seed=0, max_shard_size=10_000)
        ...     sorted(each.name for each in pathlib.Path(folder).glob("*.safetensors"))
        ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']
    """
    _require_usable(plan, progress)
    if plan is None and _resolved(recipe).name == _BY_DATA:
        raise PlanError(
            f"the recipe {_BY_DATA} measures drawn weights, and a checkpoint's are never all there",
            hint="init_ the model itself, and save its state dict",
        )
    made, _, advance = _settled(
        model,
        example,
        plan,
        seed=seed,
        scope=scope,
        only=only,
        recipe=recipe,
        overrides=overrides,
        overwrite_zeros=overwrite_zeros,
    )
    backend_of(model).write_checkpoint(
        model,
        made,
        Path(folder),
        dtype=dtype,
        max_shard_size=max_shard_size,
        force=force,
        progress=progress,
    )
    advance()
    return made if plan is None else completed(made, backend_of(model).slots(model))


_make_plan = plan  # `_settled` has an argument of the same name


def _settled(
    model: Any,
    example: Any,
    plan: Plan | None,
    *,
    seed: int | None,
    scope: str,
    only: Only | None,
    **settings: Any,
) -> tuple[Plan, bool, Callable[[], None]]:
    """Return the plan to carry out, whether its seed was given, and what to call when it is done.

    The framework's generator, which gives the seed where nothing else does, advances by that call:
    what is interrupted has the same seed again.
    """
    if plan is None:
        plan = _make_plan(model, example, **settings)
    else:
        beside = {name: settings[name] for name in ("overrides", "overwrite_zeros")}
        _require_nothing_beside(**beside)
    plan = select(plan, only)
    chosen, advance = plan.seed if seed is None else seed, _nothing
    seeded = chosen is not None
    if chosen is None:
        chosen, advance = backend_of(model).next_seed(model)
    key = Key(chosen, scope or plan.scope)
    return replace(plan, seed=key.seed, scope=key.name), seeded, advance


def _nothing() -> None: ...


def _carried_out(model: Any, plan: Plan, example: Any, progress: Progress | None) -> Plan:
    """Draw a plan, and with an example rescale it; on an error nothing is left half-made."""
    backend = backend_of(model)
    values = backend.owner_values(model, plan)
    to_meta = backend.materialize(model, values)
    try:
        if example is None:
            _draw(model, plan, progress)
            return plan
        with backend.all_or_nothing(model, plan):
            _draw(model, plan, progress)
            rescaled = backend.rescale(model, example, plan)
            _draw(model, rescaled, progress)
        return rescaled
    except BaseException as error:
        if to_meta is not None:
            to_meta()
        if not isinstance(error, WriteError):
            raise
        cause = error.__cause__
        if example is not None:
            told = f"{error.message}; the weights are as they were"
            raise WriteError(told, hint=f"call again with seed={plan.seed}") from cause
        back = "" if to_meta is None else "; what was on the meta device is there again"
        raise WriteError(error.message + back, hint=error.hint, plan=plan) from cause


def _draw(model: Any, plan: Plan, progress: Progress | None) -> None:
    backend_of(model).write(model, plan, seed=plan.seed, scope=plan.scope, progress=progress)


def _require_usable(plan: object, progress: object) -> None:
    if plan is not None and not isinstance(plan, Plan):
        raise PlanError(
            f"plan is {a(type(plan).__name__)}, expected a xavier.Plan",
            hint="read one from a file with xavier.Plan.from_toml(text)",
        )
    if progress is not None and not callable(progress):
        raise PlanError(f"progress is {progress!r}, expected a function of two counts")


def _require_nothing_beside(**given: object) -> None:
    """Refuse what would change a plan that is already made."""
    for name, value in given.items():
        if value:
            raise PlanError(
                f"plan and {name} were both given, expected one of them",
                hint=f"make the plan with it: xavier.plan(model, example, {name}=...)",
            )


def _resolved(recipe: Any) -> Recipe:
    is_one = hasattr(recipe, "name") and callable(getattr(recipe, "choose", None))
    return resolve(recipe if is_one else str(recipe))
