"""Who draws what: `xavier`, PyTorch, NumPy and, where it is installed, JAX."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xavier.bits import Key, draw, fill
from xavier.laws import Law, Normal, Orthogonal, TruncatedNormal, Uniform

KEY = Key(0, "benchmark")
LAWS: dict[str, Law] = {
    "uniform": Uniform(-1.0, 1.0),
    "normal": Normal(0.0, 1.0),
    # The parent's deviation is 1, as in torch's: `std` is that after the cut.
    "truncated": TruncatedNormal(0.0, 0.8796256610342398),
}


@dataclass
class Elementwise:
    """Everyone's way to draw `size` float32 numbers of each law into memory of its own."""

    size: int
    threads: int
    samples: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # One destination for all, touched before anything is timed.
        self.tensor = torch.zeros(self.size)
        self.array = self.tensor.numpy()
        self.generator = np.random.Generator(np.random.SFC64(0))

    def contenders(self, law: str) -> dict[str, Callable[[], object]]:
        """Return the functions to time for a law, by `law/who`, and PyTorch's plain fill."""
        torch.set_num_threads(self.threads)
        own: dict[str, Callable[[], object]] = {
            f"{law}/xavier": self._drawing(law, self.threads),
            f"{law}/xavier, 1 thread": self._drawing(law, 1),
            "fill/torch": lambda: self.tensor.fill_(0.5),
        }
        peers = self._peers() | self._jax()
        return own | {name: run for name, run in peers.items() if name.startswith(f"{law}/")}

    def _peers(self) -> dict[str, Callable[[], object]]:
        return {
            "uniform/torch": lambda: self.tensor.uniform_(-1.0, 1.0),
            "normal/torch": lambda: self.tensor.normal_(0.0, 1.0),
            "truncated/torch": lambda: torch.nn.init.trunc_normal_(self.tensor, 0.0, 1.0),
            "uniform/numpy": lambda: self.generator.random(dtype=np.float32, out=self.array),
            "normal/numpy": lambda: self.generator.standard_normal(
                dtype=np.float32, out=self.array
            ),
        }

    def sample(self, name: str, run: Callable[[], object], *, most: int) -> NDArray[Any]:
        """Draw once more, and return every so-manieth number of what it gives."""
        result = run()
        drawn = result if name.endswith("/jax") else self.array
        return np.asarray(drawn).reshape(-1)[:: max(1, self.size // most)].copy()

    def _drawing(self, name: str, threads: int) -> Callable[[], object]:
        return lambda: fill(self.array, LAWS[name], key=KEY, threads=threads)

    def _jax(self) -> dict[str, Callable[[], object]]:
        if importlib.util.find_spec("jax") is None:
            return {}
        import jax

        key, shape = jax.random.key(0), (self.size,)
        uniform = jax.jit(lambda: jax.random.uniform(key, shape, minval=-1.0, maxval=1.0))
        normal = jax.jit(lambda: jax.random.normal(key, shape))
        truncated = jax.jit(lambda: jax.random.truncated_normal(key, -2.0, 2.0, shape))
        return {
            "uniform/jax": lambda: uniform().block_until_ready(),
            "normal/jax": lambda: normal().block_until_ready(),
            "truncated/jax": lambda: truncated().block_until_ready(),
        }


def matrices(side: int) -> dict[str, Callable[[], object]]:
    """Return the functions that make an orthogonal matrix."""
    tensor = torch.empty(side, side)
    return {
        "orthogonal/torch": lambda: torch.nn.init.orthogonal_(tensor),
        "orthogonal/xavier": lambda: draw(Orthogonal(), (side, side), seed=0, name="q"),
    }
