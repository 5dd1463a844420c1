"""What a recipe may look at when it chooses a rule, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass

from xavier._types.laws import Law
from xavier.flow.feeds import Feed
from xavier.planning.defaults import default_law
from xavier.planning.sites import Site
from xavier.rules import Facts, Rule


@dataclass(frozen=True)
class Setting:
    """A site, and where it stands.

    Attributes:
        site: The weight region.
        feed: What it multiplies.
        critical: Whether it is part of a long plain stack that needs the critical line.
        hopeless: Whether it is part of one that no initialization keeps from vanishing.
        factor_after: For lookups: a constant that the rows are multiplied by.
        beside_tied: For lookups: the tied table whose rows these are added to.
        beside_rms: The RMS of that table's elements, once its law is known.
        generated: Of a matrix that computes a weight: the second moment which that needs.
    """

    site: Site
    feed: Feed
    critical: bool = False
    hopeless: bool = False
    factor_after: float = 1.0
    beside_tied: Site | None = None
    beside_rms: float | None = None
    generated: float | None = None

    @property
    def facts(self) -> Facts:
        """The numbers that rules read."""
        site = self.site
        return Facts(
            shape=site.shape,
            fan_in=site.fan_in * site.scale**2,
            fan_out=site.fan_out * site.scale**2,
            forward_power=self.feed.forward,
            backward_power=self.feed.backward,
            kernel=site.shape[2:],
            default_law=default_law(site.parameter),
        )


@dataclass(frozen=True)
class Choice:
    """A rule, and why."""

    rule: Rule
    reason: str

    def law(self, setting: Setting) -> Law:
        """Return the law that the rule gives for the setting."""
        return self.rule.law(setting.facts)
