"""Checks that no model gave: made by hand or by chance, to show every branch of a report."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import strategies as st

from made_plans import HOSTILE, NAN, number, word
from xavier._types import text
from xavier._types.contrast import Change, Contrast, Fate
from xavier._types.cures import Cures, Trial
from xavier._types.signal import (
    Check,
    Finding,
    OpSignal,
    Reach,
    Reaches,
    Severity,
    Signal,
    Verdict,
    WeightSignal,
)
from xavier._types.theory import Band, OpPrediction, PlainStack, Theory

INIT = 'xavier.init_(model, example, recipe="auto")'

share = st.none() | st.floats(0, 1) | st.just(NAN)
maybe = st.none() | number
shape = st.lists(st.integers(0, 10**6), max_size=4).map(tuple)
part = st.floats(0, 1)
reach = st.builds(Reach, underflow=part, overflow=part)
reaches = st.none() | st.builds(Reaches, float16=reach, bfloat16=reach)
bins = st.none() | st.lists(st.floats(0, 1), min_size=21, max_size=21).map(tuple)
ops = st.builds(
    OpSignal,
    index=st.integers(0, 10**6),
    op=word,
    path=word,
    weights=st.lists(word, max_size=2).map(tuple),
    shape=shape,
    mean=number,
    std=number,
    rms=number,
    gradient_rms=maybe,
    activation=word,
    saturation=share,
    dead=share,
    correlation=maybe,
    nonfinite=st.integers(0, 10**12),
    silent=st.booleans(),
    rank=maybe,
    jacobian_mean=maybe,
    jacobian_rms=maybe,
    histogram=bins,
    gradient_histogram=bins,
    range=reaches,
    gradient_range=reaches,
)
weights = st.builds(
    WeightSignal,
    name=word,
    shape=shape,
    rms=number,
    std=number,
    gradient_rms=maybe,
    update_ratio=maybe,
    twins=share,
    adam_ratio=maybe,
    below_epsilon=share,
    gradient_range=reaches,
)
bands = st.none() | st.builds(Band, rms=number, low=number, high=number)
words = st.lists(word, max_size=2).map(tuple)
predictions = st.builds(
    OpPrediction,
    index=st.integers(0, 10**6),
    output=bands,
    gradient=bands,
    step_output=bands,
    step_gradient=bands,
    limits=words,
    gradient_limits=words,
)
stacks = st.builds(
    PlainStack,
    first=st.integers(0, 10**6),
    last=st.integers(0, 10**6),
    depth=st.integers(1, 10**6),
    activation=word,
    sigma_w=number,
    sigma_b=number,
    q=number,
    chi_1=number,
    xi=number,
    critical_sigma_w=maybe,
)
theories = st.none() | st.builds(
    Theory,
    ops=st.lists(predictions, max_size=6).map(tuple),
    departs=st.none() | st.integers(0, 10**6),
    summary=word,
    evidence=word,
    stacks=st.lists(stacks, max_size=2).map(tuple),
)
findings = st.builds(
    Finding,
    code=word,
    severity=st.sampled_from(Severity),
    path=word,
    message=word,
    cure=word | st.just(INIT),
)
trials = st.builds(
    Trial,
    recipe=word,
    seeds=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3).map(tuple),
    verdict=st.none() | st.sampled_from(Verdict),
    where=word,
    evidence=word,
)
cures = st.builds(
    Cures,
    trials=st.lists(trials, max_size=4).map(tuple),
    recipe=word,
    change=word,
    diff=word,
)
changes = st.builds(
    Change,
    name=word,
    kind=st.sampled_from(["parameter", "buffer", "tensor"]),
    fate=st.sampled_from(Fate),
    shape=shape,
    there=word,
    difference=maybe,
)
contrasts = st.builds(
    Contrast,
    reference=word,
    changes=st.lists(changes, max_size=6).map(tuple),
    findings=st.lists(findings, max_size=3).map(tuple),
    notes=st.lists(word, max_size=2).map(tuple),
)


@st.composite
def checks(draw):
    """Return a check with every kind of field in it."""
    verdicts = tuple(draw(st.lists(st.sampled_from(Verdict), min_size=1, unique=True)))
    return Check(
        verdict=verdicts[0],
        verdicts=verdicts,
        where=draw(word),
        evidence=draw(word),
        cure=draw(word | st.just(INIT)),
        findings=tuple(draw(st.lists(findings, max_size=8))),
        signal=Signal(
            ops=tuple(draw(st.lists(ops, max_size=6))),
            weights=tuple(draw(st.lists(weights, max_size=3))),
            notes=tuple(draw(st.lists(word, max_size=3))),
        ),
        theory=draw(theories),
        cures=draw(st.none() | cures),
        contrast=draw(st.none() | contrasts),
    )


def op(index=0, path="", **fields):
    """Return an op that a healthy dense layer might have."""
    path = path or f"layers.{index}"
    given = {
        "op": "linear",
        "weights": (f"{path}.weight",),
        "shape": (32, 64),
        "mean": 0.01,
        "std": 1.0,
        "rms": 1.0,
        "gradient_rms": 0.02,
        "activation": "tanh",
        "saturation": 0.02,
        "dead": 0.0,
        "correlation": 0.1,
        "nonfinite": 0,
    }
    return OpSignal(index=index, path=path, **given | fields)


def check(verdict="healthy", *signal_ops, findings=(), notes=(), **fields):
    """Return a check of some ops."""
    given = {
        "verdicts": (Verdict(verdict),),
        "where": "",
        "evidence": "",
        "cure": "",
    }
    return Check(
        verdict=Verdict(verdict),
        findings=tuple(findings),
        signal=Signal(signal_ops, (), tuple(notes)),
        **given | fields,
    )


def finding(severity="note", code="std-off-recipe", path="layers.0.weight", **fields):
    """Return a finding."""
    given = {"message": "(64, 64): std 0.1, twice the 0.05 of He()", "cure": ""}
    return Finding(code=code, severity=Severity(severity), path=path, **given | fields)


def healthy():
    """Return a short, healthy check: a convolution, a dense layer, a head."""
    return check(
        "healthy",
        op(0, "stem", op="conv2d", shape=(8, 16, 32, 32), activation="relu", dead=0.06),
        op(1, "body.0", rms=1.3, gradient_rms=0.013, activation="gelu", saturation=0.08),
        op(2, "head", rms=0.5, gradient_rms=0.1, activation="", saturation=None, dead=None),
        evidence="3 ops that hold a weight, output RMS 0.5 to 1.3, gradient RMS 0.013 to 0.1",
    )


def broken():
    """Return one with numbers that are not finite, missing gradients, and all severities."""
    only = 'xavier.init_(model, example, recipe="auto", only=["{}"])'
    return check(
        "broken",
        op(0, "embed", op="embedding", activation="", saturation=None, dead=None, correlation=None),
        op(1, "attention.qkv", rms=3.2e4, std=3.2e4, gradient_rms=math.inf, nonfinite=0),
        op(2, "attention.out", rms=math.inf, std=math.nan, mean=math.nan, nonfinite=1234),
        op(3, "", weights=("loose",), rms=math.nan, gradient_rms=None, nonfinite=2048),
        op(4, "never.reached", rms=0.0, std=0.0, gradient_rms=None, dead=1.0),
        verdicts=(Verdict.BROKEN, Verdict.DEAD, Verdict.EXPLODING),
        where="attention.out",
        evidence="1,234 of 2,048 outputs are not finite; the largest before it is 3.2e+04",
        cure=INIT,
        findings=[
            finding("note", "zero-weight", "lora.b", message="(4, 64): every element is zero"),
            finding(
                "error",
                "nonfinite",
                "attention.out.weight",
                message="(64, 64): 3 elements are NaN, expected none",
                cure=only.format("attention.out.weight"),
            ),
            *(
                finding(
                    "warning",
                    path=f"layers.{at}.weight",
                    cure=only.format(f"layers.{at}.weight"),
                )
                for at in range(7)
            ),
            finding(
                "warning",
                "duplicate",
                "",
                message="two parameters hold the same bits and are not tied",
                cure="draw each with a name of its own, or tie them; cloned layers stay equal "
                "for as long as their gradients are",
            ),
        ],
        notes=["the loss was a random cotangent: pass loss= and target= to measure yours"],
    )


def deep():
    """Return a long stack in which the signal dies: rows that fold, sparklines, an inner break."""
    ops = [
        op(
            at,
            f"blocks.{at // 2}.{'up' if at % 2 == 0 else 'down'}",
            rms=10 ** (-at / 20),
            gradient_rms=10 ** ((at - 60) / 6),
            activation="relu" if at % 2 == 0 else "",
            saturation=0.5 if at % 2 == 0 else None,
            dead=min(at / 60, 0.9) if at % 2 == 0 else None,
            correlation=1 - 2 ** (-at / 4),
            jacobian_mean=0.4 + at / 100,
            jacobian_rms=0.5 + at / 100,
        )
        for at in range(60)
    ]
    return check(
        "vanishing",
        *ops,
        op(60, "cells.0", op="linear", shape=(8, 8), gradient_rms=0.9),
        op(61, "cells.0", op="linear", shape=(8, 8), gradient_rms=1.0),
        op(62, "head", activation="", saturation=None, dead=None, gradient_rms=1.0),
        verdicts=(Verdict.VANISHING, Verdict.COLLAPSED, Verdict.SATURATED),
        where="blocks.11.up",
        evidence="gradient RMS 4.64e-07, 1e-06 times the 1 of the last ops",
        cure="add a normalization or a skip: no initialization keeps this stack from vanishing",
    )


def mended():
    """Return one for which the recipes were tried: some mend it, one could not be drawn."""
    made = deep()
    tried = (
        Trial("auto", (0, 1, 2), Verdict.HEALTHY, "", "63 ops that hold a weight"),
        Trial("xavier", (0,), Verdict.VANISHING, "blocks.9.up", "output RMS 1e-05"),
        Trial("lecun", (0, 1), Verdict.COLLAPSED, "blocks.20.up", "mean cosine 0.999999"),
        Trial("gpt2", (), None, "", "the function's power is infinite"),
    )
    diff = (
        "- blocks.[0-29].up.weight (64, 64): std 0.071 to 0.0731\n"
        "+ blocks.[0-29].up.weight (64, 64): Normal(0, 0.176777)"
    )
    told = Cures(trials=tried, recipe="auto", change="", diff=diff)
    line = 'xavier.init_(model, example, recipe="auto", seed=0)'
    return replace(made, cure=f"{line}  # measured: healthy with seeds 0, 1, 2", cures=told)


def contrasted():
    """Return one held against a reference: every fate, rows that fold, and more than are shown."""
    drawn = (Change(f"layers.{at}.weight", "parameter", Fate.CHANGED, (64, 64)) for at in range(4))
    many = (Change(f"extra{at}", "tensor", Fate.ONLY_THERE, (at,)) for at in range(1, 12))
    changes = (
        *(replace(each, difference=1.4) for each in drawn),
        Change("norm.weight", "parameter", Fate.UNCHANGED, (64,), difference=0.0),
        Change("table", "buffer", Fate.ROUNDED, (8,), "float64 (8,)", 0.0),
        Change("head.weight", "parameter", Fate.RESHAPED, (5, 64), "float32 (10, 64)"),
        Change("new", "parameter", Fate.ONLY_HERE, (3,)),
        *many,
    )
    notes = ("before.safetensors has model. before its names: left out of account",)
    told = Contrast("before.safetensors", changes, (), notes)
    missed = finding("warning", "not-drawn", "norm.weight", message="(64,): equals the reference")
    return replace(healthy(), contrast=told, findings=(missed,))


def hostile():
    """Return one whose every word tries to break out of its place."""
    return check(
        "asymmetric",
        *(op(at, each or "x", op=each, activation=each) for at, each in enumerate(HOSTILE)),
        where=HOSTILE[0],
        evidence=HOSTILE[1],
        cure=HOSTILE[2],
        findings=[finding(code=each, path=each, message=each, cure=each) for each in HOSTILE],
        notes=HOSTILE,
        cures=Cures(
            trials=tuple(Trial(each, (0,), Verdict.DEAD, each, each) for each in HOSTILE),
            recipe=HOSTILE[0],
            change=HOSTILE[1],
            diff="\n".join(f"- {text.printable(each)}" for each in HOSTILE),
        ),
        contrast=Contrast(
            reference=HOSTILE[0],
            changes=tuple(Change(each, "tensor", Fate.CHANGED, (1,), each) for each in HOSTILE),
            findings=(),
            notes=HOSTILE,
        ),
    )


def bare():
    """Return one of a model in which nothing was measured."""
    return check("healthy", evidence="0 ops that hold a weight")


def predicted():
    """Return one that the theory has something to say of: two stacks, an op where they part."""
    bands = [
        Band(10 ** (-at / 8), 10 ** (-at / 8) / (1.2 + at / 10), 2 * 10 ** (-at / 8))
        for at in range(6)
    ]
    expected = [
        OpPrediction(at, band, band if at else None, band, None, ("pool",) if at == 3 else ())
        for at, band in enumerate(bands)
    ]
    lost = Reaches(Reach(0.25, 0.0), Reach(0.0, 0.0))
    theory = Theory(
        ops=tuple(expected),
        departs=4,
        summary="theory and measurement part at layers.4",
        evidence="its output has RMS 3, where its weights and the ops right before it predict "
        "0.316, and chance gives 0.198 to 0.632",
        stacks=(
            PlainStack(1, 3, 3, "tanh", 0.9, 0.05, 0.012, 0.79, 4.2, 1.1),
            PlainStack(4, 6, 3, "relu", 2**0.5, 0.0, math.inf, 1.0, math.inf, 2**0.5),
        ),
    )
    weight = WeightSignal(
        "layers.0.weight", (64, 64), 0.125, 0.125, 0.002, 0.016, 0.0, 8.0, 0.01, lost
    )
    made = check(
        "healthy",
        *(op(at, rms=3.0 if at > 3 else bands[at].rms * 1.1, range=lost) for at in range(6)),
        op(6, "head", rms=0.5, gradient_rms=0.1, activation=""),
        evidence="7 ops that hold a weight",
        findings=[finding("note", "off-theory", "layers.4", message=theory.evidence)],
        theory=theory,
    )
    return replace(made, signal=replace(made.signal, weights=(weight,)))


EVERY = {
    made.__name__: made
    for made in (healthy, broken, deep, mended, contrasted, hostile, bare, predicted)
}
VERDICTS = [
    check(
        verdict.value,
        op(0),
        op(1),
        where="" if verdict is Verdict.HEALTHY else "layers.1",
        evidence=f"what shows that it is {verdict.value}",
        cure="" if verdict is Verdict.HEALTHY else INIT,
    )
    for verdict in Verdict
]
