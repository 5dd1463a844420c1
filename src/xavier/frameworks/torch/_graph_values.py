"""The values of a run: which tensor holds what, and what made it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from xavier._types.flow import MASK, NOISE, Op, OpKind, Origin, Value, WeightUse
from xavier.frameworks.torch._calls import Call, Key, key_of, overlap
from xavier.frameworks.torch._masks import Layers, is_mask
from xavier.frameworks.torch._op_kinds import PRODUCTS, kind_of, selects
from xavier.frameworks.torch._shadows import Shadows, storage_of
from xavier.frameworks.torch._weights_followed import FollowedWeights, Lost

FUNCTIONS = (OpKind.ELEMENTWISE, OpKind.ADD, OpKind.MULTIPLY)
_FOLLOWED = (  # done to weights alone
    *(*FUNCTIONS, OpKind.MOVE, OpKind.NORMALIZE, OpKind.MEAN, OpKind.CONTRACT),
)


class GraphValues:
    """What the tensors of a run hold, as they are met.

    Attributes:
        ops: The ops so far.
        values: What they read and made.
        notes: What could not be followed.
        touched: The parameters that some op read.
        weights: The tensors that hold weights alone.
        paths: The running modules' paths, the innermost last.
    """

    def __init__(self, shadows: Shadows) -> None:
        self.ops: list[Op] = []
        self.values: list[Value] = []
        self.notes: dict[str, None] = {}
        self.touched: set[str] = set()
        self.weights = FollowedWeights(shadows)
        self.paths: list[str] = [""]
        self._shadows = shadows
        self._keys: dict[Key, int] = {}
        self._by_storage: dict[int, set[Key]] = defaultdict(set)
        self._writers: dict[int, list[int]] = {}
        self._from_input: set[int] = set()
        self._layers = Layers()

    def note(self, text: str) -> None:
        """Add a note, once."""
        self.notes.setdefault(text)

    # Values

    def add_input(self, twin: torch.Tensor, name: str) -> None:
        """Register the meta twin of one of the example's tensors."""
        self._from_input.add(storage_of(twin))
        if twin.is_floating_point() or twin.is_complex():
            index = self._add_value(Value(tuple(twin.shape), Origin.INPUT, name=name))
            self._place(key_of(twin), index)
            self._writers[storage_of(twin)] = [index]

    def add_noise(self, name: str, out: torch.Tensor, law: Callable[..., np.ndarray]) -> None:
        """Register noise, as a function of a standard normal variable."""
        shape = tuple(out.shape)
        normal = self._add_value(Value(shape, Origin.CONSTANT, name=NOISE))
        value = self._add_op(OpKind.ELEMENTWISE, name, (normal,), out, function=law)
        self._written(out, value, in_place=True)

    def value_of(self, tensor: torch.Tensor) -> int | None:
        """Return the value that a tensor holds, if it is part of the signal."""
        return self._value(tensor) if self.is_signal(tensor) else None

    def is_signal(self, tensor: torch.Tensor) -> bool:
        """Tell whether a tensor lies in a storage that holds part of the signal."""
        return storage_of(tensor) in self._writers

    def _depends_on_input(self, tensor: torch.Tensor) -> bool:
        return storage_of(tensor) in self._from_input

    def _add_value(self, value: Value) -> int:
        self.values.append(value)
        return len(self.values) - 1

    def _place(self, key: Key, value: int) -> None:
        self._keys[key] = value
        self._by_storage[key[0]].add(key)

    def _value(self, tensor: torch.Tensor) -> int:
        """Return the value a tensor holds, adding constants, weights and views as they are met."""
        key = key_of(tensor)
        if key in self._keys:
            return self._keys[key]
        if tensor in self.weights:
            index = self._of_weights(tensor)
            self._place(key, index)
            return index
        if self.is_signal(tensor):
            return self._part(tensor)
        shape = tuple(tensor.shape)
        real = self._shadows.former(tensor)
        if real is None and self._shadows.known(tensor):
            real = self._shadows.of(tensor)
        if real is None:
            return self._add_value(Value(shape, Origin.CONSTANT))
        return self._add_constant(shape, real)

    def _part(self, tensor: torch.Tensor) -> int:
        """Return a part of a storage of which parts were written to, or are views."""
        writers = tuple(dict.fromkeys(self._writers[storage_of(tensor)]))
        attributes: dict[str, Any] = {"selects": True}
        if self._layers.has(tensor) and (shares := self._layers.shares(tensor)):
            writers = tuple(shares)
            if len(shares) > 1:
                attributes["shares"] = list(shares.values())
        return self._add_op(OpKind.MOVE, "alias", writers, tensor, attributes=attributes)

    def _add_constant(self, shape: tuple[int, ...], real: torch.Tensor) -> int:
        mean, second = _moments(real)
        name = MASK if is_mask(real) else ""
        return self._add_value(Value(shape, Origin.CONSTANT, mean=mean, second=second, name=name))

    def _of_weights(self, tensor: torch.Tensor) -> int:
        """Return the value of a tensor of weights that enters the signal elementwise."""
        names = self.weights.names(tensor)
        self.touched.update(names)
        lost = self.weights.lost(tensor)
        if lost is not None and kind_of(lost.call.func) in _FOLLOWED:
            return self._computed_weight(lost, tensor)
        shape, name = tuple(tensor.shape), names[0] if names else ""
        value = self._add_value(Value(shape, Origin.PARAMETER, name=name))
        found = self.weights.map_of(tensor)
        if found is None or found.scale == 1:
            return value
        scale = found.scale
        times = lambda x: x * scale  # noqa: E731 - a formula in a line
        return self._add_op(
            OpKind.MULTIPLY, "scale", (value,), tensor, function=times, origin=Origin.PARAMETER
        )

    def _computed_weight(self, lost: Lost, tensor: torch.Tensor) -> int:
        call, kind = lost.call, kind_of(lost.call.func)
        operands, attributes = self._operands(call, kind), self._attributes(call, kind)
        if kind is OpKind.MOVE:
            attributes = {"selects": selects(call.func)}
        return self._add_op(
            kind,
            f"aten.{call.name}",
            tuple(self._value(each) for each in operands),
            tensor,
            function=call.function() if kind in FUNCTIONS else None,
            attributes=attributes,
            origin=Origin.PARAMETER,
        )

    def _add_op(  # noqa: PLR0913 - an op has that many parts
        self,
        kind: OpKind,
        name: str,
        inputs: tuple[int, ...],
        out: torch.Tensor,
        *,
        weights: tuple[WeightUse, ...] = (),
        function: Callable[..., np.ndarray] | None = None,
        attributes: dict[str, Any] | None = None,
        origin: Origin = Origin.COMPUTED,
    ) -> int:
        held = inputs and all(self.values[each].origin is Origin.CONSTANT for each in inputs)
        if held and not weights:
            origin = Origin.CONSTANT
        index = self._add_value(Value(tuple(out.shape), origin, producer=len(self.ops)))
        self.ops.append(
            Op(kind, name, self.paths[-1], inputs, index, weights, function, attributes or {})
        )
        self._place(key_of(out), index)
        return index

    def _operands(self, call: Call, kind: OpKind) -> list[torch.Tensor]:
        """Return what an op computes from; a normalization's scale and shift do not count."""
        if kind is not OpKind.NORMALIZE:
            return call.tensors
        for each in call.tensors[1:]:
            self.touched.update(self.weights.names(each))
        return call.tensors[:1]

    def _attributes(self, call: Call, kind: OpKind) -> dict[str, Any]:
        if kind is OpKind.NORMALIZE:
            scales = [names for each in call.tensors[1:] if (names := self.weights.names(each))]
            return {"scale": scales[0][0]} if scales else {}
        if kind is OpKind.MEAN:
            count = call.tensors[0].numel() / max(call.outs[0].numel(), 1)
            return {"statistic": call.name, "count": count}
        if kind is OpKind.SOFTMAX:
            shape, axis = call.tensors[0].shape, int(call.args[1])
            axis = axis - len(shape) if axis >= 0 else axis
            return {"count": shape[axis] if shape else 1, "axis": axis, "log": "log" in call.name}
        if kind is not OpKind.CONTRACT:
            return {}
        if call.name in PRODUCTS:
            start, left, _, result = PRODUCTS[call.name]
            sizes = zip(call.args[start].shape, left, strict=True)
            summed = [size for size, axis in sizes if axis not in result]
            return {"contracted": float(np.prod(summed))}
        return {"contracted": float(np.prod(call.args[1].shape[1:]))}

    def _written(self, out: torch.Tensor, value: int, *, in_place: bool) -> None:
        storage = storage_of(out)
        whole = out.numel() * out.element_size() >= out.untyped_storage().nbytes()
        known = [] if whole or not in_place else self._writers.get(storage, [])
        if whole or not in_place:
            self._layers.drop(out)
        else:
            others = [each for each in known if each != value]
            before = 0 if self._layers.has(out) else self._whole(out, others)
            self._layers.write(out, value, before)
        if in_place:
            own = key_of(out)
            for key in [key for key in self._by_storage.get(storage, ()) if overlap(key, own)]:
                self._keys.pop(key, None)
            self._place(own, value)
        self._writers[storage] = [*known, value]

    def _whole(self, tensor: torch.Tensor, writers: Sequence[int]) -> int:
        """Return the value that lay in a storage when the first part of it was written to."""
        if writers:
            return writers[0]
        former = self._shadows.former_whole(tensor)
        count = tensor.untyped_storage().nbytes() // tensor.element_size()
        if former is None:
            return self._add_value(Value((count,), Origin.CONSTANT, second=0.0))
        return self._add_constant((count,), former)


def _moments(tensor: torch.Tensor) -> tuple[float, float]:
    values = tensor.double() if not tensor.is_complex() else tensor.abs().double()
    values = values[torch.isfinite(values)]  # a mask's -inf removes, it does not add
    if values.numel() == 0:
        return 0.0, 0.0
    return float(values.mean()), float((values * values).mean())
