"""What one of N shards of a matrix costs, and that it has the whole's bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.contenders import KEY, LAWS
from xavier.bits import fill, fill_region

COUNTS = (2, 4, 8)


class Shards:
    """A square matrix, and its second shard of N by rows and by columns, N = 2, 4, 8."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.whole = np.zeros((side, side), np.float32)
        self.parts: dict[str, tuple[Any, NDArray[Any]]] = {}
        for count in COUNTS:
            part = slice(side // count, 2 * (side // count))
            for name, index in (("rows", (part, slice(None))), ("columns", (slice(None), part))):
                shape = self.whole[index].shape
                self.parts[f"1/{count} {name}"] = index, np.zeros(shape, np.float32)

    def contenders(self) -> dict[str, Callable[[], object]]:
        """Return the functions to time, by the shard's name; the whole is `whole`."""
        law = LAWS["normal"]

        def drawing(index: Any, out: NDArray[Any]) -> Callable[[], object]:
            shape = self.whole.shape
            return lambda: fill_region(out, law, key=KEY, shape=shape, index=index)

        every: dict[str, Callable[[], object]] = {"whole": lambda: fill(self.whole, law, key=KEY)}
        return every | {name: drawing(*part) for name, part in self.parts.items()}

    def require_equal(self) -> None:
        """Assert that each shard is the whole's, to the bit."""
        for index, out in self.parts.values():
            np.testing.assert_array_equal(out.view(np.uint32), self.whole[index].view(np.uint32))
