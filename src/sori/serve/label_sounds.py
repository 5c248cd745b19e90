"""Routes of the view Label: the sound of an utterance, and what the recogniser suggests for it."""

import asyncio
import io
from typing import Annotated

import numpy as np
import soundfile
from fastapi import APIRouter, Query
from starlette.responses import Response

from sori.core.audio import SAMPLE_RATE, read
from sori.core.log import printable
from sori.core.shapes import Float, Tensor
from sori.data.manifest import Utterance
from sori.serve.label_routes import utterance_of
from sori.serve.label_store import LabelStore
from sori.serve.problems import Problem
from sori.serve.service import Service

Name = Annotated[str, Query(alias="id", max_length=4_000)]


def label_sounds_router(service: Service, store: LabelStore) -> APIRouter:
    """Return the routes `/api/labels/audio` and `/api/labels/suggestion`."""
    router = APIRouter(prefix="/api/labels")

    @router.get("/audio")
    def audio(name: Name) -> Response:
        """Return the sound of an utterance as WAV, 16 kHz mono."""
        buffer = io.BytesIO()
        waveform = np.clip(_waveform(utterance_of(store, name)).numpy(), -1, 1)
        soundfile.write(buffer, waveform, SAMPLE_RATE, format="WAV", subtype="PCM_16")
        return Response(buffer.getvalue(), media_type="audio/wav", headers={"Cache-Control": "private, max-age=600"})

    @router.get("/suggestion")
    async def suggestion(name: Name) -> dict[str, object]:
        """Return what the recogniser writes for an utterance; no text if there is no recogniser."""
        utterance = utterance_of(store, name)
        if not service.has_recogniser:
            return {"text": None, "model": None, "cer": None}
        recogniser = service.recogniser
        waveform = await asyncio.to_thread(_waveform, utterance)
        chunks = await service.thread.call(lambda: list(recogniser.chunks(waveform)), urgent=True)
        text = " ".join(chunk.text for chunk in chunks if chunk.text)
        return {"text": text, "model": recogniser.name, "cer": recogniser.cer}

    return router


def _waveform(utterance: Utterance) -> Float[Tensor, " sample"]:
    try:
        return read(utterance.path, start=utterance.start, duration=utterance.duration_seconds, channel=utterance.mix)
    except (OSError, ValueError) as error:
        raise Problem(409, f"the recording cannot be read: {printable(str(error))}", code="unreadable") from None
