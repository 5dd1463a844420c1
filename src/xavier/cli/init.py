"""`xavier init`: draw a model's weights, and write them to a file or a folder."""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xavier._errors import PlanError, TargetError, printable
from xavier.cli._options import (
    force_option,
    format_option,
    model_options,
    recipe_option,
    save_plan_option,
)
from xavier.cli._sizes import size_in_bytes

if TYPE_CHECKING:
    from xavier._types.plan import Plan


@click.command(name="init", short_help="Draw the weights of a model into a file or a folder.")
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
@click.option(
    "--meta/--no-meta",
    default=None,
    help="Build the model on the meta device, where weights need no memory; for a folder that is "
    "done without being asked.",
)
@click.option(
    "--out",
    metavar="FILE.safetensors|FOLDER",
    help="Write the weights here: into one file, or one tensor at a time into the files of a "
    "folder, as from_pretrained reads them.",
)
@click.option(
    "--dtype", metavar="NAME", help="What a folder's floating tensors are written in: bfloat16."
)
@click.option(
    "--max-shard-size",
    metavar="SIZE",
    callback=size_in_bytes,
    help="The most that a file of a folder holds, 5GB by default; GB are 10^9 bytes, GiB 2^30.",
)
@save_plan_option
@force_option
@format_option("terminal", "json")
def command(recipe: str | None, plan_file: str | None, form: str, **given: Any) -> None:
    """Draw the weights of TARGET by its plan, and write them to a file or a folder.

    The weights depend on the seed, the names and the plan alone. A file is written whole or not at
    all; a folder file by file, and the same command goes on where one was stopped.
    """
    from xavier.cli import _files, _terminal

    if recipe is not None and plan_file is not None:
        raise TargetError("--recipe and --plan were both given, expected one of them")
    saved, into_folder = _files.read_plan(plan_file), _names_folder(given)
    file = None if into_folder else given["out"]
    with ExitStack() as stack:
        out, toml = (
            stack.enter_context(
                _files.appearing(path, option=option, force=given["force"], suffix=suffix)
            )
            for path, option, suffix in (
                (file, "--out", ".safetensors"),
                (given["save_plan"], "--save-plan", ".toml"),
            )
        )
        model, drawn = _drawn(recipe, saved, given, into_folder=into_folder)
        if toml is not None:
            _files.write_text(toml, drawn.to_toml(), option="--save-plan")
        if out is not None:
            from xavier.frameworks.torch import io

            io.save_weights(model, drawn, out)
    if form == "json":
        click.echo(drawn.to_json(), nl=False)
        return
    from xavier.report import render_plan

    render_plan(drawn, _terminal.console())
    click.echo(_summary(drawn, given["out"]))


def _names_folder(given: dict[str, Any]) -> bool:
    """Return whether `--out` is a folder; refuse what makes sense for one alone."""
    out = given["out"] or ""
    if out.endswith(os.sep) or (out and not Path(out).suffix):
        return True
    if out and Path(out).suffix != ".safetensors":
        told = f"--out {out}: expected a name that ends in .safetensors, or a folder"
        raise TargetError(told, hint=f"for a folder of that name, end it in {os.sep}")
    for option in ("dtype", "max_shard_size"):
        if given[option] is not None:
            said = f"--{option.replace('_', '-')} is for a folder"
            raise TargetError(said, hint="name one: --out FOLDER")
    return False


def _drawn(
    recipe: str | None, saved: Plan | None, given: dict[str, Any], *, into_folder: bool
) -> tuple[Any, Plan]:
    import xavier
    from xavier.cli import _example, _target, _terminal

    kwargs, seed = _target.parse_kwargs(given["kwargs"]), given["seed"]
    meta = into_folder if given["meta"] is None else given["meta"]
    with _terminal.aside():
        model = _target.build(given["target"], kwargs, meta=meta, seed=seed)
        example, _ = _example.example_for(
            model, inputs=given["inputs"], batch=given["batch"], seed=seed
        )
    if recipe == "lsuv":
        _example.require_example(example, command="the recipe lsuv")
    draw = partial(xavier.init_, model, example)
    if into_folder:
        draw = partial(xavier.write_checkpoint, model, given["out"], example, **_of_folder(given))
    try:
        with _terminal.aside(), _terminal.drawing() as progress:
            drawn = draw(
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
        hint = error.hint
        if hint is not None and "xavier.plan(" in hint:  # what one types here instead
            hint = f"plan this model: xavier plan {given['target']} --save-plan plan.toml"
        raise TargetError(error.message, hint=hint) from error
    return model, drawn


def _of_folder(given: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a folder that were given."""
    settings = {name: given[name] for name in ("dtype", "max_shard_size", "force")}
    return {name: value for name, value in settings.items() if value is not None}


def _summary(drawn: Plan, out: str | None) -> str:
    said = f"drew {len(drawn)} regions with seed {drawn.seed}"
    return f"{said} into {printable(out)}" if out else f"{said}; nothing was written: add --out"
