"""Names that differ in an index alone are written as one, and read back."""

from __future__ import annotations

from itertools import chain, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xavier._types.folding import Fold, fold, indices, written
from xavier.planning.override_matching import glob

INDICES = st.sets(st.integers(0, 10**18 - 1) | st.integers(0, 12), min_size=2, max_size=12)
PROGRESSIONS = st.builds(
    lambda start, step, count: {start + step * at for at in range(count)},
    st.integers(0, 99),
    st.integers(1, 9),
    st.integers(2, 40),
)
PART = st.sampled_from(["0", "1", "2", "3", "10", "01", "layers", "weight", "", "-1", "²", "a b"])
NAMES = st.lists(st.lists(PART, min_size=1, max_size=4).map(".".join), unique=True, max_size=24)


def folded(names, same=lambda name: ""):
    return fold(names, name=lambda name: name, same=same)


@given(INDICES | PROGRESSIONS)
def test_indices_reads_back_what_a_folded_name_says(wanted):
    text = written(wanted)
    assert text.startswith("[")
    assert text.endswith("]")
    spans = indices(text[1:-1])
    assert spans is not None
    assert sum(map(len, spans)) == len(wanted)
    assert set(chain.from_iterable(spans)) == wanted


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ({5}, "5"),
        ({0, 1}, "[0-1]"),
        ({0, 2}, "[0,2]"),
        ({0, 2, 4}, "[0,2,4]"),
        ({0, 2, 4, 6}, "[0,2,..,6]"),
        ({0, 1, 2, 7}, "[0-2,7]"),
        (set(range(48)), "[0-47]"),
        ({3, 10**17}, "[3,100000000000000000]"),
    ],
)
def test_indices_are_written_as_short_as_they_can_be_read(wanted, text):
    assert written(wanted) == text


@pytest.mark.parametrize(
    "text",
    ["", "a", "0-", "-3", "5-3", "4,2,..,8", "2,2,..,8", "0,2,..", "01", "0,,1", "9" * 19, "٣"],
)
def test_what_is_no_list_of_indices_is_none(text):
    assert indices(text) is None


@given(NAMES)
def test_every_item_is_in_one_fold_in_its_order(names):
    rows = folded(names)
    assert sorted(chain.from_iterable(row.items for row in rows)) == sorted(names)
    assert [row.items[0] for row in rows] == sorted((r.items[0] for r in rows), key=names.index)
    assert all(list(row.items) == sorted(row.items, key=names.index) for row in rows)


@given(NAMES)
def test_a_folded_name_is_a_pattern_of_its_items_alone(names):
    for row in folded(names):
        matched = {name for name in names if glob(row.name).fullmatch(name)}
        assert matched == set(row.items)


@given(NAMES, st.randoms(use_true_random=False))
def test_what_must_agree_in_a_fold_agrees(names, random):
    look = {name: random.randrange(2) for name in names}
    for row in folded(names, look.__getitem__):
        assert len({look[name] for name in row.items}) == 1


def test_a_full_grid_is_one_row():
    names = [f"layers.{a}.heads.{b}.weight" for a, b in product(range(3), range(4))]
    assert folded(names) == [Fold("layers.[0-2].heads.[0-3].weight", tuple(names))]


def test_a_grid_with_a_hole_is_never_written_as_a_full_one():
    names = [f"{a}.{b}" for a, b in product(range(3), range(3)) if (a, b) != (1, 1)]
    rows = folded(names)
    assert [row.name for row in rows] == ["[0-2].[0,2]", "[0,2].1"]


def test_names_without_indices_stay_apart():
    assert [row.name for row in folded(["a.weight", "b.weight"])] == ["a.weight", "b.weight"]


def test_two_items_of_one_name_share_a_row():
    assert folded(["a.0", "a.0"]) == [Fold("a.0", ("a.0", "a.0"))]


def test_a_number_too_long_for_an_index_is_a_word():
    names = ["9" * 5000, "8" * 5000]
    assert [row.name for row in folded(names)] == names
