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
"""

from __future__ import annotations

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
