"""Fit the coefficients of `xavier.bits`: minimax polynomials and rationals, by Remez exchange.

Prints the tables of `src/xavier/bits/_coefficients.py` (as hexadecimal floats, so that no
decimal conversion can change them) with the error that each fit reaches before rounding.
The tables are part of the stream: refitting them is a new version of the stream.

Run: python tools/fit_polynomials.py      (needs mpmath; nothing at run time does)

Reference:
    Cody, Fraser, Hart, "Rational Chebyshev approximation using linear equations", 1968.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mpmath as mp
import numpy as np

mp.mp.dps = 60
Function = Callable[[mp.mpf], mp.mpf]


@dataclass(frozen=True)
class Fit:
    """A rational `numerator(x) / denominator(x)`, lowest power first, and its weighted error."""

    numerator: list[mp.mpf]
    denominator: list[mp.mpf]
    error: mp.mpf


@dataclass(frozen=True)
class Problem:
    """Approximate `target` on [low, high] so that |error| / weight is least.

    A flipped problem is printed in `high - x`, in which the quantile's coefficients are
    positive, so that nothing cancels where it is steep.
    """

    target: Function
    weight: Function
    low: mp.mpf
    high: mp.mpf
    degrees: tuple[int, int]
    flipped: bool = False


def remez(problem: Problem, *, rounds: int = 12) -> Fit:
    """Return the minimax rational of a problem, by exchange of its reference points."""
    top, bottom = problem.degrees
    count = top + bottom + 2
    nodes = [_chebyshev(problem, (2 * i + 1) / mp.mpf(2 * count)) for i in range(count)]
    fit = Fit([], [], mp.mpf(0))
    for _ in range(rounds):
        fit = _solve(problem, nodes, fit.error)
        peaks = _peaks(problem, fit)
        if len(peaks) < count:
            raise RuntimeError(f"{len(peaks)} alternations, expected {count}")
        nodes = _best_run(peaks, count)
        sizes = [abs(value) for _, value in peaks]
        if max(sizes) < abs(fit.error) * mp.mpf("1.01"):
            break
    return fit


def flip(problem: Problem, fit: Fit) -> Fit:
    """Return the same rational in `high - x`, its denominator again starting with 1."""
    numerator = _flip(fit.numerator, problem.high)
    denominator = _flip(fit.denominator, problem.high)
    unit = denominator[0]
    return Fit([c / unit for c in numerator], [c / unit for c in denominator], fit.error)


def _flip(series: list[mp.mpf], top: mp.mpf) -> list[mp.mpf]:
    return [
        (-1) ** j
        * sum(c * mp.binomial(k, j) * top ** (k - j) for k, c in enumerate(series) if k >= j)
        for j in range(len(series))
    ]


def _chebyshev(problem: Problem, share: mp.mpf) -> mp.mpf:
    middle, half = (problem.low + problem.high) / 2, (problem.high - problem.low) / 2
    return middle - half * mp.cos(mp.pi * share)


def _solve(problem: Problem, nodes: list[mp.mpf], error: mp.mpf) -> Fit:
    """Solve for the levelled error on the nodes; the denominator's constant term is 1."""
    top, bottom = problem.degrees
    values = [problem.target(x) for x in nodes]
    weights = [problem.weight(x) for x in nodes]
    numerator, denominator = [mp.mpf(0)], [mp.mpf(1)]
    for _ in range(30 if bottom else 1):
        rows = []
        for i, x in enumerate(nodes):
            sign = (-1) ** i
            level = values[i] - sign * error * weights[i]
            rows.append(
                [x**k for k in range(top + 1)]
                + [-level * x**k for k in range(1, bottom + 1)]
                + [sign * weights[i]]
            )
        solution = mp.lu_solve(mp.matrix(rows), mp.matrix(values))
        parts = list(solution)
        numerator, denominator = parts[: top + 1], [mp.mpf(1), *parts[top + 1 : -1]]
        before, error = error, parts[-1]
        if abs(error - before) <= abs(error) * mp.mpf("1e-12"):
            break
    return Fit(numerator, denominator, error)


def _residual(problem: Problem, fit: Fit, x: mp.mpf) -> mp.mpf:
    value = mp.polyval(fit.numerator[::-1], x) / mp.polyval(fit.denominator[::-1], x)
    return (problem.target(x) - value) / problem.weight(x)


def _peaks(problem: Problem, fit: Fit) -> list[tuple[mp.mpf, mp.mpf]]:
    """Return the largest residual of each run of one sign, on a Chebyshev grid."""
    size = 60 * (sum(problem.degrees) + 2)
    peaks: list[tuple[mp.mpf, mp.mpf]] = []
    for x in (_chebyshev(problem, i / mp.mpf(size)) for i in range(size + 1)):
        value = _residual(problem, fit, x)
        if peaks and value * peaks[-1][1] > 0:
            if abs(value) > abs(peaks[-1][1]):
                peaks[-1] = (x, value)
        else:
            peaks.append((x, value))
    return peaks


def _best_run(peaks: list[tuple[mp.mpf, mp.mpf]], count: int) -> list[mp.mpf]:
    """Drop the smaller end of the alternation until `count` points are left."""
    kept = list(peaks)
    while len(kept) > count:
        del kept[0 if abs(kept[0][1]) < abs(kept[-1][1]) else -1]
    return [x for x, _ in kept]


def log_remainder(r: mp.mpf) -> mp.mpf:
    """(ln(1 + r) - r + r**2 / 2) / r**3, by its series near 0."""
    if abs(r) < mp.mpf("1e-12"):
        return mp.mpf(1) / 3 - r / 4
    return (mp.log1p(r) - r + r * r / 2) / r**3


def log_ratio(z: mp.mpf) -> mp.mpf:
    """(2 artanh(s) / s - 2) / s**2 at z = s**2: the logarithm's odd part beyond its first term."""
    if z < mp.mpf("1e-20"):
        return mp.mpf(2) / 3 + 2 * z / 5
    s = mp.sqrt(z)
    return (2 * mp.atanh(s) / s - 2) / z


def sine(w: mp.mpf) -> mp.mpf:
    """sin(pi z / 4) / z at w = z**2."""
    return mp.pi / 4 if w < mp.mpf("1e-40") else mp.sin(mp.pi / 4 * mp.sqrt(w)) / mp.sqrt(w)


def cosine(w: mp.mpf) -> mp.mpf:
    """(cos(pi z / 4) - 1) / w at w = z**2."""
    if w < mp.mpf("1e-30"):
        return -((mp.pi / 4) ** 2) / 2
    return (mp.cos(mp.pi / 4 * mp.sqrt(w)) - 1) / w


def central_quantile(w: mp.mpf) -> mp.mpf:
    """sqrt(2) erfinv(q) / q at w = q**2."""
    if w < mp.mpf("1e-40"):
        return mp.sqrt(mp.pi / 2)
    q = mp.sqrt(w)
    return mp.sqrt(2) * mp.erfinv(q) / q


def tail_quantile(s: mp.mpf) -> mp.mpf:
    """The z > 0 whose upper tail has the mass exp(-s**2 / 2)."""
    mass = mp.exp(-s * s / 2)
    guess = s - mp.log(s * mp.sqrt(2 * mp.pi)) / s
    for _ in range(8):
        error = mp.erfc(guess / mp.sqrt(2)) / 2 - mass
        guess += error / (mp.exp(-guess * guess / 2) / mp.sqrt(2 * mp.pi))
    return guess


def problems() -> dict[str, Problem]:
    """Return every fit of the stream, by the name of its table."""
    half, two, zero, one = mp.mpf(1) / 2, mp.mpf(2), mp.mpf(0), mp.mpf(1)
    log_low, log_high = mp.sqrt(half) - 1, mp.sqrt(two) - 1
    ratio_high = ((mp.sqrt(two) - 1) / (mp.sqrt(two) + 1)) ** 2

    def log_weight(r: mp.mpf) -> mp.mpf:
        return min(abs(mp.log1p(r) / r**3), mp.mpf(10**4)) if r else mp.mpf(10**4)

    return {
        "LOG_32": Problem(log_remainder, log_weight, log_low, log_high, (8, 0)),
        "SIN_32": Problem(sine, sine, zero, one, (3, 0)),
        "COS_32": Problem(cosine, lambda w: one, zero, one, (3, 0)),
        "CENTRAL_32": central(CENTRAL_32, (5, 4)),
        "TAIL_32": tail(tail_start(CENTRAL_32), mp.mpf("6.8"), "4.75", (3, 3)),
        "LOG_64": Problem(log_ratio, lambda z: one, zero, ratio_high, (7, 0)),
        "SIN_64": Problem(sine, sine, zero, one, (6, 0)),
        "COS_64": Problem(cosine, lambda w: one, zero, one, (6, 0)),
        "CENTRAL_64": central(CENTRAL_64, (8, 8)),
        "TAIL_64": tail(tail_start(CENTRAL_64), mp.mpf("4.76"), "3.625", (5, 5)),
        "FAR_TAIL_64": tail(mp.mpf("4.74"), mp.mpf("9.6"), "7", (5, 5)),
    }


def central(q: float, degrees: tuple[int, int]) -> Problem:
    """Fit the central quantile over q in w = q**2."""
    return Problem(
        central_quantile, central_quantile, mp.mpf(0), mp.mpf(q) ** 2, degrees, flipped=True
    )


def tail(low: mp.mpf, high: mp.mpf, centre: str, degrees: tuple[int, int]) -> Problem:
    """Fit the tail quantile less s in x = s - centre."""
    middle = mp.mpf(centre)
    return Problem(
        lambda x: tail_quantile(x + middle) - (x + middle),
        lambda x: tail_quantile(x + middle),
        low - middle,
        high - middle,
        degrees,
    )


def tail_start(q: float) -> mp.mpf:
    """Return a little less than the least s of the tail beyond the central part."""
    return mp.sqrt(-2 * mp.log((1 - mp.mpf(q)) / 2)) * mp.mpf("0.999")


CENTRAL_32 = 0.9609375  # covers a cut at two standard deviations without a tail
CENTRAL_64 = 0.90625


def main() -> None:
    """Print every table."""
    for name, problem in problems().items():
        fit = remez(problem)
        if problem.flipped:
            fit = flip(problem, fit)
        convert = np.float32 if name.endswith("32") else np.float64
        print(f"# {name}: weighted error 2**{float(mp.log(abs(fit.error), 2)):.1f}")
        for label, series in (("", fit.numerator), ("_OVER", fit.denominator)):
            if label and problem.degrees[1] == 0:
                continue
            print(f"{name}{label} = (")
            for coefficient in series:
                value = float(convert(mp.nstr(coefficient, 40)))
                print(f'    float.fromhex("{value.hex()}"),')
            print(")")


if __name__ == "__main__":
    main()
