"""Parameters that no contraction reads: biases, scales, and everything that is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from xavier import laws
from xavier._types.flow import Flow, Origin, Parameter
from xavier._types.laws import Constant
from xavier._types.plan import Assignment, Kept, Region, Role
from xavier.planning.biases import like_default, within_default
from xavier.planning.sites import region_shape

_NAN = float("nan")


@dataclass(frozen=True)
class Treatment:
    """What happens to one parameter that is not drawn from a rule."""

    assignments: tuple[Assignment, ...] = ()
    kept: tuple[Kept, ...] = ()


def treat(parameter: Parameter, *, added_to: tuple[float, ...] = ()) -> Treatment:
    """Return what happens to a parameter that no contraction reads.

    Biases become 0 and norm scales 1 where the module's type is known and they hold nothing
    deliberate; a parameter that is used as a bias, where it holds zeros or what the frameworks
    draw for one. Everything else keeps its value, and is listed.

    Args:
        parameter: The parameter.
        added_to: If it is used as a bias, the fan_in of the contractions that it is added to.
    """
    facts = parameter.facts
    kind = facts.get("kind", "")
    bias = parameter.attribute.endswith("bias") or parameter.attribute.startswith("bias")
    if not parameter.drawable:
        return _kept(parameter, "its dtype is not a floating-point one")
    if 0 in parameter.shape:
        return _kept(parameter, "it has no elements")
    if kind and bias:
        if facts.get("deliberate") and not within_default(parameter, added_to):
            return _kept(parameter, "a bias that holds a deliberate value")
        if kind == "recurrent":
            return _cell_bias(parameter)
        return Treatment((_constant(parameter, 0.0, Role.BIAS, "biases start at 0"),))
    if kind == "norm" and parameter.attribute == "weight":
        if facts.get("constant") not in (None, 1.0) or facts.get("deliberate"):
            return _kept(parameter, "a norm scale that holds a deliberate value")
        held = "; it held noise about 0" if facts.get("random") else ""
        reason = f"norm scales start at 1{held}"
        return Treatment((_constant(parameter, 1.0, Role.SCALE, reason),))
    if added_to and (parameter.zero or like_default(parameter, added_to)):
        return Treatment((_constant(parameter, 0.0, Role.BIAS, "biases start at 0"),))
    if through := facts.get("through"):
        return _kept(
            parameter,
            f"it is contracted through a function of it ({through}), of which no law is derived;"
            f" draw it by hand, or with overrides={{{parameter.name!r}: rule}}",
        )
    if not parameter.touched:
        return _kept(parameter, "this run did not reach it, and its module's type is not known")
    if parameter.zero:
        return _kept(parameter, "it arrived as zeros")
    return _kept(parameter, "no contraction, convolution or lookup reads it")


def planned_moments(
    flow: Flow, drawn: frozenset[str], added: Mapping[str, tuple[float, ...]]
) -> dict[str, tuple[float, float]]:
    """Return mean and second moment that undrawn parameters will hold, where that is planned."""
    found: dict[str, tuple[float, float]] = {}
    for parameter in flow.parameters:
        if parameter.name in drawn:
            continue
        assigned = treat(parameter, added_to=added.get(parameter.name, ())).assignments
        if assigned and all(isinstance(each.law, Constant) for each in assigned):
            values = [each.law.value for each in assigned if isinstance(each.law, Constant)]
            mean = sum(values) / len(values)
            found[parameter.name] = (mean, mean * mean)
        elif parameter.facts.get("constant") is not None:
            value = float(parameter.facts["constant"])
            found[parameter.name] = (value, value * value)
    return found


def constant_rows(shape: tuple[int, ...], assigned: Iterable[Assignment]) -> np.ndarray | None:
    """Return a vector that is assigned constants, where they are not all the same."""
    assigned = list(assigned)
    if len(shape) != 1 or len(assigned) < 2:  # noqa: PLR2004 - one region is no mixture
        return None
    rows = np.zeros(shape)
    for each in assigned:
        if not isinstance(each.law, Constant):
            return None
        for start, stop in each.region.ranges or ((0, shape[0]),):
            rows[start:stop] = each.law.value
    return rows


def planned_rows(flow: Flow, but: Iterable[str]) -> dict[str, np.ndarray]:
    """Return the vectors that undrawn parameters will hold, where these are constants by parts.

    Args:
        flow: The flow.
        but: Parameters that will hold something else.
    """
    found: dict[str, np.ndarray] = {}
    for parameter in flow.parameters:
        assigned = treat(parameter).assignments
        rows = constant_rows(parameter.shape, assigned) if assigned else arrived_rows(parameter)
        if rows is not None and parameter.name not in set(but):
            found[parameter.name] = rows
    return found


def arrived_rows(parameter: Parameter) -> np.ndarray | None:
    """Return the vector that a parameter held on arrival, where it was constants by parts."""
    runs = parameter.facts.get("runs")
    if not runs:
        return None
    return np.concatenate([np.full(count, value, np.float64) for value, count in runs])


def arrived_moments(flow: Flow) -> dict[str, tuple[float, float]]:
    """Return mean and second moment of what each parameter holds on arrival; nan if unknown."""
    found = {each.name: (_NAN, float(each.facts.get("second", _NAN))) for each in flow.parameters}
    values = (each for each in flow.values if each.origin is Origin.PARAMETER)
    return found | {each.name: (each.mean, each.second) for each in values}


def drawn_moments(rows: Iterable[Assignment]) -> tuple[float, float]:
    """Return mean and second moment of a parameter that is drawn by a plan's rows."""
    sized = [(prod(each.shape), each) for each in rows]
    total = sum(size for size, _ in sized) or 1
    mean = sum(size * laws.mean(each.law, each.shape) for size, each in sized) / total
    second = sum(size * laws.second_moment(each.law, each.shape) for size, each in sized) / total
    return mean, second


def _cell_bias(parameter: Parameter) -> Treatment:
    """Zero, but 1 for an LSTM's forget gate, counted over both of its biases."""
    facts = parameter.facts
    hidden, gates = facts["hidden"], facts["gates"]
    first = "_ih" in parameter.attribute
    if not facts.get("lstm") or not first or parameter.shape[0] != hidden * gates:
        return Treatment((_constant(parameter, 0.0, Role.BIAS, "biases start at 0"),))
    forget = Region(0, ((hidden, 2 * hidden),))
    others = Region(0, ((0, hidden), (2 * hidden, gates * hidden)))
    return Treatment(
        (
            _constant(parameter, 0.0, Role.BIAS, "biases start at 0", others),
            _constant(
                parameter,
                1.0,
                Role.BIAS,
                "the forget gate starts open: the sum of both biases is 1",
                forget,
            ),
        )
    )


def _constant(
    parameter: Parameter, value: float, role: Role, reason: str, region: Region | None = None
) -> Assignment:
    region = region or Region()
    return Assignment(
        name=parameter.name,
        region=region,
        shape=region_shape(parameter.shape, region),
        role=role,
        fan_in=_NAN,
        fan_out=_NAN,
        fed_by="",
        followed_by="",
        rule=f"Fixed({Constant(value)!r})",
        law=Constant(value),
        reason=reason,
        aliases=parameter.aliases,
    )


def _kept(parameter: Parameter, reason: str) -> Treatment:
    kept = Kept(parameter.name, parameter.shape, "parameter", reason, parameter.aliases)
    return Treatment(kept=(kept,))
