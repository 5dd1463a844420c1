"""Tests of a stream of 32-bit words, as counts that add up over any number of buffers.

Every test takes disjoint groups of words, so that its cells are independent and the laws of its
statistic are exact, or exact but for terms far below what the counts can resolve.

Reference:
    Knuth, "The Art of Computer Programming", volume 2, section 3.3.2.
    L'Ecuyer and Simard, "On the performance of birthday spacings tests", 2001.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Words = NDArray[np.uint32]
BUFFER = 1 << 23  # words; two of them make a birthday
LAGS = (1, 16, 64)  # the next word, the same lane of the next group, the next block
_BYTE_PAIRS = 1 << 16
_URNS = 40  # bits
_LEAST = 50.0  # an expected count of a cell; rarer weights are joined


def _zeros(*shape: int) -> NDArray[np.int64]:
    return np.zeros(shape, np.int64)


@dataclass
class Counts:
    """What was counted so far; all that a resumed run needs."""

    words: int = 0
    halves: NDArray[np.int64] = field(default_factory=lambda: _zeros(2, 1 << 16))
    pairs: NDArray[np.int64] = field(default_factory=lambda: _zeros(len(LAGS), _BYTE_PAIRS))
    weights: NDArray[np.int64] = field(default_factory=lambda: _zeros(33, 33))
    birthdays: int = 0
    spacings: int = 0
    collisions: int = 0

    def add(self, words: Words) -> None:
        """Count one buffer of `BUFFER` words."""
        assert words.shape == (BUFFER,)
        self.words += BUFFER
        self.halves[0] += np.bincount(words >> 16, minlength=1 << 16)
        self.halves[1] += np.bincount(words & 0xFFFF, minlength=1 << 16)
        top = (words >> 24).astype(np.uint16)
        for row, lag in enumerate(LAGS):
            both = top.reshape(-1, 2, lag)
            self.pairs[row] += np.bincount(
                (both[:, 0] << 8 | both[:, 1]).ravel(), minlength=_BYTE_PAIRS
            )
        weight = np.bitwise_count(words).astype(np.uint16).reshape(-1, 2)
        joint = np.bincount(weight[:, 0] * 33 + weight[:, 1], minlength=33 * 33)
        self.weights += joint.reshape(33, 33)
        self._add_birthdays(words)

    def _add_birthdays(self, words: Words) -> None:
        days = np.sort(words.view(np.uint64))
        urns = days >> np.uint64(64 - _URNS)
        gaps = np.sort(np.diff(days))
        self.birthdays += 1
        self.collisions += int((urns[1:] == urns[:-1]).sum())
        self.spacings += int((gaps[1:] == gaps[:-1]).sum())

    def results(self) -> dict[str, float]:
        """Return the p-value of every test; near 0 and near 1 are both suspect."""
        found = {
            "equidistribution, upper 16 bits": _uniform(self.halves[0]),
            "equidistribution, lower 16 bits": _uniform(self.halves[1]),
        }
        for lag, count in zip(LAGS, self.pairs, strict=True):
            found[f"serial pairs of bytes, {lag} apart"] = _uniform(count)
        found["Hamming weights"] = _weights(self.weights.sum(1) + self.weights.sum(0), 1)
        found["Hamming weights, pairs"] = _weights(self.weights, 2)
        days = BUFFER // 2
        found["birthday spacings"] = _poisson(self.spacings, self.birthdays * days**3 / 2.0**66)
        urns = 2.0**_URNS
        # The expected number of balls in a taken urn: n - k (1 - (1 - 1/k)**n), without cancelling.
        each = days + urns * math.expm1(days * math.log1p(-1 / urns))
        found["collisions"] = _poisson(self.collisions, self.birthdays * each)
        return found

    def state(self) -> dict[str, Any]:
        """Return all counts as arrays, to be saved."""
        return {name: np.asarray(value) for name, value in vars(self).items()}

    @classmethod
    def resumed(cls, state: dict[str, Any]) -> Counts:
        """Return the counts that were saved."""
        return cls(**{n: int(v) if v.ndim == 0 else np.array(v) for n, v in state.items()})


def _uniform(counts: NDArray[np.int64]) -> float:
    return float(stats.chisquare(counts).pvalue)


def _weights(counts: NDArray[np.int64], words: int) -> float:
    """Test weights, or pairs of them, against the binomial law; rare ones are one cell."""
    single = np.array([math.comb(32, k) for k in range(33)]) / 2.0**32
    law = single if words == 1 else np.outer(single, single)
    expected = law * counts.sum()
    common = expected >= _LEAST
    found = np.append(counts[common], counts[~common].sum())
    wanted = np.append(expected[common], expected[~common].sum())
    kept = wanted > 0
    return float(stats.chisquare(found[kept], wanted[kept] * (found.sum() / wanted.sum())).pvalue)


def _poisson(count: int, mean: float) -> float:
    """Return the probability of fewer, halfway into that of as many: uniform on [0, 1]."""
    below = stats.poisson.cdf(count - 1, mean)
    return float(below + stats.poisson.pmf(count, mean) / 2)
