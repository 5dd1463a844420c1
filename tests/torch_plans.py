"""Plans made by hand, for tests of what carries them out."""

from __future__ import annotations

import torch

from xavier._types.laws import Normal
from xavier._types.plan import Assignment, Plan, Region, Role
from xavier.bits import draw
from xavier.frameworks.torch.names import buffers, slots, structure_digest

LAW = Normal(0.0, 0.1)


def row(name, shape, law=LAW, region=None):
    region = region or Region()
    return Assignment(
        name=name,
        region=region,
        shape=region.shape_in(shape),
        role=Role.HIDDEN,
        fan_in=1.0,
        fan_out=1.0,
        fed_by="identity",
        followed_by="identity",
        rule="Fixed",
        law=law,
        reason="by hand",
    )


def plan_of(model, law=LAW, *, drawn=lambda slot: True, seed=None, rows=None):
    """Return a plan that draws all of some parameters from one law, or the given rows."""
    rows = (
        rows
        if rows is not None
        else [row(slot.name, slot.shape, law) for slot in slots(model) if drawn(slot)]
    )
    return Plan(tuple(rows), (), "by hand", structure_digest(model), seed=seed)


def is_matrix(slot):
    return len(slot.shape) > 1


def expected(name, shape, law=LAW, *, seed=0, dtype="float32", index=None):
    """Return what the stream of bits has for a weight."""
    return torch.from_numpy(draw(law, shape, seed=seed, name=name, dtype=dtype, index=index))


def same_bits(one, two):
    if one.shape != two.shape or one.dtype != two.dtype:
        return False
    flat = (each.detach().contiguous().reshape(-1) for each in (one, two))
    return one.numel() == 0 or torch.equal(*(each.view(torch.uint8) for each in flat))


def differing(one, two):
    """Return the names under which two models hold other bits, buffers included."""
    left, right = ((*slots(model), *buffers(model)) for model in (one, two))
    assert [each.name for each in left] == [each.name for each in right]
    return {
        first.name
        for first, second in zip(left, right, strict=True)
        if not same_bits(first.stored, second.stored)
    }
