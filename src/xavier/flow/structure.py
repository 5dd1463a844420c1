"""The structure of a flow: who feeds whom, residual streams, recurrences, heads.

Ancestors are bit sets held in Python integers, so that questions about paths stay cheap on
graphs of ten thousand ops.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from xavier._types.flow import Flow, Op, OpKind, Origin

_CONTRACTS = (OpKind.CONTRACT, OpKind.ATTENTION)


@dataclass
class Structure:
    """Facts about each weighted op of a flow, by the op's index.

    Attributes:
        writes: For the last contraction before a residual add: how many adds its stream has.
        shared: For contractions whose results are added: all of them, itself included.
        recurrent: Contractions that multiply a state that comes back.
        recurrent_sums: Contractions that are added to one of those.
        heads: Contractions after which nothing is contracted or bent.
        first: Contractions that no weight stands before.
        scores: Lookups that are added to attention scores.
        streams: Outputs of residual adds.
        post_norms: How many residual adds go around a branch from a stream that was normalized
            right after the add before.
        scans: For the sums of an elementwise recurrence `h = p * h + b` that is unrolled over
            a sequence: the inputs p and b of its first step, by the sum's output.
    """

    writes: dict[int, int] = field(default_factory=dict)
    shared: dict[int, tuple[int, ...]] = field(default_factory=dict)
    recurrent: set[int] = field(default_factory=set)
    recurrent_sums: set[int] = field(default_factory=set)
    heads: set[int] = field(default_factory=set)
    first: set[int] = field(default_factory=set)
    scores: set[int] = field(default_factory=set)
    streams: set[int] = field(default_factory=set)
    post_norms: int = 0
    scans: dict[int, tuple[int, int]] = field(default_factory=dict)


class Graph:
    """A flow with its arrows reversed as well: consumers and ancestors of every value."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.consumers: dict[int, list[int]] = defaultdict(list)
        for at, op in enumerate(flow.ops):
            for value in op.inputs:
                self.consumers[value].append(at)
        self.ancestors: list[int] = [1 << at for at in range(len(flow.values))]
        for op in flow.ops:
            mask = self.ancestors[op.output]
            for value in op.inputs:
                mask |= self.ancestors[value]
            self.ancestors[op.output] = mask
        self.weighted = [at for at, op in enumerate(flow.ops) if op.weights]
        self.contracted = 0
        for at in self.weighted:
            if flow.ops[at].kind is OpKind.CONTRACT:
                self.contracted |= 1 << flow.ops[at].output

    def computed(self, op: Op) -> list[int]:
        """Return an op's inputs that are part of the signal."""
        values = self.flow.values
        return [v for v in op.inputs if values[v].origin in (Origin.COMPUTED, Origin.INPUT)]

    def producer(self, value: int) -> Op | None:
        """Return the op that made a value."""
        at = self.flow.values[value].producer
        return None if at is None else self.flow.ops[at]

    def is_linear_step(self, op: Op) -> bool:
        """Tell whether an op hands one signal on: moved, plus a bias, or times a constant."""
        if op.kind is OpKind.MOVE:
            return True
        return op.kind in (OpKind.ADD, OpKind.MULTIPLY) and len(self.computed(op)) == 1

    def sources(self, value: int) -> list[int]:
        """Return the weighted contractions that a value is the unbent output of."""
        found: list[int] = []
        seen: set[int] = set()
        todo = [value]
        while todo:
            at = todo.pop()
            if at in seen:
                continue
            seen.add(at)
            index = self.flow.values[at].producer
            if index is None:
                continue
            op = self.flow.ops[index]
            if op.kind is OpKind.CONTRACT and op.weights:
                found.append(index)
            elif self.is_linear_step(op) or op.attributes.get("statistic") == "sum":
                todo.extend(self.computed(op))
            elif op.kind is OpKind.MULTIPLY:  # an expert's output times its routing weight
                sides = self.computed(op)
                if any(map(self.is_routing, sides)):
                    todo.extend(each for each in sides if not self.is_routing(each))
        return found

    def is_routing(self, value: int) -> bool:
        """Tell whether a value is a softmax's output, moved or renormalized."""
        for _ in range(12):
            op = self.producer(value)
            if op is None or op.weights:
                return False
            if op.kind is OpKind.SOFTMAX:
                return True
            computed = self.computed(op)
            if not computed or op.kind in _CONTRACTS:
                return False
            value = computed[0]
        return False


def structure(flow: Flow) -> Structure:
    """Return the structure of a flow."""
    graph = Graph(flow)
    found = Structure()
    _find_scans(graph, found)
    _find_sums(graph, found)
    _find_recurrences(graph, found)
    _find_ends(graph, found)
    _find_scores(graph, found)
    return found


@dataclass(frozen=True)
class _Step:
    """One sum `p * h + b` that may be a step of a scan."""

    kept: int  # p
    state: int  # h, before it was moved
    added: int  # b
    source: int  # what p is a part of, or is itself


def _find_scans(graph: Graph, found: Structure) -> None:
    """Find elementwise recurrences: sums that multiply one another by parts of one tensor."""
    steps: dict[int, list[_Step]] = {}
    first: dict[int, tuple[int, int]] = {}
    for op in graph.flow.ops:
        steps[op.output] = list(_steps(graph, op))
        for step in steps[op.output]:
            for before in steps.get(step.state, ()):
                if before.source == step.source:
                    begin = first.setdefault(step.state, (before.kept, before.added))
                    first[op.output] = begin
    found.scans.update(first)


def _steps(graph: Graph, op: Op) -> Iterator[_Step]:
    if op.kind is not OpKind.ADD or len(op.inputs) != 2:  # noqa: PLR2004 - a sum of two
        return
    for product, added in (op.inputs, op.inputs[::-1]):
        made = graph.producer(_unmoved(graph, product))
        if made is None or made.kind is not OpKind.MULTIPLY or len(made.inputs) != 2:  # noqa: PLR2004
            continue
        for kept, state in (made.inputs, made.inputs[::-1]):
            yield _Step(kept, _unmoved(graph, state), added, _unmoved(graph, kept))


def _unmoved(graph: Graph, value: int) -> int:
    """Return what a value is, before its elements were moved or some of them selected."""
    while (op := graph.producer(value)) is not None and op.kind is OpKind.MOVE:
        if len(op.inputs) != 1:
            break
        value = op.inputs[0]
    return value


def _find_sums(graph: Graph, found: Structure) -> None:
    """Tell residual adds from sums of contractions, and count each stream's writes."""
    stream_of: dict[int, int] = {}  # a residual add's output: its stream's number
    before: dict[int, int] = {}  # a residual add's output: the stream's value before it
    writers: list[tuple[int, int]] = []
    adds: dict[int, int] = defaultdict(int)
    for op in graph.flow.ops:
        sides = graph.computed(op)
        if op.output in found.scans:
            continue
        if op.kind is not OpKind.ADD or len(sides) != 2:  # noqa: PLR2004 - a sum of two
            continue
        skip = _skip(graph, sides, before)
        if skip is None:
            _note_shared(graph, sides, found)
            continue
        stream, branch = skip
        past = _through_moves(graph, stream)
        number = stream_of.get(past, len(adds))
        stream_of[op.output] = number
        before[op.output] = past
        adds[number] += 1
        found.streams.add(op.output)
        normalized = graph.producer(past)
        if normalized is not None and normalized.kind is OpKind.NORMALIZE:
            found.post_norms += _through_moves(graph, normalized.inputs[0]) in before
        writers.extend((writer, number) for writer in graph.sources(branch))
    for writer, number in writers:
        found.writes[writer] = adds[number]


def _through_moves(graph: Graph, value: int) -> int:
    while (op := graph.producer(value)) is not None and graph.is_linear_step(op):
        value = graph.computed(op)[0] if graph.computed(op) else value
        if not graph.computed(op):
            break
    return value


def _skip(graph: Graph, sides: list[int], before: dict[int, int]) -> tuple[int, int] | None:
    """Return (stream, branch) if one side of a sum goes around what the other went through."""
    for stream, branch in (sides, sides[::-1]):
        value: int | None = _through_moves(graph, stream)
        while value is not None:
            inside = graph.ancestors[branch] >> value & 1
            new = graph.ancestors[branch] & graph.contracted & ~graph.ancestors[value]
            if inside and new:
                return stream, branch
            value = before.get(value)
    return None


def _note_shared(graph: Graph, sides: list[int], found: Structure) -> None:
    left, right = graph.sources(sides[0]), graph.sources(sides[1])
    if not left or not right:
        return
    together = tuple(dict.fromkeys((*left, *right)))
    members = tuple(
        dict.fromkeys(each for at in together for each in (*found.shared.get(at, ()), at))
    )
    for at in members:
        found.shared[at] = members


def _find_recurrences(graph: Graph, found: Structure) -> None:
    uses: dict[str, list[int]] = defaultdict(list)
    for at in graph.weighted:
        for name in {use.parameter for use in graph.flow.ops[at].weights}:
            uses[name].append(at)
    for ops in uses.values():
        comes_back = any(
            graph.ancestors[graph.flow.ops[later].inputs[0]] >> graph.flow.ops[earlier].output & 1
            for earlier, later in pairwise(ops)
            if graph.flow.ops[later].inputs
        )
        if comes_back and any(at in found.shared for at in ops):
            found.recurrent.update(ops)
    for at in list(found.recurrent):
        found.recurrent_sums.update(found.shared.get(at, ()))
    found.recurrent_sums -= found.recurrent


def _find_ends(graph: Graph, found: Structure) -> None:
    feeding, weights_before = 0, _lookups(graph)
    for at, op in enumerate(graph.flow.ops):
        if op.kind not in _CONTRACTS:
            continue
        mask = 0
        for value in op.inputs:
            mask |= graph.ancestors[value]
        feeding |= mask
        if op.weights and not mask & weights_before:
            found.first.add(at)
        if op.weights:
            weights_before |= 1 << op.output
    for at in graph.weighted:
        op = graph.flow.ops[at]
        last = not feeding >> op.output & 1
        if op.kind is OpKind.CONTRACT and last and _is_unbent(graph, op.output):
            found.heads.add(at)


def _lookups(graph: Graph) -> int:
    mask = 0
    for at in graph.weighted:
        if graph.flow.ops[at].kind is OpKind.LOOKUP:
            mask |= 1 << graph.flow.ops[at].output
    return mask


def _is_unbent(graph: Graph, value: int) -> bool:
    """Tell whether a value reaches the model's output through linear steps or a softmax."""
    todo, seen = [value], set()
    while todo:
        at = todo.pop()
        if at in graph.flow.outputs:
            return True
        if at in seen:
            continue
        seen.add(at)
        for index in graph.consumers[at]:
            op = graph.flow.ops[index]
            if graph.is_linear_step(op) or op.kind in (OpKind.SOFTMAX, OpKind.MEAN, OpKind.POOL):
                todo.append(op.output)
    return False


def _find_scores(graph: Graph, found: Structure) -> None:
    for at in graph.weighted:
        op = graph.flow.ops[at]
        if op.kind is not OpKind.LOOKUP:
            continue
        todo, seen = [op.output], set()
        while todo:
            value = todo.pop()
            if value in seen:
                continue
            seen.add(value)
            for index in graph.consumers[value]:
                each = graph.flow.ops[index]
                if each.kind is OpKind.SOFTMAX:
                    found.scores.add(at)
                elif each.kind in (OpKind.MOVE, OpKind.ADD) and each.output not in found.streams:
                    todo.append(each.output)
