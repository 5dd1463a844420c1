"""What `auto` predicts of each kind of layer, forward and backward, held against brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import xavier
from xavier.frameworks.torch.measure import measure

WIDTH = 256
SEEDS = 12


def measured(make, batch, *, seeds=SEEDS, recipe="auto"):
    """Return, per op, second moments of output and gradient: arrays (seeds, ops), and names."""
    forward, backward, names = [], [], []
    for seed in range(seeds):
        model = make()
        xavier.init_(model, batch, seed=seed, recipe=recipe)
        signal = measure(model, batch, seed=seed)
        forward.append([op.rms**2 for op in signal.ops])
        backward.append([(op.gradient_rms or 0.0) ** 2 for op in signal.ops])
        names = [op.weights[0] for op in signal.ops]
    return np.array(forward), np.array(backward), names


def assert_mean_is(samples, expected, *, width=WIDTH, depth=1):
    """Assert that replicates have a mean, within 5 of their standard errors.

    The prediction is the limit of infinite width. At width n each layer's second moment
    fluctuates with relative variance of about 5/n (papers on finite width), and a curved
    length map turns that into a bias of the same order: 5 * depth / n is allowed for it.
    """
    samples = np.asarray(samples)
    error = samples.std(ddof=1) / math.sqrt(len(samples))
    allowed = 5 * error + 5 * depth / width * expected
    assert abs(samples.mean() - expected) <= allowed, (samples.mean(), expected, allowed)


def batch(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def planned(make, example, name):
    return xavier.plan(make(), example)[name][0]


def mlp(*activations, width=WIDTH, out=WIDTH):
    def make():
        layers: list[nn.Module] = [nn.Linear(width, width)]
        for activation in activations:
            layers += [activation(), nn.Linear(width, width)]
        layers += [nn.Identity(), nn.Linear(width, out)]
        return nn.Sequential(*layers)

    return make


def test_first_layer_counts_the_data_as_its_feed_although_a_relu_follows():
    make = lambda: nn.Sequential(nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 10))
    x = batch(128, 784)
    row = planned(make, x, "0.weight")
    assert (row.fed_by, row.followed_by) == ("identity", "relu")
    assert row.predicted_q == pytest.approx(2 * 784 / (784 + 300), rel=1e-4)  # 1.45
    forward, _, _ = measured(make, x)
    assert_mean_is(forward[:, 0], row.predicted_q, width=300)


@pytest.mark.parametrize(
    ("activation", "name"),
    [
        (nn.ReLU, "relu"),
        (nn.Tanh, "tanh"),
        (nn.GELU, "gelu"),
        (nn.SiLU, "silu"),
        (nn.Sigmoid, "sigmoid"),
        (nn.Softsign, "softsign"),
        (lambda: nn.LeakyReLU(0.2), "leaky_relu(0.2)"),
        (nn.SELU, "selu"),
    ],
)
def test_layer_fed_by_an_activation_keeps_what_its_rule_predicts(activation, name):
    make = mlp(activation, activation)
    x = batch(128, WIDTH)
    forward, backward, names = measured(make, x)
    for at in (1, 2):
        row = planned(make, x, names[at])
        assert row.fed_by == name
        assert_mean_is(forward[:, at], row.predicted_q, depth=at + 1)
        assert_mean_is(backward[:, at - 1] / backward[:, at], row.predicted_chi, depth=at + 1)


def test_layer_whose_follower_differs_from_its_feeder_is_about_the_feeder():
    make = mlp(nn.ReLU, nn.Tanh)
    x = batch(128, WIDTH)
    row = planned(make, x, "2.weight")
    assert (row.fed_by, row.followed_by) == ("relu", "tanh")
    forward, backward, _ = measured(make, x)
    assert_mean_is(forward[:, 1], row.predicted_q, depth=2)
    assert_mean_is(backward[:, 0] / backward[:, 1], row.predicted_chi, depth=2)


class Normed(nn.Module):
    """A pre-norm residual stack with a gated branch and a head."""

    def __init__(self, blocks=3, width=WIDTH):
        super().__init__()
        self.stem = nn.Linear(width, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(blocks))
        self.gates = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(blocks))
        self.outs = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 100)

    def forward(self, x):
        x = self.stem(x)
        for norm, gate, out in zip(self.norms, self.gates, self.outs, strict=True):
            a, b = gate(norm(x)).chunk(2, -1)
            x = x + out(nn.functional.silu(a) * b)
        return self.head(self.norm(x))


def test_layer_after_a_norm_residual_writer_gated_branch_and_head():
    x = batch(128, WIDTH)
    plan = xavier.plan(Normed(), x)
    forward, backward, names = measured(Normed, x)
    at = names.index
    gate = plan["gates.1.weight"]
    assert len(gate) == 2
    assert gate[0].fed_by == "normalization"
    assert_mean_is(forward[:, at("gates.1.weight")], gate[0].predicted_q, depth=2)
    writer = plan["outs.1.weight"][0]
    assert writer.role == "residual"
    assert writer.fed_by == "gated product"
    assert writer.predicted_q == pytest.approx(1 / 3, rel=1e-4)  # one of three writes
    assert_mean_is(forward[:, at("outs.1.weight")], writer.predicted_q, depth=3)
    ratio = backward[:, at("gates.1.weight")] / backward[:, at("outs.1.weight")]
    assert_mean_is(ratio, writer.predicted_chi, depth=3)
    head = plan["head.weight"][0]
    assert head.role == "head"
    assert head.predicted_q == pytest.approx(0.25, rel=1e-4)
    assert_mean_is(forward[:, at("head.weight")], head.predicted_q, depth=3)


class Sine(nn.Module):
    def forward(self, x):
        return torch.sin(x)


def deep(activation, depth=100, width=128):
    layers: list[nn.Module] = [nn.Linear(width, width)]
    for _ in range(depth):
        layers += [activation(), nn.Linear(width, width)]
    return nn.Sequential(*layers)


def gradient_growth(activation, overrides=None):
    """Return the median over seeds of the gradient's variance, last hidden layer over first."""
    x = batch(32, 128)
    found = []
    for seed in range(5):
        model = deep(activation)
        xavier.init_(model, x, seed=seed, overrides=overrides)
        ops = measure(model, x, seed=seed).ops
        found.append((ops[-2].gradient_rms / ops[0].gradient_rms) ** 2)
    return float(np.median(found))


@pytest.mark.parametrize("activation", [nn.Tanh, nn.Softsign, Sine])
def test_deep_stacks_keep_the_gradient_and_the_gain_at_q_1_does_not(activation):
    # The ratio is log-normal with variance of about 5 L / n, so sqrt(500 / 128) = 2 in the log for
    # one draw, and half that for the median of five: a factor 10 is 2.3 of those.
    kept = gradient_growth(activation)
    assert 0.1 < kept < 10
    name = {nn.Tanh: "tanh", nn.Softsign: "softsign", Sine: "sine"}[activation]
    std = xavier.gain(name) / math.sqrt(128)
    lost = gradient_growth(activation, {"*.weight": xavier.Normal(0.0, std)})
    assert not 0.1 < lost < 10


def test_stack_that_nothing_mends_says_so():
    model = deep(nn.Sigmoid, depth=50)
    plan = xavier.plan(model, batch(8, 128))
    assert "no variance holds chi_1 = 1" in plan["50.weight"][0].reason


def test_first_loss_of_a_language_model_is_that_of_a_guess():
    from xavier import zoo

    model = zoo.gpt()
    ids = model.example_input(batch=256)
    xavier.init_(model, ids, seed=0)
    with torch.no_grad():
        logits = model(ids)
    # What comes next has nothing to do with what stands here: the head is tied to the table, and
    # gives the token that it sees a larger logit than all others.
    generator = torch.Generator().manual_seed(1)
    following = torch.randint(logits.shape[-1], ids.shape, generator=generator)
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), following.flatten())
    # Logits of RMS 0.5 cost 0.5**2 / 2 = 0.125, and the mean over n tokens wavers by 0.5/sqrt(n).
    wavering = 0.5 / math.sqrt(ids.numel())
    assert float(loss) - math.log(logits.shape[-1]) == pytest.approx(0.125, abs=4 * wavering)
