"""`xavier check`: a verdict on a model's weights and signal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xavier.cli._options import force_option, format_option, project_options, recipe_option

if TYPE_CHECKING:
    from xavier._types.signal import Check


@click.command(name="check", short_help="Tell whether a model can start to train.")
@project_options
@recipe_option
@click.option(
    "--plan", "plan_file", metavar="FILE.toml", help="Hold the weights against a saved plan."
)
@click.option(
    "--weights", metavar="FILE", help="Load these weights first: a safetensors file, or a folder."
)
@click.option(
    "--against",
    metavar="FILE",
    help="Tell what changed since these weights, which are a file or a folder: what was not drawn, "
    "and what should not have been.",
)
@click.option(
    "--loss",
    type=click.Choice(["cross_entropy", "mse"]),
    help="Go backward from this loss; its target is the array `target` of --batch.",
)
@click.option(
    "--try-cures",
    is_flag=True,
    help="Draw an unhealthy model by each recipe, and tell which one mends it.",
)
@click.option("--deep", is_flag=True, help="Look at norms, sums and functions too, and at ranks.")
@click.option("--jacobian", is_flag=True, help="Add the singular values of the layers' Jacobians.")
@click.option("--no-theory", is_flag=True, help="Do not hold the signal against the theory.")
@click.option(
    "--ignore",
    metavar="CODE",
    multiple=True,
    help="Leave this finding out, as pyproject.toml may too; repeat it for several.",
)
@click.option(
    "--list-findings",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda context, _, asked: _list_findings(context) if asked else None,
    help="List the codes of all findings and what they mean.",
)
@click.option("--strict", is_flag=True, help="Exit with 1 on a warning too.")
@click.option(
    "--out",
    metavar="FILE.html",
    help="Write an HTML report here too; with --format html, here instead.",
)
@force_option
@format_option("terminal", "json", "github", "html")
def command(recipe: str | None, form: str, **given: Any) -> int:
    """Check whether TARGET can start to train: its weights, and the signal both ways.

    Without a TARGET, those that `pyproject.toml` lists under `targets` in `[tool.xavier]`.

    Exits with 0 if it is healthy and no finding is an error, 1 if not, 2 on misuse, and 3 if
    the model or this tool failed. With --recipe or --plan, a weight that does not follow it is a
    warning.
    """
    if given["target"] is None:
        return _project(recipe, form, given)
    return _one(recipe, form, given)


def _project(recipe: str | None, form: str, given: dict[str, Any]) -> int:
    """Check every model that the project lists; return the highest exit code."""
    from xavier._errors import TargetError
    from xavier.checking.project import targets_in

    targets = targets_in(Path.cwd())
    if not targets:
        raise TargetError(
            "no TARGET was given, and no pyproject.toml lists any",
            hint='give one, such as models.py:net, or [tool.xavier] targets = ["models.py:net"]',
        )
    if len(targets) > 1 and (form not in ("terminal", "github") or given["out"] is not None):
        told = f"{len(targets)} targets make no single file or document"
        raise TargetError(told, hint="give the one TARGET that it is to be of")
    codes: list[int] = []
    for target in targets:
        before, after = ("::group::", "::endgroup::") if form == "github" else ("", "")
        click.echo(f"{before}{target}")
        codes.append(_one(recipe, form, {**given, "target": target}))
        click.echo(after)
    return max(codes)


def _one(recipe: str | None, form: str, given: dict[str, Any]) -> int:
    from xavier.cli import _files

    out, force = given["out"], given["force"]
    with _files.appearing(out, option="--out", force=force, suffix=".html") as file:
        found = _checked(recipe, given, histograms=out is not None or form == "html")
        if file is not None:
            from xavier.report import html

            _files.write_text(file, html(found), option="--out")
    if out is None or form != "html":
        _print(found, form)
    return found.exit_code(strict=given["strict"])


def _print(found: Check, form: str) -> None:
    if form == "json":
        click.echo(found.to_json(), nl=False)
    elif form == "github":
        from xavier.cli import _github

        for line in _github.lines(found):
            click.echo(line)
    elif form == "html":
        from xavier.report import html

        click.echo(html(found).encode(), nl=False)  # UTF-8, as it says, whatever a terminal's is
    else:
        from xavier.cli._terminal import console
        from xavier.report import render_check

        render_check(found, console())


def _list_findings(context: click.Context) -> None:
    from xavier.checking.catalogue import FINDINGS

    width = max(map(len, FINDINGS))
    for code, meaning in FINDINGS.items():
        click.echo(f"{code:{width}}  {meaning}")
    context.exit()


def _checked(recipe: str | None, given: dict[str, Any], *, histograms: bool) -> Check:
    import xavier
    from xavier._errors import TargetError, printable
    from xavier.checking.catalogue import require_known
    from xavier.checking.project import ignored_in
    from xavier.cli import _example, _files, _target, _terminal

    if recipe is not None and given["plan_file"] is not None:
        raise TargetError("--recipe and --plan were both given, expected one of them")
    plan = _files.read_plan(given["plan_file"])
    ignore = require_known(given["ignore"]) | ignored_in(Path.cwd())
    kwargs, seed = _target.parse_kwargs(given["kwargs"]), given["seed"]
    with _terminal.aside():
        model = _target.build(given["target"], kwargs, meta=False, seed=seed)
        from xavier.frameworks.torch import io

        if given["weights"] is not None:
            io.load_weights(model, Path(given["weights"]))
        example, source = _example.example_for(
            model, inputs=given["inputs"], batch=given["batch"], seed=seed
        )
    example, target = _example.require_example(example, command="check"), None
    if given["loss"]:
        example, target = io.split_target(example)
        if target is None:
            hint = "give a --batch with an array named target"
            raise TargetError("--loss needs a target, and the input has none", hint=hint)
    click.echo(f"seed {seed}; input: {printable(source)}", err=True)
    with _terminal.aside(), _terminal.busy("measuring"):
        found = xavier.check(
            model,
            example,
            target=target,
            loss=given["loss"],
            recipe=recipe,
            plan=plan,
            jacobian=given["jacobian"],
            deep=given["deep"],
            theory=not given["no_theory"],
            histograms=histograms,
            against=given["against"],
            ignore=ignore,
        )
        if not given["try_cures"]:
            return found
        return xavier.try_cures(found, model, example, target=target, loss=given["loss"], plan=plan)
