"""The example input: made from a written shape, read from a file, or the model's own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xavier._errors import TargetError, TraceError, said

_FORM = "such as --input 8,3,32,32 or --input int:2,16:50257 or --input tokens=int:2,16:50257"
_SPEC = re.compile(
    r"(?:(?P<name>[A-Za-z_]\w*)=)?(?:(?P<dtype>[A-Za-z]\w*):)?"
    r"(?P<shape>[0-9]+(?:,[0-9]+)*),?(?::(?P<high>[0-9]+))?"
)
_DTYPES = {
    "float": "float32",
    "float16": "float16",
    "bfloat16": "bfloat16",
    "float32": "float32",
    "float64": "float64",
    "int": "int64",
    "int32": "int32",
    "int64": "int64",
    "bool": "bool",
}


@dataclass(frozen=True, slots=True)
class InputSpec:
    """An input to make: standard normal numbers, integers below `high`, or truth values.

    Attributes:
        name: The argument of the model's forward; empty for a positional one.
        dtype: Its dtype's name.
        shape: Its shape.
        high: One above the largest integer; None for other dtypes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    high: int | None


def parse_input(text: str) -> InputSpec:
    """Return what `[name=][dtype:]sizes[:high]` describes.

    Args:
        text: Such as `8,3,32,32`, `int:2,16:50257`, `mask=bool:2,16`.

    Raises:
        TargetError: If it is written otherwise.
    """
    match = _SPEC.fullmatch(re.sub(r"\s*([=:,])\s*", r"\1", text.strip()))
    if match is None:
        raise TargetError(f"--input {text!r} is no shape", hint=_FORM)
    named = match["dtype"] or "float"
    if named not in _DTYPES:
        raise TargetError(
            f"--input {text!r}: unknown dtype {named!r}", hint=f"known: {', '.join(_DTYPES)}"
        )
    dtype = _DTYPES[named]
    shape = tuple(int(size) for size in match["shape"].split(","))
    if 0 in shape:
        raise TargetError(f"--input {text!r} has no elements, expected sizes of 1 or more")
    integer = dtype.startswith("int")
    if integer and not int(match["high"] or 0):
        raise TargetError(
            f"--input {text!r} does not say how far its integers go",
            hint=f"add the number of values: --input {text.removesuffix(':0')}:50257",
        )
    if match["high"] and not integer:
        raise TargetError(f"--input {text!r}: {dtype} takes no upper end", hint=_FORM)
    return InputSpec(match["name"] or "", dtype, shape, int(match["high"]) if integer else None)


def example_for(
    model: Any, *, inputs: Sequence[str], batch: str | None, seed: int
) -> tuple[Any, str]:
    """Return the example for a model, and what it is.

    Args:
        model: The model; asked for its `example_input()` where nothing else is given.
        inputs: Shapes as `parse_input` takes them.
        batch: A file of arrays.
        seed: The seed of the numbers that are made.

    Returns:
        What the model's forward takes, or None if nothing is known; and a few words on it.

    Raises:
        TargetError: If an input or the file cannot be used.
        TraceError: If the model's own `example_input` raises.
    """
    from xavier.frameworks.torch import io

    if inputs and batch is not None:
        raise TargetError("--input and --batch were both given, expected one of them")
    if inputs:
        return _made([parse_input(each) for each in inputs], seed=seed), ", ".join(inputs)
    if batch is not None:
        return io.load_batch(Path(batch)), batch
    own = getattr(model, "example_input", None)
    if not callable(own):
        return None, "none"
    try:
        return own(), "the model's own example"
    except Exception as error:
        told = f"example_input() of {type(model).__name__} raised {said(error)}"
        raise TraceError(told, hint=f"give an input, {_FORM}") from error


def require_example(example: Any, *, command: str) -> Any:
    """Return the example, or say that the command cannot do without."""
    if example is None:
        raise TargetError(f"{command} needs an input for the model", hint=f"give one, {_FORM}")
    return example


def _made(specs: list[InputSpec], *, seed: int) -> Any:
    from xavier.frameworks.torch import io

    made = [
        io.random_input(each.shape, dtype=each.dtype, high=each.high, seed=seed + place)
        for place, each in enumerate(specs)
    ]
    named = [each.name for each in specs if each.name]
    if not named:
        return made[0] if len(made) == 1 else tuple(made)
    if len(named) < len(specs):
        raise TargetError("some of the inputs have names and some have none", hint=_FORM)
    if len(set(named)) < len(named):
        raise TargetError(f"two inputs have the same name, of {', '.join(named)}")
    return dict(zip(named, made, strict=True))
