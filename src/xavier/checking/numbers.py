"""Findings on what was measured: where theory parts from it, and what a dtype would lose of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from xavier._types import signal_text, text
from xavier._types.signal import Finding, Reach, Reaches, Severity, Signal
from xavier._types.theory import Theory

# Micikevicius et al., "Mixed precision training", 2018, section 3.1: so many gradients of a speech
# model become zero in float16, and it does not train as it should without a remedy.
LOST_SHARE: Final = 0.05
_DTYPES: Final[tuple[tuple[str, Callable[[Reaches], Reach]], ...]] = (
    ("float16", lambda each: each.float16),
    ("bfloat16", lambda each: each.bfloat16),
)
_SCALE_THE_LOSS: Final = "scale the loss (torch.amp.GradScaler), or use bfloat16"
_WIDER: Final = "keep these ops in float32, or use bfloat16"

Place = tuple[str, Reaches]


def off_theory(theory: Theory | None, signal: Signal) -> Iterator[Finding]:
    """Yield the first op where theory and measurement part, if there is one."""
    if theory is None or theory.departs is None:
        return
    op = next(each for each in signal.ops if each.index == theory.departs)
    yield Finding(
        "off-theory",
        Severity.NOTE,
        signal_text.place(op),
        theory.evidence,
        "look for a factor, a mask or another use of the weight in this module's forward; of "
        "weights that were trained, or are no random draw, it is to be expected",
    )


def out_of_range(signal: Signal) -> Iterator[Finding]:
    """Yield what a narrower dtype would lose: outputs, and the weights' gradients."""
    outputs = [(signal_text.place(op), op.range) for op in signal.ops if op.range]
    # The gradient of a bias may be nothing but rounding: of a key's, say, or before a norm.
    matrices = [each for each in signal.weights if len(each.shape) > 1]
    gradients = [(each.name, each.gradient_range) for each in matrices if each.gradient_range]
    for dtype, reach in _DTYPES:
        for what, places in (("output", outputs), ("gradient", gradients)):
            yield from _lost(dtype, what, [(path, reach(found)) for path, found in places])


def _lost(dtype: str, what: str, places: list[tuple[str, Reach]]) -> Iterator[Finding]:
    for becomes, share in (("zero", _underflow), ("infinite", _overflow)):
        # One number that becomes infinite is enough to break a step.
        least = LOST_SHARE if becomes == "zero" else 0.0
        lost = [(path, share(reach)) for path, reach in places if share(reach) > least]
        if not lost:
            continue
        path, most = max(lost, key=lambda each: each[1])
        rest = f", and more than {signal_text.share(least)} of {text.count(len(lost) - 1, 'other')}"
        yield Finding(
            "dtype-range",
            Severity.NOTE,
            path,
            f"{signal_text.share(most)} of its {what} would become {becomes} in {dtype}"
            + (rest if lost[1:] else ""),
            _SCALE_THE_LOSS if (what, becomes) == ("gradient", "zero") else _WIDER,
        )


def _underflow(reach: Reach) -> float:
    return reach.underflow


def _overflow(reach: Reach) -> float:
    return reach.overflow
