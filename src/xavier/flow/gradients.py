"""Gradients' second moments carried back through what a propagation has seen.

Every root of a propagation knows what it was made of, and by what a gradient's second moment is
multiplied on the way there. From cotangents of unit second moment at the outputs, each root gets
the sum over all that was made of it; between roots, a function multiplies by the power of its
derivative. A gradient counts as independent of the signal, as the theory has it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

from xavier._errors import ActivationError
from xavier.flow.expressions import Expression, Root, replaced
from xavier.flow.moments import Propagation
from xavier.theory.quadrature import powers, powers2


def gradients(propagation: Propagation) -> dict[int, float]:
    """Return the second moment of the gradient at the output of each weighted op.

    Args:
        propagation: One that has run.

    Returns:
        Second moments by the op's index, for cotangents of unit second moment at every output
        of the flow. Ops that only an attention's softmax leads away from are left out, and so
        are parts of a state that comes back, and what lies before one: there the theory of
        independent elements says nothing.
    """
    flow = propagation.flow
    at: dict[Root, float] = defaultdict(float)
    for output in flow.outputs:
        for root, share in _shares(propagation.expression(output)):
            at[root] += share
    for root in reversed(propagation.roots):
        arrived = at[root]
        if not arrived:
            continue
        for part in root.parts:
            for earlier, share in _shares(part.expression):
                at[earlier] += arrived * part.share * share
    found: dict[int, float] = {}
    for index, op in enumerate(flow.ops):
        root = propagation.expression(op.output).root if op.weights else None
        if root is not None and not root.recurrent and 0 < at[root] < math.inf:
            found[index] = at[root]
    return found


def _shares(expression: Expression) -> Iterator[tuple[Root, float]]:
    """Yield the roots of an expression, each with the power of its partial derivative."""
    if expression.root is not None:
        yield expression.root, 1.0
        return
    if expression.statistic:
        share = 1.0 if expression.statistic == "sum" else expression.count**-2.0
        if expression.statistic in ("mean", "sum"):
            for root, own in _shares(expression.arguments[0]):
                yield root, share * own
        return
    roots = expression.roots
    if not roots:  # of averages alone: a pooled feature, moved or scaled
        for each in expression.arguments:
            yield from _shares(each)
        return
    try:
        yield from zip(roots, _derivatives(expression), strict=True)
    except ActivationError:
        return


def _derivatives(expression: Expression) -> tuple[float, ...]:
    if expression.masks:
        cases = [(share, replaced(expression, at)) for share, at in expression.cases if share > 0]
        at: dict[Root, float] = dict.fromkeys(expression.roots, 0.0)
        for share, each in cases:
            for root, power in _shares(each):
                at[root] += share * power
        return tuple(at.values())
    roots = expression.roots
    if len(roots) == 1:
        (root,) = roots
        found = powers(
            lambda z: expression.evaluate({root: z}), variance=root.variance, mean=root.mean
        )
        return (found.backward,)
    first, second = roots
    return powers2(
        lambda a, b: expression.evaluate({first: a, second: b}),
        variances=(first.variance, second.variance),
        means=(first.mean, second.mean),
    ).backward
