"""Tune the weights of a language model on held-out speech.

The grid is searched two weights at a time, every second value first and then the neighbours of the best, because all of
it would take hours: language-model weight and word score, then the two that decide about unknown words, then the
neighbours of the first two again. A setting with more character errors than greedy decoding is chosen only if there is
no other.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch

from sori.core.shapes import Frames
from sori.data.batches.loader import FileReader
from sori.data.manifest import Utterance
from sori.decoding.beam import BeamConfig, BeamDecoder, read_out
from sori.evaluation.error_rate import ErrorReport, error_rates
from sori.lm.fusion import new_word_score
from sori.models import factory
from sori.models.ctc import Ctc

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
WORD_SCORES = (-1.0, 0.0, 1.0, 2.0, 3.0, 4.0)
UNKNOWN_SCORES = (-8.0, -6.0, -4.0, -2.0, 0.0, 2.0)
SPELLING_WEIGHTS = (0.25, 0.5, 0.75, 1.0)
"""Values that `tune` tries; those for unknown words only if the search allows them, relative to `new_word_score`."""


class TriedWeights(NamedTuple):
    """Error rates of one setting, as fractions."""

    config: BeamConfig
    wer: float
    cer: float


class TuningResult(NamedTuple):
    """Result of `tune`."""

    config: BeamConfig
    """Best configuration."""
    greedy: ErrorReport
    """Error rates of greedy decoding, without a language model."""
    best: ErrorReport
    """Error rates of the best configuration."""
    tried: list[TriedWeights]

    @property
    def helps(self) -> bool:
        """Whether the language model lowers the word error rate and does not raise the character error rate."""
        return self.best.wer.rate < self.greedy.wer.rate and self.best.cer.rate <= self.greedy.cer.rate

    def table(self) -> str:
        """Format every setting and the best one as a text table."""
        rows = [f"{'weight':>7}{'word score':>12}{'unknown':>9}{'spelling':>10}{'WER':>8}{'CER':>8}"]
        rows += [f"{_row(one.config)}{one.wer:8.1%}{one.cer:8.1%}" for one in self.tried]
        rows.append(f"without language model: WER {self.greedy.wer.rate:.1%}, CER {self.greedy.cer.rate:.1%}")
        wer, cer = self.best.wer, self.best.cer
        rows.append(
            f"best: {options(self.config)}   WER {wer.rate:.1%} ({wer.low:.1%} to {wer.high:.1%}), CER {cer.rate:.1%}"
        )
        if not self.helps:
            rows.append("no setting lowers the WER without raising the CER: decode without this language model")
        return "\n".join(rows)


def options(config: BeamConfig) -> str:
    """Return the weights as options of the command line."""
    found = f"--lm-weight {config.lm_weight:g} --word-score {config.word_score:g}"
    if config.unknown_score is None:
        return found
    return f"{found} --unknown-score {config.unknown_score:g} --spelling-weight {config.spelling_weight:g}"


def _row(config: BeamConfig) -> str:
    is_open = config.unknown_score is not None
    unknown = f"{config.unknown_score:9.2f}{config.spelling_weight:10.2f}" if is_open else f"{'-':>9}{'-':>10}"
    return f"{config.lm_weight:7.2f}{config.word_score:12.2f}{unknown}"


def tune(model: Ctc, search: BeamDecoder, utterances: Sequence[Utterance]) -> TuningResult:
    """Find the weights with the lowest word error rate among those that do not raise the character error rate.

    Logits are computed once; then the search is repeated with all settings.

    Args:
        model: a recogniser, in evaluation mode.
        search: beam search with the language model; settings that are not tuned are kept.
        utterances: transcribed utterances that neither the recogniser nor the language model was trained on.
    """
    measured = _Measured(model, search, utterances)
    greedy = measured.report(None)
    tried: dict[_Point, TriedWeights] = {}

    def best_of(points: Iterable[_Point]) -> _Point:
        for point in points:
            if point not in tried:
                config = point.config(search)
                report = measured.report(search.with_config(config), num_draws=1)
                tried[point] = TriedWeights(config, report.wer.rate, report.cer.rate)
        return min(tried, key=lambda one: (tried[one].cer > greedy.cer.rate, tried[one].wer, tried[one].cer))

    def fused(start: _Point, weights: Sequence[float], scores: Sequence[float]) -> _Point:
        pairs = itertools.product(weights, scores)
        return best_of(start._replace(weight=weight, word_score=score) for weight, score in pairs)

    def spelt(start: _Point, unknowns: Sequence[float], spellings: Sequence[float]) -> _Point:
        pairs = itertools.product(unknowns, spellings)
        return best_of(start._replace(unknown=unknown, spelling=spelling) for unknown, spelling in pairs)

    start = _Point(0.0, 0.0, 0.0 if search.scores_spelling else None, search.config.spelling_weight)
    best = fused(start, _every_second(WEIGHTS), _every_second(WORD_SCORES))
    best = fused(best, _near(WEIGHTS, best.weight), _near(WORD_SCORES, best.word_score))
    if best.unknown is not None:
        best = spelt(best, _every_second(UNKNOWN_SCORES), _every_second(SPELLING_WEIGHTS))
        if best.unknown in UNKNOWN_SCORES and best.spelling in SPELLING_WEIGHTS:
            best = spelt(best, _near(UNKNOWN_SCORES, best.unknown), _near(SPELLING_WEIGHTS, best.spelling))
        best = fused(best, _near(WEIGHTS, best.weight), _near(WORD_SCORES, best.word_score))
    config = best.config(search)
    return TuningResult(config, greedy, measured.report(search.with_config(config)), list(tried.values()))


class _Point(NamedTuple):
    """A setting of the grid."""

    weight: float
    word_score: float
    unknown: float | None
    """Added to `new_word_score`; None: unknown words stay as they are in the search."""
    spelling: float

    def config(self, search: BeamDecoder) -> BeamConfig:
        """Return the settings of the search at this point."""
        changes: dict[str, float] = {"lm_weight": self.weight, "word_score": self.word_score}
        if self.unknown is not None:
            assert search.lm is not None  # noqa: S101 - only words of a model are known
            changes["unknown_score"] = round(new_word_score(search.lm, self.weight) + self.unknown, 2)
            changes["spelling_weight"] = self.spelling
        return search.config.model_copy(update=changes)


def _every_second(values: Sequence[float]) -> Sequence[float]:
    return values[1::2] or values


def _near(values: Sequence[float], value: float) -> Sequence[float]:
    place = values.index(value)
    return values[max(0, place - 1) : place + 2]


class _Measured:
    """Logits of utterances, to be decoded many times."""

    def __init__(self, model: Ctc, search: BeamDecoder, utterances: Sequence[Utterance]) -> None:
        self.logits, self.vocabulary = _logits(model, utterances), search.vocabulary
        self.references = [self.vocabulary.normalise(u.text or "") for u in utterances]
        self.speakers = [u.speaker for u in utterances]

    def report(self, search: BeamDecoder | None, *, num_draws: int = 1000) -> ErrorReport:
        """Return the error rates of a beam search, or of greedy decoding."""
        normalise, decode = self.vocabulary.normalise, self.vocabulary.decode
        paths = iter(read_out([row for row in self.logits if row is not None], search))
        texts = ["" if row is None else normalise(decode(next(paths).ids)) for row in self.logits]
        return error_rates(self.references, texts, self.speakers, num_draws=num_draws)


def _logits(model: Ctc, utterances: Sequence[Utterance]) -> list[Frames | None]:
    """Compute the logits of each utterance, on the CPU; None for those too short for a frame."""
    reader, device = FileReader(list(utterances)), next(model.parameters()).device
    shortest, computed = factory.encoder_of(model).field_samples, list[Frames | None]()
    for row, utterance in enumerate(utterances):
        if utterance.num_samples < shortest:
            computed.append(None)
            continue
        waveform = reader(row, 0, utterance.num_samples).to(device)
        with torch.no_grad():
            found = model.logits(waveform[None], torch.tensor([len(waveform)], device=device))
        computed.append(Frames(found.data.float().cpu(), found.lengths.cpu()))
    return computed
