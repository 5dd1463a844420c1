"""What differs between a model's tensors and those it is held against."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from xavier._types import codec

if TYPE_CHECKING:
    from xavier._types.signal import Finding


class Fate(StrEnum):
    """What became of a tensor since the reference was made."""

    UNCHANGED = "unchanged"  # equal to the bit
    CHANGED = "changed"
    ROUNDED = "rounded"  # of another dtype, and equal in the coarser one
    RESHAPED = "reshaped"
    ONLY_HERE = "only here"
    ONLY_THERE = "only there"


@dataclass(frozen=True, slots=True)
class Change:
    """One tensor of the model or of the reference.

    Attributes:
        name: Its name in the model's state dict; of one that is only there, its name there.
        kind: `parameter` or `buffer`; of one that is only there, `tensor`.
        fate: What became of it.
        shape: Its shape; of one that is only there, its shape there.
        there: Dtype and shape there, where these differ; else empty.
        difference: RMS of the difference over the RMS there; None where nothing was compared.
    """

    name: str
    kind: str
    fate: Fate
    shape: tuple[int, ...]
    there: str = ""
    difference: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return codec.plain(self)


@dataclass(frozen=True, slots=True)
class Contrast:
    """A model held against a reference.

    Attributes:
        reference: What it was held against: a path, or what it is.
        changes: Every tensor, in the model's order, then those that are only there.
        findings: What should not be so.
        notes: What the reader should know, such as a prefix that was left out of account.
    """

    reference: str
    changes: tuple[Change, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return codec.plain(self)
