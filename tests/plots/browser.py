"""Headless Chromium controlled over two pipes, without a library or a port."""

import base64
import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

FOUND = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
_PATIENCE_SECONDS = 120


class Browser:
    """Browser with one page and a record of its requests."""

    def __init__(self, folder: Path, *, size=(1200, 850), dark=False, options=()):
        # Chromium reads from descriptor 3 and writes to 4; our ends must not have these numbers.
        ours, theirs = ([fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in os.pipe()] for _ in range(2))
        flags = ["--headless", "--no-sandbox", "--enable-unsafe-swiftshader", "--remote-debugging-pipe", *options]
        flags += [f"--window-size={size[0]},{size[1]}", f"--user-data-dir={folder}", "--no-first-run"]
        # No host name resolves, so that any request of the page fails visibly.
        flags += ["--host-resolver-rules=MAP * ~NOTFOUND", "--autoplay-policy=no-user-gesture-required", "--mute-audio"]
        self.process = subprocess.Popen(
            ["/bin/bash", "-c", f'exec "$@" 3<&{ours[0]} 4>&{theirs[1]}', "bash", FOUND, *flags, "about:blank"],
            pass_fds=(ours[0], theirs[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(ours[0])
        os.close(theirs[1])
        self.to, self.back, self.held, self.number, self.events = ours[1], theirs[0], b"", 0, []
        self.session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            got = self._next()
            if got.get("id") == self.number:
                assert "error" not in got, got
                return got["result"]
            self.events.append(got)

    def _next(self):
        until = time.monotonic() + _PATIENCE_SECONDS
        while b"\0" not in self.held:
            more = os.read(self.back, 1 << 20)
            assert more, "Chromium ended"
            assert time.monotonic() < until
            self.held += more
        message, _, self.held = self.held.partition(b"\0")
        return json.loads(message)

    def open(self, path: Path, fragment=""):
        self.call("Page.navigate", url=path.resolve().as_uri() + fragment)
        until = time.monotonic() + _PATIENCE_SECONDS
        while not self.run("document.readyState === 'complete' && !!window.projector"):
            assert time.monotonic() < until
            assert not self.errors(), self.errors()
            time.sleep(0.1)
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def run(self, script):
        """Evaluate an expression, await it and return its value."""
        got = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in got, got["exceptionDetails"]
        return got["result"].get("value")

    def errors(self):
        return [
            event["params"]
            for event in self.events
            if event.get("method") == "Runtime.exceptionThrown"
            or (event.get("method") == "Log.entryAdded" and event["params"]["entry"]["level"] == "error")
        ]

    def requested(self):
        """Return the addresses of all requests."""
        sent = [event for event in self.events if event.get("method") == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    def click(self, x, y):
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def key(self, key):
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def touch(self, *moments):
        """Move fingers through a sequence of positions, then lift them."""
        self.call("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=2)
        for number, places in enumerate([*moments, []]):
            kind = "touchStart" if not number else "touchMove" if places else "touchEnd"
            fingers = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(places)]
            self.call("Input.dispatchTouchEvent", type=kind, touchPoints=fingers)

    def screenshot(self, path: Path):
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self):
        with contextlib.suppress(OSError):
            os.close(self.to)
            os.close(self.back)
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
