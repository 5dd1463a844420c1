"""Rules: from what is known of a weight to the law that it is drawn from.

A rule looks at `Facts` and at nothing else. Its `repr` is what a plan prints: the fields
that differ from their defaults, numbers with six significant digits.
"""

from __future__ import annotations

from xavier.laws import Distribution
from xavier.rules._base import Facts, Mode, Rule
from xavier.rules._laws import (
    DeltaOrthogonal,
    Fixed,
    FrameworkDefault,
    Orthogonal,
    RandomNormal,
    Scaled,
)
from xavier.rules._variances import (
    Critical,
    ForwardGain,
    He,
    Heuristic,
    LeCun,
    VarianceScaling,
    Xavier,
    XavierExact,
)

__all__ = [
    "Critical",
    "DeltaOrthogonal",
    "Distribution",
    "Facts",
    "Fixed",
    "ForwardGain",
    "FrameworkDefault",
    "He",
    "Heuristic",
    "LeCun",
    "Mode",
    "Orthogonal",
    "RandomNormal",
    "Rule",
    "Scaled",
    "VarianceScaling",
    "Xavier",
    "XavierExact",
]
