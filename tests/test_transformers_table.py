"""The table of the transformers library's models is what the recorded runs say, and they repeat."""

from __future__ import annotations

import json

import pytest
from benchmarks.transformers_models.models import KINDS
from benchmarks.transformers_models.outcomes import outcome
from benchmarks.transformers_models.table import with_table

from transformer_models import ALL, ROOT  # first, for it finds the benchmarks

pytestmark = [
    pytest.mark.transformers,
    pytest.mark.filterwarnings("ignore::xavier.frameworks.torch.write.SameBitsWarning"),
]

RECORD = json.loads((ROOT / "benchmarks" / "results" / "transformers.json").read_text())
PAGE = ROOT / "docs" / "transformers.md"
ROWS = {row["name"]: row for row in RECORD["models"]}
# One of each kind, and those whose library's own start is ill.
AGAIN = (
    *("modernbert", "gemma2", "olmoe", "pegasus", "vit", "wav2vec2", "lfm2"),
    *("efficientnet", "detr"),
)


def test_the_page_has_the_recorded_table():
    page = PAGE.read_text()
    assert with_table(page, RECORD) == page
    ill = [row for row in RECORD["models"] if row["before"][0] != "healthy"]
    assert page.count("\n| ") == len(ROWS) + len(ill) + 2


def test_every_model_is_recorded_and_none_has_a_parameter_that_is_neither_drawn_nor_kept():
    assert list(ROWS) == list(ALL)
    assert len(ROWS) >= 25
    assert {row["kind"] for row in RECORD["models"]} == set(KINDS)
    assert [name for name, row in ROWS.items() if row["unassigned"]] == []


def test_the_models_that_are_ill_when_drawn_are_those_that_the_page_explains():
    ill = [row["model"] for row in RECORD["models"] if row["after"][0] != "healthy"]
    explained = PAGE.read_text().partition("<!-- table -->")[0]
    assert all(f"`{each}`" in explained for each in ill)
    assert len(ill) <= 1


@pytest.mark.parametrize("name", AGAIN)
def test_a_recorded_outcome_comes_out_again(name):
    row, kind = ROWS[name], ROWS[name]["kind"]
    again = json.loads(json.dumps(outcome(name, kind, ALL[name]).to_dict()))
    numbers = ("before", "after", "trained")
    assert {k: v for k, v in again.items() if k not in numbers} == {
        k: v for k, v in row.items() if k not in numbers
    }
    # The numbers of the evidence depend on the machine's order of sums; the verdict does not.
    assert [again[each][:2] for each in numbers[:2]] == [row[each][:2] for each in numbers[:2]]
