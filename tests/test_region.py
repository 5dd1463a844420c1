"""Regions: parts of a stored parameter, which cover it once or say where they do not."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xavier import PlanError, Region, ShapeError
from xavier._types.region import check_cover, overlap

SHAPE = (4, 6, 5)


@st.composite
def regions(draw, shape=SHAPE):
    """Return a region of a parameter."""
    if draw(st.integers(0, 4)) == 0:
        return Region()
    axis = draw(st.integers(0, len(shape) - 1))
    edges = sorted(draw(st.sets(st.integers(0, shape[axis]), min_size=2)))
    return Region(axis, tuple(zip(edges[::2], edges[1::2], strict=False)))


def mask(region, shape=SHAPE):
    """Return which elements a region has, by the slices that it gives."""
    found = np.zeros(shape, dtype=int)
    for place in region.slices(shape):
        found[place] += 1
    return found


@given(regions())
def test_slices_take_each_element_of_a_region_once(region):
    elements = mask(region)
    assert elements.max() <= 1
    assert elements.sum() == region.size(SHAPE) == np.prod(region.shape_in(SHAPE))
    assert region.covers(SHAPE) == elements.all()


@given(regions(), regions())
def test_regions_overlap_along_one_axis_if_and_only_if_they_share_an_element(one, two):
    share = bool((mask(one) & mask(two)).any())
    if one.axis == two.axis or None in (one.axis, two.axis):
        assert overlap(one, two) == share
    else:
        assert overlap(one, two)  # ranges of two axes cross, unless one is empty


@given(st.lists(regions(), max_size=4))
def test_cover_is_right_if_and_only_if_each_element_is_covered_once(cut):
    counts = sum((mask(each) for each in cut), np.zeros(SHAPE, dtype=int))
    one_axis = len({each.axis for each in cut}) <= 1
    if (counts == 1).all() and one_axis:
        check_cover(SHAPE, cut)
    else:
        with pytest.raises(PlanError, match=r"overlap|not covered|covered twice"):
            check_cover(SHAPE, cut)


@given(regions())
def test_plain_data_round_trips(region):
    assert Region.from_dict(region.to_dict()) == region


@pytest.mark.parametrize(
    ("region", "text"),
    [
        (Region(), "[:]"),
        (Region(0, ((0, 768),)), "[0:768]"),
        (Region(1, ((4, 8),)), "[:, 4:8]"),
        (Region(0, ((0, 2), (6, 8))), "[0:2+6:8]"),
        (Region(0, ()), "[0:0]"),
    ],
)
def test_region_prints_as_an_index(region, text):
    assert str(region) == text


@pytest.mark.parametrize("region", [Region(0, ((0, 5),)), Region(3, ((0, 1),))])
def test_a_region_beyond_its_parameter_is_refused(region):
    for ask in (region.size, region.slices, region.covers, region.shape_in):
        with pytest.raises(ShapeError, match=r"reaches beyond a parameter of shape \(4, 6, 5\)"):
            ask(SHAPE)
    with pytest.raises(ShapeError, match="reaches beyond"):
        check_cover(SHAPE, [region])


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        ([], r"elements \[0:4\] of a parameter of shape \(4, 6\) are not covered"),
        ([Region(0, ((1, 4),))], r"elements \[0:1\] .* are not covered"),
        ([Region(1, ((0, 5),))], r"elements \[:, 5:6\] .* are not covered"),
        ([Region(0, ((0, 3),)), Region(0, ((2, 4),))], r"elements \[2:3\] .* are covered twice"),
        ([Region(), Region()], r"regions \[:\] and \[:\] of a parameter .* overlap"),
        (
            [Region(0, ((0, 4),)), Region(1, ((0, 6),))],
            r"regions \[0:4\] and \[:, 0:6\] .* overlap",
        ),
    ],
)
def test_what_is_left_out_or_covered_twice_is_told(cut, message):
    with pytest.raises(PlanError, match=message):
        check_cover((4, 6), cut)


def test_scalars_and_empty_parameters_are_covered_as_wholes():
    check_cover((), [Region()])
    check_cover((3, 0), [])
    check_cover((4, 6), [Region()])
    with pytest.raises(PlanError, match=r"elements \[0:1\] of a parameter of shape \(\) are not"):
        check_cover((), [])


def test_blocks_of_a_packed_projection_are_disjoint():
    blocks = [Region(0, ((at, at + 4),)) for at in range(0, 12, 4)]
    check_cover((12, 4), blocks)
    assert not any(overlap(one, two) for one, two in combinations(blocks, 2))
