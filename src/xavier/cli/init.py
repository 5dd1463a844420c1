"""`xavier init`: draw a model's weights, and write them to a file."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from xavier._errors import PlanError, TargetError, printable
from xavier.cli._options import (
    force_option,
    format_option,
    meta_option,
    model_options,
    recipe_option,
    save_plan_option,
)

if TYPE_CHECKING:
    from xavier._types.plan import Plan


@click.command(name="init", short_help="Draw the weights of a model into a file.")
@model_options
@recipe_option
@click.option("--plan", "plan_file", metavar="FILE.toml", help="Carry out a saved plan instead.")
@click.option(
    "--only",
    metavar="GLOB",
    multiple=True,
    help="Draw only the weights so named; repeat it for several.",
)
@click.option(
    "--scope",
    default="",
    metavar="NAME",
    help="Put this before every name, so that a second model draws other numbers.",
)
@meta_option
@click.option("--out", metavar="FILE.safetensors", help="Write the weights here.")
@save_plan_option
@force_option
@format_option("terminal", "json")
def command(recipe: str | None, plan_file: str | None, form: str, **given: Any) -> None:
    """Draw the weights of TARGET by its plan, and write them to a file.

    The weights depend on the seed, the names and the plan alone. Nothing is written unless all
    of it succeeds.
    """
    from xavier.cli import _files, _terminal

    if recipe is not None and plan_file is not None:
        raise TargetError("--recipe and --plan were both given, expected one of them")
    saved = _read_plan(plan_file)
    with ExitStack() as stack:
        out, toml = (
            stack.enter_context(
                _files.appearing(given[name], option=option, force=given["force"], suffix=suffix)
            )
            for name, option, suffix in (
                ("out", "--out", ".safetensors"),
                ("save_plan", "--save-plan", ".toml"),
            )
        )
        model, drawn = _drawn(recipe, saved, given)
        if toml is not None:
            _files.write_text(toml, drawn.to_toml(), option="--save-plan")
        if out is not None:
            _save(model, drawn, out)
    if form == "json":
        click.echo(drawn.to_json(), nl=False)
        return
    from xavier.report import render_plan

    render_plan(drawn, _terminal.console())
    click.echo(_summary(drawn, given["out"]))


def _read_plan(path: str | None) -> Plan | None:
    if path is None:
        return None
    from xavier._types.plan import Plan
    from xavier.cli import _files

    text = _files.read_text(path, option="--plan")
    try:
        return Plan.from_toml(text)
    except PlanError as error:
        raise TargetError(f"--plan {path}: {error.message}", hint=error.hint) from error


def _drawn(recipe: str | None, saved: Plan | None, given: dict[str, Any]) -> tuple[Any, Plan]:
    import xavier
    from xavier.cli import _example, _target, _terminal

    kwargs, seed = _target.parse_kwargs(given["kwargs"]), given["seed"]
    with _terminal.aside():
        model = _target.build(given["target"], kwargs, meta=given["meta"], seed=seed)
        example, _ = _example.example_for(
            model, inputs=given["inputs"], batch=given["batch"], seed=seed
        )
    if recipe == "lsuv":
        _example.require_example(example, command="the recipe lsuv")
    try:
        with _terminal.aside(), _terminal.drawing() as progress:
            drawn = xavier.init_(
                model,
                example,
                seed=seed,
                scope=given["scope"],
                recipe="auto" if recipe is None else recipe,
                plan=saved,
                only=given["only"] or None,
                progress=progress,
            )
    except PlanError as error:
        if saved is None and not given["only"]:
            raise
        raise TargetError(error.message, hint=error.hint) from error
    return model, drawn


def _save(model: Any, drawn: Plan, path: Any) -> None:
    from xavier.frameworks.torch import io

    about = {
        "xavier.digest": drawn.digest,
        "xavier.recipe": drawn.recipe,
        "xavier.seed": str(drawn.seed),
        "xavier.scope": drawn.scope,
    }
    io.save_weights(model, path, metadata={"format": "pt", **about})


def _summary(drawn: Plan, out: str | None) -> str:
    said = f"drew {len(drawn)} regions with seed {drawn.seed}"
    return f"{said} into {printable(out)}" if out else f"{said}; nothing was written: add --out"
