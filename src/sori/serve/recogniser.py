"""The recogniser that is served, and what it recognises in a recording."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sori.core.audio import SAMPLE_RATE
from sori.core.shapes import Float, Tensor
from sori.decoding.beam import BeamDecoder
from sori.decoding.confidence import Confidence
from sori.decoding.greedy import Word
from sori.inference.inputs import checked_recogniser
from sori.inference.transcribe import TranscribedChunk, transcribe_chunks
from sori.models.factory import System, encoder_of

SPLIT_SECONDS = 20.0
"""Speech without a silence is divided into chunks of about this length, so that others have their turn."""


class Chunk(NamedTuple):
    """The text of a part of a recording, between two silences."""

    start: float
    """Seconds from the beginning of the recording."""
    end: float
    text: str
    words: list[Word]
    confidence: list[float] | None
    """Probability that each word is correct; None: not calibrated."""

    def as_data(self) -> dict[str, Any]:
        """Return the chunk as JSON data, times in milliseconds' precision."""
        words: list[dict[str, Any]] = [
            {"text": one.text, "start": round(one.start, 3), "end": round(one.end, 3)} for one in self.words
        ]
        for word, probability in zip(words, self.confidence or (), strict=False):
            word["confidence"] = round(probability, 3)
        return {"start": round(self.start, 3), "end": round(self.end, 3), "text": self.text, "words": words}


class Recogniser:
    """A recogniser with its decoder and its confidence.

    Args:
        name: name of the model, for the page and for clients.
        system: the recogniser, on its device.
        decoder: beam search; None: greedy decoding.
        confidence: fitted for this decoder; None: words have no confidence.
        cer: character error rate on held-out speech; None: unknown.

    Raises:
        ValueError: the model is not a recogniser.
    """

    def __init__(
        self,
        name: str,
        system: System,
        decoder: BeamDecoder | None,
        confidence: Confidence | None = None,
        *,
        cer: float | None = None,
    ) -> None:
        checked_recogniser(system)
        self.name, self.system, self.decoder, self.confidence, self.cer = name, system, decoder, confidence, cer

    def chunks(self, source: Path | Float[Tensor, " sample"]) -> Iterator[Chunk]:
        """Transcribe a recording chunk by chunk.

        Args:
            source: sound file, or a waveform at 16 kHz.

        Raises:
            ValueError: it is too short, or damaged.
        """
        rate = SAMPLE_RATE if isinstance(source, torch.Tensor) else None
        wanted = self.confidence is not None
        found = transcribe_chunks(
            self.system,
            source,
            sample_rate=rate,
            decoder=self.decoder,
            features=wanted,
            split_seconds=SPLIT_SECONDS,
        )
        return map(self._chunk, found)

    def partial_words(self, waveform: Float[Tensor, " sample"]) -> list[Word]:
        """Return the words of a waveform without the language model, which is quick; none where it is too short."""
        if len(waveform) < encoder_of(self.system).field_samples:
            return []
        found = transcribe_chunks(self.system, waveform, sample_rate=SAMPLE_RATE, decoder=None)
        return [word for chunk in found for word in chunk.words]

    def _chunk(self, found: TranscribedChunk) -> Chunk:
        probabilities = None
        if self.confidence is not None and found.features is not None:
            probabilities = [float(one) for one in self.confidence.probability(found.features)]
        return Chunk(found.alternatives.start, found.alternatives.end, found.text, found.words, probabilities)
