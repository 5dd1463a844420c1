"""The difference of two plans, or of weights and a plan, in words."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from xavier._types import text
from xavier._types.folding import Fold, fold
from xavier._types.plan import Assignment, Plan

_KEPT: Final = "kept as it is"


@dataclass(frozen=True, slots=True)
class _Row:
    """One region whose law changes; `std` is what was measured where no law is known."""

    name: str
    region: str
    shape: tuple[int, ...]
    before: str
    after: str
    std: float = math.nan


def difference(after: Plan, before: Plan | None, *, stds: Mapping[str, float] | None = None) -> str:
    """Return the regions whose law changes, a line for what was and one for what comes.

    Regions that differ in an index alone and change alike share two lines.

    Args:
        after: The plan that comes.
        before: The plan that was; None if there was none that is known.
        stds: Without it, the measured standard deviations by parameter.

    Returns:
        Lines that begin with `-` and `+`; empty if nothing changes.
    """
    rows = _known(after, before) if before is not None else _measured(after, stds or {})
    folds = fold(rows, name=lambda row: row.name, same=_look)
    return "\n".join(line for each in folds for line in _lines(each))


def _known(after: Plan, before: Plan) -> Iterator[_Row]:
    was = {(each.name, each.region): text.law(each.law) for each in before}
    comes = {(each.name, each.region) for each in after}
    for each in after:
        law = was.get((each.name, each.region), _KEPT)
        if law != text.law(each.law):
            yield _row(each, law, text.law(each.law))
    for each in before:
        if (each.name, each.region) not in comes:
            yield _row(each, text.law(each.law), _KEPT)


def _measured(after: Plan, stds: Mapping[str, float]) -> Iterator[_Row]:
    for each in after:
        std = stds.get(each.name, math.nan)
        yield _row(each, "", text.law(each.law), std)


def _row(each: Assignment, before: str, after: str, std: float = math.nan) -> _Row:
    region = "" if each.region.axis is None else f" {each.region}"
    return _Row(each.name, region, each.shape, before, after, std)


def _look(row: _Row) -> Hashable:
    return row.region, row.shape, row.before, row.after, math.isnan(row.std)


def _lines(group: Fold[_Row]) -> tuple[str, str]:
    first = group.items[0]
    place = text.printable(f"{group.name}{first.region} {text.shape(first.shape)}")
    return f"- {place}: {first.before or _spread(group)}", f"+ {place}: {first.after}"


def _spread(group: Fold[_Row]) -> str:
    low, high = (f"{pick(row.std for row in group.items):.3g}" for pick in (min, max))
    if low == "nan":
        return "not measured"
    return f"std {low}" if low == high else f"std {low} to {high}"
