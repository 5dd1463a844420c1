"""Watch a network while it trains: every so many steps, the signal of the step itself."""

from __future__ import annotations

from xavier.monitoring.files import read
from xavier.monitoring.monitor import Monitor

__all__ = ["Monitor", "read"]
