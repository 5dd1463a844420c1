"""The zoo: every model runs, is what it says it is, and can be completed from the meta device."""

from __future__ import annotations

import math
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from xavier import zoo
from xavier._errors import UnknownNameError

NAMES = zoo.names()

# What no gradient reaches: frozen, or out of this run's reach.
UNREACHED = {
    "unused_parameter": {"forgotten", "heads.1.weight", "heads.1.bias"},
    "lora": {f"layers.{at}.base.{part}" for at in range(3) for part in ("weight", "bias")},
}


def on_meta(name, **kwargs):
    with torch.device("meta"):
        return zoo.build(name, **kwargs)


def run(model, example):
    return model(**example) if isinstance(example, dict) else model(example)


def to_meta(example):
    if isinstance(example, dict):
        return {key: value.to("meta") for key, value in example.items()}
    return example.to("meta")


def tensors(example):
    return list(example.values()) if isinstance(example, dict) else [example]


def count(model):
    return sum(each.numel() for each in model.parameters())


def reset(model):
    """Ask every owner, the inner ones first; torch's own attention hides the method's name."""
    for module in reversed(list(model.modules())):
        for method in ("reset_parameters", "_reset_parameters"):
            if hasattr(module, method):
                getattr(module, method)()


# ---------------------------------------------------------------- every model


@pytest.mark.parametrize("name", NAMES)
def test_a_model_runs_on_its_example_and_sends_a_gradient_to_every_parameter(name):
    torch.manual_seed(0)
    model = zoo.build(name)
    output = run(model, zoo.example(name))
    assert torch.isfinite(output).all()
    assert output.shape[0] == 2
    assert output.var() > 0
    (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
    without = {key for key, each in model.named_parameters() if each.grad is None}
    assert without == UNREACHED.get(name, set())
    assert all(each.grad.isfinite().all() for each in model.parameters() if each.grad is not None)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_built_and_runs_on_meta_alone(name):
    state = torch.get_rng_state()
    model, example = on_meta(name), zoo.example(name)
    held = [*model.named_parameters(), *model.named_buffers()]
    assert {each.device.type for _, each in held} == {"meta"}
    output = run(model, to_meta(example))
    assert output.device.type == "meta"
    assert torch.equal(torch.get_rng_state(), state)
    assert output.shape == run(zoo.build(name), example).shape


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_the_same_each_time_and_another_with_another_seed(name):
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    with torch.device("meta"):
        first = zoo.example(name)
    model = on_meta(name)
    for other in (zoo.example(name), model.example_input(), zoo.example(name, batch=2, seed=0)):
        assert all(map(torch.equal, tensors(first), tensors(other)))
    assert not any(map(torch.equal, tensors(first), tensors(zoo.example(name, seed=1))))
    assert all(each.device.type == "cpu" for each in tensors(first))
    assert {len(each) for each in tensors(zoo.example(name, batch=5))} == {5}
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_a_batch_do_not_touch_each_other(name):
    torch.manual_seed(0)
    model = zoo.build(name).eval()
    example = zoo.example(name, batch=3)
    whole = run(model, example)
    one = {key: each[:1] for key, each in example.items()} if isinstance(example, dict) else (
        example[:1]
    )  # fmt: skip
    row = run(model, one)
    expected = whole[:1, :1] if name == "clip_like" else whole[:1]
    assert torch.allclose(row, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt", "llama", "lstm", "mamba_block"])
def test_no_place_sees_what_comes_after_it(name):
    torch.manual_seed(0)
    model = zoo.build(name)
    example = zoo.example(name)
    half = example.shape[1] // 2
    assert torch.allclose(model(example[:, :half]), model(example)[:, :half], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_building_draws_what_torchs_constructors_draw_and_from_torch_alone(name):
    states = np.random.get_state()[1].copy(), random.getstate()
    torch.manual_seed(3)
    first = zoo.build(name).state_dict()
    torch.manual_seed(3)
    second = zoo.build(name).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert np.array_equal(np.random.get_state()[1], states[0])
    assert random.getstate() == states[1]


# What each model holds on purpose, by the names of parameters and buffers.
DELIBERATE = {
    "layer_scaled": {f"blocks.{at}.scale.gamma" for at in range(8)},
    "llama": {
        *(f"blocks.{at}.norm{which}.weight" for at in range(3) for which in (1, 2)),
        *(f"blocks.{at}.attention.rotary.cosines" for at in range(3)),
        *(f"blocks.{at}.attention.rotary.sines" for at in range(3)),
        "norm.weight",
    },
    "mamba_block": {"mixer.A_log", "mixer.D", "mixer.dt_proj.bias"},
    "clip_like": {"logit_scale", "image.class_token"},
    "lora": {f"layers.{at}.lora_B" for at in range(3)},
    "unused_parameter": {"forgotten"},
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_owners_complete_a_meta_build_with_the_values_of_the_real_one(name):
    """Everything that two builds agree in, `reset_parameters` writes to empty memory."""
    torch.manual_seed(0)
    first = dict((*(model := zoo.build(name)).named_parameters(), *model.named_buffers()))
    second = dict((*(model := zoo.build(name)).named_parameters(), *model.named_buffers()))
    fixed = {
        key
        for key in first
        if torch.equal(first[key], second[key]) and "parametrizations" not in key
    }
    assert DELIBERATE.get(name, set()) <= fixed
    completed = on_meta(name).to_empty(device="cpu")
    with torch.no_grad():
        for each in (*completed.parameters(), *completed.buffers()):
            each.fill_(77)
    reset(completed)
    held = dict((*completed.named_parameters(), *completed.named_buffers()))
    assert {key for key in fixed if not torch.equal(held[key], first[key])} == set()


@pytest.mark.parametrize("name", [*DELIBERATE, "gpt", "mixture_of_experts", "unet", "resnet18"])
def test_owners_leave_no_memory_unwritten(name):
    completed = on_meta(name).to_empty(device="cpu")
    with torch.no_grad():
        for each in (*completed.parameters(), *completed.buffers()):
            each.fill_(77)
    torch.manual_seed(0)
    reset(completed)
    held = (*completed.named_parameters(), *completed.named_buffers())
    assert {key for key, each in held if (each == 77).any()} == set()


def test_deliberate_values_are_those_of_the_papers():
    mamba = zoo.mamba_block(states=16).mixer
    assert torch.allclose(mamba.A_log.exp(), torch.arange(1.0, 17.0).expand(128, 16), rtol=1e-6)
    assert (mamba.D == 1).all()
    steps = nn.functional.softplus(mamba.dt_proj.bias.double())
    assert torch.allclose(steps.log().diff(), torch.tensor(math.log(100) / 127).double(), rtol=1e-2)
    assert steps.min().item() == pytest.approx(1e-3, rel=1e-5)
    assert steps.max().item() == pytest.approx(1e-1, rel=1e-5)
    assert zoo.clip_like().logit_scale.item() == pytest.approx(2.6593, abs=1e-4)
    assert all((block.scale.gamma == 1e-5).all() for block in zoo.layer_scaled().blocks)
    rotary = zoo.llama().blocks[0].attention.rotary
    turns = 10000.0 ** (-np.arange(16) / 16) * np.arange(64)[:, None]
    assert np.allclose(rotary.cosines.numpy(), np.tile(np.cos(turns), 2), atol=1e-6)
    assert np.allclose(rotary.sines.numpy(), np.tile(np.sin(turns), 2), atol=1e-6)
    assert {key for key in zoo.llama().state_dict() if "rotary" in key} == set()


# ---------------------------------------------------------------- what each one is


@pytest.mark.parametrize(
    ("name", "kwargs", "parameters"),
    [
        ("deep_sigmoid_mlp", {"depth": 3, "width": 5, "in_features": 4, "out_features": 2}, 97),
        ("resnet18", {"width": 64, "classes": 1000}, 11_689_512),  # torchvision's
        (
            "gpt",  # the smallest GPT-2's
            {"vocabulary": 50257, "context": 1024, "depth": 12, "width": 768, "heads": 12},
            124_439_808,
        ),
        ("lstm", {"vocabulary": 10, "width": 8, "depth": 1}, 80 + 4 * (64 + 64 + 16) + 90),
        ("unused_parameter", {"width": 4, "in_features": 3, "out_features": 2}, 16 + 20 + 16 + 20),
    ],
)
def test_parameters_are_as_many_as_they_should_be(name, kwargs, parameters):
    assert count(on_meta(name, **kwargs)) == parameters


def test_deep_stacks_have_their_depth_and_activation():
    for name, depth, function in (
        ("deep_sigmoid_mlp", 50, torch.sigmoid),
        ("deep_tanh_mlp", 20, torch.tanh),
    ):
        model, x = zoo.build(name), zoo.example(name)
        assert [each.out_features for each in model.layers] == [128] * depth
        y = x
        for layer in model.layers:
            y = function(layer(y))
        assert torch.equal(model(x), model.head(y))


def test_the_plain_net_has_thirty_convolutions_and_neither_norm_nor_skip():
    model = zoo.plain_relu_cnn()
    convolutions = [each for each in model.modules() if isinstance(each, nn.Conv2d)]
    assert len(convolutions) == 30
    assert [each.out_channels for each in convolutions] == [16] * 10 + [32] * 10 + [64] * 10
    assert [at for at, each in enumerate(convolutions) if each.stride == (2, 2)] == [10, 20]
    assert not [each for each in model.modules() if "Norm" in type(each).__name__]
    digits = zoo.plain_relu_cnn(in_channels=1, classes=10)(torch.zeros(4, 1, 8, 8))
    assert digits.shape == (4, 10)


def test_the_plain_nets_borders_keep_the_variance():
    # With reflected borders every output element is a sum of 9 c products, so that weights of
    # variance 1 / (9 c) keep the second moment, borders included.
    torch.manual_seed(0)
    layer = zoo.plain_relu_cnn(depth=2, in_channels=64).layers[0]
    ratios = []
    for _ in range(50):
        nn.init.normal_(layer.weight, std=1 / math.sqrt(9 * 64))
        nn.init.zeros_(layer.bias)
        x = torch.randn(2, 64, 4, 4)
        ratios.append((layer(x).pow(2).mean() / x.pow(2).mean()).item())
    assert abs(np.mean(ratios) - 1) < 5 * np.std(ratios) / math.sqrt(50)


def test_unet_has_grouped_depthwise_strided_and_transposed_convolutions():
    model = zoo.unet()
    convolutions = [each for each in model.modules() if isinstance(each, nn.Conv2d)]
    transposed = [each for each in model.modules() if isinstance(each, nn.ConvTranspose2d)]
    assert any(1 < each.groups < each.in_channels for each in convolutions)
    assert any(each.groups == each.in_channels > 1 for each in convolutions)
    assert any(each.stride == (2, 2) and each.kernel_size == (4, 4) for each in convolutions)
    assert {each.groups for each in transposed} == {1, 4}
    assert {each.kernel_size[0] for each in transposed} == {2, 4}
    assert model(zoo.example("unet")).shape == zoo.example("unet").shape


def test_gpt_packs_its_projections_and_ties_its_head():
    model = zoo.gpt()
    assert model.head.weight is model.tokens.weight
    assert on_meta("gpt").head.weight is not None
    meta = on_meta("gpt")
    assert meta.head.weight is meta.tokens.weight
    assert "head.weight" not in dict(model.named_parameters())
    assert all(each.attention.qkv.weight.shape == (384, 128) for each in model.blocks)


def test_gpt_attends_as_written_out():
    torch.manual_seed(0)
    layer = zoo.gpt(width=64, heads=2).blocks[0].attention
    x = torch.randn(1, 5, 64)
    query, key, value = layer.qkv(x)[0].view(5, 3, 2, 32).permute(1, 2, 0, 3)
    scores = query @ key.transpose(1, 2) / math.sqrt(32)
    scores = scores.masked_fill(torch.ones(5, 5).triu(1).bool(), -math.inf)
    mixed = (scores.softmax(-1) @ value).transpose(0, 1).reshape(1, 5, 64)
    assert torch.allclose(layer(x), layer.out(mixed), atol=1e-6)


def test_llama_shares_keys_and_values_and_unties_its_head():
    model = zoo.llama(width=128, heads=8, kv_heads=2)
    layer = model.blocks[0].attention
    assert layer.q.weight.shape == (128, 128)
    assert layer.k.weight.shape == layer.v.weight.shape == (32, 128)
    assert model.head.weight is not model.tokens.weight
    assert not [each for each in model.modules() if isinstance(each, nn.LayerNorm | nn.RMSNorm)]
    assert not [key for key in model.state_dict() if key.endswith("bias")]


def test_llamas_norm_is_the_root_mean_square():
    torch.manual_seed(0)
    x = torch.randn(4, 128) * 7
    norm = zoo.llama().norm
    own = nn.functional.rms_norm(x, (128,), eps=norm.epsilon)
    assert torch.allclose(norm(x), own, atol=1e-6)


def test_rotary_positions_leave_lengths_and_depend_on_distance_alone():
    torch.manual_seed(0)
    rotary = zoo.llama().blocks[0].attention.rotary
    query, key = torch.randn(32).expand(40, 32), torch.randn(32).expand(40, 32)
    turned, other = rotary(query), rotary(key)
    assert torch.allclose(turned.norm(dim=-1), query.norm(dim=-1), rtol=1e-5)
    products = turned @ other.t()
    for distance in (0, 3, 11):
        diagonal = products.diagonal(distance)
        assert torch.allclose(diagonal, diagonal[0].expand_as(diagonal), atol=1e-4)


def test_experts_are_stacked_and_each_token_gets_its_best():
    torch.manual_seed(0)
    block = zoo.mixture_of_experts().blocks[0]
    assert block.experts.gate_up.shape == (4, 64, 256)
    assert block.experts.down.shape == (4, 128, 64)
    x = torch.randn(5, 64)
    y = block.norm(x)
    logits = block.router(y)
    for row, token in enumerate(y):
        best = logits[row].argsort(descending=True)[:2]
        share = logits[row][best].softmax(0)
        expected = x[row].clone()
        for gate, expert in zip(share, best, strict=True):
            hidden = token @ block.experts.gate_up[expert]
            activated = nn.functional.silu(hidden[:128]) * hidden[128:]
            expected = expected + gate * (activated @ block.experts.down[expert])
        assert torch.allclose(block(x)[row], expected, atol=1e-5)


def test_mamba_scans_as_its_recurrence_says():
    torch.manual_seed(0)
    mixer = zoo.mamba_block(width=8, states=3).mixer
    x, steps = torch.randn(1, 6, 16), torch.rand(1, 6, 16)
    into, outof = torch.randn(1, 6, 3), torch.randn(1, 6, 3)
    found = mixer._scan(x, steps, into, outof)
    state = torch.zeros(16, 3)
    for at in range(6):
        kept = torch.exp(-steps[0, at, :, None] * mixer.A_log.exp())
        state = kept * state + steps[0, at, :, None] * into[0, at] * x[0, at, :, None]
        assert torch.allclose(found[0, at], state @ outof[0, at], atol=1e-5)


def test_every_weight_of_the_normalized_models_is_parametrized():
    for name, parts in (("weight_normed", 2), ("spectral_normed", 1)):
        model = zoo.build(name)
        layers = [
            each for each in model.modules() if hasattr(each, "bias") and each.bias is not None
        ]
        assert layers
        for layer in layers:
            assert parametrize.is_parametrized(layer, "weight")
            assert len(list(layer.parametrizations.weight.parameters())) == parts


def test_spectral_norms_are_one():
    torch.manual_seed(0)
    model = zoo.spectral_normed()
    for layer in (model.dense, model.head):
        norm = torch.linalg.matrix_norm(layer.weight, 2).item()
        assert norm == pytest.approx(1, rel=0.05)


def test_the_hypernetwork_stores_no_hidden_weight():
    torch.manual_seed(0)
    model, x = zoo.hypernetwork(), zoo.example("hypernetwork")
    assert {key for key, _ in model.named_children()} == {"codes", "inner", "outer", "head"}
    weights = model.outer(model.inner(model.codes.weight).tanh()).view(2, 64, 64) / 8
    hidden = (x @ weights[0].t()).relu() @ weights[1].t()
    assert torch.allclose(model(x), model.head(hidden.relu()), atol=1e-5)


def test_adapters_add_nothing_at_first_and_bases_are_frozen():
    torch.manual_seed(0)
    model, x = zoo.lora(), zoo.example("lora")
    y = x
    for layer in model.layers:
        y = layer.base(y).relu()
        assert not layer.base.weight.requires_grad
        assert layer.lora_A.any()
    assert torch.equal(model(x), model.head(y))


def test_the_unused_are_not_used():
    model, x = zoo.unused_parameter(), zoo.example("unused_parameter")
    before = model(x)
    with torch.no_grad():
        model.forgotten.fill_(math.nan)
        model.heads[1].weight.fill_(math.nan)
    assert torch.equal(model(x), before)
    assert not torch.isfinite(model(x, domain=1)).any()


def test_two_towers_compare_all_pictures_with_all_texts():
    torch.manual_seed(0)
    model, example = zoo.clip_like(), zoo.example("clip_like", batch=5)
    cosines = model(**example) / math.exp(model.logit_scale.item())
    assert cosines.shape == (5, 5)
    assert cosines.abs().max() <= 1 + 1e-5
    assert model.logit_scale.shape == ()


def test_layer_scaled_blocks_start_nearly_closed():
    torch.manual_seed(0)
    model, x = zoo.layer_scaled(), zoo.example("layer_scaled")
    stream = model.stem(x)
    assert torch.allclose(model.blocks(stream), stream, atol=1e-3)
    assert not torch.equal(model.blocks(stream), stream)


def test_custom_activations_are_their_formulas():
    torch.manual_seed(0)
    model = zoo.custom_activations().double()
    formulas = model.formulas()
    names = [name for name, each in model.named_parameters() if name.endswith("weight")]
    assert list(formulas) == names[1:]
    assert [model.before(name) for name in names[1:]] == names[:-1]
    x = torch.randn(64, 64, dtype=torch.float64) * 3
    for layer, (name, formula) in zip(model.layers, formulas.items(), strict=True):
        pre = layer(x)
        grid = torch.cat([pre.flatten(), torch.linspace(-9, 9, 999, dtype=torch.float64)])
        function = model._activations[list(formulas).index(name)]
        assert np.allclose(function(grid).detach().numpy(), formula(grid.detach().numpy()))
        x = function(pre)
    assert len({each.__name__ for each in model._activations}) == 6


# ---------------------------------------------------------------- the registry


def test_every_factory_has_an_entry_and_every_entry_a_summary():
    factories = {entry.name: entry.factory for entry in zoo.entries()}
    assert tuple(factories) == NAMES
    assert len(NAMES) == 18
    assert all(getattr(zoo, name) is factory for name, factory in factories.items())
    for entry in zoo.entries():
        assert entry.summary.startswith("Build ")
        assert entry.to_dict() == {"name": entry.name, "summary": entry.summary}
    helpers = {"ZooEntry", "build", "entries", "example", "names"}
    assert set(zoo.__all__) == {*NAMES, *helpers} <= set(dir(zoo))


def test_build_hands_its_arguments_on():
    assert len(zoo.build("gpt", depth=2).blocks) == 2


@pytest.mark.parametrize("ask", [zoo.build, zoo.example])
def test_an_unknown_model_gets_the_nearest_names(ask):
    with pytest.raises(UnknownNameError, match=r"unknown model of the zoo 'gptt'\nHint: .*gpt"):
        ask("gptt")


def test_an_unknown_attribute_is_one():
    with pytest.raises(AttributeError, match=r"module 'xavier\.zoo' has no attribute 'vgg'"):
        _ = zoo.vgg


def test_the_page_on_the_zoo_names_every_model():
    from pathlib import Path

    page = (Path(__file__).parents[1] / "docs" / "zoo.md").read_text()
    assert not [name for name in NAMES if f"`{name}`" not in page]


def in_a_new_process(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_importing_the_zoo_imports_no_torch():
    code = "import sys; from xavier import zoo; print('torch' in sys.modules, dir(zoo))"
    assert in_a_new_process(code).startswith("False")


def test_without_torch_the_line_that_installs_it_is_told():
    code = """
import sys
sys.modules["torch"] = None
from xavier import zoo
try:
    zoo.gpt
except ImportError as error:
    print(type(error).__name__, error)
"""
    told = in_a_new_process(code)
    assert told.startswith("MissingFrameworkError torch is not installed")
    assert "pip install 'xavier-init[torch]'" in told
