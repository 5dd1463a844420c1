"""A browser for tests of pages: Debian's chromium, driven by playwright, which reaches nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)


def missing(why: str) -> None:
    """Skip what needs a browser; on CI, which has one, fail."""
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


@contextmanager
def started() -> Iterator[object]:
    """Start a browser, or skip the test and say why."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        missing("no chromium on this machine: apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed: pip install 'xavier-init[test]'")
    alone = ("--no-sandbox",) if hasattr(os, "geteuid") and os.geteuid() == 0 else ()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*OPTIONS, *alone])
        yield browser
        browser.close()


class Visit:
    """A page opened from a file, with all that it complains of and asks for."""

    def __init__(self, browser, file: Path, *, width: int = 1280, scheme: str = "light", **more):
        self.troubles: list[str] = []
        self.requests: list[str] = []
        size = {"width": width, "height": 900}
        self.context = browser.new_context(viewport=size, color_scheme=scheme, **more)
        self.context.route("**/*", self._answer)
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.troubles.append(message.text))
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("dialog", lambda dialog: self.troubles.append(dialog.message))
        self._own = file.as_uri()
        self.page.goto(self._own)

    def _answer(self, route) -> None:
        if route.request.url == self._own:
            route.continue_()
        else:
            self.requests.append(route.request.url)
            route.abort()
