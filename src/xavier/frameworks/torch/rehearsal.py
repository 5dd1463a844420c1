"""Draw and run a model to see what comes of it; afterwards nothing has happened."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from torch import nn
from torch.autograd import grad_mode

from xavier.frameworks.torch import write
from xavier.frameworks.torch._restore import unchanged


@contextmanager
def rehearsal(model: nn.Module) -> Iterator[None]:
    """Let the block draw the model's weights, and put back all that it changes, on an error too.

    As `_restore.unchanged`, and besides the weights that are drawn, which is done behind the
    framework's back: every parameter and buffer is copied in advance, so that this takes the
    memory of the model once more. The counters by which autograd notices writes are put back too,
    and that the model was drawn is forgotten: no later drawing is told that it repeats this one.

    Args:
        model: The model, on a real device.

    Yields:
        Nothing.

    Example:
        >>> from xavier.planning import init_
        >>> layer = nn.Linear(2, 2)
        >>> before = layer.weight.detach().clone()
        >>> with rehearsal(layer):
        ...     _ = init_(layer, seed=0)
        >>> bool((layer.weight == before).all())
        True
    """
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", write.SameBitsWarning)
        stack.enter_context(write.forgotten())
        for tensor in (*model.parameters(), *model.buffers()):
            if not tensor.is_inference():
                stack.enter_context(grad_mode._unsafe_preserve_version_counter(tensor))
        stack.enter_context(unchanged(model, copied=True))
        yield
