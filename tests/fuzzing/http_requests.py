"""Random requests to the web application: damaged uploads, impossible forms, paths, headers and JSON."""

import json
import random
from typing import NamedTuple

from tests.fuzzing.mutations import TOKENS, VALUES, of_bytes

METHODS = ("GET", "POST", "POST", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH")
PATHS = (
    "/", "/api/about", "/api/recordings", "/api/recordings/x", "/api/recordings/../../etc/passwd", "/api/export",
    "/api/recordings/%00/audio", "/api/recordings/x/events", "/v1/models", "/v1/models/%2e%2e", "/static/main.js",
    "/v1/audio/transcriptions", "/static/..%2f..%2fapp.py", "/v1/audio/stream", "//", "/%ff%fe",
    "/nowhere?" + "a" * 5000,
)  # fmt: skip
HEADERS = (
    ("Content-Type", "multipart/form-data"), ("Content-Type", "application/json"), ("Content-Type", "x" * 4000),
    ("Range", "bytes=5-1"), ("Range", "bytes=" + "0-0," * 500 + "1-1"), ("Last-Event-ID", "9" * 400),
    ("Accept-Encoding", "gzip;q=x"), ("Cookie", "sori-token=\xe9; =; ;;"), ("Authorization", "Bearer"),
    ("Origin", "http://evil.example"), ("Upgrade", "websocket"), ("Expect", "100-continue"), ("X", "y" * 10_000),
    ("Content-Type", "multipart/form-data; boundary=" + "b" * 3000), ("Content-Encoding", "gzip"),
)  # fmt: skip
FIELDS = ("model", "response_format", "stream", "timestamp_granularities[]", "language", "temperature", "file", "x")


class HttpRequest(NamedTuple):
    """A request; its address and headers are sent as they are."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes


def http_request(speech: bytes, rng: random.Random) -> HttpRequest:
    """Draw a request; half of them are uploads of changed recordings.

    Args:
        speech: a recording.
        rng: generator.
    """
    match rng.randrange(6):
        case 0 | 1:
            return HttpRequest(
                "POST", "/api/recordings?name=" + rng.choice(("a.wav", "%00", "a" * 900)), [], _sound(speech, rng)
            )
        case 2:
            kind = ("Content-Type", "multipart/form-data; boundary=b")
            return HttpRequest("POST", "/v1/audio/transcriptions", [kind], _form(speech, rng))
        case 3:
            return HttpRequest("POST", "/api/export", [("Content-Type", "application/json")], _json(rng))
        case _:
            headers = [rng.choice(HEADERS) for _ in range(rng.randrange(3))]
            body = b"" if rng.random() < 0.5 else of_bytes(speech[:2000], rng)
            return HttpRequest(rng.choice(METHODS), rng.choice(PATHS), headers, body)


def _sound(speech: bytes, rng: random.Random) -> bytes:
    return rng.choice(
        (of_bytes(speech, rng), of_bytes(speech, rng), rng.randbytes(rng.randrange(3000)), speech[:44], b"")
    )


def _form(speech: bytes, rng: random.Random) -> bytes:
    values = ("json", "verbose_json", "srt", "true", "word", "tones", "whisper-1", "\x00", "x" * 70_000, "é")
    parts = [(rng.choice(FIELDS), rng.choice(values).encode()) for _ in range(rng.randrange(4))]
    lines = b"".join(
        b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (n.encode(), v) for n, v in parts
    )
    name = rng.choice((b"a.wav", b"../../a.wav", b"a\x00.mp3", b"", b'"', b"x" * 5000))
    lines += b'--b\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n' % name
    whole = lines + _sound(speech, rng) + b"\r\n--b--\r\n"
    return whole if rng.random() < 0.6 else of_bytes(whole, rng)


def _json(rng: random.Random) -> bytes:
    word = {"text": "a", "start": 0.1, "end": 0.2, "confidence": 0.5}
    data = {"name": "a.wav", "duration": 1.0, "words": [dict(word) for _ in range(3)], "format": "eaf"}
    for _ in range(rng.randrange(3)):
        place = rng.choice(
            (data, rng.choice(data["words"]) if isinstance(data["words"], list) and data["words"] else data)
        )
        if isinstance(place, dict):
            place[rng.choice((*place, "x"))] = rng.choice(VALUES)
    text = json.dumps(data).encode()
    return text if rng.random() < 0.5 else of_bytes(text.replace(b"0.1", rng.choice(TOKENS)), rng)
