"""The recipes: each gives what its name says, and a stranger's serves as well."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import xavier
from xavier import laws, rules
from xavier._errors import PlanError, UnknownNameError
from xavier.laws import Constant, Normal, Orthogonal, Uniform, round_law
from xavier.planning import recipe_names
from xavier.planning.setting import Choice

X = torch.zeros(2, 16)
IDS = torch.zeros(2, 5, dtype=torch.long)


def stack():
    return nn.Sequential(
        nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 4)
    )


class Decoder(nn.Module):
    """Two blocks of one writer each, a tied table, positions."""

    def __init__(self):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(20, 16), nn.Embedding(5, 16)
        self.ups = nn.ModuleList(nn.Linear(16, 32) for _ in range(2))
        self.downs = nn.ModuleList(nn.Linear(32, 16) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(16) for _ in range(3))
        self.head = nn.Linear(16, 20, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, ids):
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        for norm, up, down in zip(self.norms, self.ups, self.downs, strict=False):
            x = x + down(nn.functional.gelu(up(norm(x))))
        return self.head(self.norms[-1](x))


def drawn(recipe, model=None, example=X):
    plan = xavier.plan(model or stack(), example, recipe=recipe)
    return {row.name: row.law for row in plan if row.role not in ("bias", "scale")}


@pytest.mark.parametrize(
    ("recipe", "law"),
    [
        ("xavier", lambda fan_in, fan_out: Normal(0.0, math.sqrt(2 / (fan_in + fan_out)))),
        ("he", lambda fan_in, fan_out: Normal(0.0, math.sqrt(2 / fan_in))),
        ("lecun", lambda fan_in, fan_out: Normal(0.0, math.sqrt(1 / fan_in))),
        ("random", lambda fan_in, fan_out: Normal(0.0, 0.01)),
        ("heuristic", lambda fan_in, fan_out: Uniform(-(fan_in**-0.5), fan_in**-0.5)),
        ("gpt2", lambda fan_in, fan_out: Normal(0.0, 0.02)),
    ],
)
def test_a_literal_recipe_has_one_rule_whatever_feeds_the_weight(recipe, law):
    fans = {"0.weight": (16, 64), "2.weight": (64, 32), "4.weight": (32, 4)}
    assert drawn(recipe) == {name: round_law(law(*pair)) for name, pair in fans.items()}


def test_gpt2_scales_residual_writers_and_positions():
    found = drawn("gpt2", Decoder(), IDS)
    stds = {name: law.std for name, law in found.items()}
    assert stds == {
        "tokens.weight": 0.02,
        "positions.weight": 0.01,
        **{f"ups.{at}.weight": 0.02 for at in range(2)},
        **{f"downs.{at}.weight": round(0.02 / math.sqrt(2), 7) for at in range(2)},
    }


@pytest.mark.parametrize("recipe", ["orthogonal", "lsuv"])
def test_orthogonal_keeps_the_variance_of_what_feeds_each_weight(recipe):
    plan = xavier.plan(stack(), X, recipe=recipe)
    for row in plan:
        if row.role != "bias":
            assert isinstance(row.law, Orthogonal)
            assert row.predicted_q == pytest.approx(1.0, rel=1e-5)
    tables = drawn(recipe, Decoder(), IDS)
    assert tables["tokens.weight"] == Normal(0.0, 0.125)
    assert isinstance(tables["ups.0.weight"], Orthogonal)


def test_orthogonal_has_another_law_where_there_is_no_matrix():
    class Scores(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(16))

        def forward(self, x):
            return x @ self.weight

    assert drawn("orthogonal", Scores()) == {"weight": Normal(0.0, 0.25)}


@pytest.mark.parametrize("recipe", recipe_names())
def test_biases_and_scales_are_the_same_under_each_recipe(recipe):
    plan = xavier.plan(Decoder(), IDS, recipe=recipe)
    rest = {row.role: row.law for row in plan if row.role in ("bias", "scale")}
    assert rest == {"bias": Constant(0.0), "scale": Constant(1.0)}
    assert plan.recipe == recipe


def test_a_stack_that_nothing_keeps_alive_says_so():
    layers = [layer for _ in range(60) for layer in (nn.Linear(16, 16), nn.Sigmoid())]
    plan = xavier.plan(nn.Sequential(*layers, nn.Linear(16, 4)), X)
    assert "no variance holds chi_1 = 1" in plan["60.weight"][0].reason


def test_a_recipe_may_be_any_object_that_chooses():
    class Narrow:
        name = "narrow"

        def choose(self, setting):
            assert setting.facts.fan_in > 0
            return Choice(rules.RandomNormal(std=1 / setting.facts.fan_out), "narrow on purpose")

    plan = xavier.plan(stack(), X, recipe=Narrow())
    assert plan.recipe == "narrow"
    assert [row.law.std for row in plan if row.role != "bias"] == [1 / 64, 1 / 32, 1 / 4]
    assert plan["0.weight"][0].reason == "narrow on purpose"


class SignedRoot(nn.Module):
    def forward(self, x):
        return torch.sign(x) * torch.sqrt(x.abs())


def roots():
    return nn.Sequential(nn.Linear(16, 32), SignedRoot(), nn.Linear(32, 32), nn.Linear(32, 4))


def test_where_the_gradient_has_no_finite_power_the_signal_decides():
    # E[f^2] = E|z| = sqrt(2 / pi) times the root of z's variance; E[f'^2] is infinite.
    (row,) = xavier.plan(roots(), X)["2.weight"]
    assert row.backward_power == math.inf
    assert "E[f'^2] is infinite" in row.reason
    assert row.predicted_q == pytest.approx(1, rel=1e-4)


def test_a_rule_without_a_law_is_told_by_the_weight():
    class Backward:
        name = "backward"

        def choose(self, setting):
            return Choice(rules.XavierExact(), "whatever feeds it")

    told = r"`2.weight`, fed by custom: backward_power is inf, .*\nHint: another recipe"
    with pytest.raises(PlanError, match=told):
        xavier.plan(roots(), X, recipe=Backward())


def test_an_unknown_recipe_is_told_with_the_nearest():
    with pytest.raises(
        UnknownNameError, match=r"unknown recipe 'xaver'\nHint: did you mean xavier"
    ):
        xavier.plan(stack(), X, recipe="xaver")
    with pytest.raises(
        UnknownNameError, match=r"unknown recipe 'zzz'\nHint: known: auto, default, "
    ):
        xavier.init_(stack(), X, recipe="zzz")


def test_the_page_tells_of_every_recipe():
    page = (Path(__file__).parent.parent / "docs" / "plan.md").read_text()
    section = page.partition("## Recipes")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?`) \|", section, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == set(recipe_names())


def test_numbers_of_a_law_have_six_digits_at_most():
    for recipe in recipe_names():
        for law in drawn(recipe, Decoder(), IDS).values():
            assert laws.round_law(law) == law


def test_a_model_that_runs_without_its_weights_was_still_run():
    class Bypass(nn.Module):
        def __init__(self):
            super().__init__()
            self.spare = nn.Linear(16, 16)

        def forward(self, x):
            return x

    assert not xavier.plan(Bypass(), X).notes
    assert any("without an example" in each for each in xavier.plan(Bypass()).notes)
