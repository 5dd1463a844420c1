"""Gradients' second moments carried back through what a propagation has seen.

Every root of a propagation knows what it was made of, and by what a gradient's second moment is
multiplied on the way there. From cotangents of unit second moment at the outputs, each root gets
the sum over all that was made of it; between roots, a function multiplies by the power of its
derivative. A gradient counts as independent of the signal, as the theory has it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

from xavier._errors import ActivationError
from xavier.flow.expressions import Expression, Root, replaced
from xavier.flow.moments import Propagation
from xavier.theory.quadrature import powers, powers2

Slopes = Callable[[Expression], tuple[float, ...]]


def gradients(
    propagation: Propagation,
    *,
    cotangent: float = 1.0,
    measured: Mapping[int, float] | None = None,
    derivatives: Slopes | None = None,
) -> dict[int, float]:
    """Return the second moment of the gradient at the output of each weighted op.

    Args:
        propagation: One that has run.
        cotangent: The second moment at every output of the flow; nan if it is not known, which
            leaves out every op from which an output is reached without passing a measured one.
        measured: Second moments that were measured, by the op's index: what lies before such
            an op gets its gradient from this, not from what is predicted there.
        derivatives: Returns the powers of an expression's partial derivatives, one for each of
            its roots; None for exact quadrature.

    Returns:
        Second moments by the op's index. Ops that only an attention's softmax leads away from are
        left out, and so are parts of a state that comes back, and what lies before one: there the
        theory of independent elements says nothing.
    """
    flow, known, slopes = propagation.flow, measured or {}, derivatives or _derivatives
    at: dict[Root, float] = defaultdict(float)
    for output in flow.outputs:
        for root, share in _shares(propagation.expression(output), slopes):
            at[root] += cotangent * share
    of_ops = {
        root: index
        for index in known
        if (root := propagation.expression(flow.ops[index].output).root) is not None
    }
    for root in reversed(propagation.roots):
        arrived = known[of_ops[root]] if root in of_ops else at[root]
        if not arrived:
            continue
        for part in root.parts:
            for earlier, share in _shares(part.expression, slopes):
                at[earlier] += arrived * part.share * share
    found: dict[int, float] = {}
    for index, op in enumerate(flow.ops):
        root = propagation.expression(op.output).root if op.weights else None
        if root is not None and not root.recurrent and 0 < at[root] < math.inf:
            found[index] = at[root]
    return found


def _shares(expression: Expression, slopes: Slopes) -> Iterator[tuple[Root, float]]:
    """Yield the roots of an expression, each with the power of its partial derivative."""
    if expression.root is not None:
        yield expression.root, 1.0
        return
    if expression.statistic:
        share = 1.0 if expression.statistic == "sum" else expression.count**-2.0
        if expression.statistic in ("mean", "sum"):
            for root, own in _shares(expression.arguments[0], slopes):
                yield root, share * own
        return
    roots = expression.roots
    if not roots:  # of averages alone: a pooled feature, moved or scaled
        for each in expression.arguments:
            yield from _shares(each, slopes)
        return
    try:
        yield from zip(roots, _by_cases(expression, slopes), strict=True)
    except ActivationError:
        return


def _by_cases(expression: Expression, slopes: Slopes) -> tuple[float, ...]:
    if not expression.masks:
        return slopes(expression)
    at: dict[Root, float] = dict.fromkeys(expression.roots, 0.0)
    for share, case in expression.cases:
        for root, power in _shares(replaced(expression, case), slopes) if share > 0 else ():
            at[root] += share * power
    return tuple(at.values())


def _derivatives(expression: Expression) -> tuple[float, ...]:
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
