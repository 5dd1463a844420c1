"""Checks to make pages of: every verdict, and all that is hard to show."""

from __future__ import annotations

import math
from dataclasses import replace

import made_checks
from made_checks import INIT, check, finding, op
from xavier._types.signal import WeightSignal

SCRIPT = '"><script>window.hacked = 1</script><img src="https://example.invalid/x" onerror="x()">'
LONG = "encoder." + "a_long_name." * 25
HEBREW = "\u05e9\u05db\u05d1\u05d4.\u05de\u05e9\u05e7\u05dc"


def weight(name, **fields):
    """Return a weight as it might be."""
    given = {"shape": (64, 64), "rms": 0.1, "std": 0.1, "gradient_rms": 1e-4, "update_ratio": 1e-3}
    return WeightSignal(name, **given | fields)


def with_weights(made, *weights):
    """Return a check with weights, and the digest of a model."""
    return replace(made, signal=replace(made.signal, weights=weights), model_digest="0a1b" * 16)


def injected():
    """Return one whose every word is markup that would act."""
    made = check(
        "dead",
        op(0, SCRIPT, op=SCRIPT, activation=SCRIPT),
        op(1, "after", rms=2.0),
        where=SCRIPT,
        evidence=SCRIPT,
        cure=SCRIPT,
        findings=[finding("error", SCRIPT, SCRIPT, message=SCRIPT, cure=SCRIPT)],
        notes=[SCRIPT],
    )
    return with_weights(made, weight(SCRIPT))


def names():
    """Return one with names that are long, and names that are read from the right."""
    made = check(
        "collapsed",
        op(0, LONG),
        op(1, HEBREW, rms=0.0, dead=1.0),
        op(2, "last"),
        where=LONG,
        evidence=f"{HEBREW} is alike for every input",
        cure=f'xavier.init_(model, example, only=["{LONG}weight"])',
        findings=[finding("error", path=LONG), finding(path=HEBREW, message=f"{HEBREW}: twice")],
        notes=["x" * 300],
    )
    return with_weights(made, weight(LONG), weight(HEBREW, gradient_rms=None))


def pictured():
    """Return one with histograms: of normal numbers, of a spike, and of none."""
    law = (*(0.0 for _ in range(8)), 0.1, 0.2, 0.4, 0.2, 0.1, *(0.0 for _ in range(8)))
    spike = (*(0.0 for _ in range(10)), 0.9, *(0.0 for _ in range(9)), 0.1)
    made = [
        op(0, histogram=law, gradient_histogram=spike),
        op(1, histogram=spike, gradient_histogram=None),
        op(2),
    ]
    return check("healthy", *made, evidence="three ops")


def one_op():
    """Return one of a single op, to which no gradient came."""
    return check("healthy", op(0, "head", gradient_rms=None), evidence="one op")


def many(size=2000, path="transformer.blocks.{}.attention.projection"):
    """Return one of a model so deep that not every op has a point of its own."""
    ops = [
        op(at, path.format(at), rms=math.exp(at / 300), gradient_rms=math.exp(at / 100 - 20))
        for at in range(size)
    ]
    weights = [weight(f"{each.path}.weight") for each in ops]
    where = ops[1234].path
    return with_weights(check("exploding", *ops, where=where, evidence="e", cure=INIT), *weights)


EVERY = {**made_checks.EVERY} | {
    made.__name__: made for made in (injected, names, pictured, one_op, many)
}
