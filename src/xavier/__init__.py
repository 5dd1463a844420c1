"""Plan, draw and check the initial weights of a neural network.

    plan    which law each weight should have, worked out from how the weight is used
    init_   draw a model's weights by that plan, in place
    check   audit the weights, measure the signal both ways, and give a verdict
    Monitor sample the same signal while the model trains
    try_cures           draw an unhealthy model by each recipe, to find the one that mends it
    contrast            tell what changed since a reference, and what should not have
    write_checkpoint    draw a model larger than memory into safetensors files

and beneath them `gain`, `fans`, `laws`, `rules`, and the stream of bits: `Key`, `fill`, `draw`.

Importing this package imports no framework. Every name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xavier import bits, fans, laws, monitoring, report, rules, theory
    from xavier._errors import (
        ActivationError,
        DtypeError,
        FaultWarning,
        LawError,
        MissingFrameworkError,
        MonitorWarning,
        PlanError,
        ShapeError,
        StreamError,
        TargetError,
        TraceError,
        UnknownNameError,
        WriteError,
        XavierError,
        XavierWarning,
    )
    from xavier._types.contrast import Change, Contrast, Fate
    from xavier._types.cures import Cures, Trial
    from xavier._types.plan import Assignment, Kept, Plan, Region, Role
    from xavier._types.sample import Sample
    from xavier._types.signal import Check, Finding, Severity, Signal, Verdict
    from xavier.bits import Key, draw, fill
    from xavier.checking import check
    from xavier.checking.contrasting import contrast
    from xavier.checking.trying import try_cures
    from xavier.laws import (
        Constant,
        DeltaOrthogonal,
        Dirac,
        Identity,
        Law,
        Normal,
        Orthogonal,
        Sparse,
        TruncatedNormal,
        Uniform,
    )
    from xavier.monitoring import Monitor
    from xavier.planning import init_, plan, write_checkpoint
    from xavier.theory.gains import gain

    __version__: str

__all__ = [
    "ActivationError",
    "Assignment",
    "Change",
    "Check",
    "Constant",
    "Contrast",
    "Cures",
    "DeltaOrthogonal",
    "Dirac",
    "DtypeError",
    "Fate",
    "FaultWarning",
    "Finding",
    "Identity",
    "Kept",
    "Key",
    "Law",
    "LawError",
    "MissingFrameworkError",
    "Monitor",
    "MonitorWarning",
    "Normal",
    "Orthogonal",
    "Plan",
    "PlanError",
    "Region",
    "Role",
    "Sample",
    "Severity",
    "ShapeError",
    "Signal",
    "Sparse",
    "StreamError",
    "TargetError",
    "TraceError",
    "Trial",
    "TruncatedNormal",
    "Uniform",
    "UnknownNameError",
    "Verdict",
    "WriteError",
    "XavierError",
    "XavierWarning",
    "bits",
    "check",
    "contrast",
    "draw",
    "fans",
    "fill",
    "gain",
    "init_",
    "laws",
    "monitoring",
    "plan",
    "report",
    "rules",
    "theory",
    "try_cures",
    "write_checkpoint",
]

_MODULES = frozenset({"bits", "fans", "laws", "monitoring", "report", "rules", "theory"})
_HOMES = {
    "xavier._errors": (
        "ActivationError",
        "DtypeError",
        "FaultWarning",
        "LawError",
        "MissingFrameworkError",
        "MonitorWarning",
        "PlanError",
        "ShapeError",
        "StreamError",
        "TargetError",
        "TraceError",
        "UnknownNameError",
        "WriteError",
        "XavierError",
        "XavierWarning",
    ),
    "xavier._types.contrast": ("Change", "Contrast", "Fate"),
    "xavier._types.cures": ("Cures", "Trial"),
    "xavier._types.plan": ("Assignment", "Kept", "Plan", "Region", "Role"),
    "xavier._types.sample": ("Sample",),
    "xavier._types.signal": ("Check", "Finding", "Severity", "Signal", "Verdict"),
    "xavier.bits": ("Key", "draw", "fill"),
    "xavier.checking": ("check",),
    "xavier.checking.contrasting": ("contrast",),
    "xavier.checking.trying": ("try_cures",),
    "xavier.laws": (
        "Constant",
        "DeltaOrthogonal",
        "Dirac",
        "Identity",
        "Law",
        "Normal",
        "Orthogonal",
        "Sparse",
        "TruncatedNormal",
        "Uniform",
    ),
    "xavier.monitoring": ("Monitor",),
    "xavier.planning": ("init_", "plan", "write_checkpoint"),
    "xavier.theory.gains": ("gain",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load a public name on its first use, and keep it."""
    if name in _MODULES:
        value = import_module(f"xavier.{name}")
    elif name in _HOME_OF:
        value = getattr(import_module(_HOME_OF[name]), name)
    elif name == "__version__":
        value = import_module("xavier._types.codec").package_version()
    else:
        raise AttributeError(f"module 'xavier' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
