"""A plan that does not fit is refused before anything is touched."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from torch_plans import LAW, plan_of, row, same_bits
from xavier._errors import DtypeError, PlanError, WriteError
from xavier._types.laws import Constant, DeltaOrthogonal, Orthogonal
from xavier._types.plan import Region
from xavier.frameworks.torch.names import slots
from xavier.frameworks.torch.write import check_fits, write


def mlp():
    return nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4))


REFUSALS = [
    pytest.param(
        lambda: (mlp(), [row("0.weight", (5, 6)), row("1.wieght", (4, 5))]),
        PlanError, r"`1\.wieght`: the model has no parameter(.|\n)*did you mean 1\.weight",
        id="name",
    ),
    pytest.param(
        lambda: (mlp(), [row("0.weight", (5, 6)), row("1.weight", (5, 4))]),
        PlanError, r"`1\.weight` \(4, 5\): the plan's region \[:\] has shape \(5, 4\)",
        id="shape",
    ),
    pytest.param(
        lambda: (mlp(), [row("0.weight", (9, 6), LAW, Region(0, ((3, 9),)))]),
        PlanError, r"`0\.weight` \(5, 6\): region \[3:9\] reaches beyond", id="region",
    ),
    pytest.param(
        lambda: (mlp(), [row("0.weight", (5, 6)),
                         row("0.weight", (5, 6), LAW, Region(1, ((0, 1),)))]),
        PlanError, r"`0\.weight` .* share elements", id="overlap",
    ),
    pytest.param(
        lambda: (mlp(), [row("0.weight", (5, 6)), row("1.bias", (4,), Orthogonal())]),
        PlanError, r"`1\.bias` \(4,\): Orthogonal", id="law of another shape",
    ),
    pytest.param(
        lambda: (nn.Conv2d(4, 4, 2),
                 [row("bias", (4,)), row("weight", (4, 4, 2, 2), DeltaOrthogonal())]),
        PlanError, r"`weight` \(4, 4, 2, 2\): DeltaOrthogonal", id="even kernel",
    ),
    pytest.param(
        lambda: (mlp().half(), [row("0.weight", (5, 6)), row("1.bias", (4,), Constant(1e5))]),
        PlanError, r"`1\.bias` .* reaches beyond the range of float16", id="range",
    ),
    pytest.param(
        lambda: (nn.Linear(2, 2, dtype=torch.complex64), [row("weight", (2, 2), Orthogonal())]),
        PlanError, r"is for real weights", id="complex orthogonal",
    ),
    pytest.param(
        lambda: (nn.ParameterList([torch.ones(2), torch.ones(2).to(torch.float8_e4m3fn)]),
                 [row("0", (2,)), row("1", (2,))]),
        DtypeError, r"`1` \(2,\): a float8_e4m3fn parameter cannot be drawn", id="float8",
    ),
    pytest.param(
        lambda: (nn.ParameterList([nn.Parameter(torch.ones(2, dtype=torch.int64), False)]),
                 [row("0", (2,))]),
        DtypeError, r"`0` \(2,\): a int64 parameter cannot be drawn", id="integer",
    ),
    pytest.param(
        lambda: (nn.ParameterList([torch.ones(2), torch.ones(1).expand(3)]),
                 [row("0", (2,)), row("1", (3,))]),
        WriteError, r"`1` \(3,\): several elements lie at one address", id="expanded",
    ),
    pytest.param(
        lambda: (nn.LazyLinear(3), [row("weight", ())]),
        PlanError, r"`weight`: a lazy parameter has no shape yet", id="lazy",
    ),
    pytest.param(
        lambda: (nn.Linear(2, 2, device="meta"), [row("weight", (2, 2))]),
        PlanError, r"1 parameters are on the meta device: `weight`", id="meta",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("make", "error", "match"), REFUSALS)
def test_what_does_not_fit_is_refused_before_anything_is_touched(make, error, match):
    model, rows = make()
    held = [slot.stored for slot in slots(model) if not slot.lazy]
    before = [each.detach().clone() for each in held]
    with pytest.raises(error, match=match):
        write(model, plan_of(model, rows=rows), seed=0)
    if held and held[0].device.type != "meta":
        assert all(same_bits(each, old) for each, old in zip(held, before, strict=True))


def test_an_inference_tensor_is_refused():
    with torch.inference_mode():
        model = nn.Linear(2, 2)
    with pytest.raises(WriteError, match=r"`weight` .* is an inference tensor"):
        check_fits(model, plan_of(model))


def test_a_plan_for_another_model_is_refused():
    plan = plan_of(mlp())
    larger = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(4, 4))
    with pytest.raises(PlanError, match="the plan was made for another model"):
        check_fits(larger, plan)
