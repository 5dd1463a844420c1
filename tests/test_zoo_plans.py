"""The promises of a plan, held on every model of the zoo."""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import nn

import xavier
from xavier import zoo
from xavier._types.laws import Constant
from xavier.frameworks.torch.names import buffers, slots
from xavier.frameworks.torch.write import SameBitsWarning
from xavier.planning import recipe_names

NAMES = zoo.names()


def built(name, *, meta=False):
    factory = getattr(zoo, name)
    if not meta:
        return factory()
    with torch.device("meta"):
        return factory()


def example(name):
    return zoo.example(name)


def state(model):
    found = {slot.name: slot.stored.detach().clone() for slot in slots(model)}
    found.update({each.name: each.stored.detach().clone() for each in buffers(model)})
    return found


def bits(tensor):
    return tensor.detach().contiguous().numpy().tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_every_element_is_assigned_exactly_once(name):
    model = built(name)
    plan = xavier.plan(model, example(name))
    shapes = {slot.name: tuple(slot.shape) for slot in slots(model)}
    counts = {key: np.zeros(shape, dtype=int) for key, shape in shapes.items()}
    for row in plan.assignments:
        if row.region.axis is None:
            counts[row.name] += 1
        else:
            for start, stop in row.region.ranges:
                where = [slice(None)] * len(shapes[row.name])
                where[row.region.axis] = slice(start, stop)
                counts[row.name][tuple(where)] += 1
    for kept in plan.kept:
        if kept.kind == "parameter":
            counts[kept.name] += 1
    wrong = {key for key, count in counts.items() if not (count == 1).all()}
    assert not wrong


@pytest.mark.parametrize("name", NAMES)
def test_plan_of_a_meta_copy_is_the_plan_of_the_real_one(name):
    real = xavier.plan(built(name), example(name))
    meta = xavier.plan(built(name, meta=True), example(name))
    assert [str(row) for row in meta.assignments] == [str(row) for row in real.assignments]
    assert meta.digest == real.digest


@pytest.mark.parametrize("name", NAMES)
def test_two_draws_with_one_seed_are_one_and_meta_gives_the_same_bits(name):
    first, second, meta = built(name), built(name), built(name, meta=True)
    xavier.init_(first, example(name), seed=3)
    for model in (second, meta):
        with pytest.warns(SameBitsWarning, match="drawn with seed 3"):
            xavier.init_(model, example(name), seed=3)
    drawn = {row.name for row in xavier.plan(first, example(name)).assignments}
    one, two, three = state(first), state(second), state(meta)
    assert all(bits(one[each]) == bits(two[each]) for each in drawn)
    assert all(bits(one[each]) == bits(three[each]) for each in drawn)
    other = built(name)
    xavier.init_(other, example(name), seed=4)
    random = {
        row.name
        for row in xavier.plan(first, example(name)).assignments
        if not isinstance(row.law, Constant)
    }
    assert all(bits(one[each]) != bits(state(other)[each]) for each in random)


def test_an_inserted_layer_changes_no_other_weight():
    class Stack(nn.Module):
        def __init__(self, *, more):
            super().__init__()
            self.a = nn.Linear(8, 8)
            if more:
                self.inserted = nn.Linear(8, 8)
            self.b = nn.Linear(8, 8)
            self.more = more

        def forward(self, x):
            x = torch.tanh(self.a(x))
            if self.more:
                x = torch.tanh(self.inserted(x))
            return self.b(x)

    small, large = Stack(more=False), Stack(more=True)
    for model in (small, large):
        xavier.init_(model, torch.zeros(2, 8), seed=0, recipe="xavier")
    assert torch.equal(small.a.weight, large.a.weight)
    assert torch.equal(small.b.weight, large.b.weight)


@pytest.mark.parametrize("name", NAMES)
def test_check_changes_nothing(name):
    model = built(name)
    xavier.init_(model, example(name), seed=0)
    model.train()
    before, rng = state(model), torch.get_rng_state()
    modes = [each.training for each in model.modules()]
    hooks = [dict(each._forward_hooks) for each in model.modules()]
    xavier.check(model, example(name))
    after = state(model)
    assert all(bits(before[each]) == bits(after[each]) for each in before)
    assert torch.equal(torch.get_rng_state(), rng)
    assert [each.training for each in model.modules()] == modes
    assert [dict(each._forward_hooks) for each in model.modules()] == hooks
    assert all(each.grad is None for each in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_plan_changes_nothing(name):
    model = built(name)
    before, rng = state(model), torch.get_rng_state()
    xavier.plan(model, example(name))
    after = state(model)
    assert all(bits(before[each]) == bits(after[each]) for each in before)
    assert torch.equal(torch.get_rng_state(), rng)


@pytest.mark.parametrize("name", NAMES)
def test_plan_round_trips_through_toml(name):
    plan = xavier.plan(built(name), example(name))
    assert xavier.Plan.from_toml(plan.to_toml()).digest == plan.digest


@pytest.mark.parametrize("recipe", recipe_names())
def test_every_recipe_draws_every_kind_of_layer(recipe):
    for name in ("unet", "gpt", "lstm", "mixture_of_experts"):
        model = built(name)
        plan = xavier.init_(model, example(name), seed=0, recipe=recipe)
        assert plan.recipe == recipe
        assert all(torch.isfinite(each).all() for each in model.parameters())


def expectation(function, variance):
    """Return E[f(h)] for h ~ N(0, variance) by an adaptive rule that is not the package's own."""
    spread = math.sqrt(variance)
    density = lambda z: math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    at = lambda z: float(function(np.array(spread * z))) * density(z)
    parts = np.linspace(-12, 12, 49)
    return sum(
        quad(at, low, high, epsabs=1e-12, epsrel=1e-10, limit=200)[0]
        for low, high in pairwise(parts)
    )


def test_custom_activations_get_the_gain_of_their_formula():
    model = zoo.custom_activations()
    plan = xavier.plan(model, zoo.example("custom_activations"))
    formulas = model.formulas()  # weight name -> the same function on float64 arrays
    assert len(formulas) == 6
    step = 1e-6  # of a central difference, whose error is of order step**2
    for name, formula in formulas.items():
        row, before = plan[name][0], plan[model.before(name)][0]
        slope = lambda h, f=formula: (f(h + step) - f(h - step)) / (2 * step)
        forward = expectation(lambda h, f=formula: f(h) ** 2, before.predicted_q)
        backward = expectation(lambda h, f=slope: f(h) ** 2, before.predicted_q)
        assert row.forward_power == pytest.approx(forward, rel=1e-6)
        # A difference straddles a kink within a step of it, which is a share of 1e-6.
        assert row.backward_power == pytest.approx(backward, rel=3e-6)


def test_the_tracer_names_no_class_of_the_zoo():
    import inspect
    import pkgutil

    import xavier.flow
    import xavier.frameworks.torch as folder
    import xavier.frameworks.torch.zoo as models

    classes = {
        thing.__name__
        for module in pkgutil.walk_packages(models.__path__, models.__name__ + ".")
        for thing in vars(__import__(module.name, fromlist=["_"])).values()
        if inspect.isclass(thing) and thing.__module__.startswith(models.__name__)
    }
    assert classes
    root = folder.__path__[0]
    import pathlib

    sources = [
        path.read_text()
        for base in (root, xavier.flow.__path__[0], xavier.planning.__path__[0])
        for path in pathlib.Path(base).glob("*.py")
    ]
    named = {
        each for each in classes for text in sources if f"{each}(" in text or f"{each!r}" in text
    }
    assert not named


def test_deepcopied_model_plans_alike():
    model = zoo.gpt()
    x = zoo.example("gpt")
    assert xavier.plan(copy.deepcopy(model), x).digest == xavier.plan(model, x).digest


@pytest.mark.parametrize("name", NAMES)
def test_every_model_is_healthy_under_auto_but_for_the_one_that_nothing_mends(name):
    model, batch = built(name), built(name).example_input(batch=8)
    xavier.init_(model, batch, seed=0)
    check = xavier.check(model, batch, recipe="auto")
    lost = name == "deep_sigmoid_mlp"
    assert check.verdict is (xavier.Verdict.VANISHING if lost else xavier.Verdict.HEALTHY)
    # Of fifty sigmoids' gradients, and of a layer scale of 1e-6, float16 would lose much.
    assert {each.code for each in check.findings} <= {"zero-weight", "dtype-range"}
