"""Do a billion draws of every law have that law? `python -m benchmarks.goodness --json FILE`.

Each element-by-element law, in float32 and float64, is drawn 10⁹ times. A chi-squared test counts
the numbers in cells that are equally likely; the tails of the normal law are counted by themselves,
beyond 4, 5 and 6 standard deviations and in more draws, where a Poisson law says how often they
occur. Weights of many names are correlated with each other. float16 and bfloat16 are the float32
numbers rounded, to the bit, which the package's tests hold.

A p-value below `LEVEL` divided by the number of tests fails the run: by chance one run in a
thousand does (Bonferroni).
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from benchmarks.machine import machine
from xavier.bits import Key, fill
from xavier.laws import Law, Normal, Sparse, TruncatedNormal, Uniform

LEVEL: Final = 1e-3
# A float32 number near a cell's end may be rounded over it: in so many cells this moves the
# statistic by less than a twentieth of its standard deviation.
CELLS: Final = 4096
CHUNK: Final = 1 << 24
BEYOND: Final = (4.0, 5.0, 6.0)
LENGTH: Final = 1 << 16  # weights of a name
_Values = NDArray[np.float64]

_STD: Final = 0.8796256610342398  # of the standard normal law cut at 2, so that its parent's is 1
_INSIDE: Final = math.erf(math.sqrt(2.0))  # the mass within the cut
LAWS: Final[dict[str, tuple[Law, Callable[[_Values], _Values]]]] = {
    "uniform": (Uniform(-1.0, 1.0), lambda x: (x + 1.0) / 2.0),
    "normal": (Normal(0.0, 1.0), special.ndtr),
    "truncated": (
        TruncatedNormal(0.0, _STD),
        lambda x: (special.ndtr(x) - special.ndtr(-2.0)) / _INSIDE,
    ),
    "sparse": (Sparse(0.25, 1.0), special.ndtr),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw, count, print every p-value, and fail where one is too small."""
    parser = argparse.ArgumentParser("benchmarks.goodness", description=__doc__)
    parser.add_argument("--draws", type=float, default=1e9, help="of each law and dtype")
    parser.add_argument("--tails", type=float, default=3e10, help="of the normal law, float32")
    parser.add_argument("--names", type=int, default=2048, help="how many are correlated")
    parser.add_argument("--json", type=Path, help="write the p-values here")
    options = parser.parse_args(arguments)
    found: dict[str, float] = {}
    for test, p in _every(options):
        found[test] = p
        print(f"{test:60}{p:12.4g}", flush=True)
    least = LEVEL / len(found)
    if options.json:
        result = {
            "machine": machine(),
            "settings": {"draws": options.draws, "tails": options.tails, "names": options.names},
            "fails below": least,
            "p": found,
        }
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    wrong = [test for test, p in found.items() if p < least]
    if wrong:
        raise SystemExit(f"of another law: {', '.join(wrong)}")


def _every(options: argparse.Namespace) -> Iterator[tuple[str, float]]:
    draws, tails = round(options.draws), round(options.tails)
    for name, (law, below) in LAWS.items():
        for dtype in (np.float32, np.float64):
            yield from _of_law(f"{name}, {np.dtype(dtype)}", law, below, dtype, draws)
    for dtype, count in ((np.float32, tails), (np.float64, tails // 10)):
        yield from _of_tails(f"normal, {np.dtype(dtype)}", dtype, count)
    yield from _of_names(options.names)


def _of_law(
    label: str, law: Law, below: Callable[[_Values], _Values], dtype: Any, draws: int
) -> Iterator[tuple[str, float]]:
    cells = np.zeros(CELLS, np.int64)
    zeros = 0
    for values in _drawn(law, dtype, draws, label):
        held = values
        if isinstance(law, Sparse):
            held = values[values != 0]
            zeros += len(values) - len(held)
        at = (below(held.astype(np.float64)) * CELLS).astype(np.int64)
        cells += np.bincount(np.minimum(at, CELLS - 1), minlength=CELLS)
    yield f"{label}: {draws:.0e} in {CELLS} cells", float(stats.chisquare(cells).pvalue)
    if isinstance(law, Sparse):
        p = stats.binomtest(zeros, draws, law.sparsity).pvalue
        yield f"{label}: how many are zero", float(p)


def _of_tails(label: str, dtype: Any, draws: int) -> Iterator[tuple[str, float]]:
    seen = np.zeros((len(BEYOND), 2), np.int64)
    for values in _drawn(Normal(0.0, 1.0), dtype, draws, f"{label}, tails"):
        far = values[np.abs(values) > BEYOND[0]]
        for row, bound in enumerate(BEYOND):
            seen[row] += np.count_nonzero(far > bound), np.count_nonzero(far < -bound)
    for row, bound in enumerate(BEYOND):
        expected = draws * special.ndtr(-bound)
        for side, count in zip(("above", "below"), seen[row], strict=True):
            low, high = stats.poisson.cdf(count, expected), stats.poisson.sf(count - 1, expected)
            told = f"{label}: {side} {bound:g} deviations, {count} of {expected:.1f} expected"
            yield told, float(min(1.0, 2 * min(low, high)))


def _of_names(count: int) -> Iterator[tuple[str, float]]:
    """Correlate the weights of many names, and of one name under adjacent seeds, in pairs."""
    for label, keys in (
        ("names", [Key(0, f"layers.{number}.weight") for number in range(count)]),
        ("adjacent seeds", [Key(seed, "layers.0.weight") for seed in range(count)]),
    ):
        rows = np.empty((count, LENGTH), np.float32)
        for row, key in zip(rows, keys, strict=True):
            fill(row, Normal(0.0, 1.0), key=key)
        # Each product of two rows has mean 0 and variance LENGTH; all are uncorrelated.
        products = (rows @ rows.T)[np.triu_indices(count, 1)].astype(np.float64)
        z = products / math.sqrt(LENGTH)
        pairs = len(z)
        # A product of two normals has fourth moment 9: so has z² variance 2 + 6 / LENGTH.
        spread = (np.sum(z**2) - pairs) / math.sqrt(pairs * (2.0 + 6.0 / LENGTH))
        yield f"{pairs} pairs of {label}: mean correlation", _two_sided(z.sum() / math.sqrt(pairs))
        yield f"{pairs} pairs of {label}: mean square of it", _two_sided(spread)
        largest = -math.expm1(pairs * math.log1p(-2 * stats.norm.sf(np.abs(z).max())))
        yield f"{pairs} pairs of {label}: largest of it", float(largest)


def _two_sided(z: float) -> float:
    return float(2 * stats.norm.sf(abs(z)))


def _drawn(law: Law, dtype: Any, draws: int, name: str) -> Iterator[NDArray[Any]]:
    values = np.empty(min(CHUNK, draws), dtype)
    key = Key(0, f"goodness of {name}")
    for start in range(0, draws, CHUNK):
        part = values[: min(CHUNK, draws - start)]
        fill(part, law, key=key, start=start)
        yield part


if __name__ == "__main__":
    main()
