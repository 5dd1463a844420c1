"""For tests: is a model fit to start?

    from xavier.testing import assert_healthy

    def test_the_model_can_start():
        assert_healthy(build(), batch())

pytest finds the same function as the fixture `assert_healthy`, which also knows what the project's
`pyproject.toml` silences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from xavier._types.plan import Plan
from xavier._types.signal import Check
from xavier._types.signal_text import opposed
from xavier.checking import check

__all__ = ["assert_healthy"]


def assert_healthy(  # noqa: PLR0913 - as `check`
    model: Any,
    example: Any,
    *,
    target: Any = None,
    loss: Callable[[Any, Any], Any] | str | None = None,
    recipe: str | None = None,
    plan: Plan | None = None,
    strict: bool = False,
    ignore: Iterable[str] = (),
) -> Check:
    """Check a model, and fail with what is wrong where.

    Args:
        model: As for `xavier.check`.
        example: As for `xavier.check`.
        target: As for `xavier.check`.
        loss: As for `xavier.check`.
        recipe: As for `xavier.check`.
        plan: As for `xavier.check`.
        strict: Whether a warning fails too.
        ignore: Findings to leave out.

    Returns:
        The check.

    Raises:
        AssertionError: If the verdict is not healthy, or a finding is an error.

    Example:
        >>> import torch, xavier
        >>> model = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.Linear(64, 4))
        >>> assert_healthy(model, torch.randn(8, 16)).verdict
        <Verdict.HEALTHY: 'healthy'>
    """
    __tracebackhide__ = True  # pytest shows the line that called
    found = check(model, example, target=target, loss=loss, recipe=recipe, plan=plan, ignore=ignore)
    if found.exit_code(strict=strict):
        raise AssertionError(opposed(found, strict=strict))
    return found
