"""A dispatch mode that runs a model on meta tensors, beside them the values that are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from xavier.frameworks.torch._calls import Call, is_tensor, mutated, tensors_of
from xavier.frameworks.torch._graph_writer import GraphWriter
from xavier.frameworks.torch._op_kinds import base_name
from xavier.frameworks.torch._shadows import Shadows, storage_of
from xavier.frameworks.torch._spelled_out import SPELLED_OUT

_LIKE = ("zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like")
_NEW = ("new_zeros", "new_ones", "new_full", "new_empty", "new_empty_strided")
_CHOOSES = ("topk", "sort", "argmax", "argmin", "argsort", "multinomial", "max", "min", "kthvalue")
_MULTIPLIES = frozenset({"mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "convolution"})
_READS = ("_local_scalar_dense", "equal", "is_nonzero")


class Recorder(TorchDispatchMode):
    """Runs every operator on meta tensors and has the graph written down.

    Attributes:
        shadows: The values that are known.
        graph: The graph.
        paused: Above zero while nothing is written down.
    """

    def __init__(self) -> None:
        super().__init__()
        self.shadows = Shadows()
        self.graph = GraphWriter(self.shadows)
        self.paused = 0

    def add_input(self, tensor: torch.Tensor, name: str) -> torch.Tensor:
        """Register one of the example's tensors; return its meta twin."""
        twin = self.shadows.enter(tensor)
        self.graph.add_input(twin, name)
        return twin

    def real(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a meta tensor's values; guesses, and a note of it, where they are unknown."""
        if self.shadows.known(tensor):
            return self.shadows.of(tensor)
        where = self.graph.paths[-1] or "forward"
        self.graph.note(f"`{where}`: a branch or index depends on weights; it was guessed")
        with torch._C._DisableTorchDispatch():  # Python may ask while this mode is on
            return self.shadows.guess(tensor)

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given: tuple[tuple[Any, ...], dict[str, Any]] = (args, kwargs or {})
        args, named = tree_map_only(torch.Tensor, self.shadows.enter, given)
        if "device" in named:
            named = {**named, "device": torch.device("meta")}
        tensors = tensors_of((args, named))
        if base_name(func) in _READS:
            return func(*map(self.real, tensors))
        written = mutated(func, args, named)
        if base_name(func) in SPELLED_OUT:
            with self:
                spelled = SPELLED_OUT[base_name(func)](*args, **named)
                return args[0].copy_(spelled) if func._schema.name.endswith("_") else spelled
        independent = base_name(func) in (*_LIKE, *_NEW)
        known = independent or all(map(self.shadows.known, tensors))
        run = self._run_known if known else self._run_unknown
        out = run(func, args, named, written)
        outs = tensors_of(out)
        for each in outs:
            self.shadows.keep(each)
        if not self.paused and not independent:
            self.graph.record(Call(func, args, named, outs, written))
        return out

    def _run_known(
        self,
        func: torch._ops.OpOverload,
        args: Any,
        kwargs: Any,
        written: list[torch.Tensor],
    ) -> Any:
        if func.is_view and not written:
            return func(*args, **kwargs)
        name, real_kwargs = base_name(func), _on_cpu(kwargs)
        if name in (*_LIKE, *_NEW):
            fill = lambda each: torch.empty_strided(each.shape, each.stride(), dtype=each.dtype)  # noqa: E731
            real = func(*tree_map_only(torch.Tensor, fill, args), **real_kwargs)
        else:
            shadowed = tree_map_only(torch.Tensor, self.shadows.of, (args, real_kwargs))
            real = _run_real(func, *shadowed)
        if name.startswith(("empty", "new_empty")):
            real.zero_()
        if written:
            return func(*args, **kwargs)
        held = tensors_of((args, kwargs))
        own = {storage_of(self.shadows.of(each)) for each in held if self.shadows.known(each)}
        fresh = lambda each: self.shadows.give(  # noqa: E731
            each.clone() if storage_of(each) in own else each
        )
        return tree_map_only(torch.Tensor, fresh, real)

    def _run_unknown(
        self,
        func: torch._ops.OpOverload,
        args: Any,
        kwargs: Any,
        written: list[torch.Tensor],
    ) -> Any:
        self._require_sound(base_name(func), args)
        for each in written:
            self.shadows.forget(each)
        if base_name(func) == "_grouped_mm":  # its meta kernel wants bfloat16
            return args[0].new_empty((*args[0].shape[:-1], args[1].shape[-1]))
        try:
            out = func(*args, **kwargs)
        except (NotImplementedError, RuntimeError) as error:
            return self._run_guessed(func, args, kwargs, error)
        if base_name(func) in _CHOOSES and not written:
            out = self._choose(func, args, kwargs, out)
        return out

    def _require_sound(self, name: str, args: Any) -> None:
        """Refuse what real tensors would be refused for, where meta tensors are let through."""
        if name in _MULTIPLIES and not any(map(torch.is_autocast_enabled, ("cpu", "cuda"))):
            dtypes = {str(each.dtype).removeprefix("torch."): None for each in tensors_of(args)}
            if len(dtypes) > 1:
                raise RuntimeError(f"expected one dtype, but got {' and '.join(dtypes)}")
        elif name == "embedding" and self.shadows.known(args[1]) and args[1].numel():
            ids, rows = self.shadows.of(args[1]), args[0].shape[0]
            low, high = int(ids.min()), int(ids.max())
            if low < 0 or high >= rows:
                odd = low if low < 0 else high
                raise IndexError(f"index {odd} is out of range for a table of {rows} rows")

    def _run_guessed(
        self, func: torch._ops.OpOverload, args: Any, kwargs: Any, error: Exception
    ) -> Any:
        """Run an op that meta tensors cannot run, on guesses of what is unknown."""
        guessed = tree_map_only(torch.Tensor, self.real, (args, _on_cpu(kwargs)))
        try:
            real = func(*guessed[0], **guessed[1])
        except (NotImplementedError, RuntimeError):
            raise error from None  # it fails on real tensors too: the model's own error
        return tree_map_only(torch.Tensor, self.shadows.give, real)

    def _choose(self, func: torch._ops.OpOverload, args: Any, kwargs: Any, out: Any) -> Any:
        """Guess which elements an op chooses by size, so that its indices are usable."""
        guessed = tree_map_only(torch.Tensor, self.real, (args, kwargs))
        real = func(*guessed[0], **guessed[1])
        if is_tensor(out):
            return out if out.is_floating_point() else self.shadows.give(real)
        pairs = zip(out, real, strict=True)
        return type(out)(
            [meta if meta.is_floating_point() else self.shadows.give(each) for meta, each in pairs]
        )


def _on_cpu(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**kwargs, "device": torch.device("cpu")} if "device" in kwargs else kwargs


def _run_real(func: torch._ops.OpOverload, args: Any, kwargs: Any) -> Any:
    """Run an op for real; one that the CPU has for floats alone, on floats."""
    try:
        return func(*args, **kwargs)
    except NotImplementedError:
        whole = [each.dtype for each in tensors_of((args, kwargs))]
        wide = lambda each: each if each.is_floating_point() else each.double()  # noqa: E731
        out = func(*tree_map_only(torch.Tensor, wide, args), **kwargs)
        return tree_map_only(torch.Tensor, lambda each: each.to(whole[0]), out)
