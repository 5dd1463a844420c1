"""The published schemas: what is written follows them, and what is wrong does not."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from jsonschema import Draft202012Validator
from torch import nn

import made_checks
import made_plans
import xavier
from xavier import zoo
from xavier._types import laws
from xavier._types.contrast import Change, Contrast, Fate
from xavier._types.cures import Cures, Trial
from xavier._types.plan import Assignment, Kept, Plan, Region, Role
from xavier._types.signal import (
    Check,
    Finding,
    OpSignal,
    Severity,
    Signal,
    Verdict,
    WeightSignal,
)

FOLDER = Path(__file__).parent.parent / "docs" / "schema"
SCHEMAS = {
    name: json.loads((FOLDER / f"{name}.schema.json").read_text()) for name in ("plan", "check")
}
VALIDATORS = {name: Draft202012Validator(schema) for name, schema in SCHEMAS.items()}
MISSING_KEY = object()


def faults(name, text):
    """Return what a schema finds wrong with a document."""
    return [f"{each.json_path}: {each.message}" for each in VALIDATORS[name].iter_errors(text)]


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_is_one(name):
    Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@given(made_plans.plans())
@settings(max_examples=60)
def test_any_plan_follows_the_schema(plan):
    assert not faults("plan", json.loads(plan.to_json()))


@given(made_checks.checks())
@settings(max_examples=60)
def test_any_check_follows_the_schema(check):
    assert not faults("check", json.loads(check.to_json()))


@pytest.mark.parametrize("name", made_plans.EVERY)
def test_plans_made_by_hand_follow_the_schema(name):
    assert not faults("plan", json.loads(made_plans.EVERY[name]().to_json()))


@pytest.mark.parametrize("name", made_checks.EVERY)
def test_checks_made_by_hand_follow_the_schema(name):
    assert not faults("check", json.loads(made_checks.EVERY[name]().to_json()))


@pytest.mark.parametrize("name", ["gpt", "lstm", "spectral_normed"])
def test_plans_and_checks_of_real_models_follow_the_schemas(name):
    model, example = getattr(zoo, name)(), zoo.example(name)
    plan = xavier.init_(model, example, seed=0)
    assert not faults("plan", json.loads(plan.to_json()))
    assert not faults("check", json.loads(xavier.check(model, example).to_json()))


def test_a_check_of_a_broken_model_follows_the_schema():
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Sigmoid())
    nn.init.constant_(model[0].weight, float("nan"))
    check = xavier.check(model, torch.ones(2, 4))
    assert check.verdict == "broken"
    assert not faults("check", json.loads(check.to_json()))


# The schemas tell all that the nouns have, and no more


@pytest.mark.parametrize(
    ("schema", "noun"),
    [
        (SCHEMAS["plan"]["$defs"]["assignment"], Assignment),
        (SCHEMAS["plan"]["$defs"]["kept"], Kept),
        (SCHEMAS["plan"]["$defs"]["region"], Region),
        (SCHEMAS["check"]["$defs"]["op"], OpSignal),
        (SCHEMAS["check"]["$defs"]["weight"], WeightSignal),
        (SCHEMAS["check"]["$defs"]["finding"], Finding),
        (SCHEMAS["check"]["$defs"]["cures"], Cures),
        (SCHEMAS["check"]["$defs"]["trial"], Trial),
        (SCHEMAS["check"]["$defs"]["contrast"], Contrast),
        (SCHEMAS["check"]["$defs"]["change"], Change),
        (SCHEMAS["check"]["properties"]["signal"], Signal),
    ],
    ids=lambda given: getattr(given, "__name__", ""),
)
def test_schema_has_the_fields_of_the_noun(schema, noun):
    assert list(schema["properties"]) == [each.name for each in fields(noun)]
    assert schema["additionalProperties"] is False
    if noun in (Assignment, Kept, Region):  # which are also read, and may leave defaults out
        needed = [
            each.name
            for each in fields(noun)
            if each.default is MISSING and each.default_factory is MISSING
        ]
        assert sorted(schema["required"]) == sorted({*needed} - {"region"})
    else:
        assert schema["required"] == list(schema["properties"])


def test_schemas_lead_with_their_headers_and_have_the_fields_of_the_documents():
    plan, check = SCHEMAS["plan"], SCHEMAS["check"]
    header = ["format", "stream", "package", "digest"]
    assert list(plan["properties"]) == [*header, *(each.name for each in fields(Plan))]
    assert list(check["properties"]) == [
        "format",
        "stream",
        "package",
        *(each.name for each in fields(Check)),
    ]
    assert plan["properties"]["format"]["const"] == made_plans.plan().to_dict()["format"]
    assert plan["properties"]["stream"]["const"] == made_plans.plan().to_dict()["stream"]
    assert check["properties"]["format"]["const"] == made_checks.bare().to_dict()["format"]


def test_schemas_have_the_words_of_the_nouns():
    plan, check = SCHEMAS["plan"]["$defs"], SCHEMAS["check"]["$defs"]
    assert plan["assignment"]["properties"]["role"]["enum"] == list(Role)
    assert check["verdict"]["enum"] == list(Verdict)
    assert check["finding"]["properties"]["severity"]["enum"] == list(Severity)
    assert check["change"]["properties"]["fate"]["enum"] == list(Fate)


def test_schema_has_every_law_with_its_fields():
    told = {
        each["properties"]["law"]["const"]: each
        for each in SCHEMAS["plan"]["$defs"]["law"]["oneOf"]
    }
    assert set(told) == set(laws._LAWS)
    for name, law in laws._LAWS.items():
        own = fields(law)
        assert list(told[name]["properties"]) == ["law", *(each.name for each in own)]
        needed = [each.name for each in own if each.default is MISSING]
        assert told[name]["required"] == ["law", *needed]


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_field_is_told_of(name):
    schema = SCHEMAS[name]
    parts = [schema, *schema["$defs"].values(), *schema["$defs"].get("law", {}).get("oneOf", [])]
    silent = [
        key
        for part in parts
        for key, value in part.get("properties", {}).items()
        if not {"description", "$ref", "const", "enum"} & value.keys()
    ]
    assert not silent


# What is wrong


def _edited(data, where, value):
    *way, last = (int(part) if part.isdigit() else part for part in where.split("."))
    place = data
    for part in way:
        place = place[part]
    if value is MISSING_KEY:
        del place[last]
    else:
        place[last] = value
    return data


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("format", "xavier-plan/2"),
        ("format", MISSING_KEY),
        ("stream", 2),
        ("package", 3),
        ("digest", "0123"),
        ("recipe", None),
        ("seed", 1.5),
        ("seed", 2**63),
        ("notes", "a note"),
        ("more", 1),
        ("assignments.0.name", MISSING_KEY),
        ("assignments.0.shape", [4, -2]),
        ("assignments.0.shape", [4.5]),
        ("assignments.0.role", "haed"),
        ("assignments.0.fan_in", "many"),
        ("assignments.0.fan_in", None),
        ("assignments.0.fan_in", "-nan"),
        ("assignments.0.reson", "x"),
        ("assignments.0.law", "Normal"),
        ("assignments.0.law.law", "Norml"),
        ("assignments.0.law.std", MISSING_KEY),
        ("assignments.0.law.std", -1),
        ("assignments.0.law.std", "nan"),
        ("assignments.0.law.cut", 2),
        ("assignments.0.follower_law.groups", 0),
        ("assignments.0.region.axis", None),
        ("assignments.0.region.axis", -1),
        ("assignments.0.region.ranges", []),
        ("assignments.0.region.ranges", [[0]]),
        ("assignments.0.region.step", 1),
        ("assignments.0.frameworks.torch", [1]),
        ("assignments.0.frameworks.torch", [1, "x"]),
        ("kept.0.kind", "tensor"),
        ("kept.0.reason", MISSING_KEY),
    ],
)
def test_a_wrong_plan_fails(where, value):
    plan = made_plans.plan(
        made_plans.full_row(), kept=[Kept("gain", (2,), "parameter", "no contraction reads it")]
    )
    data = plan.to_dict()
    assert not faults("plan", data)
    assert faults("plan", _edited(data, where, value))


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("format", "xavier-plan/1"),
        ("verdict", "sick"),
        ("verdicts", []),
        ("verdicts", ["dead", "dead"]),
        ("where", None),
        ("more", 1),
        ("findings.0.severity", "grave"),
        ("findings.0.code", MISSING_KEY),
        ("signal.notes", "a note"),
        ("signal.ops.0.rms", None),
        ("signal.ops.0.rms", "infinity"),
        ("signal.ops.0.gradient_rms", "none"),
        ("signal.ops.0.saturation", 1.5),
        ("signal.ops.0.nonfinite", -1),
        ("signal.ops.0.shape", [1.5]),
        ("signal.ops.0.index", MISSING_KEY),
    ],
)
def test_a_wrong_check_fails(where, value):
    data = made_checks.broken().to_dict()
    assert not faults("check", data)
    assert faults("check", _edited(data, where, value))


def test_the_documentation_links_the_schemas():
    pages = "".join(page.read_text() for page in FOLDER.parent.glob("*.md"))
    for name in SCHEMAS:
        assert f"](schema/{name}.schema.json)" in pages
