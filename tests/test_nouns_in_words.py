"""Plans and checks as plain text and as HTML: every word from the object, none that acts."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import made_checks
import made_plans
from made_plans import HOSTILE, NAN, bias, full_row, plan, row
from xavier import Kept, Region, laws
from xavier._types import plan_text, signal_text, text
from xavier._types.plan import Role

TAGS = {
    *("div", "p", "strong", "code", "table", "thead", "tbody", "tr", "th", "td"),
    *("details", "summary", "ul", "li", "pre"),
}


class Page(HTMLParser):
    """Reads a fragment: its tags, its cells row by row, and all of its text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.words: list[str] = []
        self.attributes: set[tuple[str, str | None]] = set()
        self.feed(source)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert tag in TAGS
        self.open.append(tag)
        self.attributes.update(attrs)
        if tag == "tr":
            self.rows.append([])
        if tag in {"th", "td"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if self.open and self.open[-1] in {"th", "td"}:
            self.rows[-1][-1] += data

    def handle_comment(self, data):
        raise AssertionError(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


def harmless(said):
    """Return whether a text holds nothing but characters that print, and line breaks."""
    return all(each.isprintable() or each == "\n" for each in said)


# The plan's table


def test_every_cell_is_the_objects():
    cells = plan_text.cells(full_row())
    assert dict(zip(plan_text.HEADS, cells, strict=True)) == {
        "name": "blocks.7.attn.qkv.weight",
        "region": "[0:2+4:6]",
        "shape": "(4, 2)",
        "role": "residual",
        "fans": "2 > 12.5",
        "fed by": "tanh",
        "followed by": "relu",
        "rule": "LeCun()",
        "law": "Normal(0, 0.57735)",
    }


def test_a_rule_that_says_no_more_than_its_law_is_fixed():
    assert plan_text.cells(bias())[-2:] == ("Fixed", "Constant(0)")
    other = bias(law=laws.Constant(1.0))
    assert plan_text.cells(other)[-2:] == ("Fixed(Constant(value=0.0))", "Constant(1)")


@pytest.mark.parametrize(
    ("law", "said"),
    [
        (laws.Uniform(-0.1, 0.1), "Uniform(-0.1, 0.1)"),
        (laws.Normal(0.0, 1e-7), "Normal(0, 1e-07)"),
        (laws.Normal(0.0, 0.12345678), "Normal(0, 0.12345678)"),
        (laws.TruncatedNormal(0.0, 0.02), "TruncatedNormal(0, 0.02, 2)"),
        (laws.Constant(-0.0), "Constant(0)"),
        (laws.Sparse(0.9, 0.01), "Sparse(0.9, 0.01)"),
        (laws.Orthogonal(), "Orthogonal(1)"),
        (laws.DeltaOrthogonal(2.0), "DeltaOrthogonal(2)"),
        (laws.Identity(), "Identity(1)"),
        (laws.Dirac(4), "Dirac(4)"),
    ],
)
def test_a_law_is_printed_as_python_that_makes_it(law, said):
    assert text.law(law) == said
    assert eval(said, vars(laws)) == law


@given(made_plans.law)
def test_any_printed_law_makes_itself(law):
    assert eval(text.law(law), vars(laws)) == law


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "-"), (NAN, "-"), (0.0, "0"), (-3.0, "-3"), (768.0, "768"), (2.5, "2.5"),
        (1 / 3, "0.3333"), (1e8, "100000000"), (1e9, "1.000e+09"), (1e-9, "1e-09"),
        (float("inf"), "inf"), (float("-inf"), "-inf"),
    ],
)  # fmt: skip
def test_a_number_has_four_digits_at_most(value, said):
    assert text.number(value) == said


def test_a_plan_that_fits_is_a_table():
    made = plan(
        row("fc.0.weight"),
        bias("fc.0.bias"),
        row("fc.2.weight"),
        bias("fc.1.bias"),
        kept=[Kept("gain", (), "parameter", "no contraction reads it")],
        notes=("a note",),
        seed=3,
        scope="a.",
    )
    assert made.to_text(width=120) == "\n".join((
        "plan by recipe by hand; 4 regions of 4 parameters drawn (32 elements); 1 kept; seed 3;"
        " scope a.",
        "",
        "name             shape   role    fans   fed by  followed by  rule     law",
        "  ".join("-" * size for size in (15, 6, 6, 5, 6, 11, 7, 18)),
        "fc.[0,2].weight  (4, 3)  hidden  3 > 4  tanh    relu         LeCun()  Normal(0, 0.57735)",
        "fc.[0-1].bias    (4,)    bias                                Fixed    Constant(0)",
        "",
        "2 rows for 4 regions; a name with [..] stands for equal ones",
        "",
        "kept as they are:",
        "- gain () (parameter): no contraction reads it",
        "",
        "notes:",
        "- a note",
    ))  # fmt: skip


def test_rows_are_not_folded_on_request():
    made = plan(row(), row("layers.1.weight"))
    assert "layers.[0-1].weight" in made.to_text(width=120)
    unfolded = made.to_text(width=120, fold=False)
    assert "layers.0.weight" in unfolded
    assert "layers.1.weight" in unfolded


def test_rows_that_differ_in_any_cell_are_not_folded():
    for change in ({"fed_by": "relu"}, {"law": laws.Constant(1.0)}, {"role": Role.HEAD}):
        made = plan(row(), row("layers.1.weight", **change))
        assert "[0-1]" not in made.to_text(width=120)


@pytest.mark.parametrize("width", [1, 40, 60, 80, 120, 200])
@pytest.mark.parametrize("name", ["transformer", "convolutions", "empty"])
def test_no_line_is_wider_than_asked_or_than_40(name, width):
    lines = made_plans.EVERY[name]().to_text(width=width).split("\n")
    assert max(map(len, lines)) <= max(width, 40)


def test_wide_characters_take_two_columns():
    assert plan(row("层"), bias("b")).to_text(width=100).split("\n")[2:6] == [
        "name  shape   role    fans   fed by  followed by  rule     law",
        "----  ------  ------  -----  ------  -----------  -------  ------------------",
        "层    (4, 3)  hidden  3 > 4  tanh    relu         LeCun()  Normal(0, 0.57735)",
        "b     (4,)    bias                                Fixed    Constant(0)",
    ]


def test_a_printed_plan_is_as_wide_as_the_terminal(monkeypatch):
    made = made_plans.transformer()
    for width in (60, 200):
        monkeypatch.setenv("COLUMNS", str(width))
        assert str(made) == made.to_text(width=width)


@given(made_plans.plans(), st.integers(40, 200))
def test_a_plans_text_cannot_act(made, width):
    assert harmless(made.to_text(width=width))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_printed_escaped(name):
    assert text.printable(name) in made_plans.hostile().to_text(width=1000)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("\x1b[31m", r"\x1b[31m"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\u202e", r"\u202e"),
        ("\ud800", r"\ud800"),
        ("\u2028", r"\u2028"),
        ("\U000e0001", r"\U000e0001"),
        ("Zürich 层", "Zürich 层"),
    ],
)
def test_what_does_not_print_is_escaped(raw, said):
    assert text.printable(raw) == said


# The paragraph on one parameter


def test_a_paragraph_tells_everything_about_a_weight():
    made = plan(full_row())
    assert made.explain("head.weight") == (
        "blocks.7.attn.qkv.weight[0:2+4:6] (4, 2) is the last contraction before a residual add. "
        "One output sums fan_in = 2 products; one input enters fan_out = 12.5. "
        "LeCun() draws it from Normal(0, 0.57735): LeCun et al. 1998: 1/fan_in. "
        "It is fed by tanh and followed by relu; what feeds it has forward power E[x^2] = 0.5, "
        "backward power E[(dx/dh)^2] = 0.25. "
        "The law counts the function that feeds the weight; by the one that follows it, as "
        "frameworks' snippets count, it would be Dirac(2). "
        "Under this law the theory predicts: forward, what it computes has second moment inf "
        "(RMS inf); backward, the gradient's second moment is multiplied by 1.5 on its way "
        "through it and the function that feeds it. "
        "Frameworks count other fans: torch 2 and 6; keras inf and 1. "
        "The same storage is also called head.weight."
    )


def test_a_paragraph_leaves_out_what_is_not_known():
    assert plan(bias()).explain("layers.0.bias") == (
        "layers.0.bias (4,) is a bias. It is drawn from Constant(0): biases start at 0."
    )
    nothing = row(fed_by="", reason="")
    said = plan(nothing).explain("layers.0.weight")
    assert "Normal(0, 0.57735): no reason is given. It is fed by nothing and followed by" in said
    assert said.endswith("followed by relu.")


def test_a_paragraph_says_when_both_functions_give_one_law():
    known = {"forward_power": 1.0, "backward_power": 1.0}
    said = plan(row(follower_law=laws.Normal(0.0, 0.57735), **known)).explain("layers.0.weight")
    assert "By the function that follows, as frameworks' snippets count, the law is" in said
    assert "frameworks" not in plan(row(**known)).explain("layers.0.weight")


def test_a_framework_that_counts_the_same_fans_is_not_named():
    counts = {"torch": (3.0, 4.0), "keras": (4.0, 3.0)}
    said = plan(row(frameworks=counts)).explain("layers.0.weight")
    assert "Frameworks count other fans: keras 4 and 3." in said


def test_a_packed_weight_has_a_paragraph_for_each_block():
    blocks = [row("qkv", (6, 2), region=Region(0, (span,))) for span in ((0, 2), (2, 6))]
    first, second = plan(*blocks).explain("qkv").split("\n\n")
    assert first.startswith("qkv[0:2] (2, 2) is a hidden contraction.")
    assert second.startswith("qkv[2:6] (4, 2) is a hidden contraction.")


def test_what_is_kept_is_explained_by_any_of_its_names():
    made = plan(kept=[Kept("gain", (4,), "parameter", "no contraction reads it", ("scale",))])
    said = "gain (4,) is a parameter and keeps its value: no contraction reads it."
    assert made.explain("scale") == f"{said} The same storage is also called scale."


@pytest.mark.parametrize("role", Role)
def test_every_role_is_told_in_words(role):
    said = plan(row(role=role)).explain("layers.0.weight")
    assert said.startswith(f"layers.0.weight (4, 3) is {plan_text._KINDS[role.value]}.")


@given(made_plans.plans())
@settings(max_examples=50)
def test_a_paragraph_cannot_act(made):
    for name in made.names:
        assert harmless(made.explain(name))


# HTML


def test_a_plans_html_has_the_tables_cells():
    made = made_plans.convolutions()
    page = Page(made._repr_html_())
    assert page.rows[0] == list(plan_text.HEADS)
    folds = plan_text.folded(made)
    cells = [list(plan_text.cells(each.items[0], name=each.name)) for each in folds]
    assert page.rows[1 : 1 + len(cells)] == cells
    assert page.rows[-1] == [
        "norm.running_mean", "(16,)", "buffer", "buffers keep what their owner gives them"
    ]  # fmt: skip
    assert set(made.notes) <= set(page.words)


def test_a_plans_html_says_how_many_rows_stand_for_how_many_regions():
    assert "6 rows for 61 regions" in made_plans.transformer()._repr_html_()


@given(made_plans.plans())
@settings(max_examples=50)
def test_a_plans_html_cannot_act(made):
    page = Page(made._repr_html_())
    assert all(map(harmless, page.words))
    assert {name for name, _ in page.attributes} <= {"style", "scope"}


def test_a_checks_html_has_verdict_evidence_cure_findings_ops_and_notes():
    made = made_checks.broken()
    page = Page(made._repr_html_())
    words = "".join(page.words)
    assert "broken at attention.out (also dead, exploding)" in words
    assert made.evidence in words
    assert made.cure in words
    assert page.rows[0] == ["severity", "code", "path", "message", "cure"]
    assert [each[0] for each in page.rows[1:11]] == ["error", *["warning"] * 8, "note"]
    assert page.rows[11] == list(signal_text.OP_HEADS)
    assert page.rows[12:] == [list(signal_text.op_cells(op)) for op in made.signal.ops]
    assert made.signal.notes[0] in words


def test_findings_are_unfolded_where_one_is_more_than_a_note():
    assert "<details open>" in made_checks.broken()._repr_html_()
    notes = made_checks.check("healthy", findings=[made_checks.finding("note")] * 50)
    assert "<details open>" not in notes._repr_html_()


@given(made_checks.checks())
@settings(max_examples=50)
def test_a_checks_html_cannot_act(made):
    page = Page(made._repr_html_())
    assert all(map(harmless, page.words))
    assert {name for name, _ in page.attributes} <= {"style", "scope", "open"}


# The check in short


def test_a_check_in_short_leads_with_its_verdict():
    said = signal_text.short(made_checks.broken(), width=100).split("\n")
    assert said[0] == "broken at attention.out (also dead, exploding)"
    assert said[2] == f"  cure: {made_checks.INIT}"
    assert said[3] == "  1 error, 8 warnings, 1 note; 5 ops measured"
    assert said[4] == (
        "  - error nonfinite: attention.out.weight (64, 64): 3 elements are NaN, expected none"
    )


def test_a_check_in_short_has_a_dozen_findings_at_most():
    findings = [made_checks.finding(path=str(at)) for at in range(30)]
    said = signal_text.short(made_checks.check(findings=findings), width=100)
    assert said.endswith("  and 18 more in `findings`")
    assert said.count("std-off-recipe") == 12


def test_a_printed_check_is_as_wide_as_the_terminal(monkeypatch):
    made = made_checks.broken()
    monkeypatch.setenv("COLUMNS", "50")
    assert str(made) == signal_text.short(made, width=50)


@given(made_checks.checks(), st.integers(1, 200))
@settings(max_examples=50)
def test_a_checks_text_cannot_act(made, width):
    assert harmless(signal_text.short(made, width=width))


@pytest.mark.parametrize("verdict", made_checks.VERDICTS, ids=lambda each: each.verdict.value)
def test_each_verdict_is_told(verdict):
    where = "" if verdict.verdict.value == "healthy" else " at layers.1"
    assert str(verdict).startswith(f"{verdict.verdict.value}{where}\n")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "-"), (0.0, "0"), (1.0, "1"), (0.001, "0.001"), (0.00099, "9.90e-04"),
        (9999.0, "1e+04"), (10000.0, "1.00e+04"), (-2.5, "-2.5"), (NAN, "nan"),
        (float("inf"), "inf"),
    ],
)  # fmt: skip
def test_a_measured_number_has_three_digits(value, said):
    assert signal_text.quantity(value) == said


def test_shares_are_in_percent():
    assert [signal_text.share(each) for each in (None, NAN, 0.0, 0.025, 1.0)] == [
        "-", "nan", "0 %", "2.5 %", "100 %"
    ]  # fmt: skip


def test_exit_codes_follow_verdict_and_findings():
    warned = made_checks.check(findings=[made_checks.finding("warning")])
    failed = made_checks.check(findings=[made_checks.finding("error")])
    assert [each.exit_code() for each in (made_checks.healthy(), warned, failed)] == [0, 0, 1]
    assert [each.exit_code(strict=True) for each in (made_checks.healthy(), warned)] == [0, 1]
    assert made_checks.deep().exit_code() == 1


def test_an_op_without_a_module_stands_at_its_weight_or_its_kind():
    op = made_checks.op(0, weights=("loose",))
    from dataclasses import replace

    assert signal_text.place(replace(op, path="")) == "loose"
    assert signal_text.place(replace(op, path="", weights=())) == "linear"


def test_words_are_counted():
    assert [text.count(each, "row") for each in (0, 1, 1234)] == ["0 rows", "1 row", "1,234 rows"]


def test_long_words_are_broken_not_cut():
    said = text.entry("x" * 90, ("y" * 90, "z"), width=40)
    assert re.sub(r"[\s|]", "", said) == "x" * 90 + "y" * 90 + "z"
    assert max(map(len, said.split("\n"))) == 40
