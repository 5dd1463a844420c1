"""How far a softmax has turned into a choice: the share of its rows on a flat part.

The derivative of a softmax with probabilities p is `diag(p) - p p'`, of trace `1 - sum(p**2)`;
that is largest, `1 - 1/n`, where all n are equal, and 0 where one has it all.
"""

from __future__ import annotations

import math
from typing import Any, Final

import torch

from xavier.frameworks.torch._moments import SAMPLE, unguarded

SOFTMAXES: Final = frozenset({"softmax", "scaled_dot_product_attention"})
_FLAT: Final = 0.05  # of the largest slope, as for an elementwise function
_MASKED: Final = -5e3  # what is added to a score to leave it out is at least twice this
_HEADS: Final = 4  # whose scores are computed again, of those of a fused attention
_PAIR: Final = 2


@unguarded
def softmax_saturation(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> float | None:
    """Return the share of a softmax's rows where its slope is below a twentieth of the largest.

    Args:
        name: `softmax`, or `scaled_dot_product_attention`, whose softmax is inside.
        args: What it was called with.
        kwargs: As above, by name.

    Returns:
        A share between 0 and 1, of at most 8,192 sampled scores, or one row; None if no row has
        two scores to choose from.
    """
    with torch.no_grad():
        scores = _fused(*args, **kwargs) if name != "softmax" else _given(*args, **kwargs)
        if scores is None:
            return None
        rows = scores.reshape(-1, scores.shape[-1])
        step = max(1, -(-rows.numel() // SAMPLE))
        rows = rows[::step].to("cpu", torch.float64)
        choices = (rows > _MASKED).sum(-1)
        rows, choices = rows[choices >= _PAIR], choices[choices >= _PAIR]
        if not len(rows):
            return None
        left = 1 - rows.softmax(-1).square().sum(-1)
        return float((left < _FLAT * (1 - 1 / choices)).double().mean())


def _given(input: Any, dim: int | None = None, *_: Any, **__: Any) -> torch.Tensor | None:
    if not isinstance(input, torch.Tensor) or not input.ndim or not input.numel():
        return None
    return input.detach().movedim(-1 if dim is None else dim, -1)


def _fused(
    query: torch.Tensor,
    key: torch.Tensor,
    _value: Any = None,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,  # noqa: FBT001, FBT002 - torch's signature
    scale: float | None = None,
    **_: Any,
) -> torch.Tensor | None:
    """Return the scores of a few heads and rows."""
    del dropout_p
    if min(query.numel(), key.numel()) == 0:
        return None
    length = key.shape[-2]
    queries, keys = query.detach().flatten(0, -3), key.detach().flatten(0, -3)
    shared = max(1, len(queries) // len(keys))  # of grouped queries several have one key
    heads = torch.arange(0, len(queries), max(1, len(queries) // _HEADS))[:_HEADS]
    step = max(1, -(-len(heads) * length * query.shape[-2] // SAMPLE))
    rows = torch.arange(0, query.shape[-2], step)
    size = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    some, all_keys = (
        each.to("cpu", torch.float64) for each in (queries[heads][:, rows], keys[heads // shared])
    )
    scores = some @ all_keys.mT * size
    if is_causal:
        scores = scores.masked_fill(torch.arange(length) > rows[:, None], -torch.inf)
    if attn_mask is not None:
        mask = attn_mask.detach().expand(*query.shape[:-1], length).flatten(0, -3)
        mask = mask[heads][:, rows].cpu()
        scores = scores + (torch.where(mask, 0.0, -torch.inf) if mask.dtype == torch.bool else mask)
    return scores
