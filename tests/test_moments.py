"""Second moments carried through what people write between two contractions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import xavier
from xavier.frameworks.torch.trace import trace
from xavier.planning.prediction import predict

WIDTH = 64


def batch(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Between(nn.Module):
    """Two matrices with something between them that is not known by name."""

    def __init__(self, between, *, width=WIDTH, **values):
        super().__init__()
        self.first = nn.Linear(width, WIDTH, bias=False)
        self.second = nn.Linear(WIDTH, WIDTH, bias=False)
        self.between = between
        for name, value in values.items():
            setattr(self, name, nn.Parameter(value))

    def forward(self, x):
        return self.second(self.between(self, self.first(x)))


def fed(between, **values):
    """Return what the second matrix is fed, in the plan."""
    model = Between(between, **values)
    return xavier.plan(model, batch(4, WIDTH), recipe="lecun")["second.weight"][0]


def test_a_function_of_a_kept_parameter_is_followed_and_not_its_stored_value():
    # LeCun keeps q = 1, so x * exp(2) has the second moment exp(4).
    row = fed(lambda self, h: h * self.log_scale.exp(), log_scale=torch.full((1,), 2.0))
    assert row.forward_power == pytest.approx(math.exp(4))


def test_a_kept_parameter_counts_with_its_own_moments():
    scale = torch.linspace(0.0, 2.0, WIDTH)
    row = fed(lambda self, h: h * self.scale, scale=scale)
    assert row.forward_power == pytest.approx(float((scale**2).mean()), rel=1e-6)


def test_a_kept_parameter_times_a_constant_counts_the_constant():
    row = fed(lambda self, h: h + 3 * self.shift, shift=torch.full((WIDTH,), 2.0))
    assert row.forward_power == pytest.approx(1 + 36)


def test_a_bias_that_is_part_of_the_product_counts_like_one_that_is_added():
    class Shifted(nn.Module):
        def __init__(self, way):
            super().__init__()
            self.kernel = nn.Parameter(torch.empty(WIDTH, WIDTH).uniform_(-1, 1))
            self.shift = nn.Parameter(torch.full((WIDTH,), 2.0))
            self.last = nn.Linear(WIDTH, 3)
            self.way = way

        def forward(self, x):
            return self.last(self.way(self, x))

    fused = Shifted(lambda self, x: torch.addmm(self.shift, x, self.kernel, beta=0.5))
    apart = Shifted(lambda self, x: x @ self.kernel + 0.5 * self.shift)
    rows = [xavier.plan(each, batch(4, WIDTH))["last.weight"][0] for each in (fused, apart)]
    assert rows[0].law == rows[1].law
    assert rows[0].forward_power == pytest.approx(1 + 0.25 * 4, rel=1e-6)


def test_a_residual_that_is_part_of_the_product_is_a_residual():
    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.writers = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))

        def forward(self, x):
            for each in self.writers:
                x = torch.addmm(x, torch.tanh(x), each.weight.t())
            return x

    plan = xavier.plan(Fused(), batch(4, WIDTH))
    assert {row.role for row in plan} == {xavier.Role.RESIDUAL}
    assert "one of 4 writes" in plan["writers.3.weight"][0].reason


def scanned(decay, steps):
    """Return what a matrix behind `h = decay h + x` is fed, unrolled over some steps."""

    class Scan(nn.Module):
        def __init__(self):
            super().__init__()
            self.into = nn.Linear(WIDTH, WIDTH, bias=False)
            self.outof = nn.Linear(WIDTH, WIDTH, bias=False)
            self.decay = nn.Parameter(torch.full((WIDTH,), decay))

        def forward(self, x):
            seen = self.into(x)
            state = torch.zeros_like(seen[:, 0])
            for at in range(x.shape[1]):
                state = self.decay * state + seen[:, at]
            return self.outof(state)

    return xavier.plan(Scan(), batch(2, steps, WIDTH), recipe="lecun")


def test_a_recurrence_counts_as_it_is_at_rest_however_long_the_example():
    powers = [scanned(0.9, steps)["outof.weight"][0].forward_power for steps in (3, 6, 24)]
    assert powers == pytest.approx([1 / (1 - 0.81)] * 3, rel=1e-5)


def test_a_recurrence_that_does_not_forget_is_told():
    plan = scanned(1.0, 5)
    assert plan["outof.weight"][0].forward_power == pytest.approx(1)
    assert any("does not forget" in note for note in plan.notes)


def test_a_cumulative_sum_is_told():
    model = Between(lambda _, h: h.cumsum(0))
    plan = xavier.plan(model, batch(4, WIDTH))
    assert any("a cumulative sum grows with the sequence" in note for note in plan.notes)


def test_a_quotient_by_a_sum_does_not_blow_up():
    class Averaged(nn.Module):
        def __init__(self):
            super().__init__()
            self.values = nn.Linear(WIDTH, WIDTH, bias=False)
            self.weights = nn.Linear(WIDTH, WIDTH, bias=False)
            self.outof = nn.Linear(WIDTH, WIDTH, bias=False)

        def forward(self, x):
            weights = torch.exp(0.1 * self.weights(x))
            more = torch.exp(0.1 * self.weights(x.roll(1, 0)))
            values = self.values(x) * weights + self.values(x.roll(1, 0)) * more
            return self.outof(values / (weights + more))

    row = xavier.plan(Averaged(), batch(8, WIDTH), recipe="lecun")["outof.weight"][0]
    assert row.forward_power == pytest.approx(0.5, rel=0.05)


def test_a_norm_written_out_makes_unit_variance_whatever_comes_in():
    rms = lambda _, h: 7 * h * torch.rsqrt((7 * h).pow(2).mean(-1, keepdim=True) + 1e-6)
    assert fed(rms).fed_by == "normalization"
    assert fed(rms).forward_power == pytest.approx(1)


def test_a_product_of_two_kept_matrices_is_a_sum_over_what_lies_between():
    class Factored(nn.Module):
        def __init__(self):
            super().__init__()
            self.u, self.v = (
                nn.Parameter(torch.randn(WIDTH, 8)),
                nn.Parameter(torch.randn(8, WIDTH)),
            )
            self.last = nn.Linear(WIDTH, 3)

        def forward(self, x):
            return self.last(functional.linear(x, self.u @ self.v))

    model = Factored()
    with torch.no_grad():
        model.u.normal_(generator=torch.Generator().manual_seed(0))
        model.v.normal_(generator=torch.Generator().manual_seed(1))
    row = xavier.plan(model, batch(4, WIDTH))["last.weight"][0]
    # n products of 8 * WIDTH numbers each: 4 standard errors of the factors' own moments.
    spread = math.sqrt(2 / (8 * WIDTH))
    assert row.forward_power == pytest.approx(8 * WIDTH, rel=4 * math.sqrt(2) * spread)


def test_a_layer_that_is_applied_to_a_parameter_has_its_fans():
    class Relative(nn.Module):
        """Attention scores that get a part from a projected table."""

        def __init__(self):
            super().__init__()
            self.query = nn.Linear(WIDTH, WIDTH)
            self.norm = nn.LayerNorm(WIDTH)
            self.table = nn.Parameter(torch.randn(5, WIDTH))
            self.project = nn.Linear(WIDTH, WIDTH)

        def forward(self, x):
            return torch.softmax(self.query(x) @ self.project(self.norm(self.table)).t(), -1)

    plan = xavier.plan(Relative(), batch(4, WIDTH))
    (row,) = plan["project.weight"]
    assert (row.fan_in, row.fan_out, row.fed_by) == (WIDTH, WIDTH, "normalization")
    assert not plan.notes
    assert [each.name for each in plan.kept] == ["table"]


def test_a_weight_with_its_sign_changed_keeps_its_fans():
    class Negated(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(WIDTH, 32))

        def forward(self, x):
            return x @ (-self.weight)

    (row,) = xavier.plan(Negated(), batch(4, WIDTH))["weight"]
    assert (row.fan_in, row.fan_out) == (WIDTH, 32)


def test_gates_of_stacked_experts_are_blocks_of_their_own():
    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate_up = nn.Parameter(torch.randn(3, WIDTH, 2 * 32))
            self.down = nn.Parameter(torch.randn(3, 32, WIDTH))

        def forward(self, x):
            gate, up = torch.einsum("td,edh->eth", x, self.gate_up).chunk(2, -1)
            return torch.bmm(functional.silu(gate) * up, self.down).sum(0)

    gate, up = xavier.plan(Experts(), batch(4, WIDTH))["gate_up"]
    assert (gate.region.axis, gate.region.ranges) == (2, ((0, 32),))
    assert (up.region.axis, up.region.ranges) == (2, ((32, 64),))
    assert (gate.fan_in, gate.fan_out) == (WIDTH, 3 * 32)


def test_a_matrix_behind_a_table_undoes_its_size_forward():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(100, WIDTH)
            self.hidden = nn.Linear(WIDTH, WIDTH)

        def forward(self, ids):
            return functional.linear(torch.tanh(self.hidden(self.table(ids))), self.table.weight)

    plan = xavier.plan(Tied(), torch.zeros(2, 3, dtype=torch.int64))
    (row,) = plan["hidden.weight"]
    assert row.fed_by == "lookup"
    assert row.predicted_q == pytest.approx(1, rel=1e-5)


def test_what_a_kept_table_gives_is_predicted_from_its_values():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(5, WIDTH)

        def forward(self, ids):
            return self.table(ids)

    model, ids = Positions(), torch.arange(5)
    nn.init.constant_(model.table.weight, 0.5)
    plan = xavier.plan(model, ids, overrides={"table.weight": "keep"})
    assert [each.second for each in predict(trace(model, ids), plan).values()] == [
        pytest.approx(0.25)
    ]


def test_a_padding_row_of_zeros_counts_as_one_row():
    table = nn.Embedding(5, WIDTH, padding_idx=0)
    ids = torch.arange(5)
    plan = xavier.plan(table, ids)
    assert [each.second for each in predict(trace(table, ids), plan).values()] == [
        pytest.approx(4 / 5, rel=1e-5)
    ]


@pytest.mark.parametrize("transposed", [False, True])
def test_a_spectral_norms_plan_states_the_law_of_the_effective_weight(transposed):
    make = nn.ConvTranspose2d if transposed else nn.Conv2d
    model = nn.utils.parametrizations.spectral_norm(make(48, 96, 3))
    plan = xavier.init_(model, batch(2, 48, 9, 9), seed=0)
    (row,) = plan["weight"]
    assert row.law.std == pytest.approx(1 / (math.sqrt(96) + math.sqrt(48 * 9)), rel=1e-5)
    effective = float(model.weight.detach().std())
    # The largest singular value's own spread is of order n**(-2/3), here 1/20.
    assert effective == pytest.approx(row.law.std, rel=2 * 96 ** (-2 / 3))
    assert "spectral norm makes the largest singular value" in row.reason


def test_an_orthogonal_parametrization_is_planned_as_what_it_is():
    model = nn.utils.parametrizations.orthogonal(nn.Linear(32, 16))
    (row,) = xavier.plan(model, batch(2, 32), recipe="he")["weight"]
    assert row.law == xavier.Orthogonal(1.0)


class Block(nn.Module):
    def __init__(self, *, norm_last):
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.norm_last = norm_last

    def forward(self, x):
        y = x if self.norm_last else self.norm(x)
        x = x + self.down(torch.relu(self.up(y)))
        return self.norm(x) if self.norm_last else x


def test_norms_after_the_adds_bring_a_hint_at_deepnorm_and_no_scaling():
    stack = lambda last: nn.Sequential(*(Block(norm_last=last) for _ in range(4)))
    after, before = (xavier.plan(stack(last), batch(4, WIDTH)) for last in (True, False))
    assert any("DeepNorm" in note for note in after.notes)
    assert not any("DeepNorm" in note for note in before.notes)
    assert "Scaled" not in after["2.down.weight"][0].rule
    assert before["2.down.weight"][0].rule == "Scaled(He(), factor=0.5)"


def test_explain_tells_what_the_function_that_follows_would_have_given():
    model = nn.Sequential(nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 10))
    plan = xavier.plan(model, batch(2, 784))
    (row,) = plan["0.weight"]
    assert row.law.std == pytest.approx(math.sqrt(2 / (784 + 300)), rel=1e-5)
    assert row.follower_law.std == pytest.approx(math.sqrt(2 / 784), rel=1e-5)
    assert "it would be Normal(0, 0.0505076)" in plan.explain("0.weight")


def glu_power():
    # E[(a sigmoid(b))^2] = E[sigmoid(b)^2] by independence; by symmetry about 1/2.
    points = torch.linspace(-12, 12, 24001, dtype=torch.float64)
    density = torch.exp(-(points**2) / 2) / math.sqrt(2 * math.pi)
    return float((torch.sigmoid(points) ** 2 * density).sum() * (points[1] - points[0]))


def test_a_gated_linear_unit_is_a_product_of_the_halves():
    row = fed(lambda self, h: functional.glu(h).repeat(1, 2))
    assert row.forward_power == pytest.approx(glu_power(), rel=1e-5)


@pytest.mark.parametrize("inplace", [False, True])
def test_a_random_slope_counts_with_its_mean_square(inplace):
    low, high = 0.2, 0.8
    row = fed(lambda self, h: functional.rrelu(h, low, high, training=True, inplace=inplace))
    mean_square = (low * low + low * high + high * high) / 3
    assert row.forward_power == pytest.approx((1 + mean_square) / 2, rel=1e-6)
    assert row.backward_power == pytest.approx((1 + mean_square) / 2, rel=1e-6)


def test_log_sigmoid_is_the_negative_softplus():
    row = fed(lambda self, h: functional.logsigmoid(h))
    other = fed(lambda self, h: functional.softplus(h))
    assert row.fed_by == "log_sigmoid"
    assert row.forward_power == pytest.approx(other.forward_power, rel=1e-6)


def test_what_is_copied_over_no_longer_counts():
    def overwritten(self, h):
        out = torch.full_like(h, 7.0)
        out.copy_(torch.tanh(h))
        return out

    row = fed(overwritten)
    assert row.fed_by == "tanh"


def into_part(h):
    out = torch.zeros_like(h)
    out[:, ::2] = h[:, ::2].relu()
    return out


def over_part(h):
    out = h.clone()
    out[:, :16] = 0
    return out


def into_rows(h):
    rows = torch.arange(0, WIDTH, 4)
    return torch.zeros_like(h).index_copy(1, rows, h[:, ::4])


def added_to_part(h):
    out = torch.zeros_like(h)
    out[:, :16] += h[:, :16]
    return out


def read_back(h):
    out = torch.zeros_like(h)
    out[:, ::2] = h[:, ::2].tanh()
    return out[:, ::2].repeat(1, 2)


def positions():
    return torch.arange(WIDTH)


MASKED = {
    "half written": into_part,
    "over part": over_part,
    "rows": into_rows,
    "added to part": added_to_part,
    "zeroed part": lambda h: over_part(h) + 0 * h,
    "read back": read_back,
    "where": lambda h: torch.where(positions() < 16, h, 0),
    "two signals": lambda h: torch.where(positions() < 16, h, h.relu()),
    "fill": lambda h: h.masked_fill(positions() < 16, 0.5),
    "fill in place": lambda h: h.tanh().masked_fill_(positions() < 16, 0.0),
    "times truth": lambda h: h * (positions() < 16),
    "times ones": lambda h: h * (positions() < 16).float(),
    "and": lambda h: h * ((h > 0) & (positions() < 16)),
    "or": lambda h: h * ((h > 1) | (positions() < 16)),
    "not": lambda h: h * ~(h > 0.5),
}


@pytest.mark.parametrize("between", MASKED.values(), ids=MASKED)
def test_masks_and_writes_into_parts_weigh_by_their_shares(between):
    row = fed(lambda _, h: between(h))
    h = batch(20_000, WIDTH, seed=1).requires_grad_()
    out = between(h)
    squares = out.detach().square().mean(1)  # rows are independent
    spread = float(squares.std()) / math.sqrt(len(squares))
    assert abs(row.forward_power - float(squares.mean())) < 5 * spread + 1e-6


def test_a_mask_counts_backward_too():
    row = fed(lambda _, h: torch.where(positions() < 16, h.relu(), 0))
    assert row.fed_by == "masked relu"
    assert row.backward_power == pytest.approx(16 / WIDTH / 2)


def test_a_mask_that_removes_before_a_softmax_is_no_signal():
    row = fed(lambda _, h: h.masked_fill(positions() < 16, -1e9))
    assert row.forward_power == pytest.approx(1.0)


def test_a_weight_under_a_mask_of_truth_values_is_planned():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(8, 8))
            self.register_buffer("mask", torch.ones(8, 8).tril() > 0)

        def forward(self, x):
            return x @ torch.where(self.mask, self.w, 0.0)

    assert xavier.plan(Masked(), batch(4, 8)) is not None


def test_a_shrinkage_keeps_its_length():
    shrunk = lambda: nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Softshrink(1.0))
    model = nn.Sequential(*(shrunk() for _ in range(6)))
    plan = xavier.plan(model, batch(4, WIDTH))
    rows = [plan[f"{at}.0.weight"][0] for at in range(1, 6)]
    assert [row.predicted_q for row in rows] == pytest.approx([1.0] * 5, rel=1e-4)
    xavier.init_(model, plan=plan, seed=0)


def test_a_law_beyond_the_dtype_is_noted_when_it_is_planned():
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)).to(torch.float16)
    wide = {"1.weight": xavier.Normal(0.0, 1e4)}
    plan = xavier.plan(model, batch(4, WIDTH).half(), overrides=wide)
    assert any("`1.weight`" in note and "beyond its dtype" in note for note in plan.notes)
    with pytest.raises(xavier.PlanError, match="reaches beyond the range of float16\nHint: "):
        xavier.init_(model, plan=plan, seed=0)
