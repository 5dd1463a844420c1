"""The recorded activations as pictures: lines over updates, and histograms at the end."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any, Final

# Size of a panel and of what stands around it, in pixels.
_WIDE, _HIGH, _LEFT, _TOP, _BELOW, _GAP = 640, 200, 48, 34, 34, 26
_BINS: Final = 40
# Layer by layer, on light and on dark ground; told apart by their order in lightness, too.
_LIGHT: Final = ("#0b3c5d", "#1d70a2", "#3a9c7f", "#b07d12", "#b3261e")
_DARK: Final = ("#9fd0f5", "#5fa8e0", "#5fc7a4", "#e5b54f", "#ff8f85")
_STYLE: Final = """
text { font: 12px system-ui, "DejaVu Sans", sans-serif; fill: #57606a; }
text.title { font-weight: 600; font-size: 13px; fill: #1b1f24; }
.ground { fill: #ffffff; } .grid { stroke: #d5dae0; }
.trace { fill: none; stroke-width: 1.75; stroke-linejoin: round; }
.band { opacity: 0.14; }
"""
_STYLE_DARK: Final = """
text { fill: #a1abb6; } text.title { fill: #e4e8ec; }
.ground { fill: #12161b; } .grid { stroke: #38414b; }
"""

Lines = Sequence[tuple[str, Sequence[float]]]


def pictures(record: dict[str, Any]) -> dict[str, str]:
    """Return the pictures of a record, by file name.

    Args:
        record: What `python -m benchmarks.glorot2010 record` wrote.
    """
    nets = record["networks"]
    return {
        "glorot2010-figure-2.svg": _picture(
            [_panel(nets["sigmoid"], "mean", "Sigmoid: mean activation ± std, by update")],
            named(nets["sigmoid"]),
        ),
        "glorot2010-figure-3.svg": _picture(
            [
                _panel(nets[name], measure, f"{title}: {said}, by update")
                for name, title in (("tanh", "Tanh"), ("softsign", "Softsign"))
                for measure, said in (
                    ("p98", "98th percentile of the activations"),
                    ("std", "standard deviation of the activations"),
                )
            ],
            named(nets["tanh"]),
        ),
        "glorot2010-figure-4.svg": _picture(
            [
                _histograms(nets[name], f"{title}: activations at the end, share by value")
                for name, title in (("tanh", "Tanh"), ("softsign", "Softsign"))
            ],
            named(nets["tanh"]),
        ),
    }


def named(net: dict[str, Any]) -> list[str]:
    """Return the names of a network's layers."""
    return [f"layer {at}" for at in range(1, len(net["layers"]) + 1)]


def _panel(net: dict[str, Any], measure: str, title: str) -> Iterator[str]:
    """Yield a panel of one line a layer, the time on a logarithmic scale."""
    updates = net["updates"]
    places = [math.log10(max(each, 1)) / math.log10(updates[-1]) * _WIDE for each in updates]
    yield from _axes(title, [0, 0.25, 0.5, 0.75, 1.0], low=0.0, high=1.0)
    decades = range(int(math.log10(updates[-1])) + 1)
    yield from _below(((10**at, at / math.log10(updates[-1])) for at in decades), "{:,}")
    for at, layer in enumerate(net["layers"]):
        if measure == "mean":
            above = [m + s for m, s in zip(layer["mean"], layer["std"], strict=True)]
            under = [m - s for m, s in zip(layer["mean"], layer["std"], strict=True)]
            around = [*_points(places, above), *reversed(_points(places, under))]
            yield f'<path class="band l{at}" d="M{"L".join(around)}Z"/>'
        line = "L".join(_points(places, layer[measure]))
        yield f'<path class="trace t{at}" d="M{line}"/>'


def _histograms(net: dict[str, Any], title: str) -> Iterator[str]:
    """Yield a panel of one stepped line a layer, over values from -1 to 1."""
    shares = [_shares(layer["at the end"]) for layer in net["layers"]]
    high = max(map(max, shares))
    step = 0.1 if high > 0.25 else 0.05
    ticks = [step * at for at in range(int(high / step) + 2)]
    yield from _axes(title, ticks, low=0.0, high=ticks[-1])
    yield from _below(((each, (each + 1) / 2) for each in (-1, -0.5, 0, 0.5, 1)), "{:g}")
    middles = [(at + 0.5) / _BINS * _WIDE for at in range(_BINS)]
    for at, share in enumerate(shares):
        line = "L".join(_points(middles, share, high=ticks[-1]))
        yield f'<path class="trace t{at}" d="M{line}"/>'


def _shares(found: dict[str, Any]) -> list[float]:
    """Return the share of the values in each of `_BINS` bins from -1 to 1.

    What a recorded bin holds is spread evenly over it.
    """
    low, high, counts = found["low"], found["high"], found["counts"]
    width, total = (high - low) / len(counts), sum(counts)
    shares = [0.0] * _BINS
    for at, count in enumerate(counts):
        begin, end = low + at * width, low + (at + 1) * width
        for to in range(_BINS):
            left, right = -1 + to * 2 / _BINS, -1 + (to + 1) * 2 / _BINS
            shared = max(0.0, min(end, right) - max(begin, left))
            shares[to] += count / total * shared / width
    return shares


def _points(places: Sequence[float], values: Sequence[float], high: float = 1.0) -> list[str]:
    heights = (_HIGH * (1 - min(max(value, 0.0), high) / high) for value in values)
    return [f"{x:.1f} {y:.1f}" for x, y in zip(places, heights, strict=True)]


def _axes(title: str, ticks: Sequence[float], *, low: float, high: float) -> Iterator[str]:
    yield f'<text class="title" y="-12">{escape(title)}</text>'
    for tick in ticks:
        y = _HIGH * (1 - (tick - low) / (high - low))
        yield f'<line class="grid" x1="0" x2="{_WIDE}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="-8" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'


def _below(marks: Any, form: str) -> Iterator[str]:
    for value, share in marks:
        anchor = "start" if share < 0.02 else "end" if share > 0.98 else "middle"
        x, said = share * _WIDE, form.format(value)
        yield f'<text x="{x:.1f}" y="{_HIGH + 18}" text-anchor="{anchor}">{said}</text>'


def _picture(panels: Sequence[Iterator[str]], layers: Sequence[str]) -> str:
    each = _TOP + _HIGH + _BELOW
    height = len(panels) * each + _GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDE + 20} {height}" '
        f'width="{_LEFT + _WIDE + 20}" height="{height}">',
        f"<style>{_STYLE}{_colours(_LIGHT)}",
        f"@media (prefers-color-scheme: dark) {{{_STYLE_DARK}{_colours(_DARK)}}}</style>",
        '<rect class="ground" width="100%" height="100%"/>',
    ]
    for at, panel in enumerate(panels):
        parts += [f'<g transform="translate({_LEFT} {at * each + _TOP})">', *panel, "</g>"]
    parts += [*_legend(layers, height - 8), "</svg>"]
    return "\n".join(parts) + "\n"


def _legend(layers: Sequence[str], y: int) -> Iterator[str]:
    for at, name in enumerate(layers):
        x = _LEFT + at * 100
        yield f'<line class="trace t{at}" x1="{x}" x2="{x + 24}" y1="{y - 4}" y2="{y - 4}"/>'
        yield f'<text x="{x + 30}" y="{y}">{name}</text>'


def _colours(colours: Sequence[str]) -> str:
    return "".join(
        f".t{at} {{ stroke: {each}; }} .l{at} {{ fill: {each}; }}"
        for at, each in enumerate(colours)
    )
