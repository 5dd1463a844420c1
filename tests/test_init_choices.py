"""What `init_` draws, and from which bits: `only`, a given plan, the seed, the scope."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

import xavier
from torch_plans import differing, expected, plan_of, row
from xavier import Kept, Normal, Plan, PlanError, Region
from xavier._types.region import check_cover

BATCH = torch.zeros(2, 6)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, 6)
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(12))
        self.head = nn.Linear(6, 5, bias=False)
        self.head.weight = self.table.weight
        self.gain = nn.Parameter(torch.full((6,), 0.5))

    def forward(self, ids):
        x = self.table(ids) * self.gain
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return self.head(x)


IDS = torch.zeros(2, 3, dtype=torch.long)


def stack():
    return nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 4))


@pytest.fixture
def twins():
    """Two models that hold the same bits."""
    torch.manual_seed(0)
    one, other = Tied(), Tied()
    other.load_state_dict(one.state_dict())
    return one, other


# only


@pytest.mark.parametrize(
    ("only", "drawn"),
    [
        ("layers.3.weight", {"layers.3.weight"}),
        (["layers.3.weight", "layers.4.weight"], {"layers.3.weight", "layers.4.weight"}),
        ("layers.[1,10-11].weight", {f"layers.{at}.weight" for at in (1, 10, 11)}),
        ("layers.?.weight", {f"layers.{at}.weight" for at in range(10)}),
        ("*.bias", {f"layers.{at}.bias" for at in range(12)}),
        (("table.weight",), {"table.weight"}),
        ("head.*", {"table.weight"}),
        (["head.weight", "gain"], {"table.weight"}),
        (lambda name: name.startswith("head"), {"table.weight"}),
        (iter(["*.3.*"]), {"layers.3.weight", "layers.3.bias"}),
    ],
)
def test_only_these_weights_are_drawn(twins, only, drawn):
    model, before = twins
    plan = xavier.init_(model, IDS, seed=0, only=only)
    assert {each.name for each in plan} == drawn
    assert differing(model, before) == drawn


def test_only_draws_the_bits_that_the_whole_plan_draws(twins):
    part, whole = twins
    xavier.init_(part, IDS, seed=0, only="layers.3.*")
    xavier.init_(whole, IDS, seed=0)
    assert torch.equal(part.layers[3].weight, whole.layers[3].weight)


def test_what_is_not_among_only_is_told_as_kept_with_its_own_shape():
    model = nn.LSTM(6, 6, batch_first=True)
    plan = xavier.init_(model, torch.zeros(2, 3, 6), seed=0, only="weight_ih_l0")
    left = {each.name: each for each in plan.kept}
    assert left["weight_hh_l0"].shape == (24, 6)
    assert left["weight_hh_l0"].reason == "left as it is: not among `only`"
    assert len(plan.kept) == len(left) == 3
    check_cover((24, 6), [each.region for each in plan])


def test_a_tied_weight_that_is_left_is_known_by_all_its_names():
    plan = xavier.init_(Tied(), IDS, seed=0, only="layers.*")
    assert plan["head.weight"] == ()
    assert plan.explain("head.weight").startswith("table.weight (5, 6) is a parameter and keeps")


@pytest.mark.parametrize(
    ("only", "message"),
    [
        ("heads.weight", "'heads.weight' matches no weight of the plan\nHint: names look like .*"),
        ("layer.3.weight", r"matches no weight of the plan\nHint: .*layers\.3\.weight"),
        (["layers.3.weight", "x"], "'x' matches no weight of the plan"),
        ("gain", "only='gain' matches no weight of the plan\nHint: it keeps gain: no contraction"),
        (lambda name: False, "only=<function .* matches no weight of the plan"),
        ([], r"only=\[\] matches no weight of the plan"),
        (3, "only is 3, expected names, globs, or a predicate on names"),
        ([3], r"only is \[3\], expected names, globs, or a predicate on names"),
    ],
)
def test_only_that_selects_nothing_touches_nothing(twins, only, message):
    model, before = twins
    with pytest.raises(PlanError, match=message):
        xavier.init_(model, IDS, seed=0, only=only)
    assert not differing(model, before)


def test_of_a_plan_that_draws_nothing_nothing_can_be_selected():
    with pytest.raises(PlanError, match="matches no weight of the plan\nHint: it draws none"):
        xavier.init_(stack(), plan=Plan((), (), "none", ""), only=lambda name: True)


# A given plan


def test_a_given_plan_is_carried_out_to_the_letter():
    model = stack()
    plan = plan_of(model, Normal(0.0, 3.0))
    assert xavier.init_(model, plan=plan, seed=5) == replace(plan, seed=5)
    assert torch.equal(model[0].weight, expected("0.weight", (6, 6), Normal(0.0, 3.0), seed=5))


def test_an_empty_plan_draws_nothing():
    model, before = stack(), stack()
    before.load_state_dict(model.state_dict())
    made = xavier.init_(model, BATCH, plan=Plan((), (), "none", ""), seed=0)
    assert not differing(model, before)
    assert {each.name for each in made.kept} == {"0.weight", "0.bias", "2.weight", "2.bias"}


def test_a_parameter_that_a_plan_does_not_name_is_told():
    model = stack()
    plan = plan_of(model, drawn=lambda slot: slot.name == "0.weight")
    made = xavier.init_(model, plan=replace(plan, kept=(Kept("0.bias", (6,), "parameter", "x"),)))
    assert [(each.name, each.reason) for each in made.kept] == [
        ("0.bias", "x"),
        ("2.weight", "left as it is: the plan does not name it"),
        ("2.bias", "left as it is: the plan does not name it"),
    ]


def test_elements_that_a_plan_does_not_name_are_told():
    model = stack()
    part = row("0.weight", (6, 6), region=Region(0, ((1, 3),)))
    made = xavier.init_(model, plan=plan_of(model, rows=[part]), seed=0)
    told = "0.weight: 24 elements left as they are: the plan does not name them"
    assert made.notes == (told,)


@pytest.mark.parametrize("given", [{"overrides": {"*": "keep"}}, {"overwrite_zeros": True}])
def test_what_would_change_a_given_plan_is_refused(given):
    model = stack()
    message = f"plan and {next(iter(given))} were both given, expected one of them\nHint: make the"
    with pytest.raises(PlanError, match=message):
        xavier.init_(model, BATCH, plan=plan_of(model), **given)


def test_lsuv_needs_an_example():
    with pytest.raises(PlanError, match="the recipe lsuv needs an example input"):
        xavier.init_(stack(), recipe="lsuv")


# The seed


def test_a_seed_left_out_is_drawn_from_the_frameworks_generator_and_told():
    first, second, third = stack(), stack(), stack()
    torch.manual_seed(3)
    seeds = [xavier.init_(first, BATCH).seed, xavier.init_(second, BATCH).seed]
    assert seeds[0] != seeds[1]
    torch.manual_seed(3)
    with pytest.warns(xavier.XavierWarning, match=f"drawn with seed {seeds[0]}"):
        assert xavier.init_(third, BATCH).seed == seeds[0]
    assert torch.equal(first[0].weight, third[0].weight)


def test_a_plan_remembers_its_seed_until_another_is_given():
    model = stack()
    plan = replace(plan_of(model), seed=11)
    before = torch.get_rng_state()
    assert xavier.init_(model, plan=plan).seed == 11
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(model[0].weight, expected("0.weight", (6, 6), seed=11))
    assert xavier.init_(model, plan=plan, seed=0).seed == 0
    assert torch.equal(model[0].weight, expected("0.weight", (6, 6), seed=0))


# The scope


def test_a_scope_prefixes_every_name_in_the_stream():
    model = stack()
    made = xavier.init_(model, plan=plan_of(model), seed=0, scope="teacher.")
    assert made.scope == "teacher."
    assert torch.equal(model[0].weight, expected("teacher.0.weight", (6, 6)))


def test_a_plan_remembers_its_scope_until_another_is_given():
    model = stack()
    plan = replace(plan_of(model), scope="a.")
    assert xavier.init_(model, plan=plan, seed=0).scope == "a."
    assert torch.equal(model[0].weight, expected("a.0.weight", (6, 6)))
    assert xavier.init_(model, plan=plan, seed=0, scope="b.").scope == "b."
    assert torch.equal(model[0].weight, expected("b.0.weight", (6, 6)))


def test_two_networks_of_one_shape_differ_by_their_scopes_and_nothing_warns():
    one, two = stack(), stack()
    xavier.init_(one, BATCH, seed=0, scope="student.")
    xavier.init_(two, BATCH, seed=0, scope="teacher.")
    assert not torch.equal(one[0].weight, two[0].weight)
