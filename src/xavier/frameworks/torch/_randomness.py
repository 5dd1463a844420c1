"""What is random in a model, as a plan counts it: dropout as in evaluation, noise by its law.

A plan follows from the architecture alone. So neither a generator of the caller's nor the number
of elements that an example happens to draw may count: a noise's moments are those of its law,
as a function of a standard normal variable, and its values, where a branch or an index asks for
them, come from seeds of the tracer's own.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np
import torch
from torch.nn import functional

from xavier.frameworks.torch._calls import is_tensor
from xavier.frameworks.torch._op_kinds import base_name

Law = Callable[[np.ndarray], np.ndarray]

_SPELLINGS: Final = (
    *("dropout", "dropout_", "alpha_dropout", "alpha_dropout_", "feature_dropout"),
    *("feature_dropout_", "feature_alpha_dropout", "feature_alpha_dropout_", "native_dropout"),
)
_FUNCTIONAL: Final = (
    *("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"),
)
PAIRS: Final = frozenset({torch.native_dropout})  # these return a mask as well
DROPOUTS: Final = frozenset(
    {
        *(getattr(torch, name) for name in _SPELLINGS),
        *(getattr(functional, name) for name in _FUNCTIONAL),
    }
)


def seed_generators() -> None:
    """Seed the generators of Python and NumPy, which are put back after a trace."""
    random.seed(0)
    np.random.seed(0)


@cache
def is_random(func: torch._ops.OpOverload) -> bool:
    """Tell whether an operator draws from a generator."""
    return torch.Tag.nondeterministic_seeded in func.tags


def without_generators(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments with the caller's generators taken out: a trace advances none."""
    kept = lambda each: None if isinstance(each, torch.Generator) else each  # noqa: E731 - a formula in a line
    return tuple(map(kept, args)), {name: kept(each) for name, each in kwargs.items()}


def law_of(func: torch._ops.OpOverload, args: Any, kwargs: Any) -> Law | None:
    """Return what an operator draws, as a function of a standard normal variable.

    None if it is no noise of a fixed law: a permutation, a choice, a dropout.
    """
    numbers = _numbers(func, args, kwargs)
    match base_name(func):
        case "randn" | "randn_like":
            return _moved(0.0, 1.0)
        case "normal" if set(numbers) >= {"mean", "std"}:
            return _moved(numbers["mean"], numbers["std"])
        case "rand" | "rand_like":
            return _uniform(0.0, 1.0)
        case "uniform":
            return _uniform(numbers["from"], numbers["to"])
        case "randint_like" | "random" if "high" in numbers or "to" in numbers:
            low = numbers.get("low", numbers.get("from", 0.0))
            below = _uniform(low, numbers.get("high", numbers.get("to", low + 1)))
            return lambda z: np.floor(below(z))
        case "exponential":
            rate = numbers["lambd"]
            return lambda z: -_torched(torch.special.log_ndtr, z) / rate
        case "log_normal":
            mean, std = numbers["mean"], numbers["std"]
            return lambda z: np.exp(mean + std * z)
        case "bernoulli" if "p" in numbers and not args[0].is_floating_point():
            share = numbers["p"]
            return lambda z: _torched(torch.special.ndtr, z) < share
        case _:
            return None


def expected(func: torch._ops.OpOverload, args: Any, kwargs: Any) -> float | torch.Tensor | None:
    """Return what stands for a dropout's mask of numbers: their mean, which a scale undoes."""
    if base_name(func) != "bernoulli" or not args[0].is_floating_point():
        return None
    share = _numbers(func, args, kwargs).get("p")
    if share is None:
        share = next((each for each in (*args[1:], kwargs.get("p")) if is_tensor(each)), args[0])
    return share


def _numbers(func: torch._ops.OpOverload, args: Any, kwargs: Any) -> dict[str, float]:
    """Return the arguments that are numbers, by name, defaults included."""
    found: dict[str, float] = {}
    for at, each in enumerate(func._schema.arguments):
        default = each.default_value if each.has_default_value() else None
        value = args[at] if at < len(args) else kwargs.get(each.name, default)
        if isinstance(value, int | float) and math.isfinite(value):
            found[each.name] = float(value)
    return found


def _moved(mean: float, std: float) -> Law:
    return lambda z: mean + std * z


def _uniform(low: float, high: float) -> Law:
    return lambda z: low + (high - low) * _torched(torch.special.ndtr, z)


def _torched(function: Callable[[torch.Tensor], torch.Tensor], z: np.ndarray) -> np.ndarray:
    return function(torch.from_numpy(np.array(z, dtype=np.float64))).numpy()
