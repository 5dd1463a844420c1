"""The cases of the calibration: architecture, activation, depth, width and start.

A group is one architecture at one depth and width under every start. Its starts are the plan of
`auto` with all of its matrices multiplied by a gain, five of them within a factor 1.3 of one, and
what people start from otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

NEAR: Final = (1 / 1.3, 1 / 1.15, 1.0, 1.15, 1.3)  # where a gain within 1.3 of the recipe decides
_FAR_PLAIN: Final = (0.5, 2.0)
_FAR_OTHER: Final = (0.2, 3.0, 6.0)  # residual and normalized networks bear more
_OTHERS: Final = ("default", "random")


@dataclass(frozen=True, slots=True)
class Case:
    """One network with one start.

    Attributes:
        family: What kind of network: `plain`, `convolution`, `residual`, `attention`, `recurrent`.
        variant: Which of the family: where the norms stand, or the recurrent cell.
        activation: The function between its weights.
        depth: How many layers or blocks; of a recurrent one how many steps.
        width: Units, channels, or the size of a token or state.
        recipe: The recipe of the start.
        gain: What its matrices are multiplied by.
    """

    family: str
    variant: str
    activation: str
    depth: int
    width: int
    recipe: str
    gain: float

    @property
    def group(self) -> str:
        """The architecture, without its start."""
        parts = self.family, self.variant, self.activation, self.depth, self.width
        return "/".join(str(part) for part in parts if part)

    @property
    def name(self) -> str:
        """The architecture and the start."""
        return f"{self.group}/{self.recipe}*{self.gain:.3g}"

    def with_gain(self, gain: float) -> Case:
        """Return the same network and recipe, multiplied by another gain."""
        return replace(self, gain=float(f"{gain:.3g}"))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Case:
        """Return the case of a recorded line."""
        return cls(**{field.name: data[field.name] for field in fields(cls)})

    @property
    def is_near(self) -> bool:
        """Whether the start is the recipe's within a factor 1.3."""
        return self.recipe == "auto" and self.gain in NEAR


def _of(family: str, variant: str, activation: str, depth: int, width: int) -> Iterator[Case]:
    far = _FAR_PLAIN if family in ("plain", "convolution", "recurrent") else _FAR_OTHER
    for gain in (*NEAR, *far):
        yield Case(family, variant, activation, depth, width, "auto", gain)
    for recipe in _OTHERS:
        yield Case(family, variant, activation, depth, width, recipe, 1.0)


def _every() -> Iterator[Case]:
    for activation, depths in (
        ("tanh", (10, 30, 60)), ("relu", (10, 20, 40)), ("gelu", (10, 30)), ("sigmoid", (3, 8)),
        ("softsign", (20, 50)), ("elu", (25,)), ("sine", (15,)), ("leaky_relu", (30,)),
    ):  # fmt: skip
        for depth in depths:
            yield from _of("plain", "", activation, depth, 64)
    yield from _of("plain", "", "relu", 20, 128)
    yield from _of("plain", "", "tanh", 30, 128)
    yield from _of("plain", "", "relu", 30, 128)
    yield from _of("convolution", "", "relu", 8, 16)
    for activation, depths in (("relu", (8, 20)), ("tanh", (8, 20)), ("silu", (12,))):
        for depth in depths:
            yield from _of("convolution", "", activation, depth, 8)
    for variant, activation, depth in (
        ("bare", "relu", 8), ("bare", "tanh", 20), ("bare", "gelu", 20),
        ("pre-norm", "relu", 8), ("pre-norm", "gelu", 16), ("post-norm", "relu", 20),
        ("post-norm", "gelu", 10),
    ):  # fmt: skip
        yield from _of("residual", variant, activation, depth, 64)
    for variant, activation, depth in (
        ("bare", "gelu", 2), ("bare", "relu", 5), ("pre-norm", "gelu", 2), ("pre-norm", "relu", 4),
        ("post-norm", "gelu", 3), ("post-norm", "relu", 6),
    ):  # fmt: skip
        yield from _of("attention", variant, activation, depth, 32)
    for variant, depth in (
        ("rnn", 8), ("rnn", 16), ("rnn", 64), ("rnn-relu", 16), ("rnn-relu", 64), ("gru", 16),
        ("lstm", 16), ("lstm", 64),
    ):  # fmt: skip
        yield from _of("recurrent", variant, "", depth, 64)


CASES: Final = tuple(_every())
