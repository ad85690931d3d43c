"""Debian's Chromium for tests of pages; they skip, saying so, where it or Playwright is not there."""

import shutil
from contextlib import contextmanager

import pytest

ARGUMENTS = (
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
)  # fmt: skip


@contextmanager
def chromium():
    """`launch(*arguments)` of headless Chromium, with further arguments or without; all are closed at the end."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        yield lambda *more: playwright.chromium.launch(executable_path=path, args=[*ARGUMENTS, *more])


class Visit:
    """A page opened from disk, with what it said and asked for. Close with `close`, which checks that it was quiet."""

    def __init__(self, browser, path, **context):
        self.problems, self.requests = [], []
        self._context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, "offline": True, **context})
        self.page = self._context.new_page()
        self.page.on("console", lambda message: self.problems.append(message.text) if message.type != "log" else None)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.problems.append(f"dialog {dialog.message}"), dialog.dismiss()))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.address = path.resolve().as_uri()
        self.page.goto(self.address)

    def open_photo(self, name):
        """Click on a photo's card and wait until its head is drawn, or the picture instead."""
        self.page.get_by_role("link").filter(has=self.page.get_by_role("heading", name=name, exact=True)).click()
        self.until("document.querySelector('#head')?.viewer?.texture || document.querySelector('#fallback:not([hidden])')")
        self.settle()

    def until(self, condition):
        """Wait until a JavaScript expression holds.

        It is evaluated from outside: Playwright's wait_for_function polls within the page, whose content security policy
        forbids that as soon as the condition does not hold at once.
        """
        for _ in range(1500):
            if self.page.evaluate(f"() => Boolean({condition})"):
                return
            self.page.wait_for_timeout(20)
        raise AssertionError(f"this did not become true: {condition}")

    def settle(self):
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def close(self):
        self._context.close()
        assert self.problems == []
        outside = [url for url in self.requests if not url.startswith((self.address, "data:"))]
        assert outside == []
