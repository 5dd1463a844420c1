"""What was tried to mend an unhealthy model, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xavier._types import codec

if TYPE_CHECKING:
    from xavier._types.signal import Verdict


@dataclass(frozen=True, slots=True)
class Trial:
    """One recipe, drawn and checked.

    Attributes:
        recipe: Its name.
        seeds: The seeds it was drawn with. The first that does not give a healthy model ends the
            trial, so that all of a verdict `healthy` were, and of another all but the last.
        verdict: Of the last drawing; None if the recipe could not be drawn.
        where: Where that breaks; empty when healthy.
        evidence: The numbers behind that verdict, or why the recipe could not be drawn.
    """

    recipe: str
    seeds: tuple[int, ...]
    verdict: Verdict | None
    where: str
    evidence: str

    @property
    def mends(self) -> bool:
        """Whether the model was healthy with every seed."""
        return self.verdict == "healthy"

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return codec.plain(self)


@dataclass(frozen=True, slots=True)
class Cures:
    """The outcome of `xavier.try_cures`.

    Attributes:
        trials: Every recipe that was tried, in its order.
        recipe: The first that mends the model; empty if none does.
        change: The change of the architecture that would, where no recipe does; else empty.
        diff: How the weights' laws change, as text: from what they were to the recipe's.
    """

    trials: tuple[Trial, ...]
    recipe: str
    change: str
    diff: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return codec.plain(self)
