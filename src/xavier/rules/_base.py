"""What a rule may look at, and what every rule can do."""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, fields
from typing import Literal

from xavier import laws
from xavier._errors import LawError, UnknownNameError
from xavier._types.laws import Law

Mode = Literal["fan_in", "fan_out", "fan_avg", "fan_geo"]
"""Which fan a variance is divided by; the last two are arithmetic and geometric means."""

_MODES = ("fan_in", "fan_out", "fan_avg", "fan_geo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a rule may look at.

    Attributes:
        shape: The region's stored shape.
        fan_in: Products summed into one output element (see `xavier.fans`).
        fan_out: Products that one input element enters.
        forward_power: E[x**2] of what the weight multiplies.
        backward_power: E[(dx/dh)**2] of the function that feeds it.
        kernel: Sizes of the spatial axes of a convolution, empty for other weights.
        default_law: What the framework itself draws the weight from, if that is known.
    """

    shape: tuple[int, ...]
    fan_in: float
    fan_out: float
    forward_power: float = 1.0
    backward_power: float = 1.0
    kernel: tuple[int, ...] = ()
    default_law: Law | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Rule:
    """The base of all rules.

    A rule defines `law`, and then `variance` follows; or a formula for `variance`.
    """

    def law(self, facts: Facts) -> Law:
        """Return the law of a weight, its numbers rounded to six significant digits.

        Args:
            facts: What is known of the weight.

        Returns:
            The law.

        Raises:
            LawError: If a fan or a power that the rule needs is not a positive number.
            ShapeError: If the rule cannot fill the weight's shape.
        """
        raise NotImplementedError

    def variance(self, facts: Facts) -> float:
        """Return the mean square of the weight's elements that the rule asks for.

        Args:
            facts: What is known of the weight.

        Returns:
            The mean square, before rounding where the rule is a formula for it.

        Raises:
            LawError: As for `law`.
            ShapeError: As for `law`.
        """
        return laws.second_moment(self.law(facts), facts.shape)

    def __repr__(self) -> str:
        shown = (
            f"{field.name}={show(getattr(self, field.name))}"
            for field in fields(self)
            if field.default is MISSING or getattr(self, field.name) != field.default
        )
        return f"{type(self).__name__}({', '.join(shown)})"


def fan(facts: Facts, mode: str) -> float:
    """Return the fan that `mode` names; both must be positive even where one is unused."""
    fan_in = positive(facts.fan_in, "fan_in")
    fan_out = positive(facts.fan_out, "fan_out")
    match mode:
        case "fan_in":
            return fan_in
        case "fan_out":
            return fan_out
        case "fan_avg":
            return (fan_in + fan_out) / 2
        case "fan_geo":
            return math.sqrt(fan_in) * math.sqrt(fan_out)
        case _:
            raise UnknownNameError("mode", str(mode), _MODES)


def power(facts: Facts, name: str) -> float:
    """Return a power, which may be zero where it is one of two addends."""
    value = getattr(facts, name)
    if not (math.isfinite(value) and value >= 0):
        raise LawError(f"{name} is {value}, expected a finite number, zero or more")
    return value


def needed_power(facts: Facts, name: str) -> float:
    """Return a power that is divided by, so must not be zero."""
    return positive(power(facts, name), name)


def positive(value: float, name: str) -> float:
    """Return `value`, having checked that it is a positive number."""
    if not (math.isfinite(value) and value > 0):
        raise LawError(f"{name} is {value}, expected a positive number")
    return value


def show(value: object) -> str:
    """Return a field as a rule prints it: numbers with six significant digits."""
    return f"{value:.6g}" if isinstance(value, float) else repr(value)
