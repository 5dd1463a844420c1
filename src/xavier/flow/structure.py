"""The structure of a flow: residual streams, shared sums, recurrences, heads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

from xavier._types.flow import Flow, Op, OpKind
from xavier.flow.graph import CONTRACTS, Graph
from xavier.flow.sums import Sums


@dataclass
class Structure:
    """Facts about each weighted op of a flow, by the op's index.

    Attributes:
        writes: For the last contraction of a branch that is added to a stream: the stream.
        branches: For each stream, all branches that are added to it, each as its contractions.
        shared: For contractions whose results are added: itself, and one for each other addend.
        recurrent: Contractions that multiply a state that comes back.
        recurrent_sums: Contractions that are added to one of those.
        heads: Contractions after which nothing is contracted or bent.
        first: Contractions that no weight stands before.
        scores: Lookups that are added to attention scores.
        streams: Outputs of residual adds, and of the adds that those are made of.
        post_norms: How many residual adds go around a branch from a stream that was normalized
            right after the add before.
        scans: For the sums of an elementwise recurrence `h = p * h + b` that is unrolled over
            a sequence: the inputs p and b of its first step, by the sum's output.
    """

    writes: dict[int, int] = field(default_factory=dict)
    branches: dict[int, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    shared: dict[int, tuple[int, ...]] = field(default_factory=dict)
    recurrent: set[int] = field(default_factory=set)
    recurrent_sums: set[int] = field(default_factory=set)
    heads: set[int] = field(default_factory=set)
    first: set[int] = field(default_factory=set)
    scores: set[int] = field(default_factory=set)
    streams: set[int] = field(default_factory=set)
    post_norms: int = 0
    scans: dict[int, tuple[int, int]] = field(default_factory=dict)

    def count_of_writes(self, at: int) -> int:
        """Return how many branches are added to the stream that an op writes to; 0 if to none."""
        return len(self.branches[self.writes[at]]) if at in self.writes else 0

    def without(self, silent: frozenset[int]) -> Structure:
        """Return the structure without ops that add nothing to a sum: their weights stay zero."""
        heard = {
            stream: tuple(each for each in branches if not each or not silent.issuperset(each))
            for stream, branches in self.branches.items()
        }
        shared = {
            at: tuple(each for each in together if each == at or each not in silent)
            for at, together in self.shared.items()
        }
        return replace(self, branches=heard, shared=shared)


def structure(flow: Flow) -> Structure:
    """Return the structure of a flow."""
    graph = Graph(flow)
    found = Structure()
    _find_scans(graph, found)
    summed = Sums(graph, frozenset(found.scans))
    found.writes, found.branches = summed.writes, summed.branches()
    found.shared, found.streams = summed.shared, summed.streams
    found.post_norms = summed.post_norms
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
        if made is None or made.kind is not OpKind.MULTIPLY or len(made.inputs) != 2:  # noqa: PLR2004 - a pair
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
    for together in found.shared.values():
        if found.recurrent.intersection(together):
            found.recurrent_sums.update(together)
    found.recurrent_sums -= found.recurrent


def _find_ends(graph: Graph, found: Structure) -> None:
    feeding, weights_before = 0, _lookups(graph)
    for at, op in enumerate(graph.flow.ops):
        if op.kind not in CONTRACTS:
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
