"""What each model of the zoo is: its architecture, its sizes, its deliberate values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from xavier import zoo


def on_meta(name, **kwargs):
    with torch.device("meta"):
        return zoo.build(name, **kwargs)


def count(model):
    return sum(each.numel() for each in model.parameters())


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
