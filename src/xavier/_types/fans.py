"""The fans of a weight."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Fans:
    """The two fans of a weight.

    Attributes:
        fan_in: Products summed into one output element.
        fan_out: Products that one input element enters.
    """

    fan_in: float
    fan_out: float

    def to_dict(self) -> dict[str, float]:
        """Return the fans as plain data."""
        return asdict(self)
