"""The compiled kernel equals the specification, to the bit, on every instruction set."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import CDLL
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings

import golden_bits
import kernel_cases
from kernel_cases import Case, cases
from xavier._errors import LawError
from xavier._types.laws import Law, Normal, Sparse, TruncatedNormal, Uniform
from xavier.bits import DTYPES, Key, _coefficients, _fill, _kernel, fill, fill_words
from xavier.bits._environment import is_standard

KEY = Key(7, "layers.0.weight")
ISAS = _kernel.runnable()
SOURCE = Path(_kernel.__file__).parent / "c"


def test_the_tests_run_with_the_kernel() -> None:
    assert "baseline" in ISAS
    assert set(ISAS) <= set(_kernel.INSTRUCTION_SETS)


def drawn(case: Case, dtype: str, isa: str, patch: pytest.MonkeyPatch) -> bytes | str:
    patch.setenv("XAVIER_ISA", isa)
    try:
        return case.memory(dtype, KEY)
    except LawError as error:
        return str(error)


# 4 dtypes x 2,600 cases, each with every instruction set of the machine.
@pytest.mark.parametrize("dtype", DTYPES)
@settings(
    max_examples=2600,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(case=cases())
def test_the_kernel_writes_what_the_specification_writes(dtype: str, case: Case) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_fill, "_SHARE", 256)  # so that small arrays are shared too
        expected = drawn(case, dtype, "numpy", patch)
        for isa in ISAS:
            assert drawn(case, dtype, isa, patch) == expected, isa


@pytest.mark.parametrize("isa", ISAS)
def test_every_instruction_set_gives_the_pinned_stream(
    isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XAVIER_ISA", isa)
    assert golden_bits.table() == json.loads(golden_bits.PATH.read_text())


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["uint32", "uint64"])
@pytest.mark.parametrize("start", [0, 2**34 - 100, 2**63 + 5, 2**64 - 1000])
def test_raw_words_equal_the_specifications(
    isa: str, dtype: str, start: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = np.empty((2, 1000), dtype)
    for row, name in zip(words, ("numpy", isa), strict=True):
        monkeypatch.setenv("XAVIER_ISA", name)
        fill_words(row, key=KEY, start=start)
    np.testing.assert_array_equal(words[0], words[1])


# Rounding to 16 bits


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_exponent_and_tie_is_rounded_to_nearest_even(
    isa: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XAVIER_ISA", isa)
    digits = np.array([0, 1, 0xFFF, 0x1000, 0x1001, 0x2FFF, 0x3000, 0x7FFF, 0x8000, 0x18000])
    digits = np.append(digits, [0x7FFFFF, 0x7FF000, 0x7FEFFF, 0x7F8000, 0x7F7FFF])
    every = (np.arange(255)[:, None] << 23 | digits).ravel().astype(np.uint32)
    single = np.concatenate([every, every | np.uint32(1 << 31)]).view(np.float32)
    # A uniform law whose ends are one number has that number alone.
    rounded = np.empty((len(single), 1), np.uint16 if dtype == "bfloat16" else np.float16)
    for out, value in zip(rounded, single, strict=True):
        fill(out, Uniform(float(value), float(value)), key=KEY, dtype=dtype)
    expected = torch.from_numpy(single + np.float32(0)).to(getattr(torch, dtype))
    np.testing.assert_array_equal(rounded.ravel().view(np.int16), expected.view(torch.int16))


# The floating-point environment


@contextmanager
def flushed() -> Iterator[None]:
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush denormals")
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def rounding(mode: int) -> Iterator[None]:
    library = CDLL(None)
    before = library.fegetround()
    if library.fesetround(mode):
        pytest.skip("these are not the modes of this processor")
    try:
        yield
    finally:
        library.fesetround(before)


MODES: dict[str, Any] = {
    "flushed": flushed,
    "down": lambda: rounding(0x400),
    "up": lambda: rounding(0x800),
    "to zero": lambda: rounding(0xC00),
}
DELICATE: list[Law] = [
    Uniform(-1e-39, 1e-39),
    Normal(0.0, 1e-38),
    TruncatedNormal(0.0, 3e-39, cut=4.0),
    Sparse(0.5, 2e-39),
    Normal(0.3, 0.7),
    TruncatedNormal(-1.0, 0.01),
]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("threads", [1, 3])
def test_the_callers_floating_point_modes_change_no_bit_and_are_kept(
    isa: str, mode: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_fill, "_SHARE", 1000)
    outs = [
        (law, np.empty((2, 5000), dtype))
        for law in DELICATE
        for dtype in (np.float64, np.float32, np.float16)
    ]
    monkeypatch.setenv("XAVIER_ISA", "numpy")
    for law, out in outs:
        fill(out[0], law, key=KEY)
    monkeypatch.setenv("XAVIER_ISA", isa)
    with MODES[mode]():
        for law, out in outs:
            fill(out[1], law, key=KEY, threads=threads)
        assert not is_standard()
    assert is_standard()
    for _, out in outs:
        np.testing.assert_array_equal(*out.view(f"u{out.itemsize}"))


# The sources


def test_the_kernels_coefficients_are_the_specifications() -> None:
    text = (SOURCE / "coefficients.h").read_text()
    for name in vars(_coefficients):
        value = getattr(_coefficients, name)
        if not name.isupper() or not isinstance(value, float | tuple):
            continue
        found = re.search(rf"\b{name}(?:\[\] = \{{(.*?)\}}| (.*?)\n)", text, re.DOTALL)
        assert found, name
        literals = re.findall(r"-?0x[0-9a-f.]+p[+-]\d+", found[1] or found[2])
        numbers = [float.fromhex(literal) for literal in literals]
        assert numbers == list(value if isinstance(value, tuple) else (value,)), name


def test_cases_are_of_every_kind() -> None:
    # What the property test would pass over in silence, if the strategies changed.
    layout = kernel_cases.Layout((3, 2), (1, 0), (2, -3), 1)
    memory, array = layout.array(4)
    assert array.shape == (3, 2)
    assert array.strides == (8, -6 * 3 * 4)
    assert memory.nbytes == 1 + 6 * 6 * 4 + 8
    assert not array.flags.aligned
