"""A dispatch mode that runs a model on meta tensors, beside them the values that are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from xavier._errors import TraceError
from xavier.frameworks.torch._calls import Call, is_tensor, mutated, without_out
from xavier.frameworks.torch._graph_writer import GraphWriter
from xavier.frameworks.torch._meta_kernels import quick_answer
from xavier.frameworks.torch._op_kinds import base_name
from xavier.frameworks.torch._randomness import expected, is_random, law_of, without_generators
from xavier.frameworks.torch._shadows import Shadows, storage_of
from xavier.frameworks.torch._spelled_out import spelled_out
from xavier.frameworks.torch._trees import map_tensors, tensors_of

_LIKE = ("zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like")
_NEW = ("new_zeros", "new_ones", "new_full", "new_empty", "new_empty_strided")
_CHOOSES = ("topk", "sort", "argmax", "argmin", "argsort", "multinomial", "max", "min", "kthvalue")
_MULTIPLIES = frozenset({"mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "convolution"})
_READS = ("_local_scalar_dense", "equal", "is_nonzero")


class Recorder(TorchDispatchMode):
    """Runs every operator on meta tensors and has the graph written down.

    Args:
        turned: The guesses of truth values to turn around; see `Shadows`.

    Attributes:
        shadows: The values that are known.
        graph: The graph.
        paused: Above zero while nothing is written down.
        left: The error for data that left the framework, if it comes back.
    """

    def __init__(self, *, turned: frozenset[int] = frozenset()) -> None:
        super().__init__()
        self.shadows = Shadows(turned=turned)
        self.graph = GraphWriter(self.shadows)
        self.paused = 0
        self.left: TraceError | None = None
        self._draws = 0

    def add_input(self, tensor: torch.Tensor, name: str) -> torch.Tensor:
        """Register one of the example's tensors; return its meta twin."""
        twin = self.shadows.enter(tensor)
        self.graph.add_input(twin, name)
        return twin

    def real(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a meta tensor's values; guesses, and a note of it, where they are unknown."""
        with torch._C._DisableTorchDispatch():  # Python may ask while this mode is on
            if self.shadows.known(tensor):
                return self.shadows.of(tensor)
            where = self.graph.paths[-1] or "forward"
            self.graph.note(f"`{where}`: a branch or index depends on weights; it was guessed")
            return self.shadows.guess(tensor)

    def handed_over(self, tensor: torch.Tensor, asked: str, *, address: bool) -> torch.Tensor:
        """Return a meta tensor's values for code that no trace can follow.

        Of the signal there are none: it gets nothing but nan, by which it is known if it returns.

        Args:
            tensor: The tensor.
            asked: What asks for the values, as people write it.
            address: Whether it asks for the place of the values, where no nan can be known.

        Raises:
            TraceError: If it asks for the place of something that is part of the signal.
        """
        signal = tensor.is_floating_point() or tensor.is_complex()
        if not signal or (self.shadows.known(tensor) and not self.graph.is_signal(tensor)):
            return self.real(tensor)
        where = f"`{path}`" if (path := self.graph.paths[-1]) else "`forward`"
        left = TraceError(
            f"in {where} the data leaves the framework at `{asked}`, so what happens to it cannot"
            " be followed",
            hint="keep it in tensors, or plan without an example: by module type and order",
        )
        if address:
            raise left
        self.left = self.left or left
        self.graph.note(
            f"{where}: data leaves the framework at `{asked}`; it is not followed there"
        )
        with torch._C._DisableTorchDispatch():
            return torch.full(tensor.shape, math.nan, dtype=tensor.dtype, device="cpu")

    def _require_nothing_back(self, given: Any) -> None:
        """Refuse data that comes back from where it could not be followed."""
        for each in tree_flatten(given)[0]:
            back = isinstance(each, float) and math.isnan(each)
            if is_tensor(each) and each.device.type != "meta" and each.is_floating_point():
                back = bool(each.isnan().any())
            if back and self.left is not None:
                raise self.left

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = without_generators(args, kwargs or {})
        if self.left is not None:
            self._require_nothing_back(given)
        args, named = map_tensors(self.shadows.enter, given)
        if "device" in named:
            named = {**named, "device": torch.device("meta")}
        tensors = tensors_of((args, named))
        if base_name(func) in _READS:
            return func(*map(self.real, tensors))
        written = mutated(func, args, named)
        plain = without_out(func)
        if plain is not None:
            return self._run_into(func, plain, args, named)
        unknown = not all(map(self.shadows.known, tensors))
        spelling = spelled_out(func, args)
        if spelling is not None:
            with self:
                spelled: Any = spelling(*args, **named)
                return args[0].copy_(spelled) if func._schema.name.endswith("_") else spelled
        independent = base_name(func) in (*_LIKE, *_NEW)
        known = independent or not unknown
        run = self._run_known if known else self._run_unknown
        law = None
        if is_random(func):
            law = law_of(func, args, named)
            self._draws += 1  # a draw of another size must not change those that follow
            torch.default_generator.manual_seed(self._draws)
        entering = written and any(map(self.graph.is_signal, tensors))
        self.shadows.remember(written if entering else (), copied=known)
        out = run(func, args, named, written)
        outs = tensors_of(out)
        for each in outs:
            self.shadows.keep(each)
        if self.paused:
            return out
        if law is not None and (outs[0].is_floating_point() or outs[0].dtype == torch.bool):
            self.graph.add_noise(f"aten.{base_name(func)}", outs[0], law)
        elif not independent:
            self.graph.record(Call(func, args, named, tensors, outs, written))
        return out

    def _run_into(
        self, func: torch._ops.OpOverload, plain: torch._ops.OpOverload, args: Any, named: Any
    ) -> Any:
        """Run an operator that writes to `out=` as the plain one, and copy what it makes."""
        names = [each.name for each in func._schema.arguments if each.is_out]
        targets = [named[name] for name in names]
        rest = {name: each for name, each in named.items() if name not in names}
        with self:
            made = plain(*args, **rest)
            for target, each in zip(targets, [made] if is_tensor(made) else made, strict=True):
                if target.shape != each.shape:
                    target.resize_(each.shape)
                target.copy_(each)
        return targets[0] if len(targets) == 1 else tuple(targets)

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
            fill = lambda each: torch.empty_strided(each.shape, each.stride(), dtype=each.dtype)  # noqa: E731 - a formula in a line
            real = func(*map_tensors(fill, args), **real_kwargs)
        else:
            shadowed = map_tensors(self.shadows.of, (args, real_kwargs))
            real = _run_real(func, *shadowed)
        mean = expected(func, args, kwargs)
        if is_tensor(mean):
            mean = self.shadows.of(mean).clone()
        if name.startswith(("empty", "new_empty")):
            real.zero_()
        elif mean is not None:
            real.copy_(torch.as_tensor(mean))
        if written:
            out = func(*args, **kwargs)
            if name.startswith("resize"):
                self.shadows.resized(args[0])
            return out
        held = tensors_of((args, kwargs))
        own = {storage_of(self.shadows.of(each)) for each in held if self.shadows.known(each)}
        fresh = lambda each: self.shadows.give(  # noqa: E731 - a formula in a line
            each.clone() if storage_of(each) in own else each
        )
        return map_tensors(fresh, real)

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
        quick = quick_answer(func, args, kwargs)
        if quick is not None:
            return quick
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
        guessed = map_tensors(self.real, (args, _on_cpu(kwargs)))
        try:
            real = func(*guessed[0], **guessed[1])
        except (NotImplementedError, RuntimeError):
            raise error from None  # it fails on real tensors too: the model's own error
        return map_tensors(self.shadows.give, real)

    def _choose(self, func: torch._ops.OpOverload, args: Any, kwargs: Any, out: Any) -> Any:
        """Guess which elements an op chooses by size, so that its indices are usable."""
        guessed = map_tensors(self.real, (args, kwargs))
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
        wide = lambda each: each if each.is_floating_point() else each.double()  # noqa: E731 - a formula in a line
        out = func(*map_tensors(wide, args), **kwargs)
        return map_tensors(lambda each: each.to(whole[0]), out)
