"""The mean-field numbers of plain stacks: those of the theory, at the weights that are there."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

import made_checks
import xavier
from test_beside_theory import WIDTH, Stack, batch
from xavier import theory
from xavier._types import theory_text
from xavier._types.theory import PlainStack, Theory


def stacks(model, x=None):
    return xavier.check(model, batch(4, WIDTH) if x is None else x).theory.stacks


def drawn(act, *, sigma_w, sigma_b, depth=6):
    model = Stack(act, depth=depth)
    generator = torch.Generator().manual_seed(0)
    for layer in model.layers:
        for tensor, size in ((layer.weight, sigma_w / WIDTH**0.5), (layer.bias, sigma_b)):
            values = torch.randn(tensor.shape, generator=generator)
            tensor.data = size * values / values.square().mean().sqrt()
    return model


@pytest.mark.parametrize(
    ("act", "name", "sigma_w", "sigma_b"),
    [
        (torch.tanh, "tanh", 1.3, 0.1),
        (torch.tanh, "tanh", 0.8, 0.3),
        (functional.gelu, "gelu", 1.3, 0.2),
        (torch.sigmoid, "sigmoid", 2.0, 0.0),
    ],
)
def test_the_numbers_are_those_of_the_theory(act, name, sigma_w, sigma_b):
    (found,) = stacks(drawn(act, sigma_w=sigma_w, sigma_b=sigma_b))
    assert (found.first, found.last, found.depth, found.activation) == (1, 5, 5, name)
    assert found.sigma_w == pytest.approx(sigma_w, rel=1e-6)
    assert found.sigma_b == pytest.approx(sigma_b, rel=1e-6)
    q = theory.length_fixed_point(name, sigma_w=sigma_w, sigma_b=sigma_b)
    chi = theory.chi_1(name, q=q, sigma_w=sigma_w)
    edge = theory.edge_of_chaos(name, sigma_b=sigma_b).sigma_w
    assert found.q == pytest.approx(q, rel=1e-5)
    assert found.chi_1 == pytest.approx(chi, rel=1e-5)
    assert found.xi == pytest.approx(abs(1 / math.log(chi)), rel=1e-3)
    assert found.critical_sigma_w == pytest.approx(edge, rel=1e-4)
    assert found.distance == pytest.approx(sigma_w / edge - 1, rel=1e-3)


def test_in_the_ordered_phase_the_scale_is_that_of_the_correlations():
    (found,) = stacks(drawn(torch.tanh, sigma_w=0.8, sigma_b=0.3))
    scales = theory.depth_scales("tanh", sigma_w=0.8, sigma_b=0.3)
    assert found.xi == pytest.approx(scales.xi_c, rel=1e-4)


@pytest.mark.parametrize("sigma_b", [0.0, 0.3])
def test_of_a_relu_the_edge_is_at_the_root_of_two_whatever_the_biases(sigma_b):
    (found,) = stacks(drawn(torch.relu, sigma_w=1.0, sigma_b=sigma_b))
    assert found.critical_sigma_w == pytest.approx(2**0.5, rel=1e-6)
    assert found.chi_1 == pytest.approx(0.5, rel=1e-6)
    # The length map is q / 2 + sigma_b**2.
    assert found.q == pytest.approx(2 * sigma_b**2, rel=1e-6, abs=1e-12)


def test_a_length_that_grows_for_good_has_numbers_too():
    (found,) = stacks(drawn(torch.relu, sigma_w=2.0, sigma_b=0.1))
    assert found.q == math.inf
    assert found.chi_1 == pytest.approx(2, rel=1e-6)
    assert found.xi == pytest.approx(1 / math.log(2), rel=1e-6)


def test_a_linear_net_is_a_plain_stack():
    (found,) = stacks(drawn(lambda x: x, sigma_w=0.9, sigma_b=0.0))
    assert found.activation == "identity"
    assert found.chi_1 == pytest.approx(0.81, rel=1e-6)
    assert found.critical_sigma_w == pytest.approx(1, rel=1e-6)


class Normed(Stack):
    def between(self, at, x):
        del at
        return functional.layer_norm(x, (WIDTH,))


@pytest.mark.parametrize(
    "build",
    [
        lambda: Stack(torch.relu, skip=True),
        lambda: Normed(torch.relu),
        lambda: Stack(torch.relu, depth=3),  # two layers behind the first weight
        lambda: nn.Linear(WIDTH, WIDTH),
    ],
)
def test_skips_norms_and_shallow_nets_have_none(build):
    assert stacks(build()) == ()


def test_two_functions_make_two_stacks():
    class Two(Stack):
        def forward(self, x):
            for at, layer in enumerate(self.layers):
                x = (torch.tanh if at < 4 else torch.relu)(layer(x))
            return x

    first, second = stacks(Two(None, depth=8))
    assert (first.activation, first.first, first.last) == ("tanh", 1, 4)
    assert (second.activation, second.first, second.last) == ("relu", 5, 7)


def test_convolutions_are_one_too():
    layers = [each for _ in range(5) for each in (nn.Conv2d(8, 8, 3), nn.ReLU())]
    (found,) = stacks(nn.Sequential(*layers), batch(2, 8, 16, 16))
    assert found.depth == 4


def test_a_stack_in_words():
    model = drawn(torch.tanh, sigma_w=1.2, sigma_b=0.0)
    found = xavier.check(model, batch(4, WIDTH))
    (said,) = theory_text.stacks(found)
    (numbers,) = found.theory.stacks
    assert said == (
        "5 tanh layers, layers.1 to layers.5: sigma_w 1.2, sigma_b 0, "
        f"q* {numbers.q:.3g}, chi_1 {numbers.chi_1:.3g}; depth scale {numbers.xi:.3g} layers; "
        "20 % above the edge of chaos (sigma_w 1)"
    )


@pytest.mark.parametrize(
    ("sigma_w", "edge", "told"),
    [
        (0.5, 1.0, "50 % below the edge of chaos (sigma_w 1)"),
        (1.001, 1.0, "at the edge of chaos (sigma_w 1)"),
        (1.0, None, "no edge of chaos"),
        (1.0, 0.0, "no edge of chaos"),
    ],
)
def test_where_a_stack_is_from_the_edge_in_words(sigma_w, edge, told):
    stack = PlainStack(1, 5, 5, "tanh", sigma_w, 0.0, 1.0, 1.0, math.inf, edge)
    found = replace(made_checks.healthy(), theory=Theory(stacks=(stack,)))
    assert theory_text.stacks(found) == [
        f"5 tanh layers, body.0 to op 5: sigma_w {sigma_w:.3g}, sigma_b 0, q* 1, chi_1 1; "
        f"depth scale inf layers; {told}"
    ]
