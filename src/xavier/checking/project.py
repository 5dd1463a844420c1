"""What a project's `pyproject.toml` says of its checks."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final

from xavier._errors import TargetError, a
from xavier.checking.catalogue import require_known

_TABLE: Final = ("tool", "xavier")
_EXAMPLES: Final = {
    "ignore": ("findings", 'ignore = ["std-off-recipe"]'),
    "targets": ("targets", 'targets = ["models.py:net"]'),
}


def ignored_in(folder: Path) -> frozenset[str]:
    """Return the findings that the nearest `pyproject.toml` silences.

    Args:
        folder: Where to begin; then the folders around it, up to the first with such a file.

    Returns:
        The codes under `ignore` in its table `[tool.xavier]`; none without file or table.

    Raises:
        TargetError: If the file is no TOML, or the table holds anything else.
        UnknownNameError: If a code is none.
    """
    return require_known(_listed(folder, "ignore"))


def targets_in(folder: Path) -> tuple[str, ...]:
    """Return the models that the nearest `pyproject.toml` wants checked, as a command takes them.

    Args:
        folder: As for `ignored_in`.

    Raises:
        TargetError: If the file is no TOML, or the table holds anything else.
    """
    return tuple(_listed(folder, "targets"))


def _listed(folder: Path, name: str) -> list[str]:
    """Return a list of texts of the project's table; empty if there is none."""
    files = (each / "pyproject.toml" for each in (folder, *folder.parents))
    file = next((each for each in files if each.is_file()), None)
    if file is None:
        return []
    table = _table(file)
    given = table.get(name, [])
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        what, such = _EXAMPLES[name]
        told = f"{file}: {name} is {a(type(given).__name__)}, expected a list of {what}"
        raise TargetError(told, hint=f"such as {such}")
    return given


def _table(file: Path) -> dict[str, Any]:
    try:
        table: Any = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TargetError(f"{file} cannot be read: {error}") from error
    for key in _TABLE:
        table = table.get(key, {}) if isinstance(table, dict) else {}
    for key in table:
        if key not in _EXAMPLES:
            told = f"{file}: [tool.xavier] has no {key!r}"
            raise TargetError(told, hint=f"known: {', '.join(_EXAMPLES)}")
    return table
