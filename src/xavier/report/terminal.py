"""The terminal reports: text, tables and small plots, as wide as the console."""

from xavier.report.checks import render_check
from xavier.report.plans import render_plan

__all__ = ["render_check", "render_plan"]
