"""Weights with which a language model is combined with the scores of a recogniser (shallow fusion), in nats.

flashlight and KenLM use base-10 logarithms for language models: their weight is 2.303 times this one.
"""

import math

from pydantic import Field

from sori.core.config import Config
from sori.lm.ngram import NgramModel

_MOST_NATS = 1e6
"""Scores beyond this would drown the acoustic score in rounding."""
_MOST_NEW = 0.3
"""Highest probability of a new word that `new_word_score` assumes; by 60 minutes of transcripts it is 0.26."""


class FusionConfig(Config):
    """Weights of the beam search that are tuned on held-out speech."""

    lm_weight: float = Field(0.8, ge=0, le=_MOST_NATS)
    """Factor on the language model's log-probability."""
    word_score: float = Field(0.0, ge=-_MOST_NATS, le=_MOST_NATS)
    """Added for each word; values above 0 compensate the preference of language models for few words."""
    unknown_score: float | None = Field(None, ge=-_MOST_NATS, le=_MOST_NATS)
    """Added for each word that is not in the lexicon; None: only words of the lexicon are allowed. Without a lexicon:
    added for each word that is not in the language model, None meaning 0."""
    unknown_symbol_score: float = Field(0.0, ge=-_MOST_NATS, le=_MOST_NATS)
    """Added for each symbol of such a word."""
    spelling_weight: float = Field(0.0, ge=0, le=_MOST_NATS)
    """Factor on the log-probability of the spelling of such a word, by a character n-gram of the known words."""


def new_word_score(model: NgramModel, lm_weight: float) -> float:
    """Return the score with which a new word costs what all new words together should, before its spelling.

    Kneser-Ney smoothing divides the probability of unseen words equally among all words of the model, of which <unk>
    is only one; what is known of the others is in their own counts. So all of it belongs to the new words. A model that
    gives <unk> more from the beginning gets less.

    Args:
        model: word n-grams.
        lm_weight: factor on their log-probability.
    """
    log_prob = float(model.ngrams.log_prob[1 + model.unknown])
    return lm_weight * max(0.0, min(math.log(len(model.words)), math.log(_MOST_NEW) - log_prob))


def untuned(model: NgramModel, *, lm_weight: float | None = None) -> FusionConfig:
    """Return the weights for a recogniser and a word model whose weights were not tuned.

    Of twelve settings tried on English read by non-native speakers, with a weak recogniser, they gave the lowest word
    error rate without more character errors (docs/results/decoding.md).
    """
    weight = UNTUNED.lm_weight if lm_weight is None else lm_weight
    return UNTUNED.model_copy(update={"lm_weight": weight, "unknown_score": new_word_score(model, weight)})


UNTUNED = FusionConfig(lm_weight=0.5, word_score=3.0, spelling_weight=0.5)
"""Weights of `untuned`, without the unknown score, which depends on the model."""
