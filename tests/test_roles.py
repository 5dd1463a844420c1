"""What `auto` gives each kind of weight: one smallest model for each row of `docs/plan.md`."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import xavier
from xavier.laws import Constant, Normal, Orthogonal, round_law
from xavier.theory import gain
from xavier.theory.activations import resolve as activation
from xavier.theory.quadrature import powers

PAGE = (Path(__file__).parent.parent / "docs" / "plan.md").read_text()
D = 16  # width
V = 50  # vocabulary
IDS = torch.zeros(2, 6, dtype=torch.long)
TANH = (1 / gain("tanh") ** 2, 0.464402)  # E[f(z)^2] and E[f'(z)^2] of z ~ N(0, 1)


class Made(nn.Module):
    """A model of some parts and a function of them and the input."""

    def __init__(self, forward, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self._forward = forward

    def forward(self, x):
        return self._forward(self, x)


def linear(inputs=D, outputs=D):
    return nn.Linear(inputs, outputs, bias=False)


def data(*shape):
    return torch.zeros(*(shape or (2, D)))


def stack(activation, depth=2, width=D):
    layers = [linear(width, width)]
    for _ in range(depth):
        layers += [activation(), linear(width, width)]
    return nn.Sequential(*layers)


def language_model(*, scale=1.0, tied=False, positions=False):
    def forward(model, ids):
        x = model.table(ids)
        if scale != 1:
            x = x * scale
        if positions:
            x = x + model.positions(torch.arange(ids.shape[1]))
        return model.head(model.norm(x))

    parts = {"table": nn.Embedding(V, D), "norm": nn.LayerNorm(D), "head": linear(D, V)}
    if positions:
        parts["positions"] = nn.Embedding(6, D)
    model = Made(forward, **parts)
    if tied:
        model.head.weight = model.table.weight
    return model


def glu():
    return Made(
        lambda m, x: m.head(m.down(nn.functional.silu(m.gate(m.norm(x))) * m.up(m.norm(x)))),
        norm=nn.RMSNorm(D),
        gate=linear(D, 40),
        up=linear(D, 40),
        down=linear(40),
        head=linear(D, 3),
    )


def attention():
    return Made(
        lambda m, x: m.head(m.mix(m.norm(x), m.norm(x), m.norm(x))[0].relu()),
        norm=nn.LayerNorm(D),
        mix=nn.MultiheadAttention(D, 2, batch_first=True),
        head=linear(D, 3),
    )


def residual(*, pre, blocks=4):
    def forward(model, x):
        x = model.stem(x)
        for norm, up, down in zip(model.norms, model.ups, model.downs, strict=True):
            x = x + down(torch.relu(up(norm(x)))) if pre else norm(x + down(torch.relu(up(x))))
        return model.head(x)

    return Made(
        forward,
        stem=linear(),
        norms=nn.ModuleList(nn.LayerNorm(D) for _ in range(blocks)),
        ups=nn.ModuleList(linear() for _ in range(blocks)),
        downs=nn.ModuleList(linear() for _ in range(blocks)),
        head=linear(D, 3),
    )


def experts():
    def forward(model, x):
        h = torch.einsum("bd,edh->ebh", model.norm(x), model.ups)
        return model.head(torch.einsum("ebh,ehd->bd", torch.relu(h), model.downs).relu())

    return Made(
        forward,
        norm=nn.LayerNorm(D),
        ups=nn.Parameter(torch.randn(4, D, 32)),
        downs=nn.Parameter(torch.randn(4, 32, D)),
        head=linear(D, 3),
    )


def compromise(fan_in, fan_out, forward=1.0, backward=1.0):
    """Return Xavier's compromise, exact for any activation."""
    return Normal(0.0, math.sqrt(2 / (fan_in * forward + fan_out * backward)))


def he(fan_in, slope=0.0):
    return Normal(0.0, math.sqrt(2 / ((1 + slope**2) * fan_in)))


def exact(fan_in, power):
    return Normal(0.0, 1 / math.sqrt(fan_in * power))


GATED = 2 * D / (D + 40)  # the second moment of what a gate and a value compute
LSTM = lambda: nn.LSTM(8, D, batch_first=True)
SEQUENCE = data(2, 5, 8)
DRAWN = {
    # the row of the table: model, input, weight, role, rule, law
    "first layer": (
        lambda: nn.Sequential(linear(784, 300), nn.ReLU(), linear(300, 10)),
        data(2, 784), "0.weight", "input", "XavierExact()", compromise(784, 300),
    ),
    "after ReLU": (
        lambda: stack(nn.ReLU), data(), "2.weight", "hidden", "He()", he(D),
    ),
    "after leaky ReLU": (
        lambda: stack(lambda: nn.LeakyReLU(0.2)),
        data(), "2.weight", "hidden", "He(slope=0.2)", he(D, 0.2),
    ),
    "after a bounded function": (
        lambda: stack(nn.Tanh),
        data(), "2.weight", "hidden", "XavierExact()", compromise(D, D, *TANH),
    ),
    "after any other function": (
        lambda: stack(nn.GELU),
        data(), "2.weight", "hidden", "ForwardGain()", exact(D, 1 / gain("gelu") ** 2),
    ),
    "after SELU": (
        lambda: stack(nn.SELU), data(), "2.weight", "hidden", "LeCun()", exact(D, 1.0),
    ),
    "after a norm": (
        lambda: nn.Sequential(linear(), nn.LayerNorm(D), linear(D, 40), nn.ReLU(), linear(40, 3)),
        data(), "2.weight", "hidden", "XavierExact()", compromise(D, 40),
    ),
    "gate and value of a GLU": (
        glu, data(), "up.weight", "input", "XavierExact()", compromise(D, 40),
    ),
    "behind a GLU": (
        glu, data(), "down.weight", "hidden", "ForwardGain()",
        exact(40, powers(activation("silu").function, variance=GATED).forward * GATED),
    ),
    "queries, keys, values": (
        attention, data(2, 5, D), "mix.in_proj_weight", "input", "XavierExact()", compromise(D, D),
    ),
    "behind attention": (
        attention, data(2, 5, D), "mix.out_proj.weight", "hidden", "XavierExact()",
        compromise(D, D),
    ),
    "added to others of its kind": (
        lambda: Made(lambda m, x: m.head(sum(each(x) for each in m.parts).relu()),
                     parts=nn.ModuleList(linear() for _ in range(3)), head=linear(D, 3)),
        data(), "parts.2.weight", "input", "XavierExact()", compromise(3 * D, D),
    ),
    "residual writer, pre-norm": (
        lambda: residual(pre=True),
        data(), "downs.2.weight", "residual", "Scaled(He(), factor=0.5)",
        Normal(0.0, he(D).std / math.sqrt(4)),
    ),
    "residual writer, post-norm": (
        lambda: residual(pre=False), data(), "downs.2.weight", "residual", "He()", he(D),
    ),
    "deep plain stack": (
        lambda: stack(nn.Tanh, depth=100),
        data(), "100.weight", "hidden", "Critical()",
        lambda row: Normal(0.0, 1 / math.sqrt(D * row.backward_power)),
    ),
    "matrix of a state": (
        LSTM, SEQUENCE, "weight_hh_l0", "recurrent", "Orthogonal()", Orthogonal(1.0),
    ),
    "matrix beside a state's": (
        LSTM, SEQUENCE, "weight_ih_l0", "input", "XavierExact()", compromise(8 + D, D),
    ),
    "forget gate's bias": (
        LSTM, SEQUENCE, "bias_ih_l0[16:32]", "bias", "Fixed(Constant(value=1.0))", Constant(1.0),
    ),
    "experts in one tensor": (
        experts, data(), "ups", "input", "XavierExact()", compromise(D, 4 * 32),
    ),
    "embedding": (
        language_model, IDS, "table.weight", "embedding", "RandomNormal(std=1)", Normal(0.0, 1.0),
    ),
    "embedding times a constant": (
        lambda: language_model(scale=math.sqrt(D)),
        IDS, "table.weight", "embedding", "RandomNormal(std=0.25)", Normal(0.0, 0.25),
    ),
    "row of the padding index": (
        lambda: nn.Sequential(nn.Embedding(V, D, padding_idx=3), nn.LayerNorm(D), linear(D, 3)),
        IDS, "0.weight[3:4]", "embedding", "Fixed(Constant(value=0.0))", Constant(0.0),
    ),
    "head": (
        language_model,
        IDS, "head.weight", "head", "VarianceScaling(scale=0.25)", Normal(0.0, 0.5 / math.sqrt(D)),
    ),
    "tied table": (
        lambda: language_model(tied=True),
        IDS, "table.weight", "tied", "VarianceScaling(scale=0.25)", Normal(0.0, 0.5 / math.sqrt(D)),
    ),
    "positions beside a tied table": (
        lambda: language_model(tied=True, positions=True),
        IDS, "positions.weight", "embedding", "RandomNormal(std=0.125)", Normal(0.0, 0.125),
    ),
    "under weight norm": (
        lambda: nn.Sequential(linear(), nn.ReLU(), parametrizations.weight_norm(linear(D, 24)),
                              nn.ReLU(), linear(24, 3)),
        data(), "2.weight", "hidden", "He()", he(D),
    ),
    "under spectral norm": (
        lambda: nn.Sequential(parametrizations.spectral_norm(linear(D, 9)), linear(9, 3)),
        data(), "0.weight", "input", "Fixed(Normal(mean=0.0, std=0.142857))",
        Normal(0.0, 1 / (math.sqrt(9) + math.sqrt(D))),
    ),
    "under an orthogonal parametrization": (
        lambda: nn.Sequential(parametrizations.orthogonal(linear()), nn.ReLU(), linear(D, 3)),
        data(), "0.weight", "input", "Fixed(Orthogonal(gain=1.0))", Orthogonal(1.0),
    ),
    "bias": (
        lambda: nn.Linear(D, 3),
        data(), "bias", "bias", "Fixed(Constant(value=0.0))", Constant(0.0),
    ),
    "scale of a norm": (
        glu, data(), "norm.weight", "scale", "Fixed(Constant(value=1.0))", Constant(1.0),
    ),
    "zero with no way around it": (
        lambda: nn.Sequential(zeroed(linear()), nn.ReLU(), linear(D, 3)),
        data(), "0.weight", "input", "XavierExact()", compromise(D, D),
    ),
    "expert that no token reached": (
        lambda: Made(lambda m, x: m.head(m.experts[0](x).relu()),
                     experts=nn.ModuleList(linear() for _ in range(3)), head=linear(D, 3)),
        data(), "experts.2.weight", "input", "XavierExact()", compromise(D, D),
    ),
}  # fmt: skip


def zeroed(layer):
    nn.init.zeros_(layer.weight)
    return layer


def deliberate_bias():
    layer = nn.Linear(D, 3)
    nn.init.constant_(layer.bias, -4.6)
    return layer


def zero_gamma():
    norm = nn.LayerNorm(D)
    nn.init.zeros_(norm.weight)
    return norm


def quantized():
    model = Made(
        lambda m, x: m.head(x * m.codes.float()),
        codes=nn.Parameter(torch.arange(D), requires_grad=False),
        head=linear(D, 3),
    )
    return model


def biased_scores(m, x):
    table = m.table(torch.arange(5)[:, None] - torch.arange(5)[None] + 4)[..., 0]
    scores = m.query(x) @ m.key(x).transpose(1, 2) + table
    return m.head(torch.softmax(scores, -1) @ x)


KEPT = {
    # the row of the table: model, input, parameter or buffer, the reason's beginning
    "multiplier": (
        lambda: Made(lambda m, x: m.head(x * m.gain), gain=nn.Parameter(torch.full((D,), 0.1)),
                     head=linear(D, 3)),
        data(), "gain", "no contraction, convolution or lookup reads it",
    ),
    "token": (
        lambda: Made(lambda m, x: m.head(torch.cat([m.token.expand(2, 1, D), x], 1)),
                     token=nn.Parameter(torch.randn(1, 1, D)), head=linear(D, 3)),
        data(2, 5, D), "token", "no contraction, convolution or lookup reads it",
    ),
    "zero with a way around it": (
        lambda: Made(lambda m, x: m.head((m.base(x) + m.b(m.a(x))).relu()), base=linear(),
                     a=linear(D, 4), b=zeroed(linear(4, D)), head=linear(D, 3)),
        data(), "b.weight", "it arrived as zeros, and the signal goes around it",
    ),
    "positions added to scores": (
        lambda: Made(biased_scores, table=nn.Embedding(9, 1), query=linear(), key=linear(),
                     head=linear(D, 3)),
        data(2, 5, D), "table.weight", "no contraction, convolution or lookup reads it",
    ),
    "bias of a deliberate value": (
        deliberate_bias, data(), "bias", "a bias that holds a deliberate value",
    ),
    "norm scale of a deliberate value": (
        lambda: nn.Sequential(zero_gamma(), linear(D, 3)),
        data(), "0.weight", "a norm scale that holds a deliberate value",
    ),
    "integers": (quantized, data(), "codes", "its dtype is not a floating-point one"),
    "no elements": (
        lambda: Made(lambda m, x: m.head(x), none=nn.Parameter(torch.zeros(0, D)),
                     head=linear(D, 3)),
        data(), "none", "it has no elements",
    ),
    "not reached, of no known type": (
        lambda: Made(lambda m, x: m.head(x), spare=nn.Parameter(torch.randn(D, D)),
                     head=linear(D, 3)),
        data(), "spare", "this run did not reach it, and its module's type is not known",
    ),
    "buffer": (
        lambda: nn.Sequential(nn.BatchNorm1d(D), linear(D, 3)),
        data(), "0.running_mean", "buffers keep what their owner gives them",
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", DRAWN)
def test_auto_gives(row):
    make, example, name, role, rule, law = DRAWN[row]
    plan = xavier.plan(make(), example)
    name, _, region = name.partition("[")
    found = [each for each in plan[name] if not region or str(each.region) == f"[{region}"]
    assert found
    for each in found:
        assert each.role == role
        assert each.rule == rule
        assert_alike(each.law, round_law(law(each) if callable(law) else law))


def assert_alike(law, expected):
    """Compare laws, numbers to five digits: E[f^2] is taken at the size that the theory carries."""
    assert type(law) is type(expected)
    numbers = [vars_of(each) for each in (law, expected)]
    assert numbers[0] == pytest.approx(numbers[1], rel=2e-5)


def vars_of(law):
    return {name: getattr(law, name) for name in law.__dataclass_fields__}


@pytest.mark.parametrize("row", KEPT)
def test_kept_is(row):
    make, example, name, reason = KEPT[row]
    plan = xavier.plan(make(), example)
    assert not plan[name]
    kept = {each.name: each for each in plan.kept}
    assert kept[name].reason.startswith(reason)


def test_zeros_that_are_kept_are_drawn_on_request():
    make, example, name, _ = KEPT["zero with a way around it"]
    plan = xavier.plan(make(), example, overwrite_zeros=True)
    # The adapter's way is one addend of a sum, whose fan_in counts both.
    assert (plan[name][0].fan_in, plan[name][0].rule) == (D + 4, "XavierExact()")


def test_post_norm_gives_a_hint():
    notes = xavier.plan(residual(pre=False), data()).notes
    assert any("DeepNorm" in note for note in notes)
    assert xavier.plan(residual(pre=True), data()).notes == ()


@pytest.mark.parametrize(
    "scaled",
    [
        lambda m, x: x * 4.0,
        lambda m, x: x / 0.25,
        lambda m, x: -4.0 * x,
        lambda m, x: x * m.factor,
        lambda m, x: x * torch.tensor(4.0),
        lambda m, x: x.mul(4),
    ],
    ids=["float", "quotient", "negative", "buffer", "tensor", "method"],
)
def test_a_constant_factor_behind_a_table_counts_however_it_is_written(scaled):
    model = Made(
        lambda m, ids: m.head(m.norm(scaled(m, m.table(ids)))),
        table=nn.Embedding(V, D),
        norm=nn.LayerNorm(D),
        head=linear(D, V),
    )
    model.register_buffer("factor", torch.tensor(4.0))
    assert xavier.plan(model, IDS)["table.weight"][0].law == Normal(0.0, 0.25)


def test_a_layer_behind_a_constant_factor_counts_it_and_is_fed_by_the_identity():
    model = Made(lambda m, x: m.head(m.up(x * 3.0).relu()), up=linear(), head=linear(D, 3))
    row = xavier.plan(model, data())["up.weight"][0]
    assert (row.fed_by, row.rule, row.forward_power) == ("identity", "XavierExact()", 9.0)


def test_positions_beside_a_tied_table_have_its_size_whatever_decides_that():
    model = language_model(tied=True, positions=True)
    plan = xavier.plan(model, IDS, overrides={"table.weight": Normal(0.0, 0.02)})
    assert plan["positions.weight"][0].law == Normal(0.0, 0.02)


@pytest.mark.parametrize(
    ("activation", "power"),
    [
        (nn.Hardshrink, 0.969140),  # E[z^2] without what lies within 1/2 of zero
        (nn.Softshrink, 0.419279),
        (nn.Hardswish, None),
        (lambda: nn.Threshold(0.1, 0.0), None),
    ],
)
def test_functions_that_are_flat_at_zero_are_not_taken_for_the_identity(activation, power):
    row = xavier.plan(stack(activation), data())["2.weight"][0]
    z = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    squares = activation()(z).square()
    error = float(squares.std()) / 1000
    assert row.fed_by not in {"identity", "opaque"}
    assert row.forward_power == pytest.approx(float(squares.mean()), abs=5 * error)
    assert power is None or row.forward_power == pytest.approx(power, rel=1e-4)


def test_the_example_of_the_page_is_what_is_printed():
    model = nn.Sequential(nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 10))
    assert f"\n{xavier.plan(model, data(2, 784)).to_text(width=120)}\n" in PAGE


def test_every_row_of_the_table_is_tested_and_told():
    tables = re.findall(r"^\| ([^|]+?) \|", PAGE, re.MULTILINE)
    assert [row for row in tables if row in {*DRAWN, *KEPT}] == [*DRAWN, *KEPT]
