"""The tracer reads fans from use, and leaves the model as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import einsum, nn

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
