"""What the recorded trainings say: which starts train, and which of them are hard to tell."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from benchmarks.calibration.cases import Case
from benchmarks.calibration.networks import CLASSES

SHARE: Final = 0.8
BAND: Final = 1.3  # the factor of the gain within which a hard start has the other outcome


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a start fared, beside the other starts of its network.

    Attributes:
        case: The network and its start.
        best: The best loss reduction of any start of that network, in nats.
        share: Of that, reached by each optimizer.
        start: The digest of the weights that it started from.
    """

    case: Case
    best: float
    share: Mapping[str, float]
    start: str

    @property
    def trains(self) -> bool:
        """Whether the best optimizer and learning rate reach what was fixed beforehand."""
        return max(self.share.values()) >= SHARE

    @property
    def optimizers_disagree(self) -> bool:
        """Whether one optimizer trains it and another does not."""
        return len({share >= SHARE for share in self.share.values()}) > 1


def read(file: Path) -> list[dict[str, Any]]:
    """Return the recorded lines; none if there is no file. A torn last line is left out."""
    lines = file.read_text().splitlines() if file.exists() else []
    try:
        return [json.loads(line) for line in lines]
    except ValueError:
        return [json.loads(line) for line in lines[:-1]]


def outcomes(rows: Iterable[Mapping[str, Any]]) -> list[Outcome]:
    """Return the outcome of every recorded start."""
    cases = {row["name"]: (Case.from_dict(row), row) for row in rows}
    best: dict[str, float] = defaultdict(float)
    for case, row in cases.values():
        best[case.group] = max(best[case.group], *map(max, row["reductions"].values()))
    return [
        Outcome(
            case,
            best[case.group],
            {name: max(each) / best[case.group] for name, each in row["reductions"].items()},
            row["start"],
        )
        for case, row in cases.values()
    ]


def tellable(found: Iterable[Outcome]) -> list[Outcome]:
    """Return the starts of networks of which some start brings the loss half of the way down.

    Where the best of all starts hardly trains, a share of it says nothing.
    """
    return [each for each in found if each.best >= math.log(CLASSES) / 2]


def hard(found: Sequence[Outcome]) -> set[str]:
    """Return the names of the starts in the hard band.

    Those for which the optimizers disagree, and those of which a gain within a factor 1.3 of
    theirs, on the same recipe, decides: another start there has the other outcome.
    """
    decided = {
        each.case.name
        for others in _by_gain(found).values()
        for each in others
        for other in others
        if each.trains != other.trains
        and abs(math.log(each.case.gain / other.case.gain)) <= math.log(BAND) + 1e-9
    }
    return decided | {each.case.name for each in found if each.optimizers_disagree}


def between(found: Sequence[Outcome]) -> list[Case]:
    """Return the starts to train next: halfway between a gain that trains and one that does not.

    None between gains that lie within the root of a factor 1.3 of each other.
    """
    return [
        low.case.with_gain(math.sqrt(low.case.gain * high.case.gain))
        for others in _by_gain(found).values()
        for low, high in pairwise(others)
        if low.trains != high.trains and high.case.gain / low.case.gain > math.sqrt(BAND) + 1e-9
    ]


def _by_gain(found: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    """Return the starts of each network that differ in the gain alone, in its order."""
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for each in sorted(found, key=lambda each: each.case.gain):
        if each.case.recipe == "auto":
            groups[each.case.group].append(each)
    return groups
