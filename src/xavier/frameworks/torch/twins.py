"""Twins of torch.nn.init: the same functions, with bits that follow from a seed and a name.

Each takes what its original takes, and besides:

    name    the draw's name; without one it is numbered under the active `scope`
    seed    its seed; without one it has the scope's
    generator   as for the original: the seed is drawn from it

The values have the original's distribution and not its bits. They are the same whatever was drawn
before, on every device, for contiguous and strided tensors; float16 and bfloat16 tensors get the
float32 values rounded. Tensors on the meta device are left alone.
"""

from __future__ import annotations

import math
import warnings

import torch
from torch.nn.init import calculate_gain, constant_, dirac_, eye_, ones_, zeros_

from xavier._errors import LawError, ShapeError, UnknownNameError
from xavier._types.laws import Normal, Orthogonal, Uniform
from xavier.bits import Key
from xavier.frameworks.torch._draws import (
    clamp,
    draw_law,
    require_drawable,
    require_tensor,
    write_between,
    write_law,
    zero_in_columns,
)
from xavier.frameworks.torch._scopes import key_for, scope
from xavier.frameworks.torch._truncated import known_law

__all__ = [
    "calculate_gain",
    "constant_",
    "dirac_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "scope",
    "sparse_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

_MATRIX_AXES = 2
_GAINS = (
    *("linear", "conv1d", "conv2d", "conv3d"),
    *("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
    *("sigmoid", "tanh", "relu", "leaky_relu", "selu"),
)


def uniform_(
    tensor: torch.Tensor,
    a: float = 0.0,
    b: float = 1.0,
    generator: torch.Generator | None = None,
    *,
    name: str | None = None,
    seed: int | None = None,
) -> torch.Tensor:
    """Fill a tensor from U[a, b), as `torch.nn.init.uniform_` does.

    Args:
        tensor: The tensor: float64, float32, float16 or bfloat16.
        a: The lower end.
        b: The upper end.
        generator: Gives the seed, in place of `seed`.
        name: The draw's name; None to take one from the active scope.
        seed: The seed; None for the scope's.

    Returns:
        The tensor.

    Raises:
        DtypeError: If the dtype cannot be drawn.
        LawError: If the ends are not finite, or `a` is above `b`, or one is beyond the dtype.
        StreamError: If the name or the seed is none, or seed and generator are both given.
        WriteError: If the tensor cannot be written to: two of its elements share memory.

    Example:
        >>> import torch
        >>> weight = uniform_(torch.empty(2, 3), -1.0, 1.0, name="weight", seed=0)
        >>> bool((weight.abs() <= 1).all())
        True
    """
    return draw_law(tensor, Uniform(a, b), generator, name=name, seed=seed)


def normal_(
    tensor: torch.Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    generator: torch.Generator | None = None,
    *,
    name: str | None = None,
    seed: int | None = None,
) -> torch.Tensor:
    """Fill a tensor from N(mean, std²), as `torch.nn.init.normal_` does.

    Args:
        tensor: As for `uniform_`; so are `generator`, `name`, `seed` and what is raised.
        mean: The mean.
        std: The standard deviation; zero or more.
        generator: See `uniform_`.
        name: See `uniform_`.
        seed: See `uniform_`.

    Returns:
        The tensor.
    """
    return draw_law(tensor, Normal(mean, std), generator, name=name, seed=seed)


def trunc_normal_(  # noqa: PLR0913 - torch's signature
    tensor: torch.Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: torch.Generator | None = None,
    *,
    name: str | None = None,
    seed: int | None = None,
) -> torch.Tensor:
    """Fill a tensor from N(mean, std²) given [a, b], as `torch.nn.init.trunc_normal_` does.

    As in torch, `std` is the standard deviation *before* the cut, and `a` and `b` are values,
    not multiples of it: with `std=0.02` the default ends cut nothing.

    Where the ends lie alike on either side of the mean the values are those of the law
    `TruncatedNormal`. Else they are the inverse distribution function of the uniform stream,
    by the C library's functions in float64: these are the same on every run, but their last
    digits may differ from one machine to another.

    Args:
        tensor: As for `uniform_`; so are `generator`, `name`, `seed` and what is raised.
        mean: The mean before the cut.
        std: The standard deviation before the cut; positive.
        a: The lower end; may be infinite.
        b: The upper end; may be infinite.
        generator: See `uniform_`.
        name: See `uniform_`.
        seed: See `uniform_`.

    Returns:
        The tensor.

    Note:
        torch warns where the mean lies more than two standard deviations outside of [a, b];
        here the distribution is right there too.
    """
    if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
        raise LawError(f"mean and std are {mean} and {std}, expected finite, and std positive")
    if not a <= b or math.inf in (a, -b):
        raise LawError(f"the ends are {a} and {b}, expected an interval that holds some number")
    law = known_law(mean, std, a, b)
    require_drawable(tensor)
    key = key_for(tensor, name=name, seed=seed, generator=generator)
    if key is None:
        return tensor
    if law is None:
        write_between(tensor, key, mean=mean, std=std, ends=(a, b))
    else:
        write_law(tensor, law, key)
    # The law's own ends may be one rounding away from these.
    clamp(tensor, a, b)
    return tensor


def xavier_uniform_(
    tensor: torch.Tensor,
    gain: float = 1.0,
    generator: torch.Generator | None = None,
    *,
    name: str | None = None,
    seed: int | None = None,
) -> torch.Tensor:
    """Fill a tensor from U[-a, a), `a = gain * sqrt(6 / (fan_in + fan_out))`.

    The fans are those of `torch.nn.init`: axis 1 and axis 0 times the kernel's volume.
    `xavier.plan` works out a weight's real ones.

    Args:
        tensor: Of two or more axes; else as for `uniform_`, as are `generator`, `name`, `seed`.
        gain: The factor.
        generator: See `uniform_`.
        name: See `uniform_`.
        seed: See `uniform_`.

    Returns:
        The tensor.

    Raises:
        ShapeError: If it has fewer than two axes; and what `uniform_` raises.

    Reference:
        Glorot and Bengio, 2010, equation 16.
    """
    bound = math.sqrt(3.0) * _xavier_std(tensor, gain)
    return draw_law(tensor, Uniform(-bound, bound), generator, name=name, seed=seed)


def xavier_normal_(
    tensor: torch.Tensor,
    gain: float = 1.0,
    generator: torch.Generator | None = None,
    *,
    name: str | None = None,
    seed: int | None = None,
) -> torch.Tensor:
    """Fill a tensor from N(0, std²), `std = gain * sqrt(2 / (fan_in + fan_out))`.

    Args:
        tensor: As for `xavier_uniform_`; so are `generator`, `name`, `seed` and what is raised.
        gain: The factor.
        generator: See `uniform_`.
        name: See `uniform_`.
        seed: See `uniform_`.

    Returns:
        The tensor.

    Reference:
        Glorot and Bengio, 2010, section 4.2.1.
    """
    law = Normal(0.0, _xavier_std(tensor, gain))
    return draw_law(tensor, law, generator, name=name, seed=seed)


def kaiming_uniform_(  # noqa: PLR0913 - torch's signature
    tensor: torch.Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: torch.Generator | None = None,
    *,
    name: str | None = None,
    seed: int | None = None,
) -> torch.Tensor:
    """Fill a tensor from U[-bound, bound), `bound = gain * sqrt(3 / fan)`.

    Args:
        tensor: As for `xavier_uniform_`; so are `generator`, `name`, `seed`.
        a: The slope of a leaky ReLU for negative input.
        mode: Which fan: `fan_in` or `fan_out`.
        nonlinearity: The function whose gain torch's `calculate_gain` gives.
        generator: See `uniform_`.
        name: See `uniform_`.
        seed: See `uniform_`.

    Returns:
        The tensor.

    Raises:
        ShapeError: If it has fewer than two axes.
        UnknownNameError: If there is no such mode, or torch knows no gain of the nonlinearity.
        ValueError: From `calculate_gain`, for a slope that is no number.

    Warns:
        UserWarning: If the tensor is empty.

    Reference:
        He et al., 2015, section 2.2.
    """
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return draw_law(tensor, Uniform(-bound, bound), generator, name=name, seed=seed)


def kaiming_normal_(  # noqa: PLR0913 - torch's signature
    tensor: torch.Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: torch.Generator | None = None,
    *,
    name: str | None = None,
    seed: int | None = None,
) -> torch.Tensor:
    """Fill a tensor from N(0, std²), `std = gain / sqrt(fan)`.

    Args:
        tensor: As for `kaiming_uniform_`, as is all else, and what is raised.
        a: See `kaiming_uniform_`.
        mode: See `kaiming_uniform_`.
        nonlinearity: See `kaiming_uniform_`.
        generator: See `uniform_`.
        name: See `uniform_`.
        seed: See `uniform_`.

    Returns:
        The tensor.

    Reference:
        He et al., 2015, section 2.2.
    """
    law = Normal(0.0, _kaiming_std(tensor, a, mode, nonlinearity))
    return draw_law(tensor, law, generator, name=name, seed=seed)


def orthogonal_(
    tensor: torch.Tensor,
    gain: float = 1,
    generator: torch.Generator | None = None,
    *,
    name: str | None = None,
    seed: int | None = None,
) -> torch.Tensor:
    """Fill a tensor, seen as (first axis, all others), with `gain` times a Haar matrix.

    Rows are orthonormal if there are no more of them than columns, else columns are. The
    values are the same on every machine up to rounding, and float16 and bfloat16, which torch
    refuses, are rounded.

    Args:
        tensor: As for `xavier_uniform_`; so are `generator`, `name`, `seed` and what is raised.
        gain: The factor.
        generator: See `uniform_`.
        name: See `uniform_`.
        seed: See `uniform_`.

    Returns:
        The tensor.

    Reference:
        Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in
        deep linear neural networks", 2013.
    """
    require_tensor(tensor)
    if tensor.dim() < _MATRIX_AXES:
        raise ShapeError(f"shape is {tuple(tensor.shape)}, expected two or more axes")
    return draw_law(tensor, Orthogonal(gain), generator, name=name, seed=seed)


def sparse_(
    tensor: torch.Tensor,
    sparsity: float,
    std: float = 0.01,
    generator: torch.Generator | None = None,
    *,
    name: str | None = None,
    seed: int | None = None,
) -> torch.Tensor:
    """Fill a matrix from N(0, std²), and set the same number of each column's elements to zero.

    The number is `ceil(sparsity * rows)`, as in torch; the law `xavier.Sparse` leaves it to
    chance instead, so that it can draw a part of a weight alone.

    Args:
        tensor: Of two axes; else as for `uniform_`, as are `generator`, `name`, `seed`.
        sparsity: The share of zeros, from 0 to 1.
        std: The standard deviation of what is not zero.
        generator: See `uniform_`.
        name: See `uniform_`.
        seed: See `uniform_`.

    Returns:
        The tensor.

    Raises:
        ShapeError: If it has not two axes.
        LawError: If the share is not in [0, 1]; and what `uniform_` raises.

    Reference:
        Martens, "Deep learning via Hessian-free optimization", 2010, section 5.
    """
    require_tensor(tensor)
    if tensor.dim() != _MATRIX_AXES:
        raise ShapeError(f"shape is {tuple(tensor.shape)}, expected two axes")
    if not 0 <= sparsity <= 1:
        raise LawError(f"sparsity is {sparsity}, expected a share in [0, 1]")
    law = Normal(0.0, std)
    require_drawable(tensor)
    key = key_for(tensor, name=name, seed=seed, generator=generator)
    if key is not None:
        write_law(tensor, law, key)
        zeros = math.ceil(sparsity * tensor.shape[0])
        zero_in_columns(tensor, zeros, key=Key(key.seed, f"{key.name}#zeros"))
    return tensor


def _fans(tensor: torch.Tensor) -> tuple[int, int]:
    require_tensor(tensor)
    if tensor.dim() < _MATRIX_AXES:
        raise ShapeError(
            f"shape is {tuple(tensor.shape)}, expected two or more axes: fewer have no fans"
        )
    volume = math.prod(tensor.shape[2:])
    return tensor.shape[1] * volume, tensor.shape[0] * volume


def _xavier_std(tensor: torch.Tensor, gain: float) -> float:
    total = sum(_fans(tensor))
    # An empty tensor takes any law.
    return gain * math.sqrt(2.0 / total) if total else 0.0


def _kaiming_std(tensor: torch.Tensor, a: float, mode: str, nonlinearity: str) -> float:
    require_tensor(tensor)
    if 0 in tensor.shape:
        warnings.warn("an empty tensor has nothing to initialize", stacklevel=3)
        return 0.0
    fan_in, fan_out = _fans(tensor)
    fans: dict[str, int] = {"fan_in": fan_in, "fan_out": fan_out}
    if mode.lower() not in fans:
        raise UnknownNameError("mode", mode, fans)
    try:
        gain = calculate_gain(nonlinearity, a)  # pyright: ignore[reportArgumentType] - torch has it as a literal
    except ValueError as error:
        if nonlinearity in _GAINS:
            raise
        raise UnknownNameError("nonlinearity", str(nonlinearity), _GAINS) from error
    return gain / math.sqrt(fans[mode.lower()])
