"""Writes down the graph of ops and values while a model runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from xavier._errors import ActivationError
from xavier._types.flow import MASK, NOISE, Op, OpKind, Origin, Value, WeightUse
from xavier._types.plan import Region
from xavier.frameworks.torch._blocks import BlockTracker
from xavier.frameworks.torch._calls import Call, Key, is_tensor, key_of, overlap
from xavier.frameworks.torch._contractions import Reading, addend, reading_of, steps, uses
from xavier.frameworks.torch._masks import Layers, choice_of, is_mask, share_of, written_into
from xavier.frameworks.torch._op_kinds import PRODUCTS, kind_of, selects
from xavier.frameworks.torch._shadows import Shadows, storage_of
from xavier.frameworks.torch._weight_maps import Piece, ranges
from xavier.frameworks.torch._weights_followed import FollowedWeights, Lost

_FUNCTIONS = (OpKind.ELEMENTWISE, OpKind.ADD, OpKind.MULTIPLY)
_FOLLOWED = (  # done to weights alone
    *(*_FUNCTIONS, OpKind.MOVE, OpKind.NORMALIZE, OpKind.MEAN, OpKind.CONTRACT),
)


class GraphWriter:
    """The graph of a run, op by op.

    Attributes:
        ops: The ops so far.
        values: What they read and made.
        notes: What could not be followed.
        touched: The parameters that some op read.
        through: The operators between a parameter and the contraction that they keep it from.
        weights: The tensors that hold weights alone.
        paths: The running modules' paths, the innermost last.
    """

    def __init__(self, shadows: Shadows) -> None:
        self.ops: list[Op] = []
        self.values: list[Value] = []
        self.notes: dict[str, None] = {}
        self.touched: set[str] = set()
        self.through: dict[str, str] = {}
        self.weights = FollowedWeights(shadows)
        self.paths: list[str] = [""]
        self._shadows = shadows
        self._blocks = BlockTracker()
        self._pieces: dict[tuple[int, int], tuple[Reading, Piece]] = {}
        self._keys: dict[Key, int] = {}
        self._by_storage: dict[int, set[Key]] = defaultdict(set)
        self._writers: dict[int, list[int]] = {}
        self._from_input: set[int] = set()
        self._layers = Layers()
        self._runnable: set[tuple[object, ...]] = set()

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
        times = lambda x: x * scale  # noqa: E731
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
            function=call.function() if kind in _FUNCTIONS else None,
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

    # Ops

    def record(self, call: Call) -> None:
        """Write down one call of an operator."""
        if not call.outs:
            return
        signal = any(map(self.is_signal, call.tensors))
        if signal or any(map(self._depends_on_input, call.tensors)):
            self._from_input.update(storage_of(each) for each in call.outs)
        if call.func.is_view and not call.mutated and not self.weights.any(call.tensors):
            if self.is_signal(call.tensors[0]):
                self._move(call)
            return
        reading = reading_of(call, self.weights, self._depends_on_input)
        if reading is not None:
            self._contraction(call, reading)
        elif signal:
            self._signal(call)
        else:
            for each in call.mutated:
                for name in self.weights.names(each):
                    self.note(f"`{name}`: the model writes to it while it runs")
            self.weights.follow(call)

    def _contraction(self, call: Call, reading: Reading) -> None:
        found, pieces, lost = uses(reading, self.weights.space)
        for name in lost:
            self.note(f"`{name}`: which stored axis plays which part was lost; all of it is one")
        self.touched.update(use.parameter for use in found)
        for each in call.tensors:
            self.touched.update(self.weights.names(each))
        inputs = tuple(self._value(each) for each in reading.data)
        op, out = len(self.ops), call.outs[0]
        value = self._add_op(
            OpKind.CONTRACT if inputs else OpKind.LOOKUP,
            f"aten.{call.name}",
            inputs,
            out,
            weights=tuple(_scaled(use, call) for use in found),
            attributes={"batched": len(reading.batched), **steps(call)},
        )
        self._read(inputs)
        for at, piece in enumerate(pieces):
            self._pieces[op, at] = (reading, piece)
        if reading.output_axis is not None and len(found) == 1:
            self._blocks.start(op, value, out.shape, reading.output_axis)
        bias = addend(call)
        if bias is not None:
            value = self._biased(value, bias, call)
        self._writers[storage_of(out)] = [value]

    def _biased(self, value: int, bias: torch.Tensor, call: Call) -> int:
        """Write the sum that is part of a contraction as an op of its own."""
        beta = float(call.kwargs.get("beta", 1))
        inputs, out = (value, self._value(bias)), call.outs[0]
        plus = lambda x, y: x + beta * y  # noqa: E731
        total = self._add_op(OpKind.ADD, "aten.add", inputs, out, function=plus)
        sources = [each for each in inputs if self.values[each].origin is Origin.COMPUTED]
        if not self._blocks.carry(sources, total, out.shape):
            self._read(inputs)
        return total

    def _signal(self, call: Call) -> None:
        kind = self._signal_kind(call)
        if call.name in ("zero", "fill") and call.mutated:
            self._filled(call)
        elif kind is OpKind.MOVE:
            self._move(call)
        else:
            if kind is OpKind.OPAQUE:
                told = f"{call.func} is not understood; it counts as unit noise"
                self.note(f"`{self.paths[-1]}`: {told}")
            if kind is OpKind.CONTRACT:
                self._note_lost(call)
            self._computation(call, kind if self._can_be_run(call, kind) else OpKind.OPAQUE)
        for out in call.outs:
            value = self._keys.get(key_of(out))
            if value is not None and not (call.func.is_view and not call.mutated):
                self._written(out, value, in_place=bool(call.mutated))

    def _filled(self, call: Call) -> None:
        """Write down that what a tensor held is gone: a number takes its place."""
        out, fill = call.outs[0], [*call.args[1:], 0.0][0]
        if is_tensor(fill) and (self.is_signal(fill) or fill in self.weights):
            value = self._add_op(OpKind.MOVE, "aten.fill", (self._value(fill),), out)
        else:
            real = self.weights.real_if_known(fill) if is_tensor(fill) else torch.tensor(fill)
            unknown = real.is_meta
            value = self._add_constant(tuple(out.shape), torch.zeros(1) if unknown else real)
        self._place(key_of(out), value)

    def _signal_kind(self, call: Call) -> OpKind:
        choice = choice_of(call)
        if choice is not None and not self.is_signal(choice.mask):
            known = not self._depends_on_input(choice.mask) and self._shadows.known(choice.mask)
            # A mask of the data's keeps the one or the other; so does one that removes.
            if not known or choice.removes(self.weights.real_if_known):
                return OpKind.MOVE
            return OpKind.ELEMENTWISE
        return kind_of(call.func)

    def _can_be_run(self, call: Call, kind: OpKind) -> bool:
        """Tell whether an op's function can be run on numbers; else note it."""
        key = (call.func, *(each.dtype for each in call.tensors))
        if kind not in _FUNCTIONS or key in self._runnable:
            return True
        try:
            with np.errstate(all="ignore"):
                found = call.function()(*(np.full(2, 0.5) for _ in call.tensors))
        except ActivationError as error:
            self.note(f"`{self.paths[-1]}`: {error.message}; it counts as unit noise")
            return False
        if found.shape != (2,):
            told = f"{call.func} gives {found.shape} for (2,); it counts as unit noise"
            self.note(f"`{self.paths[-1]}`: {told}")
            return False
        self._runnable.add(key)
        return True

    def _note_lost(self, call: Call) -> None:
        for each in call.tensors:
            lost = self.weights.lost(each)
            for name in lost.names if lost is not None else ():
                done = ", ".join(lost.done if lost is not None else ())
                self.through.setdefault(name, done)
                self.note(f"`{name}`: contracted through a function of it ({done}); it has no fans")

    def _computation(self, call: Call, kind: OpKind) -> None:
        inputs = tuple(self._value(each) for each in self._operands(call, kind))
        value = self._add_op(
            kind,
            f"aten.{call.name}",
            inputs,
            call.outs[0],
            function=call.function() if kind in _FUNCTIONS else None,
            attributes=self._attributes(call, kind),
        )
        for extra in call.outs[1:]:
            if extra.is_floating_point() and kind is not OpKind.NORMALIZE:
                self._place(key_of(extra), value)
                self._writers[storage_of(extra)] = [value]
        sources = [each for each in inputs if self.values[each].origin is Origin.COMPUTED]
        if kind is OpKind.ADD and self._blocks.carry(sources, value, call.outs[0].shape):
            return
        self._read(inputs)

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

    def _move(self, call: Call) -> None:
        copied = call.name == "copy"
        read = call.tensors[1:] if copied else call.tensors  # the first is overwritten
        sources = [each for each in read if copied or self.is_signal(each) or each in self.weights]
        inputs = tuple(dict.fromkeys(self._value(each) for each in sources))
        attributes: dict[str, Any] = {}
        new = written_into(call)
        if new is not None and not self._chosen_by_data(call, new):
            share = share_of(call, new, self.weights.real_if_known)
            inputs = (self._value(call.args[0]), self._value(new))
            if share == 1:
                inputs = inputs[1:]
            else:
                attributes["shares"] = [1 - share, share]
        fewer = any(out.numel() < each.numel() for out in call.outs for each in sources[:1])
        attributes["selects"] = selects(call.func) or fewer
        values = []
        parts = len(call.outs) if len({out.shape for out in call.outs}) == 1 else 1
        for at, out in enumerate(call.outs):
            known = self._keys.get(key_of(out))
            if known is None or not call.func.is_view:
                name = f"aten.{call.name}"
                own = {**attributes, "part": (at, parts)} if parts > 1 else attributes
                known = self._add_op(OpKind.MOVE, name, inputs, out, attributes=own)
                self._writers.setdefault(storage_of(out), [known])
            values.append(known)
        copies = call.name in ("_to_copy", "clone", "detach", "alias")
        move = lambda tensor: (  # noqa: E731
            tensor
            if copies
            else tensor.broadcast_to(call.outs[0].shape)
            if copied
            else call.again(sources[0], tensor, self.weights.real_if_known)
        )
        if not (len(inputs) == 1 and self._blocks.move(inputs[0], values, move)):
            self._read(inputs)

    def _chosen_by_data(self, call: Call, new: torch.Tensor) -> bool:
        """Tell whether where a call writes depends on the input, such as a routed token's row."""
        given = (call.args[0], new)
        places = [each for each in call.tensors if not any(each is own for own in given)]
        return any(map(self._depends_on_input, places)) or any(map(self.is_signal, places))

    def _read(self, values: Sequence[int]) -> None:
        for each in values:
            self._blocks.read(each)

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

    # The end

    def finish(self, outputs: Sequence[int]) -> tuple[Op, ...]:
        """Split packed weights into their blocks and return all ops."""
        self._read(outputs)
        return tuple(self._split(at, op) for at, op in enumerate(self.ops))

    def _split(self, at: int, op: Op) -> Op:
        blocks = self._blocks.blocks(at)
        if not blocks or len(op.weights) != 1:
            return op
        reading, piece = self._pieces[at, 0]
        use = op.weights[0]
        walks = piece.rows[reading.kept[0]]
        regions = [_block_region(walks, block) for block in blocks]
        if any(each is None or use.region.axis not in (None, each.axis) for each in regions):
            return op
        total = sum(map(len, blocks))
        parts = tuple(
            replace(use, region=region, fan_out=use.fan_out * len(block) / total)
            for region, block in zip(regions, blocks, strict=True)
            if region is not None
        )
        return replace(op, weights=parts)


def _block_region(walks: Mapping[int, np.ndarray], block: np.ndarray) -> Region | None:
    """Return the region of a block of outputs; None if it is cut along more than one stored axis.

    Args:
        walks: For each stored axis, the coordinate of every output on it. Stacked experts that
            are contracted at once walk two: expert and unit.
        block: The outputs.
    """
    inside = {axis: np.unique(at[block]) for axis, at in walks.items()}
    if int(np.prod([len(each) for each in inside.values()])) != len(block):
        return None
    cut = [axis for axis, at in walks.items() if len(inside[axis]) < len(np.unique(at))]
    return Region(cut[0], ranges(inside[cut[0]])) if len(cut) == 1 else None


def _scaled(use: WeightUse, call: Call) -> WeightUse:
    """Return a use with the constant that the contraction itself multiplies by."""
    alpha = float(call.kwargs.get("alpha", 1))
    return use if alpha == 1 else replace(use, scale=use.scale * alpha)


def _moments(tensor: torch.Tensor) -> tuple[float, float]:
    values = tensor.double() if not tensor.is_complex() else tensor.abs().double()
    values = values[torch.isfinite(values)]  # a mask's -inf removes, it does not add
    if values.numel() == 0:
        return 0.0, 0.0
    return float(values.mean()), float((values * values).mean())
