"""Parametrized weights: the effective weight has the law, as far as the constraint lets it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from torch_plans import LAW, differing, expected, is_matrix, plan_of, row, same_bits
from xavier._errors import PlanError
from xavier._types.laws import Constant, Normal, Orthogonal
from xavier._types.plan import Region
from xavier.frameworks.torch.owners import materialize, owner_values
from xavier.frameworks.torch.write import write

pytestmark = [
    pytest.mark.filterwarnings("ignore::xavier.frameworks.torch.write.SameBitsWarning"),
    pytest.mark.filterwarnings("ignore:`torch.nn.utils:FutureWarning"),
]
EPS = torch.finfo(torch.float32).eps
WEIGHT_NORMS = [parametrizations.weight_norm, nn.utils.weight_norm]
SPECTRAL_NORMS = [parametrizations.spectral_norm, nn.utils.spectral_norm]


def drawn(layer, law=LAW, **kwargs):
    write(layer, plan_of(layer, law, drawn=is_matrix, **kwargs), seed=0)
    return layer


@pytest.mark.parametrize("dim", [0, 1, None])
@pytest.mark.parametrize("wrap", WEIGHT_NORMS)
def test_weight_norms_effective_weight_is_what_was_drawn(wrap, dim):
    layer = drawn(wrap(nn.Linear(40, 30), dim=dim))
    # v * (g / |v|): the norm, a quotient and a product, each rounded.
    assert torch.allclose(layer.weight, expected("weight", (30, 40)), rtol=8 * EPS, atol=0)


@pytest.mark.parametrize("wrap", WEIGHT_NORMS)
def test_a_low_precision_weight_norm_keeps_the_law_to_its_rounding(wrap):
    layer = drawn(wrap(nn.Linear(40, 30, dtype=torch.bfloat16)))
    whole = expected("weight", (30, 40)).bfloat16()
    assert torch.allclose(layer.weight, whole, rtol=4 * torch.finfo(torch.bfloat16).eps, atol=0)


@pytest.mark.parametrize("wrap", WEIGHT_NORMS)
def test_a_part_of_a_weight_norm_leaves_the_other_part_as_it_was(wrap):
    layer = wrap(nn.Linear(4, 6))
    with torch.no_grad():
        magnitude = next(p for name, p in layer.named_parameters() if name.endswith(("0", "_g")))
        magnitude.mul_(3)
    layer(torch.zeros(1, 4))  # the old style computes the weight here
    before = layer.weight.detach().clone()
    rows = [row("weight", (6, 4), LAW, Region(1, ((1, 3),)))]
    write(layer, plan_of(layer, rows=rows), seed=0)
    after = layer.weight.detach()
    assert torch.allclose(after[:, 1:3], expected("weight", (6, 4))[:, 1:3], rtol=8 * EPS, atol=0)
    assert torch.allclose(after[:, ::3], before[:, ::3], rtol=16 * EPS, atol=0)


@pytest.mark.parametrize("wrap", WEIGHT_NORMS)
def test_a_weight_norm_of_zeros_is_zero_and_no_nan(wrap):
    layer = drawn(wrap(nn.Linear(4, 6)), Constant(0.0))
    assert torch.equal(layer.weight, torch.zeros(6, 4))


@pytest.mark.parametrize("wrap", SPECTRAL_NORMS)
@pytest.mark.parametrize("make", [lambda: nn.Linear(6, 9), lambda: nn.ConvTranspose2d(4, 6, 3)])
def test_spectral_norms_original_is_drawn_and_its_vectors_found_anew(wrap, make):
    layer = wrap(make())
    original = dict(layer.named_parameters())
    name = next(each for each in original if each.endswith(("original", "_orig")))
    shape = tuple(original[name].shape)
    drawn(layer)
    weight = expected("weight", shape)
    assert same_bits(original[name].detach(), weight)
    transposed = isinstance(layer, nn.ConvTranspose2d)
    matrix = (weight.transpose(0, 1) if transposed else weight).flatten(1)
    layer.eval()
    layer(torch.zeros(1, 6) if not transposed else torch.zeros(1, 4, 5, 5))
    sigma = float((weight / layer.weight.detach()).median())
    # The power method comes from below, after 15 steps to well within a tenth.
    largest = float(torch.linalg.matrix_norm(matrix, 2))
    assert 0.9 * largest < sigma < largest * (1 + 1e-5)


@pytest.mark.parametrize("shape", [(6, 6), (4, 6), (6, 4)])
@pytest.mark.parametrize("trivialized", [True, False])
@pytest.mark.parametrize("law", [LAW, Orthogonal()])
def test_an_orthogonal_parametrization_stays_orthogonal_and_follows_the_seed(
    shape, trivialized, law
):
    one, two = (
        drawn(parametrizations.orthogonal(nn.Linear(*shape), use_trivialization=trivialized), law)
        for _ in range(2)
    )
    assert same_bits(one.weight, two.weight)
    weight = one.weight.detach()
    side = min(weight.shape)
    product = weight @ weight.T if weight.shape[0] == side else weight.T @ weight
    assert torch.allclose(product, torch.eye(side), atol=1e-5)
    square = shape[0] == shape[1]
    if isinstance(law, Orthogonal) and (trivialized or not square):
        assert torch.allclose(weight, expected("weight", (shape[1], shape[0]), law), atol=1e-5)


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x

    def right_inverse(self, weight):
        return weight / 2


class Softplus(nn.Module):
    def forward(self, x):
        return nn.functional.softplus(x)


class Refusing(Doubled):
    def right_inverse(self, weight):
        if weight.std() < 0.14:
            raise ValueError("too small")
        return weight / 2


def with_parametrization(step, layer=None):
    layer = layer or nn.Linear(5, 3)
    parametrize.register_parametrization(layer, "weight", step)
    return layer


def test_a_right_inverse_makes_the_effective_weight_what_was_drawn():
    layer = with_parametrization(Doubled())
    original = layer.parametrizations.weight.original
    memory = original.data_ptr()
    drawn(layer)
    assert same_bits(layer.weight.detach(), expected("weight", (3, 5)))
    assert layer.parametrizations.weight.original is original
    assert original.data_ptr() == memory


def test_without_a_right_inverse_the_original_is_drawn():
    layer = drawn(with_parametrization(Softplus()))
    original = layer.parametrizations.weight.original
    assert same_bits(original.detach(), expected("weight", (3, 5)))


def test_a_part_of_a_weight_with_a_right_inverse_leaves_the_rest():
    layer = with_parametrization(Doubled())
    before = layer.weight.detach().clone()
    rows = [row("weight", (3, 5), LAW, Region(0, ((2, 3),)))]
    write(layer, plan_of(layer, rows=rows), seed=0)
    assert same_bits(layer.weight[2].detach(), expected("weight", (3, 5))[2])
    assert same_bits(layer.weight[:2].detach(), before[:2])


def test_a_right_inverse_that_refuses_is_told_before_anything_is_touched():
    model = nn.Sequential(nn.Linear(2, 2), with_parametrization(Refusing(), nn.Linear(9, 9)))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(PlanError, match=r"`1\.weight` \(9, 9\): .* refused .*: too small"):
        write(model, plan_of(model), seed=0)
    assert all(same_bits(value, before[name]) for name, value in model.state_dict().items())
    write(model, plan_of(model, Normal(0.0, 1.0)), seed=0)


@pytest.mark.parametrize("wrap", SPECTRAL_NORMS)
def test_a_spectral_norm_can_be_copied_after_the_draw(wrap):
    layer = drawn(wrap(nn.Linear(4, 6)))
    assert not differing(layer, copy.deepcopy(layer))


def test_a_pruned_weight_is_drawn_under_its_mask():
    layer = drawn(prune.l1_unstructured(nn.Linear(5, 3), "weight", 0.4))
    assert same_bits(layer.weight_orig.detach(), expected("weight", (3, 5)))
    assert same_bits(layer.weight.detach(), layer.weight_orig.detach() * layer.weight_mask)


def every_kind():
    kinds = [*WEIGHT_NORMS, *SPECTRAL_NORMS, parametrizations.orthogonal]
    layers = [wrap(nn.Linear(4, 6, bias=False)) for wrap in kinds]
    return nn.Sequential(*layers, with_parametrization(Doubled(), nn.Linear(4, 6, bias=False)))


def test_from_meta_every_kind_has_the_bits_of_the_real_one():
    real = every_kind()
    with torch.device("meta"):
        meta = every_kind()
    plan = plan_of(real)
    materialize(meta, owner_values(meta, plan))
    for model in (real, meta):
        write(model, plan, seed=0)
    assert not differing(real, meta)
    assert all(each.device.type == "cpu" for each in meta.state_dict().values())
    for one, two in zip(real, meta, strict=True):
        assert same_bits(one.weight.detach(), two.weight.detach())
