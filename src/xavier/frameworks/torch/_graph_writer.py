"""Writes down the graph of ops and values while a model runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from xavier._errors import ActivationError
from xavier._types.flow import Op, OpKind, Origin, WeightUse
from xavier._types.plan import Region
from xavier.frameworks.torch._blocks import BlockTracker
from xavier.frameworks.torch._calls import Call, is_tensor, key_of
from xavier.frameworks.torch._contractions import Reading, addend, reading_of, steps, uses
from xavier.frameworks.torch._graph_values import FUNCTIONS, GraphValues
from xavier.frameworks.torch._masks import choice_of, share_of, written_into
from xavier.frameworks.torch._op_kinds import kind_of, selects
from xavier.frameworks.torch._shadows import Shadows, storage_of
from xavier.frameworks.torch._weight_maps import Piece, ranges


class GraphWriter(GraphValues):
    """The graph of a run, op by op.

    Attributes:
        through: The operators between a parameter and the contraction that they keep it from.
    """

    def __init__(self, shadows: Shadows) -> None:
        super().__init__(shadows)
        self.through: dict[str, str] = {}
        self._blocks = BlockTracker()
        self._pieces: dict[tuple[int, int], tuple[Reading, Piece]] = {}
        self._runnable: set[tuple[object, ...]] = set()

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
        plus = lambda x, y: x + beta * y  # noqa: E731 - a formula in a line
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
                self.note(f"`{self.paths[-1] or 'forward'}`: {told}")
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
        if kind not in FUNCTIONS or key in self._runnable:
            return True
        try:
            with np.errstate(all="ignore"):
                found = call.function()(*(np.full(2, 0.5) for _ in call.tensors))
        except ActivationError as error:
            self.note(f"`{self.paths[-1]}`: {error.message}; it counts as unit noise")
            return False
        if found.shape != (2,):
            told = f"{call.func} gives {found.shape} for (2,); it counts as unit noise"
            self.note(f"`{self.paths[-1] or 'forward'}`: {told}")
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
            function=call.function() if kind in FUNCTIONS else None,
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
        move = lambda tensor: (  # noqa: E731 - a formula in a line
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
