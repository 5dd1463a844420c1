"""The package as a whole: what it imports, what it names, what it promises to hold."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import metadata, version
from pathlib import Path

import pytest

import xavier

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "xavier"
FRAMEWORKS = (
    "torch", "jax", "jaxlib", "flax", "keras", "tensorflow", "transformers", "lightning",
    "pytorch_lightning", "tensorboard",
)  # fmt: skip
TERMINAL = ("click", "rich")


def _modules_after(code: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after `code`."""
    tail = "; import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code + tail],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(run.stdout.split())


def test_importing_the_package_imports_no_framework_and_no_terminal():
    loaded = _modules_after("import xavier")
    assert "xavier" in loaded
    assert not loaded & {*FRAMEWORKS, *TERMINAL, "numpy", "scipy"}


def test_every_public_name_loads_without_a_framework():
    loaded = _modules_after("import xavier; [getattr(xavier, name) for name in xavier.__all__]")
    assert "numpy" in loaded
    assert not loaded & {*FRAMEWORKS, *TERMINAL} - {"rich"}  # xavier.report prints with rich


def test_public_names_that_work_on_numbers_do_not_load_a_terminal():
    names = "[getattr(xavier, name) for name in xavier.__all__ if name != 'report']"
    assert not _modules_after(f"import xavier; {names}") & {*FRAMEWORKS, *TERMINAL}


def test_every_public_name_is_there_once_and_listed():
    assert sorted(set(xavier.__all__)) == sorted(xavier.__all__)
    for name in xavier.__all__:
        assert getattr(xavier, name) is not None
        assert name in dir(xavier)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'xavier' has no attribute 'plann'"):
        _ = xavier.plann


def test_the_lazy_names_are_those_that_type_checkers_see():
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        (node.module, alias.name)
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    lazy = {(home, name) for name, home in xavier._HOME_OF.items()}
    lazy |= {("xavier", name) for name in xavier._MODULES}
    assert seen == lazy
    assert {name for _, name in lazy} == set(xavier.__all__)


def test_plan_and_check_stay_functions_whatever_is_imported():
    import xavier.checking
    import xavier.planning

    assert callable(xavier.plan)
    assert callable(xavier.check)
    assert xavier.plan is xavier.planning.plan
    assert xavier.check is xavier.checking.check


def test_every_public_name_is_documented():
    written = "\n".join(page.read_text() for page in (ROOT / "docs").rglob("*.md"))
    missing = [name for name in xavier.__all__ if f"`{name}" not in written]
    assert not [name for name in missing if f"`xavier.{name}" not in written]


def test_every_public_function_and_class_has_a_docstring():
    for name in xavier.__all__:
        assert (getattr(xavier, name).__doc__ or "").strip(), name


def test_the_version_is_that_of_the_installed_package():
    assert xavier.__version__ == version("xavier-init")


def test_the_package_is_typed_and_licensed():
    assert (SOURCE / "py.typed").is_file()
    assert metadata("xavier-init")["License-Expression"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def _imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("framework", ["torch", "jax", "keras"])
def test_a_framework_is_imported_under_its_own_folder_alone(framework):
    own = SOURCE / "frameworks" / framework
    strangers = [
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if framework in _imported(path) and own not in path.parents
    ]
    assert not strangers


def test_no_source_file_can_run_code_from_a_file():
    risky = re.compile(
        r"(?<![\w.])(?:eval|exec)\(|pickle\.loads?\(|allow_pickle=True|weights_only=False"
    )
    found = {
        f"{path.relative_to(SOURCE)}: {match.group()}"
        for path in SOURCE.rglob("*.py")
        for match in risky.finditer(path.read_text())
    }
    assert not found


def test_the_pins_name_every_requirement_that_the_tests_install():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = settings["optional-dependencies"]
    wanted = {
        re.split(r"[<>=\[ ]", line)[0].replace("_", "-").lower()
        for line in (
            *settings["dependencies"],
            *(line for extra in ("torch", "demo", "test", "dev") for line in extras[extra]),
        )
    } - {"xavier-init"}
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert wanted <= pins.keys()
    assert pins["torch"] == "2.13.0"
    assert pins["numpy"] == version("numpy")
