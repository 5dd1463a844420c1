"""The laws that need their whole matrix."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xavier._errors import LawError, ShapeError
from xavier._types.laws import DeltaOrthogonal, Dirac, Identity, Law, Normal, Orthogonal
from xavier.bits._fill import fill
from xavier.bits._key import Key

F64 = NDArray[np.float64]
Real = NDArray[Any]  # float32 or float64
_PANEL = 128  # reflectors applied together; fewer, and matrix products are thin, more, and idle
_MATRIX_AXES, _KERNEL_AXES = 2, 3  # a matrix; the fewest axes of a convolution's weight


def whole(law: Law, shape: tuple[int, ...], *, key: Key, working: np.dtype[Any]) -> NDArray[Any]:
    """Return a weight of a law that is not elementwise, in the working precision.

    Raises:
        LawError: If it is no law of `xavier`, or its gain is beyond the range.
        ShapeError: If the law has no weight of this shape.
    """
    make = _MAKERS.get(type(law))
    if make is None:
        raise LawError(f"{law!r} is no law that can be drawn, expected one of xavier's")
    weight = make(law, shape, key, working).astype(working, copy=False)
    if not np.isfinite(weight).all():
        raise LawError(f"{law!r} reaches beyond the range of {working}")
    return weight


def _orthogonal(law: Orthogonal, shape: tuple[int, ...], key: Key, working: np.dtype[Any]) -> Real:
    if len(shape) < _MATRIX_AXES:
        raise ShapeError(f"Orthogonal: shape is {shape}, expected at least two axes")
    rows, columns = shape[0], math.prod(shape[1:])
    if rows < columns:
        matrix = haar(columns, rows, key=key, working=working).T
    else:
        matrix = haar(rows, columns, key=key, working=working)
    if law.gain != 1:
        matrix = _times(matrix, law.gain)
    return matrix.reshape(shape)


def haar(rows: int, columns: int, *, key: Key, working: np.dtype[Any]) -> Real:
    """Return a tall matrix with orthonormal columns, distributed by Haar's measure.

    It is the orthogonal factor of a Gaussian matrix whose triangular factor has a positive
    diagonal, made without factorizing: the j-th Householder vector is that of a fresh
    Gaussian vector of rows - j elements, since a reflection leaves the columns that follow
    Gaussian. Element k of vector j is element `j * rows + j + k` of the normal stream.
    Lengths, scales and triangles are in float64, products of matrices in the working
    precision: in float32 the columns' inner products are those of the unit matrix within
    5e-7 at 2048 x 2048, where the rounding of the result alone would be 1e-8.

    Args:
        rows: The length of the columns.
        columns: How many; at most `rows`.
        key: The stream.
        working: float32 or float64: which stream of normals, and which arithmetic.

    Reference:
        Stewart, "The Efficient Generation of Random Orthogonal Matrices", 1980.
        Schreiber and Van Loan, "A Storage-Efficient WY Representation", 1989.
    """
    drawn = np.empty((columns, rows), working)
    fill(drawn, Normal(0.0, 1.0), key=key)
    vectors = np.triu(drawn)
    scales, signs = _reflectors(vectors)
    matrix = np.eye(rows, columns, dtype=working)
    for begin in range((columns - 1) // _PANEL * _PANEL, -1, -_PANEL):
        end = min(begin + _PANEL, columns)
        panel = vectors[begin:end, begin:]
        target = matrix[begin:, begin:]
        triangle = _triangle(panel, scales[begin:end]).astype(working, copy=False)
        target -= panel.T @ (triangle @ (panel @ target))
    matrix *= signs.astype(working)
    return matrix


def _reflectors(vectors: Real) -> tuple[F64, F64]:
    """Turn each row x, from its diagonal on, into the vector of the reflector I - tau v v'.

    With the sign of 0 taken as +1, `v = x + sign(x_0) |x| e_0`, and x becomes
    `-sign(x_0) |x| e_0`. A row of zeros has tau = 0: no reflection.

    Returns:
        The taus, and the signs that make the triangular factor's diagonal positive.
    """
    diagonal = np.arange(len(vectors))
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    heads = vectors[diagonal, diagonal].astype(np.float64)
    signs = np.where(heads < 0, -1.0, 1.0)
    vectors[diagonal, diagonal] = heads + signs * lengths
    halves = lengths * (lengths + np.abs(heads))  # half of v'v
    empty = halves == 0
    taus = np.where(empty, 0.0, 1.0 / np.where(empty, 1.0, halves))
    return taus, np.where(empty, 1.0, -signs)


def _triangle(panel: Real, scales: F64) -> F64:
    """Return T with `H_0 H_1 ... = I - V T V'` for reflectors that are the rows of `panel`."""
    products = (panel @ panel.T).astype(np.float64, copy=False)
    triangle = np.diag(scales)
    for j in range(1, len(scales)):
        triangle[:j, j] = -scales[j] * (triangle[:j, :j] @ products[:j, j])
    return triangle


def _delta_orthogonal(
    law: DeltaOrthogonal, shape: tuple[int, ...], key: Key, working: np.dtype[Any]
) -> F64:
    if len(shape) < _KERNEL_AXES:
        raise ShapeError(f"DeltaOrthogonal: shape is {shape}, expected (out, in, kernel ...)")
    outputs, inputs, *kernel = shape
    if inputs > outputs:
        raise ShapeError(
            f"DeltaOrthogonal: shape {shape} has {inputs} input channels, "
            f"expected at most its {outputs} output channels"
        )
    if any(side % 2 == 0 for side in kernel):
        raise ShapeError(f"DeltaOrthogonal: kernel is {tuple(kernel)}, expected odd sides")
    weight = np.zeros(shape)
    centre = tuple(side // 2 for side in kernel)
    matrix = haar(outputs, inputs, key=key, working=working)
    weight[(slice(None), slice(None), *centre)] = _times(matrix, law.gain)
    return weight


def _times(matrix: Real, gain: float) -> Real:
    """Multiply by a gain; one beyond the range gives infinities, which `whole` refuses."""
    return matrix * matrix.dtype.type(gain)


def _identity(law: Identity, shape: tuple[int, ...], key: Key, working: np.dtype[Any]) -> F64:
    del key, working
    if len(shape) != _MATRIX_AXES:
        raise ShapeError(f"Identity: shape is {shape}, expected two axes")
    return law.gain * np.eye(*shape)


def _dirac(law: Dirac, shape: tuple[int, ...], key: Key, working: np.dtype[Any]) -> F64:
    del key, working
    if len(shape) < _KERNEL_AXES:
        raise ShapeError(f"Dirac: shape is {shape}, expected (out, in / groups, kernel ...)")
    outputs, inputs, *kernel = shape
    if outputs % law.groups:
        raise ShapeError(
            f"Dirac: {outputs} output channels, expected a multiple of {law.groups} groups"
        )
    weight = np.zeros(shape)
    if weight.size == 0:
        return weight
    each = outputs // law.groups
    centre = tuple(side // 2 for side in kernel)
    for group in range(law.groups):
        for channel in range(min(each, inputs)):
            weight[(group * each + channel, channel, *centre)] = 1.0
    return weight


_MAKERS: dict[type[Law], Callable[[Any, tuple[int, ...], Key, np.dtype[Any]], Real]] = {
    Orthogonal: _orthogonal,
    DeltaOrthogonal: _delta_orthogonal,
    Identity: _identity,
    Dirac: _dirac,
}
