"""This process's memory, from the system's account of it."""

from __future__ import annotations

from pathlib import Path


def resident() -> int:
    """Return the bytes that the process holds."""
    return _field("VmRSS")


def peak() -> int:
    """Return the most bytes that it has held, since `forget_peak` if that was called."""
    return _field("VmHWM")


def forget_peak() -> None:
    """Count the peak from here on."""
    Path("/proc/self/clear_refs").write_text("5")


def _field(name: str) -> int:
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024
