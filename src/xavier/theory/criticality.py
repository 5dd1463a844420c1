"""The edge of chaos: weights and biases under which chi_1 is 1 at the length map's fixed point.

References:
    Schoenholz et al., "Deep Information Propagation", 2017; Pennington, Schoenholz and Ganguli,
    "Resurrecting the sigmoid in deep learning through dynamical isometry", 2017.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from xavier._errors import ActivationError
from xavier.theory.mean_field import (
    NOUGHT,
    TOLD,
    Named,
    check,
    derived,
    elementwise,
    named,
    root,
)
from xavier.theory.quadrature import InfinitePowerError, powers

# Beyond, a softplus is a ReLU to rounding, and would seem to have a point as that has.
_LENGTHS: Final = np.geomspace(1e-10, 1e6, 129)
_AGREE: Final = 1e-11  # of a variance, relative


@dataclass(frozen=True, slots=True)
class CriticalPoint:
    """A point of the edge of chaos.

    Attributes:
        q: The length map's fixed point there.
        sigma_w: Standard deviation of the weights times the root of their fan_in.
        sigma_b: Standard deviation of the biases.
    """

    q: float
    sigma_w: float
    sigma_b: float

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def critical_point(activation: Named, *, q: float) -> CriticalPoint:
    """Return the weights and biases whose length map has the fixed point q, at chi_1 = 1.

    `sigma_w**2 = 1 / E[f'**2]` and `sigma_b**2 = q - sigma_w**2 E[f**2]`.

    Args:
        activation: As for `length_map`.
        q: The fixed point; zero for the limit from above.

    Raises:
        ActivationError: If the biases' variance would have to be negative (sigmoid, softplus):
            there is no critical point then.

    Example:
        >>> point = critical_point("tanh", q=1.0)
        >>> round(point.sigma_w**2, 6), round(point.sigma_b**2, 4)
        (2.153303, 0.151)

    Reference:
        Pennington, Schoenholz and Ganguli, "Resurrecting the sigmoid in deep learning through
        dynamical isometry", 2017, section 2.
    """
    check(q=q)
    weights, biases = _critical_variances(activation, q)
    if math.isinf(weights):
        raise ActivationError(
            f"{named(activation)} has no critical point at q = {q:.6g}: its derivative is zero, "
            "expected one that carries a gradient"
        )
    if biases < -1e-9 * (q + NOUGHT):
        raise ActivationError(
            f"{named(activation)} has no critical point at q = {q:.6g}: the biases would need "
            f"the variance {biases:.6g}",
            hint="no variance of the weights keeps both signal and gradient; a norm or skip does",
        )
    return CriticalPoint(q, math.sqrt(weights), math.sqrt(biases) if biases > NOUGHT * q else 0.0)


def _critical_variances(activation: Named, q: float) -> tuple[float, float]:
    """Return the variances of weights and biases under which q is fixed and chi_1 is 1."""
    backward = derived(activation, q).backward
    if not backward > 0:
        return math.inf, -math.inf
    forward = powers(elementwise(activation), variance=q).forward
    return 1 / backward, q - forward / backward


def edge_of_chaos(
    activation: Named, *, sigma_w: float | None = None, sigma_b: float | None = None
) -> CriticalPoint:
    """Return the point of the edge of chaos that has the given weights or biases.

    Where several have them it is that of least q. Without biases that is q = 0 for most
    activations, for tanh at `sigma_w = 1`; ReLU and its like have every q, and 1 is returned.

    Args:
        activation: As for `length_map`.
        sigma_w: The weights' sigma; give either this
        sigma_b: or the biases'.

    Raises:
        ActivationError: If there is no such point, or not exactly one of both is given.

    Example:
        >>> point = edge_of_chaos("tanh", sigma_b=0.05**0.5)
        >>> round(point.sigma_w**2, 6), round(point.q, 6)
        (1.760955, 0.570048)

    Reference:
        Schoenholz et al., 2017, section 3 and figure 1.
    """
    if (sigma_w is None) == (sigma_b is None):
        raise ActivationError(
            f"sigma_w is {sigma_w} and sigma_b is {sigma_b}, expected exactly one of them"
        )
    given, wanted = (0, sigma_w) if sigma_w is not None else (1, sigma_b)
    assert wanted is not None
    check(**{("sigma_w", "sigma_b")[given]: wanted})
    for q in _edge(lambda q: _critical_variances(activation, q)[given] - wanted**2):
        if _critical_variances(activation, q)[1] > -_AGREE * (q + NOUGHT):
            return critical_point(activation, q=q)
    raise ActivationError(
        f"{named(activation)} has no critical point with "
        f"{('sigma_w', 'sigma_b')[given]} = {wanted:.6g}",
        hint="critical_point gives both for any q that has one",
    )


def _edge(miss: Callable[[float], float]) -> Iterator[float]:
    """Yield lengths at which a function is zero: 1 and 0 if they are any, then by size."""
    yield from (q for q in (1.0, 0.0) if abs(miss(q)) < _AGREE)
    told: list[tuple[float, float]] = []
    for q in _LENGTHS.tolist():
        try:
            told.append((q, miss(q)))
        except InfinitePowerError:
            return
        except ActivationError:
            if q > TOLD:
                raise
        if len(told) > 1 and told[-2][1] * told[-1][1] <= 0:
            yield root(miss, told[-2][0], q)
