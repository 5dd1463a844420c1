"""The rules that name a law: orthogonal maps, fixed laws, defaults, and scaled rules."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from xavier import laws
from xavier._errors import LawError, ShapeError, UnknownNameError
from xavier._types.laws import Law
from xavier.rules._base import Facts, Rule, fan, show


@dataclass(frozen=True, slots=True, repr=False)
class Orthogonal(Rule):
    """An orthogonal matrix times a gain.

    A matrix with orthonormal rows or columns keeps the norm of a vector, which is its
    variance per element only where it is square.

    Args:
        gain: The gain.
        preserve: `norm` takes the matrix as it is; `variance` makes the elements' mean square
            `gain**2 / fan_in`. For a dense layer that multiplies the gain by
            `max(1, sqrt(out / in))`; where an addend shares the unit variance (a recurrent
            weight), by less than 1.

    Example:
        >>> facts = Facts(shape=(2048, 512), fan_in=512, fan_out=2048)
        >>> Orthogonal().law(facts), Orthogonal(preserve="variance").law(facts)
        (Orthogonal(gain=1.0), Orthogonal(gain=2.0))

    Reference:
        Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning
        in deep linear neural networks", 2014.
    """

    gain: float = 1.0
    preserve: Literal["norm", "variance"] = "norm"

    def law(self, facts: Facts) -> Law:
        """Return the orthogonal law."""
        unit = laws.std(laws.Orthogonal(), facts.shape)
        match self.preserve:
            case "norm":
                return laws.round_law(laws.Orthogonal(self.gain))
            case "variance":
                gain = self.gain / (unit * math.sqrt(fan(facts, "fan_in")))
                return laws.round_law(laws.Orthogonal(gain))
            case _:
                raise UnknownNameError("preserve", str(self.preserve), ("norm", "variance"))


@dataclass(frozen=True, slots=True, repr=False)
class DeltaOrthogonal(Rule):
    """A convolution that starts as an orthogonal map of each pixel's channels.

    Args:
        gain: The gain.

    Example:
        >>> DeltaOrthogonal().law(Facts(shape=(8, 4, 3, 3), fan_in=36, fan_out=72, kernel=(3, 3)))
        DeltaOrthogonal(gain=1.0)

    Reference:
        Xiao et al., "Dynamical Isometry and a Mean Field Theory of CNNs", 2018, algorithm 1.
    """

    gain: float = 1.0

    def law(self, facts: Facts) -> Law:
        """Return the law; the stored shape must be (out, in, *kernel)."""
        if not facts.kernel:
            hint = "use Orthogonal for a weight that is no convolution"
            raise ShapeError(f"DeltaOrthogonal: shape {facts.shape} has no kernel", hint=hint)
        if any(size % 2 == 0 for size in facts.kernel):
            raise ShapeError(f"DeltaOrthogonal: kernel is {facts.kernel}, expected odd sizes")
        c_out, c_in = facts.shape[:2]
        if c_in > c_out:
            expected = "expected no more channels in than out"
            raise ShapeError(f"DeltaOrthogonal: {c_in} channels in, {c_out} out, {expected}")
        return laws.round_law(laws.DeltaOrthogonal(self.gain))


@dataclass(frozen=True, slots=True, repr=False)
class Fixed(Rule):
    """A law that the user named.

    Args:
        to: The law.

    Example:
        >>> Fixed(laws.Constant(1)).law(Facts(shape=(4,), fan_in=1, fan_out=1))
        Constant(value=1.0)
    """

    to: Law

    def law(self, facts: Facts) -> Law:
        """Return the law, whatever the facts."""
        return laws.round_law(self.to)

    def __repr__(self) -> str:
        return f"Fixed({self.to!r})"


@dataclass(frozen=True, slots=True, repr=False)
class RandomNormal(Rule):
    """A normal law of one standard deviation for all weights, whatever their fans.

    Args:
        std: The standard deviation.

    Example:
        >>> RandomNormal().law(Facts(shape=(10, 100), fan_in=100, fan_out=10))
        Normal(mean=0.0, std=0.01)

    Reference:
        Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional
        Neural Networks", 2012, section 5.
    """

    std: float = 0.01

    def law(self, facts: Facts) -> Law:
        """Return the normal law."""
        return laws.round_law(laws.Normal(0.0, self.std))


@dataclass(frozen=True, slots=True, repr=False)
class FrameworkDefault(Rule):
    """What the framework itself draws a layer of that type from.

    Example:
        >>> facts = Facts(shape=(9, 5), fan_in=1, fan_out=5, default_law=laws.Normal(0, 1))
        >>> FrameworkDefault().law(facts)
        Normal(mean=0.0, std=1.0)

    Note:
        PyTorch draws the weights of dense and convolution layers from
        `U[-1/sqrt(fan_in), 1/sqrt(fan_in)]` by its own fan_in (`kaiming_uniform_` with
        `a=sqrt(5)`), embeddings from `N(0, 1)`.
    """

    def law(self, facts: Facts) -> Law:
        """Return the framework's law, which must be among the facts."""
        if facts.default_law is None:
            hint = "name a rule, or leave the weight out of the plan"
            raise LawError(f"no default law is known for shape {facts.shape}", hint=hint)
        return laws.round_law(facts.default_law)


@dataclass(frozen=True, slots=True, repr=False)
class Scaled(Rule):
    """Another rule's law times a factor, such as `1/sqrt(writes)` for residual writers.

    Args:
        rule: The other rule.
        factor: The factor on the weights; the variance is multiplied by its square.

    Example:
        >>> rule = Scaled(RandomNormal(0.02), 0.5)
        >>> rule, rule.law(Facts(shape=(10, 100), fan_in=100, fan_out=10))
        (Scaled(RandomNormal(std=0.02), factor=0.5), Normal(mean=0.0, std=0.01))

    Reference:
        Radford et al., "Language Models are Unsupervised Multitask Learners", 2019,
        section 2.3.
    """

    rule: Rule
    factor: float

    def law(self, facts: Facts) -> Law:
        """Return the other rule's law, scaled."""
        return laws.round_law(laws.scaled(self.rule.law(facts), self.factor))

    def variance(self, facts: Facts) -> float:
        """Return the other rule's variance times the square of the factor."""
        return self.rule.variance(facts) * self.factor**2

    def __repr__(self) -> str:
        return f"Scaled({self.rule!r}, factor={show(self.factor)})"
