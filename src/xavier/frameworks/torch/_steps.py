"""The gradient through a recurrent layer's steps, read off its input."""

from __future__ import annotations

from typing import Any, Final

import torch

from xavier.frameworks.torch import _moments

_AXES: Final = 3  # of a batch of sequences: inputs, steps, features
_MOST: Final = 64  # steps that are told; of more, as many evenly spaced, with the last


class Steps:
    """The gradient at a recurrent layer's input, step by step.

    Attributes:
        leaf: The input that the layer is given, if it had no history through which a gradient would
            come by itself: then `keep` must be called with its gradient.
        gradient_rms: The RMS of the gradient at every step; None if none has come.
    """

    def __init__(self, *, batch_first: bool) -> None:
        self.leaf: torch.Tensor | None = None
        self.gradient_rms: tuple[float, ...] | None = None
        self._batch_first = batch_first

    def probe(self, given: torch.Tensor) -> torch.Tensor:
        """Return a layer's input as one whose gradient is noted."""
        if not given.requires_grad:
            self.leaf = given.detach().requires_grad_()
            return self.leaf
        # The view is not held here, which would tie it, its history and this into a knot.
        seen = given.view_as(given)
        seen.register_hook(self.keep)
        return seen

    def keep(self, gradient: torch.Tensor | None) -> None:
        """Note the RMS of the gradient at every step."""
        if gradient is None:
            return
        steps = gradient.detach().movedim(1 if self._batch_first else 0, 0)
        space = max(1, -(-len(steps) // _MOST))
        chosen = steps.flip(0)[::space].flip(0)
        self.gradient_rms = tuple(_moments.moments(each).rms for each in chosen)


def steps_of(args: tuple[Any, ...]) -> Steps | None:
    """Return a recurrent layer's steps; None of a cell, a packed sequence, or whole numbers."""
    given = args[0] if args else None
    if not isinstance(given, torch.Tensor) or is_packed(args) or not isinstance(args[-1], bool):
        return None  # a cell's last argument is a bias; of a layer it says the order of the axes
    usable = given.ndim == _AXES and given.numel() and given.is_floating_point()
    return Steps(batch_first=args[-1]) if usable and torch.is_grad_enabled() else None


def is_packed(args: tuple[Any, ...]) -> bool:
    """Tell whether a recurrent layer is called with a packed sequence: sizes of batches follow."""
    return len(args) > 1 and isinstance(args[1], torch.Tensor) and args[1].dtype == torch.int64
