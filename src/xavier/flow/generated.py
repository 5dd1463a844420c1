"""Weights that the model computes: hypernetworks, and mixtures of kernels by a routing softmax."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from xavier._types.flow import OpKind, Origin
from xavier.flow.feeds import constant_factor
from xavier.flow.graph import Graph


@dataclass(frozen=True)
class Generated:
    """One use of a computed weight.

    Attributes:
        product: The value that the contraction of it with the signal makes.
        weight: The computed weight, one of the contraction's inputs.
    """

    product: int
    weight: int


def generators(graph: Graph) -> dict[int, list[Generated]]:
    """Return the contractions that compute a weight, by index, with what it is used for.

    A factor of a contraction of two computed tensors is a weight if it does not depend on the
    model's input, or if it is a matrix of experts weighted by a softmax. Queries and keys are
    neither.
    """
    inputs = sum(
        1 << at for at, value in enumerate(graph.flow.values) if value.origin is Origin.INPUT
    )
    found: dict[int, list[Generated]] = defaultdict(list)
    for op in graph.flow.ops:
        if op.kind is not OpKind.CONTRACT or op.weights or len(op.inputs) < 2:  # noqa: PLR2004 - a pair
            continue
        for value, other in (op.inputs[-2:], op.inputs[:-3:-1]):
            source = _source(graph, value)
            if source is None or not graph.ancestors[other] & inputs:
                continue
            data = graph.flow.ops[source].inputs
            routed = any(map(graph.is_routing, data))
            if routed or not graph.ancestors[value] & inputs:
                found[source].append(Generated(op.output, value))
    return dict(found)


def _source(graph: Graph, value: int) -> int | None:
    """Return the weighted contraction that a value is, moved, shifted or scaled."""
    while (at := graph.flow.values[value].producer) is not None:
        op = graph.flow.ops[at]
        if op.kind is OpKind.CONTRACT:
            return at if op.weights else None
        computed = graph.computed(op)
        scaled = len(op.inputs) == 1 and op.function is not None and constant_factor(op.function)
        if len(computed) != 1 or not (graph.is_linear_step(op) or scaled):
            return None
        value = computed[0]
    return None
