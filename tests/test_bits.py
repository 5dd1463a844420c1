"""The stream of bits: its definition, its invariances, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import random
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import CDLL
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import basic_indices
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

import golden_bits
from xavier._errors import XavierError
from xavier._types.laws import (
    Constant,
    Law,
    Normal,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Uniform,
)
from xavier.bits import DTYPES, Key, _drawing, _fill, _pieces, draw, fill, fill_words
from xavier.bits._environment import is_standard, standard_environment
from xavier.bits._threefry import threefry

KEY = Key(7, "layers.0.weight")
LAWS = [
    Uniform(-1.0, 1.0),
    Normal(0.0, 1.0),
    TruncatedNormal(0.0, 1.0),
    TruncatedNormal(0.0, 1.0, cut=4.0),
    Sparse(0.5, 1.0),
    Constant(0.25),
]
laws = st.sampled_from(LAWS)
dtypes = st.sampled_from(DTYPES)
starts = st.integers(0, 2**64 - 10_000)
few = settings(max_examples=40, deadline=None, derandomize=True)


@pytest.fixture(scope="module", autouse=True, params=["numpy", "the default"])
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run every test with the specification, and with the fastest kernel of this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XAVIER_ISA", "numpy" if request.param == "numpy" else "")
        yield request.param


def storage(dtype: str) -> str:
    return "uint16" if dtype == "bfloat16" else dtype


def stream(law: Law, count: int, *, dtype: str = "float32", **where: Any) -> np.ndarray[Any, Any]:
    out = np.empty(count, storage(dtype))
    fill(out, law, dtype=dtype, **({"key": KEY} | where))
    return out


# The definition


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0] * 4, [0] * 4, "9c6ca96a e17eae66 fc10ecd4 5256a7d8"),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 4, "2a881696 57012287 f6c7446e a16a6732"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0, 0x082EFA98, 0xEC4E6C89],
            "59cd1dbb b8879579 86b5d00c ac8b6d84",
        ),
    ],
)
def test_the_generator_gives_its_authors_vectors(
    counter: list[int], key: list[int], expected: str
) -> None:
    a, b, c, d = (np.full(3, word, np.uint32) for word in counter)
    words = threefry((a, b, c, d), (key[0], key[1], key[2], key[3]))
    assert [f"{int(word):08x}" for word in words[:, 2]] == expected.split()


def plain_threefry(counter: list[int], key: tuple[int, ...]) -> list[int]:
    """Threefry-4x32-20 on Python integers, written apart from the package."""
    rotations = [10, 26, 11, 21, 13, 27, 23, 5, 6, 20, 17, 11, 25, 10, 18, 20]
    ks = [*key, 0x1BD11BDA ^ key[0] ^ key[1] ^ key[2] ^ key[3]]
    x = [(c + k) % 2**32 for c, k in zip(counter, key, strict=True)]
    for r in range(20):
        for half, (a, b) in enumerate(((0, 1), (2, 3)) if r % 2 == 0 else ((0, 3), (2, 1))):
            n = rotations[2 * (r % 8) + half]
            x[a] = (x[a] + x[b]) % 2**32
            x[b] = ((x[b] << n | x[b] >> (32 - n)) % 2**32) ^ x[a]
        if r % 4 == 3:
            s = r // 4 + 1
            x = [(v + ks[(s + w) % 5] + (s if w == 3 else 0)) % 2**32 for w, v in enumerate(x)]
    return x


@few
@given(st.integers(0, 2**64 - 1), st.sampled_from(["float32", "float64"]))
def test_an_element_comes_from_the_words_that_the_map_gives_its_index(i: int, dtype: str) -> None:
    block, place = divmod(i, 64)
    group, lane = divmod(place, 16)
    if dtype == "float32":
        counter = 16 * block + lane
        words = plain_threefry([counter % 2**32, counter >> 32, 0, 0], KEY.words)
        u = (words[group] >> 8) / 2**24
    else:
        counter = 32 * block + 16 * (group // 2) + lane
        words = plain_threefry([counter % 2**32, counter >> 32, 1, 0], KEY.words)
        high, low = words[2 * (group % 2) :][:2]
        u = ((high << 32 | low) >> 11) / 2**53
    assert stream(Uniform(0.0, 1.0), 1, start=i, dtype=dtype)[0] == u


@few
@given(st.integers(0, 2**64 - 200), st.integers(0, 200), st.sampled_from(["uint32", "uint64"]))
def test_raw_words_are_those_that_the_uniform_law_takes(i: int, count: int, dtype: str) -> None:
    words = np.empty(count, dtype)
    fill_words(words, key=KEY, start=i)
    double = dtype == "uint64"
    u = stream(Uniform(0.0, 1.0), count, start=i, dtype="float64" if double else "float32")
    shift, scale = (11, 2.0**-53) if double else (8, 2.0**-24)
    np.testing.assert_array_equal((words >> shift) * scale, u)


def test_the_key_is_the_hash_of_version_seed_and_normalized_name() -> None:
    data = b"xavier.stream.1\0" + (-5).to_bytes(8, "little", signed=True) + "é".encode()
    words = np.frombuffer(hashlib.blake2b(data, digest_size=16).digest(), "<u4").tolist()
    assert list(Key(-5, "e\u0301").words) == words
    assert Key(np.int64(3), "a") == Key(3, "a")  # pyright: ignore[reportArgumentType] - NumPy's integers are taken too


def test_the_stream_is_the_pinned_one() -> None:
    pinned = json.loads(golden_bits.PATH.read_text())
    drawn = golden_bits.table()
    assert drawn.keys() == pinned.keys()
    assert [name for name in drawn if drawn[name] != pinned[name]] == []


# One process per instruction set: NumPy chooses its loops when it is imported.
ALONE = "import json, golden_bits; print(json.dumps(golden_bits.table()))"


@pytest.mark.parametrize("kept", range(len(__cpu_dispatch__)))
def test_every_instruction_set_of_numpy_gives_the_pinned_stream(kept: int) -> None:
    disabled = [name for name in __cpu_dispatch__[kept:] if __cpu_features__.get(name)]
    if not disabled:
        pytest.skip(f"this machine has none of {__cpu_dispatch__[kept:]}")
    found = subprocess.run(
        [sys.executable, "-c", ALONE],
        env=os.environ
        | {
            "XAVIER_ISA": "numpy",
            "NPY_DISABLE_CPU_FEATURES": " ".join(disabled),
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        capture_output=True,
        check=True,
        text=True,
    )
    assert json.loads(found.stdout) == json.loads(golden_bits.PATH.read_text())


# Invariances


@few
@given(laws, dtypes, starts, st.integers(0, 300), st.integers(0, 200))
def test_where_a_fill_starts_and_ends_changes_no_element(
    law: Law, dtype: str, start: int, skip: int, count: int
) -> None:
    whole = stream(law, skip + count, start=start, dtype=dtype)
    part = stream(law, count, start=start + skip, dtype=dtype)
    np.testing.assert_array_equal(whole[skip:], part)


@few
@given(
    laws,
    dtypes,
    st.tuples(*[st.integers(0, 9)] * 3).flatmap(
        lambda shape: st.tuples(st.just(shape), basic_indices(shape, allow_newaxis=False))
    ),
)
def test_a_part_has_the_values_that_it_has_in_the_whole(
    law: Law, dtype: str, case: tuple[tuple[int, ...], Any]
) -> None:
    shape, index = case
    whole = draw(law, shape, seed=1, name="w", dtype=dtype)
    part = draw(law, shape, seed=1, name="w", dtype=dtype, index=index)
    expected = np.asarray(whole[index])
    assert part.shape == expected.shape
    np.testing.assert_array_equal(part, expected)


@pytest.mark.parametrize("pieces", [64, 192, 1000])
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_pieces_and_threads_change_no_bit(
    pieces: int, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = (slice(3, 60), slice(None, None, -3))
    shape = (70, 201)
    once = stream(LAWS[1], 7000, start=55, dtype=dtype)
    shard = draw(LAWS[1], shape, seed=0, name="w", dtype=dtype, index=index)
    monkeypatch.setattr(_pieces, "PIECE", pieces)
    monkeypatch.setattr(_pieces, "_LONG_RUN", 50)
    monkeypatch.setattr(_drawing, "PIECE", pieces)
    monkeypatch.setattr(_fill, "_NUMPY_SHARE", pieces)
    monkeypatch.setattr(_fill, "_SHARE", pieces)
    for threads in (1, 3):
        again = stream(LAWS[1], 7000, start=55, dtype=dtype, threads=threads)
        np.testing.assert_array_equal(once, again)
    cut = draw(LAWS[1], shape, seed=0, name="w", dtype=dtype, index=index)
    np.testing.assert_array_equal(shard, cut)
    wide = draw(LAWS[1], shape, seed=0, name="w", dtype=dtype, index=(..., slice(10, 190)))
    np.testing.assert_array_equal(
        draw(LAWS[1], shape, seed=0, name="w", dtype=dtype)[:, 10:190], wide
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_layout_of_the_destination_changes_no_element(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pieces, "PIECE", 128)
    shape = (6, 7, 40)
    plain = stream(LAWS[1], 6 * 7 * 40, dtype=dtype).reshape(shape)
    base = np.zeros((14, 40, 6), storage(dtype))
    swapped = np.empty(shape, np.dtype(storage(dtype)).newbyteorder(">"))
    views = [base[::2].transpose(2, 0, 1), np.empty(shape, storage(dtype))[::-1, :, ::-1]]
    for out in (*views, swapped):
        fill(out, LAWS[1], key=KEY, dtype=dtype)
        np.testing.assert_array_equal(out, plain)
    assert not base[1::2].any()


@pytest.mark.parametrize("law", LAWS)
def test_half_precision_is_float32_rounded_to_nearest_even(law: Law) -> None:
    single = torch.from_numpy(stream(law, 20_000))
    half = torch.from_numpy(stream(law, 20_000, dtype="float16"))
    brain = torch.empty(20_000, dtype=torch.bfloat16)
    fill(brain.view(torch.int16).numpy(), law, key=KEY, dtype="bfloat16")
    assert torch.equal(half, single.half())
    assert torch.equal(brain, single.bfloat16())


def test_float16_beyond_its_range_is_infinite() -> None:
    assert stream(Constant(1e6), 2, dtype="float16").tolist() == [np.inf, np.inf]


def test_streams_of_other_keys_have_nothing_in_common() -> None:
    one = stream(LAWS[0], 4096)
    for key in (Key(8, KEY.name), Key(7, "layers.1.weight"), Key(7, "")):
        assert (one == stream(LAWS[0], 4096, key=key)).sum() <= 2  # expected: 4096 / 2**24


def test_an_empty_destination_and_a_single_element_are_filled() -> None:
    fill(np.empty((3, 0)), LAWS[1], key=KEY)
    fill(np.empty(0), LAWS[1], key=KEY, start=2**64)
    scalar = np.empty((), np.float32)
    fill(scalar, LAWS[1], key=KEY, start=9)
    assert scalar == stream(LAWS[1], 10)[9]
    assert draw(LAWS[1], (0, 4), seed=0, name="w").shape == (0, 4)
    assert draw(LAWS[1], (), seed=0, name="w").shape == ()


def test_no_random_state_is_touched() -> None:
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[index] - a tuple, by default
    draw(Normal(0.0, 1.0), (10, 10), seed=0, name="w")
    draw(Orthogonal(), (10, 10), seed=0, name="w")
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[index] - a tuple, by default
    assert torch.equal(torch.get_rng_state(), before[2])


# The floating-point environment


@contextmanager
def flushed_denormals() -> Any:
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush denormals")
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def rounding(mode: int) -> Any:
    library = CDLL(None)
    before = library.fegetround()
    assert library.fesetround(mode) == 0
    try:
        yield
    finally:
        library.fesetround(before)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_thread_that_flushes_denormals_gets_the_same_bits(threads: int) -> None:
    law, count = Uniform(-1e-39, 1e-39), 1 << 19
    plain = stream(law, count)
    assert (plain != 0).all()
    with flushed_denormals():
        assert not is_standard()
        flushed = stream(law, count, threads=threads)
        assert not is_standard()
    assert is_standard()
    np.testing.assert_array_equal(plain.view(np.uint32), flushed.view(np.uint32))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the modes' numbers are x86's")
@pytest.mark.parametrize("mode", [0x400, 0x800, 0xC00])
def test_a_thread_that_rounds_otherwise_gets_the_same_bits(mode: int) -> None:
    plain = [stream(law, 1000) for law in LAWS]
    with rounding(mode):
        assert not is_standard()
        drawn = [stream(law, 1000) for law in LAWS]
        assert not is_standard()
    assert is_standard()
    for one, other in zip(plain, drawn, strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_the_c_library_another_environment_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("xavier.bits._environment._LIBRARY", (None, None))
    with standard_environment():
        pass
    with (
        flushed_denormals(),
        pytest.raises(XavierError, match="flushes denormals"),
        standard_environment(),
    ):
        pass


# What it costs


def blocks_drawn(
    monkeypatch: pytest.MonkeyPatch, law: Law, shape: tuple[int, ...], index: Any
) -> int:
    """Return how many blocks the specification computes to draw a part."""
    count = 0
    make = _fill.sampler

    def counting(law: Law, precision: Any) -> Any:
        inner = make(law, precision)

        def sample(key: Any, blocks: Any) -> Any:
            nonlocal count
            count += len(blocks)
            return inner.draw(key, blocks)

        return replace(inner, draw=sample)

    monkeypatch.setenv("XAVIER_ISA", "numpy")
    monkeypatch.setattr(_fill, "sampler", counting)
    draw(law, shape, seed=0, name="w", index=index)
    monkeypatch.undo()
    return count


def test_a_part_costs_its_own_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    law, shape = LAWS[0], (512, 1000)
    rows = blocks_drawn(monkeypatch, law, shape, (slice(100, 200),))
    assert rows <= 100 * 1000 / 64 + 2
    columns = blocks_drawn(monkeypatch, law, shape, (slice(None), slice(8, 24)))
    assert columns <= 2 * 512  # a run of 16 touches at most two blocks
    assert blocks_drawn(monkeypatch, law, (5000, 5000), (slice(None), slice(100, 4300))) <= (
        5000 * (4200 / 64 + 2)
    )


def test_a_fill_needs_no_copy_of_its_destination() -> None:
    out = np.empty((1 << 12, 1 << 12), np.float32).T
    tracemalloc.start()
    fill(out, LAWS[0], key=KEY, threads=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < out.nbytes / 4
