"""Time contenders in turns, so that what else the machine does falls on all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Times:
    """The seconds of every contender in every round."""

    seconds: dict[str, list[float]]

    def median(self, name: str) -> float:
        """Return the median of a contender's seconds."""
        return statistics.median(self.seconds[name])

    def ratio(self, slow: str, fast: str) -> float:
        """Return how many times as long `slow` took: the median over rounds of their ratio."""
        pairs = zip(self.seconds[slow], self.seconds[fast], strict=True)
        return statistics.median(one / other for one, other in pairs)

    def spread(self, name: str) -> float:
        """Return (slowest - fastest) / median over the rounds: how noisy the machine was."""
        taken = self.seconds[name]
        return (max(taken) - min(taken)) / self.median(name)


def interleaved(contenders: Mapping[str, Callable[[], object]], *, rounds: int) -> Times:
    """Run every contender once to warm up, then once in each round."""
    return clocked(contenders, rounds=rounds, clocks={"wall": time.perf_counter})["wall"]


def clocked(
    contenders: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    clocks: Mapping[str, Callable[[], float]],
) -> dict[str, Times]:
    """Do the same by several clocks at once, such as the wall's and the processor's."""
    seconds: dict[str, dict[str, list[float]]] = {
        clock: {name: [] for name in contenders} for clock in clocks
    }
    for number in range(rounds + 1):
        for name, run in contenders.items():
            begin = {clock: read() for clock, read in clocks.items()}
            run()
            for clock, read in clocks.items() if number else ():
                seconds[clock][name].append(read() - begin[clock])
    return {clock: Times(taken) for clock, taken in seconds.items()}
