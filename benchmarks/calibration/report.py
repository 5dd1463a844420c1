"""What the recorded runs say of the verdict, as the page `docs/calibration.md`.

`python -m benchmarks.calibration.report` prints it; with `--out FOLDER` it is written there, with
the curve beside it.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.calibration.fitting import (
    DERIVED,
    Array,
    Fit,
    Starts,
    auc,
    cross_validated,
    fit,
    held_out,
    roc,
)
from benchmarks.calibration.outcomes import hard, outcomes, read, tellable
from xavier.checking.symptoms import VERDICTS, Kind

RESULTS: Final = Path(__file__).parent.parent / "results"
RUNS: Final = RESULTS / "calibration.jsonl"
MEASURED: Final = RESULTS / "calibration-measured.jsonl"
PAGE: Final = "calibration.md"
CURVE: Final = "calibration-roc.svg"
_TEXT: Final = Path(__file__).with_name("page.md")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print or write the page."""
    parser = argparse.ArgumentParser("benchmarks.calibration.report", description=__doc__)
    parser.add_argument("--out", type=Path, help="the folder of the page and its curve")
    folder = parser.parse_args(arguments).out
    starts = recorded()
    if folder is None:
        print(page(starts))
        return
    (folder / PAGE).write_text(page(starts))
    (folder / CURVE).write_text(curve(starts))


def recorded() -> Starts:
    """Return the starts of the committed files."""
    found = tellable(outcomes(read(RUNS)))
    return Starts.of(found, read(MEASURED), hard(found))


def page(starts: Starts) -> str:
    """Return the page: its text is in `page.md`, with a place for every table."""
    final, crossed, unseen = fit(starts), cross_validated(starts), held_out(starts)
    return _TEXT.read_text().format(
        starts=len(starts.outcomes),
        networks=len({each.case.group for each in starts.outcomes}),
        trains=int(starts.trains.sum()),
        hard=f"{starts.hard.mean():.0%}",
        tolerances="\n".join(_tolerances(final)),
        steepness=f"{final.steepness:.3g}",
        aucs="\n".join(_aucs(starts, crossed, unseen)),
        thresholds="\n".join(_thresholds(crossed, starts.trains)),
        confusion="\n".join(_confusion(starts, final, crossed)),
        alarms=f"{(crossed[starts.trains] > 1).mean():.1%}",
        chances="\n".join(_chances(final, crossed, starts.trains)),
    )


def _tolerances(final: Fit) -> Iterator[str]:
    for kind in Kind:
        yield f"| {kind} | {DERIVED[kind]:.2g} | {final.tolerances[kind]:.3g} |"


def _aucs(starts: Starts, crossed: Array, unseen: Array) -> Iterator[str]:
    """Yield a line for all starts, then one a family that the fit has not seen, each twice."""
    yield _auc_line("all, cross-validated", starts, crossed, np.ones(len(crossed), dtype=bool))
    for family in dict.fromkeys(starts.families.tolist()):
        yield _auc_line(f"{family}, held out", starts, unseen, starts.families == family)


def _auc_line(name: str, starts: Starts, strains: Array, chosen: NDArray[np.bool_]) -> str:
    inside = chosen & starts.hard
    cells = [_auc(strains, starts.trains, chosen), _auc(strains, starts.trains, inside)]
    for sizes in starts.baselines.values():
        known = chosen & ~np.isnan(sizes)
        cells += [
            _auc(sizes, starts.trains, known),
            _auc(sizes, starts.trains, known & starts.hard),
        ]
    told = " | ".join(
        f"{first} / {second}" for first, second in zip(cells[::2], cells[1::2], strict=True)
    )
    return f"| {name} | {chosen.sum()} / {inside.sum()} | {told} |"


def _auc(sizes: Array, trains: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> str:
    found = auc(sizes[chosen], trains[chosen])
    return "–" if math.isnan(found) else f"{found:.3f}"


def _thresholds(strains: Array, trains: NDArray[np.bool_]) -> Iterator[str]:
    for threshold in (0.5, 0.75, 1.0, 1.5, 2.0):
        called = strains > threshold
        precision = (~trains)[called].mean() if called.any() else math.nan
        recall, alarms = called[~trains].mean(), called[trains].mean()
        yield f"| {threshold:g} | {precision:.2f} | {recall:.2f} | {alarms:.3f} |"


def _confusion(starts: Starts, final: Fit, strains: Array) -> Iterator[str]:
    """Yield how many starts of each verdict train: the strain's by cross-validation."""
    shares = starts.sizes / np.array([final.tolerances[kind] for kind in Kind])
    worst = [list(Kind)[place] for place in shares.argmax(axis=1)]
    called = [
        sure or (VERDICTS[kind] if strain > 1 else "healthy")
        for sure, kind, strain in zip(starts.sure, worst, strains, strict=True)
    ]
    counts = Counter(zip(called, starts.trains.tolist(), strict=True))
    for verdict in sorted(dict.fromkeys(called), key=lambda name: (name == "healthy", name)):
        yield f"| {verdict} | {counts[verdict, True]} | {counts[verdict, False]} |"


def _chances(final: Fit, strains: Array, trains: NDArray[np.bool_]) -> Iterator[str]:
    """Yield what was promised beside what came, where strain is about the same."""
    edges = (0.0, 0.3, 0.6, 0.9, 1.2, 2.0, math.inf)
    for low, high in pairwise(edges):
        chosen = (strains >= low) & (strains < high)
        if chosen.any():
            promised = 1 / (1 + np.exp(np.minimum(final.steepness * (strains[chosen] - 1), 700)))
            name = f"{low:g} to {high:g}" if high < math.inf else f"over {low:g}"
            yield (
                f"| {name} | {chosen.sum()} | {promised.mean():.0%} | {trains[chosen].mean():.0%} |"
            )


def curve(starts: Starts) -> str:
    """Return the curve of faults found over false alarms as SVG, beside the baselines'."""
    lines = {"strain, cross-validated": cross_validated(starts)}
    lines |= {name: each for name, each in starts.baselines.items() if not np.isnan(each).any()}
    drawn = "".join(
        _line(name, list(roc(each, starts.trains)), place)
        for place, (name, each) in enumerate(lines.items())
    )
    return _SVG.format(lines=drawn)


def _line(name: str, points: Sequence[tuple[float, float]], place: int) -> str:
    path = " ".join(f"{60 + 320 * x:.1f},{360 - 320 * y:.1f}" for x, y in [(0.0, 0.0), *points])
    dashes = ("", "6 3", "2 3")[place % 3]
    y = 280 + 22 * place
    return (
        f'<polyline fill="none" stroke="currentColor" stroke-width="1.5" '
        f'stroke-dasharray="{dashes}" points="{path}"/>'
        f'<path d="M200 {y}h28" stroke="currentColor" stroke-dasharray="{dashes}"/>'
        f'<text x="236" y="{y + 4}">{name}</text>\n'
    )


_SVG: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 440 410" width="440" height="410" '
    'font-family="sans-serif" font-size="12" fill="currentColor" color="#555" role="img">\n'
    "<title>Faults found over false alarms</title>\n"
    '<path d="M60 40V360H380" fill="none" stroke="currentColor"/>\n'
    '<path d="M60 360L380 40" stroke="currentColor" stroke-opacity=".3"/>\n'
    '<text x="220" y="395" text-anchor="middle">share of starts that train, called ill</text>\n'
    '<text x="20" y="200" text-anchor="middle" transform="rotate(-90 20 200)">'
    "share of the others, called ill</text>\n"
    '<text x="52" y="44" text-anchor="end">1</text><text x="52" y="364" text-anchor="end">0</text>'
    '<text x="380" y="376" text-anchor="middle">1</text>\n'
    "{lines}</svg>\n"
)

if __name__ == "__main__":
    main()
