"""Reports: nouns in, text out. Nothing here measures or decides anything."""

from xavier.report.terminal import render_check, render_plan

__all__ = ["render_check", "render_plan"]
