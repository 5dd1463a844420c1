"""What the theory expects of a model as it is, beside what was measured of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from xavier._types import codec


@dataclass(frozen=True, slots=True)
class Band:
    """An expected RMS, and between which bounds chance keeps it.

    Attributes:
        rms: What the theory of infinite width says.
        low: The lower bound, passed once in a thousand models.
        high: The upper one.
    """

    rms: float
    low: float
    high: float

    def holds(self, rms: float | None) -> bool:
        """Return whether a measured RMS lies in it; one that is zero or not finite says nothing."""
        if rms is None or not (0 < rms < math.inf and self.rms > 0):
            return True
        return self.low <= rms <= self.high

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data; see `Check.to_dict` for numbers that are not finite."""
        return codec.plain(self)


@dataclass(frozen=True, slots=True)
class OpPrediction:
    """What the theory expects at one op that holds a weight, both ways.

    There are two answers to each question. The first carries second moments through the whole
    graph from the example's own, or back from the cotangent's. The second, a step, takes what was
    measured at the ops right before (for a gradient, right after), so that a difference is this
    op's alone.

    Attributes:
        index: The op's, as in `OpSignal.index`.
        output: RMS of the output, carried from the example; None where the theory is silent.
        gradient: RMS of the gradient with respect to it, carried from the end.
        step_output: RMS of the output, from what was measured at the ops before.
        step_gradient: RMS of the gradient, from what was measured at the ops after.
        limits: What lies right before the op that the theory does not follow exactly, such as
            `softmax`: there the expected output is a bound or a guess, and nothing is concluded.
        gradient_limits: What lies right after it, likewise.
    """

    index: int
    output: Band | None
    gradient: Band | None
    step_output: Band | None
    step_gradient: Band | None
    limits: tuple[str, ...] = ()
    gradient_limits: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data; see `Check.to_dict` for numbers that are not finite."""
        return codec.plain(self)


@dataclass(frozen=True, slots=True)
class PlainStack:
    """The mean-field numbers of a stretch of layers with neither norm nor skip.

    Attributes:
        first: Index of the op of its first layer, as in `OpSignal.index`.
        last: Index of that of its last.
        depth: How many layers it has: activations, each with the weight that it feeds.
        activation: The function between its weights.
        sigma_w: Root of the mean over its layers of `fan_in * E[w**2]`.
        sigma_b: Root of the mean over its layers of the biases' second moment.
        q: The length map's fixed point; 0 or infinity where the length shrinks or grows for good.
        chi_1: By what a layer multiplies the gradient's variance there.
        xi: Over how many layers a gradient's variance changes by a factor of e,
            `1 / |log(chi_1)|`, and in the ordered phase, `chi_1 < 1`, the deviation of two inputs'
            correlation from 1 too. A network trains up to a depth of some `6 xi`.
        critical_sigma_w: The sigma_w of the edge of chaos for these biases; where they have none,
            that at which chi_1 would be 1 at the present length; None if there is no such.
    """

    first: int
    last: int
    depth: int
    activation: str
    sigma_w: float
    sigma_b: float
    q: float
    chi_1: float
    xi: float
    critical_sigma_w: float | None

    @property
    def distance(self) -> float | None:
        """How far sigma_w is above the edge of chaos, as a share of it; None without an edge."""
        edge = self.critical_sigma_w
        return None if edge is None or not edge > 0 else self.sigma_w / edge - 1

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, `distance` included."""
        return {**codec.plain(self), "distance": codec.plain(self.distance)}


@dataclass(frozen=True, slots=True)
class Theory:
    """Theory beside measurement.

    Attributes:
        ops: A prediction for each op that one could be made for, in the order of execution.
        departs: Index of the first op where they part by more than chance explains: the first
            forward, and if there is none, the first backward from the end; None if nowhere.
        summary: Where they part, or that they do not.
        evidence: The numbers where they part, in words; empty if they do not.
        stacks: Stretches of layers with neither norm nor skip.
    """

    ops: tuple[OpPrediction, ...] = ()
    departs: int | None = None
    summary: str = ""
    evidence: str = ""
    stacks: tuple[PlainStack, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data; see `Check.to_dict` for numbers that are not finite."""
        return {
            **codec.plain(self),
            "stacks": [each.to_dict() for each in self.stacks],
        }
