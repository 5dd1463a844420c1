"""`plan` and `init_`: the two public verbs."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from xavier._errors import PlanError
from xavier._types.plan import Assignment, Kept, Plan
from xavier.planning.backend import backend_of
from xavier.planning.drafting import draft
from xavier.planning.overrides import apply_overrides
from xavier.planning.recipes import Recipe, resolve

Only = str | Iterable[str]


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
            `"type:Linear"`, `"role:head"` or a predicate to a rule, a law, a rule's name, or
            `"keep"`. The last match wins.
        overwrite_zeros: Whether to draw also weights that are zero on arrival although the
            signal has another way around them (LoRA's B, a zeroed residual writer).

    Returns:
        The plan: what `init_` does.

    Raises:
        TraceError: If the model raises on the example.
        PlanError: If the model cannot be planned, or an override matches nothing.
        UnknownNameError: If there is no such recipe.

    Example:
        >>> import torch, xavier
        >>> layers = torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)
        >>> model = torch.nn.Sequential(*layers)
        >>> drawn = xavier.plan(model, torch.zeros(1, 8))
        >>> [each.fed_by for each in drawn["2.weight"]]
        ['relu']
    """
    chosen = resolve(recipe)
    backend = backend_of(model)
    flow = backend.untraced(model) if example is None else backend.trace(model, example)
    drawn = draft(flow, chosen, overwrite_zeros=overwrite_zeros)
    types = {each.name: each.module for each in flow.parameters}
    return apply_overrides(drawn, overrides, module_types=types)


def init_(  # noqa: PLR0913 - the public contract
    model: Any,
    example: Any = None,
    *,
    seed: int | None = None,
    scope: str = "",
    recipe: str | Recipe = "auto",
    plan: Plan | None = None,
    only: Only | Callable[[str], bool] | None = None,
    overrides: Mapping[Any, Any] | None = None,
    overwrite_zeros: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Plan:
    """Draw a model's weights in place, each from the law that the plan gives it.

    The whole plan is worked out, and checked against the model, before the first weight is
    touched. A meta model is materialized; weight norm is reached through, so that the
    *effective* weight has the law.

    Args:
        model: A `torch.nn.Module`, on any device, meta included.
        example: As for `plan`.
        seed: The seed of the bits; None draws one from the framework's own generator.
        scope: A prefix of every name, for two networks of one shape.
        recipe: As for `plan`; ignored if `plan` is given.
        plan: A plan to carry out, such as one read from a file.
        only: Draw these weights alone: names, globs, or a predicate on names; the rest are
            left as they are.
        overrides: As for `plan`.
        overwrite_zeros: As for `plan`.
        progress: Called with (elements drawn, elements in all) as the drawing goes on.

    Returns:
        The plan that was carried out, with the seed and the scope.

    Raises:
        TraceError: If the model raises on the example.
        PlanError: If the plan does not fit the model; nothing has been touched then.
        WriteError: If drawing was interrupted; calling again with the same plan and seed
            completes it to the same bits.
    """
    backend = backend_of(model)
    data_dependent = plan is None and resolve(recipe).name == "lsuv"
    if data_dependent and example is None:
        raise PlanError("the recipe lsuv needs an example input", hint="pass example=")
    made = plan or _make_plan(
        model, example, recipe=recipe, overrides=overrides, overwrite_zeros=overwrite_zeros
    )
    made = _only(made, only)
    if seed is None:
        seed = made.seed if made.seed is not None else backend.default_seed()
    made = replace(made, seed=seed, scope=scope or made.scope)
    backend.check_fits(model, made)
    backend.require_agreement(model, made)
    values = backend.owner_values(model, made)
    backend.materialize(model, values)
    backend.write(model, made, seed=seed, scope=made.scope, progress=progress)
    if data_dependent:
        made = backend.rescale(model, example, made)
        backend.write(model, made, seed=seed, scope=made.scope, progress=progress)
    return made


_make_plan = plan  # `init_` has an argument of the same name


def _only(plan: Plan, only: Only | Callable[[str], bool] | None) -> Plan:
    if only is None:
        return plan
    wanted = _matcher(only)
    drawn = tuple(each for each in plan.assignments if wanted(each.name))
    if not drawn:
        raise PlanError(
            f"only={only!r} matches no weight of the plan",
            hint=f"names look like {', '.join(each.name for each in plan.assignments[:3])}",
        )
    left: dict[str, Assignment] = {
        each.name: each for each in plan.assignments if not wanted(each.name)
    }
    kept = tuple(
        Kept(each.name, each.shape, "parameter", "left as it is: not among `only`")
        for each in left.values()
    )
    return replace(plan, assignments=drawn, kept=(*plan.kept, *kept))


def _matcher(only: Only | Callable[[str], bool]) -> Callable[[str], bool]:
    if callable(only):
        return only
    patterns = [only] if isinstance(only, str) else list(only)
    return lambda name: any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
