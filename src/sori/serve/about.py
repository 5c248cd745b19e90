"""What the page and clients can know about the server: the model, the views, the limits."""

from collections.abc import Sequence

from fastapi import APIRouter

from sori.core.sound.sound_suffixes import SOUND_SUFFIXES
from sori.decoding.transcript_formats import FORMATS
from sori.serve.service import Service


def about_router(service: Service, views: Sequence[str]) -> APIRouter:
    """Return the route `/api/about`.

    Args:
        service: of the server.
        views: names of the views that the page shows, in order; each has a module `static/NAME.js`.
    """
    router = APIRouter(prefix="/api")

    @router.get("/about")
    async def about() -> dict[str, object]:
        """Return name of the model, views, formats and limits."""
        return {
            "model": service.recogniser.name if service.has_recogniser else None,
            "has_confidence": service.has_recogniser and service.recogniser.confidence is not None,
            "views": list(views),
            "formats": list(FORMATS),
            "suffixes": sorted(SOUND_SUFFIXES),
            "upload_bytes": service.limits.upload_bytes,
            "recording_seconds": service.limits.recording_seconds,
            "queue": len(service.queue),
        }

    return router
