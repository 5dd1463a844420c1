"""The gradient through a recurrent layer's steps, read off its input."""

from __future__ import annotations

from typing import Any, Final

import torch

from xavier.frameworks.torch import _moments

_AXES: Final = 3  # of a batch of sequences: inputs, steps, features
_UNPACKED: Final = 9  # arguments of a layer that takes no packed sequence; the last says the order
_MOST: Final = 64  # steps that are told; of more, as many evenly spaced, with the last


class Steps:
    """A recurrent layer's input, of which the gradient is wanted step by step.

    Args:
        args: What the layer is called with.

    Attributes:
        args: The same, with an input that a gradient reaches.
        leaf: That input, if it has no history through which a gradient would come by itself.
    """

    def __init__(self, args: tuple[Any, ...]) -> None:
        given: torch.Tensor = args[0]
        self.leaf = None if given.requires_grad else given.detach().requires_grad_()
        self.input = given.view_as(given) if self.leaf is None else self.leaf
        self.args = (self.input, *args[1:])
        self.first = bool(args[-1])
        self.gradient_rms: tuple[float, ...] | None = None
        if self.leaf is None:
            self.input.register_hook(self.keep)

    def keep(self, gradient: torch.Tensor) -> None:
        """Note the RMS of the gradient at every step."""
        steps = gradient.detach().movedim(1 if self.first else 0, 0)
        space = max(1, -(-len(steps) // _MOST))
        chosen = steps.flip(0)[::space].flip(0)
        self.gradient_rms = tuple(_moments.moments(each).rms for each in chosen)


def steps_of(args: tuple[Any, ...]) -> Steps | None:
    """Return a recurrent layer's steps; None of a cell, a packed sequence, or whole numbers."""
    if len(args) != _UNPACKED or not isinstance(args[0], torch.Tensor):
        return None
    given = args[0]
    usable = given.ndim == _AXES and given.numel() and given.is_floating_point()
    return Steps(args) if usable and torch.is_grad_enabled() else None
