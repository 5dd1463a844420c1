"""The laws that need their whole matrix: Haar's measure, identities, and their shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from xavier._errors import LawError, ShapeError
from xavier._types.laws import DeltaOrthogonal, Dirac, Identity, Law, Normal, Orthogonal
from xavier.bits import Key, _matrices, draw, fill

RARE = 1e-5  # the seeds are fixed; see test_bits_distributions
EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10}


def orthogonal(shape: tuple[int, ...], *, seed: int = 0, **changes: Any) -> np.ndarray[Any, Any]:
    return draw(Orthogonal(), shape, **({"seed": seed, "name": "q", "dtype": "float64"} | changes))


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 7), (7, 1), (30, 30), (97, 60), (60, 97), (150, 100), (20, 3, 5)]
)
def test_orthogonal_rows_or_columns_are_orthonormal(shape: tuple[int, ...], dtype: str) -> None:
    weight = orthogonal(shape, dtype=dtype).astype(np.float64).reshape(shape[0], -1)
    tall = weight if weight.shape[0] >= weight.shape[1] else weight.T
    # Rounding moves each inner product by at most the sum of two unit vectors' roundings.
    np.testing.assert_allclose(tall.T @ tall, np.eye(tall.shape[1]), atol=16 * EPSILON[dtype])


@pytest.mark.parametrize("shape", [(13, 13), (120, 70), (5, 1)])
def test_panels_of_reflectors_equal_one_reflection_at_a_time(shape: tuple[int, int]) -> None:
    rows, columns = shape
    key = Key(3, "q")
    drawn = np.empty((columns, rows))
    fill(drawn, Normal(0.0, 1.0), key=key)
    matrix, signs = np.eye(rows, columns), np.ones(columns)
    for j in reversed(range(columns)):
        x = drawn[j, j:]
        sign = 1.0 if x[0] >= 0 else -1.0
        v = x.copy()
        v[0] += sign * np.linalg.norm(x)
        matrix[j:] -= 2 / (v @ v) * np.outer(v, v @ matrix[j:])
        signs[j] = -sign
    found = _matrices.haar(rows, columns, key=key, working=np.dtype("float64"))
    np.testing.assert_allclose(found, matrix * signs, atol=1e-13)


def test_a_zero_column_is_not_reflected_and_zero_has_a_positive_sign() -> None:
    vectors = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 2.0], [0.0, 0.0, -3.0]])
    taus, signs = _matrices._reflectors(vectors)
    # The second row's head is 0, whose sign counts as +1: v = (0 + 2, 2).
    np.testing.assert_array_equal(vectors[1], [0.0, 2.0, 2.0])
    np.testing.assert_allclose(taus, [0.0, 2 / 8, 2 / 36])
    np.testing.assert_array_equal(signs, [1.0, -1.0, 1.0])


@pytest.mark.parametrize("shape", [(4, 4), (6, 3), (3, 6), (1, 5), (5, 1)])
def test_orthogonal_matrices_follow_haars_measure(shape: tuple[int, int]) -> None:
    rows, columns = shape
    draws = np.stack([orthogonal(shape, seed=seed) for seed in range(1500)])
    # A column (row) is uniform on the sphere of its length n, so that the square of each
    # entry, and of its product with a fixed unit vector, is Beta(1/2, (n - 1)/2).
    length = max(rows, columns)
    law = stats.beta(0.5, (length - 1) / 2)
    fixed = np.arange(1.0, length + 1)
    fixed /= np.linalg.norm(fixed)
    lines = draws if rows < columns else draws.transpose(0, 2, 1)
    for entries in (draws[:, 0, 0], draws[:, -1, -1], lines[:, 0] @ fixed, lines[:, -1] @ fixed):
        assert stats.kstest(entries**2, law.cdf).pvalue > RARE
        assert stats.binomtest(int((entries > 0).sum()), len(draws)).pvalue > RARE


@pytest.mark.parametrize("size", [1, 2, 5])
def test_determinants_have_both_signs_equally_often(size: int) -> None:
    signs = [np.linalg.det(orthogonal((size, size), seed=seed)) > 0 for seed in range(1000)]
    assert stats.binomtest(sum(signs), len(signs)).pvalue > RARE


def test_eigenvalues_of_a_square_orthogonal_repel_as_haar_has_it() -> None:
    # For O(n) with n > 2, E[tr Q] = 0, E[(tr Q)**2] = 1 and E[tr Q**2] = 1.
    draws = np.stack([orthogonal((6, 6), seed=seed) for seed in range(2000)])
    traces = np.trace(draws, axis1=1, axis2=2)
    squares = np.trace(draws @ draws, axis1=1, axis2=2)
    for values, mean in ((traces, 0.0), (traces**2, 1.0), (squares, 1.0)):
        assert stats.ttest_1samp(values, mean).pvalue > RARE


def test_low_precision_is_the_float32_matrix_rounded() -> None:
    single = torch.from_numpy(orthogonal((40, 30), dtype="float32"))
    brain = torch.from_numpy(orthogonal((40, 30), dtype="bfloat16").view(np.int16))
    assert torch.equal(torch.from_numpy(orthogonal((40, 30), dtype="float16")), single.half())
    assert torch.equal(brain.view(torch.bfloat16), single.bfloat16())


def test_a_gain_multiplies_and_a_part_is_cut_from_the_whole() -> None:
    whole = orthogonal((30, 20))
    scaled = draw(Orthogonal(2.5), (30, 20), seed=0, name="q", dtype="float64")
    np.testing.assert_array_equal(scaled, 2.5 * whole)
    part = orthogonal((30, 20), index=(slice(3, 9), slice(None, None, -2)))
    np.testing.assert_array_equal(part, whole[3:9, ::-2])
    assert part.base is None
    assert orthogonal((30, 20), index=(3, -1)).shape == ()
    assert orthogonal((0, 4)).shape == (0, 4)


@pytest.mark.parametrize("shape", [(5, 5, 3), (8, 3, 3, 5), (4, 1, 1, 1, 1)])
def test_delta_orthogonal_is_an_orthogonal_matrix_at_the_centre(shape: tuple[int, ...]) -> None:
    weight = draw(DeltaOrthogonal(2.0), shape, seed=0, name="k", dtype="float64")
    centre = (..., *(side // 2 for side in shape[2:]))
    matrix = weight[centre].copy()
    np.testing.assert_allclose(matrix.T @ matrix, 4 * np.eye(shape[1]), atol=1e-13)
    weight[centre] = 0
    assert not weight.any()


@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2), (0, 3)])
def test_identity_is_padded_with_zeros(shape: tuple[int, int]) -> None:
    weight = draw(Identity(0.5), shape, seed=0, name="i")
    np.testing.assert_array_equal(weight, 0.5 * np.eye(*shape))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("shape", [(4, 2, 3), (4, 4, 3, 2), (6, 2, 1, 3, 5)])
def test_dirac_is_torchs(shape: tuple[int, ...], groups: int) -> None:
    expected = torch.nn.init.dirac_(torch.empty(shape), groups)
    weight = draw(Dirac(groups), shape, seed=0, name="d")
    np.testing.assert_array_equal(weight, expected.numpy())


@pytest.mark.parametrize(
    ("law", "shape", "message"),
    [
        (Orthogonal(), (3,), r"Orthogonal: shape is \(3,\), expected at least two axes"),
        (DeltaOrthogonal(), (3, 3), r"DeltaOrthogonal: shape is \(3, 3\), expected \(out, in"),
        (DeltaOrthogonal(), (3, 4, 3), "has 4 input channels, expected at most its 3"),
        (DeltaOrthogonal(), (4, 4, 3, 2), r"kernel is \(3, 2\), expected odd sides"),
        (Identity(), (3, 3, 3), r"Identity: shape is \(3, 3, 3\), expected two axes"),
        (Dirac(), (3, 3), r"Dirac: shape is \(3, 3\), expected \(out, in"),
        (Dirac(2), (3, 3, 1), "Dirac: 3 output channels, expected a multiple of 2 groups"),
    ],
)
def test_impossible_matrices_are_refused(law: Law, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        draw(law, shape, seed=0, name="w")


def test_a_gain_beyond_the_range_is_refused() -> None:
    with pytest.raises(LawError, match="reaches beyond the range of float32"):
        draw(Identity(1e39), (2, 2), seed=0, name="w")
