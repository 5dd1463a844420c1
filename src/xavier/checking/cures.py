"""What mends a fault: a line that can be run, or the change that no line replaces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from xavier._types.cures import Trial
from xavier._types.signal import Check, OpSignal, Signal, Verdict
from xavier._types.signal_text import place

_CHANGES = {
    Verdict.VANISHING: "put a normalization before it or a skip around it, or take an "
    "activation that keeps the gradient (tanh or ReLU for sigmoid)",
    Verdict.EXPLODING: "put a normalization before it, or scale the branch down",
    Verdict.DEAD: "take an activation that is not flat on one side (leaky ReLU, GELU), or "
    "check what the example feeds it",
    Verdict.COLLAPSED: "put a skip around each block or a batch normalization between them",
    Verdict.SATURATED: "put a normalization before the activation, or standardize the input",
    Verdict.BROKEN: "look for a division by zero, an overflow in low precision, or NaN in "
    "the example at this op",
    Verdict.ASYMMETRIC: "look for a parameter that is set to a constant after it is drawn",
}

_SIGMOIDS: Final = ("sigmoid", "hardsigmoid", "softplus")  # never negative, and smooth

_GROWS: Final = (Verdict.EXPLODING, Verdict.VANISHING)

FINITE_EXAMPLE = "give an example of finite numbers: of this one nothing else can be said"


def init_line(recipe: str = "auto", *, only: str | None = None) -> str:
    """Return the line that draws a model anew.

    Args:
        recipe: The recipe's name.
        only: A parameter's name, to draw that one alone.

    Returns:
        A line of Python that can be run where `model` and `example` are defined.
    """
    chosen = f", only=[{only!r}]" if only else ""
    return f'xavier.init_(model, example, recipe="{recipe}"{chosen})'


def cure(verdict: Verdict, where: str, *, drawn_by_auto: bool) -> str:
    """Return what mends a verdict.

    Args:
        verdict: What is wrong.
        where: The path where it begins.
        drawn_by_auto: Whether the weights already follow the `auto` recipe, so that to draw
            them again would change nothing.

    Returns:
        A runnable line, or for a model that `auto` cannot mend the change to make; empty
        for a healthy one.
    """
    if verdict is Verdict.HEALTHY:
        return ""
    if not drawn_by_auto:
        return init_line()
    return f"no initialization mends this at `{where}`: {_CHANGES[verdict]}"


def measured_line(trial: Trial) -> str:
    """Return the line that mends a model, and what was measured as a comment behind it.

    Args:
        trial: Of the recipe that mends it.
    """
    line = f'xavier.init_(model, example, recipe="{trial.recipe}", seed={trial.seeds[0]})'
    word = "seed" if len(trial.seeds) == 1 else "seeds"
    return f"{line}  # measured: healthy with {word} {', '.join(map(str, trial.seeds))}"


def none_mends(trials: Sequence[Trial], named: str) -> str:
    """Return that no recipe mends a model, and the change that would.

    Args:
        trials: Of all recipes that were tried.
        named: What to change.
    """
    tried = ", ".join(each.recipe for each in trials)
    lucky = ", ".join(each.recipe for each in trials if each.seeds[1:])
    if lucky:
        return f"no initialization mends this with every seed ({lucky} does with some): {named}"
    return f"no initialization mends this (tried: {tried}): {named}"


def change(found: Check, trials: Sequence[Trial]) -> str:
    """Return the change of the architecture that mends what no recipe does.

    It goes by what is wrong once the model is drawn by the first recipe that could be: the
    weights that it came with may have had another fault.

    Args:
        found: The check of the model as it came.
        trials: Of the recipes, none of which mends it.
    """
    drawn = next((each for each in trials if each.verdict not in (None, Verdict.HEALTHY)), None)
    verdict, where = (drawn.verdict, drawn.where) if drawn else (found.verdict, found.where)
    function = _function_at(found.signal, where)
    if verdict in (Verdict.VANISHING, Verdict.COLLAPSED) and function in _SIGMOIDS:
        return (
            f"take tanh in place of {function}, or put a batch normalization before each "
            f"{function}, or a skip around each layer"
        )
    if verdict is Verdict.DEAD and _cut_at(found.signal, where):
        return (
            f"no gradient comes back to `{where}`: take a function that has a slope (tanh) in "
            "place of one that has none (sign, round, a comparison), or pass the gradient "
            "straight through it"
        )
    if verdict is Verdict.BROKEN and any(each.verdict in _GROWS for each in trials):
        verdict = Verdict.EXPLODING  # what overflows by one recipe grows by another
    return f"{_CHANGES[verdict or found.verdict]} (at `{where}`)"


def _function_at(signal: Signal, where: str) -> str:
    """Return the function that follows the op at a place; where none does, the commonest one."""
    here = [op.activation for op in _ops_at(signal, where) if op.activation]
    all_of_them = Counter(op.activation for op in signal.ops if op.activation)
    return here[0] if here else next((name for name, _ in all_of_them.most_common(1)), "")


def _cut_at(signal: Signal, where: str) -> bool:
    """Whether data come to a place and the gradient that comes back is exactly zero."""
    return any(op.gradient_rms == 0 and op.rms > 0 for op in _ops_at(signal, where))


def _ops_at(signal: Signal, where: str) -> list[OpSignal]:
    return [op for op in signal.ops if place(op) == where]
