"""The fit: tolerances of the symptoms under which their strain tells best what trains.

A start trains with the odds `exp(steepness * (1 - strain))`, its strain being the root of the sum
of squares of its symptoms in units of their tolerances. The tolerances begin at bounds that were
derived before anything was trained, and the runs move them: ridge regression on their logarithms.
Where the runs say nothing of a symptom, its derived bound stays.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from benchmarks.calibration.outcomes import Outcome
from xavier.checking.symptoms import Kind

Array = NDArray[np.float64]

# Six depth scales (Schoenholz et al. 2017, section 5), and half of the elements on a flat part.
_SHARES: Final = (Kind.SATURATION, Kind.CHOICE)
DERIVED: Final = {kind: math.log(2) if kind in _SHARES else 6.0 for kind in Kind}
RIDGE: Final = 0.3
_BEYOND: Final = 100.0  # the strain of a start that is broken, dead or asymmetric
_MOST: Final = 30.0  # e-folds, beyond which nothing changes
_FOLDS: Final = 10


@dataclass(frozen=True, slots=True)
class Fit:
    """Tolerances in e-folds, and how fast the odds fall beyond them."""

    tolerances: dict[str, float]
    steepness: float

    def strain(self, sizes: Array) -> Array:
        """Return the strain of starts, one a row of sizes in the order of `Kind`."""
        bounds = np.array([self.tolerances[kind] for kind in Kind])
        return np.sqrt(np.square(np.minimum(sizes, _MOST) / bounds).sum(axis=1))


@dataclass(frozen=True, slots=True)
class Starts:
    """Recorded starts as arrays, a row each.

    Attributes:
        outcomes: What became of them.
        sure: The verdicts that no strain is needed for, such as `dead`, or empty.
        sizes: Of their symptoms, in the order of `Kind`.
        trains: Whether each trains.
        hard: Whether each lies in the hard band.
        baselines: What the simpler criteria look at, by name; NaN where they say nothing.
    """

    outcomes: Sequence[Outcome]
    sure: Sequence[str]
    sizes: Array
    trains: NDArray[np.bool_]
    hard: NDArray[np.bool_]
    baselines: dict[str, Array]

    @classmethod
    def of(
        cls, found: Sequence[Outcome], measured: Iterable[dict[str, Any]], hard: set[str]
    ) -> Starts:
        """Return the starts of which both outcome and measurement are recorded."""
        lines = {(line["name"], line["start"]): line for line in measured}
        known = [each for each in found if (each.case.name, each.start) in lines]
        rows = [lines[each.case.name, each.start] for each in known]
        names = dict.fromkeys(name for row in rows for name in row["baselines"])
        return cls(
            outcomes=known,
            sure=[row["sure"] for row in rows],
            sizes=np.array([[row["symptoms"].get(kind, 0.0) for kind in Kind] for row in rows]),
            trains=np.array([each.trains for each in known]),
            hard=np.array([each.case.name in hard for each in known]),
            baselines={
                name: np.array([row["baselines"].get(name, math.nan) for row in rows])
                for name in names
            },
        )

    def where(self, chosen: NDArray[np.bool_]) -> Starts:
        """Return those that are chosen."""
        return Starts(
            list(compress(self.outcomes, chosen)),
            list(compress(self.sure, chosen)),
            self.sizes[chosen],
            self.trains[chosen],
            self.hard[chosen],
            {name: each[chosen] for name, each in self.baselines.items()},
        )

    @property
    def families(self) -> NDArray[np.str_]:
        """The family of each."""
        return np.array([each.case.family for each in self.outcomes])


def fit(starts: Starts) -> Fit:
    """Return the tolerances that make the recorded outcomes most likely, near the derived ones."""
    derived = np.log([DERIVED[kind] for kind in Kind])
    sizes, signs = np.minimum(starts.sizes, _MOST), np.where(starts.trains, 1.0, -1.0)

    def loss(at: Array) -> float:
        strains = np.sqrt(np.square(sizes * np.exp(-at[:-1])).sum(axis=1))
        misfit = np.logaddexp(0, -signs * np.exp(at[-1]) * (1 - strains)).mean()
        return float(misfit + RIDGE * np.square(at[:-1] - derived).mean())

    exactly = {"ftol": 1e-14, "gtol": 1e-9, "maxiter": 1000}
    found = minimize(loss, np.append(derived, 1.0), method="L-BFGS-B", options=exactly).x
    numbers = [float(f"{math.exp(each):.3g}") for each in found]
    return Fit(dict(zip((str(kind) for kind in Kind), numbers, strict=False)), numbers[-1])


def cross_validated(starts: Starts) -> Array:
    """Return each start's strain by a fit that has seen nothing of its network."""
    groups = [each.case.group for each in starts.outcomes]
    order = {group: place % _FOLDS for place, group in enumerate(dict.fromkeys(groups))}
    return _left_out(starts, np.array([order[group] for group in groups]))


def held_out(starts: Starts) -> Array:
    """Return each start's strain by a fit that has seen nothing of its whole family."""
    return _left_out(starts, starts.families)


def _left_out(starts: Starts, parts: NDArray[Any]) -> Array:
    strains = np.empty(len(parts))
    for part in np.unique(parts):
        chosen = parts == part
        strains[chosen] = fit(starts.where(~chosen)).strain(starts.sizes[chosen])
    return np.where([bool(each) for each in starts.sure], _BEYOND, strains)


def auc(strains: Array, trains: NDArray[np.bool_]) -> float:
    """Return how often a start that trains has less strain than one that does not; ties halve.

    NaN where all starts have one outcome.
    """
    good, bad = strains[trains][:, None], strains[~trains]
    pairs = good.size * bad.size
    return float(((good < bad).sum() + 0.5 * (good == bad).sum()) / pairs) if pairs else math.nan


def roc(strains: Array, trains: NDArray[np.bool_]) -> Iterator[tuple[float, float]]:
    """Yield the rates of false alarms and of faults found, from the strictest threshold on."""
    for threshold in (*sorted(set(strains.tolist()), reverse=True), -math.inf):
        called = strains > threshold
        yield float(called[trains].mean()), float(called[~trains].mean())
