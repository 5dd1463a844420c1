"""The HTML report in a browser: sorted, filtered, read and copied, with and without a mouse."""

from __future__ import annotations

import re

import pytest

import browser as browsers
import made_checks
import made_pages
from xavier.report import write_html

WIDTHS = {"phone": 390, "desktop": 1280}
SCHEMES = ("light", "dark")

CONTRASTS = """() => {
  const parse = (colour) => (colour.match(/[\\d.]+/g) || []).map(Number);
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((each) => {
      const share = each / 255;
      return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = parse(getComputedStyle(each).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour.slice(0, 3);
    }
    throw new Error("no ground");
  };
  const worst = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || element.closest("script, title")) continue;
    const style = getComputedStyle(element);
    const ink = parse(element.closest("svg") ? style.fill : style.color).slice(0, 3);
    const [low, high] = [luminance(ink), luminance(ground(element))].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) worst.push([walker.currentNode.textContent.trim(), ratio]);
  }
  return worst;
}"""

FOCUSED = """() => {
  const element = document.activeElement;
  const style = getComputedStyle(element);
  const column = element.matches(".point") && getComputedStyle(element.querySelector("rect"));
  return {
    name: element.matches(".point") ? "point" : element.id || element.textContent.trim()
      || element.value || element.tagName,
    visible: element.matches(":focus-visible") && (column
      ? column.stroke !== "none" && parseFloat(column.strokeWidth) >= 2
      : style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2),
    body: element === document.body,
  };
}"""


@pytest.fixture(scope="module")
def browser():
    with browsers.started() as made:
        yield made


@pytest.fixture
def visit(browser, tmp_path):
    """Return a function that opens the page of a check."""
    visits = []

    def opened(made, **options):
        path = tmp_path / f"{len(visits)}.html"
        write_html(made, path)
        visits.append(browsers.Visit(browser, path, **options))
        return visits[-1].page

    yield opened
    for each in visits:
        assert not each.troubles
        assert not each.requests
        each.context.close()


def _column(page, table, place):
    return page.locator(f"#{table} tbody tr:visible td:nth-child({place})").all_inner_texts()


@pytest.mark.parametrize("name", made_pages.EVERY)
def test_a_page_opens_without_an_error_or_a_request_and_fits_every_width(name, visit):
    for width in WIDTHS.values():
        page = visit(made_pages.EVERY[name](), width=width)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate("typeof window.hacked") == "undefined"
        assert page.locator("img, iframe, object").count() == 0


def test_a_request_from_within_a_page_is_refused_by_its_policy(browser, tmp_path):
    path = tmp_path / "r.html"
    write_html(made_checks.healthy(), path)
    visit = browsers.Visit(browser, path)
    add = """() => new Promise((done) => {
      const image = document.body.appendChild(new Image());
      image.onerror = image.onload = () => done();
      image.src = "https://example.invalid/x";
    })"""
    visit.page.evaluate(add)
    assert not visit.requests
    assert any("Content Security Policy" in each for each in visit.troubles)
    visit.context.close()


def test_a_click_sorts_up_and_a_second_one_down(visit):
    page = visit(made_checks.broken())
    head = page.get_by_role("columnheader", name="gradient rms")
    assert head.get_attribute("aria-sort") is None
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert _column(page, "ops", 8) == ["0.02", "0.02", "inf", "-", "-"]
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert _column(page, "ops", 8) == ["inf", "0.02", "0.02", "-", "-"]
    page.locator("#ops").get_by_role("button", name="path").click()
    assert head.get_attribute("aria-sort") is None
    assert page.locator("#ops [aria-sort]").count() == 1


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_the_keyboard_sorts_the_findings(key, visit):
    page = visit(made_checks.broken())
    button = page.locator("#findings").get_by_role("button", name="severity")
    button.focus()
    page.keyboard.press(key)
    assert _column(page, "findings", 1) == ["error", *["warning"] * 8, "note"]
    page.keyboard.press(key)
    assert _column(page, "findings", 1) == ["note", *["warning"] * 8, "error"]
    assert page.locator("#findings th").first.get_attribute("aria-sort") == "descending"


def test_findings_are_sorted_by_every_column(visit):
    page = visit(made_checks.broken())
    heads = page.locator("#findings th")
    for place in range(heads.count()):
        heads.nth(place).get_by_role("button").click()
        shown = [each for each in _column(page, "findings", place + 1) if each]
        order = ("error", "warning", "note").index if place == 0 else str.lower
        assert shown == sorted(shown, key=order)


def test_names_are_sorted_by_the_numbers_in_them(visit):
    made = made_checks.check("healthy", *(made_checks.op(at) for at in (10, 9, 2)))
    page = visit(made)
    page.locator("#ops").get_by_role("button", name="path").click()
    assert _column(page, "ops", 2) == ["layers.2", "layers.9", "layers.10"]


def test_findings_are_filtered_by_severity(visit):
    page = visit(made_checks.broken())
    page.get_by_label("warnings (8)").focus()
    page.keyboard.press("Space")
    assert _column(page, "findings", 1) == ["error", "note"]
    assert page.locator("#shown").inner_text() == "2 of 10 shown"
    page.get_by_label("warnings (8)").check()
    assert len(_column(page, "findings", 1)) == 10


def test_the_cure_is_copied(visit):
    made = made_checks.broken()
    page = visit(made, permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    page.locator("#copied", has_text="copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == made.cure


def test_where_copying_is_forbidden_the_cure_is_selected(visit):
    made = made_checks.broken()
    page = visit(made)
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(); }")
    page.get_by_role("button", name="Copy").click()
    page.locator("#copied", has_text="selected").wait_for()
    assert page.evaluate("getSelection().toString()") == made.cure


def test_light_and_dark_look_different(visit):
    light, dark = (visit(made_checks.deep(), scheme=each).screenshot() for each in SCHEMES)
    assert light != dark


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["healthy", "broken", "deep", "names", "pictured", "one_op"])
def test_every_word_stands_out_from_its_ground(name, scheme, visit):
    page = visit(made_pages.EVERY[name](), scheme=scheme, reduced_motion="reduce")
    assert page.evaluate(CONTRASTS) == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_histogram_is_a_picture_with_words_and_no_column_to_sort_by(scheme, visit):
    page = visit(made_pages.pictured(), scheme=scheme)
    pictures = page.locator("#ops").get_by_role("img")
    said = [each.get_attribute("aria-label") for each in pictures.all()]
    spike = "90% within 0.2 RMS of zero, 90% within 1.0, 10.0% beyond 3.6"
    assert said == ["40% within 0.2 RMS of zero, 100% within 1.0, 0.0% beyond 3.6", spike, spike]
    assert all(each.bounding_box()["width"] > 60 for each in pictures.all())
    heads = page.locator("#ops th[data-kind='picture']")
    assert heads.all_inner_texts() == ["outputs", "gradients"]
    assert heads.locator("button").count() == 0
    page.locator("#ops").get_by_role("button", name="gradient rms").click()
    assert pictures.count() == 3


def test_the_keyboard_reaches_everything_and_shows_where_it_is(visit):
    page = visit(made_checks.broken(), reduced_motion="reduce")
    stops = []
    for _ in range(80):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused["body"]:
            break
        stops.append(focused)
    assert all(each["visible"] for each in stops), stops
    names = [each["name"] for each in stops]
    assert names.count("point") == 2  # one stop a chart, whatever its size
    wanted = {"attention.out", "copy", "gradient rms", "severity", "cure", "error", "note"}
    assert wanted <= set(names)
    assert "What the codes mean" in names


def test_the_points_of_a_chart_have_names_that_tell_the_numbers(visit):
    page = visit(made_checks.deep())
    chart = page.get_by_role("group", name=re.compile("^Gradient RMS by op: 63 points"))
    assert chart.get_by_role("img").count() == 63
    name = "op 22, where the verdict begins: forward RMS 0.0794, gradient RMS 4.64e-07; "
    assert chart.get_by_role("img", name=f"{name}blocks.11.up (linear)").count() == 1


def test_arrow_keys_go_from_point_to_point_and_read_them_out(visit):
    page = visit(made_checks.deep())
    readout = page.locator(".gradient .readout")
    assert readout.inner_text().startswith("Point at an op")
    page.locator(".gradient .point.breaks").focus()
    assert readout.inner_text().startswith("op 22, where the verdict begins: forward RMS 0.0794")
    for key, op in (("ArrowRight", 23), ("Home", 0), ("ArrowLeft", 0), ("End", 62)):
        page.keyboard.press(key)
        assert readout.inner_text().startswith(f"op {op}: "), key
    assert page.locator(".gradient .point[tabindex='0']").count() == 1
    page.keyboard.press("Tab")
    assert readout.inner_text().startswith("Point at an op")


def test_a_pointer_over_a_column_reads_it_out_and_nothing_moves(visit):
    page = visit(made_pages.names())
    chart = page.locator(".forward")
    before = chart.bounding_box()
    chart.locator(".point rect").first.hover(position={"x": 9, "y": 9})
    assert chart.locator(".readout").inner_text().startswith("op 0, where the verdict begins:")
    assert chart.bounding_box() == before


def test_without_scripts_everything_can_be_read(visit):
    page = visit(made_checks.broken(), java_script_enabled=False)
    assert page.get_by_role("heading", level=1).inner_text() == "broken at attention.out"
    assert page.locator("#ops tbody tr").count() == 5
    assert page.locator("#findings tbody tr:visible").count() == 10
    assert page.locator("button:visible, input:visible").count() == 0
    assert page.locator(".forward .point title").count() == 5


def test_nothing_moves_where_less_motion_is_asked_for(visit):
    moving = """() => [...document.querySelectorAll("*")].filter((each) => {
      const style = getComputedStyle(each);
      return parseFloat(style.transitionDuration) > 0 || style.animationName !== "none"
        || style.scrollBehavior === "smooth";
    }).length"""
    assert visit(made_checks.deep(), reduced_motion="reduce").evaluate(moving) == 0
    assert visit(made_checks.deep(), reduced_motion="no-preference").evaluate(moving) > 0


def test_the_place_of_the_verdict_leads_to_its_row(visit):
    page = visit(made_checks.deep(), reduced_motion="reduce")
    row = page.locator("#breaks")
    page.get_by_role("link", name="blocks.11.up").click()
    box = row.bounding_box()
    assert 0 <= box["y"] < 900
    head = page.locator("#ops th").first.bounding_box()
    assert box["y"] >= head["y"] + head["height"] - 1  # not beneath the head that stays on top
