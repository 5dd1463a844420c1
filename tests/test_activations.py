"""Named activations: their values, how names are read, and how functions are recognized."""

from __future__ import annotations

import math
import re

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xavier._errors import ActivationError, UnknownNameError
from xavier.theory import Activation, gain, names, powers, recognize, resolve

GATES = ("bilinear", "geglu", "glu", "reglu", "swiglu")
PARAMETRIC = ("celu", "elu", "hardshrink", "leaky_relu", "prelu", "sine", "softshrink")
PLAIN = [name for name in names() if name not in (*GATES, *PARAMETRIC)]
FAR = np.concatenate([[-1e3, -40.0], np.linspace(-12, 12, 97), [40.0, 600.0]])


def test_names_are_sorted_unique_and_all_resolve():
    assert list(names()) == sorted(set(names()))
    assert set(GATES) | set(PARAMETRIC) <= set(names())
    for name in names():
        assert resolve(name).name in (name, "leaky_relu(0.01)", "prelu(0.25)")
        assert resolve(name).gate == (name in GATES)


@pytest.mark.parametrize("name", [*PLAIN, *PARAMETRIC])
def test_an_activation_maps_arrays_and_numbers_without_a_warning(name):
    function = resolve(name).function
    points = FAR[:-1] if name == "exp" else FAR
    kept = points.copy()
    values = np.asarray(function(points))
    assert values.shape == points.shape
    assert values.dtype == np.float64
    assert np.isfinite(values).all()
    assert (points == kept).all()
    assert float(function(np.float64(0.7))) == pytest.approx(float(function(np.array([0.7]))[0]))


# To all digits: the power of an activation that is nearly zero is told as well.
ACCURATE = {
    "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
    "silu": lambda x: x / (1 + mp.exp(-x)),
    "gelu": lambda x: x * mp.erfc(-x / mp.sqrt(2)) / 2,
    "softplus": lambda x: mp.log1p(mp.exp(x)),
    "log_sigmoid": lambda x: -mp.log1p(mp.exp(-x)),
    "tanhshrink": lambda x: x - mp.tanh(x),
    "mish": lambda x: x * mp.tanh(mp.log1p(mp.exp(x))),
    "elu": lambda x: x if x > 0 else mp.expm1(x),
    "quick_gelu": lambda x: x / (1 + mp.exp(-mp.mpf(1.702) * x)),
    "gelu_tanh": lambda x: x / (1 + mp.exp(-mp.sqrt(8 / mp.pi) * (x + mp.mpf(0.044715) * x**3))),
}


@pytest.mark.parametrize("name", ACCURATE)
def test_an_activation_keeps_its_digits_where_it_is_small(name):
    points = [-30.0, -9.3, -1.0, -0.999, -0.03, -1e-5, 1e-8, 1e-3, 0.2, 0.999, 1.0, 1.7, 8.0]
    with mp.workdps(40):
        expected = [float(ACCURATE[name](mp.mpf(x))) for x in points]
    # The exponential of a number y has y times its rounding: 450 of them at -30 for a Gaussian.
    assert resolve(name).function(np.array(points)) == pytest.approx(expected, rel=2e-13, abs=0)


def test_an_activation_far_in_its_tail_has_a_power():
    # E[sigmoid(h)**2] is exp(2 mean + 2 variance) but for relative exp(mean).
    found = powers(resolve("sigmoid").function, mean=-30.0)
    assert found.forward == pytest.approx(math.exp(-58), rel=1e-10)
    assert powers(resolve("tanhshrink").function, variance=1e-10).forward == pytest.approx(
        15e-30 / 9, rel=1e-9
    )


# Reading names


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("ReLU", "relu"),
        ("LeakyReLU", "leaky_relu(0.01)"),
        (" leaky_relu ( 0.2 ) ", "leaky_relu(0.2)"),
        ("leaky_relu(1/3)".replace("1/3", str(1 / 3)), "leaky_relu(0.333333)"),
        ("SiLU", "silu"),
        ("swish", "silu"),
        ("Hardtanh", "hardtanh"),
        ("hard_swish", "hardswish"),
        ("LogSigmoid", "log_sigmoid"),
        ("linear", "identity"),
        ("sin(30)", "sine(30)"),
        ("sine", "sine"),
        ("elu(1)", "elu"),
        ("elu(0.5)", "elu(0.5)"),
        ("celu(2)", "celu(2)"),
        ("prelu", "prelu(0.25)"),
        ("relu_squared", "squared_relu"),
        ("SwiGLU", "swiglu"),
    ],
)
def test_names_are_read_in_any_case_with_aliases_and_parameters(written, name):
    assert resolve(written).name == name


def test_an_activation_resolves_to_itself():
    mine = Activation("mine", np.tanh)
    assert resolve(mine) is mine
    assert resolve(resolve("tanh")) == resolve("tanh")


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("rleu", "did you mean .*relu"),
        ("leaky-relu", "did you mean .*leaky_relu"),
        ("leaky_relu(0.2", "did you mean leaky_relu"),
        ("geluu", "did you mean .*gelu"),
        ("", "known: abs, "),
        ("zzzzzz", "known: abs, "),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(written, hint):
    said = rf"unknown activation '{re.escape(written)}'\nHint: {hint}"
    with pytest.raises(UnknownNameError, match=said):
        resolve(written)


@pytest.mark.parametrize("number", ["x", "", "inf", "nan", "0.1, 0.2"])
def test_a_parameter_that_is_no_number_is_refused(number):
    said = (
        rf"the parameter of 'leaky_relu\({number}\)' is '{number}', expected a finite number\nHint"
    )
    with pytest.raises(ActivationError, match=said):
        resolve(f"leaky_relu({number})")


@pytest.mark.parametrize("written", ["tanh(3)", "swiglu(1)", "ReLU(0)"])
def test_a_parameter_of_a_name_that_takes_none_is_refused(written):
    base = written.partition("(")[0].lower()
    said = rf"has a parameter, expected '{base}', which takes none"
    with pytest.raises(ActivationError, match=said):
        resolve(written)


@pytest.mark.parametrize("written", ["celu(0)", "celu(-1)", "softshrink(-0.5)", "hardshrink(0)"])
def test_a_parameter_that_must_be_positive_is(written):
    said = rf"the parameter of '{re.escape(written)}' is .*, expected a positive number"
    with pytest.raises(ActivationError, match=said):
        resolve(written)


@pytest.mark.parametrize("thing", [None, 3.0, ["relu"]])
def test_what_is_neither_a_name_nor_a_function_is_refused(thing):
    with pytest.raises(ActivationError, match="is no activation, expected a name or a function"):
        resolve(thing)


# Recognizing functions


@pytest.mark.parametrize("name", PLAIN)
def test_a_named_function_is_recognized(name):
    function = resolve(name).function
    assert recognize(function) == name
    assert recognize(lambda x: function(x) * (1 + 1e-9)) == name


@pytest.mark.parametrize(
    "name",
    [
        *("leaky_relu(0.2)", "leaky_relu(-0.5)", "elu(0.7)", "celu(2.5)", "sine(30)", "sine"),
        "softshrink(0.3)",
    ],
)
def test_a_function_of_a_family_is_recognized_with_its_parameter(name):
    assert recognize(resolve(name).function) == name


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda x: 1 / (1 + np.exp(-x)), "sigmoid"),
        (lambda x: (np.exp(2 * x) - 1) / (np.exp(2 * x) + 1), "tanh"),
        (lambda x: np.where(x > 0, x, np.exp(x) - 1), "elu"),
        (lambda x: x * np.tanh(np.log(1 + np.exp(x))), "mish"),
        (lambda x: np.maximum(x, 0.0, out=x), "relu"),
        (lambda x: [max(each, 0.0) for each in x], "relu"),
        (lambda x: x.astype(np.float32), "identity"),
        (lambda x: np.where(x > 0, x, 0.25 * x), "leaky_relu(0.25)"),
    ],
)
def test_a_function_is_recognized_however_it_is_written(function, name):
    assert recognize(function) == name
    assert recognize(function) == name  # and it has spoilt nothing


@pytest.mark.parametrize(
    "function",
    [
        lambda x: 1.01 * np.tanh(x),
        lambda x: np.clip(x, -20, 20),
        lambda x: np.clip(x, 0, 300),
        lambda x: np.where(np.abs(x) > 0.01, x, 0),
        lambda x: np.where(x > 0, x, 0.01 * x) + 0.001,
        lambda x: 0 * x,
        lambda x: x[:3],
        lambda x: None,
        np.sqrt,
        lambda a, b: a * b,
        lambda x: {}["no"],
        lambda x: np.concatenate([x, x]),
        resolve("hardshrink").function,
    ],
)
def test_what_only_resembles_a_named_function_is_not_taken_for_it(function):
    assert recognize(function) is None


@given(st.floats(-3, 3).filter(lambda a: abs(a) > 1e-3))
@settings(max_examples=40)
def test_the_name_of_a_leaky_relu_gives_its_slope_back(slope):
    slope = float(f"{slope:.5g}")
    name = recognize(resolve(f"leaky_relu({slope!r})").function)
    special = {1.0: "identity", -1.0: "abs"}
    assert name == special.get(slope, f"leaky_relu({slope:.6g})")


def test_a_function_without_a_name_is_called_by_its_own_or_custom():
    def swing(x):
        return 1.3 * np.sin(x) + 0.1

    assert resolve(swing).name == "swing"
    assert resolve(lambda x: 1.3 * np.sin(x) + 0.1).name == "custom"
    assert resolve(lambda x: np.maximum(x, 0)).name == "relu"


def test_a_function_and_its_name_have_the_same_gain():
    assert gain(lambda x: x / (1 + np.exp(-x))) == pytest.approx(gain("silu"), rel=1e-12)


def test_a_gate_is_a_function_of_one_argument_times_another():
    a, b = np.array([-1.0, 0.5]), np.array([2.0, -3.0])
    for gate, bend in (("glu", "sigmoid"), ("swiglu", "silu"), ("bilinear", "identity")):
        assert resolve(gate).function(a, b) == pytest.approx(resolve(bend).function(a) * b)
