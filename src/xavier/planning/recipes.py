"""Recipes: which rule for which weight, and why.

`auto` reads what feeds each weight. The literal recipes keep their papers' convention, one rule
for every weight, whatever feeds or follows it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from xavier import rules
from xavier._errors import UnknownNameError
from xavier._types.laws import Uniform
from xavier._types.plan import Role
from xavier.planning.setting import Choice, Setting

_LOGIT_RMS = 0.5
_HOMOGENEOUS = ("relu", "leaky_relu", "prelu", "abs")
_SATURATING = (
    *("tanh", "lecun_tanh", "sigmoid", "softsign", "arctan", "erf", "hardtanh", "hardsigmoid"),
    *("gaussian", "sine", "cosine", "relu6"),
)
_LINEAR = (
    *("identity", "normalization", "attention", "sum", "joined", "softmax"),
    *("recurrent state", "mixture", "log_softmax"),
)


class Recipe(Protocol):
    """Chooses a rule for each setting."""

    @property
    def name(self) -> str:
        """What the recipe is called."""
        ...

    def choose(self, setting: Setting) -> Choice:
        """Return the rule for one weight region, and the reason."""
        ...


@dataclass(frozen=True)
class Auto:
    """The exact rule: about the function that feeds each weight, at the size it really has."""

    name: str = "auto"

    def choose(self, setting: Setting) -> Choice:
        """Return the rule for one weight region, and the reason."""
        role = setting.site.role
        if setting.generated is not None:
            needed = setting.generated
            return Choice(
                rules.VarianceScaling(scale=needed / (setting.feed.forward or 1.0)),
                f"it computes a weight, whose second moment is to be {needed:.6g} here, so that"
                " what that weight is contracted with keeps its size (Chang et al. 2020)",
            )
        if role is Role.RECURRENT:
            return Choice(
                rules.Orthogonal(),
                "it multiplies a state that comes back: an orthogonal matrix keeps its norm",
            )
        if role is Role.EMBEDDING:
            return self._lookup(setting)
        if role is Role.TIED:
            return Choice(
                rules.VarianceScaling(scale=_head_scale(setting)),
                "the table is tied to the head, and the contraction decides: logits start with"
                f" RMS {_LOGIT_RMS}; a lookup gets rows of the same size",
            )
        if role is Role.HEAD:
            return Choice(
                rules.VarianceScaling(scale=_head_scale(setting)),
                f"a head: the outputs start with RMS {_LOGIT_RMS}, so that the first loss is near"
                " that of a guess",
            )
        choice = self._inner(setting)
        if role is Role.RESIDUAL and setting.site.writes > 1:
            writes = setting.site.writes
            return Choice(
                rules.Scaled(choice.rule, 1 / math.sqrt(writes)),
                f"{choice.reason}; it is one of {writes} writes to a residual stream, so times"
                f" 1/sqrt({writes})",
            )
        return choice

    def _lookup(self, setting: Setting) -> Choice:
        if setting.beside_tied is not None:
            tied = setting.beside_tied
            std = setting.beside_rms or _LOGIT_RMS / math.sqrt(tied.shape[-1])
            return Choice(
                rules.RandomNormal(std=std),
                f"its rows are added to those of the tied table `{tied.parameter.name}`, and get"
                " the same size",
            )
        factor = setting.factor_after
        told = "" if factor == 1 else f" after the factor {factor:.6g} that follows"
        return Choice(
            rules.RandomNormal(std=1 / factor),
            f"a lookup sums one row: E[x^2] = 1 per element{told}",
        )

    def _inner(self, setting: Setting) -> Choice:
        feed = setting.feed
        base = feed.name.split("(")[0]
        told = f"fed by {feed.name}, E[x^2] = {feed.forward:.6g}"
        if feed.pooled:
            told += " (of the pool's input)"
        if feed.name == "attention":
            told += " (of the values that attention mixes)"
        if setting.critical:
            return Choice(
                rules.Critical(),
                f"{told}; in a plain stack this deep the gradient's power E[f'^2] ="
                f" {feed.backward:.6g} decides: chi_1 = 1",
            )
        if not math.isfinite(feed.backward):
            return Choice(
                rules.ForwardGain(),
                f"{told}: its exact forward gain; the gradient's power E[f'^2] is infinite",
            )
        if setting.hopeless:
            told += "; the stack is too deep for it, and no variance holds chi_1 = 1 with biases"
            told += " of zero"
        if base in _HOMOGENEOUS:
            slope = _slope(feed.name)
            return Choice(rules.He(slope=slope), f"{told}: the ReLU family keeps both ways")
        if base == "selu":
            return Choice(rules.LeCun(), f"{told}: SELU normalizes itself at 1/fan_in")
        if base in _LINEAR or base in _SATURATING or self._saturates(setting):
            return Choice(
                rules.XavierExact(),
                f"{told}, E[f'^2] = {feed.backward:.6g}: Xavier's compromise between forward and"
                " backward",
            )
        return Choice(rules.ForwardGain(), f"{told}: its exact forward gain")

    @staticmethod
    def _saturates(setting: Setting) -> bool:
        """Tell whether the feeding function is bounded, whoever wrote it."""
        function = setting.feed.function
        if function is None:
            return False
        near = np.abs(function(np.array([-1e2, 1e2]))).max()
        far = np.abs(function(np.array([-1e4, 1e4]))).max()
        return bool(far <= 2 * near)


def _head_scale(setting: Setting) -> float:
    return _LOGIT_RMS**2 / (setting.feed.forward or 1.0)


def _slope(name: str) -> float:
    if "(" not in name:
        return 0.25 if name == "prelu" else -1.0 if name == "abs" else 0.0
    return float(name.split("(")[1].rstrip(")"))


@dataclass(frozen=True)
class Literal:
    """One rule for every weight, as its paper has it."""

    name: str
    rule: rules.Rule
    reason: str

    def choose(self, setting: Setting) -> Choice:
        """Return the rule for one weight region, and the reason."""
        return Choice(self.rule, self.reason)


@dataclass(frozen=True)
class OrthogonalForward:
    """Orthogonal matrices whose gain keeps the variance forward."""

    name: str = "orthogonal"

    def choose(self, setting: Setting) -> Choice:
        """Return the rule for one weight region, and the reason."""
        site = setting.site
        if len(site.shape) < 2:  # noqa: PLR2004 - a matrix has two axes
            return Choice(rules.LeCun(), "one axis alone has no orthogonal matrix")
        if site.role in (Role.EMBEDDING, Role.TIED):
            return Auto().choose(setting)
        rows, columns = site.shape[0], math.prod(site.shape[1:])
        power = setting.feed.forward
        gain = math.sqrt(max(rows, columns) / (setting.facts.fan_in * power))
        return Choice(
            rules.Orthogonal(gain=gain),
            f"orthogonal, times the gain that keeps the variance of {setting.feed.name} forward",
        )


@dataclass(frozen=True)
class Gpt2:
    """GPT-2's: N(0, 0.02), positions 0.01, residual writers divided by the root of writes."""

    name: str = "gpt2"

    def choose(self, setting: Setting) -> Choice:
        """Return the rule for one weight region, and the reason."""
        site = setting.site
        if site.role is Role.EMBEDDING and setting.beside_tied is not None:
            return Choice(rules.RandomNormal(std=0.01), "GPT-2's positions")
        if site.role is Role.RESIDUAL and site.writes > 1:
            return Choice(
                rules.Scaled(rules.RandomNormal(std=0.02), 1 / math.sqrt(site.writes)),
                f"GPT-2's 0.02 over the root of {site.writes} residual writes",
            )
        return Choice(rules.RandomNormal(std=0.02), "GPT-2's N(0, 0.02)")


@dataclass(frozen=True)
class Default:
    """What the framework does when nobody asks."""

    name: str = "default"

    def choose(self, setting: Setting) -> Choice:
        """Return the rule for one weight region, and the reason."""
        if setting.facts.default_law is not None:
            return Choice(rules.FrameworkDefault(), "what the framework does when nobody asks")
        bound = 1 / math.sqrt(max(math.prod(setting.site.parameter.shape[1:]), 1))
        return Choice(
            rules.Fixed(Uniform(-bound, bound)),
            "no default of the framework's is known for it: as for a dense layer",
        )


def _literal(name: str, rule: Callable[[], rules.Rule], reason: str) -> Callable[[], Recipe]:
    return lambda: Literal(name, rule(), reason)


_RECIPES: dict[str, Callable[[], Recipe]] = {
    "auto": Auto,
    "xavier": _literal("xavier", rules.Xavier, "Glorot and Bengio 2010, equation 16's variance"),
    "he": _literal("he", rules.He, "He et al. 2015, for ReLU"),
    "lecun": _literal("lecun", rules.LeCun, "LeCun et al. 1998: 1/fan_in"),
    "orthogonal": OrthogonalForward,
    "gpt2": Gpt2,
    "lsuv": lambda: OrthogonalForward("lsuv"),
    "default": Default,
    "random": _literal("random", lambda: rules.RandomNormal(std=0.01), "plain N(0, 0.01^2)"),
    "heuristic": _literal(
        "heuristic", rules.Heuristic, "U(+-1/sqrt(n)), the 2010 paper's baseline"
    ),
}


def names() -> tuple[str, ...]:
    """Return the names of all recipes."""
    return tuple(_RECIPES)


def resolve(recipe: str | Recipe) -> Recipe:
    """Return a recipe by name, or the one given.

    Raises:
        UnknownNameError: If there is no recipe of that name.
    """
    if not isinstance(recipe, str):
        return recipe
    if recipe not in _RECIPES:
        raise UnknownNameError("recipe", recipe, _RECIPES)
    return _RECIPES[recipe]()
