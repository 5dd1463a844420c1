"""The tracer reads fans from use, and leaves the model as it was."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest
import torch
from torch import einsum, nn
from torch.nn import functional

import xavier
from xavier._errors import TraceError
from xavier._types.flow import OpKind
from xavier._types.plan import Region
from xavier.frameworks.torch.trace import trace


def uses(model, example):
    flow = trace(model, example)
    return {
        (use.parameter, use.region): (use.fan_in, use.fan_out)
        for op in flow.ops
        for use in op.weights
    }


class With(nn.Module):
    """A module whose one weight is used as a function says."""

    def __init__(self, shape, use):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape))
        self.use = use

    def forward(self, x):
        return self.use(x, self.weight)


WHOLE = ("weight", Region())


@pytest.mark.parametrize(
    ("shape", "use", "x", "fans"),
    [
        pytest.param((8, 3), lambda x, w: x @ w, (2, 8), (8, 3), id="stored in, out"),
        pytest.param((3, 8), lambda x, w: x @ w.t(), (2, 8), (8, 3), id="stored out, in"),
        pytest.param((8, 3), lambda x, w: torch.addmm(x[:, :3], x, w), (2, 8), (8, 3), id="addmm"),
        pytest.param(
            (4, 8, 3), lambda x, w: einsum("bi,eio->beo", x, w), (2, 8), (8, 12), id="kept axis"
        ),
        pytest.param(
            (4, 8, 3), lambda x, w: einsum("ebi,eio->ebo", x, w), (4, 2, 8), (8, 3), id="experts"
        ),
        pytest.param((4, 8, 3), torch.bmm, (4, 2, 8), (8, 3), id="bmm"),
        pytest.param(
            (2, 4, 8), lambda x, w: einsum("bi,hdi->bhd", x, w), (2, 8), (8, 8), id="heads out"
        ),
        pytest.param(
            (2, 4, 8), lambda x, w: einsum("bhd,hdo->bo", x, w), (2, 2, 4), (8, 8), id="heads in"
        ),
        pytest.param((3, 8), lambda x, w: x.to(w.dtype) @ w.float().mT, (2, 8), (8, 3), id="cast"),
        pytest.param((8, 3), lambda x, w: x @ w.clone().contiguous(), (2, 8), (8, 3), id="clone"),
        pytest.param(
            (24,), lambda x, w: x @ w.view(3, 8).t(), (2, 8), (8, 3), id="flat storage"
        ),
        pytest.param(
            (6, 2, 5, 5), lambda x, w: nn.functional.conv2d(x, w, groups=2), (1, 4, 9, 9),
            (50, 75), id="grouped convolution",
        ),
    ],
)  # fmt: skip
def test_fans_follow_the_strides(shape, use, x, fans):
    assert uses(With(shape, use), torch.randn(x))[WHOLE] == fans


def test_a_slice_of_a_weight_is_a_region_of_its_own():
    model = With((12, 8), lambda x, w: x @ w[4:8].t())
    assert uses(model, torch.randn(2, 8)) == {("weight", Region(0, ((4, 8),))): (8, 4)}


def test_blocks_of_a_packed_projection_are_what_is_first_computed_with():
    def attend(x, w):
        q, k, v = (x @ w.t()).split(8, -1)
        return torch.softmax(q @ k.mT, -1) @ v

    found = uses(With((24, 8), attend), torch.randn(2, 5, 8))
    assert found == {("weight", Region(0, ((at, at + 8),))): (8, 8) for at in (0, 8, 16)}


def test_interleaved_heads_are_one_block_each_in_several_ranges():
    def attend(x, w):
        qkv = (x @ w.t()).view(2, 5, 2, 3, 4)
        q, k, v = qkv.unbind(3)
        return torch.softmax(q.transpose(1, 2) @ k.transpose(1, 2).mT, -1) @ v.transpose(1, 2)

    found = uses(With((24, 8), attend), torch.randn(2, 5, 8))
    assert ("weight", Region(0, ((0, 4), (12, 16)))) in found
    assert len(found) == 3


def test_halves_of_a_rotary_embedding_do_not_split_the_queries():
    def rotate(x, w):
        q = x @ w.t()
        a, b = q.chunk(2, -1)
        return (q * 0.6 + torch.cat((-b, a), -1) * 0.8).tanh()

    assert uses(With((8, 8), rotate), torch.randn(2, 8)) == {WHOLE: (8, 8)}


def test_joined_weights_are_told_apart():
    class Joined(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Parameter(torch.randn(3, 8))
            self.b = nn.Parameter(torch.randn(5, 8))

        def forward(self, x):
            return x @ torch.cat((self.a, self.b)).t()

    assert {name for name, _ in uses(Joined(), torch.randn(2, 8))} == {"a", "b"}


def test_a_branch_on_the_input_is_exact_and_one_on_a_weight_is_listed():
    def use(x, w):
        if x.sum() > 0:
            return x @ w
        return x @ w @ w

    positive = trace(With((8, 8), use), torch.ones(2, 8))
    negative = trace(With((8, 8), use), -torch.ones(2, 8))
    count = lambda flow: sum(op.kind is OpKind.CONTRACT for op in flow.ops)
    assert (count(positive), count(negative)) == (1, 2)
    assert not positive.notes

    guessed = trace(With((8, 8), lambda x, w: x @ w if w.sum() > 0 else x), torch.ones(2, 8))
    assert "it was guessed" in guessed.notes[0]


def test_a_matrix_function_of_a_weight_is_listed():
    model = With((8, 8), lambda x, w: x @ torch.linalg.matrix_exp(w))
    assert "contracted through a function of it (" in trace(model, torch.ones(2, 8)).notes[0]


def test_tracing_changes_nothing():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.LazyLinear(2)
    )
    x = torch.randn(2, 3, 8, 8)
    model(x)
    model[2].eval()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    before = copy.deepcopy(model.state_dict())
    parameters = [id(each) for each in model.parameters()]
    state = torch.get_rng_state()
    trace(model, x)
    assert [id(each) for each in model.parameters()] == parameters
    assert [each.training for each in model] == [True, True, False, True, True]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())
    assert model[0].weight.grad is not None


def test_an_error_in_forward_is_told_with_the_path_and_changes_nothing():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(4, 2))
    model.train()
    with pytest.raises(
        TraceError, match=r"raised RuntimeError in `1` on \(2, 8\) float32.*\n?Hint: .*shape"
    ):
        trace(model, torch.randn(2, 8))
    assert model[0].weight.device.type == "cpu"
    assert model.training


def test_hooks_and_attributes_are_put_back():
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(4, 4)
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            self.cache = self.inner(x)
            return self.cache

    model = Counts()
    trace(model, torch.randn(2, 4))
    assert model.calls == 0
    assert not hasattr(model, "cache")


def test_meta_and_real_give_one_flow():
    with torch.device("meta"):
        meta = nn.LSTM(4, 8, num_layers=2)
    assert (
        trace(meta, torch.randn(5, 2, 4)).ops
        == trace(nn.LSTM(4, 8, num_layers=2), torch.randn(5, 2, 4)).ops
    )


def test_a_shared_part_of_a_storage_written_in_place_is_followed():
    def use(x, w):
        h = x @ w
        a, b = h.chunk(2, -1)
        a.sigmoid_()
        return a * b

    flow = trace(With((8, 8), use), torch.randn(2, 8))
    product = flow.ops[-1]
    made = {flow.ops[flow.values[each].producer].name for each in product.inputs}
    assert made == {"aten.sigmoid", "aten.split"}


def test_a_weight_that_the_model_writes_to_keeps_its_fans_and_is_told():
    class Clamped(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 3)

        def forward(self, x):
            self.layer.weight.data.clamp_(-1, 1)
            self.layer.bias.data += 1
            return self.layer(x)

    model = Clamped()
    bias = model.layer.bias.detach().clone()
    flow = trace(model, torch.randn(2, 8))
    assert [use.fan_in for op in flow.ops for use in op.weights] == [8]
    assert "`layer.weight`: the model writes to it while it runs" in flow.notes
    assert torch.equal(model.layer.bias, bias)


class Repeats(nn.Module):
    """A few matrices with one function between them."""

    def __init__(self, between, depth=3, width=32):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth))
        self.between = between

    def forward(self, x):
        for layer in self.layers:
            x = self.between(layer(x))
        return x


LEAVES = {
    "numpy": (".numpy()", lambda h: torch.from_numpy(h.detach().numpy()).relu()),
    "array": (".numpy()", lambda h: torch.from_numpy(np.tanh(np.asarray(h.detach())))),
    "list": (".tolist()", lambda h: torch.tensor(h.tolist()).relu()),
    "number": (".tolist()", lambda h: h * h.tolist()[0][0]),
    "address": (".data_ptr()", lambda h: h * (h.data_ptr() > 0)),
    "dlpack": (".__dlpack__()", lambda h: torch.from_dlpack(h.detach()).relu()),
}


@pytest.mark.parametrize(("asked", "between"), LEAVES.values(), ids=LEAVES)
def test_data_that_leaves_the_framework_and_comes_back_is_refused(asked, between):
    told = rf"in `forward` the data leaves the framework at `{re.escape(asked)}`.*\nHint: keep it"
    with pytest.raises(TraceError, match=told):
        trace(Repeats(between), torch.randn(4, 32))


def test_data_that_leaves_the_framework_for_good_is_noted():
    model = With((8, 8), lambda x, w: (x @ w).numpy())
    notes = trace(model, torch.randn(2, 8)).notes
    assert notes == (
        "`forward`: data leaves the framework at `.numpy()`; it is not followed there",
    )


def test_known_values_are_read_as_they_are():
    seen = []

    def use(ids, w):
        seen.extend((ids.numpy().tolist(), (2 * ids).tolist(), np.asarray(ids + 1).tolist()))
        return w[ids]

    trace(With((8, 4), use), torch.tensor([5, 0, 2]))
    assert seen == [[5, 0, 2], [10, 0, 4], [6, 1, 3]]


def test_memory_that_nobody_wrote_is_zeros():
    from xavier.frameworks.torch._recorder import Recorder

    recorder = Recorder()
    held = recorder.add_input(torch.ones(2, dtype=torch.long), "ids")
    with torch.no_grad(), recorder:
        made = (
            torch.empty(64, 64),
            torch.Tensor(64, 64),
            held.new(64, 64),
            held.new_empty(64, 64),
            torch.empty_strided((64, 64), (64, 1)),
            torch.empty_permuted((64, 64), (1, 0)),
            torch.zeros(3).resize_(64, 64),
        )
    assert not any(bool(recorder.shadows.of(each).any()) for each in made)


DROPOUTS = {
    "dropout": lambda h: functional.dropout(h.relu(), 0.5, training=True),
    "in place": lambda h: functional.dropout(h.relu(), 0.5, training=True, inplace=True),
    "torch.dropout": lambda h: torch.dropout(h.relu(), 0.5, train=True),
    "channels": lambda h: functional.dropout1d(h.relu()[None], 0.5, training=True)[0],
    "alpha": lambda h: functional.alpha_dropout(h.relu(), 0.5, training=True),
    "native": lambda h: torch.native_dropout(h.relu(), 0.5, True)[0],
    "mask": lambda h: h.relu() * torch.bernoulli(torch.full_like(h, 0.5)) / 0.5,
    "mask in place": lambda h: h.relu() * torch.empty_like(h).bernoulli_(0.25) / 0.25,
}


@pytest.mark.parametrize("between", DROPOUTS.values(), ids=DROPOUTS)
def test_dropout_in_any_spelling_counts_as_in_evaluation(between):
    plain = xavier.plan(Repeats(torch.relu), torch.randn(4, 32))
    assert xavier.plan(Repeats(between), torch.randn(4, 32)).digest == plain.digest


def own_generator(h):
    return h + torch.randn(h.shape, generator=torch.Generator().manual_seed(7))


NOISES = {  # and the second moment of what is added
    "randn_like": (lambda h: h + 0.5 * torch.randn_like(h), 0.25),
    "randn": (lambda h: h + torch.randn(h.shape), 1.0),
    "generator": (own_generator, 1.0),
    "normal": (lambda h: h + torch.empty_like(h).normal_(1.0, 2.0), 5.0),
    "means": (lambda h: h + torch.normal(torch.zeros(h.shape), 0.5), 0.25),
    "rand": (lambda h: h + torch.rand(h.shape), 1 / 3),
    "uniform": (lambda h: h + torch.empty_like(h).uniform_(-2, 2), 4 / 3),
    "exponential": (lambda h: h + torch.empty_like(h).exponential_(2.0), 0.5),
    "mask": (lambda h: h + (torch.rand_like(h) > 0.75), 0.25),
}


@pytest.mark.parametrize(("between", "second"), NOISES.values(), ids=NOISES)
def test_noise_counts_by_its_law_whatever_the_seed_and_the_batch(between, second):
    digests = set()
    for seed, batch in ((0, 1), (1, 4), (2, 64)):
        model = Repeats(between, depth=2)
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        made = xavier.plan(model, torch.ones(batch, 32), recipe="lecun")
        assert torch.equal(torch.get_rng_state(), before)
        digests.add(made.digest)
        assert made["layers.1.weight"][0].forward_power == pytest.approx(1 + second, rel=1e-5)
    assert len(digests) == 1


def test_a_generator_of_the_models_own_does_not_advance():
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    noisy = lambda h: h + torch.randn(h.shape, generator=generator)
    trace(Repeats(noisy), torch.randn(4, 32))
    assert torch.equal(generator.get_state(), before)


def into(operator):
    def call(h):
        out = torch.zeros_like(h)
        operator(h, out=out)
        return out

    return call


def test_what_is_written_to_out_is_followed_like_what_is_returned():
    for operator in (torch.tanh, torch.sigmoid):
        plain = xavier.plan(Repeats(operator), torch.randn(4, 32))
        assert xavier.plan(Repeats(into(operator)), torch.randn(4, 32)).digest == plain.digest
    resized = lambda h: torch.tanh(h, out=torch.empty(0))
    plain = xavier.plan(Repeats(torch.tanh), torch.randn(4, 32))
    assert xavier.plan(Repeats(resized), torch.randn(4, 32)).digest == plain.digest


def test_a_projection_written_to_out_keeps_its_fans():
    def use(x, w):
        out = x.new_zeros(2, 6)
        torch.mm(x, w, out=out)
        return out

    assert uses(With((8, 6), use), torch.randn(2, 8)) == uses(
        With((8, 6), lambda x, w: x @ w), torch.randn(2, 8)
    )


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.sign()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Squares(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


def test_a_backward_that_is_no_derivative_is_noted():
    base = torch.autograd.function._SingleLevelFunction
    notes = trace(Repeats(Straight.apply), torch.randn(4, 32)).notes
    assert len(notes) == 1
    assert "`Straight` has a backward of its own" in notes[0]
    assert trace(Repeats(Squares.apply), torch.randn(4, 32)).notes == ()
    assert "apply" not in vars(base)


def test_an_operator_that_cannot_be_run_again_is_noted(monkeypatch):
    from xavier.frameworks.torch import _calls

    def fails(*_):
        raise ZeroDivisionError("no such thing")

    monkeypatch.setattr(_calls, "_as_tensor", fails)
    notes = xavier.plan(Repeats(torch.tanh), torch.randn(4, 32)).notes
    assert "could not be run on its own: ZeroDivisionError: no such thing" in notes[0]
