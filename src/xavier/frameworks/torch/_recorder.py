"""A dispatch mode that writes down what a model computes while it runs on meta tensors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

from xavier._types.flow import Op, OpKind, Origin, Value, WeightUse
from xavier._types.plan import Region
from xavier.frameworks.torch._blocks import BlockTracker
from xavier.frameworks.torch._contractions import (
    Reading,
    convolution_reading,
    lookup_reading,
    product_reading,
    uses,
)
from xavier.frameworks.torch._op_kinds import PRODUCTS, base_name, kind_of, selects
from xavier.frameworks.torch._shadows import Shadows, storage_of
from xavier.frameworks.torch._weight_maps import (
    AddressSpace,
    LostAxesError,
    Piece,
    WeightMap,
    ranges,
)

_LIKE = ("zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like")
_NEW = ("new_zeros", "new_ones", "new_full", "new_empty", "new_empty_strided")
_CHOOSES = ("topk", "sort", "argmax", "argmin", "argsort", "multinomial", "max", "min", "kthvalue")

Key = tuple[int, int, tuple[int, ...], tuple[int, ...]]


def key_of(tensor: torch.Tensor) -> Key:
    """Return what identifies a tensor's elements: storage, offset, shape and strides."""
    return (storage_of(tensor), tensor.storage_offset(), tuple(tensor.shape), tensor.stride())


class Recorder(TorchDispatchMode):
    """Runs every operator on meta tensors and keeps the graph of ops and values."""

    def __init__(self) -> None:
        super().__init__()
        self.shadows = Shadows()
        self.space = AddressSpace()
        self.ops: list[Op] = []
        self.values: list[Value] = []
        self.notes: dict[str, None] = {}
        self.touched: set[str] = set()
        self.paths: list[str] = [""]
        self.paused = 0
        self._blocks = BlockTracker()
        self._pieces: dict[tuple[int, int], tuple[Reading, Piece]] = {}
        self._maps: dict[Key, WeightMap] = {}
        self._lost: dict[Key, tuple[str, ...]] = {}
        self._keys: dict[Key, int] = {}
        self._by_storage: dict[int, set[Key]] = defaultdict(set)
        self._writers: dict[int, list[int]] = {}
        self._from_input: set[int] = set()

    # Sources

    def add_weight(self, name: str, tensor: torch.Tensor) -> None:
        """Register a meta tensor as parameter `name`."""
        self.shadows.keep(tensor)
        self._maps[key_of(tensor)] = self.space.add(name, tensor.shape)

    def add_input(self, tensor: torch.Tensor, name: str) -> torch.Tensor:
        """Register one of the example's tensors; return its meta twin."""
        twin = self.shadows.enter(tensor)
        self._from_input.add(storage_of(twin))
        if twin.is_floating_point() or twin.is_complex():
            self._name(twin, Value(tuple(twin.shape), Origin.INPUT, name=name))
        return twin

    def value_of(self, tensor: torch.Tensor) -> int | None:
        """Return the value that a tensor of the finished run holds, if it was followed."""
        return self._value(tensor) if self._is_value(tensor) else None

    # The run

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        args, kwargs = tree_map_only(torch.Tensor, self.shadows.enter, (args, kwargs or {}))
        if "device" in kwargs:
            kwargs = {**kwargs, "device": torch.device("meta")}
        tensors = [each for each in tree_flatten((args, kwargs))[0] if _is_tensor(each)]
        if base_name(func) in ("_local_scalar_dense", "equal", "is_nonzero"):
            return self._scalar(func, tensors)
        mutated = _mutated(func, args, kwargs)
        known = self._independent(func) or all(map(self.shadows.known, tensors))
        run = self._run_known if known else self._run_unknown
        out = run(func, args, kwargs, mutated)
        outs = [each for each in tree_flatten(out)[0] if _is_tensor(each)]
        for each in outs:
            self.shadows.keep(each)
        if not self.paused:
            self._record(func, args, kwargs, outs, mutated)
        return out

    @staticmethod
    def _independent(func: torch._ops.OpOverload) -> bool:
        return base_name(func) in _LIKE or base_name(func) in _NEW

    def _scalar(self, func: torch._ops.OpOverload, tensors: list[torch.Tensor]) -> Any:
        return func(*[self.real(each) for each in tensors])

    def real(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a meta tensor's values; guesses, and a note of it, where they are unknown."""
        if self.shadows.known(tensor):
            return self.shadows.of(tensor)
        self._note(f"`{self.paths[-1]}`: a branch or index depends on weights; it was guessed")
        return self.shadows.guess(tensor)

    def _run_known(
        self,
        func: torch._ops.OpOverload,
        args: Any,
        kwargs: Any,
        mutated: list[torch.Tensor],
    ) -> Any:
        if func.is_view and not mutated:
            return func(*args, **kwargs)
        real_kwargs = dict(kwargs)
        if "device" in kwargs:
            real_kwargs["device"] = torch.device("cpu")
        if self._independent(func):
            fill = lambda each: torch.empty_strided(each.shape, each.stride(), dtype=each.dtype)  # noqa: E731
            real = func(*tree_map_only(torch.Tensor, fill, args), **real_kwargs)
        else:
            real = _run_on_cpu(func, self._shadowed(args), self._shadowed(real_kwargs))
        if base_name(func).startswith(("empty", "new_empty")):
            real.zero_()
        if mutated:
            return func(*args, **kwargs)
        own = {storage_of(self.shadows.of(t)) for t in tree_flatten((args, kwargs))[0]
               if _is_tensor(t) and self.shadows.known(t)}
        fresh = lambda each: self.shadows.give(  # noqa: E731
            each.clone() if storage_of(each) in own else each
        )
        return tree_map_only(torch.Tensor, fresh, real)

    def _shadowed(self, tree: Any) -> Any:
        return tree_map_only(torch.Tensor, self.shadows.of, tree)

    def _run_unknown(
        self,
        func: torch._ops.OpOverload,
        args: Any,
        kwargs: Any,
        mutated: list[torch.Tensor],
    ) -> Any:
        for each in mutated:
            self.shadows.forget(each)
        if base_name(func) == "_grouped_mm":  # its meta kernel wants bfloat16
            return args[0].new_empty((*args[0].shape[:-1], args[1].shape[-1]))
        try:
            out = func(*args, **kwargs)
        except (NotImplementedError, RuntimeError) as error:
            return self._run_guessed(func, args, kwargs, error)
        if base_name(func) in _CHOOSES and not mutated:
            out = self._choose(func, args, kwargs, out)
        return out

    def _run_guessed(
        self, func: torch._ops.OpOverload, args: Any, kwargs: Any, error: Exception
    ) -> Any:
        """Run an op that meta tensors cannot run, on guesses of what is unknown."""
        real_kwargs = dict(kwargs)
        if "device" in kwargs:
            real_kwargs["device"] = torch.device("cpu")
        try:
            real = func(
                *tree_map_only(torch.Tensor, self.real, args),
                **tree_map_only(torch.Tensor, self.real, real_kwargs),
            )
        except (NotImplementedError, RuntimeError):
            raise error from None  # it fails on real tensors too: the model's own error
        return tree_map_only(torch.Tensor, self.shadows.give, real)

    def _choose(self, func: torch._ops.OpOverload, args: Any, kwargs: Any, out: Any) -> Any:
        """Guess which elements an op chooses by size, so that its indices are usable."""
        real = func(
            *tree_map_only(torch.Tensor, self.real, args),
            **tree_map_only(torch.Tensor, self.real, kwargs),
        )
        if _is_tensor(out):
            return out if out.is_floating_point() else self.shadows.give(real)
        pairs = zip(out, real, strict=True)
        return type(out)(
            [meta if meta.is_floating_point() else self.shadows.give(each) for meta, each in pairs]
        )

    # The graph

    def _note(self, text: str) -> None:
        self.notes.setdefault(text)

    def _name(self, tensor: torch.Tensor, value: Value) -> int:
        self.values.append(value)
        index = len(self.values) - 1
        self._place(key_of(tensor), index)
        self._writers[storage_of(tensor)] = [index]
        return index

    def _place(self, key: Key, value: int) -> None:
        self._keys[key] = value
        self._by_storage[key[0]].add(key)

    def _is_value(self, tensor: torch.Tensor) -> bool:
        return storage_of(tensor) in self._writers

    def _value(self, tensor: torch.Tensor) -> int:
        """Return the value a tensor holds, adding constants and views as they are met."""
        key = key_of(tensor)
        if key in self._keys:
            return self._keys[key]
        if key in self._maps or key in self._lost:
            return self._parameter(tensor)
        if self._is_value(tensor):
            writers = tuple(dict.fromkeys(self._writers[storage_of(tensor)]))
            return self._add_op(OpKind.MOVE, "alias", writers, tensor, attributes={"selects": True})
        mean, second = _moments(self.shadows.of(tensor)) if self.shadows.known(tensor) else (0, 1)
        value = Value(tuple(tensor.shape), Origin.CONSTANT, mean=mean, second=second)
        self.values.append(value)
        return len(self.values) - 1

    def _parameter(self, tensor: torch.Tensor) -> int:
        key = key_of(tensor)
        names = self._lost[key] if key in self._lost else self.space.names(self._maps[key])
        self.touched.update(names)
        name = names[0] if names else ""
        self.values.append(Value(tuple(tensor.shape), Origin.PARAMETER, name=name))
        self._place(key, len(self.values) - 1)
        return len(self.values) - 1

    def _add_op(
        self,
        kind: OpKind,
        name: str,
        inputs: tuple[int, ...],
        out: torch.Tensor,
        *,
        weights: tuple[WeightUse, ...] = (),
        function: Callable[..., np.ndarray] | None = None,
        attributes: dict[str, Any] | None = None,
    ) -> int:
        index = len(self.values)
        self.values.append(Value(tuple(out.shape), Origin.COMPUTED, producer=len(self.ops)))
        self.ops.append(
            Op(kind, name, self.paths[-1], inputs, index, weights, function, attributes or {})
        )
        self._place(key_of(out), index)
        return index

    def _record(
        self,
        func: torch._ops.OpOverload,
        args: Any,
        kwargs: Any,
        outs: list[torch.Tensor],
        mutated: list[torch.Tensor],
    ) -> None:
        tensors = [each for each in tree_flatten((args, kwargs))[0] if _is_tensor(each)]
        if self._independent(func) or not outs:
            return
        if any(storage_of(each) in self._from_input or self._is_value(each) for each in tensors):
            self._from_input.update(storage_of(each) for each in outs)
        if func.is_view and not mutated and not self._has_map(tensors):
            if self._is_value(tensors[0]):
                self._record_move(func, args, kwargs, outs, tensors)
            return
        reading = self._reading(func, args, kwargs)
        if reading is not None:
            self._record_contraction(func, tensors, outs[0], reading)
            return
        if not any(map(self._is_value, tensors)):
            self._record_weights(func, args, kwargs, outs, tensors)
            return
        self._record_signal(func, args, kwargs, outs, tensors, mutated)

    def _has_map(self, tensors: list[torch.Tensor]) -> bool:
        return any(key_of(each) in self._maps or key_of(each) in self._lost for each in tensors)

    def _record_weights(
        self,
        func: torch._ops.OpOverload,
        args: Any,
        kwargs: Any,
        outs: list[torch.Tensor],
        tensors: list[torch.Tensor],
    ) -> None:
        """Follow an op on weights alone: moved, scaled by a constant, or lost."""
        if not self._has_map(tensors):
            return
        names = tuple(
            dict.fromkeys(
                name
                for each in tensors
                for name in self._lost.get(key_of(each), ())
                or (self.space.names(self._maps[key_of(each)]) if key_of(each) in self._maps else ())
            )
        )
        try:
            maps = self._moved_maps(func, args, kwargs, tensors)
        except (LostAxesError, RuntimeError, TypeError):
            maps = None
        if maps is None or len(maps) != len(outs):
            for each in outs:
                self._lost[key_of(each)] = names
            return
        for each, weights in zip(outs, maps, strict=True):
            self._maps[key_of(each)] = weights

    def _moved_maps(
        self, func: torch._ops.OpOverload, args: Any, kwargs: Any, tensors: list[torch.Tensor]
    ) -> list[WeightMap] | None:
        mapped = [each for each in tensors if key_of(each) in self._maps]
        kind = kind_of(func)
        name = base_name(func)
        if kind in (OpKind.MULTIPLY,) or name == "div":
            return self._scaled_map(name, args, mapped)
        if kind is not OpKind.MOVE or any(key_of(each) in self._lost for each in tensors):
            return None
        first = self._maps[key_of(mapped[0])]
        if name in ("clone", "contiguous", "_to_copy", "detach", "alias", "lift_fresh"):
            return [first]
        plain = {k: v for k, v in kwargs.items() if k not in ("dtype", "device", "memory_format")}
        if len(mapped) == 1:
            apply = lambda tensor: func(  # noqa: E731
                *_swapped(args, mapped[0], tensor, self._real_if_known),
                **_swapped(plain, mapped[0], tensor, self._real_if_known),
            )
            probe = func(*args, **kwargs)
            if _is_tensor(probe):
                return [first.moved(apply)]
            return [first.moved(lambda t, at=at: apply(t)[at]) for at in range(len(probe))]
        addresses = {key_of(each): self._maps[key_of(each)].explicit() for each in mapped}
        swap = lambda each: addresses.get(key_of(each), each)  # noqa: E731
        out = func(*tree_map_only(torch.Tensor, swap, args), **plain)
        outs = [out] if _is_tensor(out) else list(out)
        return [WeightMap(each, first.scale) for each in outs]

    def _real_if_known(self, tensor: torch.Tensor) -> torch.Tensor:
        return self.shadows.of(tensor) if self.shadows.known(tensor) else tensor

    def _scaled_map(
        self, name: str, args: Any, mapped: list[torch.Tensor]
    ) -> list[WeightMap] | None:
        if len(mapped) != 1:
            return None
        other = args[1] if args[0] is mapped[0] else args[0]
        if _is_tensor(other):
            if other.numel() != 1 or not self.shadows.known(other):
                return None
            other = self.shadows.of(other).item()
        if name == "div" and (args[0] is not mapped[0] or not other):
            return None
        first = self._maps[key_of(mapped[0])]
        factor = 1 / other if name == "div" else other
        return [replace(first, scale=first.scale * float(factor))]

    def _reading(self, func: torch._ops.OpOverload, args: Any, kwargs: Any) -> Reading | None:
        """Return how an op reads weights, if it is a contraction or lookup that does."""
        name = base_name(func)
        kind = kind_of(func)
        if name in PRODUCTS:
            start, left, right, out = PRODUCTS[name]
            a, b = args[start], args[start + 1]
            if key_of(b) in self._maps and not self._has_map([a]):
                return product_reading(self._maps[key_of(b)], a, (right, left, out))
            if key_of(a) in self._maps and not self._has_map([b]):
                return product_reading(self._maps[key_of(a)], b, (left, right, out))
            return None
        if kind is OpKind.LOOKUP and key_of(args[0]) in self._maps:
            return lookup_reading(self._maps[key_of(args[0])])
        if name in ("index", "index_select") and key_of(args[0]) in self._maps:
            indices = [each for each in tree_flatten(args[1:])[0] if _is_tensor(each)]
            by_input = any(storage_of(each) in self._from_input for each in indices)
            first_only = name == "index" and len(args[1]) == 1
            if by_input and (first_only or (name == "index_select" and args[1] == 0)):
                return lookup_reading(self._maps[key_of(args[0])])
        if name == "convolution" and key_of(args[1]) in self._maps:
            _, _, _, stride, _, dilation, transposed, _, groups = args[:9]
            return convolution_reading(
                self._maps[key_of(args[1])], stride, dilation, transposed, groups
            )
        if name == "_trilinear" and key_of(args[1]) in self._maps:
            weights = self._maps[key_of(args[1])]
            out, left, right = weights.stand_in.shape[-3:]
            dims = weights.stand_in.dim()
            return Reading(
                weights, (dims - 2, dims - 1), (dims - 3,), (), left * right, out * right, None
            )
        return None

    def _record_contraction(
        self,
        func: torch._ops.OpOverload,
        tensors: list[torch.Tensor],
        out: torch.Tensor,
        reading: Reading,
    ) -> None:
        found, pieces, lost = uses(reading, self.space)
        for name in lost:
            self._note(f"`{name}`: which stored axis plays which part was lost; all of it is one")
        self.touched.update(use.parameter for use in found)
        for each in tensors:
            if key_of(each) in self._maps:
                self.touched.update(self.space.names(self._maps[key_of(each)]))
        lookup = kind_of(func) in (OpKind.LOOKUP, OpKind.MOVE)
        data = () if lookup else tuple(self._data(func, tensors))
        op = len(self.ops)
        value = self._add_op(
            OpKind.LOOKUP if lookup else OpKind.CONTRACT,
            f"aten.{base_name(func)}",
            tuple(self._value(each) for each in data),
            out,
            weights=tuple(found),
            attributes={"batched": len(reading.batched)},
        )
        op = self.values[value].producer or 0
        for each in self.ops[op].inputs:
            self._blocks.read(each)
        self._writers[storage_of(out)] = [value]
        for at, piece in enumerate(pieces):
            self._pieces[op, at] = (reading, piece)
        if reading.output_axis is not None and len(found) == 1:
            self._blocks.start(op, value, out.shape, reading.output_axis)

    def _data(
        self, func: torch._ops.OpOverload, tensors: list[torch.Tensor]
    ) -> list[torch.Tensor]:
        name = base_name(func)
        if name in PRODUCTS:
            start = PRODUCTS[name][0]
            factors = [each for each in tensors if not self._has_map([each])]
            bias = start == 1 and not self._has_map(tensors[:1])
            return factors[1:2] if bias else factors[:1]
        if name == "_trilinear":
            return [each for each in tensors if not self._has_map([each])]
        return tensors[:1]

    def _record_signal(
        self,
        func: torch._ops.OpOverload,
        args: Any,
        kwargs: Any,
        outs: list[torch.Tensor],
        tensors: list[torch.Tensor],
        mutated: list[torch.Tensor],
    ) -> None:
        kind = self._signal_kind(func, tensors)
        if kind is OpKind.MOVE:
            self._record_move(func, args, kwargs, outs, tensors)
        else:
            if kind is OpKind.OPAQUE:
                self._note(f"`{self.paths[-1]}`: {func} is not understood; it counts as unit noise")
            if kind is OpKind.CONTRACT:
                self._note_lost(tensors)
            self._record_computation(func, kind, args, kwargs, outs, tensors)
        for out in outs:
            value = self._keys.get(key_of(out))
            if value is not None and not (func.is_view and not mutated):
                self._written(out, value, bool(mutated))

    def _note_lost(self, tensors: list[torch.Tensor]) -> None:
        lost = [name for each in tensors for name in self._lost.get(key_of(each), ())]
        for name in dict.fromkeys(lost):
            self._note(f"`{name}`: contracted through a function of the weight; it has no fans")

    def _signal_kind(self, func: torch._ops.OpOverload, tensors: list[torch.Tensor]) -> OpKind:
        kind = kind_of(func)
        name = base_name(func)
        if name == "where" and not self._is_value(tensors[0]):
            return OpKind.MOVE  # a mask that is known keeps the one or the other
        if name == "sum" or name == "mean":
            return OpKind.MEAN
        return kind

    def _record_computation(
        self,
        func: torch._ops.OpOverload,
        kind: OpKind,
        args: Any,
        kwargs: Any,
        outs: list[torch.Tensor],
        tensors: list[torch.Tensor],
    ) -> None:
        operands, attributes = tensors, self._attributes(func, kind, args, tensors, outs[0])
        if kind is OpKind.NORMALIZE:
            operands = tensors[:1]
            for each in tensors[1:]:
                if self._has_map([each]):
                    self._parameter(each)
        inputs = tuple(self._value(each) for each in operands)
        function = None
        if kind in (OpKind.ELEMENTWISE, OpKind.ADD, OpKind.MULTIPLY):
            function = _function(func, args, kwargs, operands)
        value = self._add_op(
            kind, f"aten.{base_name(func)}", inputs, outs[0], function=function,
            attributes=attributes,
        )
        for extra in outs[1:]:
            if extra.is_floating_point() and kind is not OpKind.NORMALIZE:
                self._place(key_of(extra), value)
                self._writers[storage_of(extra)] = [value]
        sources = [each for each in inputs if self.values[each].origin is Origin.COMPUTED]
        if kind is OpKind.ADD and self._blocks.carry(sources, value, outs[0].shape):
            return
        for each in inputs:
            self._blocks.read(each)

    def _attributes(
        self,
        func: torch._ops.OpOverload,
        kind: OpKind,
        args: Any,
        tensors: list[torch.Tensor],
        out: torch.Tensor,
    ) -> dict[str, Any]:
        if kind is OpKind.NORMALIZE:
            affine = [each for each in tensors[1:] if key_of(each) in self._maps]
            return {"scale": self.space.names(self._maps[key_of(affine[0])])[0]} if affine else {}
        if kind is OpKind.MEAN:
            count = tensors[0].numel() / max(out.numel(), 1)
            return {"statistic": base_name(func), "count": count}
        if kind is OpKind.CONTRACT:
            name = base_name(func)
            if name in PRODUCTS:
                start, left, _, result = PRODUCTS[name]
                shape = args[start].shape
                return {
                    "contracted": float(
                        np.prod([n for n, axis in zip(shape, left, strict=True) if axis not in result])
                    )
                }
            if "convolution" in name:
                return {"contracted": float(np.prod(args[1].shape[1:]))}
        return {}

    def _record_move(
        self,
        func: torch._ops.OpOverload,
        args: Any,
        kwargs: Any,
        outs: list[torch.Tensor],
        tensors: list[torch.Tensor],
    ) -> None:
        sources = [each for each in tensors if self._is_value(each) or self._has_map([each])]
        inputs = tuple(dict.fromkeys(self._value(each) for each in sources))
        partial = selects(func) or any(out.numel() < sources[0].numel() for out in outs)
        values = []
        for out in outs:
            if key_of(out) in self._keys and func.is_view:
                values.append(self._keys[key_of(out)])
                continue
            values.append(
                self._add_op(
                    OpKind.MOVE, f"aten.{base_name(func)}", inputs, out,
                    attributes={"selects": partial},
                )
            )
            self._writers.setdefault(storage_of(out), [values[-1]])
        plain = {k: v for k, v in kwargs.items() if k not in ("dtype", "device", "memory_format")}
        name = base_name(func)
        move = lambda tensor: (  # noqa: E731
            tensor
            if name in ("_to_copy", "clone", "detach", "alias")
            else func(
                *_swapped(args, sources[0], tensor, self._real_if_known),
                **_swapped(plain, sources[0], tensor, self._real_if_known),
            )
        )
        if len(inputs) == 1 and self._blocks.move(inputs[0], values, move):
            return
        for each in inputs:
            self._blocks.read(each)

    def _written(self, out: torch.Tensor, value: int, in_place: bool) -> None:  # noqa: FBT001
        storage = storage_of(out)
        whole = out.numel() * out.element_size() >= out.untyped_storage().nbytes()
        known = [] if whole or not in_place else self._writers.get(storage, [])
        if in_place:
            own = key_of(out)
            for key in [key for key in self._by_storage.get(storage, ()) if _overlap(key, own)]:
                self._keys.pop(key, None)
            self._place(own, value)
        self._writers[storage] = [*known, value]

    # The end

    def finish(self, outputs: Sequence[int]) -> tuple[Op, ...]:
        """Split packed weights into their blocks and return all ops."""
        for each in outputs:
            self._blocks.read(each)
        return tuple(self._split(at, op) for at, op in enumerate(self.ops))

    def _split(self, at: int, op: Op) -> Op:
        blocks = self._blocks.blocks(at)
        if not blocks or len(op.weights) != 1:
            return op
        reading, piece = self._pieces[at, 0]
        use = op.weights[0]
        row = piece.rows[reading.kept[0]]
        if len(row) != 1:
            return op
        axis, stored = next(iter(row.items()))
        if use.region.axis not in (None, axis):
            return op
        size = len(stored)
        parts = tuple(
            replace(
                use,
                region=Region(axis, ranges(np.sort(stored[block]))),
                fan_out=use.fan_out * len(block) / size,
            )
            for block in blocks
        )
        return replace(op, weights=parts)


def _run_on_cpu(func: torch._ops.OpOverload, args: Any, kwargs: Any) -> Any:
    """Run an op for real; one that the CPU has for floats alone, on floats."""
    try:
        return func(*args, **kwargs)
    except NotImplementedError:
        whole = [each.dtype for each in tree_flatten((args, kwargs))[0] if _is_tensor(each)]
        wide = lambda each: each if each.is_floating_point() else each.double()  # noqa: E731
        out = func(*tree_map_only(torch.Tensor, wide, args), **kwargs)
        return tree_map_only(torch.Tensor, lambda each: each.to(whole[0]), out)


def _overlap(left: Key, right: Key) -> bool:
    """Tell whether two views of a storage share elements; when in doubt, they do."""
    if left[3] != right[3]:
        return True
    order = sorted(range(len(left[3])), key=lambda axis: -left[3][axis])
    mine, other = left[1], right[1]
    for axis in order:
        stride = left[3][axis]
        if stride == 0:
            continue
        (a, mine), (b, other) = divmod(mine, stride), divmod(other, stride)
        if a + left[2][axis] <= b or b + right[2][axis] <= a:
            return False
    return True


def _is_tensor(thing: object) -> bool:
    return isinstance(thing, torch.Tensor)


def _mutated(func: torch._ops.OpOverload, args: Any, kwargs: Any) -> list[torch.Tensor]:
    found: list[Any] = []
    for at, argument in enumerate(func._schema.arguments):  # noqa: SLF001
        if argument.alias_info is not None and argument.alias_info.is_write:
            found.append(args[at] if at < len(args) else kwargs.get(argument.name))
    return [each for each in tree_flatten(found)[0] if _is_tensor(each)]


def _moments(tensor: torch.Tensor) -> tuple[float, float]:
    values = tensor.double() if not tensor.is_complex() else tensor.abs().double()
    values = values[torch.isfinite(values)]  # a mask's -inf removes, it does not add
    if values.numel() == 0:
        return 0.0, 0.0
    return float(values.mean()), float((values * values).mean())


def _swapped(
    tree: Any, old: torch.Tensor, new: torch.Tensor, other: Callable[[torch.Tensor], torch.Tensor]
) -> Any:
    return tree_map_only(torch.Tensor, lambda each: new if each is old else other(each), tree)


def _function(
    func: torch._ops.OpOverload, args: Any, kwargs: Any, operands: list[torch.Tensor]
) -> Callable[..., np.ndarray]:
    """Return the op as a function of float64 arrays, one for each tensor operand."""
    in_place = func._schema.is_mutable  # noqa: SLF001

    def call(*arrays: np.ndarray) -> np.ndarray:
        shape = np.broadcast_shapes(*(np.shape(each) for each in arrays))
        tensors = iter(
            [torch.from_numpy(np.array(np.broadcast_to(each, shape))) for each in arrays]
        )
        fill = lambda _: next(tensors)  # noqa: E731
        filled, named = tree_map_only(torch.Tensor, fill, (args, kwargs))
        named = {key: each for key, each in named.items() if key not in ("dtype", "device")}
        with torch.no_grad():
            out = func(*filled, **named)
        return (filled[0] if in_place else out).numpy()

    # The tensors themselves are not kept: only their places in the arguments.
    hollow = torch.empty(0)
    args, kwargs = tree_map_only(torch.Tensor, lambda _: hollow, (args, kwargs))
    del operands
    return call
