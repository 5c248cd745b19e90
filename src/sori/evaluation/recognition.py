"""What recognisers write for transcribed utterances, and how often it is wrong."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from sori.checkpoints import store
from sori.checkpoints.formats.onnx_model import ErrorRates, OnnxModel
from sori.core import distributed
from sori.core.shapes import Float, Frames, Tensor
from sori.data.batches.loader import FileReader
from sori.data.manifest import Utterance
from sori.data.utterances import transcribed
from sori.decoding.beam import BeamDecoder, read_out
from sori.evaluation.error_rate import ErrorReport, error_rates
from sori.models import factory
from sori.models.ctc import Ctc
from sori.text.vocabulary import Vocabulary

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

    def logits(waveform: Float[Tensor, " sample"]) -> Frames:
        with torch.no_grad():
            return system.logits(waveform[None].to(device), torch.tensor([len(waveform)], device=device))

    return score(logits, vocabulary, utterances, shortest=factory.encoder_of(system).field_samples, decoder=decoder)


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


def onnx_score(data: str | Path | Sequence[str | Path], split: str | None) -> Callable[[OnnxModel], ErrorRates]:
    """Return a function that measures the error rates of an ONNX recogniser.

    Args:
        data: prepared folder or folders.
        split: which utterances of folders that name splits; None: all.

    Raises:
        ValueError: there are no transcribed utterances of that split.
    """
    utterances = transcribed(data, split)

    def measure(model: OnnxModel) -> ErrorRates:
        vocabulary = model.facts.vocabulary
        assert vocabulary is not None  # noqa: S101 - encoders are not quantised
        report = score(
            lambda waveform: model.logits(waveform[None], torch.tensor([len(waveform)])),
            vocabulary,
            utterances,
            shortest=model.facts.shortest_samples,
        )
        return ErrorRates(report.wer.rate, report.cer.rate)

    return measure


def evaluate(
    model: str | Path | Ctc,
    *,
    data: str | Path | Sequence[str | Path],
    split: str | None = "test",
    decoder: BeamDecoder | None = None,
) -> ErrorReport:
    """Word and character error rates of a recogniser.

    References and hypotheses are compared in the recogniser's own spelling (case, punctuation); letters it cannot write
    count as errors.

    Args:
        model: folder, name or loaded recogniser.
        data: prepared folder or folders.
        split: which utterances of folders that name splits; None: all.
        decoder: beam search with a language model (`language.decoder`); None: the likeliest symbol of each frame.

    Raises:
        ValueError: the model is no recogniser, or there are no transcribed utterances of that split.
    """
    system = store.load(model).to(distributed.device()) if isinstance(model, str | Path) else model
    system = require_recogniser(system, str(model) if isinstance(model, str | Path) else "an encoder")
    return scored(system.eval(), transcribed(data, split), decoder)


def require_recogniser(system: factory.System, name: str) -> Ctc:
    """The same system, as what it must be.

    Raises:
        ValueError: it is no recogniser.
    """
    if not isinstance(system, Ctc):
        raise ValueError(  # noqa: TRY004 - whoever calls names a model, not a type
            f"expected a recogniser, got {name}, which only knows sounds; fine-tune it with transcripts first: "
            "`sori train ctc_10min --init MODEL`"
        )
    return system
