"""Train the paper's networks on digits, and monitor their activations on 300 held-out ones.

The paper draws each of its pictures anew and meets none twice. For tanh and softsign scikit-learn's
digits are therefore shifted by up to two pixels, and noise of their own variance is added, whenever
one is drawn. The sigmoid network has them as they are: it would stay on its plateau for longer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

import xavier

HELD_OUT: Final = 300  # as in the paper
BATCH: Final = 10
WIDTH: Final = 100
SHIFT: Final = 2  # pixels
SIDE: Final = 8
A_DECADE: Final = 10  # samples
_FUNCTIONS: Final[dict[str, type[nn.Module]]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "softsign": nn.Softsign,
}


@dataclass(frozen=True, slots=True)
class Network:
    """One of the paper's networks, and how it is trained.

    Attributes:
        name: Its name.
        function: Of the hidden layers.
        depth: How many hidden layers.
        rate: Of plain gradient descent.
        updates: How many, of `BATCH` digits each.
        varied: Whether digits are shifted and noisy.
    """

    name: str
    function: str
    depth: int
    rate: float
    updates: int
    varied: bool = True


NETWORKS: Final = (
    Network("sigmoid", "sigmoid", 4, 0.1, 40_000, varied=False),
    Network("tanh", "tanh", 5, 0.1, 40_000),
    Network("softsign", "softsign", 5, 0.1, 40_000),
)


def trained(network: Network, *, updates: int | None = None) -> dict[str, Any]:
    """Train a network from the heuristic's start, and return what the monitor saw, layer by layer.

    Args:
        network: Which one.
        updates: How many, in place of its own.
    """
    count = network.updates if updates is None else updates
    source = Digits(seed=0, varied=network.varied)
    probe = Digits(seed=1, varied=network.varied, held_out=True)
    held_out, expected = probe.draw(HELD_OUT)
    model = build(network, held_out)
    monitor = xavier.Monitor(model, every=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=network.rate)
    due, errors = set(moments(count)), []
    for update in range(count + 1):
        if update in due:
            with monitor.step(update):
                logits = model(held_out)
                nn.functional.cross_entropy(logits, expected).backward()
            errors.append(float((logits.argmax(1) != expected).float().mean()))
        inputs, labels = source.draw(BATCH)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    return _recorded(monitor.samples, errors)


class Digits:
    """Digits to draw from, of 64 standardized pixels.

    Args:
        seed: Of what is drawn.
        varied: Whether each is drawn at another place and under other noise.
        held_out: Whether to draw of those that are not trained on.
    """

    def __init__(self, *, seed: int, varied: bool, held_out: bool = False) -> None:
        data = load_digits()
        order = np.random.default_rng(0).permutation(len(data.target))
        rows = order[:HELD_OUT] if held_out else order[HELD_OUT:]
        pixels = (data.images - data.images.mean()) / data.images.std()
        blank = float(pixels.min())
        shift = SHIFT if varied else 0
        around = ((0, 0), (shift, shift), (shift, shift))
        padded = np.pad(pixels[rows], around, constant_values=blank).astype("float32")
        places = torch.from_numpy(padded).unfold(1, SIDE, 1).unfold(2, SIDE, 1)
        self._pictures = places.reshape(len(rows), -1, SIDE * SIDE)  # digit, place, pixel
        self._labels = torch.from_numpy(data.target[rows])
        self._noise = 1.0 if varied else 0.0
        self._generator = torch.Generator().manual_seed(seed)

    def draw(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return pictures of 64 pixels, and their labels."""
        digits, places, _ = self._pictures.shape
        which = torch.randint(digits, (count,), generator=self._generator)
        where = torch.randint(places, (count,), generator=self._generator)
        noise = torch.randn(count, SIDE * SIDE, generator=self._generator)
        return self._pictures[which, where] + self._noise * noise, self._labels[which]


def build(network: Network, example: torch.Tensor) -> nn.Module:
    """Return a network as the paper starts it: weights of U[-1/sqrt(n), 1/sqrt(n)], biases 0."""
    sizes = [example.shape[1], *[WIDTH] * network.depth]
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), _FUNCTIONS[network.function]()]
    model = nn.Sequential(*layers, nn.Linear(WIDTH, 10))
    xavier.init_(model, example, recipe="heuristic", seed=0, scope=network.name)
    return model


def moments(updates: int) -> Iterator[int]:
    """Yield when to sample: at 0, and then evenly on a logarithmic scale to the end."""
    yield 0
    decades = math.log10(max(updates, 1))
    count = max(1, math.ceil(decades * A_DECADE))
    yield from sorted({round(10 ** (decades * at / count)) for at in range(count + 1)})


def _recorded(samples: list[xavier.Sample], errors: list[float]) -> dict[str, Any]:
    layers = range(len(samples[0].activations))
    return {
        "updates": [sample.step for sample in samples],
        "verdicts": [str(sample.verdict) for sample in samples],
        "error": [round(error, 4) for error in errors],
        "layers": [
            {
                "mean": [_short(sample.activations[at].mean) for sample in samples],
                "std": [_short(sample.activations[at].std) for sample in samples],
                "p98": [_short(sample.activations[at].p98) for sample in samples],
                "saturated": [_short(sample.signal.ops[at].saturation) for sample in samples],
                "at the end": _histogram(samples[-1].activations[at]),
            }
            for at in layers
        ],
    }


def _histogram(found: Any) -> dict[str, Any]:
    return {"low": _short(found.low), "high": _short(found.high), "counts": list(found.counts)}


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
