"""Every example that a reader may copy runs, and every link leads somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from xavier.cli import main

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]+\]\((?P<goal>[^)#]+)(?:#[^)]*)?\)")


def _fences(language: str) -> list[pytest.param]:
    return [
        pytest.param(match["code"], id=f"{page.relative_to(ROOT)}:{place}")
        for page in PAGES
        for place, match in enumerate(FENCE.finditer(page.read_text()))
        if match["language"] == language
    ]


def _commands(code: str) -> list[list[str]]:
    lines = code.replace("\\\n", " ").splitlines()
    return [shlex.split(line[2:], comments=True) for line in lines if line.startswith("$ ")]


def test_there_are_examples_to_run():
    assert _fences("python")
    assert _fences("console")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_examples_of_a_page_run_one_after_the_other(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    session = {"__name__": "example"}
    for place, match in enumerate(FENCE.finditer(page.read_text())):
        if match["language"] == "python":
            exec(compile(match["code"], f"{page.name}:{place}", "exec"), session)


@pytest.mark.parametrize("code", _fences("console"))
def test_commands_run(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, *arguments in _commands(code):
        assert name == "xavier"
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code in (0, 1) if arguments[0] == "check" else result.exit_code == 0, (
            arguments,
            result.output,
        )


def test_shell_examples_are_recipes_of_the_makefile():
    recipes = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for parameters in _fences("sh"):
        for line in parameters.values[0].splitlines():
            tool, recipe, *_ = line.split()
            assert tool == "make"
            assert recipe in recipes


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page):
    for match in LINK.finditer(FENCE.sub("", page.read_text())):
        if "://" not in match["goal"]:
            assert (page.parent / match["goal"]).exists(), match["goal"]
