"""From a flow to a plan: moments go through the graph, and each weight met gets its law.

The law of a weight depends on what feeds it, which depends on the laws before it. So the flow
is passed over a few times, until no law changes: a table that is tied to the head, say, is met
first as a lookup, but decided by the contraction at the end.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from xavier import laws
from xavier._errors import ActivationError, LawError, PlanError
from xavier._types.flow import Flow, Op, OpKind
from xavier._types.laws import Law
from xavier._types.plan import Role
from xavier.flow.feeds import Feed, constant_factor
from xavier.flow.generated import Generated, generators
from xavier.flow.graph import Graph
from xavier.flow.ledger import Passed, Settled
from xavier.flow.moments import Propagation
from xavier.flow.structure import Structure, structure
from xavier.planning.constraints import constrained
from xavier.planning.recipes import Recipe
from xavier.planning.setting import Choice, Setting
from xavier.planning.sites import Site, sites
from xavier.theory.quadrature import powers

_PASSES = 6
_LOW, _HIGH = 0.1, 10.0


@dataclass(frozen=True)
class Decision:
    """What was decided for a site, and what it was decided from."""

    site: Site
    feed: Feed
    choice: Choice
    law: Law
    predicted_q: float
    predicted_chi: float
    followed_by: str
    follower_law: Law | None = None
    notes: tuple[str, ...] = ()


class Planner:
    """Decides a law for every weight region of a flow.

    Args:
        flow: The flow.
        recipe: Chooses the rule for each site.
        planned: What parameters that are not drawn will hold: mean and second moment.
        silent: Weights that stay zero.
        rows: The rows of parameters whose rows are constants, but not all the same.
    """

    def __init__(
        self,
        flow: Flow,
        recipe: Recipe,
        *,
        planned: Mapping[str, tuple[float, float]],
        silent: frozenset[str],
        rows: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.flow = flow
        self.structure: Structure = structure(flow)
        self._recipe = recipe
        self._planned = planned
        self._rows = rows or {}
        self._rests: dict[int, Settled] = {}
        self._needed: dict[int, float] = {}
        self.silent = silent
        quiet = frozenset(
            at
            for at, op in enumerate(flow.ops)
            if op.weights and all(use.parameter in silent for use in op.weights)
        )
        self.sites = sites(flow, self.structure.without(quiet))
        self._at: dict[int, list[Site]] = defaultdict(list)
        for site in self.sites:
            for use in site.uses:
                self._at[use.op].append(site)
        self.notes: tuple[str, ...] = ()
        self._feeds: dict[int, Feed] = {}
        self._seconds: dict[int, float] = {}
        self._chosen: dict[tuple[object, ...], tuple[Choice, Law]] = {}
        self._critical: frozenset[int] = frozenset()
        self._hopeless: frozenset[int] = frozenset()

    @cached_property
    def _graph(self) -> Graph:
        return Graph(self.flow)

    @cached_property
    def _generators(self) -> dict[int, list[Generated]]:
        return generators(self._graph)

    def decide(self) -> list[Decision]:
        """Return a decision for every site, in the order of the parameters."""
        for turn in range(_PASSES):
            before = dict(self._chosen)
            self._pass()
            if turn:
                critical, hopeless = self._long_stacks()
                seen = (critical, hopeless) == (self._critical, self._hopeless)
                settled = seen and self._chosen == before
                self._critical, self._hopeless = critical | self._critical, hopeless
                if settled:
                    break
        return [self.decision(site) for site in self.sites]

    # One pass

    def _pass(self) -> None:
        self._met: set[tuple[object, ...]] = set()
        propagation = Propagation(
            self.flow,
            self.structure,
            planned=self._planned,
            rows=self._rows,
            rests=self._rests,
            on_weights=self._on_weights,
        )
        propagation.run()
        self.notes = tuple(propagation.notes)
        self._needed = self._of_generated(propagation)

    def _of_generated(self, seen: Propagation) -> dict[int, float]:
        """Return what each op that computes a weight must give, for the uses of that weight."""
        found: dict[int, float] = {}
        for at, uses in self._generators.items():
            powers = [1.0 / size for use in uses if (size := self._grown(seen, at, use)) > 0]
            if powers:
                found[at] = min(powers)
        return found

    def _grown(self, seen: Propagation, at: int, use: Generated) -> float:
        """Return what a second moment of 1 behind an op becomes behind the weight it computes."""
        count, factors = seen.products.get(use.product, (0.0, {}))
        own = self._seconds.get(at, 0.0)
        if use.weight not in factors or len(factors) < 2 or not own > 0:  # noqa: PLR2004 - a pair
            return 0.0
        (other,) = (second for value, second in factors.items() if value != use.weight)
        return count * other * factors[use.weight] / own

    def _on_weights(self, at: int, feed: Feed | None) -> Passed:
        op = self.flow.ops[at]
        if feed is None:
            feed = Feed("lookup", 1.0, 1.0)
        self._feeds[at] = feed
        total = size = back = 0.0
        for site in self._at.get(at, []):
            use = next(each.weights for each in site.uses if each.op == at)
            size += use.fan_out
            if site.parameter.name in self.silent:
                continue
            if site.key not in self._met:
                self._met.add(site.key)
                self._chosen[site.key] = self._choose(site)
            _, law = self._chosen[site.key]
            variance = laws.second_moment(law, site.shape) * use.scale**2
            power = use.fan_in * feed.forward if op.inputs else 1.0
            total += use.fan_out * variance * power
            back += use.fan_out * variance
        second = total / size if size else self._unplanned(op, feed)
        self._seconds[at] = second
        return Passed(second, back if size else 1.0)

    @staticmethod
    def _unplanned(op: Op, feed: Feed) -> float:
        """Second moment behind weights that are not drawn: as if they kept the variance."""
        return feed.forward if op.kind is OpKind.CONTRACT else 1.0

    def _choose(self, site: Site) -> tuple[Choice, Law]:
        setting = self._setting(site)
        choice = constrained(site) or self._recipe.choose(setting)
        try:
            return choice, choice.law(setting)
        except LawError as error:
            told = f"`{site.parameter.name}`, fed by {setting.feed.name}: {error.message}"
            hint = error.hint or "another recipe, or an override for this weight, may have a law"
            raise PlanError(told, hint=hint) from error

    def _setting(self, site: Site) -> Setting:
        feed = self.deciding_feed(site)
        ops = [use.op for use in site.uses]
        tied = self._beside_tied(site)
        chosen = self._chosen.get(tied.key) if tied else None
        return Setting(
            site=site,
            feed=feed,
            critical=any(op in self._critical for op in ops),
            hopeless=any(op in self._hopeless for op in ops),
            factor_after=self._factor_after(site),
            beside_tied=tied,
            beside_rms=laws.second_moment(chosen[1], tied.shape) ** 0.5
            if tied and chosen
            else None,
            generated=min((self._needed[op] for op in ops if op in self._needed), default=None),
        )

    def deciding_feed(self, site: Site) -> Feed:
        """Return the feed that decides a site's law: the most restrictive of its uses'."""
        feeds = [self._feeds[use.op] for use in site.uses if use.op in self._feeds]
        contracted = [
            self._feeds[use.op]
            for use in site.uses
            if use.op in self._feeds and self.flow.ops[use.op].inputs
        ]
        if site.in_recurrence and site.role is Role.RECURRENT:
            return (contracted or feeds)[-1]
        fed = [each for each in contracted if each.forward > 0]
        if fed:
            return max(fed, key=lambda feed: feed.forward)
        return feeds[-1] if feeds and not contracted else Feed("constant", 1.0, 1.0)

    def _factor_after(self, site: Site) -> float:
        """Return the constant that a lookup's rows are multiplied by, such as sqrt(d)."""
        factor = 1.0
        for use in site.uses:
            op = self.flow.ops[use.op]
            if op.kind is not OpKind.LOOKUP:
                continue
            for each in self.flow.ops:
                if op.output in each.inputs:
                    factor *= self._constant_factor(each, op.output)
        return factor

    def _constant_factor(self, op: Op, value: int) -> float:
        """Return the constant that an op multiplies one of its inputs by; 1 if it does not."""
        others = [self.flow.values[each] for each in op.inputs if each != value]
        if op.function is not None and not others:
            return abs(constant_factor(op.function) or 1.0)
        scaled = op.kind is OpKind.MULTIPLY and len(others) == 1 and not others[0].shape
        return abs(others[0].mean or 1.0) if scaled else 1.0

    def _beside_tied(self, site: Site) -> Site | None:
        """Return the tied table whose rows this lookup's rows are added to, if there is one."""
        if site.role is not Role.EMBEDDING:
            return None
        outputs = {self.flow.ops[use.op].output for use in site.uses}
        tied = {
            self.flow.ops[use.op].output: other
            for other in self.sites
            if other.role is Role.TIED
            for use in other.uses
        }
        for op in self.flow.ops:
            if op.kind is OpKind.ADD and outputs & set(op.inputs):
                for value in op.inputs:
                    if value in tied:
                        return tied[value]
        return None

    # Long plain stacks

    def _long_stacks(self) -> tuple[frozenset[int], frozenset[int]]:
        """Find stacks without norm or skip over which the gradient would leave [1/10, 10].

        Returns the ops of those that the critical line mends, and of those it cannot.
        """
        chains: dict[int, list[int]] = {}
        for at in sorted(self._feeds):
            feed = self._feeds[at]
            usable = [op for op in feed.ops if op in chains]
            if self.flow.ops[at].kind is not OpKind.CONTRACT:
                continue
            chains[at] = [*chains[usable[0]], at] if len(usable) == 1 else [at]
        ends = [chain for chain in chains.values() if len(chain) > 2]  # noqa: PLR2004 - of two writes and more
        longest = [chain for chain in ends if not any(chain == other[:-1] for other in ends)]
        critical: set[int] = set()
        hopeless: set[int] = set()
        for chain in longest:
            inner = [at for at in chain[1:] if at not in self.structure.heads]
            total = 1.0
            for at in inner:
                total *= self._chi(at)
            if _LOW <= total <= _HIGH and not set(inner) & self._critical:
                continue
            (critical if all(map(self._has_critical_point, inner)) else hopeless).update(inner)
        return frozenset(critical), frozenset(hopeless)

    def _chi(self, at: int) -> float:
        found = [
            self._predicted_chi(site, self._feeds[at])
            for site in self._at.get(at, [])
            if site.key in self._chosen
        ]
        return sum(found) / len(found) if found else 1.0

    def _has_critical_point(self, at: int) -> bool:
        """Tell whether chi_1 = 1 is reached without a negative bias variance, and is held.

        Where the length shrinks on the critical line, it does towards zero: the function must let
        gradients pass there, which a shrinkage does not.
        """
        feed = self._feeds[at]
        if feed.function is None:
            return True
        found = powers(feed.function, variance=1.0)
        if not math.isfinite(found.backward) or found.forward > found.backward * (1 + 1e-9):
            return False
        if found.forward > found.backward * (1 - 1e-9):
            return True
        try:
            return powers(feed.function, variance=0.0).backward > 0
        except ActivationError:
            return True

    # Decisions

    def _predicted_chi(self, site: Site, feed: Feed) -> float:
        _, law = self._chosen[site.key]
        variance = laws.second_moment(law, site.shape) * site.scale**2
        return site.fan_out * variance * feed.backward

    def decision(self, site: Site) -> Decision:
        """Return what is decided for a site, or for one that would be used as a site is."""
        feed = self.deciding_feed(site)
        if site.key not in self._chosen:
            self._chosen[site.key] = self._choose(site)
        choice, law = self._chosen[site.key]
        own = laws.second_moment(law, site.shape) * site.scale**2 * feed.forward
        use = site.uses[-1]
        q = own * use.weights.fan_in
        if site.role is Role.EMBEDDING:
            q = own
        q += sum(self._seconds.get(at, 0.0) for at in self._together(use.op) - {use.op})
        return Decision(
            site=site,
            feed=feed,
            choice=choice,
            law=law,
            predicted_q=q,
            predicted_chi=self._predicted_chi(site, feed),
            followed_by=self._followed_by(use.op),
            follower_law=self._follower_law(site),
            notes=self._use_notes(site),
        )

    def _follower_law(self, site: Site) -> Law | None:
        """Return the law by the function that follows, at unit variance, if there is one."""
        together = self._together(site.uses[-1].op)
        feeds = (
            feed
            for feed in self._feeds.values()
            if len(feed.ops) == 1 and feed.ops[0] in together and not feed.pooled
        )
        feed = next((each for each in feeds if each.function is not None), None)
        if feed is None or feed.function is None or constrained(site) is not None:
            return None
        try:
            found = powers(feed.function, variance=1.0)
            feed = replace(feed, forward=found.forward, backward=found.backward)
            setting = replace(self._setting(site), feed=feed)
            return self._recipe.choose(setting).law(setting)
        except (ActivationError, LawError):
            return None

    def _use_notes(self, site: Site) -> tuple[str, ...]:
        feeds = [self._feeds[use.op] for use in site.uses if self.flow.ops[use.op].inputs]
        powers_seen = {round(feed.forward, 6) for feed in feeds if feed.forward > 0}
        if site.in_recurrence or len(powers_seen) < 2:  # noqa: PLR2004 - a pair
            return ()
        return (
            f"it is used {len(site.uses)} times on signals of different size; the largest decides",
        )

    def _together(self, at: int) -> set[int]:
        """Return the contractions whose sum an op's output counts as, itself included."""
        return {at} if at in self.structure.writes else {at, *self.structure.shared.get(at, ())}

    def _followed_by(self, at: int) -> str:
        together = self._together(at)
        following = [feed for feed in self._feeds.values() if together.intersection(feed.ops)]
        names = {feed.name for feed in following if feed.function is not None}
        if any(feed.name == "gated product" for feed in following):
            names.add("gated product")
        if names:
            return " / ".join(sorted(names))
        return _next_step(self._graph, self.flow.ops[at].output)


def _next_step(graph: Graph, value: int) -> str:
    words = {
        OpKind.NORMALIZE: "normalization",
        OpKind.SOFTMAX: "softmax",
        OpKind.ATTENTION: "attention",
        OpKind.CONTRACT: "identity",
        OpKind.POOL: "pool",
        OpKind.MEAN: "mean",
        OpKind.ELEMENTWISE: "elementwise",
        OpKind.MULTIPLY: "product",
    }
    for _ in range(40):
        if value in graph.flow.outputs or not graph.consumers[value]:
            return "output"
        op = graph.flow.ops[graph.consumers[value][0]]
        if op.kind is OpKind.ADD and len(graph.computed(op)) > 1:
            return "sum"
        if not graph.is_linear_step(op):
            return words.get(op.kind, op.kind.value)
        value = op.output
    return "identity"
