"""A project's models are checked together, by hand, before a commit and on GitHub."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from cli_models import refused, run
from xavier._errors import TargetError
from xavier.checking.project import targets_in

ROOT = Path(__file__).parent.parent
# https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions
COMMAND = re.compile(r"::(error|warning|notice) title=[^:,\r\n]*::[^\r\n]*")
ESCAPES = {"%25": "%", "%0D": "\r", "%0A": "\n", "%3A": ":", "%2C": ","}


def project(folder, *targets, more=""):
    listed = ", ".join(f'"{each}"' for each in targets)
    (folder / "pyproject.toml").write_text(f"[tool.xavier]\ntargets = [{listed}]\n{more}")


def hook():
    (found,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    return found


def test_without_a_target_all_that_the_project_lists_are_checked(folder):
    project(folder, "models.py:net", "models.py:tiny_weights")
    result = run("check")
    assert result.exit_code == 1, "the second one vanishes"
    first, second = result.stdout.index("models.py:net"), result.stdout.index("models.py:tiny")
    assert first < result.stdout.index("HEALTHY") < second < result.stdout.index("VANISHING")
    project(folder, "models.py:net")
    assert run("check").exit_code == 0
    assert run("check", "models.py:tiny_weights").exit_code == 1, "what is named goes first"


def test_a_project_that_lists_no_target_is_told_how(folder):
    told = refused("check")
    assert "no TARGET was given, and no pyproject.toml lists any" in told
    assert 'targets = ["models.py:net"]' in told


@pytest.mark.parametrize("given", [("--format", "json"), ("--out", "page.html")])
def test_several_models_make_no_single_document(folder, given):
    project(folder, "models.py:net", "models.py:net")
    assert "2 targets make no single file or document" in refused("check", *given)
    project(folder, "models.py:net")
    assert run("check", *given).exit_code == 0


def test_targets_that_are_no_list_are_refused(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.xavier]\ntargets = 'models.py:net'")
    with pytest.raises(TargetError, match="targets is a str, expected a list of targets"):
        targets_in(tmp_path)


def test_a_model_that_cannot_be_found_is_no_healthy_one(folder):
    project(folder, "models.py:net", "models.py:nowhere")
    assert "nowhere" in refused("check")


# Before a commit.


def test_the_hook_has_what_pre_commit_asks_for():
    found = hook()
    assert {"id", "name", "entry", "language"} <= set(found)
    assert (found["id"], found["language"]) == ("xavier-check", "system")
    assert found["pass_filenames"] is False, "a file that changed is no target"
    page = (ROOT / "docs" / "check.md").read_text()
    (shown,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert yaml.safe_load(shown)["repos"][0]["hooks"][0]["id"] == found["id"]


@pytest.mark.parametrize(("target", "code"), [("net", 0), ("tiny_weights", 1)])
def test_the_hooks_entry_passes_or_stops_a_commit(folder, target, code):
    project(folder, f"models.py:{target}")
    name, *arguments = shlex.split(hook()["entry"])
    assert name == "xavier"
    assert run(*arguments).exit_code == code


# On GitHub.


def _read(text):
    for escape, meant in reversed(ESCAPES.items()):
        text = text.replace(escape, meant)
    return text


def test_every_line_is_an_annotation_with_the_words_of_the_check(folder):
    given = ("check", "models.py:tiny_weights", "--recipe", "auto")
    lines = run(*given, "--format", "github").stdout.splitlines()
    assert all(map(COMMAND.fullmatch, lines)), lines
    verdict, *findings = lines
    assert verdict.startswith("::error title=xavier%3A vanishing at layers.")
    off = [each for each in findings if "xavier%3A std-off-recipe::" in each]
    assert all(each.startswith("::warning title=") for each in off)
    assert len(off) == 41
    rest = set(findings) - set(off)  # that float16 would lose the gradients are notes
    assert rest
    assert all(each.startswith("::notice title=xavier%3A dtype-range::") for each in rest)
    assert "times that of the last ops" in _read(verdict)


def test_several_models_are_groups_of_annotations(folder):
    project(folder, "models.py:net", "models.py:net", more='ignore = ["std-off-recipe"]\n')
    lines = run("check", "--format", "github").stdout.splitlines()
    shape = [line.split(" ")[0] if "title" in line else line for line in lines]
    assert shape == ["::group::models.py:net", "::notice", "::endgroup::"] * 2
