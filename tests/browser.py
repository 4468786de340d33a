"""A real browser for tests: Debian's chromium, driven by playwright. Without one tests skip, or fail under RECAP_BROWSER=1."""

import contextlib
import os
import shutil

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


def _missing(why):
    if os.environ.get("RECAP_BROWSER") == "1":
        pytest.fail(f"RECAP_BROWSER=1, but {why}")
    pytest.skip(why)


@contextlib.contextmanager
def browser():
    """Start a browser that may not leave this machine; yields what opens pages."""
    where = next(filter(None, map(shutil.which, NAMES)), None)
    if where is None:
        _missing("there is no chromium (apt-get install chromium)")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright is not installed (pip install playwright)")
    with sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=where, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


class Seen:
    """A page opened from disk, with all that it said and asked for.

    Args:
        found: The browser.
        path: The page's file.
        how: Of playwright's contexts: viewport, color_scheme, java_script_enabled.
    """

    def __init__(self, found, path, **how):
        self.context = found.new_context(**how)
        self.page = self.context.new_page()
        self.errors, self.asked = [], []
        self.page.on("console", lambda line: self.errors.append(line.text) if line.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.context.close()

    @property
    def elsewhere(self):
        """Addresses asked for that are not files and not in the page."""
        return [url for url in self.asked if not url.startswith(("file:", "data:"))]
