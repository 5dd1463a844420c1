"""A check as one HTML file: no request leaves it, and it can be read without a script."""

from xavier.report.page.writing import html, write_html

__all__ = ["html", "write_html"]
