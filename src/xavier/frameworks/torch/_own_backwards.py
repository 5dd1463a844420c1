"""Functions with a backward of their own, which need not be the derivative of their forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch

from xavier.frameworks.torch._trees import map_tensors, tensors_of

# Irregular, and away from where functions have their kinks.
_POINTS: Final = torch.linspace(-3.07, 3.11, 64, dtype=torch.float64)
_STEP: Final = 1e-6
_CLOSE: Final = 1e-4

Apply = Callable[..., Any]


@contextmanager
def noting_own_backwards(note: Callable[[str], None], place: Callable[[], str]) -> Iterator[None]:
    """Note every `torch.autograd.Function` whose backward is no derivative of its forward.

    Args:
        note: Takes the note.
        place: Gives the path of the module that runs.
    """
    # What `Function.apply` calls: a model may have bound that itself before the trace.
    base: Any = torch.autograd.function._SingleLevelFunction

    def apply(cls: type, *args: Any, **kwargs: Any) -> Any:
        run: Apply = super(base, cls).apply
        out = run(*args, **kwargs)
        if not _is_derivative(run, args, kwargs):
            note(
                f"`{place() or 'forward'}`: `{cls.__name__}` has a backward of its own; the plan's"
                " backward powers are those of the values it computes"
            )
        return out

    base.apply = classmethod(apply)
    try:
        yield
    finally:
        del base.apply


def _is_derivative(run: Apply, args: Any, kwargs: Any) -> bool:
    """Tell whether a function's backward, run for real, is the derivative of its forward."""
    if len(tensors_of((args, kwargs))) != 1:
        return False

    def at(x: torch.Tensor) -> Any:
        return run(*map_tensors(lambda _: x, args), **kwargs)

    try:
        # Nothing of this is part of the model's run.
        with torch._C._DisableTorchDispatch(), torch.enable_grad():
            x = _POINTS.to("cpu", copy=True).requires_grad_()
            (own,) = torch.autograd.grad(at(x).sum(), x)
            with torch.no_grad():
                true = (at(x + _STEP) - at(x - _STEP)) / (2 * _STEP)
        return bool(torch.allclose(own, true, rtol=_CLOSE, atol=_CLOSE))
    except Exception:
        return False
