"""A plan is what is printed, what is written, and what is executed."""

from __future__ import annotations

import json
import math
import re
import tomllib
from dataclasses import fields, replace

import pytest
import tomli_w
from hypothesis import given

from made_plans import LAWS, NAN, bias, full_row, plan, plans, row
from xavier import Plan, PlanError, laws
from xavier._errors import UnknownNameError
from xavier._types import codec
from xavier._types import laws as law_types
from xavier._types.plan import Assignment, Kept, Region, Role

KEPT = Kept("gain", (2,), "parameter", "no contraction reads it", ("scale",))
FULL = plan(
    full_row(),
    row("head", (2, 6)),
    bias(),
    kept=(KEPT, Kept("mask", (3,), "buffer", "a buffer")),
    seed=7,
    scope="teacher.",
    notes=("a guess was made",),
)


# Reading one's way around in it


def test_a_plan_is_a_collection_of_its_assignments():
    assert len(FULL) == 3
    assert [each.name for each in FULL] == ["blocks.7.attn.qkv.weight", "head", "layers.0.bias"]
    assert FULL.assignments[0] in FULL
    assert replace(FULL.assignments[0], law=laws.Constant(1)) not in FULL


def test_a_parameter_is_in_a_plan_by_any_of_its_names_if_it_is_drawn():
    assert "head" in FULL
    assert "head.weight" in FULL
    assert "gain" not in FULL
    assert 3 not in FULL


def test_a_parameters_assignments_are_found_by_any_of_its_names():
    parts = [Region(0, ((0, 2),)), Region(0, ((2, 6),))]
    rows = [row("qkv", (6, 2), region=each, aliases=("tied",)) for each in parts]
    made = plan(*rows, bias())
    assert made["qkv"] == made["tied"] == tuple(rows)
    assert FULL["head.weight"] == FULL.assignments[:1]


def test_what_is_kept_is_known_and_has_no_assignment():
    assert FULL["gain"] == FULL["scale"] == FULL["mask"] == ()


def test_names_are_told_once_drawn_ones_first():
    assert FULL.names == (
        *("blocks.7.attn.qkv.weight", "head.weight", "head", "layers.0.bias"),
        *("gain", "scale", "mask"),
    )


@pytest.mark.parametrize("read", [Plan.__getitem__, Plan.explain])
def test_an_unknown_name_is_told_with_the_nearest(read):
    message = r"unknown parameter 'layers\.0\.bais'\nHint: did you mean layers\.0\.bias\?"
    with pytest.raises(UnknownNameError, match=message):
        read(FULL, "layers.0.bais")


def test_of_many_unlike_names_a_hint_tells_some():
    rows = [bias(f"aaaaaaaaaaaaaaaa.{at}") for at in range(600)]
    with pytest.raises(UnknownNameError, match=r"and 560 more$"):
        plan(*rows)["zzz"]


def test_unknown_numbers_of_equal_assignments_are_equal():
    assert row(fan_in=NAN) == row(fan_in=NAN)
    assert row(frameworks={"torch": (NAN, 1.0)}) == row(frameworks={"torch": (NAN, 1.0)})
    assert hash(row(fan_in=NAN)) == hash(row(fan_in=NAN))
    assert row(fan_in=NAN) != row(fan_in=1.0)
    assert row() != "row"


# There and back


@given(plans())
def test_toml_round_trips_to_an_equal_plan(made):
    again = Plan.from_toml(made.to_toml())
    assert again == made
    assert again.digest == made.digest


@given(plans())
def test_json_round_trips_to_an_equal_plan(made):
    again = Plan.from_dict(json.loads(made.to_json()))
    assert again == made
    assert again.digest == made.digest


@given(plans())
def test_plain_data_shares_nothing_with_the_plan(made):
    data = made.to_dict()
    for each in data["assignments"]:
        each["frameworks"].clear()
        each["aliases"].append("more")
    assert made == Plan.from_dict(json.loads(made.to_json()))


def test_toml_leaves_out_what_is_as_usual():
    text = plan(bias(), kept=[Kept("mask", (3,), "buffer", "a buffer")]).to_toml()
    absent = ("region", "forward_power", "follower_law", "aliases", "frameworks", "seed", "notes")
    assert not [key for key in absent if f"{key} = " in text or f".{key}]" in text]
    assert "fan_in = nan" in text


def test_toml_writes_each_list_of_numbers_on_one_line():
    text = FULL.to_toml()
    assert "ranges = [[0, 2], [4, 6]]" in text
    assert "shape = [4, 2]" in text
    assert "torch = [2.0, 6.0]" in text
    assert "keras = [inf, 1.0]" in text


def test_toml_says_how_to_use_it():
    first, second, *_ = FULL.to_toml().splitlines()
    assert first.startswith("# A plan of xavier")
    assert (
        second == "# Draw it with: xavier.init_(model, example, plan=xavier.Plan.from_toml(text))"
    )


def test_an_edited_law_is_what_the_plan_has():
    text = FULL.to_toml().replace("std = 0.57735", "std = 0.02")
    edited = Plan.from_toml(text)
    assert edited["head"][0].law == laws.Normal(0.0, 0.02)
    assert edited.digest != FULL.digest


def test_integers_in_a_hand_written_file_are_floats_in_the_plan():
    text = (
        plan(bias())
        .to_toml()
        .replace("value = 0.0", "value = 3")
        .replace("fan_in = nan", "fan_in = 2")
    )
    read = Plan.from_toml(text)["layers.0.bias"][0]
    assert (read.law, read.fan_in) == (laws.Constant(3.0), 2.0)
    assert isinstance(read.fan_in, float)


def test_json_has_strings_for_numbers_that_json_lacks():
    data = json.loads(plan(full_row(fan_in=NAN, fan_out=-math.inf)).to_json())
    first = data["assignments"][0]
    assert (first["fan_in"], first["fan_out"], first["predicted_q"]) == ("nan", "-inf", "inf")


def test_documents_lead_with_format_stream_and_package():
    import xavier

    for data in (FULL.to_dict(), json.loads(FULL.to_json())):
        assert list(data)[:4] == ["format", "stream", "package", "digest"]
        assert (data["format"], data["stream"]) == ("xavier-plan/1", 1)
        assert data["package"] == xavier.__version__


def test_the_stream_of_plans_is_the_stream_of_bits():
    from xavier.bits import STREAM_VERSION

    assert codec.STREAM == STREAM_VERSION


# The digest


def test_digest_changes_with_anything_that_is_drawn():
    one = full_row()
    other = {
        "name": "blocks.8.attn.qkv.weight",
        "region": Region(0, ((0, 2), (5, 7))),
        "shape": (4, 3),
        "law": laws.Normal(0.0, 0.57736),
    }
    digests = {plan(one).digest, plan(one, scope="a").digest, plan(one, bias()).digest}
    digests |= {plan(replace(one, **{key: value})).digest for key, value in other.items()}
    assert len(digests) == 3 + len(other)


def test_digest_tells_apart_laws_of_the_same_numbers():
    same = (laws.Normal(0.0, 1.0), laws.Uniform(0.0, 1.0), laws.Sparse(0.0, 1.0))
    unit = (laws.Orthogonal(), laws.DeltaOrthogonal(), laws.Identity(), laws.Constant(1.0))
    assert len({plan(row(law=law)).digest for law in (*same, *unit, laws.Dirac())}) == 8


def test_digest_is_the_same_whatever_only_tells_of_what_is_drawn():
    one = full_row()
    drawn = {"name", "region", "shape", "law"}
    told = {each.name for each in fields(Assignment)} - drawn
    assert {key for key in told if getattr(one, key) == getattr(row(), key)} <= {
        *("fed_by", "followed_by", "rule", "reason")
    }
    quiet = replace(one, **{key: getattr(bias(), key) for key in told})
    assert plan(quiet).digest == plan(one).digest
    for change in ({"seed": 3}, {"notes": ("x",)}, {"recipe": "x"}, {"model_digest": "x"}):
        assert replace(FULL, **change).digest == FULL.digest
    assert replace(FULL, kept=()).digest == FULL.digest


def test_digest_knows_no_order():
    assert plan(row(), bias()).digest == plan(bias(), row()).digest


def test_digest_of_a_plan_is_pinned():
    assert plan(row(), bias()).digest == "5b84947431044516234c085c87865860"


# Mistakes in a file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "plan format is None, expected 'xavier-plan/1'\nHint: is it a plan, and of this"),
        ('format = "xavier-plan/2"', "plan format is 'xavier-plan/2', expected 'xavier-plan/1'"),
        ('format = "xavier-check/1"', "plan format is 'xavier-check/1', expected 'xavier-plan/1'"),
        ('format = "xavier-plan/1"', "plan: the key 'stream' is missing"),
        (
            'format = "xavier-plan/1"\nstream = 2',
            "stream version is 2, expected 1\nHint: the plan draws other bits than this version",
        ),
        (
            "format = ",
            r"plan is no valid TOML: .*at end of document.*\nHint: is this the file that",
        ),
        ("a = 1\nb = = 2", r"plan is no valid TOML: .*\(at line 2, column 5\)"),
        ("a = " + "[" * 5000, "plan is no valid TOML: "),
        ("a = " + "9" * 5000, "plan is no valid TOML: "),
    ],
)
def test_text_that_is_no_plan_is_refused(text, message):
    with pytest.raises(PlanError, match=message):
        Plan.from_toml(text)


ROW = r"assignments\[0\] \(blocks\.7\.attn\.qkv\.weight\)"
MISSING = object()
FAULTS = [
    # where, value, message
    ("package", 3, "package is 3, expected a string"),
    ("package", MISSING, "plan: the key 'package' is missing"),
    ("recipe", MISSING, "plan: the key 'recipe' is missing"),
    ("recipe", ["auto"], r"recipe is \['auto'\], expected a string"),
    ("model_digest", MISSING, "plan: the key 'model_digest' is missing"),
    ("seed", "7", "seed is '7', expected an integer"),
    ("seed", 7.0, "seed is 7.0, expected an integer"),
    ("seed", True, "seed is True, expected an integer"),
    ("scope", 1, "scope is 1, expected a string"),
    ("notes", "a note", "notes is 'a note', expected a list"),
    ("notes", [1], r"notes is \[1\], expected a list of strings"),
    ("assignments", {}, "assignments is {}, expected a list"),
    ("assignments.0", "x", r"assignments\[0\] is 'x', expected a table"),
    ("assignments.0.name", MISSING, r"assignments\[0\]: the key 'name' is missing"),
    ("assignments.0.name", 5, r"assignments\[0\]\.name is 5, expected a string"),
    ("assignments.0.shape", MISSING, f"{ROW}: the key 'shape' is missing"),
    (
        "assignments.0.shape",
        [4, -2],
        rf"{ROW}\.shape is \[4, -2\], expected a list of integers, no",
    ),
    ("assignments.0.shape", [4.0, 2], rf"{ROW}\.shape is .* expected a list of integers"),
    (
        "assignments.0.shape",
        [5, 2],
        rf"{ROW}\.shape is \(5, 2\), expected 4 along axis 0 as its reg",
    ),
    ("assignments.0.shape", [], rf"{ROW}\.shape is \(\), expected 4 along axis 0 as its region"),
    (
        "assignments.0.role",
        "haed",
        rf"{ROW}\.role is 'haed', expected one of input, hidden, .*other",
    ),
    ("assignments.0.fan_in", MISSING, f"{ROW}: the key 'fan_in' is missing"),
    ("assignments.0.fan_in", "many", rf"{ROW}\.fan_in is 'many', expected a number"),
    ("assignments.0.fan_in", True, rf"{ROW}\.fan_in is True, expected a number"),
    ("assignments.0.fan_in", 10**400, rf"{ROW}\.fan_in is 1000.*0000, expected a number"),
    ("assignments.0.rule", MISSING, f"{ROW}: the key 'rule' is missing"),
    ("assignments.0.predicted_q", [], rf"{ROW}\.predicted_q is \[\], expected a number"),
    ("assignments.0.aliases", "head", rf"{ROW}\.aliases is 'head', expected a list"),
    ("assignments.0.reson", "x", f"{ROW}: unknown key 'reson'\nHint: did you mean 'reason'"),
    ("assignments.0.zzzzzz", "x", f"{ROW}: unknown key 'zzzzzz'\nHint: known: aliases, .*shape"),
    (
        "assignments.0.law",
        "Normal",
        rf"{ROW}\.law: 'Normal' names no law, expected .*\nHint: such as",
    ),
    ("assignments.0.law", MISSING, f"{ROW}: the key 'law' is missing"),
    ("assignments.0.law", {"law": "Norml"}, rf"{ROW}\.law: unknown law 'Norml'\nHint: .* Normal"),
    ("assignments.0.law.std", MISSING, rf"{ROW}\.law: Normal lacks std"),
    ("assignments.0.law.sdt", 1, rf"{ROW}\.law: Normal has no field 'sdt', expected mean, std"),
    ("assignments.0.law.std", -1, rf"{ROW}\.law: Normal: std is -1.0, expected zero or more"),
    ("assignments.0.law.std", "1", rf"{ROW}\.law: Normal: std is '1', expected a finite number"),
    ("assignments.0.law.std", math.inf, rf"{ROW}\.law: Normal: std is inf, expected a finite numb"),
    ("assignments.0.law.std", 10**400, rf"{ROW}\.law: Normal: std is 1000.*, expected a finite"),
    ("assignments.0.follower_law", 3, rf"{ROW}\.follower_law: 3 names no law"),
    ("assignments.0.follower_law.groups", 0, rf"{ROW}\.follower_law: Dirac: groups is 0, expected"),
    ("assignments.0.region", 3, rf"{ROW}\.region is 3, expected a table"),
    ("assignments.0.region.axis", "0", rf"{ROW}\.region\.axis is '0', expected an integer"),
    (
        "assignments.0.region.axis",
        -1,
        rf"{ROW}\.region\.axis is -1, expected an axis from 0 with r",
    ),
    ("assignments.0.region.axis", 5, rf"{ROW}\.shape is \(4, 2\), expected 4 along axis 5"),
    (
        "assignments.0.region.axis",
        MISSING,
        rf"{ROW}\.region\.axis is None, expected an axis from 0",
    ),
    ("assignments.0.region.ranges", [], rf"{ROW}\.region\.axis is 0, expected .*, or neither"),
    (
        "assignments.0.region.ranges",
        [3],
        rf"{ROW}\.region\.ranges is \[3\], expected a list of pairs",
    ),
    ("assignments.0.region.ranges", [[0, 1.5]], "expected a list of pairs of integers"),
    (
        "assignments.0.region.ranges",
        [[0, 4], [2, 6]],
        "expected increasing, disjoint, not empty ran",
    ),
    ("assignments.0.region.ranges", [[4, 4]], "expected increasing, disjoint, not empty ranges"),
    ("assignments.0.region.ranges", [[-4, 0]], "expected increasing, disjoint, not empty ranges"),
    (
        "assignments.0.region.step",
        2,
        rf"{ROW}\.region: unknown key 'step'\nHint: known: axis, ranges",
    ),
    (
        "assignments.0.frameworks",
        [1],
        rf"{ROW}\.frameworks is \[1\], expected a table of pairs of fa",
    ),
    (
        "assignments.0.frameworks.torch",
        [1],
        rf"{ROW}\.frameworks\.torch is \[1\], expected a pair of",
    ),
    ("assignments.0.frameworks.torch", [1, "x"], rf"{ROW}\.frameworks\.torch is .* a pair of fans"),
    (
        "assignments.0.frameworks.torch",
        3,
        rf"{ROW}\.frameworks\.torch is 3, expected a pair of fans",
    ),
    ("assignments.1.name", "blocks.7.attn.qkv.weight", r"`blocks.*`: regions .* and \[:\] overlap"),
    ("kept.0", 3, r"kept\[0\] is 3, expected a table"),
    (
        "kept.0.kind",
        "tensor",
        r"kept\[0\] \(gain\)\.kind is 'tensor', expected 'parameter' or 'buffe",
    ),
    ("kept.0.reason", MISSING, r"kept\[0\] \(gain\): the key 'reason' is missing"),
    ("kept.0.law", {}, r"kept\[0\] \(gain\): unknown key 'law'\nHint: known: aliases, kind, name"),
    ("kept.0.name", "head", "`head` is both drawn and kept\nHint: take it out of one of the two"),
    ("asignments", [], "plan: unknown key 'asignments'\nHint: did you mean 'assignments'"),
]


def _edited(data, where, value):
    *way, last = (int(part) if part.isdigit() else part for part in where.split("."))
    place = data
    for part in way:
        place = place[part]
    if value is MISSING:
        del place[last]
    else:
        place[last] = value
    return data


@pytest.mark.parametrize(("where", "value", "message"), FAULTS, ids=[each[0] for each in FAULTS])
def test_a_mistake_made_by_hand_is_named_with_its_place(where, value, message):
    data = {key: each for key, each in FULL.to_dict().items() if key != "digest"}
    with pytest.raises(PlanError, match=message):
        Plan.from_dict(_edited(json.loads(json.dumps(data)), where, value))


@pytest.mark.parametrize(("where", "value", "message"), FAULTS, ids=[each[0] for each in FAULTS])
def test_a_mistake_in_toml_is_named_as_in_json(where, value, message):
    text = tomli_w.dumps(_edited(tomllib.loads(FULL.to_toml()), where, value))
    with pytest.raises(PlanError, match=message):
        Plan.from_toml(text)


def test_a_document_that_is_no_table_is_refused():
    with pytest.raises(PlanError, match=r"plan is \[\], expected a table"):
        Plan.from_dict([])


def test_a_document_whose_digest_is_not_its_contents_is_refused():
    data = FULL.to_dict()
    data["assignments"][1]["law"]["std"] = 1.0
    with pytest.raises(
        PlanError, match=f"digest is '{FULL.digest}', but the content has '[0-9a-f]+'"
    ):
        Plan.from_dict(data)


def test_messages_about_a_file_escape_what_it_holds():
    for change in ({"law": 3}, {"frameworks": {"\x1b[2J": 3}}, {"\x1b[2J": 3}):
        data = plan(row("\x1b[31m\n")).to_dict() | {"digest": None}
        data["assignments"][0] |= change
        with pytest.raises(PlanError) as caught:
            Plan.from_dict(data)
        assert "\x1b" not in str(caught.value)
        assert r"\x1b[31m\n" in str(caught.value)


def test_a_noun_of_one_row_reads_what_it_wrote():
    assert Assignment.from_dict(full_row().to_dict()) == full_row()
    assert Kept.from_dict(KEPT.to_dict()) == KEPT
    with pytest.raises(PlanError, match=r"assignment \(x\): the key 'shape' is missing"):
        Assignment.from_dict({"name": "x"})
    with pytest.raises(PlanError, match=r"kept \(x\): the key 'shape' is missing"):
        Kept.from_dict({"name": "x"})


def test_every_law_is_one_that_plans_are_tested_with():
    assert set(LAWS) == set(law_types._LAWS)


def test_what_is_no_plain_data_cannot_be_written():
    with pytest.raises(TypeError, match="object is no plain data"):
        codec.plain({"a": object()})


def test_outside_an_installation_the_version_is_unknown(monkeypatch):
    def missing(name):
        raise codec.PackageNotFoundError(name)

    monkeypatch.setattr(codec, "version", missing)
    assert plan(bias()).to_dict()["package"] == "unknown"


def test_roles_are_words():
    assert {str(role) for role in Role} == {role.value for role in Role}
    assert re.fullmatch(r"[a-z ]+", " ".join(Role))
