"""Small plots in a line of text: bars and sparklines on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import Final, TypeGuard

_LEAST_DECADES: Final = 2  # so that a healthy signal's ups and downs look as small as they are


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters that plots are drawn with.

    Attributes:
        bars: Parts of a cell filled from the left, from the least to a full one.
        sparks: A cell filled from below, likewise.
        to: Stands between the first and the last value.
        mark: Leads the row where the signal breaks.
        dot: Stands between two facts.
        line: Part of a line under a head.
    """

    bars: str
    sparks: str
    to: str
    mark: str
    dot: str
    line: str


UNICODE: Final = Glyphs(bars="▏▎▍▌▋▊▉█", sparks="▁▂▃▄▅▆▇█", to="→", mark="▶", dot="·", line="─")
ASCII: Final = Glyphs(bars="#", sparks="_.-=+*%#", to="->", mark=">", dot="|", line="-")


def glyphs(encoding: str) -> Glyphs:
    """Return block characters where the encoding has them, else ASCII."""
    try:
        "".join(astuple(UNICODE)).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


@dataclass(frozen=True, slots=True)
class LogScale:
    """Whole decades, at least two, that hold all positive finite values of a series.

    Attributes:
        low: The power of ten where bars begin.
        high: The power of ten where they are full.
    """

    low: int
    high: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> LogScale:
        """Return the scale of some values; those that have no logarithm do not count."""
        logs = [math.log10(value) for value in values if _positive(value)]
        if not logs:
            return cls(-1, 1)
        low, high = math.floor(min(logs)), math.ceil(max(logs))
        while high - low < _LEAST_DECADES:
            # Grow on the side where the values lie closer to the edge.
            if min(logs) - low <= high - max(logs):
                low -= 1
            else:
                high += 1
        return cls(low, high)

    def __str__(self) -> str:
        """Return its ends, such as `1e-3 to 1`."""
        return f"{power(self.low)} to {power(self.high)}"

    def share(self, value: float | None) -> float | None:
        """Return where a value lies, from 0 to 1; None for what has no logarithm."""
        if not _positive(value):
            return None
        return min(max((math.log10(value) - self.low) / (self.high - self.low), 0.0), 1.0)

    def bar(self, value: float | None, *, width: int, glyphs: Glyphs) -> str:
        """Return a bar of up to `width` cells; empty for what has no logarithm."""
        share = self.share(value)
        if share is None:
            return ""
        parts = len(glyphs.bars)
        filled = max(round(share * width * parts), 1)
        full, rest = divmod(filled, parts)
        return glyphs.bars[-1] * full + (glyphs.bars[rest - 1] if rest else "")

    def spark(self, values: Sequence[float | None], *, width: int, glyphs: Glyphs) -> str:
        """Return one cell for each value, or for equal stretches of them if there are more.

        A stretch shows its value farthest from the median of all, so that one op that breaks
        stays in sight; one that holds a value that is not finite shows `!`, one without any
        value a blank.
        """
        size = len(values)
        shares = sorted(share for share in map(self.share, values) if share is not None)
        middle = shares[len(shares) // 2] if shares else 0.5
        cells = min(size, width)
        groups = (values[at * size // cells : (at + 1) * size // cells] for at in range(cells))
        return "".join(self._cell(group, middle, glyphs) for group in groups)

    def _cell(self, group: Sequence[float | None], middle: float, glyphs: Glyphs) -> str:
        known = [value for value in group if value is not None]
        if any(not math.isfinite(value) for value in known):
            return "!"
        if not known:
            return " "
        share = max((self.share(value) or 0.0 for value in known), key=lambda at: abs(at - middle))
        return glyphs.sparks[min(int(share * len(glyphs.sparks)), len(glyphs.sparks) - 1)]


def _positive(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value) and value > 0


def power(exponent: int) -> str:
    """Return a power of ten as it is written beside a scale, such as `0.1` or `1e-3`."""
    return {0: "1", 1: "10", -1: "0.1"}.get(exponent, f"1e{exponent}")
