"""Errors of requests: a status, a reason, and the JSON shape that clients of OpenAI's API read."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse

RETRY_SECONDS = 5
"""After how long a refused client may try again."""


class Problem(Exception):  # noqa: N818 - an answer rather than a fault
    """A request that cannot be answered, and why.

    Args:
        status: HTTP status, 400 to 499.
        message: reason, for the user.
        param: field of the request that caused it.
        code: name of the reason, for programs.
        headers: additional headers of the answer.
        details: further data of the answer, for the page.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.headers = status, message, param, code, headers
        self.details = details

    def response(self) -> JSONResponse:
        """Return the answer."""
        kind = "rate_limit_error" if self.status == 429 else "invalid_request_error"
        error: dict[str, object] = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        if self.details is not None:
            error["details"] = dict(self.details)
        headers = dict(self.headers or {})
        return JSONResponse({"error": error}, self.status, headers)


def busy(message: str) -> Problem:
    """Return the refusal of a request for which there is no room at the moment."""
    return Problem(429, message, code="busy", headers={"Retry-After": str(RETRY_SECONDS)})


def ending() -> Problem:
    """Return the refusal of a request that the server, which is about to end, does not finish."""
    return busy("the server is being ended; start it again, and send the request again")


async def answer_problem(_: Request, error: Exception) -> JSONResponse:
    """Return the answer to a request that raised a `Problem`."""
    assert isinstance(error, Problem)  # noqa: S101 - registered for these only
    return error.response()
