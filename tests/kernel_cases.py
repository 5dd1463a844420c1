"""Random fills for the kernel's tests: laws, formats, places in the stream, layouts in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import basic_indices

from xavier._types.laws import Constant, Law, Normal, Sparse, TruncatedNormal, Uniform
from xavier.bits import Key, fill, fill_region

Bytes = np.ndarray[Any, np.dtype[np.uint8]]

# Numbers of every size that float32 has, beyond them, and those near which rounding is told.
magnitudes = st.one_of(
    st.floats(-126, 122).map(lambda power: 2.0**power),
    st.sampled_from([0.0, 1.0, 0.02, 5e-324, 1e-46, 1e-45, 1.4e-45, 2.0**-126, 1e-40, 65504.0]),
    st.floats(-160, -120).map(lambda power: 2.0**power),
)
numbers = st.tuples(magnitudes, st.booleans()).map(lambda x: -x[0] if x[1] else x[0])
# Few, because each costs a series in decimal arithmetic.
CUTS = (1e-40, 1e-3, 0.01, 0.5, 1.0, 1.99, 2.0, 2.06, 2.07, 2.5, 3.0, 4.5, 6.0, 8.0, 12.0, 50.0)
shares = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0, 0.5, 2.0**-33, 1 - 2.0**-33]))


def _uniform(ends: tuple[float, float], *, narrow: bool) -> Law:
    low, high = sorted(ends)
    return Uniform(low, math.nextafter(low, math.inf)) if narrow else Uniform(low, high)


laws: st.SearchStrategy[Law] = st.one_of(
    st.builds(_uniform, st.tuples(numbers, numbers), narrow=st.sampled_from([False] * 9 + [True])),
    numbers.map(lambda low: Uniform(low, low)),
    st.builds(Normal, numbers, magnitudes),
    st.builds(TruncatedNormal, numbers, magnitudes, st.sampled_from(CUTS)),
    st.builds(Sparse, shares, magnitudes),
    st.builds(Constant, numbers),
)

# 2**34 and 2**33 elements in, the counter's lower word overflows, in float32 and float64.
LANDMARKS = (0, 2**32, 2**33, 2**34, 2**36, 2**63, 2**64)


@st.composite
def starts(draw: st.DrawFn, *, size: int) -> int:
    near = draw(st.sampled_from(LANDMARKS)) + draw(st.integers(-3000, 3000))
    return min(max(near, 0), 2**64 - size)


@dataclass(frozen=True)
class Layout:
    """A way for an array to lie in memory.

    Attributes:
        shape: The array's shape.
        order: Its axes, the one with the greatest stride first.
        steps: For each axis, every how many elements one is the array's; negative: backwards.
        offset: The bytes before the memory: alignment is by chance.
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]
    steps: tuple[int, ...]
    offset: int

    def array(self, itemsize: int) -> tuple[Bytes, np.ndarray[Any, Any]]:
        """Return fresh memory full of a pattern, and the array in it as integers."""
        padded = [n * abs(step) for n, step in zip(self.shape, self.steps, strict=True)]
        size = math.prod(padded) * itemsize
        memory = np.resize(np.arange(251, dtype=np.uint8), self.offset + size + 8)
        held = memory[self.offset : self.offset + size].view(f"u{itemsize}")
        whole = held.reshape([padded[axis] for axis in self.order])
        straight = whole.transpose(np.argsort(self.order))
        return memory, straight[(..., *(slice(None, None, step) for step in self.steps))]


@st.composite
def layouts(draw: st.DrawFn, shape: tuple[int, ...]) -> Layout:
    order = draw(st.permutations(range(len(shape))))
    steps = [draw(st.sampled_from([1, 1, 1, -1, 2, -3])) for _ in shape]
    return Layout(shape, tuple(order), tuple(steps), draw(st.sampled_from([0, 0, 1, 2, 4, 8, 13])))


shapes = st.one_of(
    st.integers(0, 3000).map(lambda n: (n,)),
    st.tuples(st.integers(0, 60), st.integers(0, 50)),
    st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 20)),
    st.just(()),
)
STORAGE = {"float64": np.float64, "float32": np.float32, "float16": np.float16}


@dataclass(frozen=True)
class Case:
    """One call: of `fill` where `whole` is None, else of `fill_region`."""

    law: Law
    layout: Layout
    start: int
    whole: tuple[int, ...] | None
    index: Any
    threads: int

    def memory(self, dtype: str, key: Key) -> bytes:
        """Return all bytes of the destination's memory after the call, or the error's text."""
        itemsize = {"float64": 8, "float32": 4}.get(dtype, 2)
        memory, out = self.layout.array(itemsize)
        out = out if dtype == "bfloat16" else out.view(STORAGE[dtype])
        if self.whole is None:
            fill(out, self.law, key=key, start=self.start, dtype=dtype, threads=self.threads)
        else:
            fill_region(out, self.law, key=key, shape=self.whole, index=self.index, dtype=dtype)
        return memory.tobytes()


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw a call: three of four fill a whole array, the others a part of a weight."""
    law, threads, shape = draw(laws), draw(st.integers(1, 4)), draw(shapes)
    if draw(st.integers(0, 3)) or shape == ():
        layout, start = draw(layouts(shape)), draw(starts(size=math.prod(shape)))
        return Case(law, layout, start, None, None, threads)
    index = draw(basic_indices(shape, allow_newaxis=False))
    part = np.broadcast_to(0, shape)[index].shape
    return Case(law, draw(layouts(part)), 0, shape, index, threads)
