"""Beam search with a language model of the user, or with the one stored with a recogniser (shallow fusion)."""

from collections.abc import Mapping, Sequence
from pathlib import Path as File
from typing import Any

from sori.decoding.beam import BeamConfig, BeamDecoder
from sori.decoding.lm_decoder import lm_decoder
from sori.evaluation import stored_decoder
from sori.lm.fusion import new_word_score, untuned
from sori.lm.ngram import NgramModel
from sori.models.ctc import Ctc
from sori.models.factory import System
from sori.text.vocabulary import WORD_BOUNDARY


def decoder(
    model: System,
    lm: str | File | None,
    config: BeamConfig | None = None,
    *,
    changes: Mapping[str, Any] | None = None,
    known_words_only: bool = False,
    hot_words: Sequence[str] = (),
) -> BeamDecoder:
    """Build a beam search decoder for a recogniser, with or without a language model.

    Args:
        model: a recogniser from `load`.
        lm: ARPA file (.arpa, .arpa.gz), over words or over the recogniser's symbols (`sori lm build --unit character`;
            its symbols include the word boundary `|`, and any word can be output). None: any word can be output, and
            only hot words get a bonus.
        config: settings of the search; None: the weights of `untuned` for a model over words. Without an
            `unknown_score`, words that are not in the language model have `new_word_score`.
        changes: settings that differ from these.
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
    given = dict(changes or {})
    ngrams = None if lm is None else NgramModel.read(lm)
    over_words = ngrams is not None and WORD_BOUNDARY not in ngrams.words
    base = BeamConfig() if config is None else config
    if config is None and ngrams is not None and over_words:
        base = BeamConfig(**untuned(ngrams, lm_weight=given.get("lm_weight")).model_dump())
    config = BeamConfig.from_data({**base.model_dump(), **given}, origin="the set of decoding options")
    if ngrams is None:
        return BeamDecoder(model.vocabulary, config, hot_words=hot_words)
    if over_words:
        unknown = new_word_score(ngrams, config.lm_weight) if config.unknown_score is None else config.unknown_score
        config = config.model_copy(update={"unknown_score": None if known_words_only else unknown})
    return lm_decoder(model.vocabulary, ngrams, config, hot_words=hot_words)


def stored(model: System) -> BeamDecoder | None:
    """Return the decoder that `transcribe` and `evaluate` use by default; None: greedy decoding.

    Args:
        model: a recogniser from `load`.

    Raises:
        ValueError, FileNotFoundError: the language model stored with it is damaged.
    """
    return stored_decoder.resolved(model, stored_decoder.STORED)
