"""For pytest: the fixture `assert_healthy`.

pytest loads this with every run, so it imports nothing until the fixture is asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from xavier._types.signal import Check


@pytest.fixture(scope="session")
def assert_healthy(request: pytest.FixtureRequest) -> Callable[..., Check]:
    """Return `xavier.testing.assert_healthy`, which leaves out what the project silences.

    The findings under `ignore` in `[tool.xavier]` of the nearest `pyproject.toml`, from the root of
    the tests, are left out, and those that a call names besides.
    """
    from xavier import testing  # noqa: PLC0415 - only where it is used
    from xavier.checking.project import ignored_in  # noqa: PLC0415 - a test run that asks for nothing loads nothing

    silenced = ignored_in(request.config.rootpath)

    @functools.wraps(testing.assert_healthy)
    def asserting(model: Any, example: Any, *, ignore: Any = (), **settings: Any) -> Check:
        __tracebackhide__ = True
        return testing.assert_healthy(model, example, ignore={*ignore, *silenced}, **settings)

    return asserting
