"""The browser of the system, without a window, with a record of what it requests and complains about."""

import contextlib
import shutil
from urllib.parse import urlsplit

import pytest

FOUND = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
in_browser = pytest.mark.skipif(FOUND is None, reason="Chromium is not installed: apt-get install chromium")
FLAGS = (
    "--no-sandbox",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--mute-audio",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)


@contextlib.contextmanager
def launched(microphone=None):
    """Run the browser; what its microphone records comes from a WAV file."""
    sync_api = pytest.importorskip("playwright.sync_api")
    flags = [*FLAGS, *([] if microphone is None else [f"--use-file-for-fake-audio-capture={microphone}"])]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=FOUND, args=flags)
        yield browser
        browser.close()


class Opened:
    """A page of a server."""

    def __init__(self, page, url):
        self.page, self.url, self.requested, self.problems = page, url, [], []
        page.set_default_timeout(20_000)
        page.on("request", lambda request: self.requested.append(request.url))
        page.on("websocket", lambda socket: self.requested.append(socket.url))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda message: message.type == "error" and self.problems.append(message.text))

    def foreign(self):
        """Return the requests that lead to another host."""
        ours, inside = urlsplit(self.url).netloc, ("blob", "data")
        parts = [(one, urlsplit(one)) for one in self.requested]
        return [one for one, at in parts if at.scheme not in inside and at.netloc != ours]


@contextlib.contextmanager
def opened(browser, server, *, size=(1280, 900), dark=False, fragment=""):
    """Open the page of a server in a browser that knows nothing of earlier visits."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if dark else "light",
        accept_downloads=True,
        permissions=["microphone"],
    )
    found = Opened(context.new_page(), server.url)
    found.page.goto(f"{server.url}/{fragment}")
    found.page.locator("h1").first.wait_for()
    yield found
    context.close()
