"""The numbers of one tensor are those of float64, whatever it holds and however it lies."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from xavier.frameworks.torch._copies import twins
from xavier.frameworks.torch._marks import Marks
from xavier.frameworks.torch._moments import (
    all_zero,
    correlation,
    dead_share,
    moments,
    saturation,
)
from xavier.frameworks.torch._restore import unchanged
from xavier.frameworks.torch._trees import map_tensors, tensors_of

BIG = 3 * 2**15 + 5  # more than one part, and a rest


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def magnitude() -> torch.Tensor:
    """Elements of one magnitude, where the roundings of all squares have one sign."""
    return torch.where(normal(BIG) > 0, 1.2345, -1.2345)


def mixed() -> torch.Tensor:
    """A part whose squares underflow beside one whose squares do not."""
    return torch.cat((normal(2**15) * 1e-25, normal(2**15) * 1e-3))


@pytest.mark.parametrize(
    "tensor",
    [
        normal(BIG),
        normal(BIG) * 1e-30,
        normal(BIG) * 1e25,
        normal(BIG) + 1e4,
        normal(BIG).half(),
        normal(BIG).bfloat16(),
        normal(BIG).double() * 1e-100,
        normal(300, 400).t(),
        normal(300, 400)[:, ::2],
        normal(300, 1).expand(300, 400),
        torch.zeros(BIG),
        mixed(),
        magnitude(),
        torch.complex(normal(BIG), normal(BIG, seed=1)).conj().imag,
        torch.complex(normal(BIG), normal(BIG, seed=1)),
    ],
    ids=range(15),
)
def test_moments_are_those_of_float64(tensor: torch.Tensor) -> None:
    plain = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    exact = np.asarray(plain.double()).ravel().astype(np.longdouble)
    found = moments(tensor)
    rms = float(np.sqrt((exact**2).mean()))
    assert found.rms == pytest.approx(rms, rel=1e-5)
    assert found.std == pytest.approx(float(exact.std()), rel=1e-5, abs=1e-300)
    assert found.mean == pytest.approx(float(exact.mean()), rel=1e-5, abs=1e-5 * rms)
    assert found.nonfinite == 0


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [0, 4321, BIG - 1])
def test_one_element_that_is_not_finite_is_never_missed(odd: float, place: int) -> None:
    tensor = normal(BIG)
    tensor[place] = odd
    found, rest = moments(tensor), torch.cat((tensor[:place], tensor[place + 1 :])).double()
    assert found.nonfinite == 1
    assert found.rms == pytest.approx(rest.square().mean().sqrt().item())


def test_dead_units_are_counted_behind_the_first_inputs_too() -> None:
    late = torch.zeros(32, 5)
    late[31, :3] = 1
    assert dead_share(late, unit_axis=-1) == pytest.approx(2 / 5)
    pictures = normal(16, 4, 3, 3)
    assert dead_share(pictures, unit_axis=1) == 0
    pictures[:, 2] = 0
    assert dead_share(pictures, unit_axis=1) == pytest.approx(1 / 4)
    assert dead_share(torch.tensor([0.0, 1.0]), unit_axis=-1) == pytest.approx(1 / 2)


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_correlation_does_not_depend_on_the_scale(scale: float) -> None:
    rows = normal(6, 50).double() + 1
    unit = nn.functional.normalize(rows, dim=1)
    expected = ((unit @ unit.T).sum().item() - 6) / 30
    assert correlation(rows * scale, inputs=6) == pytest.approx(expected)
    rows[2], rows[4, 0] = 0, float("nan")
    kept = unit[[0, 1, 3, 5]]
    expected = ((kept @ kept.T).sum().item() - 4) / 12
    assert correlation(rows * scale, inputs=6) == pytest.approx(expected)


def test_saturation_is_measured_against_the_steepest_slope_anywhere() -> None:
    at = torch.tensor([0.0, 1.0, 5.0, -9.0])
    assert saturation(torch.tanh, at) == pytest.approx(1 / 2)
    assert saturation(torch.tanh, at[2:]) == 1


def test_twins_are_found_along_either_axis_however_the_weight_lies() -> None:
    weight, gradient = normal(6, 5), normal(6, 5, seed=1)
    assert twins(weight, gradient) == 0
    weight[:, 1], gradient[:, 1] = weight[:, 3], gradient[:, 3]
    assert twins(weight, gradient) == pytest.approx(1 / 4)
    assert twins(weight.t(), gradient.t()) == pytest.approx(1 / 4)
    gradient[0, 1] += 1
    assert twins(weight, gradient) == 0
    weight[:, 1] += torch.tensor([0.0, 1, 0, 0, 0, 0])  # the first element is still equal
    gradient[0, 1] -= 1
    assert twins(weight, gradient) == 0
    assert twins(torch.empty(3, 0), torch.empty(3, 0)) == 0


def test_a_zero_anywhere_but_everywhere_is_not_all_zero() -> None:
    assert all_zero(torch.zeros(3, 4))
    last = torch.zeros(3, 4)
    last[2, 3] = float("nan")
    assert not all_zero(last)
    assert not all_zero(torch.empty(0, 4))


class Pair(NamedTuple):
    left: Any
    right: Any


def test_tensors_are_found_and_replaced_in_whatever_holds_them() -> None:
    a, b, c = normal(1), normal(2), normal(3)
    tree = ([a, 1, None], Pair(b, "x"), OrderedDict(z=c, y=torch.Size([2])), {"k": (a,)})
    assert [len(each) for each in tensors_of(tree)] == [1, 2, 3, 1]
    swapped = map_tensors(len, tree)
    assert swapped == ([1, 1, None], Pair(2, "x"), {"z": 3, "y": (2,)}, {"k": (1,)})
    assert type(swapped[1]) is Pair
    assert tensors_of(torch.max(normal(2, 3), dim=1))[1].dtype == torch.int64


def test_the_order_of_what_modules_hold_is_put_back() -> None:
    model = nn.Linear(2, 2)
    model.table = OrderedDict(a=1, b=[2, 3])
    model.kinds = {1, 2}
    with unchanged(model):
        model.table.move_to_end("a")
        model.table["b"].reverse()
        model.kinds.add(3)
    assert list(model.table) == ["a", "b"]
    assert model.table["b"] == [2, 3]
    assert model.kinds == {1, 2}


def test_a_mark_is_gone_with_its_tensor() -> None:
    marks: Marks[str] = Marks()
    kept = normal(2)
    marks[kept] = "kept"
    for _ in range(100):  # their identities are used again and again
        assert normal(2) not in marks
        marks[normal(2)] = "gone"
    assert marks.get(kept) == "kept"
    assert kept.detach() not in marks
