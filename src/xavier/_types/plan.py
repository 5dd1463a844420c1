"""The plan: one law for every region of every parameter, and the reason for it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Self

from xavier._errors import PlanError, UnknownNameError
from xavier._types import codec, plan_codec, plan_text
from xavier._types.laws import Law
from xavier._types.region import Region, check_cover

__all__ = ["Assignment", "Kept", "Plan", "Region", "Role", "check_cover"]


class Role(StrEnum):
    """What a parameter region does in the computation."""

    INPUT = "input"  # the first contraction on the model's data
    HIDDEN = "hidden"  # any other contraction
    RESIDUAL = "residual"  # the last contraction before a residual add
    RECURRENT = "recurrent"  # multiplies a state that comes back
    HEAD = "head"  # its output is the model's output
    EMBEDDING = "embedding"  # a lookup table
    TIED = "tied"  # a lookup table that is also a contraction
    BIAS = "bias"
    SCALE = "scale"  # the multiplier of a normalization
    OTHER = "other"  # none of these: drawn because an override names it


@dataclass(frozen=True, slots=True)
class Assignment:
    """The law of one weight region, where it comes from, and what it predicts.

    Attributes:
        name: The parameter's canonical name, such as `layers.3.weight`.
        region: The part of the parameter.
        shape: The region's shape, in stored axes.
        role: What the region does.
        fan_in: Products summed into one output element (see `xavier.fans`); nan for biases.
        fan_out: Products that one input element enters; nan for biases.
        fed_by: The function whose output the weight multiplies, such as `identity`, `tanh`.
        followed_by: The function that is applied to what the weight computes.
        rule: The rule that chose the law, such as `He(mode='fan_in')`.
        law: The law of the *effective* weight, numbers rounded to six significant digits.
        reason: Why this rule, in one sentence.
        forward_power: E[x**2] of what the weight multiplies.
        backward_power: E[(dx/dh)**2] of the function that feeds it.
        predicted_q: The second moment of what it computes, under `law`, or of the whole sum where
            the outputs of several dense layers are added; nan if unknown.
        predicted_chi: The ratio of gradient second moments, input side over output side,
            that the rule predicts across the weight and the function that feeds it.
        follower_law: What the same recipe gives if it takes the function that follows for the one
            that feeds, as frameworks' snippets do; None if none follows.
        aliases: Other names of the same storage.
        frameworks: Where a framework counts other fans: `{"torch": (fan_in, fan_out)}`.
    """

    name: str
    region: Region
    shape: tuple[int, ...]
    role: Role
    fan_in: float
    fan_out: float
    fed_by: str
    followed_by: str
    rule: str
    law: Law
    reason: str
    forward_power: float = float("nan")
    backward_power: float = float("nan")
    predicted_q: float = float("nan")
    predicted_chi: float = float("nan")
    follower_law: Law | None = None
    aliases: tuple[str, ...] = ()
    frameworks: dict[str, tuple[float, float]] = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        """Compare all fields, where an unknown number (NaN) equals an unknown one."""
        if not isinstance(other, Assignment):
            return NotImplemented
        names = (each.name for each in fields(self))
        return all(codec.same(getattr(self, name), getattr(other, name)) for name in names)

    def __hash__(self) -> int:
        """Hash what tells assignments of one plan apart."""
        return hash((self.name, self.region, self.law))

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data; an unknown number is the string `"nan"`."""
        return codec.plain(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, where: str = "assignment") -> Self:
        """Return the assignment that `to_dict` gave.

        Args:
            data: Its fields; those with a default may be left out.
            where: What it belongs to, for the messages.

        Raises:
            PlanError: If a key is unknown or missing, or a value is not what it should be.
        """
        reader = codec.Reader(data, where=where)
        name = reader.text("name")
        reader.within(name)
        nan = float("nan")
        made = cls(
            name=name,
            region=Region.from_dict(reader.take("region", {}), where=f"{reader.where}.region"),
            shape=reader.integers("shape"),
            role=_role(reader),
            fan_in=reader.number("fan_in"),
            fan_out=reader.number("fan_out"),
            fed_by=reader.text("fed_by"),
            followed_by=reader.text("followed_by"),
            rule=reader.text("rule"),
            law=plan_codec.law(reader),
            reason=reader.text("reason"),
            forward_power=reader.number("forward_power", nan),
            backward_power=reader.number("backward_power", nan),
            predicted_q=reader.number("predicted_q", nan),
            predicted_chi=reader.number("predicted_chi", nan),
            follower_law=plan_codec.follower_law(reader),
            aliases=reader.texts("aliases", ()),
            frameworks=plan_codec.frameworks(reader),
        )
        reader.finish()
        plan_codec.check_shape(reader, made.region, made.shape)
        return made


@dataclass(frozen=True, slots=True)
class Kept:
    """A parameter or buffer that the plan leaves at the value its owner gave it.

    Attributes:
        name: Its canonical name.
        shape: Its shape.
        kind: `parameter` or `buffer`.
        reason: Why it is not drawn.
        aliases: Other names of the same storage.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    reason: str
    aliases: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return codec.plain(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, where: str = "kept") -> Self:
        """Return what `to_dict` gave.

        Args:
            data: Its fields; `aliases` may be left out.
            where: What it belongs to, for the messages.

        Raises:
            PlanError: If a key is unknown or missing, or a value is not what it should be.
        """
        reader = codec.Reader(data, where=where)
        name = reader.text("name")
        reader.within(name)
        made = cls(
            name=name,
            shape=reader.integers("shape"),
            kind=reader.text("kind"),
            reason=reader.text("reason"),
            aliases=reader.texts("aliases", ()),
        )
        reader.finish()
        if made.kind not in {"parameter", "buffer"}:
            raise reader.misfit("kind", made.kind, "'parameter' or 'buffer'")
        return made


@dataclass(frozen=True, slots=True)
class Plan:
    """What `init_` will do, parameter by parameter: the object that is printed and executed.

    Attributes:
        assignments: Every region that is drawn, in the model's order.
        kept: Every parameter and buffer that is not.
        recipe: The recipe's name.
        model_digest: A digest of the model's structure (names, shapes); guards `from_toml`.
        seed: The seed it was, or is to be, drawn with; None until known.
        scope: The prefix of every name in the stream of bits.
        notes: What the user should know: guesses of the tracer, what it could not follow.
    """

    assignments: tuple[Assignment, ...]
    kept: tuple[Kept, ...]
    recipe: str
    model_digest: str
    seed: int | None = None
    scope: str = ""
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return how many regions are drawn."""
        return len(self.assignments)

    def __iter__(self) -> Iterator[Assignment]:
        """Yield the assignments, in the model's order."""
        return iter(self.assignments)

    def __contains__(self, item: object) -> bool:
        """Return whether an assignment, or a parameter of that name, is drawn."""
        if isinstance(item, str):
            return any(item in (each.name, *each.aliases) for each in self.assignments)
        return item in self.assignments

    def __getitem__(self, name: str) -> tuple[Assignment, ...]:
        """Return the assignments of a parameter, region by region; none if it is kept.

        Args:
            name: Its canonical name, or another name of the same storage.

        Raises:
            UnknownNameError: If the plan does not know the name; with the nearest ones.
        """
        found = tuple(each for each in self.assignments if name in (each.name, *each.aliases))
        if not found and not any(name in (each.name, *each.aliases) for each in self.kept):
            raise UnknownNameError("parameter", name, self.names)
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """Every name the plan knows once, drawn or kept; of a tied weight, all its names."""
        rows = (*self.assignments, *self.kept)
        return tuple(dict.fromkeys(name for each in rows for name in (each.name, *each.aliases)))

    @property
    def digest(self) -> str:
        """A BLAKE2b digest, in hexadecimal, of what the plan draws.

        Two plans of one digest draw the same weights with the same seed: the stream, the scope
        and each assignment's name, region, shape and law enter it. What only tells of them does
        not: roles, fans, rules, reasons, predictions, notes, and what is kept; nor the order.
        """
        rows = ((each.name, each.region, each.shape, each.law) for each in self.assignments)
        return plan_codec.digest(self.scope, rows)

    def __str__(self) -> str:
        """Return the plan as a plain-text table as wide as the terminal."""
        return plan_text.table(self)

    def to_text(self, *, width: int | None = None, fold: bool = True) -> str:
        """Return the plan as a plain-text table.

        Args:
            width: Columns to use, at least 40; by default the terminal's.
            fold: Whether rows that differ only in an index of their name share one line.

        Returns:
            Lines that end in what is kept, and the notes. Nothing is cut: where the table
            does not fit, an entry takes several lines.
        """
        return plan_text.table(self, width=width, fold=fold)

    def _repr_html_(self) -> str:
        return plan_text.html(self)

    def explain(self, name: str) -> str:
        """Return a paragraph on a parameter: its law, where it comes from, what it predicts.

        Args:
            name: Its canonical name, or another name of the same storage.

        Returns:
            One paragraph for each of its regions, or the reason for which it is kept.

        Raises:
            UnknownNameError: If the plan does not know the name; with the nearest ones.
        """
        return plan_text.explain(self, name)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain data that JSON can hold.

        Returns:
            `format`, `stream` (the version of the bits), `package` (the version that wrote
            it), the digest, and the fields. A number that is NaN or infinite is the string
            `"nan"`, `"inf"` or `"-inf"`; None means that there is none.
        """
        return {**plan_codec.header(), "digest": self.digest, **codec.plain(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the plan that `to_dict` gave.

        Args:
            data: The plain data, header included. A digest that is there must be right.

        Raises:
            PlanError: If the format or stream is unknown, a key is unknown or missing, a value
                is not what it should be, two assignments share an element, or a parameter is
                both drawn and kept.
        """
        reader = codec.Reader(data)
        plan_codec.check_header(reader)
        made = cls(
            assignments=tuple(
                Assignment.from_dict(each, where=f"assignments[{at}]")
                for at, each in enumerate(reader.sequence("assignments", ()))
            ),
            kept=tuple(
                Kept.from_dict(each, where=f"kept[{at}]")
                for at, each in enumerate(reader.sequence("kept", ()))
            ),
            recipe=reader.text("recipe"),
            model_digest=reader.text("model_digest"),
            seed=reader.integer("seed", None),
            scope=reader.text("scope", ""),
            notes=reader.texts("notes", ()),
        )
        digest = reader.take("digest", None)
        reader.finish()
        plan_codec.check_disjoint((each.name, each.region) for each in made)
        plan_codec.check_apart((each.name for each in made), (each.name for each in made.kept))
        if digest is not None and digest != made.digest:
            raise PlanError(f"digest is {digest!r}, but the content has {made.digest!r}")
        return made

    def to_json(self) -> str:
        """Return the plan as JSON text, by the schema in `docs/schema/plan.schema.json`."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"

    def to_toml(self) -> str:
        """Return the plan as TOML, to be reviewed, edited and kept under version control.

        Returns:
            A text from which `from_toml` makes an equal plan; floats with all their digits.
            Fields that have their default value are left out.
        """
        from xavier._types import plan_toml  # noqa: PLC0415 - TOML is seldom needed

        return plan_toml.dumps(self)

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """Return the plan that `to_toml` wrote, or that was edited by hand.

        Args:
            text: The content of the file; nothing in it is executed.

        Raises:
            PlanError: If it is no TOML (with the line), or no plan (with the key).
        """
        from xavier._types import plan_toml  # noqa: PLC0415 - TOML is seldom needed

        return cls.from_dict(plan_toml.loads(text))


def _role(reader: codec.Reader) -> Role:
    name = reader.text("role")
    if name not in set(Role):
        raise reader.misfit("role", name, f"one of {', '.join(Role)}")
    return Role(name)
