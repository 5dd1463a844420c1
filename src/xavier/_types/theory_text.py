"""Theory beside measurement in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from xavier._types import signal_text, text

if TYPE_CHECKING:
    from xavier._types.signal import Check, OpSignal
    from xavier._types.theory import PlainStack, Theory

# What the theory does not follow exactly, and why.
LIMITS: Final = {
    "attention": "values that differ are smaller when they are mixed; they count as one",
    "softmax": "its elements are not independent, and what it mixes counts as one value",
    "pool": "the largest or the mean of many counts as one of them",
    "mean": "a mean over elements that differ is smaller than one of them",
    "sum": "what is summed counts as independent",
    "product": "two signals count as independent of each other",
    "routing": "what is routed past an op has no part in its gradient",
    "selection": "what is selected may get another gradient than the rest",
    "recurrence": "a state counts as it is at rest",
    "untraced op": "what it does is not known",
    "blocks": "blocks of one weight differ in size, and of its gradient only the mean is measured",
    "loss": "what comes back from a loss depends on the output, and so on the weights",
    "batch norm": "a gradient grows by what inputs have in common, which is not counted",
    "running statistics": "a batch norm in eval mode does not normalize this batch",
}


def limits(theory: Theory) -> list[str]:
    """Return what the theory does not follow in a model, and next to how many ops, with the why."""
    counted: dict[str, int] = {}
    for each in theory.ops:
        for word in dict.fromkeys((*each.limits, *each.gradient_limits)):
            counted[word] = counted.get(word, 0) + 1
    return [
        f"{text.printable(word)} (next to {text.count(number, 'op')}): {LIMITS.get(word, '')}"
        for word, number in counted.items()
    ]


def stacks(check: Check) -> list[str]:
    """Return the mean-field numbers of each plain stack of a check, in a sentence each."""
    places = {op.index: op for op in check.signal.ops}
    return [_stack(each, places) for each in (check.theory.stacks if check.theory else ())]


def _stack(stack: PlainStack, ops: Mapping[int, OpSignal]) -> str:
    first, last = (
        signal_text.place(ops[at]) if at in ops else f"op {at}" for at in (stack.first, stack.last)
    )
    sigma_w, sigma_b, q, chi, xi = map(
        signal_text.quantity, (stack.sigma_w, stack.sigma_b, stack.q, stack.chi_1, stack.xi)
    )
    return (
        f"{stack.depth} {text.printable(stack.activation)} layers, {first} to {last}: "
        f"sigma_w {sigma_w}, sigma_b {sigma_b}, q* {q}, chi_1 {chi}; "
        f"depth scale {xi} layers; {_edge(stack)}"
    )


def _edge(stack: PlainStack) -> str:
    if stack.distance is None:
        return "no edge of chaos"
    at = signal_text.quantity(stack.critical_sigma_w)
    if abs(stack.distance) < 0.005:  # noqa: PLR2004 - as near as a percent tells
        return f"at the edge of chaos (sigma_w {at})"
    side = "above" if stack.distance > 0 else "below"
    return f"{signal_text.share(abs(stack.distance))} {side} the edge of chaos (sigma_w {at})"
