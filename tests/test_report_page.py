"""The HTML report of a check: what stands in it, and that nothing in it can act."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from html.parser import HTMLParser
from importlib import resources

import pytest
from hypothesis import given, settings

import made_checks
import made_pages
from cli_models import refused, run
from made_checks import check, finding, op
from made_pages import LONG, SCRIPT, many, one_op, weight, with_weights
from xavier._errors import WriteError
from xavier._types.text import printable
from xavier.report import html, write_html
from xavier.report.page import chart

VOID = {"meta", "link", "input"}
LARGEST = 3_000_000


NORMAL = re.compile(r'<path id="normal" d="(?P<steps>[^"]+)"')


class Page(HTMLParser):
    """Reads a page: its tags with their attributes, its tables, its words."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.words: dict[str, list[str]] = {}
        self._rows: list[list[str]] = []
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._rows = self.tables[dict(attrs)["id"]] = []
        if tag == "tr":
            self._rows.append([])
        if tag in {"th", "td"}:
            self._rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.setdefault(self.open[-1] if self.open else "", []).append(data)
        if {"th", "td"} & set(self.open):
            self._rows[-1][-1] += data

    def handle_comment(self, data):
        raise AssertionError(data)

    handle_pi = unknown_decl = handle_comment

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of every element of a name."""
        return [attributes for name, attributes in self.tags if name == tag]

    def text(self, tag: str) -> str:
        """Return all words directly in elements of a name."""
        return "".join(self.words.get(tag, []))

    @property
    def points(self) -> list[dict[str, str | None]]:
        """The attributes of the points of the charts."""
        return [each for each in self.of("g") if (each.get("class") or "").startswith("point")]


def _harmless(page: Page) -> None:
    assert len(page.of("script")) == len(page.of("style")) == 1
    assert not page.of("script")[0]
    allowed = {"html", "head", "meta", "title", "link", "style", "body", "script"}
    allowed |= {"header", "main", "section", "footer", "p", "h1", "h2", "h3", "span", "bdi", "a"}
    allowed |= {"dl", "div", "dt", "dd", "code", "button", "table", "thead", "tbody", "tr", "th"}
    allowed |= {"td", "fieldset", "legend", "label", "input", "details", "summary", "ul", "li"}
    allowed |= {"pre", "figure", "figcaption", "svg", "text", "line", "g", "path", "title", "rect"}
    assert {tag for tag, _ in page.tags} <= allowed | {"circle", "use"}
    for _, attributes in page.tags:
        assert not [each for each in attributes if each.startswith("on") or each == "style"]
        assert (attributes.get("href") or "#").startswith(("#breaks", "data:image/svg+xml,", "#"))
        assert "src" not in attributes
    assert all(each == {"href": "#normal"} for each in page.of("use"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", made_pages.EVERY)
def test_a_page_is_well_formed_and_nothing_in_it_acts(name):
    source = html(made_pages.EVERY[name]())
    page = Page(source)
    _harmless(page)
    assert source.startswith("<!doctype html>\n<html lang=")
    assert len(page.of("h1")) == 1
    assert all(each["scope"] == "col" for each in page.of("th"))
    assert all(each["aria-label"] for each in page.points)


@settings(max_examples=60)
@given(made_checks.checks())
def test_no_check_breaks_out_of_its_page(made):
    page = Page(html(made))
    _harmless(page)
    said = "".join(word for words in page.words.values() for word in words)
    assert printable(made.evidence) in said
    assert all(printable(note) in said for note in made.signal.notes)


def test_words_from_the_model_are_escaped_wherever_they_stand():
    source = html(made_pages.injected())
    assert "<script>window" not in source
    assert "<img" not in source
    page = Page(source)
    for table, column in (("ops", 1), ("findings", 1), ("findings", 4), ("weights", 0)):
        assert SCRIPT in page.tables[table][1][column]
    assert SCRIPT in page.text("title")
    assert SCRIPT in page.points[0]["aria-label"]


def test_the_policy_lets_this_style_and_this_script_run_and_nothing_else():
    page = Page(html(made_checks.broken()))
    policy = next(each["content"] for each in page.of("meta") if "http-equiv" in each)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == "data:"
    for kind in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(page.text(kind).encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'"


def test_styles_and_scripts_come_with_the_package_and_name_no_address():
    folder = resources.files("xavier.report.page")
    files = [each for each in folder.iterdir() if each.name.endswith((".css", ".js"))]
    page = Page(html(one_op()))
    for each in files:
        source = each.read_text(encoding="ascii")
        assert source in page.text("style" if each.name.endswith(".css") else "script")
        assert not re.search(r"https?:|//[a-z]|url\(|@import|</", source.replace("// ", ""))


@pytest.mark.parametrize("made", made_checks.VERDICTS, ids=lambda made: made.verdict.value)
def test_every_verdict_stands_on_top_with_its_evidence_and_cure(made):
    page = Page(html(made))
    assert made.verdict.value in page.text("span")
    assert made.evidence in page.text("dd")
    assert made.cure in page.text("code")
    classes = [each["class"] for each in page.of("header")]
    assert classes == ["healthy" if made.verdict == "healthy" else "sick"]
    marked = [each for each in page.of("tr") if each.get("id") == "breaks"]
    broken = [each for each in page.points if "breaks" in each["class"]]
    assert len(marked) == (made.verdict != "healthy")
    assert len(broken) == 2 * len(marked)
    assert all("where the verdict begins" in each["aria-label"] for each in broken)


def test_a_place_that_is_no_op_has_no_link():
    page = Page(html(check("broken", op(0), where="elsewhere")))
    assert "elsewhere" in page.text("bdi")
    assert not page.of("a")


def test_every_finding_and_weight_has_a_row():
    findings = [finding(kind, cure="x = 1") for kind in ("note", "error", "warning", "error")]
    made = with_weights(check("healthy", op(0), findings=findings), weight("a"), weight("b"))
    tables = Page(html(made)).tables
    assert tables["findings"][0] == ["severity", "code", "path", "message", "cure"]
    kinds = [row[0] for row in tables["findings"][1:]]
    assert kinds == ["error", "error", "warning", "note"]
    assert tables["weights"][0] == ["name", "shape", "rms", "std", "gradient rms", "update ratio"]
    assert tables["weights"][2] == ["b", "(64, 64)", "0.1", "0.1", "1.00e-04", "0.001"]


def test_numbers_that_no_scale_has_stand_at_its_edges():
    values = (1.0, math.inf, math.nan, 0.0, 5e-324, 1e308)
    made = check("broken", *(op(at, rms=value) for at, value in enumerate(values)))
    forward, _ = chart.charts(made)
    assert [each.kind for each in forward.points] == ["plain", "odd", "odd", "zero"] + 2 * ["plain"]
    assert [each.y for each in forward.points[1:4]] == [0, 0, 100]
    assert all(0 <= each.y <= 100 for each in forward.points)
    assert forward.line.count("M") == 2
    page = Page(html(made))
    assert [row[6] for row in page.tables["ops"][1:]] == [
        "1", "inf", "nan", "0", "4.94e-324", "1.00e+308"
    ]  # fmt: skip


def test_a_gap_is_left_where_no_gradient_came():
    gradients = (1.0, 0.1, None, 0.1, 1.0)
    made = check("healthy", *(op(at, gradient_rms=each) for at, each in enumerate(gradients)))
    _, backward = chart.charts(made)
    assert len(backward.points) == 4
    assert backward.line.count("M") == 2


def test_where_no_gradient_came_at_all_the_page_says_so():
    source = html(one_op())
    assert "No gradient came." in source
    page = Page(source)
    assert len(page.points) == 1
    assert "gradient rms" not in page.tables["ops"][0]


def test_where_nothing_was_measured_the_page_says_so():
    page = Page(html(made_checks.bare()))
    assert "No op that holds a weight was measured." in page.text("p")
    assert not page.tables


def test_in_a_deep_model_the_points_are_thinned_and_the_table_is_whole():
    made = many()
    page = Page(html(made))
    assert len(page.tables["ops"]) == 2001
    assert len(page.points) <= 2 * 160
    assert sum("breaks" in each["class"] for each in page.points) == 2
    assert "160 of 2,000 ops have a point" in page.text("p")


@pytest.mark.parametrize("odd", [math.nan, 0.0])
def test_thinning_loses_no_op_that_is_off_the_scale(odd):
    ops = [op(at, rms=odd if at == 777 else 1.0) for at in range(2000)]
    forward, _ = chart.charts(check("broken", *ops))
    off = [each.label for each in forward.points if each.kind != "plain"]
    assert [label.split(":")[0] for label in off] == ["op 777"]


def test_the_band_of_a_thinned_chart_holds_every_op():
    ops = [op(at, rms=1e3 if at == 777 else 1.0) for at in range(2000)]
    forward, _ = chart.charts(check("healthy", *ops))
    assert forward.band
    assert min(top for each in forward.points for top in each.span) == 6.0
    stretch = next(each for each in forward.points if each.span[0] == 6.0)
    assert stretch.label.endswith("; ops 775 to 786 have 1 to 1e+03")
    assert not chart.charts(check("healthy", op(0)))[0].band


def test_a_page_of_a_deep_model_is_small():
    assert len(html(many()).encode()) < LARGEST
    assert len(html(many(path="{:x<300}")).encode()) < LARGEST


def test_a_name_read_from_the_right_is_kept_apart_in_a_label():
    forward, _ = chart.charts(made_pages.names())
    assert f"\u2068{made_pages.HEBREW}\u2069" in forward.points[1].label
    assert "\u2068" not in forward.points[2].label
    assert LONG in forward.points[0].label


def test_a_page_is_written_as_utf_8_in_place_of_another(tmp_path):
    path = tmp_path / "r.html"
    path.write_text("old")
    write_html(made_pages.names(), path)
    assert path.read_text(encoding="utf-8") == html(made_pages.names())
    assert list(tmp_path.iterdir()) == [path]


def test_a_page_that_cannot_be_written_whole_is_not_written(tmp_path, disk_of):
    path = tmp_path / "r.html"
    path.write_text("old")
    disk_of(1000)
    with pytest.raises(WriteError, match=r"r\.html cannot be written: .*\nHint: does "):
        write_html(one_op(), str(path))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_page_in_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(WriteError, match="cannot be written: No such file"):
        write_html(one_op(), tmp_path / "none" / "r.html")


def test_the_command_prints_a_page(folder):
    result = run("check", "models.py:net", "--format", "html")
    assert result.exit_code == 0, result.output
    assert len(Page(result.stdout).tables["ops"]) == 5


def test_the_command_writes_a_page_beside_what_it_prints(folder):
    result = run("check", "models.py:tiny_weights", "--format", "json", "--out", "r.html")
    assert result.exit_code == 1
    assert result.stdout.startswith("{")
    assert len(Page((folder / "r.html").read_text()).tables["ops"]) == 42


def test_with_a_page_in_a_file_the_command_prints_none(folder):
    result = run("check", "models.py:net", "--format", "html", "--out", "r.html")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert (folder / "r.html").read_text().startswith("<!doctype html>")


def test_the_command_keeps_a_file_that_exists_unless_it_is_forced(folder):
    (folder / "r.html").write_text("old")
    arguments = ("check", "models.py:net", "--out", "r.html")
    assert "--out r.html exists already\nHint: add --force" in refused(*arguments)
    assert (folder / "r.html").read_text() == "old"
    assert run(*arguments, "--force").exit_code == 0
    assert (folder / "r.html").read_text().startswith("<!doctype html>")


def test_a_page_has_a_name_that_ends_in_html(folder):
    assert "expected a name that ends in .html" in refused(
        "check", "models.py:net", "--out", "r.txt"
    )


def test_a_check_that_fails_leaves_no_page(folder):
    refused("check", "models.py:raises", "--input", "8,16", "--out", "r.html", code=3)
    assert not list(folder.glob("*r.html*"))


def test_histograms_stand_in_the_table_of_ops_beside_the_normal_law():
    source = html(made_pages.pictured())
    page = Page(source)
    steps = [dict(given)["d"] for tag, given in page.tags if dict(given).get("class") == "steps"]
    assert len(steps) == 3
    assert steps[1] == steps[2]
    # Bins of 8/21 RMS: the middle one of the normal law has 15 % of it, half of the most drawn.
    drawn = NORMAL.search(source)
    assert drawn is not None
    tops = [float(each) for each in re.findall(r"V([\d.]+)h1", drawn["steps"])]
    assert len(tops) == 21
    assert min(tops) == pytest.approx(10 * (1 - 0.1511 / 0.3), abs=0.1)
    assert tops == tops[::-1]
    assert page.tables["ops"][0].count("outputs") == 1
    assert "normal law" not in html(made_checks.healthy())


def test_the_command_counts_histograms_for_a_page_alone(folder):
    shown = run("check", "models.py:net", "--format", "html")
    assert 'class="picture forward"' in shown.stdout
    told = json.loads(run("check", "models.py:net", "--format", "json").stdout)
    assert {op["histogram"] for op in told["signal"]["ops"]} == {None}
    beside = ("check", "models.py:net", "--format", "json", "--out", "page.html")
    assert len(json.loads(run(*beside).stdout)["signal"]["ops"][0]["histogram"]) == 21


# Theory beside measurement


def test_the_theory_has_its_line_its_band_and_its_numbers_in_the_charts():
    made = made_checks.predicted()
    forward, gradient = chart.charts(made)
    # The head has no prediction, and the first op none of its gradient.
    assert [each.theory is not None for each in forward.points] == [True] * 6 + [False]
    assert [each.theory is not None for each in gradient.points] == [False, *[True] * 5, False]
    assert forward.theory.count("L") == 5
    assert forward.chance.endswith("Z")
    middle, top, bottom = forward.points[0].theory
    assert top < middle < bottom
    assert ", in theory 1 (0.833 to 2)" in forward.points[0].label
    assert "in theory" not in forward.points[6].label
    paths = [each["class"] for each in Page(html(made)).of("path")]
    assert paths == ["chance", "theory", "trace"] * 2
    assert (
        paths[2:3] == [each["class"] for each in Page(html(made_checks.healthy())).of("path")][:1]
    )


def test_where_theory_and_measurement_part_is_said_with_the_mean_field():
    made = made_checks.predicted()
    page = Page(html(made))
    assert "Theory and measurement part at layers.4: its output has RMS 3, where" in page.text("p")
    assert page.tables["stacks"][1][:4] == ["layers.1", "layers.3", "3", "tanh"]
    assert page.tables["stacks"][1][-1] == "-18.2 %"
    assert page.tables["stacks"][2][8] == "inf"
    assert "pool (next to 1 op): the largest or the mean of many counts" in page.text("li")
    heads, first, *_ = page.tables["ops"]
    assert dict(zip(heads, first, strict=True))["expected rms"] == "1"
    assert dict(zip(heads, first, strict=True))["lost in float16"] == "25 %"
    heads, only = page.tables["weights"]
    told = dict(zip(heads, only, strict=True))
    assert (told["Adam ratio"], told["below epsilon"]) == ("8", "1 %")


def test_a_check_without_theory_says_nothing_of_it():
    page = html(made_checks.healthy())
    assert 'id="theory"' not in page
    assert "what the theory expects" not in page
