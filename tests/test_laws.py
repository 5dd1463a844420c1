"""Laws: moments against samples and closed forms, rounding, scaling, and plain data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from xavier import laws
from xavier._errors import LawError, ShapeError, UnknownNameError
from xavier.laws import (
    Constant,
    DeltaOrthogonal,
    Dirac,
    Identity,
    Law,
    Normal,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Uniform,
)

numbers = st.floats(-1e6, 1e6)
spreads = st.floats(0, 1e6)
cuts = st.floats(1e-6, 50)
elementwise = st.one_of(
    st.tuples(numbers, numbers).map(lambda ends: Uniform(min(ends), max(ends))),
    st.builds(Normal, numbers, spreads),
    st.builds(TruncatedNormal, numbers, spreads, cuts),
    st.builds(Constant, numbers),
    st.builds(Sparse, st.floats(0, 1), spreads),
)
matrices = st.one_of(
    st.builds(Orthogonal, numbers),
    st.builds(DeltaOrthogonal, numbers),
    st.builds(Identity, numbers),
)
every_law = st.one_of(elementwise, matrices, st.builds(Dirac, st.integers(1, 8)))
quietly = settings(deadline=None)


def sample(law: Law, shape: tuple[int, ...]) -> np.ndarray:
    """Draw with NumPy's own generator, or build what is not random."""
    generator = np.random.default_rng(1789)
    match law:
        case Uniform(low, high):
            return generator.uniform(low, high, shape)
        case Normal(mean, std):
            return generator.normal(mean, std, shape)
        case TruncatedNormal(mean, _, cut):
            parent = stats.truncnorm(-cut, cut, loc=mean, scale=laws.parent_std(law))
            return parent.rvs(shape, random_state=generator)
        case Constant(value):
            return np.full(shape, value)
        case Sparse(sparsity, std):
            return generator.normal(0, std, shape) * (generator.random(shape) >= sparsity)
        case Orthogonal(gain):
            return gain * haar(generator, shape[0], math.prod(shape[1:])).reshape(shape)
        case DeltaOrthogonal(gain):
            kernel = np.zeros(shape)
            kernel[centre(shape)] = gain * haar(generator, *shape[:2])
            return kernel
        case Identity(gain):
            return gain * np.eye(shape[0], math.prod(shape[1:])).reshape(shape)
        case Dirac(groups):
            kernel = np.zeros(shape)
            block = np.eye(shape[0] // groups, shape[1])
            kernel[centre(shape)] = np.concatenate([block] * groups)
            return kernel


def centre(shape: tuple[int, ...]) -> tuple[slice | int, ...]:
    return (slice(None), slice(None), *(size // 2 for size in shape[2:]))


def haar(generator: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    tall = np.linalg.qr(generator.normal(size=(max(rows, columns), min(rows, columns))))[0]
    return tall if rows >= columns else tall.T


@pytest.mark.parametrize(
    "law",
    [
        Uniform(-1.0, 3.0),
        Normal(0.5, 2.0),
        TruncatedNormal(1.0, 0.7),
        TruncatedNormal(0.0, 1.0, cut=0.5),
        TruncatedNormal(0.0, 1.0, cut=4.0),
        Sparse(0.9, 2.0),
    ],
    ids=repr,
)
def test_elementwise_moments_are_those_of_samples(law: Law):
    n = 400_000
    drawn = sample(law, (n,))
    mean, std = laws.mean(law), laws.std(law)
    # Five standard errors; that of the variance holds the fourth central moment.
    assert abs(drawn.mean() - mean) < 5 * std / math.sqrt(n)
    squares = (drawn - mean) ** 2
    assert abs(squares.mean() - std**2) < 5 * squares.std() / math.sqrt(n)
    low, high = laws.support(law)
    assert low <= drawn.min()
    assert drawn.max() <= high


@pytest.mark.parametrize("shape", [(6, 6), (12, 5), (5, 12), (7, 3, 3, 3), (3, 7, 1, 5)])
@pytest.mark.parametrize("law", [Orthogonal(1.5), Identity(-2.0)], ids=repr)
def test_matrix_laws_fill_the_first_axis_against_the_rest(law: Law, shape: tuple[int, ...]):
    drawn = sample(law, shape)
    assert laws.second_moment(law, shape) == pytest.approx(np.square(drawn).mean(), rel=1e-12)
    if isinstance(law, Identity):
        assert laws.mean(law, shape) == pytest.approx(drawn.mean(), rel=1e-12)
        assert laws.std(law, shape) == pytest.approx(drawn.std(), rel=1e-12)
    low, high = laws.support(law)
    assert low <= drawn.min()
    assert drawn.max() <= high


@pytest.mark.parametrize("shape", [(8, 4, 3, 3), (4, 8, 5), (8, 8, 3, 3, 3)])
@pytest.mark.parametrize("law", [DeltaOrthogonal(0.5), Dirac(), Dirac(2), Dirac(4)], ids=repr)
def test_kernel_laws_fill_the_centre_alone(law: Law, shape: tuple[int, ...]):
    drawn = sample(law, shape)
    assert laws.second_moment(law, shape) == pytest.approx(np.square(drawn).mean(), rel=1e-12)
    if isinstance(law, Dirac):
        assert laws.mean(law, shape) == pytest.approx(drawn.mean(), rel=1e-12)
        assert laws.std(law, shape) == pytest.approx(drawn.std(), rel=1e-12)
    low, high = laws.support(law)
    assert low <= drawn.min()
    assert drawn.max() <= high


def test_constants_do_not_spread():
    assert (laws.mean(Constant(3.0)), laws.std(Constant(3.0))) == (3.0, 0.0)
    assert laws.support(Constant(3.0)) == (3.0, 3.0)
    assert laws.support(Normal(1.0, 0.0)) == (1.0, 1.0)
    assert laws.support(Normal(1.0, 2.0)) == (-math.inf, math.inf)
    assert laws.support(Sparse(1.0, 2.0)) == (0.0, 0.0)


def test_the_parents_standard_deviation_at_cut_two_is_the_published_one():
    # The constant of Keras and JAX.
    assert laws.parent_std(TruncatedNormal(0.0, 1.0)) == pytest.approx(
        1 / 0.87962566103423978, rel=1e-15
    )


@pytest.mark.parametrize(
    ("cut", "kept"),
    [
        # Shares of variance kept, `1 - 2 c pdf(c) / erf(c / sqrt(2))`, in 50-digit arithmetic.
        (0.001, 3.3333328888889101917e-7),
        (0.1, 0.0033288910066998025541),
        (0.5, 0.080589154600811698428),
        (1.0, 0.29112509477279321119),
        (1.5, 0.55152441576155131413),
        (2.0, 0.77374130354992324718),
        (2.9, 0.96534599616275786831),
        (3.0, 0.97333692466254147659),
        (3.1, 0.9797064496424934343),
        (4.0, 0.99892929037247382432),
        (6.0, 0.99999992708940565826),
        (10.0, 1.0),
    ],
)
def test_the_share_of_variance_kept_is_exact(cut: float, kept: float):
    law = TruncatedNormal(0.0, 1.0, cut=cut)
    assert laws.parent_std(law) ** -2 == pytest.approx(kept, rel=2e-15)


@given(st.floats(1e-3, 1e3), st.floats(0.01, 12))
@quietly
def test_a_truncated_law_ends_at_its_cut(std: float, cut: float):
    law = TruncatedNormal(0.0, std, cut)
    low, high = laws.support(law)
    assert high == pytest.approx(cut * laws.parent_std(law), rel=1e-14)
    assert low == -high
    assert high >= math.sqrt(3) * std * (1 - 1e-14)


def test_a_tiny_cut_is_the_uniform_law():
    law = TruncatedNormal(0.0, 1.0, cut=1e-200)
    assert laws.support(law)[1] == pytest.approx(math.sqrt(3), rel=1e-15)


@given(st.floats(1e-12, 1e12), st.sampled_from(["normal", "uniform", "truncated_normal"]), numbers)
@quietly
def test_with_variance_gives_that_variance_to_the_rounding(variance, distribution, mean):
    law = laws.with_variance(variance, distribution)
    # Six digits: half a unit in the sixth is at most 5e-6 of the number.
    assert laws.std(law) ** 2 == pytest.approx(variance, rel=1.01e-5)
    assert laws.mean(law) == 0.0
    assert laws.round_law(law) == law
    shifted = laws.with_variance(0.0, distribution, mean=mean)
    assert laws.mean(shifted) == pytest.approx(mean, rel=1e-5)
    assert laws.std(shifted) == 0.0


@given(every_law)
@quietly
def test_rounding_twice_is_rounding_once(law: Law):
    rounded = laws.round_law(law)
    assert laws.round_law(rounded) == rounded
    for name, value in rounded.to_dict().items():
        if isinstance(value, float):
            exact = law.to_dict()[name]
            assert value == pytest.approx(exact, rel=5.0001e-6, abs=0)
            assert value == float(f"{value:.5e}")


@given(every_law)
@quietly
@example(Constant(-0.0))
def test_a_law_survives_plain_data(law: Law):
    again = laws.from_dict(law.to_dict())
    assert again == law
    assert repr(again) == repr(law)
    assert eval(repr(law), vars(laws).copy()) == law


@given(st.one_of(elementwise, matrices), st.floats(-100, 100))
@quietly
def test_scaling_a_law_scales_what_it_draws(law: Law, factor: float):
    shape = (6, 4, 3, 3)
    scaled = laws.scaled(law, factor)
    tiny = 1e-300
    assert laws.mean(scaled, shape) == pytest.approx(
        factor * laws.mean(law, shape), rel=1e-9, abs=1e-9
    )
    assert laws.std(scaled, shape) == pytest.approx(
        abs(factor) * laws.std(law, shape), rel=1e-12, abs=tiny
    )


def test_a_uniform_law_scaled_by_a_negative_factor_keeps_its_order():
    assert laws.scaled(Uniform(-1.0, 2.0), -1.0) == Uniform(-2.0, 1.0)


def test_numbers_become_plain_floats():
    law = Normal(np.float64(-0.0), np.float32(0.5))
    assert repr(law) == "Normal(mean=0.0, std=0.5)"
    assert repr(Dirac(np.int64(2))) == "Dirac(groups=2)"
    assert Normal(0, 1) == Normal(0.0, 1.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Uniform(1, 0), r"Uniform: low 1\.0 is above high 0\.0"),
        (lambda: Normal(0, -1), r"Normal: std is -1\.0, expected zero or more"),
        (lambda: Normal(math.nan, 1), r"Normal: mean is nan, expected a finite number"),
        (lambda: Normal("0", 1), r"Normal: mean is '0', expected a finite number"),
        (lambda: Constant(True), r"Constant: value is True, expected a finite number"),
        (lambda: TruncatedNormal(0, 1, 0), r"cut is 0\.0, expected a positive number"),
        (lambda: Sparse(1.5, 1), r"sparsity is 1\.5, expected a share"),
        (lambda: Dirac(0), r"Dirac: groups is 0, expected a positive integer"),
        (lambda: Dirac(1.5), r"Dirac: groups is 1\.5, expected a positive integer"),
        (lambda: laws.with_variance(-1.0), r"variance is -1\.0, expected a finite number"),
        (lambda: laws.with_variance(math.inf), r"variance is inf, expected a finite number"),
        (lambda: laws.scaled(Normal(0, 1), math.nan), r"factor is nan, expected a finite"),
        (lambda: laws.scaled(Dirac(), 2.0), r"Dirac\(groups=1\) cannot be scaled by 2\.0\nHint"),
        (lambda: laws.from_dict({"mean": 0.0}), r"names no law, expected its name under 'law'"),
        (lambda: laws.from_dict([1]), r"\[1\] names no law"),
        (lambda: laws.from_dict({"law": "Normal", "std": 1}), r"Normal lacks mean"),
        (lambda: laws.from_dict({"law": "Constant", "std": 1}), r"no field 'std', expected value"),
        (lambda: laws.from_dict({"law": "Constant", "value": "1"}), r"value is '1', expected"),
        (lambda: laws.mean(Law()), r"Law\(\) is not a law"),
        (lambda: laws.std("Normal"), r"'Normal' is not a law"),
        (lambda: laws.support(Law()), r"Law\(\) is not a law"),
        (lambda: laws.scaled(Law(), 2.0), r"Law\(\) is not a law"),
    ],
)
def test_impossible_laws_are_refused(make, message):
    with pytest.raises(LawError, match=message):
        make()


@pytest.mark.parametrize(
    ("law", "shape", "message"),
    [
        (Orthogonal(), None, r"Orthogonal\(gain=1\.0\) needs the weight's shape"),
        (Orthogonal(), (4,), r"cannot fill shape \(4,\), expected at least 2 axes"),
        (Identity(), (4, 0), r"cannot fill shape \(4, 0\), expected at least 2 axes of positive"),
        (DeltaOrthogonal(), (4, 4), r"cannot fill shape \(4, 4\), expected at least 3 axes"),
        (Dirac(3), (4, 4, 3), r"cannot fill shape \(4, 4, 3\): 4 rows do not divide"),
    ],
)
def test_a_shape_that_a_law_cannot_fill_is_refused(law, shape, message):
    with pytest.raises(ShapeError, match=message):
        laws.std(law, shape)


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"unknown law 'Norma'\nHint: did you mean Normal"):
        laws.from_dict({"law": "Norma"})
    with pytest.raises(UnknownNameError, match=r"unknown distribution 'unifrom'\nHint: .*uniform"):
        laws.with_variance(1.0, "unifrom")
