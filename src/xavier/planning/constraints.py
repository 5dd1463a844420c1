"""Weights under a constraint, whose scale is the constraint's and not a rule's to choose.

Spectral norm divides a weight by its largest singular value, an orthogonal parametrization puts an
orthogonal matrix in its place. Whatever is stored, the effective weight has one size, and its law
is what a plan states, predicts with, and draws: a stored weight of that law is hardly changed by
the constraint.
"""

from __future__ import annotations

import math

from xavier import rules
from xavier._types.flow import Parameter
from xavier._types.laws import Normal, Orthogonal
from xavier.laws import round_law
from xavier.planning.setting import Choice
from xavier.planning.sites import Site

SETTLED = ("weight_norm", "spectral_norm", "orthogonal")
"""Parametrizations whose effective weight has the law that the plan states."""

_MATRIX_AXES = 2


def constrained(site: Site) -> Choice | None:
    """Return what a constraint leaves of a site's law, or None if a rule may choose it."""
    return imposed(site.parameter)


def imposed(parameter: Parameter) -> Choice | None:
    """Return the law that a constraint imposes on a parameter, or None if a rule may choose it.

    The largest singular value of an n x m matrix of independent normal elements of standard
    deviation s is `s (sqrt(n) + sqrt(m))` in the limit, so that spectral norm makes theirs
    `1 / (sqrt(n) + sqrt(m))`.

    Reference:
        Bai and Yin, "Limit of the smallest eigenvalue of a large dimensional sample covariance
        matrix", 1993.
    """
    shape = parameter.shape
    if parameter.parametrization == "spectral_norm" and len(shape) >= _MATRIX_AXES:
        rows = shape[int(parameter.facts.get("norm_axis", 0))]
        columns = math.prod(shape) // rows
        return Choice(
            rules.Fixed(round_law(Normal(0.0, 1 / (math.sqrt(rows) + math.sqrt(columns))))),
            f"spectral norm makes the largest singular value of the {rows} x {columns} matrix 1,"
            " whatever is drawn, and its elements' standard deviation this",
        )
    if parameter.parametrization == "orthogonal" and len(shape) == _MATRIX_AXES:
        return Choice(
            rules.Fixed(Orthogonal(1.0)),
            "its parametrization makes it orthogonal, whatever is drawn",
        )
    return None
