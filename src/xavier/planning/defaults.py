"""What the framework itself draws a layer of a known type from, when nobody asks."""

from __future__ import annotations

import math

from xavier._types.flow import Parameter
from xavier._types.laws import Law, Normal, Uniform


def default_law(parameter: Parameter) -> Law | None:
    """Return the framework's own law for a weight, or None if its module's type is not known.

    Args:
        parameter: A weight of a PyTorch module, or of a `Conv1D` of transformers.
    """
    kind, shape = parameter.facts.get("kind"), parameter.shape
    if kind == "embedding":
        return Normal(0.0, 1.0)
    if kind == "recurrent":
        return _uniform(1 / math.sqrt(parameter.facts["hidden"]))
    if kind == "attention":
        return _uniform(math.sqrt(6 / sum(shape[:2])))
    if kind == "dense" and parameter.facts.get("transposed"):
        return Normal(0.0, 0.02)
    if kind in ("dense", "conv", "conv_transpose"):
        return _uniform(1 / math.sqrt(max(math.prod(shape[1:]), 1)))
    return None


def _uniform(bound: float) -> Law:
    return Uniform(-bound, bound)
