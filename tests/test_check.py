"""Verdicts are true of networks whose fate is known, and rarely wrong of healthy ones."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from xavier import laws
from xavier._errors import TraceError, UnknownNameError
from xavier._types.laws import Normal, TruncatedNormal, Uniform
from xavier._types.plan import Assignment, Plan, Region, Role
from xavier._types.signal import Check, Finding, Severity, Verdict
from xavier.checking import check, cures, thresholds
from xavier.checking.audit import _chi_square_p, audit, unregistered
from xavier.checking.strain import chance, strain
from xavier.checking.symptoms import symptoms
from xavier.checking.verdict import Fault, judge
from xavier.frameworks.torch import _stored
from xavier.frameworks.torch.measure import measure
from xavier.planning import init_

SIGMA_B = math.sqrt(0.05)  # of the biases in Schoenholz et al. 2017


def stack(
    depth: int,
    width: int,
    activation: Callable[[], nn.Module],
    *,
    gain: float,
    bias: float = 0.0,
) -> nn.Sequential:
    """A plain dense network, weights N(0, gain**2 / fan_in), biases N(0, bias**2)."""
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Linear(64 if i == 0 else width, width), activation()]
    model = nn.Sequential(*layers, nn.Linear(width, 10))
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0, gain / math.sqrt(layer.in_features))
            nn.init.normal_(layer.bias, 0, bias)
    return model


def plain_cnn(depth: int, channels: int = 16) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Conv2d(channels if i else 3, channels, 3, padding=1), nn.ReLU(inplace=True)]
    model = nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, 10)
    )
    for layer in model[: 2 * depth : 2]:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    return model


class Residual(nn.Module):
    """The basic block of a ResNet."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        stride = 1 if c_in == c_out else 2
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.skip = nn.Identity() if stride == 1 else nn.Conv2d(c_in, c_out, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(inner + self.skip(x))


def resnet18() -> nn.Module:
    widths = [8, 8, 8, 16, 16, 32, 32, 64, 64]
    blocks = [Residual(a, b) for a, b in pairwise(widths)]
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model


class Decoder(nn.Module):
    """One pre-norm transformer block with a packed projection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        parts = self.qkv(self.norms[0](x)).chunk(3, -1)
        q, k, v = (part.view(batch, length, 4, -1).transpose(1, 2) for part in parts)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(x.shape))
        return x + self.down(nn.functional.gelu(self.up(self.norms[1](x))))


class GPT(nn.Module):
    """A decoder with a tied head, drawn as GPT-2 was."""

    def __init__(self, width: int = 64, layers: int = 4) -> None:
        super().__init__()
        self.tokens = nn.Embedding(100, width)
        self.places = nn.Embedding(16, width)
        self.blocks = nn.ModuleList(Decoder(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 100, bias=False)
        self.head.weight = self.tokens.weight
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                writes = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(parameter, 0, 0.02 / math.sqrt(2 * layers) if writes else 0.02)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.tokens(ids) + self.places(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


HEALTHY = {
    "relu": (lambda: stack(12, 64, nn.ReLU, gain=math.sqrt(2)), lambda: torch.randn(8, 64), 70),
    "deep relu": (
        lambda: stack(50, 256, nn.ReLU, gain=math.sqrt(2)),  # at width 64 it trains by luck
        lambda: torch.randn(8, 64),
        35,
    ),
    "tanh": (lambda: stack(20, 64, nn.Tanh, gain=1), lambda: torch.randn(8, 64), 50),
    "cnn": (lambda: plain_cnn(12, 32), lambda: torch.randn(4, 3, 10, 10), 20),
    "resnet18": (resnet18, lambda: torch.randn(4, 3, 16, 16), 10),
    "gpt": (GPT, lambda: torch.randint(0, 100, (4, 16)), 15),
}


def faults_of(model: nn.Module, x: Any, **kwargs: Any) -> tuple[Fault, ...]:
    return judge(measure(model, x, **kwargs))


def test_healthy_networks_are_healthy_over_200_seeds() -> None:
    alarms, total = [], 0
    for name, (model, example, seeds) in HEALTHY.items():
        for seed in range(seeds):
            torch.manual_seed(seed)
            alarms += [(name, seed, fault) for fault in faults_of(model(), example())]
            total += 1
    assert total == 200
    assert len(alarms) <= total // 100, alarms


def test_fifty_sigmoid_layers_under_small_weights_vanish_at_the_first_op_in_backward_order() -> (
    None
):
    torch.manual_seed(0)
    model = stack(50, 64, nn.Sigmoid, gain=0.01 * 8)
    signal = measure(model, torch.randn(8, 64))
    first = judge(signal)[0]
    assert first.verdict is Verdict.VANISHING
    assert "gradient RMS" in first.evidence
    broken = next(op for op in signal.ops if op.path == first.where)
    reference = max(op.gradient_rms for op in signal.ops[-4:-1])
    for op in signal.ops[1:-1]:
        lost = op.gradient_rms < reference * math.exp(-thresholds.TOLERANCES["gradient decay"])
        assert lost or op.index > broken.index
    assert signal.ops[broken.index + 1].gradient_rms > 1e-4 * reference


def test_fifty_sigmoid_layers_still_vanish_under_their_gain() -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 64)
    least = []
    for gain in (0.08, 1.846229):
        signal = measure(stack(50, 64, nn.Sigmoid, gain=gain), x)
        assert judge(signal)[0].verdict is Verdict.VANISHING
        least.append(min(op.gradient_rms for op in signal.ops))
    assert least[1] > 1e3 * least[0]


def test_relu_at_three_times_its_gain_explodes() -> None:
    torch.manual_seed(0)
    model = stack(12, 64, nn.ReLU, gain=3 * math.sqrt(2))
    first = faults_of(model, torch.randn(8, 64))[0]
    assert first.verdict is Verdict.EXPLODING
    # Three times a layer: six e-folds, and what chance adds, lie after 6 to 12 layers.
    assert 6 <= int(first.where) // 2 <= 12


def test_relu_under_xavier_vanishes_at_depth_30_and_not_at_10() -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 64)
    assert faults_of(stack(30, 128, nn.ReLU, gain=1), x)[0].verdict is Verdict.VANISHING
    assert not faults_of(stack(10, 128, nn.ReLU, gain=1), x)


def test_gradient_that_grows_backward_explodes_at_the_first_op_in_backward_order() -> None:
    torch.manual_seed(0)
    # tanh at sigma_w**2 = 4 and sigma_b**2 = 0.05 has chi_1 = 1.34: 1e6 in RMS over 100 layers.
    model = stack(100, 256, nn.Tanh, gain=2, bias=SIGMA_B)
    signal = measure(model, torch.randn(8, 64))
    first = judge(signal)[0]
    assert first.verdict is Verdict.EXPLODING
    assert "gradient RMS" in first.evidence
    found = next(op.index for op in signal.ops if op.path == first.where)
    # log g**2 grows by log(chi_1) a layer from op 97 on, the reference: twice the tolerance is
    # reached where that adds up. Its own standard deviation over 50 layers, sqrt(5 * 50 / 256),
    # is 3.4 layers' growth.
    rate = math.log(1.342369)
    allowed = 2 * thresholds.TOLERANCES["gradient growth"]
    assert found == pytest.approx(97 - allowed / rate, abs=3 * math.sqrt(5 * 50 / 256) / rate)


def test_inputs_that_become_alike_collapse() -> None:
    torch.manual_seed(0)
    # In the ordered phase the spread shrinks by chi_1 = 0.759 a layer: to 1.6e-5 at depth 40,
    # while the gradient's RMS has only fallen to 0.004.
    model = stack(40, 256, nn.Tanh, gain=1, bias=SIGMA_B)
    found = faults_of(model, torch.randn(8, 64))
    assert [fault.verdict for fault in found] == [Verdict.COLLAPSED]
    assert "mean cosine" in found[0].evidence
    # exp(-6) is reached at layer 22, the allowance for chance makes it later.
    assert 20 <= int(found[0].where) // 2 <= 38


def test_inputs_that_are_alike_at_the_start_show_no_collapse() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 64).expand(8, 64)
    assert not faults_of(stack(5, 64, nn.Tanh, gain=1), x)


def test_tanh_at_gain_30_is_saturated() -> None:
    torch.manual_seed(0)
    (fault,) = faults_of(stack(5, 64, nn.Tanh, gain=30), torch.randn(8, 64))
    assert fault.verdict is Verdict.SATURATED
    # Its slope is below 5 % beyond 2.18, where N(0, 900) has 94 % of its mass.
    assert fault.where == "0"
    assert "9" in fault.evidence[0]


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_zero_weights_are_dead(activation: type[nn.Module]) -> None:
    found = faults_of(stack(5, 64, activation, gain=0), torch.randn(8, 64))
    assert (found[0].verdict, found[0].where) == (Verdict.DEAD, "0")


def test_gates_that_start_at_zero_are_not_dead_where_their_slope_is_not() -> None:
    class Gated(nn.Module):
        def __init__(self, function: nn.Module) -> None:
            super().__init__()
            self.gate, self.up, self.down = (nn.Linear(64, 64) for _ in range(3))
            self.function = function
            for each in (self.gate.weight, self.gate.bias):
                nn.init.zeros_(each)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.down(self.function(self.gate(x)) * self.up(x))

    torch.manual_seed(0)
    x = torch.randn(8, 64)
    assert Verdict.DEAD not in {each.verdict for each in faults_of(Gated(nn.SiLU()), x)}
    assert faults_of(Gated(nn.ReLU()), x)[0].verdict is Verdict.DEAD


def test_relu6_is_flat_for_half_its_inputs_by_design() -> None:
    torch.manual_seed(0)
    x = torch.randn(32, 64)
    for function in (nn.ReLU6, nn.Hardtanh):
        model = stack(3, 64, function, gain=math.sqrt(2))
        assert Verdict.SATURATED not in {each.verdict for each in faults_of(model, x)}
    assert measure(stack(1, 64, nn.ReLU6, gain=1), x).ops[0].activation == "relu6"
    steep = faults_of(stack(3, 64, nn.Hardtanh, gain=10), x)
    assert steep[0].verdict is Verdict.SATURATED


def test_zero_weights_before_sigmoids_are_asymmetric_and_dead() -> None:
    # The head moves, since sigmoid(0) is not 0, and all its inputs are and stay the same.
    found = faults_of(stack(5, 64, nn.Sigmoid, gain=0), torch.randn(8, 64))
    assert [fault.verdict for fault in found[:2]] == [Verdict.ASYMMETRIC, Verdict.DEAD]


def test_zero_weight_in_a_plain_chain_is_dead_there() -> None:
    torch.manual_seed(0)
    model = stack(5, 64, nn.ReLU, gain=math.sqrt(2))
    nn.init.zeros_(model[4].weight)
    found = faults_of(model, torch.randn(8, 64))
    assert (found[0].verdict, found[0].where) == (Verdict.DEAD, "4")


def test_head_and_branches_that_start_at_zero_are_healthy() -> None:
    torch.manual_seed(0)
    model = stack(5, 64, nn.ReLU, gain=math.sqrt(2))
    nn.init.zeros_(model[-1].weight)
    assert not faults_of(model, torch.randn(8, 64))
    residual = resnet18()
    for block in residual[3:11]:
        nn.init.zeros_(block.bn2.weight)
    assert not faults_of(residual, torch.randn(4, 3, 16, 16))
    decoder = GPT()
    for block in decoder.blocks:
        nn.init.zeros_(block.out.weight)
        nn.init.zeros_(block.down.weight)
    assert not faults_of(decoder, torch.randint(0, 100, (4, 16)))


def test_units_pushed_below_zero_for_every_input_are_dead() -> None:
    torch.manual_seed(0)
    model = stack(5, 64, nn.ReLU, gain=math.sqrt(2))
    nn.init.constant_(model[6].bias, -100.0)
    first = faults_of(model, torch.randn(8, 64))[0]
    assert (first.verdict, first.where) == (Verdict.DEAD, "6")
    assert "100% of the units" in first.evidence


def test_constant_weights_are_asymmetric_at_the_first_op() -> None:
    model = stack(3, 64, nn.Tanh, gain=1)
    for layer in model[::2]:
        nn.init.constant_(layer.weight, 0.02)
        nn.init.zeros_(layer.bias)
    first = faults_of(model, torch.randn(8, 64))[0]
    assert (first.verdict, first.where) == (Verdict.ASYMMETRIC, "0")
    assert "no step can part them" in first.evidence


def test_nan_is_broken_where_it_first_appears() -> None:
    torch.manual_seed(0)
    model = stack(5, 64, nn.ReLU, gain=math.sqrt(2))
    with torch.no_grad():
        model[4].weight[0, 0] = float("nan")
    (fault,) = faults_of(model, torch.randn(8, 64))
    assert (fault.verdict, fault.where) == (Verdict.BROKEN, "4")
    assert "8 of 512 outputs of linear are not finite" in fault.evidence


def test_gradient_that_is_not_finite_is_broken_at_the_last_op_that_has_it() -> None:
    class Root(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x * 0).abs().sqrt() + x

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), Root(), nn.Linear(4, 2))
    (fault,) = faults_of(model, torch.randn(8, 4))
    assert (fault.verdict, fault.where) == (Verdict.BROKEN, "1")
    assert "the gradient at the output of linear is not finite" in fault.evidence


def test_verdict_does_not_depend_on_the_scale_of_the_loss_or_the_order_of_inputs() -> None:
    torch.manual_seed(0)
    x, labels = torch.randn(8, 64), torch.arange(8)
    for model in (stack(30, 64, nn.Tanh, gain=1), stack(30, 128, nn.ReLU, gain=1)):

        def loss(output: torch.Tensor, target: torch.Tensor, *, scale: float = 1) -> torch.Tensor:
            return scale * nn.functional.cross_entropy(output, target)

        def scaled(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return loss(output, target, scale=1e6)

        plain = faults_of(model, x, target=labels, loss=loss)
        larger = faults_of(model, x, target=labels, loss=scaled)
        turned = faults_of(model, x.flip(0), target=labels.flip(0), loss=loss)
        for other in (larger, turned):
            assert [(f.verdict, f.where) for f in other] == [(f.verdict, f.where) for f in plain]


def test_strain_is_the_root_of_the_sum_of_squares_and_even_odds_are_at_one() -> None:
    torch.manual_seed(0)
    found = symptoms(measure(stack(30, 64, nn.ReLU, gain=1), torch.randn(8, 64)))
    shares = {each.kind: each.size / thresholds.TOLERANCES[each.kind] for each in found}
    assert strain(found) == pytest.approx(math.hypot(*shares.values()))
    assert strain(()) == 0
    # Halved variance over 30 layers: RMS and gradient lose 15 log 2 = 10.4 e-folds at the most, of
    # which the body's last three ops and the reference's take a few; chance, sqrt(5 * 30 / 64) / 2.
    chance_alone = 3.29 * math.sqrt(5 * 30 / 64) / 2
    sizes = {each.kind: each.size for each in found}
    for kind in ("decay", "gradient decay"):
        assert sizes[kind] == pytest.approx(13 * math.log(2), abs=chance_alone)
    assert chance(1.0) == 0.5
    assert chance(0.0) > 0.9
    assert chance(2.0) < 0.1


def test_a_recurrent_layer_that_forgets_vanishes_and_one_that_blows_up_explodes() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 60, 8)
    for gain, verdict in ((0.5, Verdict.VANISHING), (3.0, Verdict.EXPLODING), (1.0, None)):
        model = LastState()
        nn.init.orthogonal_(model.cell.weight_hh_l0, gain=gain)
        nn.init.normal_(model.cell.weight_ih_l0, 0, 0.05)
        first = next(iter(faults_of(model, x)), None)
        assert (first.verdict if first else None) is verdict
        if first:
            assert (first.where, "steps of rnn_tanh" in first.evidence) == ("cell", True)


class LastState(nn.Module):
    """A recurrent layer whose last state is read."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.RNN(8, 32, batch_first=True)
        self.head = nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.cell(x)[0][:, -1])


def test_attention_whose_softmax_chooses_is_saturated_and_a_mask_is_no_choice() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 16, 64)
    for scale, saturated in ((1.0, False), (30.0, True)):
        model = Decoder(64)
        with torch.no_grad():
            model.qkv.weight[:128] *= scale
        found = faults_of(model, x)
        assert [f.verdict for f in found] == ([Verdict.SATURATED] if saturated else [])


# --- the audit ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Held:
    name: str
    array: Any
    kind: str = "parameter"
    frozen: bool = False


def planned(name: str, shape: tuple[int, ...], law: Any, **changes: Any) -> Assignment:
    assignment = Assignment(
        name=name,
        region=Region(),
        shape=shape,
        role=Role.HIDDEN,
        fan_in=shape[-1],
        fan_out=shape[0],
        fed_by="relu",
        followed_by="relu",
        rule="He(mode='fan_in')",
        law=law,
        reason="",
    )
    return replace(assignment, **changes)


def plan_of(*assignments: Assignment) -> Plan:
    return Plan(assignments=assignments, kept=(), recipe="he", model_digest="")


def found(*held: Held, **kwargs: Any) -> list[tuple[str, Severity, str]]:
    kwargs.setdefault("used", [item.name for item in held])
    return [(f.code, f.severity, f.path) for f in audit(held, **kwargs)]


RNG = np.random.default_rng(0)


def draw(*shape: int, std: float = 0.1) -> Any:
    return (std * RNG.standard_normal(shape)).astype(np.float32)


def test_sound_weights_have_no_finding() -> None:
    mask = np.triu(np.full((8, 8), -np.inf), 1)
    lowest = np.triu(np.full((8, 8), np.finfo(np.float32).min), 1)
    assert not found(
        Held("a.weight", draw(32, 16)),
        Held("a.bias", np.zeros(32)),
        Held("norm.weight", np.ones(32)),
        Held("empty", np.zeros((0, 4))),
        Held("scalar", np.array(0.0)),
        Held("mask", mask, kind="buffer"),
        Held("lowest", lowest, kind="buffer"),
        used=["a.weight", "a.bias"],
    )


def test_each_unsound_weight_is_found() -> None:
    nan, inf, huge, tiny = (draw(8, 8) for _ in range(4))
    nan[0, 0], inf[1, 1], huge[2, 2], tiny[3] = np.nan, np.inf, 1e30, 1e-40
    twins = draw(16, 16)
    twins[5] = twins[9]
    original = draw(8, 8)
    error, warning, note = Severity.ERROR, Severity.WARNING, Severity.NOTE
    assert found(
        Held("nan", nan),
        Held("inf", inf),
        Held("huge", huge),
        Held("tiny", tiny),
        Held("buffer", np.array([np.nan]), kind="buffer"),
        Held("constant", np.full((4, 4), 0.5)),
        Held("blur", np.full((4, 4), 0.25), frozen=True),
        Held("zero", np.zeros((4, 4))),
        Held("twins", twins),
        Held("original", original),
        Held("clone", original.copy()),
    ) == [
        ("nonfinite", error, "nan"),
        ("nonfinite", error, "inf"),
        ("uninitialized", error, "huge"),
        ("uninitialized", error, "tiny"),
        ("nonfinite", error, "buffer"),
        ("constant", error, "constant"),
        ("constant-frozen", note, "blur"),
        ("zero-weight", note, "zero"),
        ("identical-units", warning, "twins"),
        ("duplicate", warning, "clone"),
    ]


def test_findings_carry_the_number_and_a_cure() -> None:
    array = np.full((4, 4), 0.5)
    (finding,) = audit([Held("fc.weight", array)], used=["fc.weight"])
    assert "(4, 4): all elements are 0.5" in finding.message
    assert finding.cure == "xavier.init_(model, example, recipe=\"auto\", only=['fc.weight'])"


def test_weights_with_their_law_pass_over_many_models() -> None:
    generator = np.random.default_rng(1)
    alarms = 0
    for _ in range(100):
        held, assignments = [], []
        for i in range(20):
            size = int(generator.integers(8, 40))
            array = generator.standard_normal((size, 30)) * 0.2
            held.append(Held(f"w{i}", array))
            assignments.append(planned(f"w{i}", array.shape, Normal(0.0, 0.2)))
        alarms += bool(found(*held, plan=plan_of(*assignments)))
    # At a level of 1e-3 a model 100 models give 0.1 alarms: 3 or more have probability 1.5e-4.
    assert alarms <= 2


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1, math.sqrt(2)])
def test_wrong_gain_is_found(factor: float) -> None:
    array = draw(100, 100, std=0.1 * factor)
    plan = plan_of(planned("w", (100, 100), Normal(0.0, 0.1)))
    # Ten percent are 20 standard deviations of the 1/sqrt(2 n) = 0.7 % of ten thousand elements.
    assert found(Held("w", array), plan=plan) == [("std-off-recipe", Severity.NOTE, "w")]
    asked = found(Held("w", array), plan=plan, severity=Severity.WARNING)
    assert asked == [("std-off-recipe", Severity.WARNING, "w")]


def test_regions_are_judged_apart() -> None:
    array = np.concatenate([draw(50, 50, std=0.1), draw(50, 50, std=0.4)])
    halves = [
        planned("w", (50, 50), Normal(0.0, std), region=Region(0, ((start, start + 50),)))
        for start, std in ((0, 0.1), (50, 0.4))
    ]
    assert not found(Held("w", array), plan=plan_of(*halves))
    swapped = [replace(half, law=Normal(0.0, 0.2)) for half in halves]
    assert len(found(Held("w", array), plan=plan_of(*swapped))) == 2


def test_unscaled_residual_writer_and_dead_truncation_have_names_of_their_own() -> None:
    writer = planned("w", (60, 60), Normal(0.0, 0.05), role=Role.RESIDUAL)
    assert found(Held("w", draw(60, 60)), plan=plan_of(writer))[0][0] == "residual-unscaled"
    law = TruncatedNormal(0.0, 0.1)
    cut = planned("w", (60, 60), law)
    assert found(Held("w", draw(60, 60)), plan=plan_of(cut))[0][0] == "truncation-dead"
    bound = laws.support(law)[1]
    inside = scipy.stats.truncnorm.rvs(-2, 2, scale=bound / 2, size=(60, 60), random_state=0)
    assert not found(Held("w", inside), plan=plan_of(cut))


def test_uniform_weights_pass_under_a_uniform_law() -> None:
    array = np.random.default_rng(2).uniform(-0.3, 0.3, (80, 80))
    assert not found(Held("w", array), plan=plan_of(planned("w", (80, 80), Uniform(-0.3, 0.3))))


@pytest.mark.parametrize("size", [20, 200, 10_000])
@pytest.mark.parametrize("quantile", [1e-6, 1e-3, 0.2, 0.9, 0.9999])
def test_chi_square_p_value_is_right(size: int, quantile: float) -> None:
    ratio = scipy.stats.chi2.ppf(quantile, size - 1) / (size - 1)
    expected = 2 * min(quantile, 1 - quantile)
    # Far out in the tail of twenty elements it errs on the cautious side.
    assert abs(math.log10(_chi_square_p(ratio, size) / expected)) < (0.4 if size == 20 else 0.06)


def test_tensors_outside_the_parameters_are_found() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[0].extra = torch.ones(3, requires_grad=True)
    model[1].cache = torch.ones(3)
    model[1].register_parameter("weight_g", nn.Parameter(torch.ones(4, 1)))
    model[1].register_parameter("weight_v", model[1].weight)
    value = model[1].weight.detach()
    del model[1].weight
    model[1].weight = value
    findings = unregistered(_stored.unregistered(model))
    assert [(f.code, f.path) for f in findings] == [
        ("unregistered-weight", "0.extra"),
        ("parametrization-forgotten", "1.weight"),
    ]
    assert findings[0].cure == "model.0.extra = torch.nn.Parameter(model.0.extra.detach())"


def test_effective_weight_stands_for_its_parametrization() -> None:
    model = nn.utils.parametrizations.weight_norm(nn.Linear(6, 5))
    held = list(_stored.stored(model))
    assert [(item.kind, item.name) for item in held] == [
        ("parameter", "bias"),
        ("effective", "weight"),
    ]
    np.testing.assert_allclose(held[1].array, model.weight.detach().numpy())


# --- check -------------------------------------------------------------------------------------


def test_check_of_a_fresh_model_is_healthy_with_notes_only() -> None:
    torch.manual_seed(0)
    outcome = check(plain_cnn(8), torch.randn(4, 3, 10, 10))
    assert isinstance(outcome, Check)
    assert (outcome.verdict, outcome.verdicts) == (Verdict.HEALTHY, (Verdict.HEALTHY,))
    assert (outcome.where, outcome.cure) == ("", "")
    assert "9 ops that hold a weight" in outcome.evidence
    assert {finding.severity for finding in outcome.findings} <= {Severity.NOTE}


def test_check_holds_the_weights_against_the_recipe_that_is_asked_for() -> None:
    torch.manual_seed(0)
    model, x = stack(3, 64, nn.ReLU, gain=1), torch.randn(8, 64)
    codes = {(f.code, f.severity) for f in check(model, x, recipe="he").findings}
    assert ("std-off-recipe", Severity.WARNING) in codes
    codes = {(f.code, f.severity) for f in check(model, x).findings}
    assert ("std-off-recipe", Severity.NOTE) in codes
    with pytest.raises(UnknownNameError, match="unknown recipe 'hee'"):
        check(model, x, recipe="hee")


def test_cure_is_a_line_that_mends_or_the_change_that_must_be_made() -> None:
    import xavier.planning as xavier

    torch.manual_seed(0)
    # PyTorch's own gain; at 1 this width and depth leave it to chance.
    model, example = stack(30, 64, nn.ReLU, gain=1 / math.sqrt(3)), torch.randn(8, 64)
    sick = check(model, example)
    assert sick.verdict is Verdict.VANISHING
    assert sick.cure == 'xavier.init_(model, example, recipe="auto")'
    exec(sick.cure, {"xavier": xavier, "model": model, "example": example})
    assert check(model, example, recipe="auto").verdict is Verdict.HEALTHY

    model = stack(50, 64, nn.Sigmoid, gain=1)
    xavier.init_(model, example, recipe="auto", seed=0)
    lost = check(model, example)
    assert lost.verdict is Verdict.VANISHING
    assert lost.where
    assert lost.cure.startswith(f"no initialization mends this at `{lost.where}`")
    assert "normalization" in lost.cure


def test_every_verdict_has_a_cure() -> None:
    for verdict in Verdict:
        for drawn in (True, False):
            line = cures.cure(verdict, "here", drawn_by_auto=drawn)
            assert bool(line) == (verdict is not Verdict.HEALTHY)


def test_check_changes_nothing() -> None:
    torch.manual_seed(0)
    model, x = resnet18(), torch.randn(4, 3, 16, 16)
    before, rng = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    check(model, x, jacobian=True)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), rng)
    assert model.training


def test_check_refuses_what_is_no_model() -> None:
    with pytest.raises(TraceError, match=r"a type was given, expected a torch\.nn\.Module"):
        check(nn.Linear, torch.ones(1))
    with pytest.raises(TraceError, match="shapes cannot be multiplied"):
        check(nn.Linear(4, 4), torch.ones(2, 5))


def test_untraceable_model_is_still_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    import xavier.planning.api

    def refuse(*_: Any, **__: Any) -> Plan:
        raise TraceError("too strange")

    monkeypatch.setattr(xavier.planning.api, "plan_of", refuse)
    torch.manual_seed(0)
    outcome = check(stack(3, 64, nn.Tanh, gain=1), torch.randn(8, 64))
    assert outcome.verdict is Verdict.HEALTHY
    assert outcome.findings == (
        Finding(
            "no-plan",
            Severity.NOTE,
            "",
            "no plan could be made, so no law was held against a weight: too strange",
        ),
    )


class Merged(nn.Module):
    """A dense layer with an adapter that is merged into its weight."""

    def __init__(self, rank: int = 4) -> None:
        super().__init__()
        self.b = nn.Linear(16, 16)
        self.down = nn.Parameter(torch.randn(rank, 16) / 4)
        self.up = nn.Parameter(torch.zeros(16, rank))
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.b.weight + self.up @ self.down
        return self.head(nn.functional.linear(x, weight, self.b.bias).relu())


def test_an_adapter_of_zeros_that_is_merged_into_a_weight_is_healthy() -> None:
    torch.manual_seed(0)
    model = Merged()
    init_(model, torch.randn(32, 16), seed=0)
    assert not model.up.any()
    assert check(model, torch.randn(32, 16)).verdict is Verdict.HEALTHY


def test_a_merged_weight_that_is_zero_is_dead_although_its_parts_are_not() -> None:
    torch.manual_seed(0)
    model = Merged()
    with torch.no_grad():
        model.up.copy_(torch.eye(16)[:, :4])
        model.b.weight.copy_(-model.up @ model.down)
    found = check(model, torch.randn(32, 16))
    assert found.verdict is Verdict.DEAD
    assert found.evidence == "the weight of the only op before the last is zero"


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.LSTMCell])
def test_a_recurrence_without_memory_at_the_start_is_not_dead(cell: type[nn.Module]) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = cell(16, 16)
            self.head = nn.Linear(16, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.cell(x)[0])

    torch.manual_seed(0)
    model = Model()
    for name, parameter in model.named_parameters():
        if "weight_hh" in name:
            nn.init.zeros_(parameter)
    shape = (32, 16) if cell is nn.LSTMCell else (32, 5, 16)
    assert Verdict.DEAD not in check(model, torch.randn(*shape)).verdicts


class FinalState(nn.Module):
    """A recurrent layer of which only the state is used, or only the memory."""

    def __init__(self, *, memory: bool, **settings: Any) -> None:
        super().__init__()
        self.cell = nn.LSTM(8, 16, **settings)
        self.head = nn.Linear(settings.get("proj_size", 16), 4)
        self.memory = memory

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, (state, memory) = self.cell(x)
        return self.head((memory if self.memory else state)[-1])


@pytest.mark.parametrize("memory", [True, False])
@pytest.mark.parametrize("layers", [1, 3])
def test_a_recurrent_layer_of_which_the_last_state_is_used_is_checked(
    memory: bool, layers: int
) -> None:
    model = FinalState(memory=memory, num_layers=layers)
    found = check(model, torch.randn(12, 3, 8))
    assert found.verdict is Verdict.HEALTHY
    assert len(found.signal.ops[0].step_gradients or ()) == 12


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")  # torch's
def test_a_projected_recurrent_layer_is_checked() -> None:
    found = check(FinalState(memory=False, proj_size=6), torch.randn(12, 3, 8))
    assert found.verdict is Verdict.HEALTHY
    assert found.theory is not None  # its state feeds on itself, twice


def test_a_large_gradient_counts_as_much_less_as_the_output_there_is_small() -> None:
    torch.manual_seed(0)
    signal = measure(stack(8, 64, nn.Tanh, gain=1), torch.randn(8, 64))
    first, *rest = signal.ops
    last = max(op.rms for op in signal.ops[-4:-1])
    sizes, texts = [], []
    for rms in (last, last / 10):
        op = replace(first, rms=rms, gradient_rms=1e4)
        found = {each.kind: each for each in symptoms(replace(signal, ops=(op, *rest)))}
        sizes.append(found["gradient growth"].size)
        texts.append(found["gradient growth"].evidence)
    assert sizes[0] - sizes[1] == pytest.approx(math.log(10))
    assert "both times" not in texts[0]
    assert texts[1].endswith("both times the RMS of the output there")


@pytest.mark.parametrize("end", [torch.log, lambda z: z.masked_fill(z < 0, math.nan)])
def test_an_output_that_is_not_finite_is_broken_and_a_mask_is_not(end: Any) -> None:
    class Ended(nn.Module):
        def __init__(self, end: Any) -> None:
            super().__init__()
            self.head, self.end = nn.Linear(8, 4), end

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            z = self.head(x)
            return z, self.end(z)

    torch.manual_seed(0)
    x = torch.randn(16, 8)
    found = check(Ended(end), x)
    assert (found.verdict, found.where) == (Verdict.BROKEN, "head")
    assert "output holds NaN" in found.evidence
    masked = check(Ended(lambda z: z.masked_fill(z < 0, -math.inf)), x)
    assert masked.verdict is Verdict.HEALTHY
