"""What a project's `pyproject.toml` says of its checks."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final

from xavier._errors import TargetError, a
from xavier.checking.catalogue import require_known

_TABLE: Final = ("tool", "xavier")
_KEYS: Final = ("ignore",)


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
    files = (each / "pyproject.toml" for each in (folder, *folder.parents))
    file = next((each for each in files if each.is_file()), None)
    if file is None:
        return frozenset()
    try:
        table: Any = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TargetError(f"{file} cannot be read: {error}") from error
    for key in _TABLE:
        table = table.get(key, {}) if isinstance(table, dict) else {}
    for key in table:
        if key not in _KEYS:
            told = f"{file}: [tool.xavier] has no {key!r}"
            raise TargetError(told, hint=f"known: {', '.join(_KEYS)}")
    codes = table.get("ignore", [])
    if not isinstance(codes, list) or not all(isinstance(each, str) for each in codes):
        told = f"{file}: ignore is {a(type(codes).__name__)}, expected a list of findings"
        raise TargetError(told, hint='such as ignore = ["std-off-recipe"]')
    return require_known(codes)
