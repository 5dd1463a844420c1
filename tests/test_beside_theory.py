"""Theory beside measurement: right where it is known, and a fault is named where it is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import xavier
from xavier import zoo
from xavier._types import theory_text
from xavier._types.signal import Verdict
from xavier._types.theory import Band
from xavier.checking.bends import bend
from xavier.flow.expressions import Expression, Root, of_root
from xavier.frameworks.torch.actual import second_moments
from xavier.frameworks.torch.measure import measure
from xavier.frameworks.torch.trace import trace

WIDTH = 64


def batch(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Stack(nn.Module):
    """Dense layers of one width, an activation after each but the last, perhaps with skips."""

    def __init__(self, act, *, depth=8, width=WIDTH, bias=True, skip=False):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width, bias=bias) for _ in range(depth))
        self.act, self.skip = act, skip

    def forward(self, x):
        for at, layer in enumerate(self.layers):
            out = self.between(at, layer(self.act(x) if at else x))
            x = x + out if self.skip and at else out
        return x

    def between(self, at, x):
        """Return a layer's output as it is handed on."""
        del at
        return x


class Faulty(Stack):
    """A stack in which a factor that no trace in eval mode sees stands behind one layer."""

    def __init__(self, *args, at, factor, **settings):
        super().__init__(*args, **settings)
        self.at, self.factor = at, factor

    def between(self, at, x):
        return self.factor * x if at == self.at and self.training else x


class _Scaled(torch.autograd.Function):
    """The identity, whose gradient is multiplied."""

    @staticmethod
    def forward(ctx, x):
        del ctx
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        del ctx
        return 5 * gradient


class FaultyBackward(Faulty):
    """The same of the gradient alone."""

    def between(self, at, x):
        return _Scaled.apply(x) if at == self.at and self.training else x


def he(model, seed=0):
    generator = torch.Generator().manual_seed(10_000 + seed)  # not the data
    for weight in model.parameters():
        if weight.ndim > 1:
            gain = math.sqrt(2 / weight.shape[1])
            weight.data = gain * torch.randn(weight.shape, generator=generator)
        else:
            weight.data = torch.zeros_like(weight)
    return model


KNOWN = {
    "tanh": (lambda: Stack(torch.tanh), "xavier"),
    "relu": (lambda: Stack(torch.relu), "he"),
    "gelu": (lambda: Stack(functional.gelu), "auto"),
    "residual": (lambda: Stack(torch.relu, skip=True), "auto"),
}


# What is known in closed form


def test_a_relu_net_is_expected_as_its_own_weights_say():
    model, x = he(Stack(torch.relu, bias=False)), 0.3 + 2 * batch(8, WIDTH)
    found = xavier.check(model, x).theory
    weights = [float((layer.weight.detach() ** 2).mean()) for layer in model.layers]
    second = WIDTH * weights[0] * float((x**2).mean())
    outputs = [second]
    for weight in weights[1:]:
        outputs.append(outputs[-1] * WIDTH * weight / 2)
    back = [1.0]
    for weight in reversed(weights[1:]):
        back.insert(0, back[0] * WIDTH * weight / 2)
    assert [each.output.rms**2 for each in found.ops] == pytest.approx(outputs, rel=1e-5)
    assert [each.gradient.rms**2 for each in found.ops] == pytest.approx(back, rel=1e-3)


def test_a_step_goes_on_from_what_was_measured():
    model, x = he(Stack(torch.relu, bias=False)), batch(8, WIDTH)
    found = xavier.check(model, x)
    for before, after, each in zip(
        found.signal.ops, found.signal.ops[1:], found.theory.ops[1:], strict=False
    ):
        weight = float((model.layers[after.index].weight.detach() ** 2).mean())
        assert each.step_output.rms == pytest.approx(
            before.rms * math.sqrt(WIDTH * weight / 2), rel=1e-5
        )


def test_biases_count_in_what_is_expected_of_an_output():
    model, x = Stack(torch.tanh, depth=3), batch(8, WIDTH)
    he(model)
    for layer in model.layers:
        nn.init.constant_(layer.bias, 3.0)
    first = xavier.check(model, x).theory.ops[0]
    weight = float((model.layers[0].weight.detach() ** 2).mean())
    assert first.output.rms**2 == pytest.approx(WIDTH * weight * float((x**2).mean()) + 9, rel=1e-5)


@pytest.mark.parametrize("size", [1, 2, 5, 8])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [(3, 1, 1, 1), (5, 2, 2, 1), (3, 2, 4, 2), (1, 1, 0, 1)],
)
def test_products_with_the_padding_do_not_count(size, kernel, stride, padding, dilation):
    conv = nn.Conv2d(2, 3, kernel, stride=stride, padding=padding, dilation=dilation, bias=False)
    (op,) = (each for each in trace(conv, torch.ones(1, 2, size, size)).ops if each.weights)
    ones = functional.conv2d(
        torch.ones(1, 1, size, size), torch.ones(1, 1, kernel, kernel), None, stride, padding,
        dilation,
    )  # fmt: skip
    assert op.attributes["inside"] == pytest.approx(float(ones.mean()) / kernel**2)


# Healthy models agree


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("inputs", [1, 8])
def test_known_nets_are_predicted_within_what_chance_explains(name, inputs):
    build, recipe = KNOWN[name]
    outside = 0
    for seed in range(4):
        model, x = build(), batch(inputs, WIDTH, seed=seed)
        xavier.init_(model, x, recipe=recipe, seed=seed)
        found = xavier.check(model, x)
        assert found.theory.summary == "theory and measurement agree both ways at 8 ops"
        for op, each in zip(found.signal.ops, found.theory.ops, strict=True):
            outside += not each.output.holds(op.rms)
            outside += not each.gradient.holds(op.gradient_rms)
    # Of 64 numbers a thousandth, most of them far inside of bounds that are made for one input.
    assert outside <= 1


@pytest.mark.parametrize("name", zoo.names())
def test_the_zoo_agrees_with_the_theory_and_every_op_is_found_in_it(name):
    model, x = zoo.build(name), zoo.example(name)
    xavier.init_(model, x, seed=0)
    found = xavier.check(model, x)
    assert found.theory.departs is None
    assert not [each for each in found.findings if each.code == "off-theory"]
    # A recurrent layer is one op to a user, and many to the trace.
    # Of a weight that the model computes the use is no op of the flow.
    missing = {"lstm": 1, "hypernetwork": 2}.get(name, 0)
    assert len(found.theory.ops) == sum(bool(op.weights) for op in found.signal.ops) - missing
    named = {word for each in found.theory.ops for word in (*each.limits, *each.gradient_limits)}
    assert named <= set(theory_text.LIMITS)


def test_a_model_at_its_frameworks_own_start_agrees_too():
    torch.manual_seed(0)
    found = xavier.check(Stack(torch.relu), batch(8, WIDTH))
    assert found.theory.departs is None


# Faults are named where they are


@pytest.mark.parametrize(
    ("act", "at", "factor", "skip"),
    [
        (torch.relu, 0, 4.0, False),
        (torch.relu, 3, 4.0, False),
        (torch.relu, 6, 1 / 6, False),
        (torch.tanh, 4, 1 / 6, False),
        (functional.gelu, 2, 4.0, False),
        (torch.relu, 0, 4.0, True),
    ],
)
def test_a_factor_hidden_in_a_forward_is_named_at_the_op_that_it_is_fed_to(act, at, factor, skip):
    model, x = Faulty(act, at=at, factor=factor, skip=skip), batch(8, WIDTH)
    xavier.init_(model, x, seed=0)
    found = xavier.check(model, x)
    assert found.theory.departs == at + 1
    (finding,) = (each for each in found.findings if each.code == "off-theory")
    assert (finding.path, finding.severity) == (f"layers.{at + 1}", "note")
    assert finding.message == found.theory.evidence
    assert finding.message.startswith("its output has RMS ")
    assert "the ops right before it predict" in finding.message
    assert found.theory.summary == f"theory and measurement part at layers.{at + 1}"
    assert found.verdict is Verdict.HEALTHY
    assert found.exit_code(strict=True) == 0
    assert xavier.check(model.eval(), x).theory.departs is None


@pytest.mark.parametrize("at", [1, 4])
def test_a_factor_on_the_gradient_alone_is_named_at_the_op_that_gets_it(at):
    model, x = FaultyBackward(torch.relu, at=at, factor=5.0), batch(8, WIDTH)
    xavier.init_(model, x, seed=0)
    found = xavier.check(model, x)
    assert found.theory.departs == at
    assert found.theory.evidence.startswith("its gradient has RMS ")
    assert "ops right after it predict" in found.theory.evidence


def test_a_weight_that_is_three_times_as_large_is_no_departure_for_it_is_there():
    model, x = Stack(torch.relu), batch(8, WIDTH)
    xavier.init_(model, x, seed=0)
    before = xavier.check(model, x).theory.ops
    model.layers[3].weight.data *= 3
    found = xavier.check(model, x).theory
    assert found.departs is None
    grown = [
        after.output.rms / each.output.rms for each, after in zip(before, found.ops, strict=True)
    ]
    assert grown == pytest.approx([1, 1, 1, 3, 3, 3, 3, 3], rel=1e-4)


def test_weights_that_know_the_data_are_told():
    model, x = Stack(torch.relu, depth=3), batch(8, WIDTH)
    xavier.init_(model, x, seed=0)
    with torch.no_grad():
        model.layers[1].weight.copy_(model.layers[0](x).relu().mean(0).expand(WIDTH, WIDTH) / 4)
    assert xavier.check(model, x).theory.departs == 1


# Relations


def test_predictions_do_not_depend_on_how_often_the_example_is_repeated():
    model, x = Stack(functional.gelu), batch(4, WIDTH)
    xavier.init_(model, x, seed=0)
    once, twice = (xavier.check(model, each).theory.ops for each in (x, torch.cat([x, x])))
    for a, b in zip(once, twice, strict=True):
        assert a.output.rms == pytest.approx(b.output.rms, rel=1e-6)
        assert a.gradient.rms == pytest.approx(b.gradient.rms, rel=1e-6)


def test_predictions_scale_with_the_example_where_the_model_does():
    model, x = he(Stack(torch.relu, bias=False)), batch(4, WIDTH)
    once, more = (xavier.check(model, each).theory.ops for each in (x, 7 * x))
    for a, b in zip(once, more, strict=True):
        assert b.output.rms == pytest.approx(7 * a.output.rms, rel=1e-6)
        assert b.output.high == pytest.approx(7 * a.output.high, rel=1e-6)
        assert b.gradient.rms == pytest.approx(a.gradient.rms, rel=1e-3)


def test_predictions_do_not_depend_on_the_order_of_the_units():
    model, x = Stack(torch.tanh), batch(4, WIDTH)
    xavier.init_(model, x, seed=0)
    order = torch.randperm(WIDTH, generator=torch.Generator().manual_seed(1))
    before = xavier.check(model, x).theory.ops
    with torch.no_grad():
        model.layers[2].weight.copy_(model.layers[2].weight[order])
        model.layers[3].weight.copy_(model.layers[3].weight[:, order])
    after = xavier.check(model, x).theory.ops
    for a, b in zip(before, after, strict=True):
        assert a.output.rms == pytest.approx(b.output.rms, rel=1e-6)
        assert a.step_output.rms == pytest.approx(b.step_output.rms, rel=1e-4)


def test_a_wider_net_leaves_less_to_chance():
    bands = []
    for width in (32, 128):
        model, x = he(Stack(torch.relu, width=width, bias=False)), batch(4, width)
        bands.append(xavier.check(model, x).theory.ops[-1])
    narrow, wide = (math.log(each.output.high / each.output.rms) for each in bands)
    # The square root of 5 * 7 / n + 2 / n, of n four times as large.
    assert narrow == pytest.approx(2 * wide, rel=1e-6)
    assert bands[0].step_output.low / bands[0].step_output.rms < 0.5 * (
        bands[1].step_output.low / bands[1].step_output.rms
    )


# Chance


def test_what_chance_makes_of_a_relu_is_what_he_found():
    h = of_root(Root(0.0, 1.7, "contraction"))
    found = bend(Expression(function=lambda z: np.maximum(z, 0.0), arguments=(h,)))
    assert found.forward == pytest.approx(5, rel=0.01)
    assert found.backward == pytest.approx(5, rel=0.01)
    assert found.elasticity == pytest.approx(1)
    assert found.slopes == pytest.approx((0.5,), rel=0.01)


def test_what_chance_makes_of_a_product_is_that_of_both_sides():
    a, b = (of_root(Root(0.0, size, "contraction")) for size in (1.0, 4.0))
    found = bend(Expression(function=lambda x, y: x * y, arguments=(a, b)))
    assert found.forward == pytest.approx(9 - 1, rel=1e-3)
    assert found.backward == pytest.approx(9 - 1, rel=1e-3)
    assert found.slopes == pytest.approx((4.0, 1.0), rel=1e-3)
    assert found.elasticity == pytest.approx(2)


def test_the_spread_of_one_input_is_the_bound_that_is_given():
    logs, band = [], None
    for seed in range(200):
        model = he(Stack(torch.relu, depth=6, bias=False), seed)
        x = batch(1, WIDTH, seed=seed)
        x /= x.square().mean().sqrt()
        logs.append(2 * math.log(measure(model, x).ops[-1].rms))
        band = band or xavier.check(model, x).theory.ops[-1].output
    spread = 2 * math.log(band.high / band.rms) / 3.2905
    # The deviation of 200 numbers is known to a twentieth; three of those. The weights' own second
    # moments, which the theory knows, vary too: 2 / (64 * 64) a layer, which is nothing.
    assert np.std(logs) == pytest.approx(spread, rel=0.15)


def test_a_band_holds_what_says_nothing():
    band = Band(1.0, 0.5, 2.0)
    assert band.holds(0.5)
    assert band.holds(2.0)
    assert not band.holds(0.49)
    assert not band.holds(2.01)
    assert all(map(band.holds, (None, 0.0, math.inf, math.nan)))
    assert Band(0.0, 0.0, 0.0).holds(1.0)


# What is not followed


class Convolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.deep, self.head = nn.Conv2d(32, 32, 3, padding=1), nn.Linear(32, 4)

    def forward(self, x):
        x = functional.max_pool2d(torch.relu(self.norm(self.stem(x))), 2)
        return self.head(torch.relu(self.deep(x)).mean((2, 3)))


def test_what_the_theory_does_not_follow_is_named_and_nothing_is_concluded_of_it():
    model, x = Convolutions(), batch(4, 3, 8, 8)
    xavier.init_(model, x, seed=0)
    found = xavier.check(model, x).theory
    assert [(each.limits, each.gradient_limits) for each in found.ops] == [
        ((), ("batch norm", "pool")),
        (("pool",), ()),
        (("mean",), ()),
    ]
    assert found.summary == (
        "theory and measurement agree: outputs at 1 of 3 ops, gradients at 2; of the rest nothing "
        "is concluded"
    )
    assert theory_text.limits(found)[0] == (
        "batch norm (next to 1 op): a gradient grows by what inputs have in common, which is not "
        "counted"
    )
    frozen = xavier.check(model.eval(), x).theory
    assert frozen.ops[1].limits == ("pool", "running statistics")
    assert frozen.ops[0].gradient_limits == ("running statistics", "pool")


def test_dropout_widens_what_is_allowed():
    layers = [nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Dropout(0.5), nn.Linear(WIDTH, WIDTH)]
    model, x = nn.Sequential(*layers), batch(8, WIDTH)
    xavier.init_(model, x, seed=0)
    train = xavier.check(model, x).theory.ops[1].step_output
    still = xavier.check(model.eval(), x).theory.ops[1].step_output
    assert train.high / train.rms == pytest.approx(2 * still.high / still.rms, rel=1e-6)


# How it is asked


def test_it_is_left_out_if_it_is_not_asked_or_the_model_cannot_be_traced():
    class Leaves(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x):
            return self.second(torch.from_numpy(self.first(x).detach().numpy()))

    assert xavier.check(nn.Linear(8, 8), batch(2, 8), theory=False).theory is None
    assert xavier.check(Leaves(), batch(2, 8)).theory is None
    plan = xavier.plan(nn.Linear(8, 8), batch(2, 8))
    assert xavier.check(nn.Linear(8, 8), batch(2, 8), plan=plan).theory is not None


def test_under_a_loss_the_gradient_is_expected_up_to_its_size():
    model, x = he(Stack(torch.relu, bias=False)), batch(8, WIDTH)
    found = xavier.check(model, x, target=batch(8, WIDTH, seed=1), loss="mse")
    last = found.signal.ops[-1]
    assert found.theory.ops[-1].gradient.rms == pytest.approx(last.gradient_rms)
    assert found.theory.ops[-1].step_gradient is None
    # The gradient of a squared error is the output's own, and knows the weights.
    assert {each.gradient_limits for each in found.theory.ops} == {("loss",)}
    assert found.theory.departs is None


@pytest.mark.parametrize("name", ["spectral_normed", "weight_normed"])
def test_the_model_is_as_before_to_the_bit(name):
    model, x = zoo.build(name), zoo.example(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert xavier.check(model, x).theory.ops
    after = model.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


@pytest.mark.parametrize("name", ["spectral_normed", "weight_normed"])
def test_of_a_weight_that_is_computed_what_it_is_counts_and_not_what_is_stored(name):
    torch.manual_seed(0)
    model, x = zoo.build(name), zoo.example(name)
    flow = trace(model, x)
    uses = {(use.parameter, use.region) for op in flow.ops for use in op.weights}
    found = second_moments(model, uses, computed={name for name, _ in uses})
    for (weight, _), second in found.items():
        owner, _, attribute = weight.rpartition(".")
        effective = getattr(model.get_submodule(owner), attribute).detach()
        assert second == pytest.approx(float(effective.square().mean()), rel=0.05)
    assert xavier.check(model, x).theory.departs is None


class Gated(nn.Module):
    """A weight of two blocks, one of which may be larger, and then a mean and a norm."""

    def __init__(self, larger):
        super().__init__()
        self.first, self.both = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 2 * WIDTH)
        self.head = nn.Linear(WIDTH, 8)
        with torch.no_grad():
            self.both.weight[:WIDTH] *= larger

    def forward(self, x):
        value, gate = self.both(torch.relu(self.first(x))).chunk(2, dim=-1)
        mean = (value * torch.sigmoid(gate)).mean(1)
        return self.head(functional.layer_norm(mean, (WIDTH,)))


@pytest.mark.parametrize(("larger", "limits"), [(1.0, ()), (3.0, ("blocks",))])
def test_blocks_of_different_size_and_a_norm_behind_a_mean_are_limits_of_the_gradient(
    larger, limits
):
    found = xavier.check(Gated(larger), batch(2, 8, WIDTH)).theory
    assert [each.gradient_limits for each in found.ops] == [limits, ("mean",), ()]
    assert [each.limits for each in found.ops] == [(), (), ()]


def test_a_function_that_runs_away_leaves_a_bound_and_no_error():
    h = of_root(Root(0.0, 1.0, "contraction"))
    for steep in (40.0, 1000.0):
        found = bend(Expression(function=lambda z, s=steep: np.exp(s * z), arguments=(h,)))
        assert not math.isnan(found.forward)
        assert not math.isnan(found.backward)


def test_numbers_beyond_every_bound_leave_the_check_as_it_is():
    model = Stack(lambda x: x, depth=4, bias=False).double()
    for layer in model.layers:
        nn.init.normal_(layer.weight, std=1e60)
    found = xavier.check(model, batch(4, WIDTH).double())
    assert found.theory is not None
    assert found.theory.departs is None
