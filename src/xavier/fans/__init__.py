"""Fans: how many products a weight puts into an output, and an input puts into the outputs.

One definition serves every layer. `fan_in` is the number of products that are summed into
one output element; `fan_out` is the number of products that one input element enters. Both
are counted in the interior (padding is ignored) and averaged over one stride period.

With inputs of mean square 1, weights of mean 0 and variance `1 / fan_in` give outputs of
variance 1; with output gradients of mean square 1, weights of variance `1 / fan_out` give
input gradients of variance 1.

Each layer function also takes `convention="torch" | "keras" | "jax"`, which gives the
numbers that the framework's own initializers use for that layer.
"""

from __future__ import annotations

from xavier._types.fans import Fans
from xavier.fans._convolutions import conv, conv_transpose, is_uneven
from xavier.fans._frameworks import CONVENTIONS, Convention, jax_fans, keras_fans, torch_fans
from xavier.fans._layers import bilinear, dense, embedding, experts, packed, recurrent
from xavier.fans._shapes import differs, of_shape

__all__ = [
    "CONVENTIONS",
    "Convention",
    "Fans",
    "bilinear",
    "conv",
    "conv_transpose",
    "dense",
    "differs",
    "embedding",
    "experts",
    "is_uneven",
    "jax_fans",
    "keras_fans",
    "of_shape",
    "packed",
    "recurrent",
    "torch_fans",
]
