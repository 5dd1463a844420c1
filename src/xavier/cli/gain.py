"""`xavier gain`: what an activation does to the signal, and the gain that undoes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from xavier.cli._options import format_option


@click.command(name="gain", short_help="Print the gain of an activation.")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@format_option("terminal", "json")
def command(names: tuple[str, ...], form: str) -> None:
    """Print the gain that keeps the variance through each activation NAME, such as tanh.

    Weights of standard deviation gain / sqrt(fan_in) hold the variance of the pre-activations.
    With the gain come its stabilities: what becomes of a variance that is a little off, and
    what becomes of the gradient, from layer to layer.
    """
    from xavier._types.codec import plain
    from xavier.theory import gains

    described: list[dict[str, Any]] = [plain(gains.describe(name)) for name in names]
    if form == "json":
        click.echo(json.dumps(described, indent=2, allow_nan=False))
        return
    for place, each in enumerate(described):
        if place:
            click.echo()
        for line in _lines(each):
            click.echo(line)


def _lines(described: Mapping[str, Any]) -> list[str]:
    width = max(map(len, described))
    return [f"{key.replace('_', ' '):{width}}  {_said(value)}" for key, value in described.items()]


def _said(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_said, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
