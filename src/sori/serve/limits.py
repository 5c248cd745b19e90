"""Limits of the web application: what one request, one client and all of them together can use."""

from sori.core.config import Config

MEGABYTE = 1 << 20


class Limits(Config):
    """Limits of the server; a request beyond one of them is refused with the reason."""

    upload_bytes: int = 1024 * MEGABYTE
    """Size of an uploaded recording."""
    form_bytes: int = 1 * MEGABYTE
    """What an upload may have in addition: the other fields of its form."""
    body_bytes: int = 16 * MEGABYTE
    """Size of any other request; the words of a recording of several hours fit."""
    stored_bytes: int = 8192 * MEGABYTE
    """Decoded recordings on the disk, all together."""
    recording_seconds: float = 6 * 3600.0
    """Length of a recording, as decoded."""
    num_uploads: int = 64
    """Uploads that are received at the same time."""
    num_active: int = 4
    """Recordings that are decoded and transcribed at the same time, chunk by chunk in turn."""
    num_waiting: int = 256
    """Recordings in the queue."""
    num_streams: int = 4
    """Live streams at the same time."""
    num_connections: int = 512
    """Open connections."""
    num_decoders: int = 2
    """Processes that decode sound."""
    idle_seconds: float = 30.0
    """Time in which a client has to send the next part of a request."""
    bytes_per_second: int = 4096
    """Slowest upload, after the time that every upload has."""
    unwatched_seconds: float = 120.0
    """A recording that is not finished is given up when no page has looked at it for this time."""
    kept_seconds: float = 3600.0
    """A finished recording is removed when no page has looked at it for this time."""
