"""Small pictures of distributions, one for each op, all on one scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_HEIGHT: Final = 10.0
_MOST: Final = 0.3  # of all elements in one bin: what is more is cut off, as of a spike at zero
_BOUND: Final = 4.0  # RMS, on either side


@dataclass(frozen=True, slots=True)
class Picture:
    """A distribution as steps, and in words.

    Attributes:
        steps: A path around them, as wide as there are bins and 10 high.
        label: What it shows.
        key: What it is of, as the page's styles name it.
    """

    steps: str
    label: str
    key: str


def picture(shares: Sequence[float] | None, *, key: str) -> Picture | str:
    """Return a histogram's picture; of none, what a table's empty cell says."""
    if shares is None:
        return "-"
    middle = len(shares) // 2
    near = sum(shares[middle - 2 : middle + 3])
    width = 2 * _BOUND / len(shares)
    label = (
        f"{shares[middle]:.0%} within {width / 2:.1f} RMS of zero, {near:.0%} within "
        f"{2.5 * width:.1f}, {shares[0] + shares[-1]:.1%} beyond {_BOUND - width:.1f}"
    )
    return Picture(_steps(shares), label, key)


def normal(bins: int) -> str:
    """Return the picture's outline under the normal law."""
    edges = [_BOUND * (2 * at / bins - 1) for at in range(1, bins)]
    below = [0.0, *(0.5 + math.erf(each / math.sqrt(2)) / 2 for each in edges), 1.0]
    return _steps([below[at + 1] - below[at] for at in range(bins)])


def _steps(shares: Sequence[float]) -> str:
    tops = [round(_HEIGHT * (1 - min(share / _MOST, 1.0)), 1) for share in shares]
    return f"M0 {_HEIGHT:g}" + "".join(f"V{top:g}h1" for top in tops) + f"V{_HEIGHT:g}"
