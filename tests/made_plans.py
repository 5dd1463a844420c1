"""Plans that no model gave: made up for tests, in every shape that the nouns allow."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

from hypothesis import strategies as st

from xavier._types import laws
from xavier._types.plan import Assignment, Kept, Plan, Region, Role

NAN = float("nan")
HOSTILE = (
    "\x1b[31mred\x1b[0m",
    "line\nbreak\r\ttab",
    "<script>alert(1)</script>&amp;\"'",
    "[bold]markup[/bold]",
    "层.重み.e\u0301",
    "right\u202eleft\u200b",
    "x" * 300,
    "",
    " ",
    "a | b > c; d",
    "\x00\x7f\x9b31m",
)

finite = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(0, allow_nan=False, allow_infinity=False)
number = st.floats() | st.integers(0, 4096).map(float)
word = st.text(max_size=12) | st.sampled_from(HOSTILE)

LAWS = {
    "Uniform": st.tuples(finite, finite).map(lambda ends: laws.Uniform(min(ends), max(ends))),
    "Normal": st.builds(laws.Normal, finite, positive),
    "TruncatedNormal": st.builds(
        laws.TruncatedNormal, finite, positive, st.floats(1e-3, 1e3, allow_nan=False)
    ),
    "Constant": st.builds(laws.Constant, finite),
    "Sparse": st.builds(laws.Sparse, st.floats(0, 1), positive),
    "Orthogonal": st.builds(laws.Orthogonal, finite),
    "DeltaOrthogonal": st.builds(laws.DeltaOrthogonal, finite),
    "Identity": st.builds(laws.Identity, finite),
    "Dirac": st.builds(laws.Dirac, st.integers(1, 99)),
}
law = st.one_of(*LAWS.values())


@st.composite
def cuts(draw):
    """Return the regions of one parameter, disjoint, each with its shape."""
    shape = tuple(draw(st.lists(st.integers(0, 9), max_size=3)))
    if not shape or not draw(st.booleans()):
        return [(Region(), shape)]
    axis = draw(st.integers(0, len(shape) - 1))
    edges = sorted(draw(st.sets(st.integers(0, 12), min_size=2, max_size=6)))
    spans = list(pairwise(edges))
    owners = [draw(st.integers(0, 1)) for _ in spans]
    cut = []
    for owner in sorted(set(owners)):
        ranges = tuple(span for span, each in zip(spans, owners, strict=True) if each == owner)
        length = sum(stop - start for start, stop in ranges)
        cut.append((Region(axis, ranges), (*shape[:axis], length, *shape[axis + 1 :])))
    return cut


assignment = st.builds(
    Assignment,
    name=word,
    region=st.just(Region()),
    shape=st.just(()),
    role=st.sampled_from(Role),
    fan_in=number,
    fan_out=number,
    fed_by=word,
    followed_by=word,
    rule=word,
    law=law,
    reason=word,
    forward_power=number,
    backward_power=number,
    predicted_q=number,
    predicted_chi=number,
    follower_law=st.none() | law,
    aliases=st.lists(word, max_size=2).map(tuple),
    frameworks=st.dictionaries(word, st.tuples(number, number), max_size=2),
)
kept = st.builds(
    Kept,
    name=word,
    shape=st.lists(st.integers(0, 10**12), max_size=4).map(tuple),
    kind=st.sampled_from(["parameter", "buffer"]),
    reason=word,
    aliases=st.lists(word, max_size=2).map(tuple),
)


@st.composite
def plans(draw):
    """Return a plan with every kind of field in it."""
    names = draw(st.lists(word, unique=True, max_size=8))
    drawn = draw(st.integers(0, len(names)))
    rows = [
        replace(draw(assignment), name=name, region=region, shape=shape)
        for name in names[:drawn]
        for region, shape in draw(cuts())
    ]
    return Plan(
        assignments=tuple(rows),
        kept=tuple(replace(draw(kept), name=name) for name in names[drawn:]),
        recipe=draw(word),
        model_digest=draw(word),
        seed=draw(st.none() | st.integers(-(2**63), 2**63 - 1)),
        scope=draw(word),
        notes=tuple(draw(st.lists(word, max_size=3))),
    )


def row(name="layers.0.weight", shape=(4, 3), **fields):
    """Return an assignment that a hidden dense layer might have."""
    region = fields.pop("region", Region())
    given = {
        "role": Role.HIDDEN,
        "fan_in": 3.0,
        "fan_out": 4.0,
        "fed_by": "tanh",
        "followed_by": "relu",
        "rule": "LeCun()",
        "law": laws.Normal(0.0, 0.57735),
        "reason": "LeCun et al. 1998: 1/fan_in",
    }
    return Assignment(name=name, region=region, shape=region.shape_in(shape), **given | fields)


def bias(name="layers.0.bias", size=4, **fields):
    """Return an assignment of a bias, which has no fans."""
    given = {
        "role": Role.BIAS,
        "fan_in": NAN,
        "fan_out": NAN,
        "fed_by": "",
        "followed_by": "",
        "rule": "Fixed(Constant(value=0.0))",
        "law": laws.Constant(0.0),
        "reason": "biases start at 0",
    }
    return row(name, (size,), **given | fields)


def plan(*rows, kept=(), **fields):
    """Return a plan of some rows."""
    given = {"recipe": "by hand", "model_digest": "0123abcd"}
    return Plan(tuple(rows), tuple(kept), **given | fields)


def full_row(**fields):
    """Return an assignment in which no field has its default."""
    given = {
        "name": "blocks.7.attn.qkv.weight",
        "shape": (6, 2),
        "region": Region(0, ((0, 2), (4, 6))),
        "role": Role.RESIDUAL,
        "fan_in": 2.0,
        "fan_out": 12.5,
        "forward_power": 0.5,
        "backward_power": 0.25,
        "predicted_q": math.inf,
        "predicted_chi": 1.5,
        "follower_law": laws.Dirac(2),
        "aliases": ("head.weight",),
        "frameworks": {"torch": (2.0, 6.0), "keras": (math.inf, 1.0)},
    }
    return row(**given | fields)


def transformer():
    """Return a plan of a small language model, folded rows, blocks of a packed weight, a tie."""
    blocks = [
        each
        for at in range(12)
        for each in (
            *(
                row(
                    f"blocks.{at}.attention.qkv.weight",
                    (192, 64),
                    region=Region(0, ((start, start + 64),)),
                    fan_in=64.0,
                    fan_out=64.0,
                    fed_by="normalization",
                    followed_by="identity",
                    rule="XavierExact()",
                    law=laws.Normal(0.0, 0.125),
                )
                for start in (0, 64, 128)
            ),
            bias(f"blocks.{at}.attention.qkv.bias", 192),
            row(
                f"blocks.{at}.down.weight",
                (64, 256),
                role=Role.RESIDUAL,
                fan_in=256.0,
                fan_out=64.0,
                fed_by="gelu",
                followed_by="sum",
                rule="Scaled(ForwardGain(), factor=0.204124)",
                law=laws.Normal(0.0, 0.0167197),
            ),
        )
    ]
    table = row(
        "tokens.weight",
        (50257, 64),
        role=Role.TIED,
        fan_in=64.0,
        fan_out=50257.0,
        fed_by="normalization",
        followed_by="output",
        rule="VarianceScaling(scale=0.25)",
        law=laws.Normal(0.0, 0.0625),
        aliases=("head.weight",),
    )
    return plan(table, *blocks, recipe="auto", seed=0)


def convolutions():
    """Return a plan of odd regions and laws, of what is kept, and of notes."""
    rows = (
        row("stem.weight", (16, 3, 3, 3), role=Role.INPUT, fed_by="identity", fan_in=27.0),
        row(
            "up.weight",
            (16, 8, 4, 4),
            fan_in=64.0,
            fan_out=128.0,
            frameworks={"torch": (128.0, 256.0)},
            rule="He(mode='fan_out')",
            law=laws.TruncatedNormal(0.0, 0.125, 2.0),
        ),
        row(
            "gates",
            (8, 4, 6),
            region=Region(1, ((0, 1), (3, 4))),
            fan_in=2.5,
            fan_out=1e12,
            followed_by="",
            law=laws.Uniform(-0.1, 0.1),
        ),
        row("padding", (9, 4), region=Region(0, ((2, 3),)), law=laws.Constant(0.0), fed_by=""),
        bias("stem.bias", 16),
        row(
            "gain",
            (16,),
            role=Role.OTHER,
            fan_in=NAN,
            fan_out=NAN,
            fed_by="",
            followed_by="",
            rule="Fixed(Constant(value=0.1))",
            law=laws.Constant(0.1),
        ),
    )
    kept = [
        *(
            Kept(f"blocks.{at}.scale", (16,), "parameter", "no contraction reads it")
            for at in range(6)
        ),
        Kept("logit_scale", (), "parameter", "no contraction reads it"),
        Kept("lora.b", (4, 16), "parameter", "it arrived as zeros; overwrite_zeros draws it"),
        Kept("norm.running_mean", (16,), "buffer", "buffers keep what their owner gives them"),
    ]
    notes = (
        "a branch on `gates` was guessed",
        "the norms stand after the residual adds: writers are not scaled for their number; if many"
        " such layers do not train, DeepNorm weighs the stream by more than 1",
    )
    return plan(*rows, kept=kept, notes=notes, scope="teacher.", recipe="auto")


def hostile():
    """Return a plan whose every word tries to break out of its place."""
    rows = [
        row(
            text or "unnamed",
            fed_by=text,
            followed_by=text,
            rule=text,
            reason=text,
            aliases=(text,),
            frameworks={text: (1.0, 2.0)},
        )
        for text in HOSTILE
    ]
    kept = [Kept(f"{text}.kept", (2,), "parameter", text) for text in HOSTILE]
    return plan(*rows, kept=kept, notes=HOSTILE, scope=HOSTILE[0], recipe=HOSTILE[1])


def empty():
    """Return a plan that draws and keeps nothing."""
    return plan()


EVERY = {made.__name__: made for made in (transformer, convolutions, hostile, empty)}
