"""The page's own interface: send a recording, watch its text come, listen to it, export what has been edited."""

import json
from collections.abc import AsyncIterator
from pathlib import PurePath
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse

from sori.decoding.greedy import Word
from sori.decoding.transcript_formats import Format, Transcribed, extension, render
from sori.serve.problems import Problem
from sori.serve.service import Service
from sori.serve.transcription import Transcription
from sori.serve.uploads import Uploads

_MAX_WORDS = 500_000
_MAX_LETTERS = 1000
_MAX_SECONDS = 1e6
_BEAT_SECONDS = 1.0
"""After which time a state is sent again: the position in the queue may have changed, the client may be gone."""

Seconds = Annotated[float, Field(ge=0, le=_MAX_SECONDS, allow_inf_nan=False)]
Name = Annotated[str, Field(max_length=_MAX_LETTERS)]


class EditedWord(BaseModel):
    """A word of an edited transcript."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(max_length=_MAX_LETTERS)
    start: Seconds
    end: Seconds
    confidence: float | None = Field(default=None, ge=0, le=1)
    """None: written by a person."""


class EditedTranscript(BaseModel):
    """An edited transcript that is to be exported."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    duration: Seconds
    words: list[EditedWord] = Field(max_length=_MAX_WORDS)
    format: Format


def transcripts_router(service: Service, uploads: Uploads) -> APIRouter:
    """Return the routes of the view Transcribe."""
    router = APIRouter(prefix="/api")

    @router.post("/recordings", status_code=201)
    async def send(request: Request, name: Annotated[str, Query(max_length=_MAX_LETTERS)] = "recording") -> Any:
        """Receive a recording as the body of the request, and begin to transcribe it."""
        with uploads.receiving(int(request.headers.get("content-length", "0"))):
            return (await uploads.receive(name, request.stream())).status()

    @router.get("/recordings/{identifier}")
    async def state(identifier: str) -> Any:
        """Return the state of a recording and its chunks so far."""
        found = uploads.get(identifier)
        return {**found.status(), "chunks": [chunk.as_data() for chunk in found.chunks]}

    @router.get("/recordings/{identifier}/status")
    async def status(identifier: str) -> Any:
        """Return the state of a recording, which is kept as long as this is requested now and then."""
        return uploads.get(identifier).status()

    @router.get("/recordings/{identifier}/events")
    async def events(identifier: str, request: Request) -> Response:
        """Return the states and chunks of a recording as server-sent events, those after `Last-Event-ID`."""
        found, last = uploads.get(identifier), request.headers.get("last-event-id", "0")
        first = int(last) if last.isascii() and last.isdigit() else 0
        return StreamingResponse(_events(service, found, first), media_type="text/event-stream")

    @router.get("/recordings/{identifier}/audio")
    async def audio(identifier: str) -> Response:
        """Return the decoded recording, or the requested range of it."""
        return FileResponse(_decoded(uploads.get(identifier)).copy, media_type="audio/wav")

    @router.get("/recordings/{identifier}/peaks")
    async def peaks(identifier: str) -> Response:
        """Return the peaks of the waveform, one byte for each 10 ms."""
        return FileResponse(_decoded(uploads.get(identifier)).peaks, media_type="application/octet-stream")

    @router.delete("/recordings/{identifier}", status_code=204)
    async def remove(identifier: str) -> None:
        """Remove a recording, and end its transcription."""
        uploads.get(identifier)
        await uploads.remove(identifier)

    @router.post("/export")
    def export(transcript: EditedTranscript) -> dict[str, str]:
        """Return an edited transcript in one of the formats, and a name for its file."""
        return {"name": file_name(transcript.name, transcript.format), "content": exported(transcript)}

    return router


def exported(transcript: EditedTranscript) -> str:
    """Return an edited transcript in its format; words that a person has written have confidence 1.

    Raises:
        Problem: the words are not in order, or beyond the end of the recording.
    """
    words = [Word(one.text, one.start, one.end) for one in transcript.words]
    scores = [one.confidence for one in transcript.words]
    confidence = None
    if any(score is not None for score in scores):
        confidence = [1.0 if score is None else score for score in scores]
    text = " ".join(word.text for word in words)
    try:
        return render(Transcribed(text, words, transcript.duration, transcript.name, confidence), transcript.format)
    except ValueError as error:
        raise Problem(400, str(error), param="words") from None


def file_name(name: str, to: Format) -> str:
    """Return the name of a transcript: that of its recording, with the suffix of the format."""
    return f"{PurePath(name).stem or 'transcript'}.{extension(to)}"


def _decoded(found: Transcription) -> Transcription:
    if not found.duration:
        raise Problem(409, f"expected a decoded recording, got one that is {found.state}", code="not_decoded")
    return found


async def _events(service: Service, found: Transcription, first: int) -> AsyncIterator[str]:
    """Yield events: `chunk` for each chunk from number `first` on, `state` for everything else."""
    sent = None
    while True:
        for number, chunk in enumerate(found.chunks[first:], first + 1):
            yield f"event: chunk\nid: {number}\ndata: {_json({'number': number, **chunk.as_data()})}\n\n"
        first = max(first, len(found.chunks))
        state, is_last = _json(found.status()), found.is_finished or service.closing.is_set()
        yield f"event: state\ndata: {state}\n\n" if state != sent else ": still here\n\n"
        sent = state
        if is_last and first == len(found.chunks):
            return
        await found.changed(_BEAT_SECONDS)


def _json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=True, separators=(",", ":"))
