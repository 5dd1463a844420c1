"""The table of a result, with the targets of the design beside it."""

from __future__ import annotations

from typing import Any

TARGETS = {
    "uniform / torch": 8.0,
    "normal / torch": 5.0,
    "truncated / torch": 60.0,
    "uniform / bandwidth of fill_": 0.35,
    "normal / bandwidth of fill_": 0.2,
    "uniform, 1 thread to all": 1.8,
    "normal, 1 thread to all": 1.8,
    "truncated, 1 thread to all": 1.8,
    "orthogonal / torch": 2.0,
}


def text(result: dict[str, Any]) -> str:
    """Return a result as plain text."""
    lines = [f"{name}: {value}" for name, value in result["machine"].items()]
    settings = result["settings"]
    lines += ["", ", ".join(f"{name} {value}" for name, value in settings.items()), ""]
    lines.append(f"{'million elements a second':40}{'median':>10}{'spread':>10}")
    for name, row in result["rates"].items():
        lines.append(f"{name:40}{row['rate'] / 1e6:10.0f}{row['spread']:10.0%}")
    lines += ["", f"{'times as fast, or share':40}{'measured':>10}{'target':>10}"]
    for name, ratio in result["ratios"].items():
        target = TARGETS.get(name)
        verdict = "" if target is None else "reached" if ratio >= target else "missed"
        lines.append(f"{name:40}{ratio:10.2f}{'' if target is None else target:>10} {verdict}")
    lines += ["", f"{'one of N shards, times N / whole':40}{'measured':>10}{'at most':>10}"]
    for name, cost in result["shards"].items():
        lines.append(f"{name:40}{cost:10.2f}{1.1:10} {'reached' if cost <= 1.1 else 'missed'}")
    lines += ["", f"{'two samples of one law (p, least of two tests)':50}"]
    lines += [f"{name:40}{p:10.2g}" for name, p in result["agreement"].items()]
    return "\n".join(lines)
