"""The signal is what it says, and measuring it changes nothing."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules import module as module_globals
from torch.utils.checkpoint import checkpoint

from xavier._errors import ShapeError, TraceError, UnknownNameError
from xavier._types.signal import Signal
from xavier.frameworks.torch import _moments
from xavier.frameworks.torch._attention import softmax_saturation
from xavier.frameworks.torch._objective import ends_of
from xavier.frameworks.torch._rank import effective_rank
from xavier.frameworks.torch._restore import unchanged
from xavier.frameworks.torch.jacobian import layer_singular_values
from xavier.frameworks.torch.measure import measure


def state_of(model: nn.Module) -> dict[str, Any]:
    """Everything that must be the same afterwards, in comparable form."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {
        "names": [name for name, _ in tensors],
        "identity": [id(tensor) for _, tensor in tensors],
        "storage": [tensor.data_ptr() for _, tensor in tensors],
        "values": [tensor.detach().contiguous().numpy().tobytes() for _, tensor in tensors],
        "grads": [
            (id(p.grad), p.grad.numpy().tobytes()) if p.grad is not None else None
            for p in model.parameters()
        ],
        "flags": [p.requires_grad for p in model.parameters()],
        "modes": [m.training for m in model.modules()],
        "attributes": [sorted(vars(m)) for m in model.modules()],
        "hooks": [
            [
                (key, list(value))
                for key, value in sorted(vars(m).items())
                if key.endswith("hooks") and isinstance(value, dict)
            ]
            for m in model.modules()
        ],
        "global hooks": [
            (key, list(value))
            for key, value in sorted(vars(module_globals).items())
            if key.startswith("_global_") and isinstance(value, dict)
        ],
        "process": process_state(),
    }


def process_state() -> list[Any]:
    return [
        random.getstate(),
        [part.tolist() if isinstance(part, np.ndarray) else part for part in numpy_state()],
        torch.get_rng_state().tolist(),
        torch.is_grad_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"),
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_anomaly_enabled(),
        torch.get_float32_matmul_precision(),
    ]


def numpy_state() -> Any:
    return np.random.get_state()


class Plain(nn.Module):
    """Dropout and batch norm in train mode: the global generator and buffers are used."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(8, 3)
        self.last.weight.requires_grad_(requires_grad=False)
        self.first.bias.grad = torch.full((8,), 7.0)
        self.drop.eval()
        self.seen: list[Any] = []
        self.table: dict[str, Any] = {"nested": [1, 2]}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.drop(torch.relu(self.norm(self.first(x)))))


class Vandal(Plain):
    """Changes all it can reach, then raises if it is told to."""

    raises = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x.mul_(2)
        y = super().forward(x)
        with torch.no_grad():
            self.first.weight.mul_(3)
        self.last.weight.data.zero_()
        self.first.bias.grad.zero_()
        self.last.bias.grad = torch.ones(3)
        self.norm.running_mean = torch.ones(8)
        self.norm.num_batches_tracked.fill_(9)
        self.last.bias.data = torch.ones(3)
        self.first.weight.requires_grad_(requires_grad=False)
        self.eval()
        self.drop.train()
        self.seen.append(y.detach())
        self.table["nested"].append(3)
        self.extra = torch.ones(1)
        self.register_buffer("late", torch.ones(2))
        self.first.register_forward_hook(lambda *_: None)
        module_globals.register_module_forward_pre_hook(lambda *_: None)
        self._spoil_the_process()
        if self.raises:
            raise ValueError("the model gave up")
        return y

    def _spoil_the_process(self) -> None:
        torch.manual_seed(5)
        random.seed(5)
        np.random.seed(5)
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        torch.use_deterministic_algorithms(True)
        torch.set_autocast_enabled("cpu", True)
        torch.set_autocast_dtype("cpu", torch.float16)
        torch.autograd.set_detect_anomaly(True, check_nan=False)
        torch.set_float32_matmul_precision("medium")


class Fails(Vandal):
    raises = True


@pytest.mark.parametrize("factory", [Plain, Vandal])
def test_measure_changes_nothing(factory: Callable[[], nn.Module]) -> None:
    model, x = factory(), torch.randn(16, 6)
    before, example = state_of(model), x.clone()
    measure(model, x)
    assert state_of(model) == before
    assert model.table == {"nested": [1, 2]}
    assert model.seen == []
    assert torch.equal(x, example)


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
def test_measure_changes_nothing_when_the_forward_raises() -> None:
    model, x = Fails(), torch.randn(16, 6)
    before, example = state_of(model), x.clone()
    with pytest.raises(TraceError, match=r"Fails raised ValueError.*the model gave up") as caught:
        measure(model, x)
    assert isinstance(caught.value.__cause__, ValueError)
    assert state_of(model) == before
    assert torch.equal(x, example)


def test_measure_changes_nothing_when_the_loss_raises() -> None:
    model, x = Plain(), torch.randn(4, 6)
    before = state_of(model)

    def loss(output: torch.Tensor, target: Any) -> torch.Tensor:
        del target
        torch.manual_seed(1)
        raise KeyError("no such key")

    with pytest.raises(TraceError, match=r"the loss raised KeyError"):
        measure(model, x, loss=loss)
    assert state_of(model) == before


def test_measure_changes_nothing_when_the_backward_raises() -> None:
    class Refuses(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            del ctx
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no way back")

    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    model.register_forward_hook(lambda _m, _a, out: Refuses.apply(out))
    x = torch.randn(4, 3)
    before = state_of(model)
    with pytest.raises(TraceError, match="backward pass raised RuntimeError: no way back"):
        measure(model, x)
    assert state_of(model) == before


def test_embedding_renormalized_in_forward_is_put_back() -> None:
    model = nn.Embedding(10, 4, max_norm=0.1)
    before = state_of(model)
    measure(model, torch.arange(10))
    assert state_of(model) == before


def test_unchanged_puts_back_a_write_through_a_view_of_a_parameter() -> None:
    model = nn.Linear(4, 4)
    before = state_of(model)

    def write_and_stop() -> None:
        with unchanged(model):
            model.weight.detach().view(-1)[2:5].fill_(9)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_and_stop()
    assert state_of(model) == before


def test_caller_in_inference_mode_gets_the_same_signal() -> None:
    model, x = nn.Linear(4, 4), torch.randn(3, 4)
    outside = measure(model, x)
    with torch.inference_mode():
        assert measure(model, x) == outside


def test_forward_statistics_are_those_of_the_output() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 5)), torch.randn(8, 20)
    hidden = model[0](x).detach().double()
    first = measure(model, x).ops[0]
    assert first.mean == pytest.approx(hidden.mean().item())
    assert first.std == pytest.approx(hidden.std(correction=0).item())
    assert first.rms == pytest.approx(hidden.square().mean().sqrt().item())
    rows = nn.functional.normalize(hidden, dim=1)
    gram = rows @ rows.T
    assert first.correlation == pytest.approx((gram.sum().item() - 8) / 56)
    slope = 1 - hidden.tanh() ** 2
    assert first.saturation == pytest.approx((slope < 0.05).double().mean().item())
    assert (first.activation, first.dead, first.shape) == ("tanh", 0.0, (8, 30))


def test_gradients_are_those_of_the_loss() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5)), torch.randn(8, 20)
    labels = torch.arange(8) % 5
    twin = copy.deepcopy(model)
    hidden = twin[0](x)
    hidden.retain_grad()
    nn.functional.cross_entropy(twin[2](torch.relu(hidden)), labels).backward()
    for loss in (None, "cross_entropy", nn.functional.cross_entropy):
        signal = measure(model, x, target=labels, loss=loss)
        assert signal.ops[0].gradient_rms == pytest.approx(rms(hidden.grad))
        weights = {weight.name: weight for weight in signal.weights}
        assert weights["2.weight"].gradient_rms == pytest.approx(rms(twin[2].weight.grad))
        ratio = rms(twin[2].weight.grad) / rms(twin[2].weight)
        assert weights["2.weight"].update_ratio == pytest.approx(ratio)


def rms(tensor: torch.Tensor) -> float:
    return tensor.detach().double().square().mean().sqrt().item()


def test_function_that_works_in_place_gives_the_same_signal() -> None:
    torch.manual_seed(0)
    apart = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    inside = copy.deepcopy(apart)
    inside[1] = nn.ReLU(inplace=True)
    x = torch.randn(2, 3, 8, 8)
    assert measure(inside, x) == measure(apart, x)


def test_signal_is_the_same_twice_and_the_cotangent_has_a_seed() -> None:
    model, x = Plain().eval(), torch.randn(4, 6)
    assert measure(model, x) == measure(model, x)
    assert measure(model, x, seed=1) != measure(model, x, seed=2)


def test_dead_units_are_counted() -> None:
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))
    with torch.no_grad():
        model[0].bias[:2] = -1e3
        model[0].bias[2:] = 1e3
    assert measure(model, torch.randn(4, 5)).ops[0].dead == pytest.approx(0.25)


class Weights(nn.Module):
    """One weight of each kind that is computed from a parameter on its way to the op."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("plain", "part", "a", "b", "mask", "down", "up"):
            setattr(self, name, nn.Parameter(torch.randn(6, 6)))
        self.experts = nn.Parameter(torch.randn(3, 6, 6))
        self.table = nn.Parameter(torch.randn(9, 6))
        self.register_buffer("keep", torch.ones(6, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x @ self.plain.t()
        x = x[:, :3] @ self.part[:3]
        x = x @ torch.cat([self.a[:, :3], self.b[:, 3:]], dim=1).to(torch.float64).float()
        x = nn.functional.linear(x, self.mask * self.keep)
        x = nn.functional.linear(x, self.up @ self.down)
        x = torch.einsum("bi,eij->bj", x, self.experts)
        x = x + self.table[torch.arange(len(x)) + (x[:, 0] > 0)]
        return x @ x.t() @ x


def test_weights_are_known_however_they_reach_the_op() -> None:
    signal = measure(Weights(), torch.randn(4, 6))
    assert [(op.op, op.weights) for op in signal.ops] == [
        ("matmul", ("plain",)),
        ("matmul", ("part",)),
        ("matmul", ("a", "b")),
        ("linear", ("mask",)),
        ("linear", ("up", "down")),
        ("einsum", ("experts",)),
        ("lookup", ("table",)),
    ]
    assert [op.index for op in signal.ops] == list(range(7))
    assert signal.notes == ()


def test_weight_norm_and_spectral_norm_hold_their_weights() -> None:
    wrap = nn.utils.parametrizations
    for wrapped in (wrap.weight_norm, wrap.spectral_norm):
        (op,) = measure(wrapped(nn.Linear(6, 6)), torch.randn(4, 6)).ops
        assert (op.op, op.weights[0]) == ("linear", "weight")


def test_attention_and_recurrence_are_seen_inside() -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    x = torch.randn(2, 5, 8)
    signal = measure(attention, (x, x, x))
    assert [op.weights[:1] for op in signal.ops] == [
        ("in_proj_weight",),
        (),
        ("out_proj.weight",),
    ]
    assert signal.ops[1].activation == "softmax"
    assert signal.ops[1].saturation == 0.0
    assert all(op.gradient_rms for op in signal.ops)
    (op,) = measure(nn.LSTM(8, 3, batch_first=True), x).ops
    assert (op.op, len(op.weights), op.shape) == ("lstm", 4, (2, 5, 3))


def test_tied_weight_is_seen_at_both_uses() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(11, 4)
            self.head = nn.Linear(4, 11, bias=False)
            self.head.weight = self.table.weight

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.head(torch.tanh(self.table(ids)))

    signal = measure(Tied(), torch.arange(6).reshape(2, 3))
    assert [(op.op, op.path) for op in signal.ops] == [("embedding", "table"), ("linear", "head")]
    assert {op.weights for op in signal.ops} == {("table.weight",)}


def test_function_is_followed_through_norm_and_reshape() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Flatten(), nn.Sigmoid()
    )
    assert measure(model, torch.randn(2, 3, 8, 8)).ops[0].activation == "sigmoid"


@dataclass
class Output:
    logits: torch.Tensor
    more: dict[str, Any]


def test_every_floating_output_is_an_end_however_it_is_nested() -> None:
    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

        def forward(self, *, x: torch.Tensor) -> Output:
            a, b, c = (part(x) for part in self.parts)
            return Output(a, {"b": (b, b.argmax(-1)), "c": [c]})

    signal = measure(Nested(), {"x": torch.randn(2, 4)})
    assert all(op.gradient_rms and op.gradient_rms > 0.3 for op in signal.ops)


def test_frozen_parameters_are_measured() -> None:
    model = nn.Linear(4, 4).requires_grad_(requires_grad=False)
    signal = measure(model, torch.randn(2, 4))
    assert all(weight.gradient_rms for weight in signal.weights)


def test_nonfinite_elements_are_counted_and_left_out_of_the_moments() -> None:
    model = nn.Linear(4, 4)
    with torch.no_grad():
        model.bias[0] = float("nan")
        model.bias[1] = float("inf")
    (op,) = measure(model, torch.randn(3, 4)).ops
    assert op.nonfinite == 6
    assert np.isfinite([op.mean, op.std, op.rms]).all()


def test_low_precision_is_measured_in_float64() -> None:
    model, x = nn.Linear(16, 16).bfloat16(), torch.randn(4, 16).bfloat16()
    (op,) = measure(model, x).ops
    assert op.rms == pytest.approx(rms(model(x)), rel=1e-12)


def test_constant_network_has_twins_and_a_random_one_has_none() -> None:
    def twins(signal: Signal) -> float | None:
        return next(weight.twins for weight in signal.weights if weight.name == "0.weight")

    model, x = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)), torch.randn(4, 6)
    assert twins(measure(model, x)) == 0
    for layer in (model[0], model[2]):
        nn.init.constant_(layer.weight, 0.3)
        nn.init.zeros_(layer.bias)
    assert twins(measure(model, x)) == 1
    nn.init.normal_(model[2].weight)
    assert twins(measure(model, x)) == 0


@pytest.mark.parametrize(
    ("model", "example", "match"),
    [
        (nn.Linear(4, 4), torch.randn(2, 5), r"shapes cannot be multiplied(.|\n)*Hint: .*shape"),
        (nn.Embedding(4, 4), torch.randn(2), r"(?s)raised RuntimeError.*Hint: .*integers"),
        (nn.Linear(4, 4), torch.randn(2, 4).double(), r"(?s)Linear raised.*Hint: .*dtype"),
        (nn.Linear(4, 4), (torch.ones(2, 4),) * 2, r"(?s)TypeError.*Hint: pass a tuple"),
        (nn.Linear(4, 4, device="meta"), torch.ones(2, 4), r"meta(.|\n)*Hint: .*init_"),
        (nn.LazyLinear(4), torch.ones(2, 4), r"the parameter is lazy"),
        (nn.Flatten(), torch.ones(2, 4), r"no floating-point parameter, so there is nothing"),
    ],
)
def test_model_that_cannot_be_measured_says_why(model: nn.Module, example: Any, match: str) -> None:
    with pytest.raises(TraceError, match=match):
        measure(model, example)


def test_loss_that_cannot_be_used_says_why() -> None:
    model, x = nn.Linear(4, 4), torch.randn(2, 4)
    with pytest.raises(UnknownNameError, match=r"unknown loss 'cross_entrop'(.|\n)*cross_entropy"):
        measure(model, x, loss="cross_entrop")
    with pytest.raises(TraceError, match="'mse' compares the output with a target"):
        measure(model, x, loss="mse")
    with pytest.raises(TraceError, match=r"the loss returned \(2, 4\), expected one number"):
        measure(model, x, target=x, loss=lambda output, target: output - target)


def test_histograms_are_the_shares_of_outputs_and_gradients_in_bins_of_the_rms() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 8)), torch.randn(32, 64)
    assert measure(model, x).ops[0].histogram is None
    first, last = measure(model, x, histograms=True).ops
    output = model[0](x).detach().double()
    edges = torch.linspace(-4, 4, 22, dtype=torch.float64) * output.square().mean().sqrt()
    expected, _ = np.histogram(output.numpy(), edges.numpy())
    # All 8,192 outputs are looked at, and none lies beyond 4 RMS; one may lie on an edge.
    np.testing.assert_allclose(first.histogram, expected / output.numel(), atol=2 / 8192)
    assert first.gradient_histogram is not None
    assert first.gradient_histogram[10] > 0.4, "half of ReLU's gradients are zero"
    assert sum(last.gradient_histogram or ()) == pytest.approx(1)


def test_a_histogram_counts_what_is_beyond_in_its_ends_and_has_nothing_to_say_of_zeros() -> None:
    far = torch.cat((torch.full((1000,), 1e-3), torch.tensor([1e6, -1e6, float("nan")])))
    found = _moments.histogram(far)
    assert found is not None
    assert (found[0], found[10], found[20]) == pytest.approx((1 / 1002, 1000 / 1002, 1 / 1002))
    assert _moments.histogram(torch.zeros(9)) is None
    assert _moments.histogram(torch.zeros(0)) is None


def test_jacobian_of_a_dense_layer_is_exact() -> None:
    torch.manual_seed(0)
    layer, x = nn.Sequential(nn.Linear(9, 7), nn.Tanh()), torch.randn(3, 9)
    found = layer_singular_values(layer, x)
    weight, slope = layer[0].weight.detach(), 1 - layer(x).detach() ** 2
    expected = [np.linalg.svd((s[:, None] * weight).numpy(), compute_uv=False) for s in slope]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    (op,) = measure(layer, x, jacobian=True).ops
    assert op.jacobian_mean == pytest.approx(expected[0].mean(), rel=1e-5)
    assert op.jacobian_rms == pytest.approx(np.sqrt((expected[0] ** 2).mean()), rel=1e-5)
    assert measure(layer, x).ops[0].jacobian_mean is None


def test_jacobian_of_a_wide_layer_is_refused() -> None:
    with pytest.raises(ShapeError, match="width 3000 was given, expected at most 2048"):
        layer_singular_values(lambda x: x, torch.ones(3000))


class Checkpointed(nn.Module):
    """Layers that are computed twice to save memory, or once."""

    def __init__(self, *, twice: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))
        self.head = nn.Linear(16, 3)
        self.twice = twice

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            block = nn.Sequential(layer, nn.Tanh())
            x = checkpoint(block, x, use_reentrant=False) if self.twice else block(x)
        return self.head(x)


def test_activation_checkpointing_changes_nothing_that_is_measured() -> None:
    torch.manual_seed(0)
    once, twice = Checkpointed(twice=False), Checkpointed(twice=True)
    twice.load_state_dict(once.state_dict())
    data = torch.randn(8, 16)
    first, second = measure(once, data), measure(twice, data)
    assert [replace(op, path="") for op in second.ops] == [replace(op, path="") for op in first.ops]
    assert second.weights == first.weights


def test_a_long_error_is_cut_behind_a_sentence() -> None:
    class Raises(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("torch.utils.checkpoint: it did not go well. " + "And more. " * 99)

    with pytest.raises(TraceError, match="it did not go well") as caught:
        measure(Raises(4, 4), torch.ones(2, 4))
    assert len(caught.value.message) < 400
    assert caught.value.hint == "switch activation checkpointing off for this run"


def test_a_deep_look_sees_norms_sums_and_functions_and_the_rank_at_every_op() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.up, self.down = nn.LayerNorm(32), nn.Linear(32, 64), nn.Linear(64, 32)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.down(torch.relu(self.up(self.norm(x)))) + 1.0

    torch.manual_seed(0)
    model, x = Block(), torch.randn(40, 32)
    shallow, deep = measure(model, x), measure(model, x, deep=True)
    assert [op.op for op in shallow.ops] == ["linear", "linear"]
    assert [op.op for op in deep.ops] == ["layer_norm", "linear", "relu", "linear", "add"]
    assert [bool(op.weights) for op in deep.ops] == [False, True, False, True, False]
    norm, up, hidden, branch, stream = deep.ops
    assert norm.rms == pytest.approx(1, rel=1e-3)
    assert norm.rank == pytest.approx(_effective_rank(model.norm(x)), rel=1e-9)
    assert stream.rms == pytest.approx(math.hypot(branch.rms, x.square().mean().sqrt()), rel=0.1)
    assert stream.gradient_rms == branch.gradient_rms
    assert hidden.rms < up.rms
    assert [op.rank for op in shallow.ops] == [None, None]
    for one, other in zip(shallow.ops, (up, branch), strict=True):
        assert replace(other, index=one.index, rank=None) == one


def _effective_rank(matrix: torch.Tensor) -> float:
    shares = torch.linalg.svdvals(matrix.detach().double())
    shares /= shares.sum()
    return math.exp(-sum(float(each) * math.log(each) for each in shares))


def test_the_effective_rank_counts_directions() -> None:
    rows = torch.randn(50, 16, generator=torch.Generator().manual_seed(0))
    assert effective_rank(torch.eye(16)) == pytest.approx(16)
    assert effective_rank(rows[:, :1] * torch.ones(16)) == pytest.approx(1, abs=1e-4)
    assert 10 < effective_rank(rows) < 16
    assert effective_rank(rows.T, unit_axis=0) == pytest.approx(effective_rank(rows))
    # Of a picture's tensor the positions are rows.
    assert effective_rank(rows.T.reshape(1, 16, 5, 10), unit_axis=1) == pytest.approx(
        effective_rank(rows)
    )
    for nothing in (torch.zeros(4, 4), torch.ones(4), torch.full((2, 2), math.nan)):
        assert effective_rank(nothing) is None


@pytest.mark.parametrize("way", ["softmax", "fused", "masked", "causal", "grouped"])
def test_the_share_of_rows_that_choose_is_that_of_the_whole_softmax(way: str) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, 4, 8, 16, generator=generator) for _ in range(2))
    key = key[:, :2] if way == "grouped" else key
    mask = torch.rand(8, 8, generator=generator) < 0.5 if way == "masked" else None
    mask = torch.ones(8, 8).tril().bool() if way == "causal" else mask
    scores = query @ (key.repeat_interleave(2, 1) if way == "grouped" else key).mT * 2
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    left = 1 - scores.softmax(-1).nan_to_num().square().sum(-1)
    choices = (scores > -math.inf).sum(-1)
    flat = (left < 0.05 * (1 - 1 / choices))[choices > 1].double().mean()
    if way == "softmax":
        found = softmax_saturation("softmax", (scores,), {"dim": -1})
    else:
        given = {"scale": 2.0, "attn_mask": mask if way == "masked" else None}
        given |= {"is_causal": way == "causal", "enable_gqa": way == "grouped"}
        name = "scaled_dot_product_attention"
        found = softmax_saturation(name, (query, key, key), given)
        heads = range(8)[::2]  # four of eight heads are looked at
        left, choices = left.flatten(0, 1)[heads], choices.flatten(0, 1)[heads]
        flat = (left < 0.05 * (1 - 1 / choices))[choices > 1].double().mean()
    assert 0 < float(flat) < 1
    assert found == pytest.approx(float(flat))


def test_of_a_softmax_without_a_choice_nothing_is_said() -> None:
    assert softmax_saturation("softmax", (torch.zeros(3, 1), -1), {}) is None
    assert softmax_saturation("softmax", (torch.zeros(0, 4), -1), {}) is None


def test_the_gradient_through_a_recurrent_layers_steps_is_that_of_its_input() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 9, 5, requires_grad=True)
    for first, given in ((True, x), (False, x.transpose(0, 1))):
        layer = nn.LSTM(5, 7, batch_first=first)
        (op,) = measure(layer, given.detach(), seed=0).ops
        (again,) = measure(layer, given, seed=0).ops
        assert op.step_gradients == pytest.approx(again.step_gradients)
        output = layer(given)
        ends, cotangents = ends_of(output, None, None, seed=0)
        (gradient,) = torch.autograd.grad(ends, x, cotangents, retain_graph=True)
        assert op.step_gradients == pytest.approx(
            gradient.square().mean((0, 2)).sqrt().tolist(), rel=1e-4
        )
    assert len(measure(nn.GRU(5, 7), torch.randn(200, 2, 5)).ops[0].step_gradients) == 50


def test_of_packed_sequences_it_is_told_that_their_steps_are_one() -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRU(5, 7, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([4, 2]), batch_first=True)
            return self.cell(packed)[1]

    signal = measure(Packed(), torch.randn(2, 4, 5))
    assert signal.notes == ("cell: the steps of packed sequences are not told apart",)
    assert signal.ops[0].step_gradients is None
