"""The terminal reports: every word in its place, at every width, in every encoding."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

import made_checks
import made_plans
from golden_reports import ENCODINGS, FOLDER, NOUNS, PINNED, page, rendered
from xavier._types import plan_text, signal_text
from xavier.report import render_check, render_plan
from xavier.report.glyphs import ASCII, UNICODE, LogScale, glyphs

COPIED = re.compile(r"^ +cure  ")  # a line of code is not broken, whatever its length


@pytest.mark.parametrize("colour", [False, True], ids=["plain", "colour"])
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", [each for each in NOUNS if each.endswith(PINNED)])
def test_report_is_the_pinned_one(name, encoding, colour, golden):
    text = page(name, encoding=ENCODINGS[encoding], colour=colour)
    golden(FOLDER / f"{name}_{encoding}{'_colour' if colour else ''}.txt", text)


def test_every_pinned_report_is_one_that_is_made():
    variants = {f"{e}{c}" for e in ENCODINGS for c in ("", "_colour")}
    pinned = [name for name in NOUNS if name.endswith(PINNED)]
    names = {f"{name}_{variant}.txt" for name in pinned for variant in variants}
    assert {path.name for path in FOLDER.iterdir()} == names


@pytest.mark.parametrize("name", NOUNS)
def test_colours_change_no_word(name):
    for encoding in ENCODINGS.values():
        plain = page(name, encoding=encoding, colour=False)
        coloured = page(name, encoding=encoding, colour=True)
        assert re.sub(r"␛\[[0-9;]*m", "", coloured) == plain


def _too_wide(text, width):
    return [
        line
        for line in text.split("\n")
        if cell_len(line.rstrip()) > width and not COPIED.search(line)
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("name", NOUNS)
def test_no_line_is_wider_than_the_console(name, width):
    render, made = NOUNS[name]
    for encoding in ENCODINGS.values():
        text = rendered(render, made(), width=width, encoding=encoding)
        assert not _too_wide(text, width)


def _joined(text):
    """Return a text without what lines are broken and filled with."""
    return re.sub(r"[\s·|│─-]+", "", text)


@pytest.mark.parametrize("width", [40, 60, 80, 120, 400])
@pytest.mark.parametrize("name", made_plans.EVERY)
def test_every_cell_of_a_plan_is_printed_whole(name, width):
    plan = made_plans.EVERY[name]()
    report = _joined(rendered(render_plan, plan, width=width, encoding="utf-8"))
    text = _joined(plan.to_text(width=width))
    for row in plan_text.folded(plan):
        for cell in plan_text.cells(row.items[0], name=row.name):
            if cell != "Fixed":  # which is left out where its law stands beside it
                assert _joined(cell).replace(">", "→") in report.replace(">", "→")
                assert _joined(cell) in text
    for each in (*plan.notes, *(kept.reason for kept in plan.kept)):
        assert _joined(plan_text.text.printable(each)) in report
        assert _joined(plan_text.text.printable(each)) in text


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("name", made_checks.EVERY)
def test_every_word_of_a_check_is_printed_whole(name, width):
    check = made_checks.EVERY[name]()
    report = _joined(rendered(render_check, check, width=width))
    said = [check.verdict.value.upper(), check.where, check.evidence, check.cure]
    said += check.signal.notes
    for each in said:
        assert _joined(plan_text.text.printable(each)) in report
    assert signal_text.counts(check).replace(" ", "") in report


@pytest.mark.parametrize("check", made_checks.VERDICTS, ids=lambda check: check.verdict.value)
def test_verdict_comes_first_with_its_place_and_cure(check):
    lines = rendered(render_check, check, width=80).splitlines()
    assert lines[0].split()[0] == check.verdict.value.upper()
    assert ("at layers.1" in lines[0]) == bool(check.where)
    assert any(check.cure in line for line in lines) or not check.cure
    coloured = rendered(render_check, check, width=80, colour=True)
    healthy = check.verdict.value == "healthy"
    assert ("\x1b[1;37;42m" if healthy else "\x1b[1;37;41m") in coloured.splitlines()[0]


def test_a_column_that_has_no_room_is_named_not_cut():
    check = made_checks.deep()
    narrow = rendered(render_check, check, width=40)
    assert "not shown at this width: saturated, correlation, followed by" in re.sub(
        r"\s+", " ", narrow
    )
    wide = rendered(render_check, check, width=240)
    assert "not shown" not in wide
    for head in ("Jacobian mean", "Jacobian RMS", "saturated", "dead", "kind", "mean", "std"):
        assert head in wide


def test_a_long_models_like_ops_share_a_row_and_the_one_that_breaks_does_not():
    text = rendered(render_check, made_checks.deep(), width=120)
    rows = [line.split("  ")[0:2] for line in text.splitlines() if "blocks." in line][1:]
    assert rows == [
        ["", "blocks.[0-10,12-29].up"],
        ["", "blocks.[0-29].down"],
        ["▶ blocks.11.up", ""],
    ]
    assert "cells.0 x2" in text


def test_at_most_five_findings_of_a_kind_are_written_out():
    text = rendered(render_check, made_checks.broken(), width=80)
    assert "layers.4.weight" in text
    assert "layers.5.weight" not in text
    assert "and 2 more of these; JSON has them all" in text
    order = [text.index(word) for word in (" error ", " warning ", " note ")]
    assert order == sorted(order)


@given(made_plans.plans(), st.integers(40, 120), st.sampled_from(["utf-8", "ascii", "cp1252"]))
@settings(max_examples=50)
def test_any_plan_can_be_printed_and_no_line_is_too_wide(plan, width, encoding):
    text = rendered(render_plan, plan, width=width, encoding=encoding)
    assert not _too_wide(text, width)
    assert all(each.isprintable() or each == "\n" for each in text)


@given(made_checks.checks(), st.integers(40, 120), st.sampled_from(["utf-8", "ascii", "cp1252"]))
@settings(max_examples=50)
def test_any_check_can_be_printed(check, width, encoding):
    text = rendered(render_check, check, width=width, encoding=encoding)
    assert all(each.isprintable() or each == "\n" for each in text)


# Small plots


@pytest.mark.parametrize(
    ("encoding", "signs"),
    [("utf-8", UNICODE), ("ascii", ASCII), ("cp437", ASCII), ("latin-1", ASCII), ("none", ASCII)],
)
def test_block_characters_are_used_where_the_encoding_has_them(encoding, signs):
    assert glyphs(encoding) == signs


def test_a_scale_has_whole_decades_two_at_least_around_all_values():
    assert LogScale.of([1.1, 1.2]) == LogScale(-1, 1)
    assert LogScale.of([9.0, 9.5]) == LogScale(0, 2)
    assert LogScale.of([2e-9, 30.0]) == LogScale(-9, 2)
    assert LogScale.of([None, 0.0, float("inf"), float("nan"), -1.0]) == LogScale(-1, 1)
    assert str(LogScale(-3, 0)) == "1e-3 to 1"
    assert str(LogScale(-1, 1)) == "0.1 to 10"


@given(st.lists(st.floats(1e-30, 1e30), min_size=1, max_size=30), st.integers(1, 20))
def test_bars_grow_with_their_values_and_fit(values, width):
    scale = LogScale.of(values)
    for signs in (UNICODE, ASCII):
        bars = [scale.bar(each, width=width, glyphs=signs) for each in sorted(values)]
        assert all(1 <= len(each) <= width for each in bars)
        lengths = [(len(each), signs.bars.index(each[-1])) for each in bars]
        assert lengths == sorted(lengths)


def test_what_has_no_logarithm_has_no_bar():
    scale = LogScale(-1, 1)
    for value in (None, 0.0, float("nan"), float("inf")):
        assert scale.bar(value, width=9, glyphs=UNICODE) == ""


def test_a_sparkline_keeps_the_one_that_breaks_in_sight():
    scale = LogScale(-8, 2)
    values = [1.0] * 100
    assert scale.spark(values, width=10, glyphs=ASCII) == "%" * 10
    values[55] = 1e-7
    assert scale.spark(values, width=10, glyphs=ASCII) == "%%%%%_%%%%"
    values[55] = float("nan")
    assert scale.spark(values, width=10, glyphs=ASCII) == "%%%%%!%%%%"
    assert scale.spark([None, 1.0, None], width=10, glyphs=ASCII) == " % "
    assert scale.spark([0.0, 1e2, 1e-8], width=10, glyphs=UNICODE) == "▁█▁"
