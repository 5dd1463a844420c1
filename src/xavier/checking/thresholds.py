"""Where a verdict begins: each number with its derivation.

Until the calibration against real training runs is published, these rest on the sampling
laws of healthy networks (which bound the false alarms) and on published trainability.

Six e-folds. A fault is a loss or growth by `exp(6) = 403`, beyond what chance explains.
Schoenholz et al. 2017 found networks trainable up to six depth scales: then the distance
between two inputs has shrunk by `exp(-6)`. Gradients' RMS shows the same bound: ReLU nets
under Xavier's rule train at a ratio of 0.031 (10 layers), lag at 4.9e-4 (22 layers) and
stand still at 3.1e-5 (30 layers); tanh nets train at growth 83 (30 layers, sigma_w**2 = 4),
lag at 527 and stand still at 6,800. So 1/403 and 403 lie inside the gaps on either side.

Chance. In a ReLU net of width n and depth L under He's rule, the log of the ratio of second
moments is normal with mean `-5 L / (2 n)` and variance `5 L / n` (linear layers: 2 in place
of 5). The RMS has half of each. This is added at the quantile that a healthy net passes
once in a thousand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from xavier._types.signal import OpSignal

E_FOLDS = 6.0
FALSE_ALARMS = 1e-3
QUANTILE = 3.2905  # of the normal law, two-sided, at FALSE_ALARMS

# More than half of the elements on a flat part of a bounded function: the median gradient
# through it has lost a factor of twenty. Under N(0, 1) tanh has 3 % there, at gain 30 95 %.
SATURATED_SHARE = 0.5
# Bounded on both sides, so that large pre-activations of either sign stop the gradient.
BOUNDED = frozenset({"tanh", "sigmoid", "softsign", "hardtanh", "hardsigmoid", "erf", "atan"})

# A share of output units that are exact copies, in weight and in gradient. Chance makes none;
# below it some units are, and the layer as a whole still has many directions.
TWIN_SHARE = 0.9

# Inputs this much alike cannot show whether the network makes them alike.
LEAST_SPREAD = 1e-4

# A single op beyond a bound is a head, a zeroed branch or a pooled feature by design.
FEWEST_OPS = 3


def depth_tolerance(ops: Sequence[OpSignal]) -> tuple[float, float]:
    """Return how far chance takes the log RMS of a healthy signal down and up over `ops`.

    Args:
        ops: The ops that the signal passes; the width of each is its number of units.

    Returns:
        Two positive numbers: the drift and the quantile together, and the quantile alone.
    """
    variance = sum(5.0 / max(units(op), 2) for op in ops)
    spread = QUANTILE * math.sqrt(variance) / 2
    return variance / 4 + spread, spread


def units(op: OpSignal) -> int:
    """Return the number of units, or channels, that an op computes."""
    axis = 1 if "conv" in op.op and len(op.shape) > 2 else -1  # noqa: PLR2004
    return op.shape[axis] if op.shape else 1


def dead_share_bound(op: OpSignal, *, ops: int) -> float:
    """Return the share of dead units that a healthy layer exceeds once in a thousand models.

    Where all inputs look alike to a layer, which deep ReLU nets come to, a unit is dead or
    alive by the sign of one symmetric number, independent of the other units: the count of
    dead ones is binomial with probability one half, or less where inputs differ.

    Args:
        op: The op whose activation may be dead.
        ops: How many are judged; the level is divided among them.

    Returns:
        A share; above 1 where so few units can say nothing.
    """
    count = max(units(op), 1)
    level = FALSE_ALARMS / max(ops, 1)
    # Hoeffding's bound for the binomial tail, which holds at any count.
    return 0.5 + math.sqrt(math.log(1 / level) / (2 * count))
