"""A model held against what it was: every finding has a model with the fault and a twin without."""

from __future__ import annotations

import json
import os
import pickle
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import xavier
from cli_models import refused, run
from xavier._errors import PlanError, TargetError, UnknownNameError
from xavier.frameworks.torch._reference import matched, opened

EXAMPLE = torch.randn(32, 8, generator=torch.Generator().manual_seed(0))


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))


def snapshot(model):
    return {name: each.clone() for name, each in model.state_dict().items()}


def fates(found):
    return {each.name: each.fate.value for each in found.changes}


def codes(found):
    return [(each.code, each.path) for each in found.findings]


# What became of each tensor


def test_every_tensor_has_its_fate():
    model = net()
    before = snapshot(model)
    before["0.bias"] = torch.zeros(5)
    before["2.weight"] = before["2.weight"].double()
    before["9.weight"] = torch.zeros(3)
    del before["2.bias"]
    with torch.no_grad():
        model[0].weight[0, 0] *= 2
    found = xavier.contrast(model, before)
    assert fates(found) == {
        "0.weight": "changed",
        "0.bias": "reshaped",
        "2.weight": "rounded",
        "2.bias": "only here",
        "9.weight": "only there",
    }
    change = found.changes[0]
    old, new = before["0.weight"].double(), model[0].weight.detach().double()
    expected = float((new - old).square().sum().sqrt() / old.square().sum().sqrt())
    assert change.difference == pytest.approx(expected, rel=1e-12)
    assert found.changes[1].there == "float32 (5,)"
    assert found.changes[2].there == "float64 (2, 8)"


def test_one_bit_of_a_large_tensor_is_a_change_and_nan_equals_nan():
    model = nn.Linear(2048, 2049, bias=False)
    before = snapshot(model)
    assert fates(xavier.contrast(model, before)) == {"weight": "unchanged"}
    flat = model.weight.detach().view(-1)
    flat[-1] = torch.nextafter(flat[-1], torch.tensor(9.0))
    assert fates(xavier.contrast(model, before)) == {"weight": "changed"}
    flat[-1] = torch.nan
    assert fates(xavier.contrast(model, snapshot(model))) == {"weight": "unchanged"}
    assert xavier.contrast(model, before).changes[0].difference == float("inf")


def test_tied_weights_count_once_and_integers_are_compared():
    model = net()
    model.register_buffer("places", torch.arange(4))
    model[2].weight = nn.Parameter(torch.zeros(8, 8))
    model[2].weight = model[0].weight
    before = snapshot(model)
    model.places[1] = 7
    found = fates(xavier.contrast(model, before))
    assert found == {
        "places": "changed",
        "0.weight": "unchanged",
        "0.bias": "unchanged",
        "2.bias": "unchanged",
    }


def test_the_model_is_read_alone():
    model = net()
    before, versions = snapshot(model), [each._version for each in model.parameters()]
    xavier.contrast(model, net())
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())
    assert [each._version for each in model.parameters()] == versions


# Findings: the fault, and a twin without it


def test_a_weight_that_was_missed_is_not_drawn():
    model = net()
    before, plan = snapshot(model), xavier.plan(model, EXAMPLE)
    nn.init.xavier_normal_(model[0].weight)
    assert codes(xavier.contrast(model, before, plan=plan)) == [("not-drawn", "2.weight")]
    nn.init.xavier_normal_(model[2].weight)
    assert not xavier.contrast(model, before, plan=plan).findings


def test_a_loaded_weight_that_was_drawn_again_is_drawn_over():
    model = net()
    loaded = snapshot(model)
    plan = xavier.init_(model, EXAMPLE, seed=0, only=["2.*"])
    assert not xavier.contrast(model, loaded, plan=plan).findings
    nn.init.xavier_normal_(model[0].weight)
    (found,) = xavier.contrast(model, loaded, plan=plan).findings
    assert (found.code, found.path, found.severity) == ("drawn-over", "0.weight", "warning")
    assert "not among `only`" in found.message


def test_running_statistics_and_singular_vectors_change_by_themselves():
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Tanh())
    model.append(nn.utils.parametrizations.spectral_norm(nn.Linear(8, 2)))
    before, plan = snapshot(model), xavier.plan(model, EXAMPLE)
    xavier.init_(model, plan=plan, seed=3)
    model(EXAMPLE)
    found = xavier.contrast(model, before, plan=plan)
    assert fates(found)["1.running_mean"] == "changed"
    assert not found.findings


def test_a_buffer_that_was_overwritten_is_drawn_over():
    model = net()
    model.register_buffer("frequencies", torch.linspace(1, 2, 5))
    before, plan = snapshot(model), xavier.plan(model, EXAMPLE)
    xavier.init_(model, plan=plan, seed=3)
    assert not xavier.contrast(model, before, plan=plan).findings
    model.frequencies.zero_()
    assert codes(xavier.contrast(model, before, plan=plan)) == [("drawn-over", "frequencies")]


@pytest.mark.parametrize("norm", ["weight_norm", "spectral_norm"])
def test_the_parts_of_a_parametrized_weight_are_one(norm):
    model = net()
    getattr(nn.utils.parametrizations, norm)(model[0])
    before, plan = snapshot(model), xavier.plan(model, EXAMPLE)
    missed = codes(xavier.contrast(model, before, plan=plan))
    assert sorted(missed) == [("not-drawn", "0.weight"), ("not-drawn", "2.weight")]
    xavier.init_(model, plan=plan, seed=3)
    assert not xavier.contrast(model, before, plan=plan).findings


def test_a_tie_that_is_no_more_is_broken():
    model = net()
    model[2] = nn.Linear(8, 8)
    model[2].weight = model[0].weight
    before = model.state_dict()
    assert not xavier.contrast(model, before).findings
    model[2].weight = nn.Parameter(model[0].weight.detach().clone())
    assert codes(xavier.contrast(model, before)) == [("tie-broken", "2.weight")]


def test_a_tie_after_the_draw_loses_one_of_two_draws():
    model = net()
    model[2] = nn.Linear(8, 8)
    plan = xavier.init_(model, EXAMPLE, seed=0)
    told = [e.code for e in xavier.check(model, EXAMPLE, plan=plan).findings]
    assert "tie-overwritten" not in told
    model[2].weight = model[0].weight
    found = xavier.check(model, EXAMPLE, plan=plan).findings
    lost = [each for each in found if each.code == "tie-overwritten"]
    assert [each.path for each in lost] == ["0.weight"]
    assert "one tensor with 2.weight" in lost[0].message
    again = xavier.init_(model, EXAMPLE, seed=0)
    told = [e.code for e in xavier.check(model, EXAMPLE, plan=again).findings]
    assert "tie-overwritten" not in told


@pytest.mark.transformers
def test_a_tie_that_the_model_declares_is_broken_without_a_reference():
    transformers = pytest.importorskip("transformers")
    settings = {"n_layer": 1, "n_embd": 16, "n_head": 2, "vocab_size": 50, "n_positions": 8}
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**settings, **ends))
    example = {"input_ids": torch.arange(8)[None].repeat(2, 1)}
    assert "tie-broken" not in [each.code for each in xavier.check(model, example).findings]
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())
    found = [each for each in xavier.check(model, example).findings if each.code == "tie-broken"]
    assert [each.path for each in found] == ["lm_head.weight"]
    assert "transformer.wte.weight" in found[0].message


@pytest.mark.parametrize(
    ("edit", "code", "path"),
    [
        (lambda held: held.update({"0.weight": torch.zeros(3, 8)}), "reshaped", "0.weight"),
        (lambda held: held.update({"0.bias": held["0.bias"].double()}), "dtype-changed", "0.bias"),
        (lambda held: held.pop("2.bias"), "only-here", "2.bias"),
        (lambda held: held.update({"3.bias": torch.zeros(3)}), "only-there", "3.bias"),
    ],
)
def test_names_shapes_and_dtypes_that_differ_are_found(edit, code, path):
    model = net()
    before = snapshot(model)
    assert not xavier.contrast(model, before).findings
    edit(before)
    assert codes(xavier.contrast(model, before)) == [(code, path)]
    assert not xavier.contrast(model, before, ignore=[code]).findings


def test_shards_that_were_drawn_with_one_seed_are_found_in_the_whole():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 48), nn.Tanh(), nn.Linear(48, 8))
    assert "repeated-shards" not in [each.code for each in xavier.check(model, EXAMPLE).findings]
    with torch.no_grad():
        model[2].weight.copy_(model[2].weight[:, :8].repeat(1, 6))
    found = [e for e in xavier.check(model, EXAMPLE).findings if e.code == "repeated-shards"]
    assert [each.path for each in found] == ["2.weight"]
    assert "its 6 parts along axis 1" in found[0].message


def test_a_check_has_the_contrast_and_its_findings():
    model = net()
    before = snapshot(model)
    nn.init.xavier_normal_(model[0].weight)
    found = xavier.check(model, EXAMPLE, against=before)
    assert fates(found.contrast)["0.weight"] == "changed"
    missed = [each for each in found.findings if each.code == "not-drawn"]
    assert [(each.path, each.severity) for each in missed] == [("2.weight", "note")]
    asked = xavier.check(model, EXAMPLE, against=before, recipe="xavier")
    assert [e.severity for e in asked.findings if e.code == "not-drawn"] == ["warning"]
    assert "against a state dict: 1 changed, 3 unchanged" in str(asked)
    silent = xavier.check(model, EXAMPLE, against=before, ignore=["not-drawn"])
    assert "not-drawn" not in [each.code for each in silent.findings]


# References


def _write(model, folder, kind):
    held = model.state_dict()
    if kind == "safetensors":
        save_file(held, folder / "w.safetensors")
        return folder / "w.safetensors"
    if kind == "torch":
        torch.save(held, folder / "w.pt")
        return folder / "w.pt"
    if kind == "nested":
        torch.save({"state_dict": held, "epoch": 3}, folder / "w.pth")
        return folder / "w.pth"
    if kind == "folder":
        save_file(held, folder / "model.safetensors")
        return folder
    xavier.write_checkpoint(model, folder / "c", seed=0, only=["2.bias"], max_shard_size=200)
    assert (folder / "c" / "model.safetensors.index.json").is_file()
    return folder / "c"


@pytest.mark.parametrize("kind", ["safetensors", "torch", "nested", "folder", "shards"])
def test_a_reference_may_be_any_checkpoint(tmp_path, kind):
    model = net()
    nn.init.zeros_(model[2].bias)
    path = _write(model, tmp_path, kind)
    assert set(fates(xavier.contrast(model, path)).values()) == {"unchanged"}
    assert set(fates(xavier.contrast(model, str(path))).values()) == {"unchanged"}


class _Evil:
    def __reduce__(self):
        return os.system, ("touch executed",)


def test_nothing_in_a_file_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("evil.pt", "evil.bin"):
        torch.save({"weight": _Evil()}, tmp_path / name)
        with pytest.raises(
            TargetError, match=f"reference .*{name} cannot be read: UnpicklingError"
        ):
            xavier.contrast(net(), tmp_path / name)
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(_Evil()))
    with pytest.raises(TargetError, match="cannot be read"):
        xavier.contrast(net(), tmp_path / "evil.pth")
    assert not (tmp_path / "executed").exists()


def test_an_index_leads_to_no_file_outside_of_its_folder(tmp_path):
    save_file(net().state_dict(), tmp_path / "secret.safetensors")
    inner = tmp_path / "c"
    inner.mkdir()
    listed = {"weight_map": {"0.weight": "../secret.safetensors"}}
    (inner / "model.safetensors.index.json").write_text(json.dumps(listed))
    with pytest.raises(TargetError, match=r"c/secret\.safetensors: there is no such file"):
        xavier.contrast(net(), inner)
    (inner / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(TargetError, match=r"index\.json cannot be read"):
        xavier.contrast(net(), inner)


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("missing.safetensors", "there is no such file"),
        ("missing.pt", "there is no such file"),
        ({}, "a state dict holds no tensor"),
        ({"other": torch.zeros(2)}, "has no tensor of the model's; it has `other`"),
        (3, "reference is an int, expected a path, state dict or model"),
    ],
)
def test_a_reference_that_is_none_is_refused(reference, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TargetError, match=told):
        xavier.contrast(net(), reference)


def test_a_pickled_thing_that_is_no_state_dict_is_refused(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "x.pt")
    with pytest.raises(TargetError, match="holds a Tensor, expected a state dict"):
        xavier.contrast(net(), tmp_path / "x.pt")


def test_a_model_without_values_is_refused_and_unknown_codes_too():
    with torch.device("meta"):
        empty = net()
    with pytest.raises(PlanError, match=r"`0\.weight` is on the meta device"):
        xavier.contrast(empty, net())
    with pytest.raises(UnknownNameError, match="unknown finding 'not-draw'"):
        xavier.contrast(net(), net(), ignore=["not-draw"])


# Names


@pytest.mark.parametrize(
    ("theirs", "prefix"),
    [
        (["0.weight", "0.bias"], ""),
        (["module.0.weight", "module.0.bias"], ""),
        (["_orig_mod.0.weight", "_orig_mod.0.bias"], ""),
        (["model.0.weight", "model.0.bias", "head.bias"], "model. before its names"),
    ],
)
def test_names_are_matched_without_wrappers_and_one_prefix(theirs, prefix):
    found, told = matched(["0.weight", "0.bias"], theirs)
    assert found == dict(zip(["0.weight", "0.bias"], theirs, strict=False))
    assert told == prefix


def test_a_prefix_of_the_models_names_is_left_out_too_and_told():
    model = nn.ModuleDict({"body": net()})
    found = xavier.contrast(model, net())
    assert set(fates(found).values()) == {"unchanged"}
    assert found.notes == ("a Sequential has body. before the model's names: left out of account",)


def test_a_compiled_or_wrapped_model_is_held_against_the_plain_one():
    model = nn.DataParallel(net())
    assert set(fates(xavier.contrast(model, net())).values()) == {"unchanged"}
    with opened(model, option="--x") as there:
        assert "module.0.weight" in there.shapes


# On the command line


def test_the_command_tells_what_changed(folder):
    drawn = ("init", "models.py:net", "--save-plan", "p.toml", "--force", "--out")
    assert run(*drawn, "a.safetensors", "--seed", "1").exit_code == 0
    assert run(*drawn, "b.safetensors", "--seed", "2").exit_code == 0
    given = ("check", "models.py:net", "--weights", "b.safetensors", "--plan", "p.toml", "--strict")
    fine = run(*given, "--against", "a.safetensors")
    assert fine.exit_code == 0, fine.output
    assert "against a.safetensors: 4 changed, 4 unchanged" in fine.stdout
    same = run(*given, "--against", "b.safetensors", "--format", "json")
    assert same.exit_code == 1
    told = json.loads(same.stdout)
    assert {each["fate"] for each in told["contrast"]["changes"]} == {"unchanged"}
    assert {each["code"] for each in told["findings"]} == {"not-drawn"}
    lines = run(*given, "--against", "a.safetensors", "--format", "github").stdout
    assert "::notice title=xavier%3A contrast::against a.safetensors" in lines
    page = run(*given, "--against", "a.safetensors", "--format", "html").stdout
    assert '<h2 id="changes-head">Changes</h2>' in page


def test_weights_behind_a_prefix_or_in_a_folder_are_loaded(folder):
    sys.path.append(str(folder))
    from models import net as make

    held = {f"model.{name}": each.clone() for name, each in make().state_dict().items()}
    held["model.head.bias"].fill_(3)
    save_file(held, folder / "prefixed.safetensors")
    torch.save(held, folder / "prefixed.pt")
    for name in ("prefixed.safetensors", "prefixed.pt"):
        given = ("check", "models.py:net", "--weights", name, "--against", name)
        told = json.loads(run(*given, "--format", "json").stdout)
        assert {each["fate"] for each in told["contrast"]["changes"]} == {"unchanged"}
    run("init", "models.py:net", "--out", "folder/")
    assert run("check", "models.py:net", "--weights", "folder").exit_code == 0


def test_a_partial_checkpoint_is_refused_with_what_is_missing(folder):
    sys.path.append(str(folder))
    from models import net as make

    held = {name: each for name, each in make().state_dict().items() if "head" not in name}
    save_file(held, folder / "part.safetensors")
    said = refused("check", "models.py:net", "--weights", "part.safetensors")
    assert "2 of the model's are missing, such as `head.weight`" in said
    save_file(held | {"more": torch.zeros(2)}, folder / "part.safetensors")
    said = refused("check", "models.py:net", "--weights", "part.safetensors")
    assert "1 are none of the model's, such as `more`" in said
