"""What recognisers write for transcribed utterances, and how often it is wrong."""

from collections.abc import Callable, Sequence

import torch

from sori import hub
from sori.data.loader import FileReader
from sori.data.manifest import Utterance
from sori.decoding.beam import BeamDecoder, read_out
from sori.evaluation.error_rate import ErrorReport, error_rates
from sori.shapes import Float, Frames, Tensor
from sori.systems.ctc import Ctc
from sori.text import Vocabulary

_TOGETHER = 64
"""Utterances whose class scores are held at a time."""


def scored(system: Ctc, utterances: Sequence[Utterance], decoder: BeamDecoder | None = None) -> ErrorReport:
    """Error rates of a recogniser in evaluation mode, each utterance heard alone.

    Args:
        system: with its vocabulary.
        utterances: with transcripts.
        decoder: beam search; None: the likeliest symbol of each frame.
    """
    vocabulary = system.vocabulary
    assert vocabulary is not None  # noqa: S101 - hub gives every recogniser one
    device = next(system.parameters()).device

    def logits(wave: Float[Tensor, " sample"]) -> Frames:
        with torch.no_grad():
            return system.logits(wave[None].to(device), torch.tensor([len(wave)], device=device))

    return score(logits, vocabulary, utterances, shortest=hub.encoder_of(system).field_samples, decoder=decoder)


def score(
    logits: Callable[[Float[Tensor, " sample"]], Frames],
    vocabulary: Vocabulary,
    utterances: Sequence[Utterance],
    *,
    shortest: int,
    decoder: BeamDecoder | None = None,
) -> ErrorReport:
    """Error rates of whatever gives logits for a waveform, one utterance at a time.

    Args:
        logits: of one waveform, as a batch of one.
        vocabulary: what the classes stand for.
        utterances: with transcripts.
        shortest: samples; a shorter utterance is not heard and counts as silence.
        decoder: beam search; None: the likeliest symbol of each frame.
    """
    reader = FileReader(utterances)
    hypotheses = []
    for first in range(0, len(utterances), _TOGETHER):  # a beam search over many takes all cores
        rows = range(first, min(first + _TOGETHER, len(utterances)))
        heard = {
            row: logits(reader(row, 0, utterances[row].num_samples))
            for row in rows
            if utterances[row].num_samples >= shortest
        }
        paths = dict(zip(heard, read_out(list(heard.values()), decoder), strict=True))
        texts = [vocabulary.decode(paths[row].ids) if row in paths else "" for row in rows]
        hypotheses += [vocabulary.normalise(text) for text in texts]
    references = [vocabulary.normalise(u.text or "") for u in utterances]
    return error_rates(references, hypotheses, [u.speaker for u in utterances])
