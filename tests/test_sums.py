"""Sums of several addends: the order of addition changes no law, and equals are treated alike."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import xavier
from transformer_models import MODELS
from xavier.frameworks.torch.measure import measure
from xavier.frameworks.torch.trace import trace
from xavier.planning.prediction import predict

WIDTH = 64


def linear(inputs: int = WIDTH, outputs: int = WIDTH) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)


def standardized(*shape: int) -> torch.Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    return x / x.square().mean().sqrt()


def mean_and_error(samples: list[float]) -> tuple[float, float]:
    return float(np.mean(samples)), float(np.std(samples, ddof=1)) / math.sqrt(len(samples))


def laws(plan: xavier.Plan) -> dict[str, tuple[str, object]]:
    return {row.name: (row.role, row.law) for row in plan}


class Made(nn.Module):
    """A model of some parts and a function of them and the input."""

    def __init__(self, function, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.function = function

    def forward(self, x):
        return self.function(self, x)


ORDERS = {
    "one after the other": lambda x, a, m: (x + a) + m,
    "stream first": lambda x, a, m: x + (a + m),
    "stream last": lambda x, a, m: (m + a) + x,
    "stream between": lambda x, a, m: a + (x + m),
    "summed": lambda x, a, m: sum([m, x, a]),
    "subtracted": lambda x, a, m: x - (a + m),
    "difference": lambda x, a, m: x + (m - a),
    "negated": lambda x, a, m: -(a + m) + x,
    "in place": lambda x, a, m: a.add_(m).add_(x),
    "reshaped": lambda x, a, m: (a[:, None] + m[:, None]).flatten(1) + x,
}


class Parallel(nn.Module):
    """Pre-norm blocks of two parallel branches, one behind tanh and one behind ReLU."""

    def __init__(self, add, *, blocks=4, width=WIDTH):
        super().__init__()
        self.add = add
        self.stem = linear(width, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(blocks))
        for name in ("into_a", "a", "into_m", "m"):
            setattr(self, name, nn.ModuleList(linear(width, width) for _ in range(blocks)))

    def forward(self, x):
        x = self.stem(x)
        for at, norm in enumerate(self.norms):
            h = norm(x)
            a = self.a[at](torch.tanh(self.into_a[at](h)))
            m = self.m[at](torch.relu(self.into_m[at](h)))
            x = self.add(x, a, m)
        return x


@pytest.mark.parametrize("order", ORDERS)
def test_order_of_addition_changes_no_law(order):
    x = standardized(8, WIDTH)
    plan = xavier.plan(Parallel(ORDERS[order]), x)
    first = xavier.plan(Parallel(ORDERS["one after the other"]), x)
    assert laws(plan) == laws(first)
    for row in (*plan["a.1.weight"], *plan["m.1.weight"]):
        assert row.role == "residual"
        assert "one of 8 writes" in row.reason
    assert not plan.notes


@pytest.mark.parametrize("factor", [lambda x: x * 0.5, lambda x: x / 2])
def test_branches_that_are_scaled_after_they_are_added_are_branches(factor):
    plan = xavier.plan(Parallel(lambda x, a, m: factor(a + m) + x), standardized(8, WIDTH))
    first = xavier.plan(Parallel(ORDERS["one after the other"]), standardized(8, WIDTH))
    # The stream is smaller, but behind the norm nothing sees it.
    assert laws(plan) == laws(first)


@pytest.mark.parametrize("order", ["one after the other", "stream first", "stream last"])
def test_stream_of_parallel_branches_has_the_predicted_size(order):
    width, blocks = 128, 8
    make = lambda: Parallel(ORDERS[order], blocks=blocks, width=width)
    x = standardized(64, width)
    plan = xavier.plan(make(), x)
    flow = trace(make(), x)
    written = {
        flow.ops[at].weights[0].parameter: each.second for at, each in predict(flow, plan).items()
    }
    writers = [row.name for row in plan if row.role == "residual"]
    assert len(writers) == 2 * blocks
    expected = written["stem.weight"] + sum(written[name] for name in writers)
    found = []
    for seed in range(12):
        model = make()
        xavier.init_(model, x, seed=seed)
        with torch.no_grad():
            found.append(float(model(x).square().mean()))
    mean, error = mean_and_error(found)
    # 5/n for the bias of a finite width, of each of the two layers of a branch.
    assert mean == pytest.approx(expected, abs=5 * error + 10 / width * expected)
    assert 1 < expected < 2


WAYS = {
    "from zero": sum,
    "from the end": lambda parts: sum(parts[::-1][1:], parts[-1]),
    "in halves": lambda parts: sum(parts[::2]) + sum(parts[1::2]),
    "alternating": lambda parts: sum((-1) ** at * each for at, each in enumerate(parts)),
    "subtracted": lambda parts: parts[0] - sum(parts[1:]),
}


def branches(count, way):
    return Made(
        lambda m, x: m.head(torch.relu(WAYS[way]([each(x) for each in m.parts]))),
        parts=nn.ModuleList(linear() for _ in range(count)),
        head=linear(WIDTH, 3),
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_summed_dense_layers_are_one_contraction_and_alike(count, way):
    plan = xavier.plan(branches(count, way), standardized(8, WIDTH))
    rows = [plan[f"parts.{at}.weight"][0] for at in range(count)]
    std = math.sqrt(2 / (count * WIDTH + WIDTH))  # Xavier's compromise for the joined matrix
    for row in rows:
        assert row.fan_in == count * WIDTH
        assert row.law.std == pytest.approx(std, rel=1e-5)
        assert row.followed_by == "relu"
        assert row.predicted_q == rows[0].predicted_q
        assert row.predicted_chi == rows[0].predicted_chi
    assert plan["head.weight"][0].forward_power == pytest.approx(rows[0].predicted_q / 2, rel=1e-5)


@pytest.mark.parametrize("count", [2, 4])
def test_what_summed_dense_layers_compute_is_as_predicted(count):
    model = Made(
        lambda m, x: sum(each(x) for each in m.parts).tanh(),
        parts=nn.ModuleList(linear() for _ in range(count)),
    )
    x = standardized(256, WIDTH)
    plan = xavier.plan(model, x)
    forward, backward = [], []
    generator = torch.Generator().manual_seed(1)
    for seed in range(40):
        xavier.init_(model, x, seed=seed, plan=plan)
        given = x.clone().requires_grad_()
        out = sum(each(given) for each in model.parts)
        forward.append(float(out.detach().square().mean()))
        out.backward(torch.randn(out.shape, generator=generator))
        backward.append(float(given.grad.square().mean()))
    # Both are exact at any width, so the replicates' own error is all there is.
    mean, error = mean_and_error(forward)
    assert mean == pytest.approx(plan["parts.0.weight"][0].predicted_q, abs=5 * error)
    mean, error = mean_and_error(backward)
    chi = sum(row.predicted_chi for row in plan if row.name.startswith("parts"))
    assert mean == pytest.approx(chi, abs=5 * error)


def test_an_intermediate_sum_that_is_read_elsewhere_is_a_stream_of_its_own():
    def forward(m, x):
        first = m.stem(x)
        h = m.norm(first)
        second = first + m.a(torch.relu(h))
        third = second + m.b(torch.tanh(h))  # computed from the stream before
        return third + m.c(torch.relu(m.norm(second)))

    parts = {name: linear() for name in ("stem", "a", "b", "c")}
    plan = xavier.plan(Made(forward, norm=nn.LayerNorm(WIDTH), **parts), standardized(8, WIDTH))
    for name in "abc":
        (row,) = plan[f"{name}.weight"]
        assert row.role == "residual"
        assert "one of 3 writes" in row.reason
    assert plan["stem.weight"][0].role == "input"


def test_branches_whose_sum_is_read_elsewhere_are_branches():
    def forward(m, x):
        x = m.stem(x)
        h = m.norm(x)
        both = m.a(torch.relu(h)) + m.b(torch.tanh(h))
        return x + both, m.other(torch.relu(both))

    parts = {name: linear() for name in ("stem", "a", "b", "other")}
    plan = xavier.plan(Made(forward, norm=nn.LayerNorm(WIDTH), **parts), standardized(8, WIDTH))
    rows = [plan[f"{name}.weight"][0] for name in "ab"]
    assert {(row.role, row.fan_in) for row in rows} == {("residual", WIDTH)}
    assert all("one of 2 writes" in row.reason for row in rows)


def test_a_sum_that_is_read_elsewhere_is_no_part_of_a_larger_one():
    def forward(m, x):
        both = m.a(x) + m.b(x)
        return m.head(torch.relu(both + m.c(x))) + m.side(torch.tanh(both))

    parts = {name: linear() for name in ("a", "b", "c", "head", "side")}
    plan = xavier.plan(Made(forward, **parts), standardized(8, WIDTH))
    fans = {row.name: row.fan_in for row in plan}
    assert (fans["a.weight"], fans["b.weight"]) == (2 * WIDTH, 2 * WIDTH)


@pytest.mark.parametrize("order", [lambda x, h, f: x + (h + f), lambda x, h, f: (x + h) + f])
def test_a_stream_that_is_a_branch_of_another_writes_to_it(order):
    def forward(m, x):
        x = m.stem(x)
        for at, inner in enumerate(m.inner):
            h = m.into[at](m.norm(x))
            h = h + inner[0](torch.relu(m.norm(h)))
            x = order(x, h, inner[1](torch.relu(m.norm(h))))
        return x

    model = Made(
        forward,
        stem=linear(),
        norm=nn.LayerNorm(WIDTH),
        into=nn.ModuleList(linear() for _ in range(3)),
        inner=nn.ModuleList(nn.ModuleList(linear() for _ in range(2)) for _ in range(3)),
    )
    plan = xavier.plan(model, standardized(64, WIDTH))
    writers = [row for row in plan if row.role == "residual"]
    assert len(writers) == 9
    assert all("one of 9 writes" in row.reason for row in writers)
    # Nine ninths are added to a stream of 1.
    assert sum(row.predicted_q for row in writers) == pytest.approx(1, rel=1e-4)


def test_an_adapter_that_stays_zero_changes_nothing_for_the_writer_beside_it():
    def block(m, x, adapted):
        x = m.stem(x)
        h = torch.tanh(m.up(m.norm(x)))
        return x + ((m.down(h) + 2 * m.b(m.a(h))) if adapted else m.down(h))

    b = linear(4, WIDTH)
    nn.init.zeros_(b.weight)
    parts = {"stem": linear(), "norm": nn.LayerNorm(WIDTH), "up": linear(), "down": linear()}
    with_it = Made(lambda m, x: block(m, x, True), **parts, a=linear(WIDTH, 4), b=b)
    without = Made(lambda m, x: block(m, x, False), **parts)
    x = standardized(8, WIDTH)
    plan = xavier.plan(with_it, x)
    assert [each.name for each in plan.kept] == ["b.weight"]
    assert laws(plan).items() >= laws(xavier.plan(without, x)).items()
    # Once both are drawn, there are two writes.
    (drawn,) = xavier.plan(with_it, x, overwrite_zeros=True)["down.weight"]
    assert "one of 2 writes" in drawn.reason


def test_experts_whose_routing_weights_add_up_to_one_count_as_one_and_are_alike():
    def forward(m, x):
        h = m.norm(x)
        p = torch.softmax(m.router(h), -1)
        mixed = sum(p[:, at, None] * each(h) for at, each in enumerate(m.experts))
        return x + (mixed + m.always(h))

    model = Made(
        lambda m, x: forward(m, m.stem(x)),
        stem=linear(),
        norm=nn.LayerNorm(WIDTH),
        router=linear(WIDTH, 3),
        experts=nn.ModuleList(linear() for _ in range(3)),
        always=linear(),
    )
    plan = xavier.plan(model, standardized(8, WIDTH))
    names = ["always.weight", *(f"experts.{at}.weight" for at in range(3))]
    rows = [plan[name][0] for name in names]
    assert len({(row.role, row.law) for row in rows}) == 1
    assert "one of 2 writes" in rows[0].reason


@pytest.mark.parametrize("steps", [2, 3, 9])
def test_a_matrix_beside_a_state_counts_both_however_long_the_example(steps):
    def forward(m, x):
        seen = m.into(x)
        state = torch.zeros_like(seen[:, 0])
        for at in range(steps):
            state = torch.tanh(seen[:, at] + m.again(state))
        return state

    plan = xavier.plan(Made(forward, into=linear(), again=linear()), standardized(4, 9, WIDTH))
    assert plan["into.weight"][0].fan_in == 2 * WIDTH
    assert plan["again.weight"][0].role == "recurrent"


def test_a_negated_or_divided_output_is_a_head_like_a_multiplied_one():
    x = standardized(8, WIDTH)
    ways = [lambda x: x * 0.5, lambda x: x / 2, lambda x: -x]
    models = [Made(lambda m, x, w=way: w(m.head(m.up(x).relu())), up=linear(), head=linear())
              for way in ways]  # fmt: skip
    assert {xavier.plan(each, x)["head.weight"][0].role for each in models} == {"head"}


@pytest.mark.parametrize("name", ["gpt_neox", "phi", "falcon"])
def test_parallel_branches_of_a_library_are_residual_and_keep_the_stream(name):
    model, example = MODELS[name]()
    plan = xavier.init_(model, example, seed=0)
    writers = [row for row in plan if row.role == "residual"]
    assert len(writers) == 4
    assert all("one of 4 writes" in row.reason for row in writers)
    ops = [op for op in measure(model, example, seed=0).ops if op.weights]
    seconds = {each.weights[0]: each.rms**2 for each in ops}
    # Attention makes its part smaller than it counts; 32 rows of 64 waver by a sixth, five times.
    assert sum(seconds[row.name] for row in writers) < 1 + 5 / 6
