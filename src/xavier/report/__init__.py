"""Reports: text, tables and small plots in the terminal, and a check as one HTML file."""

from xavier.report.checks import render_check
from xavier.report.page import html, write_html
from xavier.report.plans import render_plan

__all__ = ["html", "render_check", "render_plan", "write_html"]
