"""Cures are tried and measured, what no recipe mends is called so, and nothing is left behind."""

from __future__ import annotations

import json
import random
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import xavier
from cli_models import run
from xavier._errors import PlanError, TraceError, UnknownNameError
from xavier._types.cures import Trial
from xavier._types.plan_diff import difference
from xavier._types.signal import Verdict
from xavier.checking import cures
from xavier.frameworks.torch.rehearsal import rehearsal
from xavier.frameworks.torch.write import SameBitsWarning

EXAMPLE = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))


class Around(nn.Module):
    """A layer and its function, with something around them."""

    def __init__(self, function, *, skip=False, before=None, factor=1.0, after=None):
        super().__init__()
        self.layer = nn.Linear(64, 64)
        self.function = function
        self.before = before() if before else nn.Identity()
        self.after = after() if after else nn.Identity()
        self.skip, self.factor = skip, factor

    def forward(self, x):
        out = self.function(self.before(self.layer(x)))
        return self.after(self.factor * x + out if self.skip else out)


def stack(depth, function, **around):
    torch.manual_seed(0)
    blocks = [Around(function, **around) for _ in range(depth)]
    return nn.Sequential(*blocks, nn.Linear(64, 10))


def tried(model, example=EXAMPLE, **settings):
    return xavier.try_cures(xavier.check(model, example), model, example, **settings)


# What mends


@pytest.fixture(scope="module")
def rectified():
    """A plain stack of 30 ReLU layers as PyTorch draws it, and what came of every recipe."""
    model = stack(30, torch.relu)
    return model, tried(model)


def test_the_first_recipe_that_mends_is_named(rectified):
    _, found = rectified
    assert found.verdict == "vanishing", "the verdict stays that of the weights that are there"
    outcomes = {each.recipe: each.verdict for each in found.cures.trials}
    assert list(outcomes) == ["auto", "xavier", "he", "lecun", "orthogonal", "lsuv", "gpt2"]
    assert outcomes["he"] == outcomes["auto"] == "healthy"
    assert outcomes["xavier"] == outcomes["lecun"] == "vanishing"
    assert found.cures.recipe == "auto"
    assert found.cures.trials[0].seeds == (0, 1, 2)
    assert found.cure.endswith("# measured: healthy with seeds 0, 1, 2")


def test_the_line_gives_what_was_measured(rectified):
    model = stack(30, torch.relu)
    found = tried(model, recipes=["he"], seeds=[0])
    exec(found.cure, {"xavier": xavier, "model": model, "example": EXAMPLE})
    again = xavier.check(model, EXAMPLE)
    assert again.verdict == "healthy"
    assert again.evidence == found.cures.trials[0].evidence


def test_data_that_were_not_standardized_need_the_recipe_that_looks_at_them():
    found = tried(stack(4, torch.tanh), 40 * EXAMPLE, seeds=[0])
    mending = [each.recipe for each in found.cures.trials if each.mends]
    assert found.verdict == "saturated"
    assert mending == ["lsuv"]
    assert found.cures.recipe == "lsuv"


def test_a_seed_that_fails_ends_the_trial_and_the_recipe_mends_nothing(monkeypatch):
    model = stack(2, torch.tanh)
    sick = replace(xavier.check(model, EXAMPLE), verdict=Verdict.COLLAPSED, where="0.layer")
    outcomes = iter([Verdict.HEALTHY, Verdict.COLLAPSED])
    checks = lambda *_, **__: replace(sick, verdict=next(outcomes), evidence="0.999 alike")
    monkeypatch.setattr("xavier.checking.check", checks)
    found = xavier.try_cures(sick, model, EXAMPLE, recipes=["he"], seeds=[5, 6, 7])
    expected = Trial("he", (5, 6), Verdict.COLLAPSED, "0.layer", "0.999 alike")
    assert found.cures.trials == (expected,)
    assert not expected.mends
    assert found.cure.startswith("no initialization mends this with every seed (he does with some)")


# What nothing mends, and what does

NONE_MENDS = {
    "sigmoids": (stack, (50, torch.sigmoid), {}, "take tanh in place of sigmoid"),
    "saturated by a factor": (
        *(stack, (6, lambda x: torch.tanh(40 * x)), {"before": lambda: nn.LayerNorm(64)}),
        "put a normalization before the activation",
    ),
    "a stream that grows": (
        *(stack, (12, torch.relu), {"skip": True, "factor": 10.0}),
        "put a normalization before it",
    ),
    "squares": (stack, (20, torch.square), {}, "put a normalization before it"),
    "signs": (stack, (3, torch.sign), {}, "no gradient comes back to `2.layer`: take a function"),
}
CHANGED = {
    "sigmoids": [
        ((50, torch.tanh), {}),
        ((50, torch.sigmoid), {"before": lambda: nn.BatchNorm1d(64)}),
    ],
    "saturated by a factor": [((6, torch.tanh), {"before": lambda: nn.LayerNorm(64)})],
    "a stream that grows": [
        ((12, torch.relu), {"skip": True, "factor": 10.0, "after": lambda: nn.LayerNorm(64)}),
        ((12, torch.relu), {"skip": True}),
    ],
    "squares": [((20, torch.square), {"before": lambda: nn.LayerNorm(64)})],
    "signs": [((3, torch.tanh), {})],
}


@pytest.mark.parametrize("name", NONE_MENDS)
def test_what_no_recipe_mends_is_called_so_and_the_change_is_named(name):
    make, given, around, told = NONE_MENDS[name]
    found = tried(make(*given, **around), seeds=[0])
    assert not any(each.mends for each in found.cures.trials)
    assert (found.cures.recipe, found.cures.diff) == ("", "")
    assert found.cures.change.startswith(told)
    assert found.cure == (
        "no initialization mends this (tried: auto, xavier, he, lecun, orthogonal, lsuv, gpt2): "
        + found.cures.change
    )


@pytest.mark.parametrize(
    ("given", "around"), [case for cases in CHANGED.values() for case in cases]
)
def test_the_change_that_is_named_makes_it_healthy(given, around):
    model = stack(*given, **around)
    plan = xavier.plan(model, EXAMPLE)
    for seed in range(3):
        xavier.init_(model, plan=plan, seed=seed)
        assert xavier.check(model, EXAMPLE, plan=plan).verdict == "healthy"


def test_layer_normalization_does_not_mend_sigmoids_so_it_is_not_named():
    model = stack(50, torch.sigmoid, before=lambda: nn.LayerNorm(64))
    assert not any(each.mends for each in tried(model, seeds=[0]).cures.trials)


# What is left as it is


def test_a_healthy_check_is_returned_as_it_is():
    model = stack(3, torch.tanh)
    xavier.init_(model, EXAMPLE, seed=0)
    found = xavier.check(model, EXAMPLE)
    assert xavier.try_cures(found, model, EXAMPLE) is found


def test_an_example_that_is_not_finite_is_mended_by_no_recipe_and_none_is_tried():
    example = EXAMPLE.clone()
    example[0, 0] = torch.nan
    found = tried(stack(3, torch.tanh), example)
    assert found.verdict == "broken"
    assert found.cures is None
    assert found.cure == cures.FINITE_EXAMPLE


def _state(model):
    tensors = [
        (name, each.detach().numpy().tobytes(), each._version, each.data_ptr(), id(each))
        for name, each in (*model.named_parameters(), *model.named_buffers())
    ]
    generators = (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist())
    modes = [each.training for each in model.modules()]
    grads = [None if each.grad is None else each.grad.tolist() for each in model.parameters()]
    return tensors, generators, modes, grads


class Odd(nn.Module):
    """Weight norm, spectral norm, batch norm, dropout, a tie and a gradient, some of it in eval."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        norms = nn.utils.parametrizations
        self.first = norms.weight_norm(nn.Linear(64, 64))
        self.second = norms.spectral_norm(nn.Linear(64, 64))
        self.norm, self.drop = nn.BatchNorm1d(64), nn.Dropout()
        self.third, self.fourth = nn.Linear(64, 64), nn.Linear(64, 64)
        self.fourth.weight = self.third.weight
        self.norm.eval()
        self(EXAMPLE).sum().backward()
        with torch.no_grad():
            self.third.weight.fill_(1e-30)

    def forward(self, x):
        x = self.drop(torch.tanh(self.norm(self.second(torch.tanh(self.first(x))))))
        return self.fourth(torch.tanh(self.third(x)))


@pytest.mark.parametrize("make", [Odd, lambda: stack(30, torch.sigmoid)], ids=["odd", "sigmoids"])
def test_the_model_and_the_generators_are_as_before_to_the_bit(make):
    model = make()
    found = xavier.check(model, EXAMPLE)
    assert found.verdict != "healthy"
    before = _state(model)
    xavier.try_cures(found, model, EXAMPLE, recipes=["auto", "lsuv"])
    assert _state(model) == before


def test_the_model_is_as_before_after_an_interrupt_in_the_middle():
    model = Odd()
    found = xavier.check(model, EXAMPLE)
    before = _state(model)

    def loss(output, target):
        raise KeyboardInterrupt("in the middle")

    with pytest.raises(KeyboardInterrupt, match="in the middle"):
        xavier.try_cures(found, model, EXAMPLE, target=EXAMPLE, loss=loss)
    assert _state(model) == before


def test_where_no_recipe_can_be_measured_the_error_is_raised():
    model = Odd()
    found = xavier.check(model, EXAMPLE)
    before = _state(model)

    def loss(output, target):
        raise RuntimeError("no such target")

    with pytest.raises(TraceError, match="no such target"):
        xavier.try_cures(found, model, EXAMPLE, target=EXAMPLE, loss=loss)
    assert _state(model) == before


def test_a_graph_that_holds_the_weights_can_still_go_backward():
    model = stack(30, torch.relu)
    output = model(EXAMPLE).sum()
    tried(model, recipes=["he"], seeds=[0])
    output.backward()
    assert all(each.grad is not None for each in model.parameters())


def test_no_later_drawing_is_told_that_it_repeats_what_was_tried():
    model, other = stack(30, torch.relu), stack(30, torch.relu)
    tried(model, recipes=["he"], seeds=[0])
    with warnings.catch_warnings(action="error", category=SameBitsWarning):
        xavier.init_(other, EXAMPLE, recipe="he", seed=0)
        tried(model, recipes=["he"], seeds=[0])
    with pytest.warns(SameBitsWarning):
        xavier.init_(model, EXAMPLE, recipe="he", seed=0)


def test_a_rehearsal_puts_back_weights_that_are_drawn_behind_the_frameworks_back():
    layer = nn.Linear(4, 4)
    before = layer.weight.detach().clone()
    with rehearsal(layer):
        xavier.init_(layer, seed=0)
        layer.weight.detach().numpy()[0] = 7
        assert not torch.equal(layer.weight, before)
    assert torch.equal(layer.weight, before)


# What cannot be tried


def test_a_skip_takes_most_of_the_strain_of_fifty_sigmoids():
    """It is just over 1, and Adam brings the loss on digits from 2.3 to 0.15 in 120 steps."""
    strains = []
    for skip in (False, True):
        model = stack(50, torch.sigmoid, skip=skip)
        xavier.init_(model, EXAMPLE, seed=0)
        strains.append(xavier.check(model, EXAMPLE).strain)
    assert strains[0] > 5
    assert strains[1] < 1.2


def test_a_recipe_that_cannot_be_drawn_is_told_of_and_the_others_go_on():
    found = tried(stack(20, torch.square), recipes=["xavier", "lsuv"])
    first, second = found.cures.trials
    assert (first.verdict, first.seeds) == (None, ())
    assert "power is infinite" in first.evidence
    assert second.verdict is not None


def test_a_check_by_a_recipe_that_cannot_be_planned_says_so_and_judges_the_signal():
    found = xavier.check(stack(20, torch.square), EXAMPLE, recipe="xavier")
    assert found.verdict == "vanishing"
    assert all(each.severity == "note" for each in found.findings)
    (told,) = (each.message for each in found.findings if each.code == "no-plan")
    assert "power is infinite" in told


def test_unknown_recipes_and_nothing_to_try_are_refused():
    model = stack(30, torch.relu)
    with pytest.raises(UnknownNameError, match="unknown recipe 'xavjer'"):
        tried(model, recipes=["xavjer"])
    with pytest.raises(PlanError, match="there is nothing to try"):
        tried(model, recipes=[])
    with pytest.raises(PlanError, match="there is nothing to try"):
        tried(model, seeds=[])


# The difference


def test_the_difference_tells_of_the_plan_that_was_and_the_one_that_comes():
    model = stack(2, torch.relu)
    first = xavier.plan(model, EXAMPLE, recipe="xavier")
    second = xavier.plan(model, EXAMPLE, recipe="he")
    assert difference(second, first).splitlines() == [
        "- [0-1].layer.weight (64, 64): Normal(0, 0.125)",
        "+ [0-1].layer.weight (64, 64): Normal(0, 0.176777)",
        "- 2.weight (10, 64): Normal(0, 0.164399)",
        "+ 2.weight (10, 64): Normal(0, 0.176777)",
    ]
    assert difference(second, second) == ""


def test_the_difference_is_from_what_was_measured_where_no_plan_is_known(rectified):
    _, found = rectified
    lines = found.cures.diff.splitlines()
    assert lines[0].startswith("- 0.layer.weight (64, 64): std 0.07")
    assert lines[1] == "+ 0.layer.weight (64, 64): Normal(0, 0.125)"
    assert lines[4].startswith("- [1-29].layer.weight (64, 64): std 0.07")
    assert lines[5] == "+ [1-29].layer.weight (64, 64): Normal(0, 0.176777)"
    model = stack(30, torch.relu)
    plan = xavier.init_(model, EXAMPLE, recipe="xavier", seed=0)
    lines = tried(model, recipes=["he"], seeds=[0], plan=plan).cures.diff.splitlines()
    assert lines[0] == "- [0-29].layer.weight (64, 64): Normal(0, 0.125)"


def test_the_difference_tells_of_what_is_kept_by_one_plan_alone():
    model = stack(1, torch.relu)
    whole = xavier.plan(model, EXAMPLE)
    part = xavier.init_(model, plan=whole, seed=0, only=["1.weight"])
    law = "- 0.layer.weight (64, 64): Normal(0, 0.125)\n+ 0.layer.weight (64, 64): kept as it is"
    assert law in difference(part, whole)
    assert "- 0.layer.bias (64,): kept as it is\n" in difference(whole, part)


# In words


_ALIKE = """
import torch
from torch import nn

def alike():
    model = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4))
    nn.init.constant_(model[0].weight, 0.1)
    return model
"""


def test_the_command_tries_cures_where_the_model_is_unhealthy(folder):
    (folder / "alike.py").write_text(_ALIKE)
    given = ("check", "alike.py:alike", "--input", "8,16")
    result = run(*given, "--try-cures")
    assert result.exit_code == 1
    assert "tried: 7 recipes" in result.stdout
    assert "# measured: healthy with seeds 0, 1, 2" in result.stdout
    told = json.loads(run(*given, "--try-cures", "--format", "json").stdout)
    assert told["cures"]["recipe"] == "auto"
    lines = run(*given, "--try-cures", "--format", "github").stdout
    assert "::notice title=xavier%3A cures::tried: auto healthy;" in lines
    page = run(*given, "--try-cures", "--format", "html").stdout
    assert '<h2 id="cures-head">Cures</h2>' in page
    assert "tried" not in run(*given).stdout


def test_the_short_text_and_the_notebook_tell_what_was_tried(rectified):
    found = rectified[1]
    assert "xavier vanishing at " in str(found)
    assert "<summary>7 recipes tried</summary>" in found._repr_html_()


def test_a_cure_by_one_seed_is_told_in_the_singular():
    trial = Trial("he", (3,), Verdict.HEALTHY, "", "")
    assert cures.measured_line(trial).endswith("seed=3)  # measured: healthy with seed 3")
