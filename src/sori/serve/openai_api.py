"""The transcription interface of OpenAI: clients of it work with this server as their base address.

Fields that a recogniser of one language has no use for (`language`, `prompt`, `temperature`) are accepted and change
nothing. Shapes: OpenAI API reference, "Create transcription" and "List models" (2025).
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any, Literal, NamedTuple, get_args

from fastapi import APIRouter
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from sori.core.json_values import parsed_json
from sori.decoding.greedy import Word
from sori.decoding.transcript_formats import Transcribed, render
from sori.serve.problems import Problem, ending
from sori.serve.recogniser import Chunk
from sori.serve.service import Service
from sori.serve.transcription import Transcription
from sori.serve.uploads import Uploads, parts_of

ResponseFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]
ALIAS = "whisper-1"
"""Many clients send this name of a model and let no other be set; it stands for the model that is served."""
UNKNOWN_LANGUAGE = "und"
_MAX_FIELDS = 32
_MAX_FIELD_BYTES = 64 << 10
_WATCH_SECONDS = 1.0


class _Wanted(NamedTuple):
    """The fields of a request."""

    file: UploadFile
    response_format: ResponseFormat
    granularities: frozenset[str]
    is_stream: bool


def openai_router(service: Service, uploads: Uploads) -> APIRouter:
    """Return the routes below `/v1`."""
    router, begun = APIRouter(prefix="/v1"), int(time.time())

    def model() -> dict[str, Any]:
        return {"id": service.recogniser.name, "object": "model", "created": begun, "owned_by": "sori"}

    @router.get("/models")
    async def models() -> dict[str, Any]:
        """List the model that is served."""
        return {"object": "list", "data": [model()]}

    @router.get("/models/{name}")
    async def one_model(name: str) -> dict[str, Any]:
        """Describe the model that is served."""
        _require_model(service, name)
        return model()

    @router.post("/audio/transcriptions")
    async def transcribe(request: Request) -> Response:
        """Transcribe the file of a form."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "multipart/form-data":
            raise Problem(400, f"expected a form (multipart/form-data) with a field `file`, got {kind[:50]!r}")
        with uploads.receiving(int(request.headers.get("content-length", "0"))):
            async with request.form(max_files=1, max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD_BYTES) as form:
                wanted = _wanted(service, form)
                made = await uploads.receive(wanted.file.filename or "recording", parts_of(wanted.file.file))
        if wanted.is_stream:
            return StreamingResponse(_stream(service, uploads, made), media_type="text/event-stream")
        try:
            await _finished(request, made, service)
            return await asyncio.to_thread(_answer, made, wanted)
        finally:
            await uploads.remove(made.identifier)

    return router


def _wanted(service: Service, form: FormData) -> _Wanted:
    """Return the fields of a form, checked.

    Raises:
        Problem: one is missing, or has a value that is not supported.
    """
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise Problem(400, "expected a field `file` with a sound file, got none", param="file")
    _require_model(service, str(form.get("model", ALIAS)))
    format_ = str(form.get("response_format", "json"))
    if format_ not in get_args(ResponseFormat):
        known = ", ".join(get_args(ResponseFormat))
        raise Problem(400, f"expected a response_format of {known}, got {format_[:50]!r}", param="response_format")
    granularities = frozenset(str(one) for one in form.getlist("timestamp_granularities[]"))
    if unknown := granularities - {"word", "segment"}:
        name = "timestamp_granularities[]"
        raise Problem(400, f"expected {name} of word and segment, got {min(unknown)[:50]!r}", param=name)
    if granularities and format_ != "verbose_json":
        raise Problem(
            400, f"timestamp_granularities[] needs response_format verbose_json, got {format_}", param="response_format"
        )
    is_stream = str(form.get("stream", "false")).lower()
    if is_stream not in ("true", "false"):
        raise Problem(400, f"expected stream of true and false, got {is_stream[:50]!r}", param="stream")
    if is_stream == "true" and format_ not in ("json", "text"):
        raise Problem(400, f"stream needs response_format json or text, got {format_}", param="stream")
    return _Wanted(file, format_, granularities or frozenset(("segment",)), is_stream == "true")  # type: ignore[arg-type]


def _require_model(service: Service, name: str) -> None:
    if name not in (service.recogniser.name, ALIAS):
        raise Problem(
            404,
            f"expected the model {service.recogniser.name!r}, which is served, got {name[:100]!r}",
            param="model",
            code="model_not_found",
        )


async def _finished(request: Request, made: Transcription, service: Service) -> None:
    """Wait for the end of a transcription; a client that is gone ends it.

    Raises:
        Problem: the transcription has failed, or the server ends.
    """
    gone = asyncio.create_task(_disconnected(request))
    try:
        while not (made.is_finished or gone.done() or service.closing.is_set()):
            await made.changed(_WATCH_SECONDS)
    finally:
        gone.cancel()
    if made.problem is not None:
        raise made.problem
    if service.closing.is_set() and not made.is_finished:
        raise ending()
    if not made.is_finished:
        raise Problem(400, "the connection was lost before the recording was transcribed")


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _stream(service: Service, uploads: Uploads, made: Transcription) -> AsyncIterator[str]:
    """Yield the text as it comes, as the events of OpenAI's streamed answers."""
    sent = 0
    try:
        while True:
            for chunk in made.chunks[sent:]:
                delta = f"{' ' if sent else ''}{chunk.text}"
                sent += 1
                yield _event({"type": "transcript.text.delta", "delta": delta})
            if (made.is_finished and sent == len(made.chunks)) or service.closing.is_set():
                break
            await made.changed(_WATCH_SECONDS)
        problem = made.problem if made.is_finished else ending()
        if problem is not None:
            yield _event({"type": "error", "error": parsed_json(bytes(problem.response().body))["error"]})
        else:
            yield _event({"type": "transcript.text.done", "text": _text(made.chunks)})
    finally:
        await uploads.remove(made.identifier)


def _event(data: dict[str, Any]) -> str:
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n"


def _text(chunks: list[Chunk]) -> str:
    return " ".join(chunk.text for chunk in chunks if chunk.text)


def _answer(made: Transcription, wanted: _Wanted) -> Response:
    text = _text(made.chunks)
    match wanted.response_format:
        case "json":
            return JSONResponse({"text": text})
        case "verbose_json":
            return JSONResponse(_verbose(made, text, wanted.granularities))
        case "text" | "srt" | "vtt" as format_:
            words: list[Word] = [word for chunk in made.chunks for word in chunk.words]
            transcribed = Transcribed(text, words, made.duration, made.name)
            return PlainTextResponse(render(transcribed, "txt" if format_ == "text" else format_))


def _verbose(made: Transcription, text: str, granularities: frozenset[str]) -> dict[str, Any]:
    """Return the text with times; what OpenAI's model states about itself, and this one cannot, is null."""
    found = {"task": "transcribe", "language": UNKNOWN_LANGUAGE, "duration": round(made.duration, 3), "text": text}
    if "segment" in granularities:
        unknown = dict.fromkeys(("avg_logprob", "compression_ratio", "no_speech_prob"))
        found["segments"] = [
            {
                "id": number,
                "seek": 0,
                "start": round(chunk.start, 3),
                "end": round(min(chunk.end, made.duration), 3),
                "text": chunk.text,
                "tokens": [],
                "temperature": 0.0,
                **unknown,
            }
            for number, chunk in enumerate(made.chunks)
        ]
    if "word" in granularities:
        found["words"] = [
            {"word": word.text, "start": round(word.start, 3), "end": round(word.end, 3)}
            for chunk in made.chunks
            for word in chunk.words
        ]
    return found
