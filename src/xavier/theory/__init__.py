"""The mathematics of signals in random networks, for any activation.

    gain, describe          what an activation does to the variance, and the gains that undo it
    powers, powers2         Gaussian expectations of any function and its derivative, to 1e-10
    length_map, chi_1, …    mean-field theory: fixed points, the edge of chaos, depth scales

An activation is an elementwise function of a float64 array, or a name that `names()` lists.
"""

from xavier.theory.activations import Activation, names, recognize, resolve
from xavier.theory.criticality import CriticalPoint, critical_point, edge_of_chaos
from xavier.theory.gains import GainFacts, describe, gain, stability
from xavier.theory.mean_field import (
    DepthScales,
    chi_1,
    correlation_fixed_point,
    correlation_map,
    depth_scales,
    length_fixed_point,
    length_map,
)
from xavier.theory.quadrature import Powers, Powers2, powers, powers2

__all__ = [
    "Activation",
    "CriticalPoint",
    "DepthScales",
    "GainFacts",
    "Powers",
    "Powers2",
    "chi_1",
    "correlation_fixed_point",
    "correlation_map",
    "critical_point",
    "depth_scales",
    "describe",
    "edge_of_chaos",
    "gain",
    "length_fixed_point",
    "length_map",
    "names",
    "powers",
    "powers2",
    "recognize",
    "resolve",
    "stability",
]
