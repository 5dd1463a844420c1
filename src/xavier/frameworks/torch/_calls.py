"""One call of an operator, and what identifies a tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, TypeGuard

import numpy as np
import torch

from xavier._errors import ActivationError, said
from xavier._types.flow import OpKind
from xavier.frameworks.torch._op_kinds import base_name, kind_of
from xavier.frameworks.torch._shadows import storage_of
from xavier.frameworks.torch._trees import map_tensors, tensors_of

Key = tuple[int, int, tuple[int, ...], tuple[int, ...]]

_PLACEMENT = ("dtype", "device", "memory_format")


def key_of(tensor: torch.Tensor) -> Key:
    """Return what identifies a tensor's elements: storage, offset, shape and strides."""
    offset = int(tensor.storage_offset())
    return (storage_of(tensor), offset, tuple(tensor.shape), tensor.stride())


def is_tensor(thing: object) -> TypeGuard[torch.Tensor]:
    """Tell whether something is a tensor."""
    return isinstance(thing, torch.Tensor)


@dataclass(frozen=True)
class Call:
    """One call of an operator.

    Attributes:
        func: The operator.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        tensors: The tensors among both, in order.
        outs: The tensors that it returned.
        mutated: The arguments that it wrote to.
    """

    func: torch._ops.OpOverload
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    tensors: list[torch.Tensor]
    outs: list[torch.Tensor]
    mutated: list[torch.Tensor]

    @cached_property
    def name(self) -> str:
        """The operator's name without namespace, overload and underscore."""
        return base_name(self.func)

    def again(
        self,
        old: torch.Tensor,
        new: torch.Tensor,
        other: Callable[[torch.Tensor], torch.Tensor],
    ) -> Any:
        """Call the operator with one argument replaced, the others as `other` gives them."""
        replaced = lambda each: new if each is old else other(each)  # noqa: E731 - a formula in a line
        args, kwargs = map_tensors(replaced, (self.args, self.placeless))
        return self.func(*args, **kwargs)

    @property
    def placeless(self) -> dict[str, Any]:
        """The keyword arguments but for dtype, device and memory format."""
        return {key: each for key, each in self.kwargs.items() if key not in _PLACEMENT}

    def function(self) -> Callable[..., np.ndarray]:
        """Return the operator as a function of float64 arrays, one for each tensor argument.

        Truth values stay what they are; whole numbers do where the operator is for them alone.
        """
        func, in_place = self.func, self.func._schema.is_mutable
        # Sums and products take means as well, which truth values have and are not.
        linear = kind_of(func) in (OpKind.ADD, OpKind.MULTIPLY)
        dtypes = [torch.float64 if linear else each.dtype for each in self.tensors]
        # The tensors themselves are not kept: only their places in the arguments.
        hollow = torch.empty(0, device="cpu")
        args, kwargs = map_tensors(lambda _: hollow, (self.args, self.placeless))

        places = [at for at, each in enumerate(args) if each is hollow]

        def fill(tensors: Sequence[torch.Tensor]) -> tuple[Sequence[Any], dict[str, Any]]:
            rest = iter(tensors)
            if len(places) < len(dtypes):  # some lie in lists
                return map_tensors(lambda _: next(rest), (args, kwargs))
            return [next(rest) if each is hollow else each for each in args], kwargs

        def run(tensors: Sequence[torch.Tensor]) -> np.ndarray:
            filled, named = fill(tensors)
            with torch.no_grad():
                out = func(*filled, **named)
            return (filled[0] if in_place else out).numpy()

        def call(*arrays: np.ndarray) -> np.ndarray:
            shapes = [np.shape(each) for each in arrays]
            shape = shapes[0] if len({*shapes}) == 1 else np.broadcast_shapes(*shapes)
            try:
                wide = [
                    _as_tensor(_broadcast(each, shape), dtype)
                    for each, dtype in zip(arrays, dtypes, strict=True)
                ]
                try:
                    return run(wide)
                except (NotImplementedError, RuntimeError):
                    if not any(map(_is_whole, dtypes)):
                        raise
                whole = zip(wide, dtypes, strict=True)
                return run([each.to(dtype) if _is_whole(dtype) else each for each, dtype in whole])
            except Exception as error:
                raise ActivationError(
                    f"{func} could not be run on its own: {said(error)}"
                ) from error

        return call


def _broadcast(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a copy of an array, repeated where its shape is not the one asked for."""
    return np.array(array if np.shape(array) == shape else np.broadcast_to(array, shape))


def _as_tensor(array: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    if dtype == torch.bool:
        return torch.from_numpy(np.asarray(array != 0))
    return torch.from_numpy(array.astype(np.float64, copy=False))


def _is_whole(dtype: torch.dtype) -> bool:
    return not (dtype.is_floating_point or dtype.is_complex or dtype == torch.bool)


@cache
def without_out(func: torch._ops.OpOverload) -> torch._ops.OpOverload | None:
    """Return the operator that makes what another writes to its `out=`, if that is one."""
    given = func._schema.arguments
    if not any(each.is_out for each in given):
        return None
    wanted = [(each.name, str(each.type)) for each in given if not each.is_out]
    packet = func._overloadpacket
    for name in packet.overloads():
        other = getattr(packet, name)
        same = [(each.name, str(each.type)) for each in other._schema.arguments] == wanted
        if same and not other._schema.is_mutable:
            return other
    return None


def mutated(func: torch._ops.OpOverload, args: Any, kwargs: Any) -> list[torch.Tensor]:
    """Return the arguments that an operator's schema says it writes to."""
    places = written_places(func)
    if not places:
        return []
    return tensors_of([args[at] if at < len(args) else kwargs.get(name) for at, name in places])


@cache
def written_places(func: Any) -> tuple[tuple[int, str], ...]:
    """Return place and name of every argument that an operator's schema says it writes to."""
    schema = getattr(func, "_schema", None)
    if schema is None:
        return ()
    return tuple(
        (place, argument.name)
        for place, argument in enumerate(schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    )


def overlap(left: Key, right: Key) -> bool:
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
