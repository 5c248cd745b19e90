"""Evaluate recognisers on transcribed utterances: word and character error rates."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from sori.checkpoints import store
from sori.checkpoints.formats.onnx_model import ErrorRates, OnnxModel
from sori.core import distributed
from sori.core.shapes import Float, Frames, Tensor
from sori.core.threads import map_in_threads, num_at_a_time
from sori.data.batches.loader import FileReader
from sori.data.manifest import Utterance
from sori.data.utterances import transcribed
from sori.decoding.beam import BeamDecoder, read_out
from sori.evaluation.error_rate import ErrorReport, error_rates
from sori.evaluation.stored_decoder import STORED, Decoder, resolved
from sori.models import factory
from sori.models.ctc import Ctc
from sori.text.vocabulary import Vocabulary

_BATCH_SIZE = 64
"""Number of utterances whose logits are held in memory at a time."""


def scored(system: Ctc, utterances: Sequence[Utterance], decoder: BeamDecoder | None = None) -> ErrorReport:
    """Return the error rates of a recogniser in evaluation mode, processing each utterance separately.

    Args:
        system: recogniser with its vocabulary.
        utterances: utterances with transcripts.
        decoder: beam search; None: greedy decoding.
    """
    vocabulary = system.vocabulary
    assert vocabulary is not None  # noqa: S101 - every loaded recogniser has one
    device = next(system.parameters()).device

    def logits(waveform: Float[Tensor, " sample"]) -> Frames:
        with torch.no_grad():
            return system.logits(waveform[None].to(device), torch.tensor([len(waveform)], device=device))

    shortest, num_threads = factory.encoder_of(system).field_samples, num_at_a_time(system)
    return score(logits, vocabulary, utterances, shortest=shortest, decoder=decoder, num_threads=num_threads)


def score(
    logits: Callable[[Float[Tensor, " sample"]], Frames],
    vocabulary: Vocabulary,
    utterances: Sequence[Utterance],
    *,
    shortest: int,
    decoder: BeamDecoder | None = None,
    num_threads: int = 1,
) -> ErrorReport:
    """Return the error rates of a function that computes logits for one waveform at a time.

    Args:
        logits: computes the logits of one waveform, as a batch of one.
        vocabulary: symbols of the classes.
        utterances: utterances with transcripts.
        shortest: minimum number of samples; a shorter utterance gets an empty hypothesis.
        decoder: beam search; None: greedy decoding.
        num_threads: number of threads that call `logits`; 1: no other thread.
    """
    reader = FileReader(utterances)
    hypotheses = []

    def of_row(row: int) -> Frames:
        return logits(reader(row, 0, utterances[row].num_samples))

    for first in range(0, len(utterances), _BATCH_SIZE):  # beam search over a batch uses all cores
        rows = range(first, min(first + _BATCH_SIZE, len(utterances)))
        long_enough = [row for row in rows if utterances[row].num_samples >= shortest]
        found = list(map_in_threads(of_row, long_enough, num_threads=num_threads))
        paths = dict(zip(long_enough, read_out(found, decoder), strict=True))
        texts = [vocabulary.decode(paths[row].ids) if row in paths else "" for row in rows]
        hypotheses += [vocabulary.normalise(text) for text in texts]
    references = [vocabulary.normalise(u.text or "") for u in utterances]
    return error_rates(references, hypotheses, [u.speaker for u in utterances])


def onnx_score(data: str | Path | Sequence[str | Path], split: str | None) -> Callable[[OnnxModel], ErrorRates]:
    """Return a function that measures the error rates of an ONNX recogniser.

    Args:
        data: prepared folder or folders.
        split: split to use, for folders that name splits; None: all utterances.

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
    decoder: Decoder = STORED,
) -> ErrorReport:
    """Return the word and character error rates of a recogniser.

    References and hypotheses are normalised to the recogniser's own spelling (case, punctuation); letters that are not
    in its vocabulary count as errors.

    Args:
        model: folder or name of a recogniser, or a loaded one.
        data: prepared folder or folders.
        split: split to use, for folders that name splits; None: all utterances.
        decoder: `stored`: with the language model stored with the recogniser, if it is used; another beam search
            (`lm_fusion.decoder`); None: greedy decoding.

    Raises:
        ValueError: the model is not a recogniser, or there are no transcribed utterances of that split.
    """
    system = store.load(model).to(distributed.device()) if isinstance(model, str | Path) else model
    system = require_recogniser(system, str(model) if isinstance(model, str | Path) else "an encoder")
    return scored(system.eval(), transcribed(data, split), resolved(system, decoder))


def recogniser_digest(model: Ctc) -> str:
    """Return a digest that identifies a recogniser: of its output layer and symbols."""
    made = hashlib.blake2b(repr(model.vocabulary and model.vocabulary.symbols).encode(), digest_size=16)
    for tensor in (model.head.weight, model.head.bias):
        made.update(tensor.detach().float().cpu().numpy().tobytes())
    return made.hexdigest()


def require_recogniser(system: factory.System, name: str) -> Ctc:
    """Return the system as a `Ctc`.

    Raises:
        ValueError: it is not a recogniser.
    """
    if not isinstance(system, Ctc):
        raise ValueError(  # noqa: TRY004 - users pass a model, not a type
            f"expected a recogniser, got {name}, an encoder without an output layer; fine-tune it first: "
            "`sori train ctc_10min --init MODEL`"
        )
    return system
