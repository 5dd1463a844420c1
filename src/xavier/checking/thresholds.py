"""Where a verdict begins: each number with its derivation, or the runs that it was fitted to.

The tolerances of the symptoms begin at six e-folds. Schoenholz et al. 2017 found networks trainable
up to six depth scales: then the distance between two inputs has shrunk by `exp(-6) = 1/403`.
Gradients' RMS shows the same bound: ReLU nets under Xavier's rule train at a ratio of 0.031 (10
layers), lag at 4.9e-4 (22 layers) and stand still at 3.1e-5 (30 layers); tanh nets train at growth
83 (30 layers, sigma_w**2 = 4), lag at 527 and stand still at 6,800. Of functions with flat parts
half of the elements may lie there: the median gradient through them has lost a factor of twenty.
From there the calibration against real training runs moves them: `docs/calibration.md`.
"""

from __future__ import annotations

import math

from xavier._types.signal import OpSignal

# In e-folds, fitted: `python -m benchmarks.calibration.report`, which a test recomputes.
TOLERANCES = {
    "growth": 5.57,
    "decay": 6.79,
    "gradient growth": 4.13,
    "gradient decay": 6.71,
    "step decay": 10.5,
    "faintness": 6.55,
    "likeness": 6.12,
    "saturation": 1.07,
    "choice": 0.692,
    "output": 5.47,
}
STEEPNESS = 3.31  # of the odds of training, beyond strain 1

# What the calibration's networks span; the head's own units are not counted.
CALIBRATED_OPS = (2, 61)
CALIBRATED_UNITS = (8, 128)

FALSE_ALARMS = 1e-3
QUANTILE = 3.2905  # of the normal law, two-sided, at FALSE_ALARMS

# Bounded on both sides, so that large pre-activations of either sign stop the gradient.
BOUNDED = frozenset({"tanh", "sigmoid", "softsign", "hardtanh", "hardsigmoid", "erf", "atan"})

# A share of output units that are exact copies, in weight and in gradient. Chance makes none;
# below it some units are, and the layer as a whole still has many directions.
TWIN_SHARE = 0.9

# Inputs this much alike cannot show whether the network makes them alike.
LEAST_SPREAD = 1e-4

# A single op beyond a bound is a head, a zeroed branch or a pooled feature by design.
FEWEST_OPS = 3


def units(op: OpSignal) -> int:
    """Return the number of units, or channels, that an op computes."""
    axis = 1 if "conv" in op.op and len(op.shape) > 2 else -1  # noqa: PLR2004 - a matrix has two axes
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
