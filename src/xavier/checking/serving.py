"""Which framework serves a model: the one that the model's use has loaded."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from xavier._errors import MissingFrameworkError, TraceError, a


def file_for(model: Any, file: str) -> Any:
    """Return a module of the folder of the framework that serves a model.

    Args:
        model: The model.
        file: The module's name; it is the same in each framework's folder.

    Raises:
        MissingFrameworkError: If no framework is loaded.
        TraceError: If it is no model of one that is.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        return importlib.import_module(f"xavier.frameworks.torch.{file}")
    if torch is None:
        raise MissingFrameworkError("torch", extra="torch")
    raise TraceError(
        f"{a(type(model).__name__)} was given, expected a torch.nn.Module",
        hint="pass the model itself, not its class or its state dict",
    )
