"""Sums: residual adds, whose branches go around one another, and contractions that are added.

An addition is associative and commutative, so adds whose results only another add reads are
one sum of several addends, in whatever order a model writes them. If one addend is what another
was computed from, it is a residual stream, and the others are its branches. If none is, the sum
of dense outputs is one contraction of their inputs side by side.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from xavier._types.flow import Op, OpKind
from xavier.flow.graph import Graph


class Sums:
    """The sums of a flow.

    Attributes:
        writes: For the last contraction of a branch that is added to a stream: the stream.
        shared: For contractions whose results are added: itself, and one for each other addend.
        streams: Outputs of residual adds, and of the adds that those are made of.
        post_norms: How many residual adds go around a branch from a stream that was normalized
            right after the add before.

    Args:
        graph: The flow.
        apart: Outputs of adds that are no sums of this kind: the steps of a recurrence.
    """

    def __init__(self, graph: Graph, apart: frozenset[int]) -> None:
        self.writes: dict[int, int] = {}
        self.shared: dict[int, tuple[int, ...]] = {}
        self.streams: set[int] = set()
        self.post_norms = 0
        self._graph = graph
        self._apart = apart
        self._stream_of: dict[int, int] = {}  # a residual add's output: its stream
        self._before: dict[int, int] = {}  # a residual add's output: the stream before it
        self._branches: dict[int, list[tuple[int, ...]]] = defaultdict(list)
        self._plain: dict[int, tuple[int, ...]] = {}  # the addends of other sums
        self._fans: dict[int, float] = {}  # what the largest sum of a contraction's counts
        nested: set[int] = set()
        found: list[tuple[int, tuple[int, ...], set[int]]] = []
        for op in reversed(graph.flow.ops):
            if self._is_sum(op) and op.output not in nested:
                addends, inner = self._flattened(op)
                nested |= inner
                found.append((op.output, addends, inner))
        for output, addends, inner in reversed(found):
            stream = self._stream(addends)
            if stream is None:
                self._plain[output] = addends
                self._note_shared(addends)
            else:
                self.streams |= {output, *inner}
                self._write(output, stream, [each for each in addends if each != stream])

    def branches(self) -> dict[int, tuple[tuple[int, ...], ...]]:
        """Return each stream's branches, each as the contractions that it ends with."""
        return {stream: tuple(each) for stream, each in self._branches.items()}

    # Which adds are one sum

    def _is_sum(self, op: Op) -> bool:
        if op.kind is not OpKind.ADD or op.output in self._apart:
            return False
        return len(self._graph.computed(op)) > 1

    def _flattened(self, op: Op) -> tuple[tuple[int, ...], set[int]]:
        """Return the addends of a sum in the order of their making, and the adds inside it."""
        addends: list[int] = []
        inner: set[int] = set()
        todo = self._graph.computed(op)
        while todo:
            value = todo.pop()
            add = self._add_behind(value)
            if add is None:
                addends.append(value)
            else:
                inner.add(add.output)
                todo.extend(self._graph.computed(add))
        return tuple(sorted(addends)), inner

    def _add_behind(self, value: int) -> Op | None:
        """Return the add that a value is the result of, if that is read for this value alone."""
        while self._graph.is_read_once(value):
            op = self._graph.producer(value)
            if op is None or self._is_sum(op):
                return op
            sides = self._graph.computed(op)
            if len(sides) != 1 or not self._graph.is_linear_step(op):
                return None
            value = sides[0]
        return None

    # Residual adds

    def _stream(self, addends: tuple[int, ...]) -> int | None:
        """Return the first addend that another one goes around."""
        once = twice = 0  # what is behind one addend at least, and behind two
        for each in addends:
            twice |= once & self._graph.ancestors[each]
            once |= self._graph.ancestors[each]
        for stream in addends:
            for past in self._history(stream):
                if twice >> past & 1 and self._is_gone_around(past, stream, addends):
                    return stream
        return None

    def _history(self, stream: int) -> Iterator[int]:
        """Yield what a value is, and what it was before each residual add."""
        value: int | None = self._graph.through(stream)
        while value is not None:
            yield value
            value = self._before.get(value)

    def _is_gone_around(self, past: int, stream: int, addends: tuple[int, ...]) -> bool:
        """Tell whether an addend other than the stream was computed from what that once was."""
        return any(
            self._graph.ancestors[each] >> past & 1 and self._graph.is_new(each, past)
            for each in addends
            if each != stream
        )

    def _write(self, output: int, stream: int, others: list[int]) -> None:
        past = self._graph.through(stream)
        number = self._stream_of.get(past, output)
        self._stream_of[output] = number
        self._before[output] = past
        normalized = self._graph.producer(past)
        if normalized is not None and normalized.kind is OpKind.NORMALIZE:
            self.post_norms += self._graph.through(normalized.inputs[0]) in self._before
        branches = [each for each in others if self._graph.is_new(each, past)]
        mixed = [each for each in branches if self._is_mixed(each)]
        if mixed:  # a token's experts: their routing weights add up to one
            self._add_branch(number, [at for each in mixed for at in self._graph.sources(each)])
        for each in branches:
            if each not in mixed:
                self._add_value(number, each, past)

    def _add_value(self, number: int, value: int, past: int) -> None:
        """Add a value to a stream: as a branch, or as all that it was summed up from before."""
        todo = [value]
        while todo:
            value = self._graph.through(todo.pop())
            if not self._graph.is_new(value, past):
                continue
            if value in self._stream_of:
                self._join(number, self._stream_of[value])
                while value in self._before:
                    value = self._before[value]
                todo.append(value)
            elif value in self._plain:
                todo.extend(self._plain[value])
            else:
                self._add_branch(number, self._graph.sources(value))

    def _add_branch(self, number: int, writers: list[int]) -> None:
        self._branches[number].append(tuple(writers))
        self.writes.update(dict.fromkeys(writers, number))

    def _join(self, number: int, other: int) -> None:
        """Count what was written to another stream as written to this one."""
        if other == number:
            return
        moved = self._branches.pop(other, [])
        self._branches[number].extend(moved)
        self.writes.update({at: number for each in moved for at in each})
        for output in [each for each, stream in self._stream_of.items() if stream == other]:
            self._stream_of[output] = number

    # Contractions that are added

    def _is_mixed(self, value: int) -> bool:
        op = self._graph.producer(self._graph.through(value))
        return op is not None and bool(self._graph.routed(op))

    def _note_shared(self, addends: tuple[int, ...]) -> None:
        """Note which contractions one sum is made of; experts of one mixture count as one."""
        apart: list[tuple[int, ...]] = []
        mixed: list[int] = []
        for each in addends:
            sources = self._graph.sources(each)
            if self._is_mixed(each):
                mixed.extend(sources)
            elif sources:
                apart.append(tuple(sources))
        apart.extend([tuple(mixed)] if mixed else [])
        chosen = [max(each, key=self._fan_in) for each in apart]
        total = sum(map(self._fan_in, chosen))
        for at, sources in enumerate(apart):
            others = (*chosen[:at], *chosen[at + 1 :])
            for own in sources:
                fan_in = total - self._fan_in(chosen[at]) + self._fan_in(own)
                if fan_in > self._fans.get(own, self._fan_in(own)):
                    self._fans[own] = fan_in
                    self.shared[own] = tuple(dict.fromkeys((own, *others)))

    def _fan_in(self, at: int) -> float:
        return max(each.fan_in for each in self._graph.flow.ops[at].weights)
