"""Recurrences that a run unrolled: one step of each, to be taken until its state is at rest.

A plan may not depend on how many steps the example has. Two steps show how values cross from one
to the next; the state's law is that after so many steps that it changes no more. Elements of a
state are functions of gates and of one another (a GRU's `n + z (h - n)`), so they are followed as
samples. Every contraction gives normal numbers, which remember those of the step before as much as
what it contracts does: the weights are the same at every step.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from xavier._types.flow import Flow, Op, OpKind
from xavier.flow.structure import Structure

Array = NDArray[np.float64]


@dataclass(frozen=True)
class State:
    """A value of a state at rest.

    Attributes:
        mean: Its mean.
        second: Its second moment.
        lag: The correlation of an element with the same one a step later.
    """

    mean: float = 0.0
    second: float = 1.0
    lag: float = 0.0


@dataclass(frozen=True)
class Given:
    """A value that a step reads and no step makes.

    Attributes:
        mean: Its mean, by rows where parts of it have their own.
        second: Its second moment, likewise.
        lag: The correlation of an element with the same one a step later.
    """

    mean: tuple[float, ...]
    second: tuple[float, ...]
    lag: float = 0.0


_SAMPLES = 4096
_STEPS = 400
_SETTLED = 1e-2  # relative to the state's size; what a sample of this size tells
_AVERAGED = 16  # steps over which it is averaged once it is at rest
_FUNCTIONS = (OpKind.ADD, OpKind.MULTIPLY, OpKind.ELEMENTWISE)


@dataclass(frozen=True)
class Loop:
    """A recurrence of a flow.

    Attributes:
        start: The first op of the step that stands for all.
        period: How many ops a step has.
        begin: The first op of the first step that was seen whole.
        end: The op after the last such step.
        crossing: What an op of the step reads of the step before: the value, as this step makes
            it, by the op's index and the input's place.
    """

    start: int
    period: int
    begin: int
    end: int
    crossing: Mapping[tuple[int, int], int]

    @property
    def stop(self) -> int:
        """The op after the step."""
        return self.start + self.period


def loops(flow: Flow, structure: Structure) -> list[Loop]:
    """Return the recurrences whose steps are alike."""
    uses: dict[str, list[int]] = defaultdict(list)
    for at in sorted(structure.recurrent):
        for name in {use.parameter for use in flow.ops[at].weights}:
            uses[name].append(at)
    found: list[Loop] = []
    for ops in sorted(uses.values()):
        steps = {later - earlier for earlier, later in pairwise(ops)}
        if len(steps) != 1:
            continue
        loop = _loop(flow, ops, steps.pop())
        if loop is not None and not any(loop.begin < each.end for each in found):
            found.append(loop)
    return found


def _loop(flow: Flow, ops: list[int], period: int) -> Loop | None:
    start, end = ops[-2], ops[-1]
    while end < len(flow.ops) and _alike(flow, end - period, end):
        end += 1
    begin = ops[0]
    while begin > 0 and begin > ops[0] - period and _alike(flow, begin - 1, begin - 1 + period):
        begin -= 1
    if any(not _alike(flow, at, at + period) for at in range(begin, ops[-1] - period)):
        return None
    made = {flow.ops[at].output for at in range(start, start + period)}
    crossing: dict[tuple[int, int], int] = {}
    for at in range(start, end - period):
        later = flow.ops[at + period].inputs
        for place, value in enumerate(flow.ops[at].inputs):
            if later[place] in made and not (value in made and _before(flow, value, at)):
                crossing[at, place] = later[place]
    return Loop(start, period, begin, end, crossing) if crossing else None


def _alike(flow: Flow, left: int, right: int) -> bool:
    one, other = flow.ops[left], flow.ops[right]
    weights = [[use.parameter for use in op.weights] for op in (one, other)]
    return (one.name, len(one.inputs), weights[0]) == (other.name, len(other.inputs), weights[1])


def _before(flow: Flow, value: int, at: int) -> bool:
    producer = flow.values[value].producer
    return producer is not None and producer < at


class UnsettledError(Exception):
    """A state that does not come to rest, or that cannot be followed; not for users."""


class Rest:
    """A step that is taken until its state is at rest.

    Args:
        flow: The flow.
        loop: The recurrence.
        factors: For each contraction of the step, what it multiplies a second moment by.
        given: The values that the step does not make.
    """

    def __init__(
        self,
        flow: Flow,
        loop: Loop,
        *,
        factors: Mapping[int, float],
        given: Mapping[int, Given],
    ) -> None:
        self._flow = flow
        self._loop = loop
        self._factors = factors
        self._given = given
        self._fresh = 0
        self._made: dict[int, Array] = {}  # at the step before
        self._read_before: dict[int, Array] = {}
        self._noise: dict[int, Array] = {}

    def states(self) -> dict[int, State]:
        """Return the state's values at rest.

        Raises:
            UnsettledError: If it has none.
        """
        values = set(self._loop.crossing.values())
        seen: list[dict[int, State]] = []
        for _ in range(_STEPS):
            before, made = self._made, self._step()
            zero = np.zeros((1, 1))
            seen.append({each: _state(made[each], before.get(each, zero)) for each in values})
            self._made = made
            if len(seen) >= 2 * _AVERAGED and _is_at_rest(seen):
                return _average(seen[-_AVERAGED:])
        raise UnsettledError

    def _step(self) -> dict[int, Array]:
        made: dict[int, Array] = {}
        given = {value: self._outside(value) for value in self._given}
        for at in range(self._loop.start, self._loop.stop):
            op = self._flow.ops[at]
            inputs: list[Array] = []
            for place, value in enumerate(op.inputs):
                if (at, place) in self._loop.crossing:
                    crossing = self._loop.crossing[at, place]
                    inputs.append(self._made.get(crossing, np.zeros((1, 1))))
                else:
                    inputs.append(made[value] if value in made else given[value])
            made[op.output] = self._output(at, op, inputs)
        return made

    def _outside(self, value: int) -> Array:
        given = self._given[value]
        mean, second = np.array(given.mean), np.array(given.second)
        deviation = np.sqrt(np.maximum(second - mean**2, 0.0))
        if not deviation.any():
            return mean[:, None]
        return mean[:, None] + deviation[:, None] * self._normal(~value, len(mean), given.lag)

    def _output(self, at: int, op: Op, inputs: list[Array]) -> Array:
        if op.weights:
            if len(inputs) != 1 or at not in self._factors:
                raise UnsettledError
            power = float(np.mean(inputs[0] ** 2))
            before = self._read_before.get(at, np.zeros((1, 1)))
            lag = float(np.mean(inputs[0] * before)) / (power or 1.0)
            self._read_before[at] = inputs[0]
            return np.sqrt(self._factors[at] * power) * self._normal(at, len(op.weights), lag)
        if op.kind in _FUNCTIONS and op.function is not None:
            return self._function(op, inputs)
        if op.kind is OpKind.MOVE and len(inputs) == 1:
            return self._part(op, inputs[0])
        raise UnsettledError

    def _function(self, op: Op, inputs: list[Array]) -> Array:
        rows = max(map(len, inputs))
        if any(len(each) not in (1, rows) for each in inputs) or op.function is None:
            raise UnsettledError
        with np.errstate(all="ignore"):
            out = op.function(*inputs)
        if not np.isfinite(out).all():
            raise UnsettledError
        return out

    @staticmethod
    def _part(op: Op, value: Array) -> Array:
        at, count = op.attributes.get("part", (0, 0))
        if len(value) == count:
            return value[at : at + 1]
        if len(value) == 1 or not op.attributes.get("selects"):
            return value
        raise UnsettledError

    def _normal(self, source: int, rows: int, lag: float) -> Array:
        """Return rows of standard normal numbers that remember those of the step before."""
        quantiles = _quantiles()
        out = np.empty((rows, _SAMPLES))
        for row in out:
            self._fresh += 1
            row[:] = quantiles[np.random.default_rng(self._fresh).permutation(_SAMPLES)]
        before, lag = self._noise.get(source), min(max(lag, -1.0), 1.0)
        if before is not None:
            out = lag * before + np.sqrt(1 - lag * lag) * out
        self._noise[source] = out
        return out


@lru_cache(maxsize=1)
def _quantiles() -> Array:
    normal = NormalDist()
    points = [normal.inv_cdf((at + 0.5) / _SAMPLES) for at in range(_SAMPLES)]
    found: Array = np.asarray(points, dtype=np.float64)
    return found / np.sqrt(np.mean(found**2))


def _state(now: Array, before: Array) -> State:
    mean, spread = float(now.mean()), float(now.var())
    shared = float(np.mean((now - mean) * (before - before.mean())))
    return State(mean, spread + mean * mean, shared / (spread or 1.0))


def _is_at_rest(seen: list[dict[int, State]]) -> bool:
    now, before = _average(seen[-_AVERAGED:]), _average(seen[-2 * _AVERAGED : -_AVERAGED])
    return all(
        abs(now[each].second - before[each].second) <= _SETTLED * now[each].second for each in now
    )


def _average(seen: list[dict[int, State]]) -> dict[int, State]:
    found: dict[int, State] = {}
    for value in seen[0]:
        states = [each[value] for each in seen]
        rows = np.mean([(each.mean, each.second, each.lag) for each in states], axis=0)
        found[value] = State(*map(float, rows))
    return found
