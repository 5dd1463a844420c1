"""Gains: what weights must be multiplied by, so that an activation keeps the variance.

Three kinds are told apart by name. The *exact* gains follow from an activation's powers. *Xavier's*
compromise lies between the forward and the backward one. The *folklore* gains are what
`torch.nn.init.calculate_gain` returns; they are printed beside the others, and used nowhere.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np

from xavier._errors import ActivationError
from xavier.theory.activations import Activation, Function, resolve
from xavier.theory.quadrature import Powers, powers, powers2

Stability = Literal["stable", "neutral", "unstable"]

_NEUTRAL: Final = 1e-6  # of a slope's distance from 1: a thousandth over a thousand layers
_FOLKLORE: Final = {
    "identity": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2.0),
    "selu": 0.75,
}


@dataclass(frozen=True, slots=True)
class GainFacts:
    """What an activation does to a signal, and the gains that undo it.

    All at pre-activations of mean 0 and the given variance q, in a stack of equal widths.

    Attributes:
        activation: Its name.
        variance: q.
        mean: `E[f]`.
        forward_power: `E[f**2]`.
        backward_power: `E[f'**2]`; of a gate, the mean over its two arguments.
        gain: Keeps q: `sqrt(q / E[f**2])`.
        backward_gain: Keeps the gradient: `1 / sqrt(E[f'**2])`; infinite where it is zero.
        xavier_gain: The compromise for equal fans: `sqrt(2 / (E[f**2] / q + E[f'**2]))`.
        centred_gain: Keeps the variance about the mean: `sqrt(q / Var f)`; infinite for a
            constant.
        length_slope: Slope of the length map at its fixed point q under `gain`: by what a
            small deviation of the variance is multiplied at each layer.
        length: Whether that point is stable, neutral or unstable.
        chi_1: By what the gradient's variance is multiplied at each layer there; a gate's two
            arguments both carry a gradient back.
        folklore_gain: What `torch.nn.init.calculate_gain` gives; None if it knows none.
    """

    activation: str
    variance: float
    mean: float
    forward_power: float
    backward_power: float
    gain: float
    backward_gain: float
    xavier_gain: float
    centred_gain: float
    length_slope: float
    length: Stability
    chi_1: float
    folklore_gain: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def gain(activation: str | Function | Activation, *, variance: float = 1.0) -> float:
    """Return the weight gain under which an activation preserves variance.

    For pre-activations `z ~ N(0, variance)` and weights of standard deviation
    `gain / sqrt(fan_in)`, the next pre-activations have variance
    `gain**2 * E[activation(z)**2]`. This is the gain that makes it `variance` again. Whether a
    deep stack stays there, and what becomes of its gradient, is in `describe`.

    Args:
        activation: An elementwise function of a float64 array, or a name such as `tanh`,
            `leaky_relu(0.2)` or, for a gated unit, `swiglu`.
        variance: The variance to hold fixed; positive.

    Returns:
        The gain: `sqrt(2)` for ReLU, whatever the variance.

    Raises:
        ActivationError: If no gain exists: the activation is zero almost everywhere, or
            its power is infinite.
        UnknownNameError: If there is no activation of that name.

    Example:
        >>> round(gain("relu"), 6)
        1.414214
        >>> round(gain("tanh"), 4)  # the folklore value is 5/3
        1.5925

    Reference:
        He et al., "Delving Deep into Rectifiers", 2015, section 2.2.
    """
    resolved = resolve(activation)
    found, _ = _powers(resolved, variance)
    return math.sqrt(variance / _positive_power(resolved, found))


def describe(activation: str | Function | Activation, *, variance: float = 1.0) -> GainFacts:
    """Return an activation's powers, its gains, and whether a deep stack is stable under them.

    A gain at which the length map's slope exceeds 1 is an *unstable* fixed point (GELU, SiLU,
    Mish): a deep stack drifts to zero or infinity. One at which `chi_1` exceeds 1 has
    gradients that grow with every layer (tanh, softsign, sine), although its length is stable.

    Args:
        activation: As for `gain`.
        variance: As for `gain`.

    Raises:
        ActivationError: As for `gain`.
        UnknownNameError: As for `gain`.

    Example:
        >>> facts = describe("gelu")
        >>> facts.length, round(facts.length_slope, 6), round(facts.chi_1, 6)
        ('unstable', 1.144063, 1.072032)

    Reference:
        Poole et al., "Exponential expressivity in deep neural networks through transient
        chaos", 2016; Schoenholz et al., "Deep Information Propagation", 2017.
    """
    resolved = resolve(activation)
    found, paths = _powers(resolved, variance)
    forward = _positive_power(resolved, found)
    squared = variance / forward
    slope = squared * found.slope
    return GainFacts(
        activation=resolved.name,
        variance=variance,
        mean=found.mean,
        forward_power=forward,
        backward_power=found.backward,
        gain=math.sqrt(squared),
        backward_gain=_inverse_root(found.backward),
        xavier_gain=math.sqrt(2 / (forward / variance + found.backward)),
        centred_gain=math.sqrt(variance) * _inverse_root(found.variance),
        length_slope=slope,
        length=stability(slope),
        chi_1=squared * found.backward * paths,
        folklore_gain=_folklore(resolved),
    )


def stability(slope: float) -> Stability:
    """Return what a map's slope at a fixed point says of a small deviation from it.

    Args:
        slope: By what a layer multiplies the deviation.

    Returns:
        `stable` where its size is below 1, `unstable` above, `neutral` within 1e-6 of 1.

    Example:
        >>> stability(0.46), stability(1.14)
        ('stable', 'unstable')
    """
    if abs(abs(slope) - 1) < _NEUTRAL:
        return "neutral"
    return "stable" if abs(slope) < 1 else "unstable"


def _powers(activation: Activation, variance: float) -> tuple[Powers, int]:
    """Return an activation's powers, and over how many arguments `backward` is the mean."""
    if not (math.isfinite(variance) and variance > 0):
        raise ActivationError(f"variance is {variance}, expected a positive number")
    if not activation.gate:
        return powers(activation.function, variance=variance), 1
    found = powers2(activation.function, variances=(variance, variance))
    spread = max(found.forward - found.mean**2, 0.0)
    backward = sum(found.backward) / 2
    return Powers(found.mean, spread, found.forward, backward, sum(found.slope)), 2


def _positive_power(activation: Activation, found: Powers) -> float:
    if not found.forward > 0:
        raise ActivationError(
            f"{activation.name} has no gain: it is zero almost everywhere",
            hint="is it a function of its argument alone?",
        )
    return found.forward


def _inverse_root(power: float) -> float:
    return 1 / math.sqrt(power) if power > 0 else math.inf


def _folklore(activation: Activation) -> float | None:
    if activation.name.startswith(("leaky_relu(", "prelu(")):
        slope = float(np.ravel(activation.function(np.array([-1.0])))[0])
        return math.sqrt(2 / (1 + slope**2))
    return _FOLKLORE.get(activation.name)
