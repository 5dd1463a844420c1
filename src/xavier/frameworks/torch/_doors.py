"""Let an observer in while a model's own modules run, and at no other time.

The hooks stay until the backward pass begins. Code that is compiled is not looked into, and
runs as it does without anyone looking.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from xavier.frameworks.torch._step_observer import StepObserver
from xavier.frameworks.torch.names import inner

# In eval mode these choose a fused path, unless they are looked at.
_FUSED = (nn.MultiheadAttention, nn.TransformerEncoder, nn.TransformerEncoderLayer)
_MISSING: Any = object()


class Doors:
    """The ways into a model, watched during one step.

    Args:
        model: The model; what wraps it is left alone.
        observer: Who is let in.
        paths: The path of each module, by identity.
    """

    def __init__(self, model: nn.Module, observer: StepObserver, paths: dict[int, str]) -> None:
        self._model = model
        self._observer = observer
        self._paths = paths
        self._thread = threading.get_ident()
        self._handles: list[Any] = []
        self._shields: list[tuple[nn.Module, str, Any]] = []
        self._watching = False
        self._shut = False

    def open(self) -> None:
        """Put the hooks on the modules."""
        for module, attribute in _open_modules(_outermost(self._model), set()):
            if attribute:
                self._shield(module, attribute)
                continue
            before, after = _Hook(self._enter), _Hook(self._leave)
            self._handles += [
                module.register_forward_pre_hook(before, with_kwargs=True),
                module.register_forward_hook(after, always_call=True),
            ]

    def shut(self) -> None:
        """Let nobody in from now on; take the hooks off unless a module is just running."""
        self._shut = True
        if not self._observer.inside:
            self._take_off()

    def close(self) -> None:
        """Take everything off, whatever is running."""
        self._shut = True
        if self._watching:
            self._watch(on=False)
        self._take_off()

    def _take_off(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        for module, attribute, before in self._shields:
            if before is _MISSING:
                module.__dict__.pop(attribute, None)
            else:
                module.__dict__[attribute] = before
        self._shields.clear()

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if self._elsewhere():
            return
        if not self._observer.inside:
            if self._shut or not torch.is_grad_enabled():
                return
            self._observer.meet((args, kwargs))
            self._watch(on=True)
        self._observer.enter(module)

    def _leave(self, module: nn.Module, *_: Any) -> None:
        if not self._elsewhere() and self._observer.leave(module):
            self._watch(on=False)

    def _elsewhere(self) -> bool:
        """Tell whether this is a replica's thread, or a checkpoint's second forward pass."""
        backward = torch._C._current_graph_task_id() != -1
        return backward or threading.get_ident() != self._thread

    def _watch(self, *, on: bool) -> None:
        self._watching = on
        if on:
            self._observer.__enter__()
        else:
            self._observer.__exit__(None, None, None)

    def _shield(self, module: nn.Module, attribute: str) -> None:
        """Have a module's call run as if nobody looked; it holds no hook, which it would see."""
        path = self._paths.get(id(module)) or type(module).__name__
        why = "fused in eval mode" if isinstance(module, _FUSED) else "compiled"
        self._observer.note(f"{path}: {why}, so its ops were not seen")
        self._shields.append((module, attribute, module.__dict__.get(attribute, _MISSING)))
        call: Callable[..., Any] = getattr(module, attribute)

        def shielded(*args: Any, **kwargs: Any) -> Any:
            with self._outside():
                return call(*args, **kwargs)

        module.__dict__[attribute] = shielded

    @contextmanager
    def _outside(self) -> Iterator[None]:
        on_top = torch.overrides._get_current_function_mode() is self._observer
        if not (self._watching and on_top):
            yield
            return
        self._watch(on=False)
        try:
            yield
        finally:
            self._watch(on=True)


class _Hook:
    """A hook that compiled code runs through without a trace, and that does nothing in a copy."""

    def __init__(self, call: Callable[..., Any] | None = None) -> None:
        self._call = call

    def __call__(self, *args: Any) -> None:
        if not torch.compiler.is_compiling() and self._call is not None:
            self._call(*args)

    def __reduce__(self) -> Any:
        return (_Hook, ())


def _outermost(model: nn.Module) -> nn.Module:
    """Return the model inside of its wrappers, or the first of these that is compiled."""
    within = inner(model)
    return next(each for each in model.modules() if each is within or _is_compiled(each))


def _is_compiled(module: nn.Module) -> bool:
    in_place = getattr(module, "_compiled_call_impl", None) is not None
    return in_place or "_orig_mod" in module._modules


def _open_modules(module: nn.Module, seen: set[int]) -> Iterator[tuple[nn.Module, str]]:
    """Yield the modules to put hooks on, and those to shield with the attribute to do it by."""
    if id(module) in seen or isinstance(module, torch.jit.ScriptModule):
        return
    seen.add(id(module))
    if getattr(module, "_compiled_call_impl", None) is not None:
        yield module, "_compiled_call_impl"
    elif "_orig_mod" in module._modules or (isinstance(module, _FUSED) and not module.training):
        yield module, "forward"
    else:
        yield module, ""
        for child in module._modules.values():
            if child is not None:
                yield from _open_modules(child, seen)
