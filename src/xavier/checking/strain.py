"""How much all symptoms strain a start together, and how often such starts train."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final

from xavier._types.signal import Signal
from xavier.checking.symptoms import Symptom, contractions, symptoms
from xavier.checking.thresholds import CALIBRATED_OPS, CALIBRATED_UNITS, STEEPNESS, units

_SURPRISES: Final = 0.05  # of the starts over strain 2, whose predicted chance is 0, trained


def strain(found: Iterable[Symptom]) -> float:
    """Return the root of the sum of squares of all symptoms, each in units of its tolerance.

    Returns:
        0 for a signal that strays in nothing; 1 where as many starts of the calibration trained
        as did not.
    """
    return math.hypot(*(each.share for each in found))


def chance(total: float) -> float:
    """Return the share of the calibration's starts under a strain that trained.

    Reference:
        Logistic regression on the recorded runs; `docs/calibration.md`.
    """
    return 1 / (1 + math.exp(min(STEEPNESS * (total - 1), 700.0)))


def odds_of(total: float) -> str:
    """Return the chance in words; of the calibration's own, 5 % train where none was predicted."""
    share = chance(total)
    return "5 % or less" if share < _SURPRISES else f"{100 * share:.0f} %"


def strain_of(signal: Signal) -> float | None:
    """Return the strain of a signal; None where its numbers are not finite."""
    total = strain(symptoms(signal))
    return total if math.isfinite(total) else None


def outside(signal: Signal) -> Iterator[str]:
    """Yield in what a model lies outside the calibration, of which its strain then says less."""
    ops = contractions(signal)
    sizes = [units(op) for op in ops[:-1]]
    least, most = CALIBRATED_OPS
    if ops and not least <= len(ops) <= most:
        yield f"outside the calibration: {len(ops)} ops, where its networks have {least} to {most}"
    least, most = CALIBRATED_UNITS
    if sizes and max(sizes) > most:
        yield (
            f"outside the calibration: {max(sizes)} units, where its networks have "
            f"{least} to {most}"
        )
