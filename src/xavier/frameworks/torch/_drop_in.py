"""The twins in the place of `torch.nn.init`'s functions, for code that is not ours to change."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Any, Final

import numpy as np
import torch

from xavier.frameworks.torch import twins
from xavier.frameworks.torch._fit import DTYPES
from xavier.frameworks.torch.write import default_seed

_DRAWING: Final = (
    "uniform_", "normal_", "trunc_normal_", "xavier_uniform_", "xavier_normal_",
    "kaiming_uniform_", "kaiming_normal_", "orthogonal_", "sparse_",
)  # fmt: skip
_PLAIN: Final = (torch.Tensor, torch.nn.Parameter)
_within: ContextVar[bool] = ContextVar("xavier_drop_in", default=False)


@contextmanager
def drop_in(prefix: str = "", *, seed: int | None = None) -> Iterator[None]:
    """Let code that calls `torch.nn.init` draw by this package's kernel.

    Within, `torch.nn.init.normal_` and the others that draw are the twins of this module, for
    the tensors that these are fast at: on the CPU or on the meta device, of dtype float64,
    float32, bfloat16 or float16, and of no class of their own. All else is left to torch. The
    distributions are torch's, the bits are others; they follow from the seed and the order of
    the draws, as in `scope`.

    Other holders of these functions get the twins too: the globals of every module that is
    loaded, and the dicts among them (so `from torch.nn.init import normal_` and transformers'
    table are reached; a default argument, or an object's attribute, is not). Other threads, and
    other contexts, keep torch's.

    Args:
        prefix: As for `scope`.
        seed: The seed within; None to draw one from torch's default generator, so that
            `torch.manual_seed` makes the weights repeatable as before.

    Yields:
        Nothing.

    Raises:
        StreamError: If the prefix is no text, or the seed no 64-bit integer.

    Example:
        >>> import torch
        >>> import xavier.torch
        >>> with xavier.torch.drop_in(seed=0):
        ...     one = torch.nn.Linear(64, 64)
        >>> with xavier.torch.drop_in(seed=0):
        ...     two = torch.nn.Linear(64, 64)
        >>> torch.equal(one.weight, two.weight)
        True
    """
    with twins.scope(prefix, seed=default_seed() if seed is None else seed), _STAND_INS:
        token = _within.set(True)
        try:
            yield
        finally:
            _within.reset(token)


class _StandIns:
    """The functions that stand in for torch's, put in place while any block is open."""

    def __init__(self, originals: Mapping[str, Callable[..., Any]]) -> None:
        pairs = [(each, _stand_in(each, getattr(twins, name))) for name, each in originals.items()]
        self._stand_ins = {id(original): made for original, made in pairs}
        self._originals = {id(made): original for original, made in pairs}
        self._blocks, self._lock = 0, Lock()

    def __enter__(self) -> None:
        with self._lock:
            if self._blocks == 0:
                _exchange(self._stand_ins)
            self._blocks += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._blocks -= 1
            if self._blocks == 0:
                _exchange(self._originals)  # also in modules that were loaded in the meantime


def _stand_in(original: Callable[..., Any], twin: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def drawing(*args: Any, **kwargs: Any) -> Any:
        tensor = args[0] if args else kwargs.get("tensor")
        if not _within.get() or not _is_ours(tensor):
            return original(*args, **kwargs)
        numbers = {name: _number(each) for name, each in kwargs.items() if name != "tensor"}
        return twin(tensor, *map(_number, args[1:]), **numbers)

    return drawing


def _number(argument: Any) -> Any:
    """Return a number of NumPy's or in a tensor, which torch takes, as one of Python's."""
    is_scalar = isinstance(argument, np.generic | torch.Tensor) and argument.ndim == 0
    return argument.item() if is_scalar else argument


def _is_ours(tensor: object) -> bool:
    return (
        type(tensor) in _PLAIN
        and isinstance(tensor, torch.Tensor)
        and tensor.dtype in DTYPES
        and tensor.device.type in {"cpu", "meta"}
    )


def _exchange(substitutes: Mapping[int, Callable[..., Any]]) -> None:
    """Replace functions, by their identity, in the globals of every module."""
    for module in tuple(sys.modules.values()):
        held = getattr(module, "__dict__", None)
        if type(held) is not dict:
            continue
        for each in (held, *(part for part in tuple(held.values()) if type(part) is dict)):
            for key, value in tuple(each.items()):
                if id(value) in substitutes:
                    each[key] = substitutes[id(value)]


_STAND_INS: Final = _StandIns({name: getattr(torch.nn.init, name) for name in _DRAWING})
