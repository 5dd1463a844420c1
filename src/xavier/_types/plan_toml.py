"""Plans as TOML: written to be read by people, read without running anything."""

from __future__ import annotations

import math
import re
import tomllib
from typing import TYPE_CHECKING, Any, Final

import tomli_w

from xavier._errors import PlanError, a
from xavier._types import codec, plan_codec

if TYPE_CHECKING:
    from xavier._types.plan import Plan

_PREAMBLE: Final = """\
# A plan of xavier: one law for each region of each parameter that is drawn.
# Draw it with: xavier.init_(model, example, plan=xavier.Plan.from_toml(text))
"""
# No string holds a raw line break here, so that these match arrays alone.
_NUMBER: Final = r"(?:[-+]?[0-9][0-9.e+-]*|[-+]?inf|nan|\[[-+0-9.e, infa]*\])"
_ARRAY: Final = re.compile(rf"\[\n\s*({_NUMBER}(?:,\n\s*{_NUMBER})*),\n\s*\]")


def dumps(plan: Plan) -> str:
    """Return a plan as TOML, floats by their shortest exact form.

    What has its default value is left out: whole regions, unknown numbers, no seed.
    """
    raw = codec.plain(plan, json_safe=False)
    raw["assignments"] = [_pruned(each) for each in raw["assignments"]]
    raw["kept"] = [_pruned(each) for each in raw["kept"]]
    head = {key: raw.pop(key) for key in ("recipe", "model_digest", "seed", "scope", "notes")}
    document = _pruned({**plan_codec.header(), **head, **raw})
    return _PREAMBLE + _with_short_arrays(tomli_w.dumps(document))


def loads(text: str) -> dict[str, Any]:
    """Return the plain data of a plan's TOML.

    Raises:
        PlanError: If the text is no TOML; with the line.
    """
    if not isinstance(text, str):
        raise PlanError(f"plan is {a(type(text).__name__)}, expected the text of a TOML file")
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))  # some editors put the mark there
    except (ValueError, RecursionError) as error:  # numbers and nests beyond the parser's limits
        message = f"plan is no valid TOML: {error}"
        raise PlanError(message, hint="is this the file that `to_toml` wrote?") from error


def _pruned(table: dict[str, Any]) -> dict[str, Any]:
    required = ("fan_in", "fan_out")
    return {k: v for k, v in table.items() if k in required or not _is_default(k, v)}


def _is_default(key: str, value: Any) -> bool:
    if key == "region":
        return value["axis"] is None
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (key in {"aliases", "frameworks", "notes"} and not value)


def _with_short_arrays(text: str) -> str:
    """Put arrays of numbers, and arrays of those, on one line each."""
    before = ""
    while text != before:
        before = text
        text = _ARRAY.sub(lambda match: "[" + " ".join(match[1].split()) + "]", text)
    return text
