"""The web application, and the server that runs it."""

import socket
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager

import uvicorn
from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from sori.serve.access import Access
from sori.serve.body_limits import BodyLimits
from sori.serve.connections import TimedProtocol
from sori.serve.guard import Guard
from sori.serve.limits import MEGABYTE
from sori.serve.problems import Problem, answer_problem
from sori.serve.security_headers import SecurityHeaders
from sori.serve.service import Service
from sori.serve.static_files import static_router

UPLOADS = ("/api/recordings", "/v1/audio/transcriptions")
"""Paths that take recordings."""
_GRACE_SECONDS = 3
_MAX_REASON = 300


def application(service: Service, access: Access, routers: Iterable[APIRouter]) -> FastAPI:
    """Return the application.

    Args:
        service: what its routes share.
        access: who may use it.
        routers: routes of the views and of the API, besides those of the page itself.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None, None]:
        async with service.running():
            yield

    app = FastAPI(title="sori", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    for router in (static_router(), *routers):
        app.include_router(router)
    app.add_exception_handler(Problem, answer_problem)
    app.add_exception_handler(HTTPException, _answer_http_exception)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    # The last one is the first that a request meets.
    app.add_middleware(BodyLimits, limits=service.limits, is_upload=UPLOADS.__contains__)
    app.add_middleware(Guard, access=access)
    app.add_middleware(SecurityHeaders)
    return app


async def _answer_http_exception(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for these only
    return Problem(error.status_code, str(error.detail), headers=error.headers).response()


async def _answer_invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for these only
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:])
    return Problem(400, f"{place or 'request'}: {first['msg']}"[:_MAX_REASON], param=place or None).response()


def run(app: FastAPI, service: Service, bound: socket.socket) -> None:
    """Serve the application until it is interrupted.

    Args:
        app: from `application`.
        service: the same as the application's.
        bound: listening socket.
    """
    config = uvicorn.Config(
        app,
        http=TimedProtocol,
        ws="websockets-sansio",
        ws_max_size=MEGABYTE,
        ws_per_message_deflate=False,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=service.limits.num_connections,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    _Server(config, service).run(sockets=[bound])


class _Server(uvicorn.Server):
    """Ends open answers, such as streams of events, when the server is to end."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service = service
        service.stop = self.stop

    def stop(self) -> None:
        """Begin to end the server."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the server."""
        self.service.closing.set()
        await super().shutdown(sockets)
