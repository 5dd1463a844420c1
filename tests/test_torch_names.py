"""Canonical names: one for each weight, however the model is wrapped, tied or parametrized."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.nn.utils import parametrizations, parametrize, prune
from torch.optim.swa_utils import AveragedModel

from xavier._errors import PlanError
from xavier.frameworks.torch.names import buffers, canonical, inner, slots, structure_digest

OLD_STYLE = pytest.mark.filterwarnings("ignore:`torch.nn.utils:FutureWarning")


def names(model):
    return [slot.name for slot in slots(model)]


def plain():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Sequential(nn.Linear(4, 2)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("0.weight", "0.weight"),
        ("module.0.weight", "0.weight"),
        ("_orig_mod.0.weight", "0.weight"),
        ("module._orig_mod.0.weight", "0.weight"),
        ("layers.3._checkpoint_wrapped_module.mlp.weight", "layers.3.mlp.weight"),
        ("_fsdp_wrapped_module.a._fsdp_wrapped_module.bias", "a.bias"),
        ("conv.parametrizations.weight.original", "conv.weight"),
        ("conv.parametrizations.weight.original1", "conv.weight"),
        ("parametrizations.weight_hh_l0.original0", "weight_hh_l0"),
        ("conv.weight_g", "conv.weight"),
        ("conv.weight_v", "conv.weight"),
        ("conv.weight_orig", "conv.weight"),
        ("conv.parametrizations.weight.0._u", "conv.parametrizations.weight.0._u"),
        ("encoder.module.weight", "encoder.module.weight"),
        ("module", ""),
    ],
)
def test_names_lose_what_wrappers_and_parametrizations_add(name, expected):
    assert canonical(name) == expected


def compiled(model):
    return torch.compile(model, backend="eager")  # never run, so nothing is compiled


def with_a_part(wrap, at):
    model = plain()
    model[at] = wrap(model[at])
    return model


def on_meta():
    with torch.device("meta"):
        return plain()


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: nn.DataParallel(plain()), id="data parallel"),
        pytest.param(lambda: compiled(plain()), id="compiled"),
        pytest.param(lambda: compiled(nn.DataParallel(plain())), id="compiled data parallel"),
        pytest.param(lambda: nn.DataParallel(compiled(plain())), id="data parallel compiled"),
        pytest.param(lambda: AveragedModel(plain()), id="averaged"),
        pytest.param(lambda: with_a_part(checkpoint_wrapper, 2), id="checkpointed part"),
        pytest.param(lambda: with_a_part(compiled, 0), id="compiled part"),
        pytest.param(on_meta, id="meta"),
        pytest.param(lambda: plain().half(), id="half"),
        pytest.param(lambda: copy.deepcopy(plain()), id="copy"),
    ],
)
def test_wrapped_models_have_the_names_and_the_digest_of_the_plain_one(make):
    model = make()
    assert names(model) == names(plain())
    assert structure_digest(model) == structure_digest(plain())
    found = {canonical(name, root=model) for name, _ in model.named_parameters()}
    assert found == set(names(plain()))
    expected = {each.name for each in buffers(plain())}
    assert {each.name for each in buffers(model)} - {"n_averaged"} == expected


def test_a_wrapped_model_is_found_inside_its_wrappers():
    model = plain()
    assert inner(nn.DataParallel(compiled(model))) is model
    assert inner(model) is model


def test_a_submodule_that_is_called_module_keeps_its_name():
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = nn.Linear(2, 2)

    holder = Holder()
    assert names(holder) == ["module.weight", "module.bias"]
    assert names(nn.DataParallel(holder)) == ["module.weight", "module.bias"]
    assert canonical("module.weight", root=holder) == "module.weight"
    assert canonical("module.module.weight", root=nn.DataParallel(holder)) == "module.weight"


def test_a_users_weight_v_is_no_part_of_a_weight():
    model = nn.Module()
    model.weight_v = nn.Parameter(torch.ones(2))
    assert names(model) == ["weight_v"]
    assert canonical("weight_v", root=model) == "weight_v"


@OLD_STYLE
@pytest.mark.parametrize(
    ("wrap", "kind", "has_magnitude"),
    [
        (parametrizations.weight_norm, "weight_norm", True),
        (nn.utils.weight_norm, "weight_norm", True),
        (parametrizations.spectral_norm, "spectral_norm", False),
        (nn.utils.spectral_norm, "spectral_norm", False),
        (parametrizations.orthogonal, "orthogonal", False),
        (lambda m: prune.random_unstructured(m, "weight", 0.5), "RandomUnstructured", False),
    ],
)
def test_a_parametrized_weight_is_one_slot_of_the_effective_shape(wrap, kind, has_magnitude):
    layer = wrap(nn.Linear(3, 5))
    slot = next(each for each in slots(layer) if each.name == "weight")
    assert slot.parametrization == kind
    assert slot.shape == (5, 3)
    assert (slot.magnitude is not None) == has_magnitude
    assert slot.owner is layer
    assert slot.attribute == "weight"
    assert sorted(names(layer)) == ["bias", "weight"]
    assert {canonical(name, root=layer) for name, _ in layer.named_parameters()} == set(
        names(layer)
    )


def test_a_parametrization_of_another_shape_shows_the_weight_that_it_computes():
    class Rank1(nn.Module):
        def forward(self, x, y):
            return x[:, None] * y

        def right_inverse(self, weight):
            return weight[:, 0], weight[0]

    layer = nn.Linear(3, 5)
    parametrize.register_parametrization(layer, "weight", Rank1())
    slot = slots(layer)[0]
    assert (slot.name, slot.shape, slot.parametrization) == ("weight", (5, 3), "Rank1")
    assert names(layer) == ["weight", "bias"]


def test_a_parametrized_buffer_has_the_buffers_name():
    model = nn.Module()
    model.register_buffer("scale", torch.ones(2))
    parametrize.register_parametrization(model, "scale", nn.Softplus(), unsafe=True)
    assert [each.name for each in buffers(model)] == ["scale"]


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(6, 4)
        self.block = nn.Linear(4, 4)
        self.head = nn.Linear(4, 6, bias=False)
        self.head.weight = self.table.weight
        self.again = self.block


def test_a_tied_weight_appears_once_under_its_first_name():
    for model in (Tied(), copy.deepcopy(Tied())):
        aliases = {slot.name: slot.aliases for slot in slots(model)}
        assert aliases == {
            "table.weight": ("head.weight",),
            "block.weight": ("again.weight",),
            "block.bias": ("again.bias",),
        }


def test_ties_of_a_meta_model_are_those_of_the_real_one():
    with torch.device("meta"):
        model = Tied()
    assert structure_digest(model) == structure_digest(Tied())


@pytest.mark.parametrize("view", [torch.Tensor.t, lambda w: w.view(2, 12), torch.Tensor.flatten])
def test_another_view_of_all_of_a_storage_is_a_tie(view):
    model = nn.Module()
    model.first = nn.Parameter(torch.zeros(4, 6))
    model.second = nn.Parameter(view(model.first.data))
    (slot,) = slots(model)
    assert (slot.name, slot.shape, slot.aliases) == ("first", (4, 6), ("second",))


@pytest.mark.parametrize(
    "part", [lambda w: w[:2], lambda w: w[:, 1:3], lambda w: w[::2], lambda w: w.t()[3]]
)
def test_a_view_of_a_part_of_a_storage_is_refused(part):
    model = nn.Module()
    model.first = nn.Parameter(torch.zeros(4, 6))
    model.second = nn.Parameter(part(model.first.data))
    with pytest.raises(PlanError, match=r"`(first|second)` .* shares a part of its storage with"):
        slots(model)


def test_disjoint_parts_of_one_storage_are_weights_of_their_own():
    base = torch.zeros(4, 6)
    model = nn.ParameterList([base[:, :2], base[:, 2:], torch.zeros(2, 2)])
    assert [slot.aliases for slot in slots(model)] == [(), (), ()]


def test_a_lazy_parameter_is_told_apart():
    weight, bias = slots(nn.LazyLinear(3))
    assert weight.lazy
    assert bias.lazy
    assert weight.shape == ()
    assert not slots(nn.Linear(2, 2))[0].lazy


def test_parameters_without_elements_or_axes_have_slots():
    model = nn.ParameterList([torch.zeros(0, 3), torch.zeros(()), torch.zeros(0, 3)])
    assert [slot.shape for slot in slots(model)] == [(0, 3), (), (0, 3)]


def test_the_digest_tells_structures_apart():
    digests = {
        structure_digest(model)
        for model in (
            plain(),
            nn.Sequential(nn.Linear(3, 4)),
            nn.Sequential(nn.Linear(4, 3)),
            nn.Sequential(nn.Linear(3, 4, bias=False)),
            nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 4))),
        )
    }
    assert len(digests) == 5
    assert all(len(each) == 32 for each in digests)


def test_flattened_shards_are_refused_by_name():
    model = nn.Sequential(nn.Module())
    model[0]._flat_param = nn.Parameter(torch.zeros(8))
    with pytest.raises(PlanError, match=r"`0\._flat_param`: flattened parameters"):
        slots(model)
