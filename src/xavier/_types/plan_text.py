"""Plans in words: the table, the paragraph on one parameter, and HTML for notebooks."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

from xavier._types import text
from xavier._types.folding import Fold, fold

if TYPE_CHECKING:
    from xavier._types.plan import Assignment, Kept, Plan

_TITLE: Final = 24  # columns that names need at least beside others
_FIXED: Final = "Fixed"
HEADS: Final = (
    "name", "region", "shape", "role", "fans", "fed by", "followed by", "rule", "law"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """An assignment where its table does not fit: a line of columns, and one of details.

    Attributes:
        title: Its name and region.
        shape: Its shape.
        role: Its role.
        law: Its law.
        details: Fans, the functions on both sides, and the rule, as far as there are any.
    """

    title: str
    shape: str
    role: str
    law: str
    details: tuple[str, ...]

    @classmethod
    def of(cls, line: Sequence[str], *, to: str = ">") -> Row:
        """Return the row of an assignment's cells."""
        name, region, shape, role, fan, fed_by, followed_by, rule, law = line
        way = f"{fed_by or '-'} {to} W {to} {followed_by or '-'}" if fed_by or followed_by else ""
        parts = (f"fans {fan}" if fan else "", way, "" if rule == _FIXED else rule)
        return cls(f"{name} {region}".rstrip(), shape, role, law, tuple(filter(None, parts)))


def heads(*, to: str = ">") -> Row:
    """Return the row that says what the others hold."""
    details = (f"fans in {to} out", f"fed by {to} W {to} followed by", "rule")
    return Row("name", "shape", "role", "law", details)


def columns(rows: Sequence[Row], *, width: int) -> tuple[int, int, int] | None:
    """Return how wide title, shape and role may be beside the law; None where it is too narrow."""
    shape = max(len("shape"), *(len(row.shape) for row in rows))
    role = max(len("role"), *(len(row.role) for row in rows))
    law = max(len(row.law) for row in rows)
    room, longest = width - shape - role - law - 6, max(len(row.title) for row in rows)
    return (min(room, longest), shape, role) if room >= min(_TITLE, longest) else None


def cells(assignment: Assignment, *, name: str | None = None, to: str = ">") -> tuple[str, ...]:
    """Return an assignment as the cells under `HEADS`, safe to print."""
    whole = assignment.region.axis is None
    return (
        text.printable(assignment.name if name is None else name),
        "" if whole else str(assignment.region),
        text.shape(assignment.shape),
        assignment.role.value,
        fans(assignment, to=to),
        text.printable(assignment.fed_by),
        text.printable(assignment.followed_by),
        _FIXED if _is_fixed(assignment) else text.printable(assignment.rule),
        text.law(assignment.law),
    )


def _is_fixed(assignment: Assignment) -> bool:
    """Tell whether the rule says no more than the law."""
    return assignment.rule == f"Fixed({assignment.law!r})"


def fans(assignment: Assignment, *, to: str = ">") -> str:
    """Return fan_in and fan_out as `768 > 3072`; empty where they have no meaning."""
    if math.isnan(assignment.fan_in) and math.isnan(assignment.fan_out):
        return ""
    return f"{text.number(assignment.fan_in)} {to} {text.number(assignment.fan_out)}"


def folded(plan: Plan, *, fold_rows: bool = True) -> list[Fold[Assignment]]:
    """Return the assignments, those that look the same but for indices together."""
    return fold(plan.assignments, name=_name, same=_look if fold_rows else _itself)


def folded_kept(plan: Plan) -> list[Fold[Kept]]:
    """Return what is kept, where kind, shape and reason are the same together."""
    return fold(
        plan.kept,
        name=lambda each: each.name,
        same=lambda each: (each.kind, each.shape, each.reason),
    )


def _name(assignment: Assignment) -> str:
    return assignment.name


def _look(assignment: Assignment) -> Hashable:
    return cells(assignment)[1:]


def _itself(assignment: Assignment) -> Hashable:
    return id(assignment)


def headline(plan: Plan) -> list[str]:
    """Return the plan's recipe, size and seed, fact by fact."""
    parameters = len({each.name for each in plan.assignments})
    elements = sum(math.prod(each.shape) for each in plan.assignments)
    parts = [
        f"plan by recipe {text.printable(plan.recipe)}",
        f"{text.count(len(plan), 'region')} of {text.count(parameters, 'parameter')} "
        f"{'to draw' if plan.seed is None else 'drawn'} ({text.count(elements, 'element')})",
        f"{len(plan.kept):,} kept",
        "no seed yet" if plan.seed is None else f"seed {plan.seed}",
    ]
    if plan.scope:
        parts.append(f"scope {text.printable(plan.scope)}")
    return parts


def folding_note(rows: int, items: int, noun: str) -> str:
    """Return what tells that rows stand for more than themselves; empty if they do not."""
    if rows == items:
        return ""
    shown = f"{text.count(rows, 'row')} for {text.count(items, noun)}"
    return f"{shown}; a name with [..] stands for equal ones"


def table(plan: Plan, *, width: int | None = None, fold: bool = True) -> str:
    """Return a plan as plain text: a table if it fits the width, else entries of some lines."""
    width = width or text.width_of_terminal()
    blocks = [text.paragraph("; ".join(headline(plan)), width=width)]
    rows = folded(plan, fold_rows=fold)
    if rows:
        lines = [cells(row.items[0], name=row.name) for row in rows]
        blocks.append(text.table(HEADS, lines, width=width) or _lines(lines, width=width))
    if note := folding_note(len(rows), len(plan), "region"):
        blocks.append(text.paragraph(note, width=width))
    if plan.kept:
        blocks.append(_kept(plan, width=width))
    if plan.notes:
        blocks.append("\n".join(["notes:", *(_bullet(note, width=width) for note in plan.notes)]))
    return "\n\n".join(blocks)


def _lines(lines: Sequence[Sequence[str]], *, width: int) -> str:
    """Return rows of a line of columns and one of details, or entries where it is narrower yet."""
    rows = [Row.of(line) for line in lines]
    sizes = columns(rows, width=width)
    top, *rest = (
        _entry(row, width=width) if sizes is None else _two_lines(row, sizes, width=width)
        for row in (heads(), *rows)
    )
    rule = "-" * max(map(len, top.split("\n")))
    return "\n".join((top, rule, *rest))


def _entry(row: Row, *, width: int) -> str:
    return text.entry(row.title, (row.shape, row.role, *row.details, row.law), width=width)


def _two_lines(row: Row, sizes: Sequence[int], *, width: int) -> str:
    out: list[str] = []
    title = row.title
    if len(title) > sizes[0]:
        out += text.wrap(title, width=width, indent="")
        title = ""
    out.append(text.columns((title, row.shape, row.role, row.law), (*sizes, 0)))
    if row.details:
        out.append(text.packed(row.details, width=width))
    return "\n".join(out)


def _kept(plan: Plan, *, width: int) -> str:
    out = ["kept as they are:"]
    for row in folded_kept(plan):
        kept = row.items[0]
        name = f"{row.name} {text.shape(kept.shape)} ({kept.kind})"
        out.append(_bullet(f"{name}: {kept.reason}", width=width))
    return "\n".join(out)


def _bullet(words: str, *, width: int) -> str:
    return text.paragraph(text.printable(words), width=width, bullet="- ")


def html(plan: Plan) -> str:
    """Return a plan as an HTML fragment: every word of it escaped, no script, no colours."""
    rows = folded(plan)
    out = [f"<p>{escape('; '.join(headline(plan)))}</p>"]
    lines = [cells(row.items[0], name=row.name) for row in rows]
    out.append(html_table(HEADS, lines))
    if note := folding_note(len(rows), len(plan), "region"):
        out.append(f"<p>{escape(note)}</p>")
    kept = [
        (text.printable(row.name), text.shape(row.items[0].shape),
         text.printable(row.items[0].kind), text.printable(row.items[0].reason))
        for row in folded_kept(plan)
    ]  # fmt: skip
    if kept:
        table = html_table(("name", "shape", "kind", "reason"), kept)
        out.append(f"<details><summary>{len(plan.kept):,} kept</summary>{table}</details>")
    if plan.notes:
        items = "".join(f"<li>{escape(text.printable(note))}</li>" for note in plan.notes)
        out.append(f"<ul>{items}</ul>")
    return f'<div style="overflow-x:auto">{"".join(out)}</div>'


def html_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows under heads as an HTML table, escaped, text to the left."""
    style = ' style="text-align:left"'
    top = "".join(f'<th scope="col"{style}>{escape(head)}</th>' for head in heads)
    body = "".join(
        f"<tr>{''.join(f'<td{style}>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def explain(plan: Plan, name: str) -> str:
    """Return a paragraph for each region of a parameter, or the reason why it is kept."""
    assignments = plan[name]
    if not assignments:
        kept = next(each for each in plan.kept if name in (each.name, *each.aliases))
        place = f"{kept.name} {text.shape(kept.shape)}"
        said = f"{place} is a {kept.kind} and keeps its value: {_sentence(kept.reason)}"
        return text.printable(f"{said}{_aliases(kept)}")
    return "\n\n".join(_paragraph(each) for each in assignments)


def _paragraph(a: Assignment) -> str:
    sentences = [_opening(a), _choice(a), _neighbours(a), _prediction(a), _other_fans(a)]
    return text.printable(" ".join(each for each in sentences if each) + _aliases(a))


def _aliases(row: Assignment | Kept) -> str:
    aliases = ", ".join(row.aliases)
    return f" The same storage is also called {aliases}." if aliases else ""


def _opening(a: Assignment) -> str:
    whole = a.region.axis is None
    part = a.name if whole else f"{a.name}{a.region}"
    fans_known = not math.isnan(a.fan_in)
    sums = (
        f" One output sums fan_in = {text.number(a.fan_in)} products; one input enters "
        f"fan_out = {text.number(a.fan_out)}."
        if fans_known
        else ""
    )
    kind = _KINDS[a.role.value]
    return f"{part} {text.shape(a.shape)} is {kind}.{sums}"


def _choice(a: Assignment) -> str:
    drawn = "It is drawn" if _is_fixed(a) else f"{a.rule} draws it"
    return f"{drawn} from {text.law(a.law)}: {_sentence(a.reason)}"


def _neighbours(a: Assignment) -> str:
    """Tell the two functions, and which of them the law counts."""
    if not a.fed_by and not a.followed_by:
        return ""
    said = f"It is fed by {a.fed_by or 'nothing'} and followed by {a.followed_by or 'nothing'}"
    if math.isnan(a.forward_power) and math.isnan(a.backward_power):
        return f"{said}."
    powers = (
        f"forward power E[x^2] = {text.number(a.forward_power)}, "
        f"backward power E[(dx/dh)^2] = {text.number(a.backward_power)}"
    )
    return f"{said}; what feeds it has {powers}. {_convention(a)}".rstrip()


def _convention(a: Assignment) -> str:
    """Tell which of the two functions the law counts, and what the other would have given."""
    if a.follower_law is None:
        return ""
    if a.follower_law == a.law:
        return "By the function that follows, as frameworks' snippets count, the law is the same."
    return (
        "The law counts the function that feeds the weight; by the one that follows it, as "
        f"frameworks' snippets count, it would be {text.law(a.follower_law)}."
    )


def _prediction(a: Assignment) -> str:
    parts: list[str] = []
    if not math.isnan(a.predicted_q):
        parts.append(
            f"forward, what it computes has second moment {text.number(a.predicted_q)} "
            f"(RMS {text.number(math.sqrt(max(a.predicted_q, 0.0)))})"
        )
    if not math.isnan(a.predicted_chi):
        parts.append(
            "backward, the gradient's second moment is multiplied by "
            f"{text.number(a.predicted_chi)} on its way through it and the function that feeds it"
        )
    return f"Under this law the theory predicts: {'; '.join(parts)}." if parts else ""


def _other_fans(a: Assignment) -> str:
    others = [
        f"{name} {text.number(pair[0])} and {text.number(pair[1])}"
        for name, pair in a.frameworks.items()
        if pair != (a.fan_in, a.fan_out)
    ]
    return f"Frameworks count other fans: {'; '.join(others)}." if others else ""


def _sentence(words: str) -> str:
    words = words.strip() or "no reason is given"
    return words if words.endswith((".", "!", "?")) else f"{words}."


_KINDS: Final = {
    "input": "the first contraction on the model's data",
    "hidden": "a hidden contraction",
    "residual": "the last contraction before a residual add",
    "recurrent": "a recurrent contraction: it multiplies a state that comes back",
    "head": "a head: its output is the model's output",
    "embedding": "an embedding, a table that is looked up",
    "tied": "a table that is both looked up and contracted",
    "bias": "a bias",
    "scale": "the multiplier of a normalization",
    "other": "neither weight, bias nor scale",
}
