"""`xavier fans`: the fans of a weight, by use and as the frameworks count them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from xavier._errors import ShapeError, TargetError
from xavier.cli._options import format_option

if TYPE_CHECKING:
    from xavier._types.fans import Fans


@click.command(name="fans", short_help="Print the fans of a weight, as each framework counts.")
@click.argument("shape")
@click.option("--transposed", is_flag=True, help="The kernel of a transposed convolution.")
@click.option("--embedding", is_flag=True, help="A lookup table, (rows, width).")
@click.option("--stride", default="1", metavar="N[,N...]", help="Strides.")
@click.option("--dilation", default="1", metavar="N[,N...]", help="Dilations.")
@click.option("--groups", type=click.IntRange(min=1), default=1, help="Groups.")
@format_option("terminal", "json")
def command(shape: str, form: str, **given: Any) -> None:
    """Print the fans of a weight of SHAPE, and where the frameworks count others.

    SHAPE is the stored shape in PyTorch's order, such as 128,64,3,3: (out, in / groups,
    *kernel), or (in, out / groups, *kernel) if transposed.
    """
    from xavier.fans import CONVENTIONS

    sizes = _sizes(shape, "SHAPE")
    counted = {each: _count(sizes, convention=each, **given) for each in CONVENTIONS}
    if form == "json":
        plain = {name: fans.to_dict() for name, fans in counted.items()}
        click.echo(json.dumps({"shape": list(sizes), "fans": plain}, indent=2))
        return
    click.echo(f"{'':8}{'fan_in':>12}{'fan_out':>12}")
    for name, fans in counted.items():
        differs = "" if fans == counted["xavier"] else "  differs"
        click.echo(f"{name:8}{fans.fan_in:>12.6g}{fans.fan_out:>12.6g}{differs}")


def _count(sizes: tuple[int, ...], *, convention: Any, **given: Any) -> Fans:
    from xavier import fans

    _require_one_kind(sizes, given)
    if given["embedding"]:
        if len(sizes) != 2:  # noqa: PLR2004 - rows and columns
            raise ShapeError(f"shape {sizes} is no lookup table, expected (rows, width)")
        return fans.embedding(*sizes, convention=convention)
    if len(sizes) < 2:  # noqa: PLR2004 - a matrix at least
        raise ShapeError(f"shape {sizes} has no fans, expected at least 2 axes")
    first, second, *kernel = sizes
    groups = given["groups"]
    c_in, c_out = (first, second * groups) if given["transposed"] else (second * groups, first)
    if not kernel:
        return fans.dense(c_in, c_out, convention=convention)
    stride, dilation = (_per_axis(given[name], name) for name in ("stride", "dilation"))
    count = fans.conv_transpose if given["transposed"] else fans.conv
    return count(
        c_in,
        c_out,
        kernel,
        stride=stride,
        dilation=dilation,
        groups=groups,
        convention=convention,
    )


def _require_one_kind(sizes: tuple[int, ...], given: dict[str, Any]) -> None:
    """Refuse options that would be passed over."""
    if given["embedding"] and given["transposed"]:
        raise TargetError("--embedding and --transposed were both given, expected one of them")
    if given["embedding"] or len(sizes) == 2:  # noqa: PLR2004 - rows and columns
        kind = "lookup table" if given["embedding"] else "dense weight"
        for name in ("stride", "dilation", "groups"):
            if str(given[name]) != "1":
                raise TargetError(
                    f"--{name} is for a convolution, and {sizes} is a {kind}",
                    hint="a convolution's shape ends in its kernel's, such as 128,64,3,3",
                )


def _per_axis(text: str, name: str) -> int | tuple[int, ...]:
    sizes = _sizes(text, f"--{name}")
    return sizes[0] if len(sizes) == 1 else sizes


def _sizes(text: str, name: str) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in text.strip("()").split(","))
    except ValueError:
        hint = "write sizes with commas, such as 128,64,3,3"
        raise TargetError(f"{name} {text!r} is no list of sizes", hint=hint) from None
