"""Every finding that a check may make, by its code."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from xavier._errors import UnknownNameError

FINDINGS: Final = {
    "constant": "all elements are equal in a weight that must break symmetry",
    "constant-frozen": "all elements are equal in a weight that is not trained",
    "dtype-range": "many numbers would become zero or infinite in a narrower dtype",
    "drawn-over": "a weight differs from the reference although the plan keeps it",
    "dtype-changed": "a weight is of another dtype than in the reference, and else equal",
    "duplicate": "two parameters are equal to the bit and not tied",
    "identical-units": "rows of a weight are equal",
    "no-plan": "the model could not be traced, so no law was held against its weights",
    "nonfinite": "elements are NaN or infinite",
    "off-theory": "an op gives what neither its weights nor chance explain",
    "not-drawn": "a weight equals the reference although the plan draws it",
    "only-here": "the model has a tensor that the reference has not",
    "only-there": "the reference has a tensor that the model has not",
    "parametrization-forgotten": "a weight is no longer computed by its parametrization",
    "repeated-shards": "parts of a weight are equal, as shards drawn with one seed are",
    "reshaped": "a weight has another shape than in the reference",
    "residual-unscaled": "a residual writer's standard deviation is larger than its law's",
    "std-off-recipe": "a standard deviation is none that the law explains",
    "tie-broken": "two tensors are apart that should be one",
    "tie-overwritten": "the plan draws two tensors apart that are one, so one draw is lost",
    "truncation-dead": "elements lie beyond the bounds of the truncated law",
    "uninitialized": "elements are as memory has them that was never written",
    "unregistered-weight": "a tensor asks for a gradient and is no parameter",
    "zero-weight": "all elements are zero",
}


def require_known(codes: Iterable[str]) -> frozenset[str]:
    """Return the codes of findings.

    Raises:
        UnknownNameError: If one is none.
    """
    given = frozenset(codes)
    for code in sorted(given):
        if code not in FINDINGS:
            raise UnknownNameError("finding", code, FINDINGS)
    return given
