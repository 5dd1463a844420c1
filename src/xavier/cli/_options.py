"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what names a model and its example input."""
    for add in reversed((click.argument("target"), *_MODEL)):
        command = add(command)
    return command


def project_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the same, of a command that knows the project's models if it is told none."""
    for add in reversed((click.argument("target", required=False), *_MODEL)):
        command = add(command)
    return command


def format_option(*formats: str) -> _Decorator:
    """Add `--format`; the first of `formats` is the default."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="How to print the outcome.",
    )


def _seed(_: click.Context, __: click.Parameter, value: Any) -> int:
    """Return the seed, or say that the text is none."""
    try:
        seed = int(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no integer") from None
    if not -(2**63) <= seed < 2**63:
        raise click.BadParameter(f"{seed} has more than 64 bits")
    return seed


recipe_option = click.option(
    "--recipe",
    metavar="NAME",
    help="auto (the default), xavier, he, lecun, orthogonal, gpt2, lsuv, default, random or "
    "heuristic.",
)
meta_option = click.option(
    "--meta", is_flag=True, help="Build the model on the meta device, where weights need no memory."
)
force_option = click.option("--force", is_flag=True, help="Replace files that exist.")
save_plan_option = click.option(
    "--save-plan", metavar="FILE.toml", help="Write the plan, to be reviewed and kept."
)

_MODEL = (
    click.option("--kwargs", metavar="JSON", help="Arguments of the function, as a JSON object."),
    click.option(
        "--input",
        "inputs",
        metavar="SPEC",
        multiple=True,
        help="An input to make: sizes such as 8,3,32,32, integers such as int:2,16:50257, with "
        "the argument's name in front (mask=bool:2,16) or not. Repeat it for several.",
    ),
    click.option(
        "--batch", metavar="FILE", help="Read the input from an .npz, .safetensors or .pt file."
    ),
    click.option(
        "--seed",
        callback=_seed,
        metavar="INTEGER",
        default="0",
        help="Seeds the weights, and the inputs that are made; 0 by default.",
    ),
)
