"""The plan: one law for every region of every parameter, and the reason for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from xavier._types.laws import Law


class Role(StrEnum):
    """What a parameter region does in the computation."""

    INPUT = "input"  # the first contraction on the model's data
    HIDDEN = "hidden"  # any other contraction
    RESIDUAL = "residual"  # the last contraction before a residual add
    RECURRENT = "recurrent"  # multiplies a state that comes back
    HEAD = "head"  # its output is the model's output
    EMBEDDING = "embedding"  # a lookup table
    TIED = "tied"  # a lookup table that is also a contraction
    BIAS = "bias"
    SCALE = "scale"  # the multiplier of a normalization


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a stored parameter: all of it, or index ranges along one axis.

    Attributes:
        axis: The stored axis that is cut, or None for the whole parameter.
        ranges: Half-open, increasing, disjoint index ranges along `axis`.
    """

    axis: int | None = None
    ranges: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Assignment:
    """The law of one weight region, where it comes from, and what it predicts.

    Attributes:
        name: The parameter's canonical name, such as `layers.3.weight`.
        region: The part of the parameter.
        shape: The region's shape, in stored axes.
        role: What the region does.
        fan_in: Products summed into one output element (see `xavier.fans`); nan for biases.
        fan_out: Products that one input element enters; nan for biases.
        fed_by: The function whose output the weight multiplies, such as `identity`, `tanh`.
        followed_by: The function that is applied to what the weight computes.
        rule: The rule that chose the law, such as `He(mode='fan_in')`.
        law: The law of the *effective* weight, numbers rounded to six significant digits.
        reason: Why this rule, in one sentence.
        forward_power: E[x**2] of what the weight multiplies.
        backward_power: E[(dx/dh)**2] of the function that feeds it.
        predicted_q: The second moment of what it computes, under `law`; nan if unknown.
        predicted_chi: The ratio of gradient second moments, input side over output side,
            that the rule predicts across the weight and the function that feeds it.
        aliases: Other names of the same storage.
        frameworks: Where a framework counts other fans: `{"torch": (fan_in, fan_out)}`.
    """

    name: str
    region: Region
    shape: tuple[int, ...]
    role: Role
    fan_in: float
    fan_out: float
    fed_by: str
    followed_by: str
    rule: str
    law: Law
    reason: str
    forward_power: float = float("nan")
    backward_power: float = float("nan")
    predicted_q: float = float("nan")
    predicted_chi: float = float("nan")
    aliases: tuple[str, ...] = ()
    frameworks: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kept:
    """A parameter or buffer that the plan leaves at the value its owner gave it."""

    name: str
    shape: tuple[int, ...]
    kind: str  # "parameter" or "buffer"
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What `init_` will do, parameter by parameter: the object that is printed and executed.

    Attributes:
        assignments: Every region that is drawn, in the model's order.
        kept: Every parameter and buffer that is not.
        recipe: The recipe's name.
        model_digest: A digest of the model's structure (names, shapes); guards `from_toml`.
        seed: The seed it was, or is to be, drawn with; None until known.
        scope: The prefix of every name in the stream of bits.
        notes: What the user should know: guesses of the tracer, what it could not follow.
    """

    assignments: tuple[Assignment, ...]
    kept: tuple[Kept, ...]
    recipe: str
    model_digest: str
    seed: int | None = None
    scope: str = ""
    notes: tuple[str, ...] = ()
