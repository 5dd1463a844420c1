"""The activations that have a name, as functions of float64 arrays.

Nothing else in the package depends on a function having a name: the tracer re-runs whatever
stands in the model. Names are for the user, for reasons in a plan, and for `xavier gain`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

from xavier._errors import ActivationError, UnknownNameError
from xavier.theory._calls import Array, called

Function = Callable[..., Any]

_erf: Final = np.frompyfunc(math.erf, 1, 1)
_erfc: Final = np.frompyfunc(math.erfc, 1, 1)
_SELU_SCALE: Final = 1.0507009873554804934193349852946
_SELU_ALPHA: Final = 1.6732632423543772848170429916717


@dataclass(frozen=True, slots=True)
class Activation:
    """An activation function and its name.

    Attributes:
        name: As `resolve` takes it, its parameter included, such as `leaky_relu(0.2)`.
        function: From a float64 array to another; a gate takes two.
        gate: Whether it is a gated unit: the product of a function of one projection with
            another projection.
    """

    name: str
    function: Function
    gate: bool = False


@dataclass(frozen=True, slots=True)
class _Family:
    """Functions that differ in one number.

    Attributes:
        make: From the number to the function.
        default: The number that is meant where none is given.
        estimate: From one of the functions to its number.
        always: Whether the default number is written too.
        positive: Whether the number must be.
    """

    make: Callable[[float], Function]
    default: float
    estimate: Callable[[Function], float]
    always: bool = False
    positive: bool = False


def erf(x: Array) -> Array:
    """Return the error function of each element."""
    return np.asarray(_erf(x), dtype=np.float64)


def sigmoid(x: Array) -> Array:
    """Return `1 / (1 + exp(-x))`, to all digits however negative x is."""
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1.0) / (1 + small)


def softplus(x: Array) -> Array:
    """Return `log(1 + exp(x))`."""
    return np.logaddexp(0.0, x)


def gelu(x: Array) -> Array:
    """Return x times the normal distribution function of x, to all digits."""
    return 0.5 * x * np.asarray(_erfc(-x / math.sqrt(2)), dtype=np.float64)


def gelu_tanh(x: Array) -> Array:
    """Return the approximation of `gelu` by a hyperbolic tangent."""
    return x * sigmoid(math.sqrt(8 / math.pi) * (x + 0.044715 * x**3))


def tanhshrink(x: Array) -> Array:
    """Return `x - tanh(x)`, to all digits: for small x by Lambert's continued fraction."""
    square = np.minimum(x**2, 1.0)
    rest = np.full_like(square, 19.0)
    for odd in range(17, 1, -2):
        rest = odd + square / rest
    return np.where(np.abs(x) < 1, x * square / (rest + square), x - np.tanh(x))


def _relu(x: Array) -> Array:
    return np.maximum(x, 0.0)


def _exp_below(x: Array) -> Array:
    return np.expm1(np.minimum(x, 0.0))


_NAMED: Final[Mapping[str, Function]] = {
    "identity": lambda x: x,
    "relu": _relu,
    "relu6": lambda x: np.clip(x, 0.0, 6.0),
    "abs": np.abs,
    "squared_relu": lambda x: _relu(x) ** 2,
    "selu": lambda x: _SELU_SCALE * (_relu(x) + _SELU_ALPHA * _exp_below(x)),
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "quick_gelu": lambda x: x * sigmoid(1.702 * x),
    "silu": lambda x: x * sigmoid(x),
    "mish": lambda x: x * np.tanh(softplus(x)),
    "hardswish": lambda x: x * np.clip(x / 6 + 0.5, 0.0, 1.0),
    "tanh": np.tanh,
    "lecun_tanh": lambda x: 1.7159 * np.tanh(2 * x / 3),
    "hardtanh": lambda x: np.clip(x, -1.0, 1.0),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "arctan": np.arctan,
    "erf": erf,
    "sigmoid": sigmoid,
    "hardsigmoid": lambda x: np.clip(x / 6 + 0.5, 0.0, 1.0),
    "log_sigmoid": lambda x: -softplus(-x),
    "softplus": softplus,
    "tanhshrink": tanhshrink,
    "cosine": np.cos,
    "gaussian": lambda x: np.exp(-(x**2) / 2),
    "square": lambda x: x**2,
    "exp": np.exp,
}

_FAMILIES: Final[Mapping[str, _Family]] = {
    "leaky_relu": _Family(
        lambda a: lambda x: np.where(x > 0, x, a * x), 0.01, lambda f: -_at(f, -1.0), always=True
    ),
    "elu": _Family(
        lambda a: lambda x: _relu(x) + a * _exp_below(x), 1.0, lambda f: _at(f, -1.0) / _E
    ),
    "celu": _Family(
        lambda a: lambda x: _relu(x) + a * np.expm1(np.minimum(x, 0.0) / a),
        1.0,
        lambda f: -_at(f, -1e4),
        positive=True,
    ),
    "sine": _Family(lambda w: lambda x: np.sin(w * x), 1.0, lambda f: _at(f, 1e-7) * 1e7),
    "softshrink": _Family(
        lambda s: lambda x: np.sign(x) * np.maximum(np.abs(x) - s, 0.0),
        0.5,
        lambda f: 1e3 - _at(f, 1e3),
        positive=True,
    ),
    "hardshrink": _Family(
        lambda s: lambda x: np.where(np.abs(x) > s, x, 0.0),
        0.5,
        lambda f: math.nan,  # no finite number of values tells where it jumps
        positive=True,
    ),
    "prelu": _Family(
        lambda a: lambda x: np.where(x > 0, x, a * x), 0.25, lambda f: math.nan, always=True
    ),
}
_E: Final = math.expm1(-1.0)

_GATES: Final[Mapping[str, str]] = {
    "glu": "sigmoid",
    "bilinear": "identity",
    "reglu": "relu",
    "geglu": "gelu",
    "swiglu": "silu",
}

_ALIASES: Final[Mapping[str, str]] = {
    "linear": "identity",
    "swish": "silu",
    "atan": "arctan",
    "sin": "sine",
    "cos": "cosine",
    "logsigmoid": "log_sigmoid",
    "relu_squared": "squared_relu",
    "hard_tanh": "hardtanh",
    "hard_sigmoid": "hardsigmoid",
    "hard_swish": "hardswish",
    "leakyrelu": "leaky_relu",
}


def names() -> tuple[str, ...]:
    """Return every name that `resolve` knows, without parameters and aliases."""
    return tuple(sorted((*_NAMED, *_FAMILIES, *_GATES)))


def resolve(activation: str | Function | Activation) -> Activation:
    """Return an activation by its name, or the given function as one.

    Args:
        activation: A name, with a parameter if it has one (`tanh`, `leaky_relu(0.2)`,
            `sine(30)`); or an elementwise function of a float64 array.

    Raises:
        UnknownNameError: If there is none of that name; with the nearest ones.
        ActivationError: If the parameter is no number, or the name takes none.

    Example:
        >>> float(resolve("leaky_relu(0.2)").function(np.array(-1.0)))
        -0.2
    """
    if isinstance(activation, Activation):
        return activation
    if not isinstance(activation, str):
        if not callable(activation):
            raise ActivationError(f"{activation!r} is no activation, expected a name or a function")
        name = recognize(activation) or getattr(activation, "__name__", "custom")
        return Activation("custom" if name == "<lambda>" else name, activation)
    base, parameter = _parsed(activation)
    if base in _FAMILIES:
        family = _FAMILIES[base]
        value = family.default if parameter is None else parameter
        if family.positive and value <= 0:
            raise ActivationError(
                f"the parameter of {activation!r} is {value:g}, expected a positive number"
            )
        return Activation(_written(base, value), family.make(value))
    known = base in _NAMED or base in _GATES
    if not known:
        raise UnknownNameError("activation", activation, (*names(), *_ALIASES))
    if parameter is not None:
        raise ActivationError(
            f"{activation!r} has a parameter, expected {base!r}, which takes none"
        )
    if base in _GATES:
        bend = _NAMED[_GATES[base]]
        return Activation(base, lambda a, b: bend(a) * b, gate=True)
    return Activation(base, _NAMED[base])


def _parsed(name: str) -> tuple[str, float | None]:
    match = re.fullmatch(r"\s*([A-Za-z_0-9]+)\s*(?:\((.*)\))?\s*", name)
    base = (match[1] if match else name).casefold()
    base = _ALIASES.get(base, base)
    if match is None or match[2] is None:
        return base, None
    try:
        value = float(match[2])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ActivationError(
            f"the parameter of {name!r} is {match[2]!r}, expected a finite number",
            hint="such as leaky_relu(0.2)",
        )
    return base, value


def _written(base: str, value: float) -> str:
    family = _FAMILIES[base]
    return f"{base}({value:.6g})" if family.always or value != family.default else base


def _at(function: Function, point: float) -> float:
    return float(called(function, np.array([point]))[0])


# Irregular, on both sides of every threshold above, far out, and few enough to be cheap.
_PROBES: Final = np.array(
    (
        *(-571.0, -113.0, -31.7, -12.3, -7.1, -4.77, -3.03, -2.41, -1.93, -1.37, -0.97, -0.71),
        *(-0.43, -0.19, -0.037, -0.0021, 0.0013, 0.021, 0.13, 0.37, 0.61, 0.83, 1.09, 1.57),
        *(2.17, 2.89, 3.71, 5.3, 6.9, 11.7, 29.3, 97.0, 613.0),
    )
)
_NEAR: Final = 20.0


def recognize(function: Function) -> str | None:
    """Return the name of the activation whose values a function has; None if there is none.

    Args:
        function: An elementwise function of a float64 array.

    Returns:
        The name, with its parameter in six digits, such as `leaky_relu(0.2)`.

    Example:
        >>> recognize(lambda x: np.where(x > 0, x, x / 5))
        'leaky_relu(0.2)'
    """
    values = _probed(function)
    if values is None:
        return None
    for name, theirs in _named_values().items():
        if _alike(values, theirs):
            return name
    for name, family in _FAMILIES.items():
        parameter = float(f"{family.estimate(function):.6g}")
        if not math.isfinite(parameter) or parameter == 0 or (family.positive and parameter < 0):
            continue
        theirs = _probed(family.make(parameter))
        if theirs is not None and theirs.any() and _alike(values, theirs):
            return _written(name, parameter)
    return None


def _probed(function: Function) -> Array | None:
    try:
        values = called(function, _PROBES)
    except Exception:  # whatever else it is, a function of one array it is not
        return None
    return values if np.isfinite(values[np.abs(_PROBES) < _NEAR]).all() else None


@cache
def _named_values() -> Mapping[str, Array]:
    found = {name: _probed(function) for name, function in _NAMED.items()}
    return {name: values for name, values in found.items() if values is not None}


def _alike(values: Array, theirs: Array) -> bool:
    # Far out a formula may overflow where another of the same function does not.
    told = np.isfinite(values) & np.isfinite(theirs)
    return bool(np.allclose(values[told], theirs[told], rtol=1e-6, atol=1e-9))
