"""The catalogue of findings, how they are silenced, and the assertion for tests of one's own."""

from __future__ import annotations

import ast
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import torch
from torch import nn

import xavier
from cli_models import refused, run
from xavier import zoo
from xavier._errors import PlanError, TargetError, UnknownNameError
from xavier.checking.catalogue import FINDINGS
from xavier.checking.project import ignored_in
from xavier.testing import assert_healthy

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parent.parent


def _codes_in_source() -> set[str]:
    """Return every text of the package's checks that looks like a finding's code."""
    found: set[str] = set()
    for file in (ROOT / "src" / "xavier" / "checking").glob("*.py"):
        if file.name == "catalogue.py":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and node.value in FINDINGS:
                found.add(node.value)
    return found


def test_the_catalogue_has_the_codes_that_are_made_and_each_has_its_page():
    assert _codes_in_source() == set(FINDINGS)
    pages = {each.stem for each in (ROOT / "docs" / "findings").glob("*.md")}
    assert pages == set(FINDINGS)
    overview = (ROOT / "docs" / "check.md").read_text()
    assert all(f"(findings/{code}.md)" in overview for code in FINDINGS)


def test_a_finding_whose_code_is_unknown_is_not_made():
    """Every `Finding(...)` in the source names its code by a literal or a variable of literals."""
    named = {
        node.args[0].value
        for file in (ROOT / "src" / "xavier").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") == "Finding"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    assert named
    assert named <= set(FINDINGS)


def _doubled() -> tuple[nn.Module, torch.Tensor]:
    example = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))
    xavier.init_(model, example, seed=0)
    with torch.no_grad():
        model[0].weight.mul_(2)
    return model, example


def test_a_finding_is_silenced_by_its_code():
    model, example = _doubled()
    codes = [each.code for each in xavier.check(model, example, recipe="auto").findings]
    assert codes == ["std-off-recipe"]
    assert not xavier.check(model, example, recipe="auto", ignore=["std-off-recipe"]).findings
    with pytest.raises(UnknownNameError, match="unknown finding 'std-of-recipe'") as caught:
        xavier.check(model, example, ignore=["std-of-recipe"])
    assert caught.value.near == ("std-off-recipe",)


def test_silence_does_not_change_the_verdict():
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 2))
    nn.init.constant_(model[0].weight, 0.1)
    found = xavier.check(model, torch.randn(32, 8), ignore=FINDINGS)
    assert found.verdict == "asymmetric"
    assert not found.findings


def test_a_plan_is_held_against_the_weights_in_place_of_a_recipe():
    model, example = _doubled()
    plan = xavier.plan(model, example, overrides={"0.weight": xavier.Normal(0.0, 0.25)})
    assert not xavier.check(model, example, recipe="auto", ignore=["std-off-recipe"]).findings
    xavier.init_(model, plan=plan, seed=0)
    assert not xavier.check(model, example, plan=plan).findings
    with pytest.raises(PlanError, match="plan and recipe were both given"):
        xavier.check(model, example, plan=plan, recipe="auto")


class Rotary(nn.Module):
    """A layer with a table of frequencies and a norm with running statistics."""

    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Linear(8, 8), nn.BatchNorm1d(8)
        self.register_buffer("frequencies", 10.0 ** -torch.arange(8), persistent=False)
        self.register_buffer("places", torch.arange(8))
        self.register_buffer("seen", torch.zeros(3))

    def forward(self, x):
        return self.norm(self.layer(x * self.frequencies[self.places]))


def test_buffers_of_zeros_that_their_owners_fill_were_never_written():
    model, example = Rotary(), torch.randn(16, 8)
    assert not [e for e in xavier.check(model, example).findings if e.code == "uninitialized"]
    model.frequencies.zero_()
    model.places.zero_()
    model.norm.running_var.zero_()
    found = [e for e in xavier.check(model, example).findings if e.code == "uninitialized"]
    assert {each.path for each in found} == {"frequencies", "places", "norm.running_var"}
    assert {each.severity.value for each in found} == {"warning"}
    assert not model.frequencies.any(), "the check leaves them as they are"


# What the project's file says.


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ('[tool.xavier]\nignore = ["duplicate", "no-plan"]', {"duplicate", "no-plan"}),
        ("[tool.other]\nignore = 3", set()),
        ("", set()),
    ],
)
def test_the_nearest_project_file_silences(tmp_path, text, codes):
    (tmp_path / "pyproject.toml").write_text(text)
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert ignored_in(inner) == codes


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("[tool.xavier]\nignored = []", TargetError, "has no 'ignored'"),
        ("[tool.xavier]\nignore = 'duplicate'", TargetError, "ignore is a str, expected a list"),
        ("[tool.xavier]\nignore = [3]", TargetError, "expected a list of findings"),
        ("[tool.xavier]\nignore = ['duplicates']", UnknownNameError, "unknown finding"),
        ("[tool.xavier", TargetError, "cannot be read"),
    ],
)
def test_a_project_file_that_cannot_be_meant(tmp_path, text, error, told):
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(error, match=told):
        ignored_in(tmp_path)


# On the command line.


def test_the_findings_are_listed_without_a_target():
    result = run("check", "--list-findings")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == list(FINDINGS)


def test_the_command_line_silences_by_option_and_by_file(folder):
    given = ("check", "models.py:net", "--recipe", "he")
    assert "std-off-recipe" in run(*given, "--format", "github").stdout
    assert run(*given, "--strict").exit_code == 1
    silent = run(*given, "--strict", "--ignore", "std-off-recipe", "--format", "github")
    assert "std-off-recipe" not in silent.stdout
    assert silent.exit_code == 0
    (folder / "pyproject.toml").write_text('[tool.xavier]\nignore = ["std-off-recipe"]')
    assert run(*given, "--strict").exit_code == 0
    assert "unknown finding 'nonsense'" in refused(*given, "--ignore", "nonsense")


def test_the_command_line_holds_a_saved_plan_against_the_weights(folder):
    drawn = ("init", "models.py:net", "--out", "w.safetensors", "--save-plan", "p.toml")
    assert run(*drawn, "--recipe", "he").exit_code == 0
    given = ("check", "models.py:net", "--weights", "w.safetensors", "--strict")
    assert run(*given, "--plan", "p.toml").exit_code == 0
    assert run(*given, "--recipe", "lecun").exit_code == 1
    both = refused(*given, "--plan", "p.toml", "--recipe", "he")
    assert "--recipe and --plan were both given" in both


# In tests.


def test_a_healthy_model_passes_and_its_check_is_returned():
    model = zoo.gpt()
    xavier.init_(model, zoo.example("gpt"), seed=0)
    assert (
        assert_healthy(model, zoo.example("gpt"), recipe="auto", strict=True).verdict == "healthy"
    )


def test_a_failure_reads_like_a_difference():
    model = zoo.deep_sigmoid_mlp()
    with pytest.raises(AssertionError) as caught:
        assert_healthy(model, zoo.example("deep_sigmoid_mlp"))
    lines = str(caught.value).splitlines()
    assert lines[0] == "the model is not fit to start"
    assert "- healthy" in lines
    assert any(line.startswith("+ vanishing at ") for line in lines)
    assert any(line.startswith("  >  ") for line in lines), "the op is marked"
    assert any("gradient RMS" in line for line in lines)
    assert lines[-1].startswith("  cure: ")


def test_an_error_that_is_no_verdict_fails_too_and_a_warning_if_strict():
    model, example = _doubled()
    with pytest.raises(AssertionError, match=r"\+ warning std-off-recipe: 0\.weight"):
        assert_healthy(model, example, recipe="auto", strict=True)
    assert_healthy(model, example, recipe="auto")
    model[0].register_buffer("table", torch.full((3,), float("nan")))
    with pytest.raises(AssertionError, match=r"\+ error nonfinite: 0\.table"):
        assert_healthy(model, example)


_TESTS = """
    import torch

    def test_sick(assert_healthy):
        model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2))
        torch.nn.init.constant_(model[0].weight, 0.1)
        assert_healthy(model, torch.randn(32, 8))

    def test_well(assert_healthy):
        model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2))
        torch.nn.init.zeros_(model[2].weight)
        found = assert_healthy(model, torch.randn(32, 8))
        assert "zero-weight" not in [each.code for each in found.findings]
"""


def test_pytest_finds_the_plugin_by_itself():
    found = {each.name: each.value for each in entry_points(group="pytest11")}
    assert found["xavier"] == "xavier.pytest_plugin"


def test_the_fixture_fails_with_the_difference_and_knows_the_project_file(pytester, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyprojecttoml('[tool.xavier]\nignore = ["zero-weight", "std-off-recipe"]')
    pytester.makepyfile(_TESTS)
    result = pytester.runpytest_subprocess("-p", "xavier.pytest_plugin")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*the model is not fit to start*", "*+ asymmetric at 0*"])
    assert "testing.py:" not in result.stdout.str(), "the traceback ends at the caller's line"


def test_loading_the_plugin_loads_no_framework(pytester, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(
        "import sys\n"
        "def test_nothing():\n"
        "    assert 'torch' not in sys.modules\n"
        "    assert 'numpy' not in sys.modules\n"
    )
    result = pytester.runpytest_subprocess("-p", "xavier.pytest_plugin")
    result.assert_outcomes(passed=1)
