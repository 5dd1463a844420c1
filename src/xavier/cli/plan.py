"""`xavier plan`: print the law of every weight."""

from __future__ import annotations

from typing import Any

import click

from xavier.cli._options import (
    force_option,
    format_option,
    meta_option,
    model_options,
    recipe_option,
    save_plan_option,
)


@click.command(name="plan", short_help="Print the law of every weight of a model.")
@model_options
@recipe_option
@meta_option
@click.option("--explain", metavar="NAME", help="Explain one parameter instead.")
@save_plan_option
@force_option
@format_option("terminal", "json", "toml")
def command(recipe: str | None, explain: str | None, form: str, **given: Any) -> None:
    """Work out which law each weight of TARGET should have, and print it.

    The model is run once, without computing anything, and is left as it was. Without an input
    the plan is made from the modules' types and order alone, and says so.
    """
    import xavier
    from xavier.cli import _example, _files, _target, _terminal

    saved, force = given["save_plan"], given["force"]
    with _files.appearing(saved, option="--save-plan", force=force, suffix=".toml") as file:
        kwargs, seed = _target.parse_kwargs(given["kwargs"]), given["seed"]
        with _terminal.aside(), _terminal.busy("tracing"):
            model = _target.build(given["target"], kwargs, meta=given["meta"], seed=seed)
            example, _ = _example.example_for(
                model, inputs=given["inputs"], batch=given["batch"], seed=seed
            )
            made = xavier.plan(model, example, recipe="auto" if recipe is None else recipe)
        said = None if explain is None else made.explain(explain)
        if file is not None:
            _files.write_text(file, made.to_toml(), option="--save-plan")
    if said is not None:
        click.echo(_terminal.paragraph(said))
    elif form == "terminal":
        from xavier.report import render_plan

        render_plan(made, _terminal.console())
    else:
        click.echo(made.to_json() if form == "json" else made.to_toml(), nl=False)
