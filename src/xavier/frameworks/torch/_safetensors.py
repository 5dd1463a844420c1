"""The safetensors format, written tensor by tensor, so that one at a time is in memory.

A file is the header's length (eight bytes, little-endian), the header (JSON, padded with spaces to
a multiple of eight), and the tensors' bytes: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Final

import torch

from xavier._types.plan import Plan

CODES: Final = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.complex64: "C64", torch.int64: "I64", torch.int32: "I32", torch.int16: "I16",
    torch.int8: "I8", torch.uint8: "U8", torch.uint16: "U16", torch.uint32: "U32",
    torch.uint64: "U64", torch.bool: "BOOL", torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip
_AT_ONCE: Final = 1 << 24  # bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a file.

    Attributes:
        name: Its name in the state dict.
        shape: Its shape.
        dtype: What it is written in.
        make: Makes it.
        drawn: How many of its elements are drawn.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    make: Callable[[], torch.Tensor] = field(repr=False)
    drawn: int = 0

    @property
    def size(self) -> int:
        """Its bytes."""
        return prod(self.shape) * self.dtype.itemsize


def content(
    entries: Sequence[Entry], plan: Plan, report: Callable[[int], None] = lambda _: None
) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a file; the same for the same tensors and plan.

    Args:
        entries: Its tensors.
        plan: What drew them; its digest, recipe, seed and scope go into the header.
        report: Is told how many of the elements were drawn, tensor by tensor.
    """
    about = {
        "format": "pt",
        "xavier.digest": plan.digest,
        "xavier.recipe": plan.recipe,
        "xavier.seed": str(plan.seed),
        "xavier.scope": plan.scope,
    }
    header: dict[str, Any] = {"__metadata__": about}
    at = 0
    for each in entries:
        span = [at, at + each.size]
        header[each.name] = {
            "dtype": CODES[each.dtype],
            "shape": list(each.shape),
            "data_offsets": span,
        }
        at += each.size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield struct.pack("<Q", len(text)) + text
    drawn = 0
    for each in entries:
        yield from raw(each.make())
        drawn += each.drawn
        report(drawn)


def raw(tensor: torch.Tensor) -> Iterator[memoryview]:
    """Yield the bytes of a tensor's elements, in their order, a part at a time."""
    values = tensor.detach().cpu().resolve_conj().contiguous()
    if values.numel():
        held = values.reshape(-1).view(torch.uint8).numpy().data
        for begin in range(0, len(held), _AT_ONCE):
            yield held[begin : begin + _AT_ONCE]
