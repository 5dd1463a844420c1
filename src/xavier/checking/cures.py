"""What mends a fault: a line that can be run, or the change that no line replaces."""

from __future__ import annotations

from xavier._types.signal import Verdict

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
