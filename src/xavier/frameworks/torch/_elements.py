"""Writing a region of the stream into a tensor, whatever its dtype, strides and device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import prod, sqrt
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from xavier._errors import PlanError
from xavier._types.laws import Constant, Law, Normal, TruncatedNormal, Uniform
from xavier._types.plan import Assignment
from xavier.bits import Key, draw, fill_region
from xavier.frameworks.torch._fit import DTYPES, REAL_PARTS
from xavier.frameworks.torch._shards import Index, Part, part_of

CHUNK: Final = 1 << 22  # elements between two looks at the progress
Report = Callable[[int], None]


def write_assignment(
    tensor: torch.Tensor, assignment: Assignment, *, seed: int, name: str, report: Report
) -> None:
    """Draw one region of a parameter in place.

    An elementwise law takes element i of the stream `name`, with i the row-major index in the
    whole parameter. Of the other laws a region draws a matrix of its own, from the stream
    `name` if it is the whole parameter, else from `name` with the region's index behind it.
    A complex parameter's imaginary part comes from the stream `name#imag`.

    Args:
        tensor: The parameter.
        assignment: The region and its law.
        seed: The seed.
        name: The parameter's name in the stream of bits.
        report: Is told how many elements were drawn, as it goes on.
    """
    part = part_of(tensor)
    if not assignment.law.elementwise:
        _write_matrix(part, assignment, seed=seed, name=name)
        report(prod(assignment.shape))
        return
    for real, law, stream in _streams(part, assignment.law, name):
        key = Key(seed, stream)
        for index in assignment.region.slices(part.shape):
            for whole, here in (each for clip in real.clip(index) for each in _chunks(*clip)):
                _write_chunk(real, law, key, (whole, here))
                report(prod(each.stop - each.start for each in whole) if stream == name else 0)


def _streams(part: Part, law: Law, name: str) -> Iterator[tuple[Part, Law, str]]:
    if part.tensor.dtype not in REAL_PARTS:
        yield part, law, name
        return
    both = torch.view_as_real(part.tensor)
    for at, (half, stream) in enumerate(zip(_halves(law), (name, f"{name}#imag"), strict=True)):
        yield replace(part, tensor=both[..., at]), half, stream


def _halves(law: Law) -> tuple[Law, Law]:
    """Return the laws of the real and the imaginary part, each with half of the variance."""
    if isinstance(law, Constant):
        return law, Constant(0.0)
    half = 1 / sqrt(2)
    if isinstance(law, Uniform):
        middle, reach = (law.low + law.high) / 2, (law.high - law.low) / 2 * half
        return Uniform(middle - reach, middle + reach), Uniform(-reach, reach)
    if not isinstance(law, Normal | TruncatedNormal):
        raise PlanError(f"{law!r} has no complex weights")
    return replace(law, std=law.std * half), replace(law, mean=0.0, std=law.std * half)


def _chunks(whole: Index, here: Index) -> Iterator[tuple[Index, Index]]:
    """Cut an index into pieces of at most `CHUNK` elements, along the first axes."""
    sizes = [each.stop - each.start for each in whole]
    if prod(sizes) <= CHUNK:
        yield whole, here
        return
    axis = next(at for at, size in enumerate(sizes) if size > 1)
    step = max(1, CHUNK // prod(sizes[axis + 1 :]))
    for begin in range(0, sizes[axis], step):
        end = min(begin + step, sizes[axis])
        pieces = []
        for index in (whole, here):
            start = index[axis].start
            piece = slice(start + begin, start + end)
            pieces.append((*index[:axis], piece, *index[axis + 1 :]))
        yield from _chunks(pieces[0], pieces[1])


def _write_chunk(part: Part, law: Law, key: Key, at: tuple[Index, Index]) -> None:
    whole, here = at
    dtype = DTYPES[part.tensor.dtype]
    target = part.tensor[here]
    if _addressable(target):
        fill_region(_bits(target), law, key=key, shape=part.shape, index=whole, dtype=dtype)
        return
    # Pinned, a chunk travels while the next one is drawn; its memory is kept until it has arrived.
    pinned = target.device.type == "cuda"
    staging = torch.empty(target.shape, dtype=target.dtype, device="cpu", pin_memory=pinned)
    fill_region(_bits(staging), law, key=key, shape=part.shape, index=whole, dtype=dtype)
    target.copy_(staging, non_blocking=pinned)


def _addressable(tensor: torch.Tensor) -> bool:
    """Return whether NumPy can write to a tensor's memory."""
    return tensor.device.type == "cpu"


def _bits(tensor: torch.Tensor) -> NDArray[Any]:
    """Return the memory of a CPU tensor as an array; of bfloat16 its bits."""
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy()
    return tensor.numpy()


def _write_matrix(part: Part, assignment: Assignment, *, seed: int, name: str) -> None:
    region, shape = assignment.region, part.shape
    stream = name if region.axis is None else f"{name}{region}"
    dtype = DTYPES[part.tensor.dtype]
    drawn = torch.from_numpy(
        _signed(draw(assignment.law, assignment.shape, seed=seed, name=stream, dtype=dtype))
    )
    values = drawn.view(torch.bfloat16) if dtype == "bfloat16" else drawn
    taken = 0
    for index in region.slices(shape):
        span = values
        if region.axis is not None:
            length = index[region.axis].stop - index[region.axis].start
            span = values.narrow(region.axis, taken, length)
            taken += length
        starts = [each.indices(size)[0] for each, size in zip(index, shape, strict=True)]
        for whole, here in part.clip(index):
            source = tuple(
                slice(each.start - start, each.stop - start)
                for each, start in zip(whole, starts, strict=True)
            )
            part.tensor[here].copy_(span[source])


def _signed(array: NDArray[Any]) -> NDArray[Any]:
    return array.view(np.int16) if array.dtype == np.uint16 else array
