"""Finding the framework that a model belongs to, without importing any."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from xavier._errors import PlanError, a


def backend_of(model: Any) -> ModuleType:
    """Return the folder of the framework that `model` is a model of.

    Raises:
        PlanError: If it is a model of none that is supported.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        return import_module("xavier.frameworks.torch.backend")
    hint = "pass a torch.nn.Module"
    if isinstance(model, type) or callable(model):
        hint += "; this looks like a factory: call it"
    raise PlanError(f"{a(type(model).__name__)} is no model that xavier can plan", hint=hint)
