"""A meta model becomes the real one: what is not drawn is what its owner gives it, to the bit."""

from __future__ import annotations

import math
import random
import re

import numpy as np
import pytest
import torch
from torch import nn

from torch_plans import LAW, differing, is_matrix, plan_of, row, same_bits
from xavier._errors import PlanError
from xavier._types.plan import Region
from xavier.frameworks.torch.names import buffers, slots
from xavier.frameworks.torch.owners import materialize, owner_values
from xavier.frameworks.torch.write import write

pytestmark = pytest.mark.filterwarnings(
    "ignore::xavier.frameworks.torch.write.SameBitsWarning",
)


def on_meta(factory):
    with torch.device("meta"):
        return factory()


def real_and_meta(factory, drawn=is_matrix, *, seed=0):
    """Return a real model and a materialized one, both drawn by one plan."""
    real, meta = factory(), on_meta(factory)
    plan = plan_of(meta, drawn=drawn, seed=seed)
    assert plan == plan_of(real, drawn=drawn, seed=seed)
    materialize(meta, owner_values(meta, plan))
    for model in (real, meta):
        write(model, plan, seed=seed)
    left = [
        name for name, value in (*meta.named_parameters(), *meta.named_buffers())
        if value.device.type == "meta"
    ]  # fmt: skip
    assert not left
    return real, meta


class Rotary(nn.Module):
    def __init__(self, dim, *, base=10000.0):
        super().__init__()
        self.dim, self.base = dim, base
        frequencies = base ** (-torch.arange(0, dim, 2) / dim)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.slopes = 2.0 ** -torch.arange(4)


class LayerScale(nn.Module):
    def __init__(self, dim, start):
        super().__init__()
        self.start = start
        self.gamma = nn.Parameter(torch.empty(dim))
        self.reset_parameters()

    def reset_parameters(self):
        nn.init.constant_(self.gamma, self.start)


class Mixer(nn.Module):
    """A state space's owner, whose initializer also writes to its children."""

    def __init__(self, width, states):
        super().__init__()
        self.project = nn.Linear(width, width)
        self.a_log = nn.Parameter(torch.empty(width, states))
        self.skip = nn.Parameter(torch.empty(width))
        self.reset_parameters()

    def reset_parameters(self):
        with torch.no_grad():
            states = torch.arange(1, self.a_log.shape[1] + 1, dtype=torch.float32)
            self.a_log.copy_(states.log().expand_as(self.a_log))
            self.skip.fill_(1.0)
            self.project.bias.copy_(torch.linspace(-3, 3, len(self.project.bias)))


class Adapter(nn.Module):
    def __init__(self, base, rank):
        super().__init__()
        self.base, self.rank = base, rank
        self.down = nn.Parameter(torch.empty(rank, base.in_features))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.down)


class Tower(nn.Module):
    def __init__(self):
        super().__init__()
        self.rotary = Rotary(8, base=77.0)
        self.scale = LayerScale(8, 1e-4)
        self.mixer = Mixer(8, 3)
        self.norm = nn.BatchNorm1d(8)
        self.adapter = Adapter(nn.Linear(8, 8), 2)
        self.temperature = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.out = nn.Linear(8, 4)
        nn.init.constant_(self.out.bias, -2.0)


def drawn_in_tower(slot):
    return is_matrix(slot) and not slot.name.endswith(("a_log", "up"))


def test_owners_give_a_meta_model_what_they_give_the_real_one():
    real, meta = real_and_meta(Tower, drawn_in_tower)
    random_ones = {"adapter.base.bias"}
    assert differing(real, meta) == random_ones
    assert same_bits(real.rotary.slopes, meta.rotary.slopes)
    assert float(meta.out.bias.detach()[0]) == -2.0
    assert float(meta.temperature.detach()) == pytest.approx(2.659260)
    assert not meta.adapter.up.any()


def test_what_owners_draw_follows_from_the_seed_and_the_name_alone():
    def more():
        return nn.ModuleDict({"new": nn.Linear(3, 3), "old": nn.Linear(3, 3)})

    def bias(factory, seed):
        model = on_meta(factory)
        torch.manual_seed(random.getrandbits(32))
        plan = plan_of(model, drawn=is_matrix, seed=seed)
        return owner_values(model, plan)["old.bias"]

    def less():
        return nn.ModuleDict({"old": nn.Linear(3, 3)})

    assert same_bits(bias(more, 0), bias(less, 0))
    assert not same_bits(bias(less, 0), bias(less, 1))
    assert float(bias(less, 0).abs().max()) < 1 / math.sqrt(3)


def test_random_states_and_the_model_are_untouched():
    model = on_meta(Tower)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    before = [(id(each), each.device.type) for each in (*model.parameters(), *model.buffers())]
    owner_values(model, plan_of(model, drawn=drawn_in_tower))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]
    after = [(id(each), each.device.type) for each in (*model.parameters(), *model.buffers())]
    assert after == before


def test_a_weight_that_is_drawn_is_not_made_by_its_owner():
    class Watched(nn.Linear):
        seen = ()

        def reset_parameters(self):
            Watched.seen = (*Watched.seen, self.weight.device.type)
            super().reset_parameters()

    model = on_meta(lambda: Watched(100, 100))
    Watched.seen = ()
    owner_values(model, plan_of(model, drawn=is_matrix))
    assert set(Watched.seen) == {"meta"}


def test_parameters_keep_identity_ties_and_what_they_ask_for():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(6, 4)
            self.head = nn.Linear(4, 6)
            self.head.weight = self.table.weight
            self.head.bias.requires_grad_(False)
            self.register_buffer("mask", torch.ones(3))
            self.child = nn.Module()
            self.child.register_buffer("mask", self.mask)

    model = on_meta(Tied)
    held = dict(model.named_parameters())
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    plan = plan_of(model, drawn=is_matrix)
    materialize(model, owner_values(model, plan))
    write(model, plan, seed=0)
    assert all(value is held[name] for name, value in model.named_parameters())
    assert model.head.weight is model.table.weight
    assert model.child.mask is model.mask
    assert [each.requires_grad for each in model.parameters()] == [True, False]
    before = model.table.weight.detach().clone()
    model.head(model.table(torch.tensor([1]))).sum().backward()
    optimizer.step()
    assert not same_bits(before, model.table.weight)


def test_views_of_one_meta_storage_share_memory_afterwards():
    def factory():
        model = nn.Module()
        model.first = nn.Parameter(torch.empty(4, 6))
        model.second = nn.Parameter(model.first.data.t())
        return model

    real, meta = real_and_meta(factory)
    assert meta.second.data_ptr() == meta.first.data_ptr()
    assert torch.equal(meta.second, meta.first.t())
    assert same_bits(real.second, meta.second)


def test_attributes_and_types_of_parameters_survive():
    class Marked(nn.Parameter):
        pass

    def factory():
        model = nn.Module()
        model.weight = Marked(torch.empty(2, 2))
        model.weight.decay = 0.5
        return model

    _, meta = real_and_meta(factory)
    assert type(meta.weight).__name__ == "Marked"
    assert meta.weight.decay == 0.5


def test_a_lazy_parameter_that_is_kept_on_meta_is_refused():
    model = on_meta(lambda: nn.LazyLinear(3))
    plan = plan_of(model, drawn=lambda slot: False)
    with pytest.raises(PlanError, match="`weight`: it is lazy and has no shape yet; `bias`: it is"):
        owner_values(model, plan)


def test_a_recurrent_layer_runs_afterwards():
    real, meta = real_and_meta(lambda: nn.LSTM(4, 5, 2), lambda slot: True)
    x = torch.ones(3, 4)
    assert torch.equal(real(x)[0], meta(x)[0])


def test_only_the_meta_parts_of_a_half_meta_model_change():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3, device="meta"), nn.BatchNorm1d(3))
    before = [model[0].weight, model[2].running_var]
    with torch.no_grad():
        model[2].running_var.fill_(7)
    plan = plan_of(model, drawn=lambda slot: slot.name == "1.weight")
    values = owner_values(model, plan)
    assert set(values) == {"1.bias"}
    materialize(model, values)
    assert model[0].weight is before[0]
    assert model[2].running_var is before[1]
    assert float(model[2].running_var[0]) == 7


def test_a_real_model_needs_nothing():
    model = Tower()
    identities = [id(each) for each in model.parameters()]
    values = owner_values(model, plan_of(model, drawn=drawn_in_tower))
    materialize(model, values)
    assert values == {}
    assert [id(each) for each in model.parameters()] == identities


def test_a_weight_that_is_drawn_in_part_gets_the_rest_from_its_owner():

    model = on_meta(lambda: LayerScale(6, 0.5))
    plan = plan_of(model, rows=[row("gamma", (6,), LAW, Region(0, ((0, 2),)))])
    materialize(model, owner_values(model, plan))
    write(model, plan, seed=0)
    assert torch.equal(model.gamma[2:], torch.full((4,), 0.5))
    assert not (model.gamma[:2] == 0.5).any()


class Forgetful(nn.Module):
    def __init__(self, start=1.0):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((3,), start))


class Accumulating(nn.Module):
    """Its initializer leaves a part as it is, so that it alone cannot make the whole."""

    def __init__(self, size):
        super().__init__()
        self.count = nn.Parameter(torch.zeros(size))

    def reset_parameters(self):
        with torch.no_grad():
            self.count[0] = 1


def test_what_no_owner_can_make_is_refused_with_every_path_and_nothing_is_touched():
    model = on_meta(lambda: nn.Sequential(Forgetful(2.0), nn.Linear(3, 3), Accumulating(4)))
    plan = plan_of(model, drawn=is_matrix)
    with pytest.raises(
        PlanError,
        match=r"2 tensors .* `0\.gamma`: Forgetful does not keep its argument `start`; "
        r"`2\.count`: Accumulating does not keep its argument `size`",
    ):
        owner_values(model, plan)
    assert all(each.device.type == "meta" for each in model.parameters())


def test_a_module_whose_settings_changed_is_not_guessed():
    class Halved(nn.Module):
        def __init__(self, dim):
            super().__init__()
            self.dim = dim // 2
            self.register_buffer("steps", torch.arange(4) * self.dim)

    model = on_meta(lambda: Halved(8))
    with pytest.raises(PlanError, match=r"`steps`: Halved was built otherwise: `dim` is 2"):
        owner_values(model, plan_of(model, rows=[]))


TINY = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "vocab_size": 50, "bos_token_id": 0, "eos_token_id": 1,
        "pad_token_id": 2}  # fmt: skip


def transformer(kind, config, **settings):
    transformers = pytest.importorskip("transformers")
    return lambda: getattr(transformers, kind)(getattr(transformers, config)(**settings))


def clip():
    vision = {key: value for key, value in TINY.items() if not key.endswith(("id", "vocab_size"))}
    return transformer(
        "CLIPModel",
        "CLIPConfig",
        text_config={**TINY, "max_position_embeddings": 16},
        vision_config={**vision, "image_size": 16, "patch_size": 4},
        projection_dim=16,
    )


@pytest.mark.transformers
@pytest.mark.parametrize(
    ("make", "kept", "random_ones"),
    [
        pytest.param(
            lambda: transformer("LlamaForCausalLM", "LlamaConfig", **TINY,
                                tie_word_embeddings=True),
            ["model.rotary_emb.inv_freq", "model.norm.weight"], r"^$", id="llama",
        ),
        pytest.param(
            clip, ["logit_scale", "text_model.embeddings.position_ids"],
            r"class_embedding$", id="clip",
        ),
        pytest.param(
            lambda: transformer("MambaForCausalLM", "MambaConfig", hidden_size=32, state_size=4,
                                num_hidden_layers=2, vocab_size=50),
            ["backbone.layers.1.mixer.A_log", "backbone.layers.0.mixer.D"],
            r"dt_proj\.bias$", id="mamba",
        ),
    ],
)  # fmt: skip
def test_transformers_from_meta_equal_the_real_ones(make, kept, random_ones):
    factory = make()
    real, meta = real_and_meta(
        factory, lambda slot: is_matrix(slot) and not slot.name.endswith("A_log")
    )
    names = {each.name for each in (*slots(meta), *buffers(meta))}
    assert set(kept) <= names
    odd = {name for name in differing(real, meta) if not re.search(random_ones, name)}
    assert not odd
    assert [slot.aliases for slot in slots(real)] == [slot.aliases for slot in slots(meta)]
