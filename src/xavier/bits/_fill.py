"""Write a stream, or a region of a weight's stream, into an array."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from xavier._errors import ShapeError
from xavier._types.laws import Law
from xavier.bits import _kernel
from xavier.bits._drawing import draw_pieces
from xavier.bits._dtypes import Format, bit_view, word_format
from xavier.bits._environment import standard_environment
from xavier.bits._index import Index, parse_index
from xavier.bits._key import Key, StreamError
from xavier.bits._pieces import PIECE, require_destination, row_major, scattered
from xavier.bits._samplers import DOUBLE, SINGLE, Precision, Sampler, raw_words, sampler
from xavier.bits._threads import granted

Array = NDArray[Any]
_STREAM_END = 2**64
# Elements for every thread: fewer, and starting it costs more than it saves.
_SHARE = 1 << 17
_NUMPY_SHARE = PIECE


def fill(
    out: Array,
    law: Law,
    *,
    key: Key,
    start: int = 0,
    dtype: str | None = None,
    threads: int | None = None,
) -> None:
    """Write elements `start, start + 1, ...` of a stream into `out`, in row-major order.

    Element i depends on the key, the law, the precision and i alone: not on the array's
    layout, on where a call starts or ends, or on threads. float16 and bfloat16 get the
    float32 values rounded to nearest even; float64 is a stream of its own.

    Args:
        out: The destination: float64, float32, float16, or bfloat16 as explained under `dtype`;
            any shape and strides.
        law: An elementwise law.
        key: The stream.
        start: The index of the first element.
        dtype: `bfloat16` to fill an array of int16 or uint16 with the bits of bfloat16
            numbers; else None, or the name of the dtype that the array must have.
        threads: How many threads share the work; None for as many as PyTorch uses, or the
            machine has, where the array is large enough.

    Raises:
        DtypeError: If the array's dtype cannot be drawn, or is not `dtype`.
        KernelError: If XAVIER_ISA or XAVIER_NUM_THREADS asks for what there is not.
        LawError: If the law is not elementwise, or reaches beyond the dtype's range.
        ShapeError: If the array cannot be written, or two of its elements share memory.
        StreamError: If the elements do not lie in [0, 2**64), or `key` or `threads` is none.

    Example:
        >>> import numpy as np
        >>> from xavier._types.laws import Uniform
        >>> out = np.empty(4, np.float32)
        >>> fill(out, Uniform(-1.0, 1.0), key=Key(0, "weight"))
        >>> bool((abs(out) <= 1).all())
        True
    """
    require_destination(out)
    storage, form = bit_view(out, dtype)
    first = _first(start, storage.size)
    place = _Place(storage, first, row_major(storage.shape))
    with standard_environment():
        drawn = sampler(law, _precision(form))
    _write(place, drawn, key=key, form=form, threads=threads)


def fill_region(
    out: Array,
    law: Law,
    *,
    key: Key,
    shape: tuple[int, ...],
    index: Index,
    dtype: str | None = None,
) -> None:
    """Write the part `index` of a weight of the shape `shape` into `out`.

    The values are those that the part has in the whole weight, whose element at row-major
    index i is element i of the stream. A range of rows costs what its elements cost; a narrow
    range of columns may cost a block of 64 elements for every row.

    Args:
        out: The destination, of the shape that `index` selects.
        law: An elementwise law.
        key: The weight's stream.
        shape: The shape of the whole weight.
        index: Integers, slices (any step) and at most one ellipsis, as NumPy takes them.
        dtype: As for `fill`.

    Raises:
        DtypeError: As for `fill`.
        LawError: As for `fill`.
        ShapeError: If the index does not fit the shape, or `out` not the index; as for `fill`.

    Example:
        >>> import numpy as np
        >>> from xavier._types.laws import Normal
        >>> whole, shard = np.empty((6, 4)), np.empty((6, 2))
        >>> fill(whole, Normal(0.0, 1.0), key=Key(0, "weight"))
        >>> part = (slice(None), slice(2, 4))
        >>> fill_region(shard, Normal(0.0, 1.0), key=Key(0, "weight"), shape=(6, 4), index=part)
        >>> bool((shard == whole[part]).all())
        True
    """
    require_destination(out)
    storage, form = bit_view(out, dtype)
    part = parse_index(index, shape)
    if storage.shape != part.shape:
        raise ShapeError(
            f"the destination has shape {storage.shape}, expected {part.shape}, "
            f"which the index selects from {tuple(shape)}"
        )
    # The ellipsis makes it a view even of a single element.
    ascending = storage[(..., *part.flips)]
    with standard_environment():
        drawn = sampler(law, _precision(form))
    _write(_Place(ascending, part.first, part.axes), drawn, key=key, form=form, threads=None)


def fill_words(out: Array, *, key: Key, start: int = 0, threads: int | None = None) -> None:
    """Write the stream's raw words, before any law, into an array of unsigned integers.

    uint32 gets the word of every element of the float32 stream, uint64 the two of the float64
    stream: independent uniform bits, for whatever is no law's.

    Args:
        out: The destination, uint32 or uint64; any shape and strides.
        key: The stream.
        start: The index of the first element.
        threads: As for `fill`.

    Raises:
        DtypeError: If the array is neither uint32 nor uint64.
        ShapeError: As for `fill`.
        StreamError: As for `fill`.

    Example:
        >>> import numpy as np
        >>> out = np.empty(2, np.uint32)
        >>> fill_words(out, key=Key(0, "weight"))
        >>> [hex(word) for word in out.tolist()]
        ['0xa95be855', '0xc7a648d1']
    """
    require_destination(out)
    form = word_format(out)
    first = _first(start, out.size)
    place = _Place(out, first, row_major(out.shape))
    _write(place, raw_words(_precision(form)), key=key, form=form, threads=threads)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where values go, and which: axis k of `out` adds `axes[k]` to the stream's index `first`."""

    out: Array
    first: int
    axes: tuple[range, ...]


def _write(place: _Place, drawn: Sampler, *, key: Key, form: Format, threads: int | None) -> None:
    """Write with the compiled kernel if there is one, else with NumPy: the bits are the same."""
    if not isinstance(key, Key):
        raise StreamError(f"key is {key!r}, expected an xavier.Key")
    out, words = place.out, key.words
    isa = _kernel.instruction_set()
    native = isa != _kernel.NUMPY and out.dtype.isnative
    most = max(1, out.size // (_SHARE if native else _NUMPY_SHARE))
    with granted(threads, most=most) as count:
        if out.size == 0:
            return
        if native:
            steps = tuple(axis.step for axis in place.axes)
            _kernel.write(
                out,
                (drawn.kind, drawn.numbers, form.name),
                key=words,
                place=(place.first, steps),
                threads=count,
                isa=isa,
            )
        else:
            pieces = scattered(out, place.first, place.axes)
            draw_pieces(pieces, drawn, words=words, form=form, threads=count)


def _precision(form: Format) -> Precision:
    return DOUBLE if form.working.itemsize == DOUBLE.real().itemsize else SINGLE


def _first(start: object, size: int) -> int:
    if isinstance(start, bool) or not hasattr(start, "__index__"):
        raise StreamError(f"start is {start!r}, expected an integer")
    first = operator.index(start)  # pyright: ignore[reportArgumentType] - whatever is no integer is refused
    if first < 0 or first + size > _STREAM_END:
        raise StreamError(
            f"start is {first} for {size} elements, expected a range within [0, 2**64)"
        )
    return first
