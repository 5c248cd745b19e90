"""Beam search with a language model (shallow fusion), and tuning of its weights."""

from collections.abc import Sequence
from pathlib import Path as File
from typing import NamedTuple

import torch

from sori.core.shapes import Frames
from sori.data.batches.loader import FileReader
from sori.data.manifest import Utterance
from sori.decoding.beam import BeamConfig, BeamDecoder, read_out
from sori.evaluation.error_rate import ErrorReport, error_rates
from sori.lm.ngram import NgramModel
from sori.models import factory
from sori.models.ctc import Ctc
from sori.models.factory import System
from sori.text.vocabulary import WORD_BOUNDARY

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
WORD_SCORES = (-1.0, 0.0, 1.0, 2.0, 3.0, 4.0)
"""Grid that `tune` searches: all pairs of the two lists."""


def decoder(
    model: System,
    lm: str | File | None,
    config: BeamConfig,
    *,
    known_words_only: bool = True,
    hot_words: Sequence[str] = (),
) -> BeamDecoder:
    """Build a beam search decoder for a recogniser, with or without a language model.

    Args:
        model: a recogniser from `load`.
        lm: ARPA file (.arpa, .arpa.gz), over words or over the recogniser's symbols (`sori lm build --unit character`;
            its symbols include the word boundary `|`, and any word can be output). None: any word can be output, and
            only hot words get a bonus.
        config: settings of the search.
        known_words_only: output only words of the word-level language model, and hot words.
        hot_words: words that get a bonus.

    Raises:
        ValueError: the model is not a recogniser, the file is damaged, or the vocabularies have no words in common.
        FileNotFoundError: there is no such file.
    """
    if not isinstance(model, Ctc) or model.vocabulary is None:
        raise ValueError(
            "expected a recogniser, got a model without an output vocabulary; fine-tune it with transcripts first: "
            "`sori train ctc_10min --init MODEL`"
        )
    if lm is None:
        return BeamDecoder(model.vocabulary, config, hot_words=hot_words)
    ngrams = NgramModel.read(lm)
    if WORD_BOUNDARY in ngrams.words:
        return BeamDecoder(model.vocabulary, config, lm=ngrams, lm_unit="symbol", hot_words=hot_words)
    lexicon = ngrams.words if known_words_only else None
    return BeamDecoder(model.vocabulary, config, lm=ngrams, lexicon=lexicon, hot_words=hot_words)


class TuningResult(NamedTuple):
    """Result of `tune`."""

    config: BeamConfig
    """Best configuration."""
    greedy: ErrorReport
    """Error rates of greedy decoding, without a language model."""
    best: ErrorReport
    """Error rates of the best configuration."""
    tried: list[tuple[float, float, float, float]]
    """Language model weight, word score, word and character error rate of each pair."""

    def table(self) -> str:
        """Format every pair and the best one as a text table."""
        rows = [f"{'weight':>7}{'word score':>12}{'WER':>8}{'CER':>8}"]
        rows += [f"{weight:7.2f}{score:12.2f}{wer:8.1%}{cer:8.1%}" for weight, score, wer, cer in self.tried]
        rows.append(f"without language model: WER {self.greedy.wer.rate:.1%}, CER {self.greedy.cer.rate:.1%}")
        rows.append(
            f"best: --lm-weight {self.config.lm_weight:g} --word-score {self.config.word_score:g}   "
            f"WER {self.best.wer.rate:.1%} ({self.best.wer.low:.1%} to {self.best.wer.high:.1%})"
        )
        return "\n".join(rows)


def tune(model: Ctc, search: BeamDecoder, utterances: Sequence[Utterance]) -> TuningResult:
    """Find the language model weight and the word score with the lowest word error rate.

    Logits are computed once; then the search is repeated with all pairs of `WEIGHTS` and `WORD_SCORES`.

    Args:
        model: a recogniser, in evaluation mode.
        search: from `decoder`; all other settings are kept.
        utterances: transcribed utterances that neither the recogniser nor the language model was trained on.
    """
    logits, vocabulary = _logits(model, utterances), search.vocabulary

    def measure(search: BeamDecoder | None) -> ErrorReport:
        paths = iter(read_out([row for row in logits if row is not None], search))
        texts = ["" if row is None else vocabulary.normalise(vocabulary.decode(next(paths).ids)) for row in logits]
        references = [vocabulary.normalise(u.text or "") for u in utterances]
        return error_rates(references, texts, [u.speaker for u in utterances])

    configs = [
        search.config.model_copy(update={"lm_weight": weight, "word_score": score})
        for weight in WEIGHTS
        for score in WORD_SCORES
    ]
    reports = [measure(search.with_config(config)) for config in configs]
    config, best = min(zip(configs, reports, strict=True), key=lambda pair: pair[1].wer.rate)
    tried = [
        (one.lm_weight, one.word_score, report.wer.rate, report.cer.rate)
        for one, report in zip(configs, reports, strict=True)
    ]
    return TuningResult(config, measure(None), best, tried)


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
