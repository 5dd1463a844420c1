"""Write the kernel's `coefficients.h` from `src/xavier/bits/_coefficients.py`.

The Python tables are the definition; a test compares the header with what this prints.

Run: python tools/coefficients_header.py > src/xavier/bits/_kernel/c/coefficients.h
"""

from __future__ import annotations

import re

from xavier.bits import _coefficients

HEAD = """\
/* The coefficients of the stream, lowest power first: `_coefficients.py` in C, written by
 * tools/coefficients_header.py. They are part of the stream. */
#ifndef XAVIER_COEFFICIENTS_H
#define XAVIER_COEFFICIENTS_H
"""


def header() -> str:
    """Return the text of `coefficients.h`."""
    lines = [HEAD]
    for name, value in vars(_coefficients).items():
        if not re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
            continue
        real, suffix = ("float", "f") if "_32" in name else ("double", "")
        if isinstance(value, tuple):
            body = "".join(f"    {_literal(number, suffix)},\n" for number in value)
            lines.append(f"static const {real} {name}[] = {{\n{body}}};")
        else:
            lines.append(f"#define {name} {_literal(value, suffix)}")
    return "\n".join([*lines, "", "#endif"])


def _literal(number: float, suffix: str) -> str:
    """Return a hexadecimal C literal without the zeros that end its digits."""
    return re.sub(r"\.?0*p", "p", number.hex()) + suffix


if __name__ == "__main__":
    print(header())
