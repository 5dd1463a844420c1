"""The files that the command line writes and reads, and those that it refuses."""

from __future__ import annotations

import errno
import json
import os
import pickle
import resource
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import xavier
from cli_models import refused, run

# --- init.


def _weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path)


def test_init_writes_what_the_library_draws(folder):
    result = run("init", "models.py:net", "--out", "w.safetensors", "--seed", "7")
    assert result.exit_code == 0, result.output
    assert "seed 7" in result.stdout
    sys.path.append(str(folder))
    import models

    model = models.net()
    xavier.init_(model, model.example_input(), seed=7)
    written = _weights(folder / "w.safetensors")
    assert written.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(written[name], value), name


def test_two_files_of_one_seed_are_equal_to_the_byte(folder):
    for name in ("a", "b"):
        run("init", "models.py:net", "--out", f"{name}.safetensors", "--seed", "7")
    assert (folder / "a.safetensors").read_bytes() == (folder / "b.safetensors").read_bytes()


def test_the_default_seed_is_zero_and_printed(folder):
    result = run("init", "models.py:net", "--out", "a.safetensors")
    assert "seed 0" in result.stdout
    run("init", "models.py:net", "--out", "b.safetensors", "--seed", "0")
    first, second = _weights(folder / "a.safetensors"), _weights(folder / "b.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)
    with safe_open(folder / "a.safetensors", "pt") as file:
        assert file.metadata()["xavier.seed"] == "0"


def test_init_from_meta_writes_the_same_weights(folder):
    for name, extra in (("a", ()), ("b", ("--meta",))):
        given = ("--input", "8,16", "--out", f"{name}.safetensors")
        assert run("init", "models.py:net", *given, *extra).exit_code == 0
    first, second = _weights(folder / "a.safetensors"), _weights(folder / "b.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_tied_weight_is_written_once_and_read_back(folder):
    given = ("--input", "tokens=int:4,5:32", "--input", "mask=4,5")
    assert run("init", "models.py:Tied", *given, "--out", "w.safetensors").exit_code == 0
    assert len(_weights(folder / "w.safetensors")) == 1
    result = run("check", "models.py:Tied", *given, "--weights", "w.safetensors")
    assert result.exit_code in (0, 1), result.output


def test_a_saved_plan_is_carried_out(folder):
    run("plan", "models.py:net", "--recipe", "he", "--save-plan", "p.toml")
    result = run("init", "models.py:net", "--plan", "p.toml", "--format", "json")
    assert result.exit_code == 0, result.output
    saved = xavier.Plan.from_toml((folder / "p.toml").read_text())
    drawn = xavier.Plan.from_dict(json.loads(result.stdout))
    assert drawn.recipe == "he"
    assert drawn.digest == saved.digest


def test_a_plan_for_another_model_is_misuse(folder):
    run("plan", "models.py:net", "--kwargs", '{"width": 16}', "--save-plan", "p.toml")
    kwargs = '{"depth": 4, "width": 16}'
    said = refused("init", "models.py:net", "--kwargs", kwargs, "--plan", "p.toml")
    assert "made for another model: that one has no `layers.3.weight` (16, 16)" in said


@pytest.mark.parametrize(
    ("content", "message"),
    [("a = = 1", "p.toml: "), ("format = 'xavier-plan/99'", "99"), ("\x00", "p.toml: ")],
)
def test_a_file_that_is_no_plan_is_misuse(folder, content, message):
    (folder / "p.toml").write_text(content)
    assert message in refused("init", "models.py:net", "--plan", "p.toml")


def test_a_plan_file_that_is_not_there_is_misuse(folder):
    assert "cannot be read: No such file" in refused("init", "models.py:net", "--plan", "p.toml")
    said = refused("init", "models.py:net", "--plan", "p.toml", "--recipe", "he")
    assert "--recipe and --plan were both given" in said


def test_only_the_named_weights_are_drawn(folder):
    result = run("init", "models.py:net", "--only", "head.*", "--format", "json")
    drawn = xavier.Plan.from_dict(json.loads(result.stdout))
    assert {each.name for each in drawn} == {"head.weight", "head.bias"}
    assert "matches no weight" in refused("init", "models.py:net", "--only", "haed.*")
    given = ("--only", "head.*", "--only", "haed.*")
    assert "'haed.*' matches no weight" in refused("init", "models.py:net", *given)


# --- Files.


def test_an_existing_file_is_replaced_only_by_force(folder):
    out = folder / "w.safetensors"
    out.write_text("precious")
    said = refused("init", "models.py:net", "--out", "w.safetensors")
    assert said == ("Error: --out w.safetensors exists already\nHint: add --force to replace it")
    assert out.read_text() == "precious"
    assert run("init", "models.py:net", "--out", "w.safetensors", "--force").exit_code == 0
    assert len(_weights(out)) == 8


def test_a_failed_run_leaves_no_file_behind(folder):
    before = sorted(os.listdir(folder))
    refused("init", "models.py:raises", "--input", "2,16", "--out", "w.safetensors", code=3)
    (folder / "p.toml").write_text("precious")
    given = ("--out", "w.safetensors", "--save-plan", "p.toml")
    refused("init", "models.py:net", *given)
    assert sorted(os.listdir(folder)) == sorted([*before, "p.toml"])


def test_a_file_that_appears_meanwhile_is_not_replaced(folder, monkeypatch):
    from xavier.frameworks.torch import io

    save = io.save_weights

    def slowly(*arguments, **named):
        save(*arguments, **named)
        (folder / "w.safetensors").write_text("precious")

    monkeypatch.setattr(io, "save_weights", slowly)
    assert "exists already" in refused("init", "models.py:net", "--out", "w.safetensors")
    assert (folder / "w.safetensors").read_text() == "precious"
    assert not list(folder.glob(".*.part"))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere/w.safetensors", "cannot be written: No such file or directory"),
        ("models.py/w.safetensors", "cannot be written: Not a directory"),
        ("w.pt", "expected a name that ends in .safetensors"),
    ],
)
def test_an_output_that_cannot_be_written_is_told_before_any_work(folder, path, message):
    assert message in refused("init", "models.py:raising", "--out", path)


def test_an_output_that_is_a_folder_is_refused(folder):
    (folder / "w.safetensors").mkdir()
    said = refused("init", "models.py:net", "--out", "w.safetensors", "--force")
    assert "is a folder, expected a file" in said


def test_a_folder_without_permission_is_told(folder, monkeypatch):
    opened = os.open

    def denied(path, *arguments, **named):
        if str(path).endswith(".part"):  # root may write anywhere
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return opened(path, *arguments, **named)

    monkeypatch.setattr(os, "open", denied)
    said = refused("init", "models.py:raising", "--out", "w.safetensors")
    assert "--out w.safetensors cannot be written: Permission denied" in said
    assert "Hint: does . exist, and may you write there?" in said


def test_a_full_disk_is_told_and_leaves_nothing_behind(folder, monkeypatch, disk_of):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = sorted(os.listdir(folder))
    disk_of(1000)
    said = refused("init", "models.py:net", "--out", "w.safetensors", code=3)
    assert "the weights could not be written: File too large" in said
    assert "Hint: is there room on the disk?" in said
    assert sorted(os.listdir(folder)) == before
    disk_of(resource.RLIM_INFINITY)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", fail)
        for command in ("plan", "init"):
            said = refused(command, "models.py:net", "--save-plan", "p.toml", code=3)
            assert "--save-plan could not be written: No space left on device" in said
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        said = refused("init", "models.py:net", "--out", "w.safetensors", "--force")
        assert "--out w.safetensors cannot be written: No space left on device" in said
    assert sorted(os.listdir(folder)) == before


def test_a_name_may_be_as_long_as_a_name_can_be_and_no_longer(folder):
    given = ("--out", "x" * 243 + ".safetensors")
    assert run("init", "models.py:net", *given).exit_code == 0
    said = refused("init", "models.py:net", "--out", "x" * 300 + ".safetensors")
    assert "cannot be written: File name too long" in said


def test_a_link_that_leads_nowhere_is_an_existing_file(folder):
    (folder / "w.safetensors").symlink_to("nowhere")
    said = refused("init", "models.py:raising", "--out", "w.safetensors")
    assert "exists already" in said


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
def test_a_written_file_has_the_usual_permissions(folder):
    (folder / "usual").touch()
    run("init", "models.py:net", "--out", "w.safetensors")
    modes = [stat.S_IMODE((folder / name).stat().st_mode) for name in ("usual", "w.safetensors")]
    assert modes[0] == modes[1]


# --- Batches.


def _batch(folder: Path, kind: str, **arrays: np.ndarray) -> str:
    path = folder / f"batch.{kind}"
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    if kind == "npz":
        np.savez(path, **arrays)
    elif kind == "safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    return str(path)


def _rows(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((8, 16)).astype("float32")


@pytest.mark.parametrize("kind", ["npz", "safetensors", "pt"])
def test_a_batch_is_read_from_a_file(folder, kind):
    single = _batch(folder, kind, anything=_rows())
    assert run("check", "models.py:silent", "--batch", single).exit_code == 0
    tokens = np.random.default_rng(0).integers(32, size=(4, 5))
    named = _batch(folder, kind, tokens=tokens, mask=np.ones((4, 5), "float32"))
    result = run("check", "models.py:Tied", "--batch", named)
    assert result.exit_code in (0, 1), result.output
    ordered = _batch(folder, kind, arr_0=tokens, arr_1=np.ones((4, 5), "float32"))
    assert run("check", "models.py:Tied", "--batch", ordered).stdout == result.stdout


def test_a_batch_of_one_tensor_or_a_tuple_is_read(folder):
    torch.save(torch.from_numpy(_rows()), folder / "one.pt")
    torch.save((torch.from_numpy(_rows()),), folder / "tuple.pt")
    for name in ("one.pt", "tuple.pt"):
        assert run("check", "models.py:silent", "--batch", name).exit_code == 0


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_the_target_of_a_batch_feeds_the_loss(folder, loss):
    target = np.arange(8) % 4 if loss == "cross_entropy" else _rows(1)[:, :4]
    batch = _batch(folder, "npz", input=_rows(), target=target)
    given = ("check", "models.py:silent", "--batch", batch, "--format", "json")
    result = run(*given, "--loss", loss)
    assert result.exit_code == 0, result.output
    model_loss = json.loads(result.stdout)["signal"]["ops"][-1]["gradient_rms"]
    assert 0 < model_loss < 1  # a mean over the batch, where a random cotangent has RMS 1


def test_a_loss_without_a_target_is_misuse(folder):
    said = refused("check", "models.py:net", "--loss", "mse")
    assert "--loss needs a target" in said


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.npz", b"not a zip", "x.npz cannot be read"),
        ("x.safetensors", b"\xff" * 40, "x.safetensors cannot be read"),
        ("x.safetensors", b"", "x.safetensors cannot be read"),
        ("x.npz", b"", "x.npz cannot be read"),
        (
            "x.npz",
            b"\x80\x05garbage",
            "x.npz cannot be read: it is no archive of numbers\nHint",
        ),
        ("x.pt", b"", "x.pt cannot be read: EOFError"),
        ("x.pt", b"not a pickle", "x.pt is refused: it holds more than tensors, or is damaged"),
        ("x", b"1,2", "cannot read a file without a suffix"),
        ("x.csv", b"1,2", "cannot read files that end in .csv"),
    ],
)
def test_a_file_that_is_no_batch_is_misuse(folder, name, content, message):
    (folder / name).write_bytes(content)
    assert message in refused("check", "models.py:net", "--batch", name)


@pytest.mark.parametrize("kind", ["npz", "safetensors", "pt"])
def test_half_a_batch_is_misuse(folder, kind):
    path = Path(_batch(folder, kind, x=_rows()))
    path.write_bytes(path.read_bytes()[:-200])
    said = refused("check", "models.py:net", "--batch", path.name)
    assert f"--batch batch.{kind} cannot be read: " in said
    assert "Hint: " in said


def test_a_batch_in_another_byte_order_is_read(folder):
    np.savez(folder / "x.npz", x=_rows().astype(">f4"))
    assert run("check", "models.py:silent", "--batch", "x.npz").exit_code == 0


def test_a_single_array_is_no_archive(folder):
    with open(folder / "x.npz", "wb") as file:
        np.save(file, _rows())
    said = refused("check", "models.py:net", "--batch", "x.npz")
    assert "it is a single array, no archive of them" in said


def test_weights_that_cannot_be_read_are_misuse(folder):
    run("init", "models.py:net", "--out", "w.safetensors")
    for content in (b"", b"no weights", (folder / "w.safetensors").read_bytes()[:-8]):
        (folder / "w.safetensors").write_bytes(content)
        said = refused("check", "models.py:net", "--weights", "w.safetensors")
        assert "--weights w.safetensors cannot be read: SafetensorError" in said
        assert "Hint: is it a safetensors file, and whole?" in said


def test_weights_of_another_size_are_named(folder):
    run("init", "models.py:net", "--out", "w.safetensors")
    given = ("--kwargs", '{"width": 8}', "--weights", "w.safetensors")
    said = refused("check", "models.py:net", *given)
    assert "does not fit the model: `layers.0.weight` is (8, 8) here and (16, 16) there" in said


def test_a_batch_that_is_not_there_is_misuse(folder):
    assert "cannot read" in refused("check", "models.py:net", "--batch", "")
    assert "there is no such file" in refused("check", "models.py:net", "--batch", "x.npz")
    (folder / "y.safetensors").mkdir()
    said = refused("check", "models.py:net", "--batch", "y.safetensors")
    assert "y.safetensors is a folder, expected a file of arrays" in said


def test_hints_are_what_one_types_on_the_command_line(folder):
    said = refused("plan", "models.py:net", "--save-plan", "x.txt")
    assert "Hint: --save-plan x.toml" in said
    assert run("plan", "models.py:net", "--save-plan", "p.toml").exit_code == 0
    given = ("--kwargs", '{"width": 8}', "--plan", "p.toml")
    said = refused("init", "models.py:net", *given)
    assert "Hint: plan this model: xavier plan models.py:net --save-plan plan.toml" in said


class _Malicious:
    def __reduce__(self):
        return (os.mkdir, ("was_executed",))


def test_a_batch_that_would_run_code_is_refused_and_runs_none(folder):
    for held in (_Malicious(), {"x": _Malicious()}, torch.nn.Linear(2, 2)):
        for zipped in (True, False):
            torch.save(held, folder / "x.pt", _use_new_zipfile_serialization=zipped)
            said = refused("check", "models.py:net", "--batch", "x.pt")
            assert "--batch x.pt is refused: it holds more than tensors, or is damaged" in said
            assert "nothing in it is executed" in said
    (folder / "x.pt").write_bytes(pickle.dumps(_Malicious()))
    result = run("check", "models.py:net", "--batch", "x.pt")
    assert result.stderr.startswith("Error: --batch x.pt is refused")
    np.savez(folder / "x.npz", x=np.array([_Malicious()], dtype=object))
    assert "cannot be read" in refused("check", "models.py:net", "--batch", "x.npz")
    assert not (folder / "was_executed").exists()


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({}, "holds nothing"),
        ({"x": 3}, "holds a dict"),
        (3, "holds an int"),
        ({0: torch.ones(2), 1: torch.ones(2)}, "has a tensor under 0, expected names"),
        ([[torch.ones(2)]], "holds a list"),
    ],
)
def test_a_batch_without_tensors_is_misuse(folder, held, message):
    torch.save(held, folder / "x.pt")
    assert message in refused("check", "models.py:net", "--batch", "x.pt")


def test_a_batch_of_text_is_misuse(folder):
    np.savez(folder / "x.npz", x=np.array(["a", "b"]))
    assert "x.npz: " in refused("check", "models.py:net", "--batch", "x.npz")
