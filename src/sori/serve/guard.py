"""Refuse requests that other web sites make, or that lack the token, before anything of them is read."""

from http.cookies import CookieError, SimpleCookie
from typing import final
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sori.serve.access import Access
from sori.serve.problems import Problem

COOKIE = "sori-token"
REFUSED = 1008
"""Code with which a WebSocket is closed: policy violation."""
_OWN_SITE = ("same-origin", "none")


@final
class Guard:
    """Checks `Host`, `Origin` and token of each request.

    `Host` must name this server: otherwise the page of another site, whose name leads to this machine, could read
    answers (DNS rebinding). `Origin` must be this server: otherwise another page could make requests (CSRF). Programs
    send no `Origin`.

    Args:
        app: application behind it.
        access: names and token.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        answer = self._answer(scope, Headers(scope=scope))
        if answer is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": REFUSED, "reason": "refused"})
        else:
            await answer(scope, receive, send)

    def _answer(self, scope: Scope, headers: Headers) -> Response | None:
        """Return the refusal of a request; None: it is accepted."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self.access.accepts_host(hosts[0]):
            shown = ", ".join(hosts)[:100]
            return Problem(
                403,
                f"expected a request to {', '.join(sorted(self.access.hosts))}, got one to {shown!r}; likely another "
                "name of this machine, or a page of another site: open the address that `sori serve` has printed",
                code="wrong_host",
            ).response()
        if _is_foreign(scope, headers, hosts[0]):
            return Problem(
                403, "expected a request of this page, got one of another site, which is refused", code="wrong_origin"
            ).response()
        return self._without_token(scope, headers)

    def _without_token(self, scope: Scope, headers: Headers) -> Response | None:
        if self.access.token is None or any(map(self.access.accepts_token, _tokens(headers))):
            return None
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[-1]
        if scope["type"] == "http" and scope["path"] == "/" and given and self.access.accepts_token(given):
            response = RedirectResponse("/", 303)
            response.set_cookie(COOKIE, given, httponly=True, samesite="strict")
            return response
        return Problem(
            401,
            "expected the token of this server, got none or another one; open the address with the token that `sori "
            "serve` has printed, or send it as `Authorization: Bearer TOKEN`",
            code="wrong_token",
            headers={"WWW-Authenticate": "Bearer"},
        ).response()


def _is_foreign(scope: Scope, headers: Headers, host: str) -> bool:
    """Return whether the page of another site makes the request; links to this server may be followed."""
    origin = headers.get("origin")
    if origin is not None:
        return _netloc(origin) != host.lower()
    if headers.get("sec-fetch-site", "none") in _OWN_SITE:
        return False
    followed = headers.get("sec-fetch-mode") == "navigate" and scope.get("method") == "GET"
    return not (followed and scope["path"] == "/")


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


def _tokens(headers: Headers) -> list[str]:
    kind, _, given = headers.get("authorization", "").partition(" ")
    found = [given.strip()] if kind.lower() == "bearer" else []
    cookie: SimpleCookie = SimpleCookie()
    try:
        cookie.load(headers.get("cookie", ""))
    except CookieError:
        return found
    return found + ([cookie[COOKIE].value] if COOKIE in cookie else [])
