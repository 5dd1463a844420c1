"""The bits: numbers that follow from a seed, a name and an index alone.

`fill` writes a law's stream into an array, `fill_region` the part of a weight, `draw` returns
a new array, and `fill_words` writes the raw words. The executable specification of the stream,
version 1, is in NumPy; a compiled kernel computes the same bits faster, where it could be built.
`docs/bits.md` defines the stream.
"""

from xavier._errors import StreamError
from xavier.bits._draw import draw
from xavier.bits._dtypes import DTYPES
from xavier.bits._fill import fill, fill_region, fill_words
from xavier.bits._kernel import KernelError
from xavier.bits._key import STREAM_VERSION, Key

__all__ = [
    "DTYPES",
    "STREAM_VERSION",
    "KernelError",
    "Key",
    "StreamError",
    "draw",
    "fill",
    "fill_region",
    "fill_words",
]
