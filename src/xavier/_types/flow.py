"""The flow: what a model computes, as ops and values, whichever framework made it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import numpy as np

from xavier._types.plan import Region

# The names of constants that are random, or as good as that.
NOISE: Final = "noise"  # standard normal
MASK: Final = "mask"  # zeros and ones, of which it has a share


class OpKind(StrEnum):
    """What an op does to the signal."""

    CONTRACT = "contract"  # sums products: matrix multiplication, convolution, einsum
    LOOKUP = "lookup"  # reads rows of a table
    ELEMENTWISE = "elementwise"
    ADD = "add"
    MULTIPLY = "multiply"
    NORMALIZE = "normalize"
    MOVE = "move"  # rearranges, repeats, joins or selects elements
    MEAN = "mean"  # an average over an axis: an expectation, or a pool
    SUM = "sum"
    POOL = "pool"
    SOFTMAX = "softmax"
    ATTENTION = "attention"  # softmax(q k) v in one op
    OPAQUE = "opaque"  # followed no further; listed in the flow's notes


class Origin(StrEnum):
    """Where a value comes from."""

    INPUT = "input"
    CONSTANT = "constant"
    PARAMETER = "parameter"  # a parameter that enters an elementwise op
    COMPUTED = "computed"


@dataclass(frozen=True, slots=True)
class WeightUse:
    """One region of a parameter as one op reads it.

    Attributes:
        parameter: Canonical name.
        region: The part of the stored parameter.
        fan_in: Products summed into one output element, by this op alone.
        fan_out: Products that one input element enters.
        scale: A constant that multiplies the stored weight on its way into the op.
        contracted: Stored axes that are summed over.
        kept: Stored axes that stay in the output.
        batched: Stored axes that are batched in the op itself.
    """

    parameter: str
    region: Region
    fan_in: float
    fan_out: float
    scale: float = 1.0
    contracted: tuple[int, ...] = ()
    kept: tuple[int, ...] = ()
    batched: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor that the model computes.

    Attributes:
        shape: Its shape in the traced run.
        origin: Where it comes from.
        producer: Index of the op that made it; None for sources.
        mean: Mean of a constant or parameter; 0 for inputs, which count as standardized.
        second: Second moment of the same; 1 for inputs.
        name: The parameter's name, or the input's; of constants, `NOISE`, `MASK` or none.
    """

    shape: tuple[int, ...]
    origin: Origin
    producer: int | None = None
    mean: float = 0.0
    second: float = 1.0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Op:
    """One step of the computation.

    Attributes:
        kind: What it does to the signal.
        name: The framework's name of it, such as `aten.mm`.
        path: The module that ran it.
        inputs: Values it reads, weights excluded.
        output: The value it makes.
        weights: The weight regions it reads.
        function: For elementwise ops: the op on float64 arrays, one for each input.
        attributes: Facts of the kind: `count` (elements averaged, summed or in one softmax),
            `axis` (a softmax's, from the end), `log` (of a softmax), `selects`
            (a MOVE that takes some of the elements), `part` (which of how many equal ones
            a MOVE takes), `contracted` (of two activations),
            `stride` (the volume of a convolution's).
    """

    kind: OpKind
    name: str
    path: str
    inputs: tuple[int, ...]
    output: int
    weights: tuple[WeightUse, ...] = ()
    function: Callable[..., np.ndarray] | None = field(default=None, compare=False)
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter as the model holds it, whether or not the run used it.

    Attributes:
        name: Canonical name.
        shape: Stored shape.
        module: Type name of the module that owns it.
        attribute: Its name there.
        aliases: Other names of the same storage.
        touched: Whether any op of the run read it.
        zero: Whether it arrived as zeros everywhere (unknown, so False, on meta).
        parametrization: The constraint it is stored under, if any.
        drawable: Whether its dtype can be drawn.
        default: The framework's own law for it, where known, as `Law.to_dict` gives it.
    """

    name: str
    shape: tuple[int, ...]
    module: str
    attribute: str
    aliases: tuple[str, ...] = ()
    touched: bool = False
    zero: bool = False
    parametrization: str | None = None
    drawable: bool = True
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Flow:
    """Everything one traced run computed.

    Attributes:
        ops: In the order of execution.
        values: Everything that ops read and make.
        outputs: The values that the model returned.
        parameters: All of the model's parameters, in its order.
        buffers: Names and shapes of its buffers.
        model_digest: A digest of the model's structure.
        notes: Guesses, and what could not be followed.
        traced: Whether a run was followed; without one there are parameters, but no ops.
    """

    ops: tuple[Op, ...]
    values: tuple[Value, ...]
    outputs: tuple[int, ...]
    parameters: tuple[Parameter, ...]
    buffers: tuple[tuple[str, tuple[int, ...]], ...]
    model_digest: str
    notes: tuple[str, ...] = ()
    traced: bool = True
