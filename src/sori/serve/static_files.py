"""The files of the page, read once: no path of a request is ever opened."""

import re
import secrets
from pathlib import Path
from typing import NamedTuple

from fastapi import APIRouter
from starlette.responses import Response

from sori.core.user_files import read_bytes
from sori.serve.problems import Problem
from sori.serve.security_headers import POLICY

FOLDER = Path(__file__).with_name("static")
PAGE = "index.html"
_NONCE = b"{{nonce}}"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class StaticFile(NamedTuple):
    """A file of the page."""

    content: bytes
    media_type: str


def static_files(folder: Path = FOLDER) -> dict[str, StaticFile]:
    """Return the files of the page by their paths below the folder, such as `vendor/wavesurfer.esm.js`."""
    paths = [path for path in folder.rglob("*") if path.suffix in _TYPES]
    return {
        path.relative_to(folder).as_posix(): StaticFile(read_bytes(path), _TYPES[path.suffix]) for path in sorted(paths)
    }


def static_router() -> APIRouter:
    """Return the routes of the page and its files."""
    router, files = APIRouter(), static_files()
    page = files.pop(PAGE)

    @router.get("/")
    async def index() -> Response:
        """Return the page, with a nonce for the style sheet of the waveform."""
        nonce = secrets.token_urlsafe(16)
        policy = POLICY.format(nonce=f" 'nonce-{nonce}'")
        content = page.content.replace(_NONCE, nonce.encode())
        return Response(content, headers={"Content-Security-Policy": policy}, media_type=page.media_type)

    @router.get("/static/{path:path}")
    async def static(path: str) -> Response:
        """Return a file of the page."""
        if path not in files:
            shown = re.sub(r"[^\w./-]", "?", path)[:100]
            raise Problem(404, f"expected a file of the page, got {shown!r}")
        return Response(files[path].content, media_type=files[path].media_type)

    return router
