"""Try the recipes on an unhealthy model, and say which one mends it, or that none does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from xavier import checking
from xavier._errors import PlanError, XavierError
from xavier._types.cures import Cures, Trial
from xavier._types.plan import Plan
from xavier._types.plan_diff import difference
from xavier._types.signal import NONFINITE_EXAMPLE, Check, Verdict
from xavier.checking import cures
from xavier.checking.serving import file_for

# What mends most comes first; the baselines (default, random, heuristic) are no cures.
RECIPES: Final = ("auto", "xavier", "he", "lecun", "orthogonal", "lsuv", "gpt2")
SEEDS: Final = (0, 1, 2)


def try_cures(  # noqa: PLR0913 - the public contract
    found: Check,
    model: Any,
    example: Any,
    *,
    target: Any = None,
    loss: Callable[[Any, Any], Any] | str | None = None,
    plan: Plan | None = None,
    recipes: Sequence[str] = RECIPES,
    seeds: Sequence[int] = SEEDS,
) -> Check:
    """Draw an unhealthy model by each recipe and check it, to find the one that mends it.

    A recipe mends the model if it is healthy with every seed; the first seed with which it is
    not ends that recipe's trial. So this costs one plan, one drawing and one forward and backward
    pass for each recipe, and for those that mend, the same drawing and passes for each further
    seed. The model, its gradients and modes, and every random state are afterwards as they were,
    to the bit, also on an error; while this runs, parameters, gradients and buffers are in memory
    once more.

    Args:
        found: What `xavier.check` found of this model on this example.
        model: The model.
        example: As for `xavier.check`.
        target: As for `xavier.check`.
        loss: As for `xavier.check`.
        plan: The plan that the weights follow so far, which the cure's is shown beside; without
            one, the weights' own standard deviations are.
        recipes: The names of the recipes to try, the most welcome first.
        seeds: What each is drawn with, at least one.

    Returns:
        The check with its `cures`, and with a `cure` that was measured: the line that mends the
        model, or the change of the architecture without which nothing does. A check that is
        healthy, or that failed on an example that is not finite, is returned as it is.

    Raises:
        XavierError: If the model can be drawn or run by none of the recipes.
        UnknownNameError: If a recipe is none.
        PlanError: If there is no recipe or no seed.

    Example:
        >>> import torch, xavier
        >>> layer = lambda: torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU())
        >>> model = torch.nn.Sequential(*(layer() for _ in range(30)))
        >>> example = torch.randn(8, 64)
        >>> sick = xavier.check(model, example)
        >>> [(each.recipe, each.mends) for each in
        ...  xavier.try_cures(sick, model, example, recipes=["xavier", "he"]).cures.trials]
        [('xavier', False), ('he', True)]
    """
    if not recipes or not seeds:
        raise PlanError("there is nothing to try: expected a recipe and a seed at least")
    nothing_helps = found.verdict is Verdict.BROKEN and NONFINITE_EXAMPLE in found.signal.notes
    if found.verdict is Verdict.HEALTHY or nothing_helps:
        return found
    trier = _Trier(model, example, {"target": target, "loss": loss})
    outcomes = [trier.tried(recipe, seeds) for recipe in _known(recipes)]
    if trier.errors and all(each.verdict is None for each, _ in outcomes):
        raise trier.errors[0]  # whatever the weights are, it is not for them that nothing runs
    mending = next((each for each in outcomes if each[0].mends), None)
    trials = tuple(each for each, _ in outcomes)
    if mending is None or mending[1] is None:
        change = cures.change(found, trials)
        told = Cures(trials=trials, recipe="", change=change, diff="")
        return replace(found, cures=told, cure=cures.none_mends(trials, change))
    stds = {each.name: each.std for each in found.signal.weights}
    diff = difference(mending[1], plan, stds=stds)
    told = Cures(trials=trials, recipe=mending[0].recipe, change="", diff=diff)
    return replace(found, cures=told, cure=cures.measured_line(mending[0]))


def _known(recipes: Sequence[str]) -> Iterator[str]:
    from xavier.planning.recipes import resolve  # noqa: PLC0415 - loads much else

    yield from [resolve(each).name for each in recipes]


class _Trier:
    """Draws a model by one recipe after another, and puts it back each time."""

    def __init__(self, model: Any, example: Any, settings: dict[str, Any]) -> None:
        self._model, self._example, self._settings = model, example, settings
        self.errors: list[XavierError] = []

    def tried(self, recipe: str, seeds: Sequence[int]) -> tuple[Trial, Plan | None]:
        """Return how a recipe fared, and the plan of its first drawing."""
        trial, first = Trial(recipe, (), None, "", ""), None
        for at, seed in enumerate(seeds, 1):
            try:
                found, plan = self._checked(recipe, first, seed)
            except XavierError as error:
                self.errors.append(error)
                return Trial(recipe, trial.seeds, None, "", error.message), None
            first = first or plan
            healthy = found.verdict is Verdict.HEALTHY
            where = "" if healthy else found.where
            trial = Trial(recipe, tuple(seeds[:at]), found.verdict, where, found.evidence)
            if not healthy:
                break
        return trial, first

    def _checked(self, recipe: str, plan: Plan | None, seed: int) -> tuple[Check, Plan]:
        from xavier.planning import init_  # noqa: PLC0415 - loads much else

        # What is rescaled by the data is worked out for each seed; other plans know no seed.
        again = None if recipe == "lsuv" else plan
        with file_for(self._model, "rehearsal").rehearsal(self._model):
            drawn = init_(self._model, self._example, seed=seed, recipe=recipe, plan=again)
            checked = checking.check(
                self._model, self._example, plan=drawn, theory=False, **self._settings
            )
        return checked, drawn
