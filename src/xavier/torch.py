"""For PyTorch: twins of `torch.nn.init`, with bits that follow from a seed and a name.

    >>> import torch
    >>> import xavier.torch
    >>> weight = xavier.torch.xavier_uniform_(torch.empty(4, 8), name="weight", seed=0)
    >>> again = xavier.torch.xavier_uniform_(torch.empty(4, 8), name="weight", seed=0)
    >>> torch.equal(weight, again)
    True

Every function of `torch.nn.init` is here under its name, so that `from xavier import torch as
init` may stand for `from torch.nn import init`; those that draw nothing (`constant_`, `ones_`,
`zeros_`, `eye_`, `dirac_`, `calculate_gain`) are torch's own. `scope` names the draws that are
given no name, and within `drop_in` code that calls `torch.nn.init` calls these instead.

`LightningMonitor` and `TrainerMonitor` make a `xavier.Monitor` a callback; the library that each is
for is imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from xavier._errors import MissingFrameworkError

try:
    from xavier.frameworks.torch._drop_in import drop_in
    from xavier.frameworks.torch.twins import (
        calculate_gain,
        constant_,
        dirac_,
        eye_,
        kaiming_normal_,
        kaiming_uniform_,
        normal_,
        ones_,
        orthogonal_,
        scope,
        sparse_,
        trunc_normal_,
        uniform_,
        xavier_normal_,
        xavier_uniform_,
        zeros_,
    )
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise MissingFrameworkError("torch", extra="torch") from error

__all__ = [
    "calculate_gain",
    "constant_",
    "dirac_",
    "drop_in",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "scope",
    "sparse_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

_CALLBACKS = {
    "LightningMonitor": ("lightning_monitor", "lightning"),
    "TrainerMonitor": ("trainer_monitor", "transformers"),
}


def __getattr__(name: str) -> Any:
    """Load a callback, and the library that it is for, when it is first asked for."""
    if name not in _CALLBACKS:
        raise AttributeError(f"module 'xavier.torch' has no attribute {name!r}")
    file, package = _CALLBACKS[name]
    try:
        value = getattr(import_module(f"xavier.frameworks.torch.{file}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {package, f"pytorch_{package}"}:
            raise
        raise MissingFrameworkError(package) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *_CALLBACKS})
