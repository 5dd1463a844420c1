"""The pinned stream: what `tests/golden/bits_stream_1.json` holds, and how it is made.

Run `python tests/golden_bits.py` to write the file. It may change only together with
`xavier.bits.STREAM_VERSION`, and that only with a major version of the package.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from xavier._types.laws import Constant, Law, Normal, Sparse, TruncatedNormal, Uniform
from xavier.bits import DTYPES, STREAM_VERSION, Key, fill

PATH = Path(__file__).parent / "golden" / f"bits_stream_{STREAM_VERSION}.json"
COUNT = 4099  # not a multiple of a block
KEYS = {"plain": Key(0, "weight"), "other": Key(-(2**63), "Zürich.层.0")}
STARTS = {"first": 0, "far": 2**63 + 2**38 + 17}
LAWS: dict[str, Law] = {
    "uniform": Uniform(-0.25, 0.75),
    "normal": Normal(0.5, 0.02),
    "truncated": TruncatedNormal(0.0, 0.02),
    "truncated_tails": TruncatedNormal(-1.0, 3.0, cut=4.5),
    "sparse": Sparse(0.9, 0.01),
    "constant": Constant(0.1),
}


def stream(law: Law, dtype: str, *, key: Key, start: int) -> np.ndarray[Any, Any]:
    """Return the first elements from `start`, bfloat16 as their bits."""
    out = np.empty(COUNT, "uint16" if dtype == "bfloat16" else dtype)
    fill(out, law, key=key, start=start, dtype=dtype)
    return out


def entry(values: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return the digest of the little-endian bytes, and the first elements' bits."""
    ordered = values.astype(values.dtype.newbyteorder("<"))
    bits = ordered.view(f"<u{ordered.itemsize}")
    first = [f"{int(word):0{2 * ordered.itemsize}x}" for word in bits[:4]]
    return {"sha256": hashlib.sha256(ordered.tobytes()).hexdigest(), "first": first}


def table() -> dict[str, dict[str, Any]]:
    """Return every entry, by `law/dtype/key/start`."""
    return {
        f"{law_name}/{dtype}/{key_name}/{start_name}": entry(
            stream(law, dtype, key=key, start=start)
        )
        for law_name, law in LAWS.items()
        for dtype in DTYPES
        for key_name, key in KEYS.items()
        for start_name, start in STARTS.items()
    }


if __name__ == "__main__":
    PATH.write_text(json.dumps(table(), indent=1) + "\n")
