"""One walk over an array tells what several plain ones would."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from xavier.checking.arrays import Facts, facts, std, uninitialized
from xavier.checking.audit import audit

RNG = np.random.default_rng(0)
SHAPE = (300, 333)  # of more than one piece


def drawn(scale: float = 1.0) -> Any:
    return (scale * RNG.standard_normal(SHAPE)).astype(np.float32)


@pytest.mark.parametrize(
    "array",
    [
        drawn(),
        drawn(1e-25),
        drawn(1e14),
        drawn() + np.float32(1e4),
        drawn().astype(np.float64),
        np.asfortranarray(drawn()),
        drawn()[:, ::2],
        np.where(drawn() > 0, drawn(), 0).astype(np.float32),
    ],
)
def test_facts_are_those_of_the_whole_array(array: Any) -> None:
    found, size = facts(array), np.abs(array)
    assert found.largest == size.max()
    assert found.tiny == ((size > 0) & (size < 1e-30)).sum()
    assert not found.constant
    assert found.std == pytest.approx(float(array.std(dtype=np.float64)), rel=1e-6)
    assert std(array[:7]) == pytest.approx(float(array[:7].std(dtype=np.float64)), rel=1e-6)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_an_element_that_is_not_finite_shows_in_the_largest(odd: float) -> None:
    array = drawn()
    array[299, 332] = odd
    assert not np.isfinite(facts(array).largest)
    assert np.isnan(facts(array).std)


def test_a_constant_and_its_first_exception_are_told_apart() -> None:
    array = np.full(SHAPE, 0.5, np.float32)
    assert facts(array).constant
    array[299, 332] = 0.25
    assert not facts(array).constant


def test_tiny_elements_are_too_many_beyond_one_in_a_thousand() -> None:
    array = drawn()
    flat = array.reshape(-1)
    flat[: flat.size // 1000] = 1e-40
    assert uninitialized(array, facts(array), mask=False) is None
    flat[-5:] = 1e-40
    assert uninitialized(array, facts(array), mask=False) == (0, flat.size // 1000 + 5)


def test_infinities_of_a_mask_do_not_hide_what_was_never_written() -> None:
    array = np.full((100, 100), -np.inf, np.float32)
    array[0, :20], array[1, 0] = 1e-40, 1
    assert facts(array) == Facts(np.inf, 20, constant=False, std=pytest.approx(np.nan, nan_ok=True))
    assert uninitialized(array, facts(array), mask=True) == (0, 20)


@dataclass(frozen=True)
class Held:
    name: str
    array: Any
    kind: str = "parameter"
    frozen: bool = False


def test_arrays_that_merely_look_alike_are_no_duplicates() -> None:
    first = drawn()
    other = first.copy()
    other[0, 1] += 1  # between the elements of a fingerprint
    held = [Held("a", first), Held("b", other), Held("c", other.copy()), Held("d", first.copy())]
    found = audit(held, used=["a", "b", "c", "d"])
    assert [(each.code, each.path) for each in found] == [("duplicate", "c"), ("duplicate", "d")]
    assert ["equals b" in found[0].message, "equals a" in found[1].message] == [True, True]


def test_a_duplicate_is_found_in_another_order_of_memory() -> None:
    first = drawn()
    held = [Held("a", first), Held("b", np.asfortranarray(first))]
    assert [each.path for each in audit(held, used=["a", "b"])] == ["b"]
