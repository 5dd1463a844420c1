"""Charts of the signal over depth: where each point stands, in percent of the plot."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from xavier._types import signal_text, text
from xavier._types.signal import Check, OpSignal
from xavier._types.theory import Band, OpPrediction
from xavier.report.glyphs import LogScale, power

_MOST_POINTS: Final = 160
_MOST_TICKS: Final = 5
_TOP, _BOTTOM = 6.0, 94.0  # what lies beyond has no place on a logarithmic scale
_OFF_SCALE: Final = {"odd": 0.0, "zero": 100.0}
_ISOLATE, _END = "\u2068", "\u2069"

Measure = Callable[[OpSignal], float | None]
Expect = Callable[[OpPrediction], Band | None]


@dataclass(frozen=True, slots=True)
class Point:
    """One op of a chart, or the one that stands for a stretch of ops.

    Attributes:
        x: The middle of its column.
        y: Its height from above.
        left: Where its column begins.
        width: How wide its column is.
        kind: `plain`, `zero` or `odd` (not finite): the latter two stand at the edges.
        label: The op and its numbers, in words.
        breaks: Whether the verdict begins here.
        span: From the highest to the lowest that its stretch has on the scale, if it has any.
        theory: Heights of what the theory expects there, of its upper and of its lower bound.
    """

    x: float
    y: float
    left: float
    width: float
    kind: str
    label: str
    breaks: bool
    span: tuple[float, float] | None
    theory: tuple[float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class End:
    """What is written below the first or the last op."""

    x: float
    said: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A quantity by op, in the order of execution.

    Attributes:
        name: What it shows.
        key: The same, as the page's styles name it.
        points: From left to right; empty if nothing was measured.
        line: A path through the plain points, in a square of 100 by 100.
        band: A path around all that the stretches hold; empty if each is one op.
        theory: A path through what the theory expects; empty without any.
        chance: A path around its bounds, likewise.
        ticks: Height and text of each line of the scale.
        ends: Which ops are the first and the last.
        notes: What the points do not say by themselves.
    """

    name: str
    key: str
    points: tuple[Point, ...]
    line: str
    band: str
    theory: str
    chance: str
    ticks: tuple[tuple[float, str], ...]
    ends: tuple[End, ...]
    notes: tuple[str, ...]

    @property
    def breaks(self) -> Point | None:
        """The point where the verdict begins, if it is on the chart."""
        return next((point for point in self.points if point.breaks), None)

    @property
    def first_stop(self) -> int:
        """Which point the keyboard comes to first."""
        return next((at for at, point in enumerate(self.points) if point.breaks), 0)


def charts(check: Check) -> list[Chart]:
    """Return the RMS of the outputs and of the gradients, by op."""
    return [
        _chart(check, "Forward RMS", "forward", lambda op: op.rms, lambda each: each.output),
        _chart(
            check,
            "Gradient RMS",
            "gradient",
            lambda op: op.gradient_rms,
            lambda each: each.gradient,
        ),
    ]


def thinning(check: Check) -> str:
    """Return how the ops that have a point were chosen; empty if all of them have one."""
    size = len(check.signal.ops)
    if size <= _MOST_POINTS:
        return ""
    return (
        f"{_MOST_POINTS} of {size:,} ops have a point, each for those about it: the op where the "
        "verdict begins, one that is not finite, one that is zero, else the middle one. The band "
        "spans them all, and the table has each."
    )


def _chart(check: Check, name: str, key: str, measure: Measure, expect: Expect) -> Chart:
    ops = check.signal.ops
    columns = min(len(ops), _MOST_POINTS)
    theory = {each.index: expect(each) for each in (check.theory.ops if check.theory else ())}
    plot = _Plot(
        ops,
        [measure(op) for op in ops],
        [theory.get(op.index) for op in ops],
        columns,
        signal_text.breaks_at(check),
    )
    points = tuple(point for column in range(columns) if (point := plot.point(column)))
    line, band = _measured(points, 100 / max(columns, 1))
    middle, chance = _expected(points, 100 / max(columns, 1))
    return Chart(
        name=name,
        key=key,
        points=points,
        line=line,
        band=band if columns < len(ops) else "",
        theory=middle,
        chance=chance,
        ticks=tuple(_ticks(plot.scale)),
        ends=tuple(_ends(ops)),
        notes=tuple(_notes(points)),
    )


def _measured(points: Sequence[Point], width: float) -> tuple[str, str]:
    """Return a path through the plain points, and one around their spans."""
    runs = _runs([point for point in points if point.kind == "plain"], width)
    line = (_through([(each.x, each.y) for each in run]) for run in runs)
    band = (_around([(each.x, *each.span) for each in run if each.span]) for run in runs)
    return "".join(line), "".join(band)


def _expected(points: Sequence[Point], width: float) -> tuple[str, str]:
    """Return a path through what the theory expects, and one around its bounds."""
    known = _runs([point for point in points if point.theory], width)
    runs = [[(each.x, *each.theory) for each in run if each.theory] for run in known]
    line = (_through([(x, y) for x, y, _, _ in run]) for run in runs)
    band = (_around([(x, top, bottom) for x, _, top, bottom in run]) for run in runs)
    return "".join(line), "".join(band)


class _Plot:
    """Values by op, in columns of one op or of equal stretches."""

    def __init__(
        self,
        ops: Sequence[OpSignal],
        values: Sequence[float | None],
        theory: Sequence[Band | None],
        columns: int,
        breaks: int | None,
    ) -> None:
        self.scale = LogScale.of([*values, *(each.rms for each in theory if each)])
        self._theory = theory
        self._ops = ops
        self._values = values
        self._columns = columns
        self._breaks = breaks

    def point(self, column: int) -> Point | None:
        """Return the point of a column; None if nothing was measured there."""
        size = len(self._ops)
        stretch = range(column * size // self._columns, (column + 1) * size // self._columns)
        known = [at for at in stretch if self._values[at] is not None]
        if not known:
            return None
        at, width = self._most_telling(known), 100 / self._columns
        share = self.scale.share(self._values[at])
        kind = self._kind(at)
        return Point(
            x=round((column + 0.5) * width, 2),
            y=_OFF_SCALE[kind] if share is None else _height(share),
            left=round(column * width, 2),
            width=round(width, 2),
            kind=kind,
            label=_label(self._ops[at], self._said(at), breaks=at == self._breaks)
            + self._of_stretch(stretch),
            breaks=at == self._breaks,
            span=self._span(known),
            theory=self._expected(at),
        )

    def _said(self, at: int) -> str:
        band = self._theory[at]
        if band is None:
            return ""
        low, rms, high = map(signal_text.quantity, (band.low, band.rms, band.high))
        return f", in theory {rms} ({low} to {high})"

    def _expected(self, at: int) -> tuple[float, float, float] | None:
        band = self._theory[at]
        shares = (
            [self.scale.share(each) for each in (band.rms, band.high, band.low)] if band else []
        )
        found = [_height(share) for share in shares if share is not None]
        return (found[0], found[1], found[2]) if len(found) == 3 else None  # noqa: PLR2004 - a middle and two bounds

    def _most_telling(self, known: Sequence[int]) -> int:
        """Return the op of the verdict, else one off the scale, else that of the median."""
        if self._breaks is not None and self._breaks in known:
            return self._breaks
        for kind in ("odd", "zero"):
            off = next((at for at in known if self._kind(at) == kind), None)
            if off is not None:
                return off
        return sorted(known, key=lambda at: self._values[at] or 0.0)[len(known) // 2]

    def _kind(self, at: int) -> str:
        value = self._values[at]
        if self.scale.share(value) is not None:
            return "plain"
        return "zero" if value is not None and value <= 0 and math.isfinite(value) else "odd"

    def _span(self, known: Sequence[int]) -> tuple[float, float] | None:
        shares = [
            share for at in known if (share := self.scale.share(self._values[at])) is not None
        ]
        return (_height(max(shares)), _height(min(shares))) if shares else None

    def _of_stretch(self, stretch: range) -> str:
        values = [value for at in stretch if (value := self._values[at]) is not None]
        finite = [value for value in values if math.isfinite(value)]
        if len(stretch) == 1 or not finite:
            return ""
        low, high = map(signal_text.quantity, (min(finite), max(finite)))
        first, last = self._ops[stretch[0]].index, self._ops[stretch[-1]].index
        return f"; ops {first} to {last} have {low} to {high}"


def _height(share: float) -> float:
    return round(_BOTTOM - (_BOTTOM - _TOP) * share, 2)


def _label(op: OpSignal, theory: str, *, breaks: bool) -> str:
    numbers = [f"forward RMS {signal_text.quantity(op.rms)}"]
    if op.gradient_rms is not None:
        numbers.append(f"gradient RMS {signal_text.quantity(op.gradient_rms)}")
    if op.nonfinite:
        numbers.append(f"{op.nonfinite:,} not finite")
    head = f"op {op.index}{', where the verdict begins' if breaks else ''}"
    where = f"{_isolated(signal_text.place(op))} ({_isolated(text.printable(op.op))})"
    return f"{head}: {', '.join(numbers)}{theory}; {where}"


def _isolated(name: str) -> str:
    """Return a name that cannot turn the direction of what follows it."""
    turns = any(unicodedata.bidirectional(each) in {"R", "AL", "AN"} for each in name)
    return f"{_ISOLATE}{name}{_END}" if turns else name


def _runs(points: Sequence[Point], width: float) -> list[list[Point]]:
    """Return points in stretches without a gap, which a line can join."""
    runs: list[list[Point]] = []
    before = -math.inf
    for point in points:
        if point.x - before > 1.5 * width:
            runs.append([])
        runs[-1].append(point)
        before = point.x
    return runs


def _through(places: Sequence[tuple[float, float]]) -> str:
    return f"M{'L'.join(f'{x} {y}' for x, y in places)}"


def _around(spans: Sequence[tuple[float, float, float]]) -> str:
    above = [f"{x} {top}" for x, top, _ in spans]
    below = [f"{x} {bottom}" for x, _, bottom in reversed(spans)]
    return f"M{'L'.join(above + below)}Z"


def _ticks(scale: LogScale) -> Iterator[tuple[float, str]]:
    decades = scale.high - scale.low
    step = math.ceil(decades / _MOST_TICKS)
    for exponent in range(scale.low, scale.high + 1, step):
        yield _height((exponent - scale.low) / decades), power(exponent)


def _ends(ops: Sequence[OpSignal]) -> Iterator[End]:
    if ops:
        half = round(50 / len(ops), 2)
        yield End(half, f"op {ops[0].index}")
        if len(ops) > 1:
            yield End(100 - half, f"op {ops[-1].index}")


def _notes(points: Sequence[Point]) -> Iterator[str]:
    kinds = {point.kind for point in points}
    if "odd" in kinds:
        yield "A point at the upper edge is not finite."
    if "zero" in kinds:
        yield "A hollow point at the lower edge is zero."
