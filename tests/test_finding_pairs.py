"""Every finding, on a model that has the fault and on its twin that has not."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import xavier
from xavier.checking.catalogue import FINDINGS

pytestmark = pytest.mark.filterwarnings(
    "ignore::xavier.frameworks.torch.write.SameBitsWarning",  # a model and its twin
)

X = torch.randn(32, 16, generator=torch.Generator().manual_seed(0))
CUT = {"0.weight": xavier.TruncatedNormal(0.0, 0.25)}


def layers():
    return nn.Sequential(
        nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4)
    )


def net(change=None):
    """Return a model as `auto` draws it, with one change."""
    model = layers()
    xavier.init_(model, X, seed=0)
    if change is not None:
        with torch.no_grad():
            change(model)
    return model


class Residual(nn.Module):
    """Four branches that write to one stream."""

    def __init__(self):
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16))
            for _ in range(4)
        )
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        for branch in self.branches:
            x = x + branch(x)
        return self.head(x)


def residual(factor):
    model = Residual()
    xavier.init_(model, X, seed=0)
    with torch.no_grad():
        model.branches[2][3].weight.mul_(factor)
    return model


class Leaning(nn.Module):
    """Adds a slope to its output: one that autograd finds, or one that is written out."""

    def __init__(self, *, found):
        super().__init__()
        self.found, self.a, self.b = found, nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x):
        h = self.a(x)
        if self.found:
            (slope,) = torch.autograd.grad(torch.sin(h).sum(), h, create_graph=True)
        else:
            slope = torch.cos(h)
        return self.b(h + slope)


def normed(*, forgotten):
    """Return a weight norm that works, or one whose weight was overwritten by a plain tensor."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4))
    if not forgotten:
        weight_norm(model[0])
        return model
    weight = model[0].weight.detach()
    del model[0].weight
    model[0].register_parameter("weight_v", nn.Parameter(weight))
    model[0].register_parameter("weight_g", nn.Parameter(weight.norm(dim=1, keepdim=True)))
    model[0].weight = weight
    return model


def with_extra(value):
    return net(lambda model: setattr(model, "extra", value))


def with_buffer(value):
    return net(lambda model: model.register_buffer("table", torch.full((4,), value)))


def tie(model):
    model[2].weight = model[0].weight


def freeze(model):
    model[2].weight.requires_grad_(False)


def freeze_constant(model):
    model[2].weight.fill_(0.1).requires_grad_(False)


def clipped():
    model = layers()
    xavier.init_(model, X, seed=0, overrides=CUT)
    return model


class Scaled(nn.Linear):
    """Multiplies what it computes, which the trace, in eval mode, does not see."""

    factor = 1.0

    def forward(self, x):
        out = super().forward(x)
        return self.factor * out if self.training else out


def scaled(factor):
    sizes = [nn.Linear(64, 64) for _ in range(8)]
    sizes[4] = Scaled(64, 64)
    sizes[4].factor = factor
    model = nn.Sequential(nn.Linear(16, 64), *(m for each in sizes for m in (each, nn.ReLU())))
    xavier.init_(model, X, seed=0)
    return model


def again():
    """Return the model drawn from another seed."""
    model = layers()
    xavier.init_(model, X, seed=1)
    return model


def other_head():
    model = net()
    model[4] = nn.Linear(16, 3)
    return model


def state(model):
    return {name: each.clone() for name, each in model.state_dict().items()}


def repeat(model):
    model[2].weight[:, 8:] = model[2].weight[:, :8]


HEAD = xavier.init_(layers(), X, seed=1, only=["4.*"])  # the plan of a new head

# By code: the model that has the fault, the twin that has not, and what the check is told.
PAIRS = {
    "constant": (lambda: net(lambda m: m[2].weight.fill_(0.1)), net, {}),
    "constant-frozen": (lambda: net(freeze_constant), lambda: net(freeze), {}),
    "duplicate": (lambda: net(lambda m: m[2].weight.copy_(m[0].weight)), lambda: net(tie), {}),
    "dtype-changed": (
        net,
        again,
        {"against": {**state(net()), "0.weight": state(net())["0.weight"].half()}},
    ),
    "dtype-range": (lambda: net(lambda m: m[4].weight.mul_(1e6)), net, {}),
    "drawn-over": (
        lambda: net(lambda m: (m[4].weight.neg_(), m[0].weight.neg_())),
        lambda: net(lambda m: m[4].weight.neg_()),
        {"plan": HEAD, "against": state(net())},
    ),
    "identical-units": (
        lambda: net(lambda m: m[2].weight[1].copy_(m[2].weight[0])),
        lambda: net(lambda m: m[2].weight[1].copy_(-m[2].weight[0])),
        {},
    ),
    "no-plan": (lambda: Leaning(found=True), lambda: Leaning(found=False), {}),
    "nonfinite": (lambda: with_buffer(float("nan")), lambda: with_buffer(float("-inf")), {}),
    "not-drawn": (net, again, {"recipe": "auto", "against": state(net())}),
    "off-theory": (lambda: scaled(4.0), lambda: scaled(1.0), {}),
    "only-here": (lambda: with_buffer(1.0), net, {"against": state(net())}),
    "only-there": (net, lambda: with_buffer(1.0), {"against": state(with_buffer(1.0))}),
    "parametrization-forgotten": (
        lambda: normed(forgotten=True),
        lambda: normed(forgotten=False),
        {},
    ),
    "repeated-shards": (lambda: net(repeat), net, {}),
    "reshaped": (other_head, net, {"against": state(net())}),
    "residual-unscaled": (lambda: residual(2.0), lambda: residual(1.0), {"recipe": "auto"}),
    "std-off-recipe": (
        lambda: net(lambda m: m[2].weight.mul_(2.0)),
        lambda: net(lambda m: m[2].weight.mul_(1.02)),
        {"recipe": "auto"},
    ),
    "tie-broken": (net, lambda: net(tie), {"against": net(tie)}),
    "tie-overwritten": (lambda: net(tie), net, {"plan": xavier.plan(layers(), X)}),
    "truncation-dead": (
        lambda: net(lambda m: m[0].weight.copy_(0.25 * X[:16] / X[:16].std())),  # uncut
        clipped,
        {"plan": xavier.plan(layers(), X, overrides=CUT)},
    ),
    "uninitialized": (
        lambda: net(lambda m: m[2].weight[3].fill_(1e-41)),
        lambda: net(lambda m: m[2].weight[3].mul_(1e-3)),
        {},
    ),
    "unregistered-weight": (
        lambda: with_extra(torch.ones(3, requires_grad=True)),
        lambda: with_extra(nn.Parameter(torch.ones(3))),
        {},
    ),
    "zero-weight": (lambda: net(lambda m: m[4].weight.zero_()), net, {}),
}


def test_every_finding_has_its_pair():
    assert set(PAIRS) == set(FINDINGS)


@pytest.mark.parametrize("code", PAIRS)
def test_a_fault_is_found_and_its_twin_has_none(code):
    make, twin, given = PAIRS[code]
    codes = [{each.code for each in xavier.check(m(), X, **given).findings} for m in (make, twin)]
    assert code in codes[0]
    assert code not in codes[1]
