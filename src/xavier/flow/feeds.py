"""What a weight is fed: a function's name and its powers, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from xavier.flow.expressions import Expression, replaced
from xavier.theory.activations import recognize
from xavier.theory.quadrature import powers, powers2

# Dense at zero, where shrinkages are flat, and far out, where others saturate.
POINTS = np.array([-40.0, -7.0, -2.1, -1.3, -0.4, -0.03, 0.0, 1e-3, 0.03, 0.3, 0.7, 5.0, 50.0])
_NAMES = {
    "input": "identity",
    "noise": "identity",
    "contraction": "identity",
    "lookup": "lookup",
    "normalization": "normalization",
    "attention": "attention",
    "sum": "sum",
    "product": "product",
    "joined": "joined",
    "mixture": "mixture",
    "probability": "softmax",
    "log_softmax": "log_softmax",
}


@dataclass(frozen=True)
class Feed:
    """What a weight multiplies.

    Attributes:
        name: The function whose output it is, or what made it: `identity`, `tanh`, …
        forward: E[x**2].
        backward: E[(dx/dh)**2] over the pre-activations h behind it.
        ops: The weighted ops whose outputs those pre-activations are.
        function: x as a function of one root, where it is one.
        variance: That root's variance.
        pooled: Whether x is pooled, and counts as the pool's input.
        recurrent: Whether x is a state that comes back.
    """

    name: str
    forward: float
    backward: float
    ops: tuple[int, ...] = ()
    function: Callable[[np.ndarray], np.ndarray] | None = None
    variance: float = 1.0
    pooled: bool = False
    recurrent: bool = False


def feed_of(expression: Expression, *, pooled: bool = False) -> Feed:
    """Return an expression, without averages, as what a weight is fed."""
    roots = expression.roots
    if not roots and not expression.masks:
        return Feed("constant", expression.moments[1], 0.0)
    ops = tuple(dict.fromkeys(root.op for root in roots if root.op is not None))
    if expression.root is not None:
        name = _NAMES.get(expression.root.kind, expression.root.kind)
        if expression.root.kind == "sum" and expression.root.op is not None:
            name = "identity"
        backward = 1.0
        if name in ("softmax", "log_softmax") and expression.root.parts:
            backward = expression.root.parts[0].share
        return Feed(name, expression.root.second, backward, ops, None, 1.0, pooled)
    if expression.masks:
        return _masked(expression, ops, pooled=pooled)
    if len(roots) == 1:
        root = roots[0]
        function = lambda z: expression.evaluate({root: z})  # noqa: E731 - a formula in a line
        found = powers(function, variance=root.variance, mean=root.mean)
        name = recognize(function) or "custom"
        bent = None if name == "custom" and constant_factor(function) else function
        if name == "identity" or bent is None:
            name = _NAMES.get(root.kind, root.kind)
        return Feed(name, found.forward, found.backward, ops, bent, root.variance, pooled)
    first, second = roots
    found2 = powers2(
        lambda a, b: expression.evaluate({first: a, second: b}),
        variances=(first.variance, second.variance),
        means=(first.mean, second.mean),
    )
    backward = sum(found2.backward) / len(found2.backward)
    return Feed("gated product", found2.forward, backward, ops, None, 1.0, pooled)


def _masked(expression: Expression, ops: tuple[int, ...], *, pooled: bool) -> Feed:
    """Return a feed of which a mask, the same for all data, keeps some elements or others."""
    found = [
        (share, feed_of(replaced(expression, at))) for share, at in expression.cases if share > 0
    ]
    largest = max(found, key=lambda each: each[0] * each[1].forward)[1]
    forward, backward = (
        sum(share * value for share, value in pairs)
        for pairs in zip(*(((s, f.forward), (s, f.backward)) for s, f in found), strict=True)
    )
    return Feed(f"masked {largest.name}", forward, backward, ops, None, 1.0, pooled)


def constant_factor(function: Callable[..., np.ndarray]) -> float | None:
    """Return the constant that a function of one argument multiplies by, or None if it is none."""
    with np.errstate(all="ignore"):
        values = np.asarray(function(POINTS))
        factor = float(np.ravel(function(np.array([1.0])))[0])
    if factor == 0 or values.shape != POINTS.shape:
        return None
    return factor if np.allclose(values, factor * POINTS, rtol=1e-6, atol=0) else None
