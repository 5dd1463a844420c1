"""What an override is, and which weights it is about.

    {"head.weight": Constant(0)}            a parameter's name, or a glob on it
    {"layers.[0-3].*": He()}                indices as the plan's table writes them
    {"type:Linear": Normal(0, 0.02)}        the weights of modules of a type; also a glob
    {"role:residual": "keep"}               what the weight does
    {lambda a: a.fan_in > 4096: LeCun()}    a predicate on the assignment

Where several match, the last wins. One that matches nothing is an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from itertools import chain
from typing import Any, Final, cast

from xavier import laws, rules
from xavier._errors import PlanError, UnknownNameError, said
from xavier._types.folding import indices
from xavier._types.laws import Law
from xavier._types.plan import Assignment, Kept, Role

KEEP: Final = "keep"

Match = str | Callable[[Assignment], bool]
Value = rules.Rule | Law | str
Spec = Mapping[Match, Value] | Iterable["Override | tuple[Match, Value]"]

_WIDEST: Final = 10_000  # indices in one pair of brackets


@dataclass(frozen=True, slots=True)
class Override:
    """What the user asks for instead of the recipe's choice.

    Attributes:
        match: A glob on names, `type:` or `role:` and a name, or a predicate on assignments.
        value: A rule, a law, a rule's name, or `keep`.
    """

    match: Match
    value: Value

    def __str__(self) -> str:
        """Return the override as an entry of the mapping it came from."""
        return f"{{{self.label}: {self.value!r}}}"

    @property
    def label(self) -> str:
        """What it matches by, as text."""
        return repr(self.match) if isinstance(self.match, str) else _called(self.match)

    @property
    def exact(self) -> bool:
        """Whether it is a parameter's whole name."""
        return isinstance(self.match, str) and not re.search(r"[*?\[]|^(type|role):", self.match)

    def names(self, kept: Kept) -> bool:
        """Return whether it gives the whole name of something that is kept."""
        return self.exact and self.match in (kept.name, *kept.aliases)

    def matches(
        self, *, name: str, module_type: str, role: Role, assignment: Assignment | None = None
    ) -> bool:
        """Return whether it is about a weight region.

        Args:
            name: The parameter's canonical name; its aliases are the assignment's.
            module_type: The type name of the module that owns it.
            role: What it does. A `type:` reaches neither biases nor scales.
            assignment: What a predicate is given; without one, no predicate matches.
        """
        if not isinstance(self.match, str):
            return assignment is not None and self._holds(self.match, assignment)
        kind, _, wanted = self.match.partition(":")
        if kind == "type":
            weight = role not in (Role.BIAS, Role.SCALE, Role.OTHER)
            return weight and glob(wanted).fullmatch(module_type) is not None
        if kind == "role":
            return wanted == role.value
        names = (name, *(assignment.aliases if assignment else ()))
        return any(glob(self.match).fullmatch(each) for each in names)

    def _holds(self, predicate: Callable[..., Any], assignment: Assignment) -> bool:
        try:
            return bool(predicate(assignment))
        except Exception as error:
            raise PlanError(
                f"override {self}: the predicate raised {said(error)} on `{assignment.name}`",
                hint="a predicate is given one assignment: lambda row: row.fan_in > 4096",
            ) from error


def glob(pattern: str) -> re.Pattern[str]:
    """Return a pattern on names as a regular expression.

    Args:
        pattern: `*` stands for anything, dots included, `?` for one character, and
            `[0-3,7]` or `[0,2,..,98]` for these indices, as folded names have them; any
            other bracket for itself.

    Raises:
        PlanError: If one pair of brackets holds more than 10,000 indices.

    Example:
        >>> bool(glob("layers.[0-47].*").fullmatch("layers.12.weight"))
        True
    """
    parts = re.split(r"(\*|\?|\[[^\[\]]*\])", pattern)
    return re.compile("".join(_translated(part) for part in parts), re.DOTALL)


def _translated(part: str) -> str:
    if part in {"*", "?"}:
        return ".*" if part == "*" else "."
    found = indices(part[1:-1]) if part.startswith("[") and part.endswith("]") else None
    if found is None:
        return re.escape(part)
    count = sum(map(len, found))
    if count > _WIDEST:
        raise PlanError(f"pattern {part!r} has {count:,} indices, expected at most {_WIDEST:,}")
    return f"(?:{'|'.join(map(str, chain.from_iterable(found)))})"


def compile_overrides(spec: Spec | None) -> tuple[Override, ...]:
    """Return overrides in their order, each checked, each value a rule or `keep`.

    Args:
        spec: A mapping, or pairs, or overrides; None for none.

    Raises:
        PlanError: If a match or a value is of no known form.
        UnknownNameError: If a role or a rule's name is unknown.

    Example:
        >>> from xavier.laws import Constant
        >>> compile_overrides({"*.bias": Constant(0)})[0].value
        Fixed(Constant(value=0.0))
    """
    if spec is None:
        return ()
    if isinstance(spec, str | Override):
        raise PlanError(f"overrides is {spec!r}, expected a mapping or a list of pairs")
    items: Any = spec.items() if isinstance(spec, Mapping) else spec
    if not isinstance(items, Iterable):
        raise PlanError(f"overrides is {spec!r}, expected a mapping or a list of pairs")
    return tuple(_compiled(item) for item in items)


def _compiled(item: Any) -> Override:
    if isinstance(item, Override):
        match, value = item.match, item.value
    elif isinstance(item, tuple | list) and len(item) == 2:  # noqa: PLR2004 - a pair
        match, value = item
    else:
        raise PlanError(f"override is {item!r}, expected a pair of match and value")
    if isinstance(match, str):
        kind, _, wanted = match.partition(":")
        if kind == "role" and wanted not in set(Role):
            raise UnknownNameError("role", wanted, Role)
        glob(match)
    elif not callable(match):
        raise PlanError(f"override matches by {match!r}, expected a string or a predicate")
    return Override(cast("Match", match), _valued(value))


def _valued(value: Any) -> rules.Rule | str:
    if isinstance(value, rules.Rule) or value == KEEP:
        return value
    if isinstance(value, Law):
        return rules.Fixed(laws.round_law(value))
    known = _rules_by_name()
    if isinstance(value, str):
        found = known.get(value.replace("_", "").casefold())
        if found is None:
            raise UnknownNameError(
                "rule", value, [*(each.__name__ for each in known.values()), KEEP]
            )
        return found()
    hint = f"such as Normal(0, 0.02), He(), 'he' or {KEEP!r}"
    raise PlanError(f"override's value is {value!r}, expected a law or a rule", hint=hint)


def _rules_by_name() -> dict[str, type[rules.Rule]]:
    """Return the rules that need no arguments."""
    found = (getattr(rules, name) for name in rules.__all__)
    return {
        each.__name__.casefold(): each
        for each in found
        if isinstance(each, type)
        and issubclass(each, rules.Rule)
        and each is not rules.Rule
        and all(f.default is not MISSING or f.default_factory is not MISSING for f in fields(each))
    }


def find(
    overrides: Iterable[Override],
    *,
    name: str,
    module_type: str,
    role: Role,
    assignment: Assignment | None = None,
) -> Override | None:
    """Return the last override that matches a weight region, or None.

    Args:
        overrides: As `compile_overrides` returns them.
        name: The parameter's canonical name.
        module_type: The type name of the module that owns it.
        role: What it does.
        assignment: What predicates look at.
    """
    found = None
    for each in overrides:
        if not _has_a_say(each, assignment):
            continue
        if each.matches(name=name, module_type=module_type, role=role, assignment=assignment):
            found = each
    return found


def _has_a_say(override: Override, assignment: Assignment | None) -> bool:
    """Tell whether the value can be applied: a rule on fans says nothing of a bias."""
    needs_fans = not isinstance(override.value, str | rules.Fixed)
    return not (needs_fans and assignment is not None and math.isnan(assignment.fan_in))


def _called(predicate: Callable[..., Any]) -> str:
    return getattr(predicate, "__name__", type(predicate).__name__)
