"""What every test shares: repeatable examples, and no clock in any of them."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import settings

from cli_models import MODELS

settings.register_profile("repeatable", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the switch that writes what is pinned anew."""
    told = "write the golden files of reports instead of comparing with them"
    parser.addoption("--update-golden", action="store_true", help=told)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Return a function that compares a text with what a file has, or writes the file."""

    def compare(path: Path, text: str) -> None:
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
        assert path.is_file(), f"{path.name} is missing: run pytest with --update-golden"
        assert text == path.read_text(encoding="utf-8")

    return compare


def pytest_report_header() -> str:
    """Name what the tests run with."""
    names = ("numpy", "torch", "transformers", "scipy")
    return "with " + ", ".join(f"{name} {version(name)}" for name in names)


@pytest.fixture
def disk_of() -> Iterator[Callable[[int], None]]:
    """Return a function after which no file may grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a folder that holds `models.py`, which no other test sees."""
    (tmp_path / "models.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.removeprefix("_xavier_target_") in {"models", "bad"}:
            del sys.modules[name]
