"""Refuse requests that are too large or too slow, while they come in."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sori.serve.limits import Limits
from sori.serve.problems import Problem, ending

_DRAIN_SECONDS = 1.0
"""How long a refused client is still read from, because many read the answer only when they have sent everything."""


class _RefusedError(Exception):
    """Ends the application's reading of a request that has been refused."""


@final
class BodyLimits:
    """Limits the size and the duration of requests.

    A request that announces a larger size is refused before it is read, one that does not is refused when it becomes
    too large. A client that sends nothing for a while, or very slowly, is given up.

    Args:
        app: application behind it.
        limits: of the server.
        is_upload: whether a path takes recordings.
    """

    def __init__(self, app: ASGIApp, limits: Limits, is_upload: Callable[[str], bool]) -> None:
        self.app, self.limits, self.is_upload = app, limits, is_upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_upload, limits = self.is_upload(scope["path"]), self.limits
        most = limits.upload_bytes + limits.form_bytes if is_upload else limits.body_bytes
        await _Request(self.app, limits, most, scope, receive, send).answer()


class _Request:
    """One request while it is being received."""

    def __init__(self, app: ASGIApp, limits: Limits, most: int, scope: Scope, receive: Receive, send: Send) -> None:
        self.app, self.limits, self.most = app, limits, most
        self.scope, self.inner_receive, self.inner_send = scope, receive, send
        self.headers = Headers(scope=scope)
        self.num_bytes, self.begun = 0, time.monotonic()
        self.is_whole = not ("transfer-encoding" in self.headers or self.headers.get("content-length", "0") != "0")
        self.has_answer = self.is_refused = False

    async def answer(self) -> None:
        """Pass the request on, unless it is too large already."""
        declared = self.headers.get("content-length", "0")
        if not declared.isascii() or not declared.isdigit():
            await self._refuse(Problem(400, f"expected a number of bytes as Content-Length, got {declared[:50]!r}"))
            return
        if int(declared) > self.most:
            await self._refuse(self._too_large(f"{int(declared):,}"))
            return
        try:
            await self.app(self.scope, self._receive, self._send)
        except _RefusedError:
            return
        except asyncio.CancelledError:  # the server ends, and has waited
            self.is_whole = True  # nothing more is read
            await self._refuse(ending())

    async def _receive(self) -> Message:
        if self.is_whole:
            return await self.inner_receive()
        try:
            message = await asyncio.wait_for(self.inner_receive(), self.limits.idle_seconds)
        except TimeoutError:
            return await self._stop(Problem(408, f"nothing was received for {self.limits.idle_seconds:g} s"))
        if message["type"] == "http.request":
            self.num_bytes += len(message.get("body", b""))
            self.is_whole = not message.get("more_body", False)
            if self.num_bytes > self.most:
                return await self._stop(self._too_large("more"))
            late = time.monotonic() - self.begun - 2 * self.limits.idle_seconds
            if not self.is_whole and self.num_bytes < late * self.limits.bytes_per_second:
                least = self.limits.bytes_per_second
                return await self._stop(Problem(408, f"expected at least {least:,} bytes per second, got fewer"))
        return message

    async def _stop(self, problem: Problem) -> Message:
        await self._refuse(problem)
        raise _RefusedError

    async def _send(self, message: Message) -> None:
        if self.is_refused:
            return
        self.has_answer = True
        if self.is_whole:
            await self.inner_send(message)
        elif message["type"] == "http.response.start":  # an answer before all of the request was received
            MutableHeaders(scope=message)["Connection"] = "close"
            await self.inner_send(message)
        elif message.get("more_body", False):
            await self.inner_send(message)
        else:
            await self._finish(message)

    def _too_large(self, got: str) -> Problem:
        return Problem(
            413,
            f"expected at most {self.most:,} bytes, got {got}; likely a film, or uncompressed sound of many hours: "
            "send it as flac or mp3, or use `sori transcribe`, which takes any size",
            code="too_large",
        )

    async def _refuse(self, problem: Problem) -> None:
        """Answer at once, and end the connection."""
        self.is_refused = True
        if self.has_answer:
            return
        response = problem.response()
        response.headers["Connection"] = "close"
        start = {"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers}
        await self.inner_send(start)
        await self._finish({"type": "http.response.body", "body": bytes(response.body)})

    async def _finish(self, message: Message) -> None:
        """Send the last part of an answer, read on for a moment, and end the request."""
        await self.inner_send({**message, "more_body": True})
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._drain(), _DRAIN_SECONDS)
        await self.inner_send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _drain(self) -> None:
        while not self.is_whole:
            message = await self.inner_receive()
            self.is_whole = message["type"] != "http.request" or not message.get("more_body", False)
