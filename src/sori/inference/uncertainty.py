"""How confident a recogniser is of whole utterances, to find those from which it would learn most."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from sori.core.audio import SAMPLE_RATE
from sori.core.log import logger
from sori.core.shapes import Float, Tensor
from sori.data.batches.loader import FileReader
from sori.data.manifest import Utterance
from sori.decoding.beam import BeamDecoder
from sori.decoding.confidence import Confidence
from sori.evaluation.stored_decoder import STORED, resolved
from sori.inference import calibrate
from sori.inference.inputs import reason_of
from sori.inference.long_form import chunk_logits
from sori.inference.transcribe import transcribe_chunks
from sori.models.ctc import BLANK, Ctc

Fit = tuple[Confidence, BeamDecoder | None]
"""Calibrated confidence, and the decoder that it is valid for."""


def calibrated(model: Ctc, name: str | Path) -> Fit | None:
    """Return the confidence stored beside a recogniser for its usual decoder or for greedy decoding, if there is one.

    Args:
        model: the loaded recogniser.
        name: folder, run folder or name that it was loaded from.

    Raises:
        ValueError: the stored confidence is damaged, or belongs to another recogniser.
    """
    place = calibrate.find(name)
    if place is None:
        return None
    fits = calibrate.read(place, model)
    for decoder in (resolved(model, STORED), None):
        found = calibrate.choose(fits, decoder)
        if found is not None:
            return found, decoder
    return None


def confidences(model: Ctc, utterances: Sequence[Utterance], fit: Fit | None) -> Iterator[float | None]:
    """Yield the confidence of a recogniser in each utterance, from 0 to 1.

    Args:
        model: a recogniser.
        utterances: utterances to process.
        fit: from `calibrated`: the mean probability that a word is right. None: the mean posterior of the frames in
            which a symbol is most likely, which is too high but orders utterances well.

    Yields:
        None for an utterance that cannot be read, and NaN where the recogniser outputs nothing.
    """
    reader = FileReader(utterances)
    model.eval()
    for row, utterance in enumerate(utterances):
        try:
            waveform = reader(row, 0, utterance.num_samples)
            if fit is None:
                yield _mean_posterior(model, waveform)
                continue
            chunks = transcribe_chunks(model, waveform, sample_rate=SAMPLE_RATE, decoder=fit[1], features=True)
            words = [fit[0].probability(chunk.features) for chunk in chunks if chunk.features is not None]
        except Exception as error:  # noqa: BLE001 - costs this utterance only
            logger.warning("%s is left out: %s", utterance.id, reason_of(error, utterance.path))
            yield None
            continue
        every = np.concatenate([np.zeros(0), *words])
        yield float(every.mean()) if len(every) else float("nan")


def _mean_posterior(model: Ctc, waveform: Float[Tensor, " sample"]) -> float:
    best = [chunk.logits.softmax(-1).max(-1) for chunk in chunk_logits(model, waveform)]
    spoken = [one.values[one.indices != BLANK].numpy() for one in best]
    every = np.concatenate([np.zeros(0), *spoken])
    return float(every.mean()) if len(every) else float("nan")
