"""Draw a weight, or a part of one, as a new array."""

from __future__ import annotations

from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from xavier._types.laws import Law
from xavier.bits._dtypes import format_of
from xavier.bits._environment import standard_environment
from xavier.bits._fill import fill_region
from xavier.bits._index import Index, parse_index, parse_shape
from xavier.bits._key import Key
from xavier.bits._matrices import whole


def draw(
    law: Law,
    shape: SupportsIndex | tuple[SupportsIndex, ...],
    *,
    seed: int,
    name: str,
    index: Index = None,
    dtype: Any = "float32",
) -> NDArray[Any]:
    """Return a weight drawn from a law, or only the part `index` of it.

    The part has the values that it has in the whole: of an elementwise law they are made
    alone, the other laws draw the whole and cut it. Elementwise values are the same bits on
    every machine; orthogonal ones are equal to rounding.

    Args:
        law: What to draw from.
        shape: The shape of the whole weight.
        seed: The seed, a signed 64-bit integer.
        name: The weight's name: another name is another stream.
        index: The part wanted: integers, slices (any step), an ellipsis; None for all.
        dtype: float64, float32, float16 or bfloat16, or its name.

    Returns:
        A new array; for bfloat16 the numbers' bits as uint16.

    Raises:
        DtypeError: If the dtype cannot be drawn.
        LawError: If the law reaches beyond the dtype's range.
        ShapeError: If the law has no such shape, or the index does not fit it.
        StreamError: If the seed or the name cannot be a key.

    Example:
        >>> from xavier._types.laws import Normal
        >>> whole = draw(Normal(0.0, 0.02), (4, 8), seed=0, name="layers.0.weight")
        >>> part = draw(Normal(0.0, 0.02), (4, 8), seed=0, name="layers.0.weight", index=(2,))
        >>> bool((whole[2] == part).all())
        True
    """
    key, form, sizes = Key(seed, name), format_of(dtype), parse_shape(shape)
    if isinstance(law, Law) and not law.elementwise:
        parse_index(index, sizes)
        with standard_environment():
            weight = form.rounded(whole(law, sizes, key=key, working=form.working))
        return np.array(weight[... if index is None else index], order="C")
    out = np.empty(parse_index(index, sizes).shape, form.storage)
    fill_region(out, law, key=key, shape=sizes, index=index, dtype=form.name)
    return out
