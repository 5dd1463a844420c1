"""Checkpoints written from a plan: the values of `init_`, and no file under its name unfinished."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

import xavier
from cli_models import refused, run
from transformer_models import IDS
from xavier import zoo
from xavier._errors import DtypeError, PlanError, WriteError
from xavier.frameworks.torch._files import Folder

INDEX = "model.safetensors.index.json"


def _read(folder: Path) -> dict[str, torch.Tensor]:
    """Return every tensor of a folder of safetensors files, and check what its index says."""
    found: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        part = load_file(file)
        assert found.keys().isdisjoint(part)
        found |= part
        if (folder / INDEX).exists():
            index = json.loads((folder / INDEX).read_text())
            assert {name for name, home in index["weight_map"].items() if home == file.name} == set(
                part
            )
    if (folder / INDEX).exists():
        index = json.loads((folder / INDEX).read_text())
        size = sum(each.numel() * each.itemsize for each in found.values())
        assert index["metadata"]["total_size"] == size
    return found


def _meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return zoo.build(name)


def _named(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


# What is written.


@pytest.mark.parametrize("name", zoo.names())
def test_every_model_of_the_zoo_is_written_as_it_is_drawn(tmp_path, name):
    model = zoo.build(name)
    drawn = xavier.init_(model, zoo.example(name), seed=3)
    empty = _meta(name)
    before = {key: each.device.type for key, each in empty.state_dict().items()}
    written = xavier.write_checkpoint(empty, tmp_path, plan=drawn, max_shard_size=30_000)
    assert written.digest == drawn.digest
    assert {key: each.device.type for key, each in empty.state_dict().items()} == before
    expected, seen = model.state_dict(keep_vars=True), set()
    found = _read(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    for key, tensor in expected.items():
        if id(tensor) in seen:
            assert key not in found, "a tied weight is written once"
            continue
        seen.add(id(tensor))
        assert torch.equal(found.pop(key), tensor), key
    assert not found


def test_a_dtype_is_drawn_and_not_rounded_twice(tmp_path):
    model = zoo.llama()
    plan = xavier.plan(model, zoo.example("llama"))
    xavier.write_checkpoint(_meta("llama"), tmp_path, plan=plan, seed=5, dtype="bfloat16")
    half = zoo.llama().bfloat16()
    xavier.init_(half, plan=plan, seed=5)
    found = _read(tmp_path)
    for name, tensor in half.state_dict().items():
        if name in found and tensor.is_floating_point():
            assert found[name].dtype is torch.bfloat16
            assert torch.equal(found[name], tensor), name


def test_one_file_where_it_fits_and_its_header_tells_what_drew_it(tmp_path):
    plan = xavier.write_checkpoint(zoo.gpt(), tmp_path, zoo.example("gpt"), seed=9, scope="a.")
    assert _named(tmp_path) == ["model.safetensors", "xavier.checkpoint.json"]
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        about = file.metadata()
    assert about["format"] == "pt"
    assert about["xavier.seed"] == "9"
    assert about["xavier.scope"] == "a."
    assert about["xavier.digest"] == plan.digest


def test_shards_are_no_larger_than_asked_but_for_one_tensor(tmp_path):
    xavier.write_checkpoint(zoo.gpt(), tmp_path, zoo.example("gpt"), max_shard_size=200_000)
    for file in tmp_path.glob("*.safetensors"):
        held = load_file(file).values()
        assert len(held) == 1 or sum(each.numel() * each.itemsize for each in held) <= 200_000


def test_what_only_leaves_out_is_written_as_it_is(tmp_path):
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    kept = model[0].weight.detach().clone()
    xavier.write_checkpoint(model, tmp_path, torch.zeros(1, 4), seed=0, only="1.*")
    found = _read(tmp_path)
    assert torch.equal(found["0.weight"], kept)
    assert not torch.equal(found["1.weight"], model[1].weight)


def test_without_a_seed_the_generator_gives_one_and_advances_once(tmp_path):
    model = nn.Linear(3, 3)
    torch.manual_seed(0)
    first = xavier.write_checkpoint(model, tmp_path / "a", torch.zeros(1, 3))
    second = xavier.write_checkpoint(model, tmp_path / "b", torch.zeros(1, 3))
    torch.manual_seed(0)
    assert xavier.init_(nn.Linear(3, 3), torch.zeros(1, 3)).seed != second.seed
    assert first.seed != second.seed


@pytest.mark.transformers
def test_a_hugging_face_model_is_loaded_with_from_pretrained(tmp_path):
    import transformers

    config = transformers.LlamaConfig(
        **IDS,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=128,
        tie_word_embeddings=False,
    )
    with torch.device("meta"):
        empty = transformers.LlamaForCausalLM(config)
    ids = torch.randint(96, (2, 8), device="meta")
    plan = xavier.write_checkpoint(
        empty,
        tmp_path,
        {"input_ids": ids, "use_cache": False},
        seed=4,
        dtype="bfloat16",
        max_shard_size=50_000,
    )
    loaded, told = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.bfloat16, output_loading_info=True
    )
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    assert isinstance(loaded, transformers.LlamaForCausalLM)
    drawn = transformers.LlamaForCausalLM(config).bfloat16()
    xavier.init_(drawn, plan=plan)
    theirs = loaded.state_dict()
    for name, tensor in drawn.state_dict().items():
        assert torch.equal(tensor, theirs[name]), name


# Stopped, and called again.

_WRITER = """
    import os, signal, sys
    import torch
    import xavier
    from xavier import zoo

    def stop(done, total):
        if done > total * 0.5:
            os.kill(os.getpid(), signal.SIGKILL)

    with torch.device("meta"):
        model = zoo.gpt()
    plan = xavier.Plan.from_toml(open(sys.argv[2]).read())
    xavier.write_checkpoint(
        model, sys.argv[1], plan=plan, seed=1, max_shard_size=200_000, progress=stop
    )
"""


def _gpt_plan() -> xavier.Plan:
    return xavier.plan(zoo.gpt(), zoo.example("gpt"))


def test_a_killed_writer_leaves_whole_files_and_the_next_one_keeps_them(tmp_path):
    out, toml, plan = tmp_path / "out", tmp_path / "plan.toml", _gpt_plan()
    toml.write_text(plan.to_toml())
    command = [sys.executable, "-c", textwrap.dedent(_WRITER), out, toml]
    assert subprocess.run(command, check=False).returncode == -9
    finished = {each: each.stat().st_mtime_ns for each in out.glob("model-*.safetensors")}
    assert 1 < len(finished) < 12
    assert not (out / INDEX).exists(), "the index comes last"
    for each in finished:
        load_file(each)  # whole
    assert list(out.glob(".*.part")), "it was killed while it wrote"

    told: list[int] = []
    settings = {"plan": plan, "seed": 1, "max_shard_size": 200_000}
    xavier.write_checkpoint(
        _meta("gpt"), out, **settings, progress=lambda done, _: told.append(done)
    )
    assert {each: each.stat().st_mtime_ns for each in finished} == finished
    assert told == sorted(told)
    assert told[-1] == 834_304
    xavier.write_checkpoint(_meta("gpt"), tmp_path / "once", **settings)
    for name in _named(tmp_path / "once"):
        assert (out / name).read_bytes() == (tmp_path / "once" / name).read_bytes(), name
    assert _named(out) == _named(tmp_path / "once")


def test_a_finished_file_that_was_changed_since_is_somebodys_and_replaced_by_force_alone(tmp_path):
    settings = {"plan": _gpt_plan(), "seed": 1, "max_shard_size": 200_000}
    xavier.write_checkpoint(_meta("gpt"), tmp_path, **settings)
    file = sorted(tmp_path.glob("model-*"))[1]
    good = file.read_bytes()
    trained = good[:-1] + bytes([good[-1] ^ 1])
    file.write_bytes(trained)
    with pytest.raises(WriteError, match=f"has not written: {file.name}"):
        xavier.write_checkpoint(_meta("gpt"), tmp_path, **settings)
    assert file.read_bytes() == trained
    xavier.write_checkpoint(_meta("gpt"), tmp_path, **settings, force=True)
    assert file.read_bytes() == good


def test_a_finished_file_that_is_gone_is_written_again(tmp_path):
    settings = {"plan": _gpt_plan(), "seed": 1, "max_shard_size": 200_000}
    xavier.write_checkpoint(_meta("gpt"), tmp_path, **settings)
    file = sorted(tmp_path.glob("model-*"))[1]
    good = file.read_bytes()
    file.unlink()
    xavier.write_checkpoint(_meta("gpt"), tmp_path, **settings)
    assert file.read_bytes() == good


@pytest.mark.parametrize("writes", range(1, 8))
def test_a_writer_stopped_after_any_file_goes_on(tmp_path, monkeypatch, writes):
    """Also between a shard and the note of it: nothing under its name is ever unknown."""
    settings = {"plan": _gpt_plan(), "seed": 1, "max_shard_size": 500_000}
    replace, count = Path.replace, 0

    def stopped(self: Path, goal: Path) -> Path:
        nonlocal count
        count += 1
        done = replace(self, goal)
        if count == writes:
            raise KeyboardInterrupt
        return done

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stopped)
        with pytest.raises(KeyboardInterrupt):
            xavier.write_checkpoint(_meta("gpt"), tmp_path / "a", **settings)
    xavier.write_checkpoint(_meta("gpt"), tmp_path / "a", **settings)
    xavier.write_checkpoint(_meta("gpt"), tmp_path / "b", **settings)
    assert _named(tmp_path / "a") == _named(tmp_path / "b")
    for name in _named(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_full_disk_is_told_of_and_leaves_nothing_unfinished(tmp_path, disk_of):
    settings = {"plan": _gpt_plan(), "seed": 1, "max_shard_size": 200_000}
    disk_of(250_000)
    with pytest.raises(WriteError, match="cannot be written: File too large") as caught:
        xavier.write_checkpoint(_meta("gpt"), tmp_path, **settings)
    disk_of(resource.RLIM_INFINITY)
    assert "calling again goes on" in caught.value.hint
    assert not list(tmp_path.glob(".*"))
    assert not (tmp_path / INDEX).exists()
    for each in tmp_path.glob("model-*"):
        load_file(each)
    xavier.write_checkpoint(_meta("gpt"), tmp_path, **settings)
    assert len(_read(tmp_path)) == 52


# What is refused.


def test_two_writers_of_one_folder(tmp_path):
    with Folder(tmp_path), pytest.raises(WriteError, match="another process is writing"):
        xavier.write_checkpoint(zoo.gpt(), tmp_path, seed=0)
    assert not _named(tmp_path)
    xavier.write_checkpoint(zoo.gpt(), tmp_path, seed=0)


def test_another_checkpoint_is_replaced_only_by_force_and_nothing_else_is(tmp_path):
    model = nn.Linear(64, 64)
    xavier.write_checkpoint(model, tmp_path, torch.zeros(1, 64), seed=0, max_shard_size=10)
    others = ["optimizer.safetensors", "tokenizer.json", ".movie.mkv.part"]
    for name in others:
        (tmp_path / name).write_text("{}")
    with pytest.raises(WriteError, match="holds what this call has not written") as caught:
        xavier.write_checkpoint(model, tmp_path, torch.zeros(1, 64), seed=1)
    assert "--force" in caught.value.hint
    xavier.write_checkpoint(model, tmp_path, torch.zeros(1, 64), seed=1, force=True)
    assert _named(tmp_path) == sorted(["model.safetensors", "xavier.checkpoint.json", *others])


@pytest.mark.parametrize("text", ["[", "3", '{"files": null}'])
def test_a_manifest_that_cannot_be_read_is_somebodys(tmp_path, text):
    (tmp_path / "xavier.checkpoint.json").write_text(text)
    with pytest.raises(WriteError, match=r"has not written: xavier\.checkpoint\.json"):
        xavier.write_checkpoint(nn.Linear(4, 4), tmp_path, torch.zeros(1, 4), seed=0)
    assert (tmp_path / "xavier.checkpoint.json").read_text() == text


def test_a_manifest_whose_files_are_no_list_has_none(tmp_path):
    for _ in range(2):
        xavier.write_checkpoint(nn.Linear(4, 4), tmp_path, torch.zeros(1, 4), seed=0)
        manifest = tmp_path / "xavier.checkpoint.json"
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "files": None}))
        assert len(_read(tmp_path)) == 2
        (tmp_path / "model.safetensors").unlink()


def test_a_single_file_beside_shards_is_refused(tmp_path):
    settings = {"plan": _gpt_plan(), "seed": 1, "max_shard_size": 500_000}
    xavier.write_checkpoint(_meta("gpt"), tmp_path, **settings)
    (tmp_path / "model.safetensors").write_bytes(b"trained")
    with pytest.raises(WriteError, match=r"has not written: model\.safetensors"):
        xavier.write_checkpoint(_meta("gpt"), tmp_path, **settings)
    xavier.write_checkpoint(_meta("gpt"), tmp_path, **settings, force=True)
    assert not (tmp_path / "model.safetensors").exists()


def test_a_folder_under_a_files_name_is_told_of(tmp_path):
    (tmp_path / "model.safetensors").mkdir()
    with pytest.raises(WriteError, match=r"model\.safetensors cannot be removed: Is a directory"):
        xavier.write_checkpoint(nn.Linear(4, 4), tmp_path, torch.zeros(1, 4), seed=0, force=True)


def test_a_configuration_of_somebodys_is_refused(tmp_path):
    class Configured(nn.Linear):
        class config:  # noqa: N801 - as the library spells it
            @staticmethod
            def to_json_string():
                return '{"ours": 1}'

    (tmp_path / "config.json").write_text('{"mine": 1}')
    model, batch = Configured(4, 4), torch.zeros(1, 4)
    with pytest.raises(WriteError, match=r"has not written: config\.json"):
        xavier.write_checkpoint(model, tmp_path, batch, seed=0)
    assert _named(tmp_path) == ["config.json"]
    xavier.write_checkpoint(model, tmp_path, batch, seed=0, force=True)
    xavier.write_checkpoint(model, tmp_path, batch, seed=0)
    assert json.loads((tmp_path / "config.json").read_text()) == {"ours": 1}


def test_settings_that_cannot_be(tmp_path):
    model, batch = nn.Linear(4, 4), torch.zeros(1, 4)
    with pytest.raises(DtypeError, match="dtype 'int8'"):
        xavier.write_checkpoint(model, tmp_path / "a", batch, seed=0, dtype="int8")
    for size in (0, "2GB", 1.5, True):
        with pytest.raises(WriteError, match=f"max_shard_size is {size!r}"):
            xavier.write_checkpoint(model, tmp_path / "a", batch, seed=0, max_shard_size=size)
    with pytest.raises(PlanError, match="measures drawn weights"):
        xavier.write_checkpoint(model, tmp_path / "a", batch, seed=0, recipe="lsuv")
    with pytest.raises(PlanError, match=r"0\.weight"):
        xavier.write_checkpoint(model, tmp_path / "a", plan=xavier.plan(nn.Sequential(model)))
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link"):
        with pytest.raises(WriteError, match="is no folder: a file, or a link to nothing"):
            xavier.write_checkpoint(model, tmp_path / name, batch, seed=0)


def test_state_that_is_no_tensor(tmp_path):
    class Counting(nn.Linear):
        def get_extra_state(self):
            return {"steps": 3}

    with pytest.raises(WriteError, match="safetensors holds tensors alone"):
        xavier.write_checkpoint(Counting(4, 4), tmp_path / "a", torch.zeros(1, 4), seed=0)
    assert not (tmp_path / "a").exists()


# On the command line.


def test_init_writes_a_folder_from_the_meta_device(folder):
    given = ("init", "models.py:net", "--input", "8,16", "--seed", "7")
    result = run(*given, "--out", "many", "--dtype", "bfloat16", "--max-shard-size", "1KB")
    assert result.exit_code == 0, result.output
    assert "seed 7 into many" in result.stdout
    assert run(*given, "--out", "one.safetensors").exit_code == 0
    many, one = _read(folder / "many"), load_file(folder / "one.safetensors")
    assert len(list((folder / "many").glob("model-*"))) > 1
    assert many.keys() == one.keys()
    for name, tensor in one.items():
        assert many[name].dtype is torch.bfloat16
        assert torch.equal(many[name], tensor.bfloat16()), name


@pytest.mark.parametrize(
    ("given", "told", "code"),
    [
        (("--out", "w", "--max-shard-size", "3parsec"), "is no size, such as 2GB", 2),
        (("--out", "w", "--max-shard-size", "0GB"), "less than one byte", 2),
        (("--out", "w", "--dtype", "int8"), "dtype 'int8' cannot be drawn", 2),
        (("--out", "w.safetensors", "--dtype", "bfloat16"), "--dtype is for a folder", 2),
        (("--max-shard-size", "2GB"), "--max-shard-size is for a folder", 2),
        (("--out", "w", "--recipe", "lsuv", "--input", "8,16"), "measures drawn weights", 3),
        (("--out", "models.py/w"), "cannot be written to", 3),
    ],
)
def test_folders_that_init_refuses(folder, given, told, code):
    assert told in refused("init", "models.py:net", *given, code=code)
    assert _named(folder) == ["models.py"]


@pytest.mark.parametrize(
    ("text", "count"),
    [("2GB", 2 * 10**9), ("1.5 MiB", 3 * 2**19), ("7", 7), ("10kb", 10_000), ("1TiB", 2**40)],
)
def test_sizes(text, count):
    from xavier.cli._sizes import size_in_bytes

    assert size_in_bytes(None, None, text) == count
