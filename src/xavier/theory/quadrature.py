"""Gaussian expectations of any function: its mean, its power, and that of its derivative.

Gauss-Hermite quadrature loses all but a few digits at a kink (softsign 3e-5, hard tanh 3e-4).
Here the line is cut into panels, on each of which the function is a polynomial to rounding;
a panel on which it is not is cut again. The derivative is the polynomial's, so that a function
needs no formula for it.
"""

from xavier.theory._calls import Array, Function
from xavier.theory._cutting import InfinitePowerError
from xavier.theory._one_variable import Powers, powers
from xavier.theory._two_variables import Powers2, moments2, powers2

__all__ = [
    "Array",
    "Function",
    "InfinitePowerError",
    "Powers",
    "Powers2",
    "moments2",
    "powers",
    "powers2",
]
