"""The mean-field numbers of plain stacks: layers with neither norm nor skip, one after another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final

from xavier._errors import ActivationError
from xavier._types.flow import Flow, OpKind
from xavier._types.signal import OpSignal
from xavier._types.theory import PlainStack
from xavier.checking.expectation import Expected, Held, through
from xavier.flow.feeds import Feed
from xavier.theory.mean_field import Named, chi_1, elementwise, length_fixed_point, root
from xavier.theory.quadrature import powers

_SHORTEST: Final = 3  # layers; of fewer the limit of depth says nothing
_LENGTHS: Final = (1e-10, 1e8)  # between which an edge of chaos is looked for
_STRIDE: Final = 8.0
_NOUGHT: Final = 1e-9


def plain_stacks(
    flow: Flow,
    expected: Expected,
    held: Held,
    joined: Mapping[int, OpSignal],
    biases: Mapping[int, float],
) -> Iterator[PlainStack]:
    """Yield stretches of at least three layers with one activation and neither norm nor skip.

    Args:
        flow: What the model computes.
        expected: What each weighted op is fed.
        held: The second moment of each region of a weight that an op reads.
        joined: The measured op of each weighted op.
        biases: The second moment of the bias of each that has one.
    """
    for chain in _chains(flow, expected.feeds, joined):
        powers_ = [through(flow.ops[at], held, 1.0)[0] for at in chain]
        sigma_w = math.sqrt(sum(powers_) / len(chain))
        sigma_b = math.sqrt(sum(biases.get(at, 0.0) for at in chain) / len(chain))
        if not math.isfinite(sigma_w) or not sigma_w > 0:
            continue
        feed = expected.feeds[chain[0]]
        try:
            numbers = _numbers(_named(feed), float(f"{sigma_w:.9g}"), float(f"{sigma_b:.9g}"))
        except ActivationError:
            continue
        ends = joined[chain[0]].index, joined[chain[-1]].index
        yield PlainStack(*ends, len(chain), feed.name, sigma_w, sigma_b, *numbers)


def _chains(
    flow: Flow, feeds: Mapping[int, Feed], joined: Mapping[int, OpSignal]
) -> list[list[int]]:
    """Return stretches of ops, each fed by the one before it, through one and the same function."""
    found: dict[int, list[int]] = {}
    for at in sorted(feeds):
        feed = feeds[at]
        before = feed.ops[0] if len(feed.ops) == 1 else -1
        plain = feed.function is not None or feed.name == "identity"
        contracts = flow.ops[at].kind is OpKind.CONTRACT and before in feeds
        if not (contracts and plain and at in joined and before in joined):
            continue
        if feed.pooled or feed.recurrent:
            continue
        same = before in found and feeds[before].name == feed.name
        found[at] = [*found.pop(before), at] if same else [at]
    return [chain for chain in found.values() if len(chain) >= _SHORTEST]


def _named(feed: Feed) -> Named:
    if feed.name == "custom" and feed.function is not None:
        return feed.function
    return feed.name


@lru_cache(maxsize=64)
def _numbers(
    activation: Named, sigma_w: float, sigma_b: float
) -> tuple[float, float, float, float | None]:
    """Return q*, chi_1 there, the depth scale, and the sigma_w of the edge of chaos."""
    q = length_fixed_point(activation, sigma_w=sigma_w, sigma_b=sigma_b)
    # Where the length grows for good, a length far out stands for the limit.
    chi = chi_1(activation, q=min(q, 1e6), sigma_w=sigma_w)
    scale = abs(math.log(chi)) if chi > 0 else math.inf
    xi = math.inf if scale < _NOUGHT else 1 / scale
    return q, chi, xi, _edge(activation, sigma_b) or _edge_here(sigma_w, chi)


def _edge_here(sigma_w: float, chi: float) -> float | None:
    return sigma_w / math.sqrt(chi) if chi > 0 else None


def _edge(activation: Named, sigma_b: float) -> float | None:
    """Return the weights' sigma at the critical point that has the given biases; None without one.

    At length q it needs `sigma_w**2 = 1 / E[f'**2]` and `sigma_b**2 = q - sigma_w**2 E[f**2]`.
    """
    function = elementwise(activation)

    def miss(q: float) -> float:
        found = powers(function, variance=q)
        return q - found.forward / found.backward - sigma_b**2

    low = _LENGTHS[0]
    try:
        if abs(at := miss(low)) < _NOUGHT:
            return powers(function, variance=0.0).backward ** -0.5
        high = low
        while high < _LENGTHS[1]:
            low, high = high, high * _STRIDE
            if miss(high) * at <= 0:
                return powers(function, variance=root(miss, low, high)).backward ** -0.5
    except (ActivationError, ZeroDivisionError, OverflowError):
        return None
    return None
