"""Exact layer Jacobians: their singular values, as the 2010 paper looks at them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xavier._errors import ShapeError

MAX_WIDTH = 2048


def layer_singular_values(
    layer: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor
) -> NDArray[np.float64]:
    """Return the singular values of a layer's exact Jacobian at each sample.

    `J = d layer(x) / d x`, one row of automatic differentiation per output element, then a
    full decomposition. Random probes give the RMS of the singular values and not their
    mean, which is what the 2010 paper reports.

    Args:
        layer: A function of a batch that treats its rows apart, such as a module with the
            activation that follows it.
        x: The inputs, one row a sample; a single vector counts as one row.

    Returns:
        Shape (samples, min(outputs, inputs)), descending.

    Raises:
        ShapeError: If the layer has more than 2048 inputs or outputs.

    Example:
        >>> values = layer_singular_values(lambda x: 3 * x, torch.ones(1, 4))
        >>> values.round(6).tolist()
        [[3.0, 3.0, 3.0, 3.0]]

    Reference:
        Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
        networks", 2010, section 4.2.1, equation 17.
    """
    rows = x.detach()[None] if x.ndim == 1 else x.detach()
    return np.stack([_singular_values(_jacobian(layer, row)) for row in rows])


def _jacobian(layer: Callable[[torch.Tensor], torch.Tensor], row: torch.Tensor) -> torch.Tensor:
    with torch.enable_grad():
        point = row[None].clone().requires_grad_()
        value = layer(point).reshape(-1)
        width = max(value.numel(), point.numel())
        if width > MAX_WIDTH:
            raise ShapeError(
                f"a layer of width {width} was given, expected at most {MAX_WIDTH}",
                hint="its Jacobian is decomposed exactly; look at a narrower layer",
            )
        basis = torch.eye(value.numel(), dtype=value.dtype, device=value.device)
        (jacobian,) = torch.autograd.grad(value, point, basis, is_grads_batched=True)
    return jacobian.reshape(value.numel(), point.numel())


def _singular_values(matrix: torch.Tensor) -> NDArray[np.float64]:
    array = matrix.detach().to("cpu", torch.float64).numpy()
    return np.linalg.svd(array, compute_uv=False)


def singular_means(parts: Any) -> tuple[float | None, float | None]:
    """Return the mean and the RMS of the singular values of `diag(slope) @ weight`.

    Args:
        parts: The weight (outputs, inputs) of a dense layer, a row of its output, and the
            slope of the function that follows it there, or None if none follows.

    Returns:
        Mean and RMS; None for layers wider than 2048.
    """
    weight, _, slope = parts
    if max(weight.shape) > MAX_WIDTH:
        return None, None
    matrix = weight.to("cpu", torch.float64)
    if slope is not None:
        matrix = slope.to("cpu", torch.float64)[:, None] * matrix
    values = _singular_values(matrix)
    return float(values.mean()), float(np.sqrt(np.mean(values**2)))
