"""The rules that are a formula for the variance."""

from __future__ import annotations

from dataclasses import dataclass

from xavier import laws
from xavier._types.laws import Law
from xavier.laws import Distribution
from xavier.rules._base import Facts, Mode, Rule, fan, needed_power, positive, power


class VarianceRule(Rule):
    """A rule that is a formula for the variance, in a family of the user's choice.

    It is no dataclass, so that each rule can have its own fields before `distribution`.
    """

    __slots__ = ()
    distribution: Distribution  # pyright: ignore[reportUninitializedInstanceVariable] - a field of each subclass

    def law(self, facts: Facts) -> Law:
        """Return the law of the chosen family that has the rule's variance."""
        return laws.with_variance(self.variance(facts), self.distribution)


@dataclass(frozen=True, slots=True, repr=False)
class Xavier(VarianceRule):
    """Glorot's compromise between signal and gradient: `Var(W) = 2 / (fan_in + fan_out)`.

    For linear units, and for tanh near zero. It knows no activation: see `XavierExact`.

    Args:
        distribution: The family; `uniform` is the paper's.

    Example:
        >>> Xavier("uniform").law(Facts(shape=(300, 300), fan_in=300, fan_out=300))
        Uniform(low=-0.1, high=0.1)

    Reference:
        Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
        networks", 2010, equations 12 and 16.
    """

    distribution: Distribution = "normal"

    def variance(self, facts: Facts) -> float:
        """Return `2 / (fan_in + fan_out)`."""
        return 1 / fan(facts, "fan_avg")


@dataclass(frozen=True, slots=True, repr=False)
class XavierExact(VarianceRule):
    """Glorot's compromise for any activation.

    `Var(W) = 2 / (fan_in E[x**2] + fan_out E[(dx/dh)**2])`, with the powers of the function
    that feeds the weight. With the identity it is `Xavier`; with ReLU, twice that.

    Args:
        distribution: The family.

    Example:
        >>> relu = {"forward_power": 0.5, "backward_power": 0.5}
        >>> facts = Facts(shape=(100, 100), fan_in=100, fan_out=100, **relu)
        >>> XavierExact().variance(facts)
        0.02

    Reference:
        Glorot and Bengio, 2010, equations 8 to 12, without their assumption `f'(0) = 1`.
    """

    distribution: Distribution = "normal"

    def variance(self, facts: Facts) -> float:
        """Return the variance that lies between the two conditions."""
        forward = fan(facts, "fan_in") * power(facts, "forward_power")
        backward = fan(facts, "fan_out") * power(facts, "backward_power")
        return 2 / positive(forward + backward, "sum of both powers")


@dataclass(frozen=True, slots=True, repr=False)
class He(VarianceRule):
    """He's rule for rectifiers: `Var(W) = 2 / ((1 + slope**2) fan)`.

    Args:
        mode: The fan to preserve the signal (`fan_in`) or the gradient (`fan_out`) by.
        slope: The rectifier's slope below zero; 0 is ReLU.
        distribution: The family.

    Example:
        >>> He().law(Facts(shape=(64, 32, 3, 3), fan_in=288, fan_out=576))
        Normal(mean=0.0, std=0.0833333)

    Reference:
        He et al., "Delving Deep into Rectifiers", 2015, equations 10, 14 and 15.
    """

    mode: Mode = "fan_in"
    slope: float = 0.0
    distribution: Distribution = "normal"

    def variance(self, facts: Facts) -> float:
        """Return `2 / ((1 + slope**2) fan)`."""
        return 2 / ((1 + self.slope**2) * fan(facts, self.mode))


@dataclass(frozen=True, slots=True, repr=False)
class LeCun(VarianceRule):
    """LeCun's rule: `Var(W) = 1 / fan_in`; the one that SELU is built for.

    Args:
        distribution: The family.

    Example:
        >>> LeCun().law(Facts(shape=(10, 100), fan_in=100, fan_out=10))
        Normal(mean=0.0, std=0.1)

    Reference:
        LeCun et al., "Efficient BackProp", 1998, section 4.6; Klambauer et al.,
        "Self-Normalizing Neural Networks", 2017.
    """

    distribution: Distribution = "normal"

    def variance(self, facts: Facts) -> float:
        """Return `1 / fan_in`."""
        return 1 / fan(facts, "fan_in")


@dataclass(frozen=True, slots=True, repr=False)
class VarianceScaling(VarianceRule):
    """The common form of the rules above: `Var(W) = scale / fan`.

    Args:
        scale: What the variance times the fan is; positive.
        mode: Which fan.
        distribution: The family.

    Example:
        >>> facts = Facts(shape=(16, 4), fan_in=4, fan_out=16)
        >>> [VarianceScaling(mode=mode).variance(facts) for mode in ("fan_avg", "fan_geo")]
        [0.1, 0.125]

    Note:
        JAX calls `fan_geo` `fan_geo_avg`; Keras and PyTorch do not have it.
    """

    scale: float = 1.0
    mode: Mode = "fan_in"
    distribution: Distribution = "normal"

    def variance(self, facts: Facts) -> float:
        """Return `scale / fan`."""
        return positive(self.scale, "scale") / fan(facts, self.mode)


@dataclass(frozen=True, slots=True, repr=False)
class ForwardGain(VarianceRule):
    """The rule that keeps the signal: `Var(W) = 1 / (fan_in E[x**2])`.

    `1 / sqrt(E[x**2])` is the exact gain of the function that feeds the weight. The gradient
    is left to follow; for a deep stack with neither norm nor skip see `Critical`.

    Args:
        distribution: The family.

    Example:
        >>> ForwardGain().variance(Facts(shape=(8, 8), fan_in=8, fan_out=8, forward_power=0.5))
        0.25
    """

    distribution: Distribution = "normal"

    def variance(self, facts: Facts) -> float:
        """Return `1 / (fan_in E[x**2])`."""
        return 1 / (fan(facts, "fan_in") * needed_power(facts, "forward_power"))


@dataclass(frozen=True, slots=True, repr=False)
class Critical(VarianceRule):
    """The critical line: `Var(W) = 1 / (fan E[(dx/dh)**2])`, at which chi_1 is 1.

    It keeps the gradient's variance over any depth; the signal settles at the fixed point
    that `backward_power` was taken at.

    Args:
        mode: Which fan. The geometric mean cancels exactly over layers of changing width.
        distribution: The family.

    Example:
        >>> Critical().variance(Facts(shape=(8, 8), fan_in=8, fan_out=8, backward_power=0.5))
        0.25

    Reference:
        Schoenholz et al., "Deep Information Propagation", 2017, section 3.
    """

    mode: Mode = "fan_avg"
    distribution: Distribution = "normal"

    def variance(self, facts: Facts) -> float:
        """Return `1 / (fan E[(dx/dh)**2])`."""
        return 1 / (fan(facts, self.mode) * needed_power(facts, "backward_power"))


@dataclass(frozen=True, slots=True, repr=False)
class Heuristic(Rule):
    """The baseline of the 2010 paper: `U[-1/sqrt(fan_in), 1/sqrt(fan_in)]`.

    Its variance is a third of LeCun's, so a linear signal loses a factor 3 at each layer.

    Example:
        >>> Heuristic().law(Facts(shape=(10, 100), fan_in=100, fan_out=10))
        Uniform(low=-0.1, high=0.1)

    Reference:
        Glorot and Bengio, 2010, equation 1.
    """

    def variance(self, facts: Facts) -> float:
        """Return `1 / (3 fan_in)`."""
        return 1 / (3 * fan(facts, "fan_in"))

    def law(self, facts: Facts) -> Law:
        """Return the uniform law."""
        return laws.with_variance(self.variance(facts), "uniform")
