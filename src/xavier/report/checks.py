"""A check in the terminal: the verdict first, then the signal over depth, then the findings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Final

from rich.console import Console
from rich.text import Text

from xavier._types import signal_text, text, theory_text
from xavier._types.folding import Fold, fold
from xavier._types.signal import Check, Finding, OpSignal, Severity, Verdict
from xavier._types.theory import Band
from xavier.report.contrasts import render_contrast
from xavier.report.cures import render_cures
from xavier.report.glyphs import Glyphs, LogScale, glyphs
from xavier.report.layout import GAP, Column, chosen, safe, say, say_cure, table, taken_width

_LONG: Final = 40  # ops from which those that differ in an index alone share a row
_NARROWEST_BAR: Final = 4
_WIDEST_SPARK: Final = 120
_MOST_OF_A_KIND: Final = 5  # findings of one code that are written out
_STYLES: Final = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
_ABOUT: Final = {
    Verdict.SATURATED: "saturated",
    Verdict.DEAD: "dead",
    Verdict.COLLAPSED: "correlation",
}

Row = Fold[OpSignal]


def render_check(check: Check, console: Console) -> None:
    """Print a check as wide as the console.

    The ops stand in the order of execution, each with the RMS of its output and of the
    gradient that comes back to it, as a number and as a bar on a logarithmic scale. In long
    models, ops that differ in an index alone share a row, with a sparkline over them. What
    there is no room for is named at the end.

    Args:
        check: The outcome.
        console: Where to print; no colour codes if it is no terminal, and no characters that
            its encoding lacks.
    """
    signs = glyphs(console.encoding)
    _verdict(check, console, signs)
    if check.cures is not None:
        render_cures(check.cures, console)
    if check.signal.ops:
        _Signal(check, console, signs).render()
        _theory(check, console)
    if check.contrast is not None:
        render_contrast(check.contrast, console)
    _findings(check, console)
    if check.signal.notes:
        console.print()
    for note in check.signal.notes:
        say(console, Text("note: ", style="cyan"), safe(console, note))


def _verdict(check: Check, console: Console, signs: Glyphs) -> None:
    healthy = check.verdict is Verdict.HEALTHY
    line = Text().append(f" {check.verdict.value.upper()} ", f"bold white on {_colour(check)}")
    if check.where:
        line.append(" at ").append_text(safe(console, check.where, "bold"))
    others = [each.value for each in check.verdicts if each != check.verdict]
    if others:
        line.append(f"  {signs.dot} also {', '.join(others)}", style="yellow")
    say(console, line)
    console.print()
    if check.evidence:
        say(console, safe(console, check.evidence), indent=1)
    if check.cure and not healthy:
        console.print()
        say_cure(console, check.cure, label=" cure  ")
    console.print()


def _colour(check: Check) -> str:
    return "green" if check.verdict is Verdict.HEALTHY else "red"


class _Signal:
    """The table of ops."""

    def __init__(self, check: Check, console: Console, signs: Glyphs) -> None:
        self._check = check
        self._console = console
        self._signs = signs
        self._ops = check.signal.ops
        self._forward = LogScale.of(op.rms for op in self._ops)
        self._backward = LogScale.of(op.gradient_rms for op in self._ops)
        self._where = text.printable(check.where)
        self._breaks = next(
            (op.index for op in self._ops if signal_text.place(op) == self._where), None
        )

    def render(self) -> None:
        """Print the signal over depth, the table, and what it leaves out."""
        self._over_depth()
        rows = self._rows()
        path = self._path_column(rows)
        sizes = self._sizes(rows)
        room = self._console.width - taken_width(sizes)
        always, missed = chosen(([each] for each in self._always(rows)), room=room - path.least)
        # What is left beside the numbers goes to the bars, to the path, then to other columns.
        room -= taken_width(always)
        bar = min(max((room - path.least - 2 * GAP) // 2, _NARROWEST_BAR), self._widest_bar)
        bars = self._bars(rows, width=bar) if room - path.least >= 2 * (bar + GAP) else ()
        room -= path.width + taken_width(bars)
        taken, left = chosen(self._optional(rows), room=room)
        plotted = (
            [part for pair in zip(sizes, bars, strict=True) for part in pair] if bars else sizes
        )
        self._console.print(table(self._console, [path, *plotted, *always, *taken]))
        self._console.print()
        self._legend(rows, [*missed, *left], plotted=bool(bars))

    @property
    def _widest_bar(self) -> int:
        return min(max((self._console.width - 36) // 5, _NARROWEST_BAR), 20)

    def _legend(self, rows: Sequence[Row], left: Sequence[str], *, plotted: bool) -> None:
        said = ["forward: RMS of the output; gradient: RMS of the loss's gradient to it"]
        if plotted:
            said.append(f"bars: log scale, forward {self._forward}, gradient {self._backward}")
        if len(rows) != len(self._ops):
            shown = f"{text.count(len(rows), 'row')} for {text.count(len(self._ops), 'op')}"
            said.append(f"{shown}: those that differ in an index alone share one, as min..max")
        if left:
            said.append(f"not shown at this width: {', '.join(left)}")
        for each in said:
            say(self._console, Text(each, style="dim"), indent=1)
        self._console.print()

    def _over_depth(self) -> None:
        width = min(max(self._console.width - 34, 8), _WIDEST_SPARK)
        expected, back = self._expected()
        for name, scale, values, theory, style in (
            ("forward ", self._forward, [op.rms for op in self._ops], expected, "cyan"),
            ("gradient", self._backward, [op.gradient_rms for op in self._ops], back, "magenta"),
        ):
            if all(value is None for value in values):
                say(self._console, Text(f" {name}  no gradient came", style="dim"))
                continue
            self._sparkline(name, scale, values, width=width, style=style)
            if any(value is not None for value in theory):
                self._sparkline("  theory", scale, theory, width=width, style="dim")
        self._console.print()

    def _expected(self) -> tuple[list[float | None], list[float | None]]:
        """Return what the theory carries through the graph to each op, both ways."""
        theory = self._check.theory
        known = {each.index: each for each in theory.ops} if theory else {}
        found = [known.get(op.index) for op in self._ops]
        outputs = [each.output if each else None for each in found]
        gradients = [each.gradient if each else None for each in found]
        return _sizes(outputs), _sizes(gradients)

    def _sparkline(
        self,
        name: str,
        scale: LogScale,
        values: Sequence[float | None],
        *,
        width: int,
        style: str,
    ) -> None:
        known = [value for value in values if value is not None]
        spark = scale.spark(values, width=width, glyphs=self._signs)
        ends = (signal_text.quantity(known[0]), signal_text.quantity(known[-1]))
        line = Text(f" {name}  ").append(spark, style=style)
        say(self._console, line.append(f"  {ends[0]} {self._signs.to} {ends[1]}"))

    def _rows(self) -> list[Row]:
        long = len(self._ops) > _LONG
        return fold(self._ops, name=signal_text.place, same=self._look if long else _itself)

    def _look(self, op: OpSignal) -> Hashable:
        apart = op.nonfinite > 0 or op.index == self._breaks
        return op.index if apart else (op.op, op.shape, op.activation, op.gradient_rms is None)

    def _path_column(self, rows: Sequence[Row]) -> Column:
        cells = [self._path(row) for row in rows]
        natural = max(cell.cell_len for cell in cells)
        return Column("op", cells, least=min(natural, max(self._console.width // 3, 12)))

    def _sizes(self, rows: Sequence[Row]) -> list[Column]:
        return [
            self._range("forward", rows, lambda op: op.rms, signal_text.quantity),
            self._range("gradient", rows, lambda op: op.gradient_rms, signal_text.quantity),
        ]

    def _bars(self, rows: Sequence[Row], *, width: int) -> list[Column]:
        """Return a bar for each op, and a sparkline where several share a row."""

        def plot(row: Row, value: Callable[[OpSignal], float | None], scale: LogScale) -> str:
            if len(row.items) == 1:
                return scale.bar(value(row.items[0]), width=width, glyphs=self._signs)
            return scale.spark(list(map(value, row.items)), width=width, glyphs=self._signs)

        forward = [plot(row, lambda op: op.rms, self._forward) for row in rows]
        backward = [plot(row, lambda op: op.gradient_rms, self._backward) for row in rows]
        return [
            Column(" " * width, [Text(each, style="cyan") for each in forward]),
            Column(" " * width, [Text(each, style="magenta") for each in backward]),
        ]

    def _always(self, rows: Sequence[Row]) -> list[Column]:
        """Return the columns that the verdicts are about."""
        wanted = {_ABOUT[each] for each in self._check.verdicts if each in _ABOUT}
        columns = [each for each in self._shares(rows) if each.head in wanted]
        if any(op.nonfinite for op in self._ops):
            cells = [Text(str(sum(op.nonfinite for op in row.items) or "")) for row in rows]
            columns.insert(0, Column("not finite", cells, right=True))
        return columns

    def _optional(self, rows: Sequence[Row]) -> list[list[Column]]:
        """Return groups of other columns, those that tell most first; none that is empty."""
        firsts = [row.items[0] for row in rows]
        taken = {_ABOUT.get(each) for each in self._check.verdicts}
        saturated, dead, correlation = (
            [] if each.head in taken else [each] for each in self._shares(rows)
        )
        after = [safe(self._console, op.activation) for op in firsts]
        shapes = [Text(text.shape(op.shape), style="dim") for op in firsts]
        kinds = [safe(self._console, op.op, "dim") for op in firsts]
        groups = [
            [Column("followed by", after)],
            saturated,
            dead,
            [Column("shape", shapes)],
            [Column("kind", kinds)],
            correlation,
            *self._moments(rows),
        ]
        return [
            found
            for group in groups
            if (
                found := [
                    each for each in group if any(c.plain not in {"", "-"} for c in each.cells)
                ]
            )
        ]

    def _shares(self, rows: Sequence[Row]) -> list[Column]:
        return [
            self._range("saturated", rows, lambda op: op.saturation, signal_text.share),
            self._range("dead", rows, lambda op: op.dead, signal_text.share),
            self._range("correlation", rows, lambda op: op.correlation, signal_text.quantity),
        ]

    def _moments(self, rows: Sequence[Row]) -> list[list[Column]]:
        show = signal_text.quantity
        return [
            [
                self._range("mean", rows, lambda op: op.mean, show),
                self._range("std", rows, lambda op: op.std, show),
            ],
            [
                self._range("effective rank", rows, lambda op: op.rank, show),
                self._range("Jacobian mean", rows, lambda op: op.jacobian_mean, show),
                self._range("Jacobian RMS", rows, lambda op: op.jacobian_rms, show),
            ],
        ]

    def _path(self, row: Row) -> Text:
        breaks = any(op.index == self._breaks for op in row.items)
        path = safe(self._console, row.name, "bold red" if breaks else "")
        repeats = Counter(signal_text.place(op) for op in row.items).most_common(1)[0][1]
        if repeats > 1:
            path.append(f" x{repeats}", style="dim")
        if self._breaks is None:
            return path
        mark = self._signs.mark if breaks else " "
        return Text().append(f"{mark} ", "bold red").append_text(path)

    @staticmethod
    def _range(
        head: str,
        rows: Sequence[Row],
        value: Callable[[OpSignal], float | None],
        show: Callable[[float | None], str],
    ) -> Column:
        cells = [_between([value(op) for op in row.items], show) for row in rows]
        return Column(head, cells, right=True)


def _between(values: Sequence[float | None], show: Callable[[float | None], str]) -> Text:
    known = [value for value in values if value is not None]
    odd = [value for value in known if not math.isfinite(value)]
    if odd or not known:
        return Text(show(odd[0] if odd else None), style="bold red" if odd else "dim")
    low, high = show(min(known)), show(max(known))
    return Text(low if low == high else f"{low}..{high}")


def _itself(op: OpSignal) -> Hashable:
    return op.index


def _sizes(bands: Sequence[Band | None]) -> list[float | None]:
    return [None if each is None else each.rms for each in bands]


def _theory(check: Check, console: Console) -> None:
    """Print where theory and measurement part, what the theory leaves out, and the mean field."""
    theory = check.theory
    if theory is None or not theory.summary:
        return
    style = "bold" if theory.departs is None else "bold yellow"
    say(console, safe(console, theory.summary, style))
    for name, lines in (
        ("mean field", theory_text.stacks(check)),
        ("not followed", theory_text.limits(theory)),
    ):
        for each in lines:
            say(console, Text(f"{name}: ", style="dim"), safe(console, each), indent=1)
    console.print()


def _findings(check: Check, console: Console) -> None:
    if not check.findings:
        say(console, Text("no findings", style="dim"))
        return
    say(console, Text("findings: ", style="bold"), signal_text.counts(check))
    groups: dict[tuple[Severity, str], list[Finding]] = {}
    for each in signal_text.by_severity(check):
        groups.setdefault((each.severity, each.code), []).append(each)
    for (severity, code), group in groups.items():
        say(
            console,
            Text(f" {severity.value:8}", style=_STYLES[severity]),
            safe(console, code, "bold"),
        )
        for each in group[:_MOST_OF_A_KIND]:
            _finding(each, console)
        if len(group) > _MOST_OF_A_KIND:
            rest = f"and {len(group) - _MOST_OF_A_KIND} more of these; JSON has them all"
            say(console, Text(rest, style="dim"), indent=3)


def _finding(finding: Finding, console: Console) -> None:
    path = safe(console, finding.path, "bold")
    words = [path, "  "] if finding.path else []
    say(console, *words, safe(console, finding.message), indent=3)
    if finding.cure:
        say_cure(console, finding.cure, label="cure  ", indent=3)
