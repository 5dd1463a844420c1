"""Names and seeds for draws that know neither: a counter under the active scope."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import RLock

import torch

from xavier.bits import Key, StreamError
from xavier.frameworks.torch.write import default_seed


class _Counters:
    """One seed, and how many unnamed draws each prefix has had under it."""

    def __init__(self, seed: int | None) -> None:
        self._seed = seed
        self._counts: Counter[str] = Counter()
        self._lock = RLock()

    def seed(self) -> int:
        """Return the seed; one that was not given is drawn on the first call."""
        with self._lock:
            if self._seed is None:
                self._seed = default_seed()
            return self._seed

    def next(self, prefix: str) -> int:
        """Return the number of the next unnamed draw under a prefix."""
        with self._lock:
            self._counts[prefix] += 1
            return self._counts[prefix] - 1


_active: ContextVar[tuple[str, _Counters]] = ContextVar("xavier_scope")
_process = "", _Counters(None)


@contextmanager
def scope(prefix: str, *, seed: int | None = None) -> Iterator[None]:
    """Name the draws of the twins that are made within, so that they can be made again.

    The n-th draw without a name, counted from zero, is called `<prefix>#<n>`; a name that is
    given gets the prefix in front, as `xavier.init_` puts its `scope` in front of names. A
    scope within another adds its prefix to that one's, and counts with it: entered twice, it
    goes on where it left off. A scope with a seed begins at zero each time, so that the same
    lines give the same bits.

    Outside of all scopes the prefix is empty, and the seed is drawn from torch's default
    generator, once in the life of the process, when it is first needed. A new thread begins
    outside of all scopes.

    Args:
        prefix: What names begin with, such as `"encoder."`; any text.
        seed: The seed within, a signed 64-bit integer; None for that of the scope around.

    Yields:
        Nothing.

    Raises:
        StreamError: If the prefix is no text, or the seed no 64-bit integer.

    Example:
        >>> import torch
        >>> import xavier.torch
        >>> first, second = torch.empty(2, 3), torch.empty(2, 3)
        >>> for weight in (first, second):
        ...     with xavier.torch.scope("tower.", seed=0):
        ...         _ = xavier.torch.xavier_normal_(weight)
        >>> torch.equal(first, second)
        True
    """
    Key(0 if seed is None else seed, prefix)
    outer, counters = _active.get(_process)
    held = outer + prefix, counters if seed is None else _Counters(seed)
    token = _active.set(held)
    try:
        yield
    finally:
        _active.reset(token)


def key_for(
    tensor: torch.Tensor,
    *,
    name: str | None,
    seed: int | None,
    generator: torch.Generator | None,
) -> Key | None:
    """Return the key of a draw, or None where there is nothing to draw.

    A draw without name and generator takes a number also where it is None: a model built on
    the meta device, or with an empty weight, counts like the real one.

    Args:
        tensor: What will be drawn.
        name: Its name, or None to take one from the active scope's counter.
        seed: The seed, or None to take the scope's.
        generator: Gives the seed; then a draw without a name has the name `#`.

    Raises:
        StreamError: If seed and generator are both given, or are no seed and no name.
    """
    if seed is not None and generator is not None:
        raise StreamError("seed and generator were both given, expected one of them")
    prefix, counters = _active.get(_process)
    if name is None:
        name = "#" if generator is not None else f"#{counters.next(prefix)}"
    if not isinstance(name, str):
        raise StreamError(f"name is {name!r}, expected a string")
    Key(seed or 0, prefix + name)
    if tensor.is_meta or tensor.numel() == 0:
        return None
    if generator is not None:
        # A generator makes its numbers on its own device.
        drawn = torch.empty((), dtype=torch.int64, device=generator.device)
        seed = int(drawn.random_(generator=generator))
    return Key(counters.seed() if seed is None else seed, prefix + name)
