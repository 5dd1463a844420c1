"""Numbers against the narrow dtypes, and what Adam makes of a gradient: held against torch."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import xavier
from xavier._types.signal import Reach, Reaches, Signal
from xavier.checking.numbers import out_of_range
from xavier.frameworks.torch._ranges import of_gradient, reaches

NARROW = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def batch(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_casting(values: torch.Tensor, kind: torch.dtype) -> Reach:
    cast = values.to(kind)
    under = ((cast == 0) & (values != 0)).double().mean()
    over = (cast.isinf() & values.isfinite()).double().mean()
    return Reach(float(under), float(over))


@given(st.lists(st.floats(-46, 38.5), min_size=1, max_size=50), st.booleans())
def test_what_is_lost_is_what_torch_loses(exponents, negative):
    values = torch.tensor([(-1.0 if negative else 1.0) * 10.0**each for each in exponents])
    found = reaches(values.double())
    for name, kind in NARROW.items():
        told = getattr(found, name)
        real = by_casting(values.double().clamp(-3.4e38, 3.4e38), kind)
        assert (told.underflow, told.overflow) == pytest.approx((real.underflow, real.overflow))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (2.0**-25, "float16"),
        (2.0**-25 * (1 + 2**-20), "float16"),
        (65519.99, "float16"),
        (65520.0, "float16"),
        (2.0**-134, "bfloat16"),
        (2.0**-134 * (1 + 2**-10), "bfloat16"),
        ((2 - 2.0**-8) * 2.0**127, "bfloat16"),
        ((2 - 2.0**-8 - 2.0**-20) * 2.0**127, "bfloat16"),
    ],
)
def test_the_ends_are_where_rounding_puts_them(value, kind):
    values = torch.tensor([value], dtype=torch.float64)
    assert getattr(reaches(values), kind) == by_casting(values, NARROW[kind])


def test_zeros_and_what_is_not_finite_are_lost_to_no_dtype():
    values = torch.tensor([0.0, -0.0, math.inf, -math.inf, math.nan, 1.0])
    assert reaches(values) == Reaches(Reach(0.0, 0.0), Reach(0.0, 0.0))
    assert reaches(torch.empty(0)) is None


def test_a_large_tensor_is_sampled():
    values = torch.ones(1_000_000)
    values[::2] = 1e-9
    found = reaches(values)
    assert found.float16.underflow == pytest.approx(0.5, abs=0.01)
    assert found.bfloat16.underflow == 0


def test_adams_first_step_is_that_of_the_optimizer():
    for size in (1e-10, 1e-8, 1e-3, 10.0):
        weight = nn.Parameter(torch.zeros(32, 32))
        weight.grad = size * batch(32, 32, seed=1)
        gradient = weight.grad.clone()
        torch.optim.Adam([weight], lr=1e-2).step()
        moved = float(weight.detach().square().mean().sqrt()) / 1e-2
        _, step, below = of_gradient(gradient)
        assert step == pytest.approx(moved, rel=1e-4)
        assert below == pytest.approx(float((gradient.abs() < 1e-8).double().mean()))


def test_a_gradient_without_an_element_or_with_nan_has_no_step():
    for values in (torch.empty(0), torch.tensor([1.0, math.nan])):
        _, step, below = of_gradient(values)
        assert math.isnan(step)
        assert math.isnan(below)


def test_a_check_tells_both_ratios_and_where_adam_stops():
    model, x = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 8)), batch(32, 64)
    found = xavier.check(model, x)
    weight = found.signal.weights[0]
    assert weight.adam_ratio == pytest.approx(1 / weight.rms, rel=1e-3)
    assert weight.below_epsilon == 0
    assert weight.update_ratio == pytest.approx(weight.gradient_rms / weight.rms)
    tiny = xavier.check(model, x, loss=lambda y, _: 1e-12 * y.square().mean(), target=x)
    assert tiny.signal.weights[0].below_epsilon == 1
    assert tiny.signal.weights[0].adam_ratio < 0.01 * weight.adam_ratio


def lost(model, x, **settings):
    return [
        each for each in xavier.check(model, x, **settings).findings if each.code == "dtype-range"
    ]


def test_gradients_that_float16_would_lose_are_told_and_those_it_holds_are_not():
    model, x = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 8)), batch(32, 64)
    settings = {"target": torch.zeros(32, 8)}
    assert not lost(model, x, **settings, loss="mse")
    (found,) = lost(model, x, **settings, loss=lambda y, _: 1e-7 * y.square().mean())
    assert found.severity == "note"
    assert "of its gradient would become zero in float16" in found.message
    assert "and more than 5 % of" in found.message
    assert "GradScaler" in found.cure


def test_one_output_that_float16_cannot_hold_is_told():
    model, x = nn.Linear(8, 8), torch.ones(4, 8)
    assert not lost(model, x)
    nn.init.constant_(model.bias, 7e4)
    (found,) = lost(model, x)
    assert found.message == "100 % of its output would become infinite in float16"
    assert found.cure == "keep these ops in float32, or use bfloat16"


def test_what_was_not_measured_is_not_told():
    assert not list(out_of_range(Signal((), ())))
