"""Calling a user's function on an array, and telling what is wrong with what it returns."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xavier._errors import ActivationError

Array = NDArray[np.float64]
Marks = NDArray[np.bool_]
Function = Callable[[Array], Any]


def called(function: Callable[..., Any], *arguments: Array) -> Array:
    """Return a function's values on one-dimensional arrays of one shape, as a new array.

    The function gets copies, so that it may work in place.

    Raises:
        ActivationError: If it does not return real numbers, one for each or one for all.
    """
    found = _answer(function, arguments)
    try:
        values = np.asarray(found)
        if values.dtype.kind not in "buifO" or found is None:
            raise TypeError
        values = values.astype(np.float64)
    except (TypeError, ValueError):
        kind = getattr(found, "dtype", type(found).__name__)
        raise ActivationError(f"the function returns {kind}, expected real numbers") from None
    shape = np.shape(arguments[0])
    if values.shape != shape and values.size != 1:
        raise ActivationError(
            f"the function returns the shape {values.shape} for an argument of shape {shape}, "
            "expected the same shape or one number"
        )
    return np.array(np.broadcast_to(values.reshape(shape if values.size != 1 else ()), shape))


def _answer(function: Callable[..., Any], arguments: tuple[Array, ...]) -> Any:
    try:
        with np.errstate(all="ignore"):
            return function(*(argument.copy() for argument in arguments))
    except TypeError as error:
        if "Tensor" not in str(error):
            raise
        name = getattr(function, "__name__", "f")
        raise ActivationError(
            f"{name} takes tensors, expected a function of a numpy array",
            hint=f"lambda x: {name}(torch.from_numpy(x)).numpy()",
        ) from error


class Recorded:
    """A function that keeps what it was asked, and a digest of what it answered.

    Args:
        function: What to call.
    """

    def __init__(self, function: Function) -> None:
        self._function = function
        self._digest = hashlib.blake2b(digest_size=16)
        self._asked: list[Array] = []

    def __call__(self, x: Array) -> Array:
        """Return the function's values."""
        values = called(self._function, x)
        self._digest.update(values.tobytes())
        self._asked.append(x.copy())
        return values

    def asked(self) -> Array:
        """Return all arguments so far, in order."""
        return np.concatenate(self._asked)

    def digest(self) -> bytes:
        """Return the digest of all values so far, in order."""
        return self._digest.digest()
