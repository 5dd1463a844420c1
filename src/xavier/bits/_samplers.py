"""What an elementwise law makes of the words of a block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

import xavier.bits._functions32 as functions_32
import xavier.bits._functions64 as functions_64
from xavier._errors import LawError
from xavier._types.laws import Constant, Law, Normal, Sparse, TruncatedNormal, Uniform
from xavier.bits._truncation import truncation
from xavier.bits._words import (
    MASK,
    VALUES_32,
    VALUES_64,
    Blocks,
    KeyWords,
    in_order,
    words_32,
    words_64,
)

Values = NDArray[Any]
_REACH = 10.0  # standard deviations; no draw lies farther out


@dataclass(frozen=True, slots=True)
class Sampler:
    """A law in one precision.

    Attributes:
        kind: What the compiled kernel calls its loop.
        numbers: What that loop takes: the law's numbers, rounded to the precision.
        draw: The function from (key words, block numbers) to the values, (blocks, 64); the
            definition of what the loop computes.
    """

    kind: str
    numbers: tuple[float, ...]
    draw: Callable[[KeyWords, Blocks], Values]


@dataclass(frozen=True, slots=True)
class Precision:
    """The arithmetic of one of the two streams of values.

    Attributes:
        real: numpy.float32 or numpy.float64.
        math: The module with `radius`, `cosine_sine` and `truncated`.
        words: The map from blocks to random words of this stream.
        spare: The bits of a word that a number in [0, 1) does not use.
    """

    real: type[Any]
    math: ModuleType
    words: Callable[[KeyWords, Blocks], Values]
    spare: int


SINGLE = Precision(np.float32, functions_32, lambda key, b: words_32(key, VALUES_32, b), 8)
DOUBLE = Precision(np.float64, functions_64, lambda key, b: words_64(key, VALUES_64, b), 11)


def sampler(law: Law, precision: Precision) -> Sampler:
    """Return the sampler of an elementwise law.

    Raises:
        LawError: If the law is not elementwise, or its values do not fit the precision.
    """
    make = _MAKERS.get(type(law))
    if make is None:
        if not isinstance(law, Law) or law.elementwise:
            raise LawError(f"{law!r} is no law that can be drawn, expected one of xavier's")
        raise LawError(
            f"{law!r} needs its whole matrix, expected an elementwise law",
            hint="draw it with xavier.draw, which takes the whole shape",
        )
    return make(law, precision)


def _uniform(law: Uniform, precision: Precision) -> Sampler:
    real = precision.real
    low, width = _number(law, law.low, real), _number(law, law.high - law.low, real)
    if law.low == law.high:
        return _filled(low)
    top = _number(law, law.high, real)
    if float(low) < law.low:
        low = np.nextafter(low, real(np.inf))
    if float(top) >= law.high:
        top = np.nextafter(top, real(-np.inf))
    if top < low:  # no number of this precision lies in the interval
        return _filled(_number(law, law.low, real))
    unit = real(2.0 ** (precision.spare - 8 * real().itemsize))

    def draw(key: KeyWords, blocks: Blocks) -> Values:
        words = precision.words(key, blocks)
        values = (words >> words.dtype.type(precision.spare)).astype(real)
        values *= unit
        values *= width
        values += low
        np.minimum(values, top, out=values)
        return in_order(values)

    return Sampler("uniform", (float(low), float(width), float(top)), draw)


def _normal(law: Normal, precision: Precision) -> Sampler:
    mean, std = _scale(law, law.mean, law.std, precision.real)

    def draw(key: KeyWords, blocks: Blocks) -> Values:
        return in_order(mean + std * _standard_normal(precision, precision.words(key, blocks)))

    return Sampler("normal", (float(mean), float(std)), draw)


def _standard_normal(precision: Precision, words: Values) -> Values:
    """Return normal pairs: of each two groups the first gives the radius, the second the angle.

    Reference:
        Box and Muller, "A Note on the Generation of Random Normal Deviates", 1958.
    """
    radius = precision.math.radius(words[0::2])
    cosine, sine = precision.math.cosine_sine(words[1::2])
    values = np.empty(words.shape, precision.real)
    np.multiply(radius, cosine, out=values[0::2])
    np.multiply(radius, sine, out=values[1::2])
    return values


def _truncated(law: TruncatedNormal, precision: Precision) -> Sampler:
    real = precision.real
    cut = truncation(law.cut)
    if law.std == 0:
        return _filled(_number(law, law.mean, real))
    parent = law.std / cut.std
    reach = min(law.cut, _REACH) * parent
    mean, std = _number(law, law.mean, real), _number(law, parent, real)
    _number(law, abs(law.mean) + reach, real)
    inside, half_outside, limit = real(cut.inside), real(cut.half_outside), real(law.cut)

    def draw(key: KeyWords, blocks: Blocks) -> Values:
        z = precision.math.truncated(precision.words(key, blocks), inside, half_outside)
        np.clip(z, -limit, limit, out=z)
        return in_order(mean + std * z)

    numbers = (mean, std, inside, half_outside, limit)
    return Sampler("truncated", tuple(float(number) for number in numbers), draw)


def _sparse(law: Sparse, precision: Precision) -> Sampler:
    threshold = round(law.sparsity * 2**32)
    dense = _normal(Normal(0.0, law.std), precision)
    if threshold == 2**32:
        return _filled(precision.real(0))

    def draw(key: KeyWords, blocks: Blocks) -> Values:
        values = dense.draw(key, blocks)
        values[in_order(words_32(key, MASK, blocks)) < np.uint32(threshold)] = 0
        return values

    return Sampler("sparse", (*dense.numbers, threshold), draw)


def _constant(law: Constant, precision: Precision) -> Sampler:
    return _filled(_number(law, law.value, precision.real))


def _filled(value: Any) -> Sampler:
    return Sampler("filled", (float(value),), lambda key, blocks: np.full((len(blocks), 64), value))


def raw_words(precision: Precision) -> Sampler:
    """Return the sampler of a precision's words themselves, as unsigned integers."""
    stream = VALUES_64 if precision is DOUBLE else VALUES_32
    return Sampler("words", (stream,), lambda key, blocks: in_order(precision.words(key, blocks)))


def _scale(law: Law, mean: float, std: float, real: type[Any]) -> tuple[Any, Any]:
    _number(law, abs(mean) + _REACH * std, real)
    return _number(law, mean, real), _number(law, std, real)


def _number(law: Law, value: float, real: type[Any]) -> Any:
    """Round a number to the working precision.

    Raises:
        LawError: If it is too large for it.
    """
    rounded = real(value)
    if not np.isfinite(rounded):
        raise LawError(f"{law!r} reaches beyond the range of {real.__name__}")
    return rounded


_MAKERS: dict[type[Law], Callable[[Any, Precision], Sampler]] = {
    Uniform: _uniform,
    Normal: _normal,
    TruncatedNormal: _truncated,
    Sparse: _sparse,
    Constant: _constant,
}
