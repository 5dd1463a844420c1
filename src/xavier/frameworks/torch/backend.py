"""What a framework folder offers to the floors above: trace, write, measure."""

from __future__ import annotations

from xavier.frameworks.torch.agreement import agreed
from xavier.frameworks.torch.checkpoint import write_checkpoint
from xavier.frameworks.torch.lsuv import rescale
from xavier.frameworks.torch.names import buffers, slots
from xavier.frameworks.torch.owners import materialize, owner_values
from xavier.frameworks.torch.trace import trace, untraced
from xavier.frameworks.torch.write import all_or_nothing, check_fits, next_seed, write

__all__ = [
    "agreed",
    "all_or_nothing",
    "buffers",
    "check_fits",
    "materialize",
    "next_seed",
    "owner_values",
    "rescale",
    "slots",
    "trace",
    "untraced",
    "write",
    "write_checkpoint",
]
