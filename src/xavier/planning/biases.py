"""Biases by use: parameters that are added to what contractions give, one a feature."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan, prod, sqrt

from xavier._types.flow import Flow, Op, OpKind, Origin, Parameter
from xavier.planning.sites import region_shape

_ROUNDED = 1.001  # of the bound, which a low precision rounds
_SPREAD = sqrt(4 / 45)  # the standard deviation of u**2, with u ~ U(-1, 1)
_DEVIATIONS = 5.0


def biases(flow: Flow) -> Mapping[str, tuple[float, ...]]:
    """Return the parameters that are used as biases and in no other way.

    Returns:
        By name the fan_in of each contraction whose outputs a bias is added to.
    """
    shapes = {each.name: each.shape for each in flow.parameters}
    walk = _Walk(flow, shapes)
    found: dict[str, set[float]] = defaultdict(set)
    other: set[str] = set()
    for op in flow.ops:
        for at, value in enumerate(op.inputs):
            held = flow.values[value]
            if held.origin is not Origin.PARAMETER or not held.name:
                continue
            fans = walk.added(op, at) if prod(held.shape) == prod(shapes[held.name]) else None
            if fans is None:
                other.add(held.name)
            else:
                found[held.name] |= fans
    other |= {use.parameter for op in flow.ops for use in op.weights}
    return {name: tuple(sorted(fans)) for name, fans in found.items() if name not in other}


@dataclass(frozen=True)
class _Walk:
    flow: Flow
    shapes: Mapping[str, tuple[int, ...]]

    def added(self, op: Op, at: int) -> set[float] | None:
        """Return the fan_in of what an op adds an input to; None if it is no sum of that kind."""
        if op.kind is not OpKind.ADD or len(op.inputs) != 2:  # noqa: PLR2004 - a sum of two
            return None
        size = prod(self.flow.values[op.inputs[at]].shape)
        return self._contracted(op.inputs[1 - at], size)

    def _contracted(self, value: int, size: int) -> set[float] | None:
        found: set[float] = set()
        todo, seen = [value], set[int]()
        while todo:
            each = todo.pop()
            if each in seen:
                continue
            seen.add(each)
            made = self.flow.values[each]
            if made.origin is Origin.PARAMETER:
                continue  # another bias
            if made.producer is None:
                return None
            op = self.flow.ops[made.producer]
            if op.kind is OpKind.CONTRACT and op.weights and size in self._features(op):
                found.update(use.fan_in for use in op.weights)
            elif op.kind is OpKind.ADD or (op.kind is OpKind.MOVE and not _selects(op)):
                todo.extend(op.inputs)
            else:
                return None
        return found or None

    def _features(self, op: Op) -> set[int]:
        """Return how many features a contraction makes: of one batched matrix, and of all."""
        kept = stacked = 0
        for use in op.weights:
            shape = region_shape(self.shapes[use.parameter], use.region)
            own = prod(shape[axis] for axis in use.kept)
            kept += own
            stacked += own * prod(shape[axis] for axis in use.batched)
        grouped = self.flow.values[op.output].shape[1:2] if "convolution" in op.name else ()
        return {kept, stacked, *grouped}


def _selects(op: Op) -> bool:
    return bool(op.attributes.get("selects"))


def within_default(parameter: Parameter, fans: tuple[float, ...]) -> bool:
    """Tell whether a bias holds no more than the frameworks' own draw, U(+-1/sqrt(fan_in))."""
    largest = float(parameter.facts.get("largest", float("nan")))
    constant = parameter.facts.get("constant") is not None and prod(parameter.shape) > 1
    return not constant and any(largest <= _bound(fan) for fan in fans)


def like_default(parameter: Parameter, fans: tuple[float, ...]) -> bool:
    """Tell whether a bias is distributed as the frameworks' own draw is."""
    second = float(parameter.facts.get("second", float("nan")))
    if isnan(second) or not within_default(parameter, fans):
        return False
    off = _DEVIATIONS * _SPREAD / sqrt(prod(parameter.shape))
    return any(abs(second * fan - 1 / 3) < off for fan in fans)


def _bound(fan: float) -> float:
    return _ROUNDED / sqrt(max(fan, 1.0))
