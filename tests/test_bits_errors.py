"""What the stream of bits refuses, and how it says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xavier._errors import DtypeError, LawError, ShapeError
from xavier._types.laws import Constant, Identity, Law, Normal, Orthogonal, TruncatedNormal, Uniform
from xavier.bits import Key, StreamError, _drawing, draw, fill, fill_region, fill_words

KEY = Key(7, "layers.0.weight")
LAW = Normal(0.0, 1.0)


@pytest.mark.parametrize(
    ("seed", "name", "message"),
    [
        (2**63, "w", r"seed is 9223372036854775808, expected an integer in \[-2\*\*63"),
        (-(2**63) - 1, "w", r"seed is -9223372036854775809"),
        (1.0, "w", r"seed is 1\.0, expected an integer"),
        (True, "w", "seed is True"),
        (0, 3, "name is 3, expected a string"),
        (0, "\ud800", "is no valid Unicode text"),
    ],
)
def test_impossible_keys_are_refused(seed: Any, name: Any, message: str) -> None:
    with pytest.raises(StreamError, match=message):
        Key(seed, name)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"start": -1}, StreamError, "start is -1 for 4 elements"),
        ({"start": 2**64 - 3}, StreamError, r"expected a range within \[0, 2\*\*64\)"),
        ({"start": 0.5}, StreamError, r"start is 0\.5, expected an integer"),
        ({"threads": 0}, StreamError, "threads is 0, expected a positive integer"),
        ({"key": 3}, StreamError, "key is 3, expected an xavier.Key"),
        ({"law": Orthogonal()}, LawError, "needs its whole matrix.*\nHint: draw it with"),
        ({"law": Law()}, LawError, "is no law that can be drawn"),
        ({"law": "normal"}, LawError, "'normal' is no law that can be drawn"),
        ({"law": Normal(0.0, 1e38)}, LawError, "reaches beyond the range of float32"),
        ({"law": Uniform(-3e38, 3e38)}, LawError, "reaches beyond the range of float32"),
        ({"law": TruncatedNormal(1e300, 1.0)}, LawError, "beyond the range of float32"),
        ({"law": Constant(1e39)}, LawError, "reaches beyond the range of float32"),
        ({"out": [0.0]}, ShapeError, "the destination is a list, expected a NumPy array"),
        ({"out": np.zeros(3, np.int16)}, DtypeError, "dtype is int16.*\nHint: .*bfloat16"),
        ({"out": np.zeros(3, np.complex64)}, DtypeError, "dtype is complex64"),
        ({"dtype": "float64"}, DtypeError, "the destination is float32, expected float64"),
        ({"dtype": "bfloat16"}, DtypeError, "the destination is float32, expected bfloat16"),
        ({"dtype": "float8"}, DtypeError, "dtype is float8, expected one of float64, float32"),
        ({"out": np.broadcast_to(np.zeros(1), 3)}, ShapeError, "read-only"),
        (
            {"out": np.lib.stride_tricks.as_strided(np.zeros(4), (3, 2), (8, 8))},
            ShapeError,
            r"\(3, 2\) with strides \(8, 8\) has several elements at one address",
        ),
    ],
)
def test_impossible_fills_are_refused(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    given = {"out": np.zeros(4, np.float32), "law": Normal(0.0, 1.0), "key": KEY} | changes
    with pytest.raises(error, match=message):
        fill(given.pop("out"), given.pop("law"), **given)


def test_raw_words_go_to_unsigned_integers_alone() -> None:
    with pytest.raises(DtypeError, match="the destination is int32, expected uint32 or uint64"):
        fill_words(np.empty(3, np.int32), key=KEY)
    with pytest.raises(StreamError, match="start is 18446744073709551614 for 3 elements"):
        fill_words(np.empty(3, np.uint32), key=KEY, start=2**64 - 2)


def test_strides_that_interleave_without_meeting_are_filled() -> None:
    out = np.lib.stride_tricks.as_strided(np.zeros(6), (2, 2), (24, 16))
    fill(out, LAW, key=KEY)
    plain = np.empty(4)
    fill(plain, LAW, key=KEY)
    np.testing.assert_array_equal(out.ravel(), plain)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ((5,), "index 5 is outside axis 0 of size 4"),
        ((0, -6), "index -6 is outside axis 1 of size 5"),
        ((0, 0, 0), r"does not fit the shape \(4, 5\)"),
        ((..., ...), "does not fit the shape"),
        (([0, 1],), r"index part \[0, 1\] is neither an integer nor a slice"),
        ((None,), "index part None is neither"),
        (True, "index part True is neither"),
    ],
)
@pytest.mark.parametrize("law", [Normal(0.0, 1.0), Identity()])
def test_impossible_parts_are_refused(law: Law, index: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        draw(law, (4, 5), seed=0, name="w", index=index)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((-1, 2), r"shape is \(-1, 2\), expected no negative side"),
        ((2.0,), "expected integers"),
        ((2**40, 2**40), r"expected at most 2\*\*64 elements"),
    ],
)
def test_impossible_shapes_are_refused(shape: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        draw(Normal(0.0, 1.0), shape, seed=0, name="w")


def test_a_destination_of_another_shape_than_the_part_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"has shape \(3,\), expected \(2, 5\)"):
        fill_region(np.zeros(3), LAW, key=KEY, shape=(4, 5), index=slice(2))
    with pytest.raises(DtypeError, match="dtype is None"):
        draw(LAW, (2,), seed=0, name="w", dtype=None)


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_in_any_thread_reaches_the_caller(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError("no room")

    monkeypatch.setenv("XAVIER_ISA", "numpy")
    monkeypatch.setattr(_drawing, "_draw_piece", fail)
    with pytest.raises(MemoryError, match="no room"):
        fill(np.empty(1 << 21, np.float32), LAW, key=KEY, threads=threads)


@pytest.mark.parametrize("part", [np.array([True]), slice("a"), slice(None, None, 0)])
def test_parts_of_an_index_that_numpy_refuses_are_told_of_in_words(part):
    with pytest.raises(ShapeError, match="index part"):
        draw(Normal(0.0, 1.0), (4, 4), seed=0, name="w", index=(part,))
