"""What a result was measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from xavier.bits import _kernel


def machine() -> dict[str, Any]:
    """Return the processor, its instruction sets and cores, what else ran, and the versions."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load before": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "instruction sets": list(_kernel.runnable()),
        "drawn with": _kernel.instruction_set(),
        **{name: _version(name) for name in ("xavier-init", "torch", "numpy", "jax")},
    }


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    if not listing.exists():
        return platform.processor()
    fields = dict(
        [part.strip() for part in line.split(":", 1)]
        for line in listing.read_text().split("\n\n")[0].splitlines()
        if ":" in line
    )
    family, model = fields.get("cpu family", "?"), fields.get("model", "?")
    return f"{fields.get('model name', 'unknown')} (family {family}, model {model})"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
