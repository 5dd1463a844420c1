"""The bits: numbers that follow from a seed, a name and an index alone.

`fill` writes a law's stream into an array, `fill_region` the part of a weight, and `draw`
returns a new array. This is the executable specification of the stream, version 1, in NumPy;
`docs/bits.md` defines it.
"""

from xavier._errors import StreamError
from xavier.bits._draw import draw
from xavier.bits._dtypes import DTYPES
from xavier.bits._fill import fill, fill_region
from xavier.bits._key import STREAM_VERSION, Key

__all__ = ["DTYPES", "STREAM_VERSION", "Key", "StreamError", "draw", "fill", "fill_region"]
