"""Live transcription over a WebSocket: samples in, partial and final text out.

The client sends 16 kHz mono samples as signed 16-bit little-endian integers in binary messages, and `{"type": "end"}`
when there are no more. The server answers with JSON: `partial` (the text of what has been said since the last final
text, which may change), `final` (text, words with times, which stay), `done`, or `error`.

A pause ends a piece of text. What is being said is recognised anew, without the language model, several times a second;
its final text is recognised with it. If the model is slower than the sound, reading pauses.
"""

import asyncio
import time
from typing import Any, final

import numpy as np
import torch
from fastapi import APIRouter
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from sori.core.audio import SAMPLE_RATE
from sori.core.json_values import parsed_json
from sori.core.shapes import Float, Tensor
from sori.data.preparation.segments import silences
from sori.inference.long_form import LEVEL_SAMPLES, levels_of
from sori.models.factory import encoder_of
from sori.serve.recogniser import Chunk
from sori.serve.service import Service

PATH = "/v1/audio/stream"
PARTIAL_SECONDS = (0.2, 0.5)
"""Least and most sound after which a partial text is computed, in between four times what the one before has taken."""
PAUSE_SECONDS = 0.7
"""Pause that ends a piece of text."""
LONGEST_SECONDS = 15.0
"""Longest piece of text; without a pause, it is cut at its quietest place."""
KEPT_SECONDS = 0.3
"""Sound before the first word of a piece that is kept."""
IDLE_SECONDS = 60.0
"""A client that sends nothing for this time is given up."""
MAX_MESSAGE_BYTES = 10 * 2 * SAMPLE_RATE
_QUIETEST_SECONDS = 3.0
"""The part at the end of a piece in which the quietest place is looked for."""
_FRAME = SAMPLE_RATE // 50
_TRY_AGAIN, _BAD_DATA, _TOO_BIG = 1013, 1003, 1009


class _StreamError(Exception):
    """A client sends what cannot be processed."""

    def __init__(self, message: str, code: int = _BAD_DATA) -> None:
        super().__init__(message)
        self.code = code


def stream_router(service: Service) -> APIRouter:
    """Return the route of the WebSocket."""
    router, running = APIRouter(), set[WebSocket]()

    @router.websocket(PATH)
    async def stream(socket: WebSocket) -> None:
        """Transcribe what a client sends."""
        await socket.accept()
        if len(running) >= service.limits.num_streams:
            await _fail(socket, _StreamError(f"{len(running)} streams are open, as many as are possible", _TRY_AGAIN))
            return
        running.add(socket)
        try:
            await _Stream(service, socket).run()
            await socket.close()
        except _StreamError as error:
            await _fail(socket, error)
        except (WebSocketDisconnect, RuntimeError):  # RuntimeError: closed while an answer was being sent
            if socket.application_state == WebSocketState.CONNECTED and not service.closing.is_set():
                return
        finally:
            running.discard(socket)

    return router


async def _fail(socket: WebSocket, error: _StreamError) -> None:
    await socket.send_json({"type": "error", "message": str(error)})
    await socket.close(error.code, str(error)[:100])


@final
class _Stream:
    """One client."""

    def __init__(self, service: Service, socket: WebSocket) -> None:
        self.service, self.socket, self.recogniser = service, socket, service.recogniser
        self.samples: Float[Tensor, " sample"] = torch.zeros(0)
        """Sound since the last final text."""
        self.position = 0
        """Where it begins, in samples from the beginning of the stream."""
        self.num_new, self.due = 0, round(PARTIAL_SECONDS[0] * SAMPLE_RATE)
        """New samples, and the number of them after which they are recognised."""
        self.sent = ""

    async def run(self) -> None:
        """Process messages until the client ends the stream."""
        while (part := await self._receive()) is not None:
            self.samples = torch.cat([self.samples, part])
            self.num_new += len(part)
            while len(self.samples) >= LONGEST_SECONDS * SAMPLE_RATE:
                await self._finish(_quietest(self.samples[: round(LONGEST_SECONDS * SAMPLE_RATE)]))
            if self.num_new >= self.due:
                self.num_new = 0
                await self._advance()
        await self._finish(len(self.samples))
        await self.socket.send_json({"type": "done", "duration": round(self.position / SAMPLE_RATE, 3)})

    async def _receive(self) -> Float[Tensor, " sample"] | None:
        """Return the samples of the next message, or None at the end."""
        try:
            message = await asyncio.wait_for(self.socket.receive(), IDLE_SECONDS)
        except TimeoutError:
            raise _StreamError(f"nothing was received for {IDLE_SECONDS:g} s") from None
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1000))
        if (data := message.get("bytes")) is not None:
            return _samples(data)
        if _type_of(message.get("text") or "") == "end":
            return None
        raise _StreamError('expected samples in binary messages, or {"type": "end"}, got another text')

    async def _advance(self) -> None:
        """Recognise what there is; send its final text after a pause, otherwise a partial one."""
        samples, stop = self.samples, self.position + len(self.samples)
        begun = time.monotonic()
        text, quiet = await self.service.thread.call(lambda: self._partial(samples), urgent=True)
        seconds = min(max(PARTIAL_SECONDS[0], 4 * (time.monotonic() - begun)), PARTIAL_SECONDS[1])
        silent = quiet >= PAUSE_SECONDS
        if text and not silent:  # the pause may be long enough before the next partial text would be due
            seconds = min(seconds, PAUSE_SECONDS - quiet)
        self.due = round(seconds * SAMPLE_RATE)
        if not text:
            self._drop(max(0, len(self.samples) - round(KEPT_SECONDS * SAMPLE_RATE)) if silent else 0)
        elif silent:
            await self._finish(len(self.samples))
            return
        if text != self.sent:
            self.sent = text
            start, end = (round(one / SAMPLE_RATE, 3) for one in (self.position, stop))
            await self.socket.send_json({"type": "partial", "text": text, "start": start, "end": end})

    def _partial(self, samples: Float[Tensor, " sample"]) -> tuple[str, float]:
        """Return the text, and the seconds of the pause at the end of the sound."""
        words = self.recogniser.partial_words(samples)
        end = words[-1].end if words else 0.0
        return " ".join(word.text for word in words), max(len(samples) / SAMPLE_RATE - end, _silence(samples))

    async def _finish(self, num_samples: int) -> None:
        """Send the final text of the first samples, and keep the others."""
        samples, start = self.samples[:num_samples], self.position / SAMPLE_RATE
        chunks = await self.service.thread.call(lambda: self._final(samples), urgent=True)
        for chunk in chunks:
            if chunk.text:
                await self.socket.send_json({"type": "final", **_moved(chunk, start).as_data()})
        self.sent = ""
        self._drop(num_samples)

    def _final(self, samples: Float[Tensor, " sample"]) -> list[Chunk]:
        shortest = encoder_of(self.recogniser.system).field_samples
        return list(self.recogniser.chunks(samples)) if len(samples) >= shortest else []

    def _drop(self, num_samples: int) -> None:
        self.samples = self.samples[num_samples:].clone()
        self.position += num_samples


def _samples(data: bytes) -> Float[Tensor, " sample"]:
    if len(data) > MAX_MESSAGE_BYTES:
        raise _StreamError(f"expected messages of at most {MAX_MESSAGE_BYTES:,} bytes, got {len(data):,}", _TOO_BIG)
    if len(data) % 2:
        raise _StreamError(f"expected 16-bit samples, an even number of bytes, got {len(data):,}")
    return torch.from_numpy(np.frombuffer(data, "<i2").astype(np.float32) / np.float32(1 << 15))


def _type_of(text: str) -> object:
    try:
        data: Any = parsed_json(text)
    except ValueError:
        return None
    return data.get("type") if isinstance(data, dict) else None


def _silence(samples: Float[Tensor, " sample"]) -> float:
    """Return the seconds of silence at the end, by level: recognisers can place their last letter at the end of it."""
    if len(samples) < LEVEL_SAMPLES:
        return 0.0
    silent = silences(levels_of(lambda first, stop: samples[first:stop], len(samples)))
    return int(silent[::-1].cumprod().sum()) * LEVEL_SAMPLES / SAMPLE_RATE


def _quietest(samples: Float[Tensor, " sample"]) -> int:
    """Return where to cut sound without a pause: in the middle of the quietest 100 ms of its last seconds."""
    first = len(samples) - round(_QUIETEST_SECONDS * SAMPLE_RATE)
    levels = samples[first:].unfold(0, 5 * _FRAME, _FRAME).var(1)
    return first + int(levels.argmin()) * _FRAME + 5 * _FRAME // 2


def _moved(chunk: Chunk, seconds: float) -> Chunk:
    words = [word._replace(start=word.start + seconds, end=word.end + seconds) for word in chunk.words]
    return chunk._replace(start=chunk.start + seconds, end=chunk.end + seconds, words=words)
