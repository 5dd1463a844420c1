"""Names that differ in an index alone, written as one: `layers.[0-47].attn.weight`."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")

_Part = str | frozenset[int]
_DIGITS: Final = "(?:0|[1-9][0-9]{0,17})"  # no model has an index of more, and a range holds these
_INDEX: Final = re.compile(_DIGITS)
_SPAN: Final = f"{_DIGITS}(?:-{_DIGITS})?"
_LIST: Final = re.compile(f"{_SPAN}(?:,{_SPAN})*")
_STEPS: Final = re.compile(rf"({_DIGITS}),({_DIGITS}),\.\.,({_DIGITS})")
_LONG: Final = 4  # an even progression of this many indices is written `0,2,..,98`


@dataclass(frozen=True, slots=True)
class Fold(Generic[Item]):
    """Items that share everything but the indices in their names.

    Attributes:
        name: The name they share, each index that varies as `[0-47]` or `[0,2,..,98]`.
        items: All of them, in their order.
    """

    name: str
    items: tuple[Item, ...]


def fold(
    items: Iterable[Item],
    *,
    name: Callable[[Item], str],
    same: Callable[[Item], Hashable],
) -> list[Fold[Item]]:
    """Gather items whose names differ in indices alone and that look the same otherwise.

    A fold's indices are a full grid: where two indices vary, every pair is there.

    Args:
        items: What to gather.
        name: An item's name; parts between dots that are integers are indices.
        same: What two items of one fold must agree in.

    Returns:
        The folds, in the order of their first items; each item is in exactly one.
    """
    rows: list[tuple[list[_Part], Hashable, list[tuple[int, Item]]]] = []
    for at, item in enumerate(items):
        parts: list[_Part] = [
            frozenset({int(part)}) if _INDEX.fullmatch(part) else part
            for part in name(item).split(".")
        ]
        rows.append((parts, same(item), [(at, item)]))
    for position in range(max((len(row[0]) for row in rows), default=0)):
        rows = _merged(rows, position)
    rows.sort(key=lambda row: min(at for at, _ in row[2]))
    return [
        Fold(
            ".".join(part if isinstance(part, str) else written(part) for part in parts),
            tuple(item for _, item in sorted(members, key=lambda member: member[0])),
        )
        for parts, _, members in rows
    ]


def _merged(
    rows: list[tuple[list[_Part], Hashable, list[tuple[int, Item]]]], position: int
) -> list[tuple[list[_Part], Hashable, list[tuple[int, Item]]]]:
    groups: dict[Hashable, tuple[list[_Part], Hashable, list[tuple[int, Item]]]] = {}
    for parts, content, members in rows:
        index = parts[position] if position < len(parts) else ""
        if isinstance(index, str):
            groups[object()] = (parts, content, members)
            continue
        key = (position, tuple(parts[:position]), tuple(parts[position + 1 :]), content)
        known = groups.setdefault(key, ([*parts], content, []))
        before = known[0][position]
        assert isinstance(before, frozenset)
        known[0][position] = before | index
        known[2].extend(members)
    return list(groups.values())


def written(indices: Iterable[int]) -> str:
    """Return indices as they stand in a folded name; a single one without brackets."""
    order = sorted(indices)
    if len(order) == 1:
        return str(order[0])
    steps = {after - before for before, after in pairwise(order)}
    if len(order) >= _LONG and len(steps) == 1 and steps != {1}:
        return f"[{order[0]},{order[1]},..,{order[-1]}]"
    spans: list[list[int]] = []
    for index in order:
        if spans and index == spans[-1][1] + 1:
            spans[-1][1] = index
        else:
            spans.append([index, index])
    parts = (str(a) if a == b else f"{a}-{b}" for a, b in spans)
    return f"[{','.join(parts)}]"


def indices(text: str) -> tuple[range, ...] | None:
    """Return the indices of what stands between the brackets, or None if it is no such list.

    Example:
        >>> indices("0-3,7")
        (range(0, 4), range(7, 8))
        >>> indices("0,2,..,8")
        (range(0, 9, 2),)
    """
    if match := _STEPS.fullmatch(text):
        first, second, last = map(int, match.groups())
        return (range(first, last + 1, second - first),) if first < second <= last else None
    if not _LIST.fullmatch(text):
        return None
    spans = [tuple(map(int, part.split("-"))) for part in text.split(",")]
    found = tuple(range(span[0], span[-1] + 1) for span in spans)
    return found if all(found) else None
