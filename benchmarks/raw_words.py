"""Write a stream's words: `python -m benchmarks.raw_words | dieharder -a -g 200`.

The name of one of the orders in `benchmarks.streams` chooses which; without one they are those of
one key, in order. It ends when the reader does.
"""

from __future__ import annotations

import sys

from benchmarks.streams import STREAMS


def main() -> None:
    """Write buffers of little-endian 32-bit words until nobody reads them."""
    name = sys.argv[1] if len(sys.argv) > 1 else "sequential"
    if name not in STREAMS:
        raise SystemExit(f"unknown stream {name!r}, expected one of {', '.join(STREAMS)}")
    stream, number = STREAMS[name](), 0
    try:
        while True:
            sys.stdout.buffer.write(stream(number).astype("<u4", copy=False).data)
            number += 1
    except BrokenPipeError:
        sys.stderr.close()  # the interpreter would complain of the pipe once more


if __name__ == "__main__":
    main()
