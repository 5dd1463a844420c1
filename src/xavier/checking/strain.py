"""How much all symptoms strain a start together, and how often such starts train."""

from __future__ import annotations

import math
from collections.abc import Iterable

from xavier.checking.symptoms import Symptom
from xavier.checking.thresholds import STEEPNESS


def strain(found: Iterable[Symptom]) -> float:
    """Return the root of the sum of squares of all symptoms, each in units of its tolerance.

    Returns:
        0 for a signal that strays in nothing; 1 where as many starts of the calibration trained
        as did not.
    """
    return math.sqrt(sum(each.share**2 for each in found))


def chance(total: float) -> float:
    """Return the share of the calibration's starts under a strain that trained.

    Reference:
        Logistic regression on the recorded runs; `docs/calibration.md`.
    """
    return 1 / (1 + math.exp(min(STEEPNESS * (total - 1), 700.0)))
