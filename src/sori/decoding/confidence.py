"""Word confidence: features of each recognised word, and the probability that it is right.

The most informative feature is the probability that the frames of a word, with the boundaries on both sides, are
decoded as exactly this word: the sum over all alignments (Graves et al. 2006, section 4.1) of the word alone, so that
it does not depend on the rest of the text. A beam search adds the language-model score and the word posterior over the
n-best list (Wessel et al. 2001). Logistic regression maps the features to a probability.
"""

import hashlib
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from sori.core.config import Config
from sori.core.shapes import Float, Tensor
from sori.decoding.beam import BeamDecoder, Hypothesis
from sori.decoding.greedy import Path, word_symbols
from sori.lm.ngram import NgramModel
from sori.text.vocabulary import WORD_BOUNDARY, Vocabulary

NUM_BEST = 20
"""Size of the n-best list for word posteriors."""
ACOUSTIC = ("reading", "reading_root", "symbols", "letters")
"""Features of every word: log-probability r that its frames are decoded as this word; -sqrt(-r), because r is very
negative with a language model; mean log-posterior of its symbols in their best frames; log of the number of symbols.
"""
VOTE = "vote"
"""Feature of a beam search: log-odds of the word among the `NUM_BEST` best texts, weighted by their scores."""
CONTEXT = "context"
"""Feature of a word language model: log-probability of the word given those before it."""
_LEAST, _LEAST_AGAINST = 1e-9, 1e-4  # lower limits of the posterior and its complement

Array = NDArray[np.float64]


class Confidence(Config):
    """Logistic regression from a word's features to the probability that it is right."""

    features: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    """Features are standardised: minus their mean, divided by their scale."""
    weights: tuple[float, ...]
    bias: float
    search: dict[str, Any] | None
    """Settings of the search, from `search_settings`; None: greedy decoding."""
    fitted_on: dict[str, Any] = Field(default_factory=dict)
    """Data, split, number of utterances and words, and the fraction of words that was right."""

    @model_validator(mode="after")
    def _check(self) -> "Confidence":
        lengths = {len(part) for part in (self.features, self.means, self.scales, self.weights)}
        numbers = (*self.means, *self.scales, *self.weights, self.bias)
        if len(lengths) != 1 or not all(map(math.isfinite, numbers)) or min(self.scales, default=1.0) <= 0:
            raise ValueError("expected a finite mean, positive scale and weight for each feature")
        return self

    def probability(self, features: Float[Tensor, "word feature"] | Array) -> Array:
        """Return the probability that each word is right.

        Args:
            features: `word feature`, in the order of `features`.
        """
        scaled = (np.asarray(features, np.float64) - self.means) / self.scales
        log_odds: Array = scaled @ np.array(self.weights) + self.bias
        return np.exp(-np.logaddexp(0.0, -log_odds))


def feature_names(decoder: BeamDecoder | None) -> tuple[str, ...]:
    """Return the names of the features that `word_features` computes with this decoder."""
    if decoder is None:
        return ACOUSTIC
    return (*ACOUSTIC, VOTE) if word_model(decoder) is None else (*ACOUSTIC, VOTE, CONTEXT)


def word_model(decoder: BeamDecoder) -> NgramModel | None:
    """Return the language model of a decoder if it is a word model, else None."""
    return decoder.lm if decoder.lm_unit == "word" else None


def search_settings(decoder: BeamDecoder) -> dict[str, Any]:
    """Return all settings that determine the output of a search, as JSON data; confidence is valid only for these."""
    lm = None
    if decoder.lm is not None:
        digest = hashlib.blake2b("\n".join(decoder.lm.words).encode(), digest_size=8)
        for part in decoder.lm.ngrams:
            digest.update(np.ascontiguousarray(part).tobytes())
        lm = digest.hexdigest()
    unused = {"num_best"} if decoder.scores_spelling else {"num_best", "spelling_weight"}
    config = decoder.config.model_dump(mode="json", exclude=unused)
    config = {name: str(value) if value == math.inf else value for name, value in config.items()}  # not in JSON
    hot = sorted(decoder.hot_words)
    return {**config, "lm": lm, "only_known_words": decoder.only_known_words, "hot_words": hot}


def word_features(
    logits: Float[Tensor, "frame class"],
    path: Path,
    vocabulary: Vocabulary,
    *,
    hypotheses: Sequence[Hypothesis] = (),
    lm: NgramModel | None = None,
) -> Array:
    """Return the features of each word of a path, `word feature`: `ACOUSTIC`, then `VOTE` and `CONTEXT` if available.

    The acoustic features depend only on the frames of the word and of the boundaries beside it. The vote compares whole
    texts: in a long chunk, many of them contain a doubtful word.

    Args:
        logits: Class scores of one utterance or chunk, normalised or not.
        path: Decoded path.
        vocabulary: Vocabulary of the recogniser.
        hypotheses: Results of a beam search, the first with this path.
        lm: Word language model.
    """
    scores = logits.detach().double().log_softmax(-1).cpu().numpy()
    found = word_symbols(path, vocabulary)
    columns = [_acoustic(scores, path, [symbols for _, symbols in found], vocabulary)]
    if hypotheses:
        columns.append(_votes(found, path, hypotheses, vocabulary)[:, None])
    if lm is not None:
        columns.append(_context([text for text, _ in found], lm)[:, None])
    return np.concatenate(columns, axis=1)


def symbols_log_prob(
    scores: Float[Tensor, "frame class"] | Array,
    ids: Sequence[int],
    *,
    boundary: int | None = None,
    before: bool = False,
    after: bool = False,
) -> float:
    """Return the log-probability that frames are decoded as these symbols, summed over all alignments.

    Args:
        scores: Log-probabilities with blank as class 0; at least one frame.
        ids: Classes of the symbols, at least one.
        boundary: Class of the word boundary; at the ends it is treated like blank.
        before: Whether a boundary is required before the first symbol.
        after: Whether a boundary is required after the last symbol.
    """
    scores = np.asarray(scores, np.float64)
    blank = scores[:, 0]
    silence = blank if boundary is None else np.logaddexp(blank, scores[:, boundary])
    symbols = [scores[:, number] for number in ids]
    enters = [step for symbol in symbols for step in (blank, symbol)][1:]
    stays, jumps = list(enters), [False] * len(enters)  # whether the preceding state may be skipped
    jumps[2::2] = [first != second for first, second in itertools.pairwise(ids)]
    if before:  # blanks, then from the first boundary on blanks and boundaries
        enters, stays, jumps = [blank, scores[:, boundary], *enters], [blank, silence, *stays], [False, False, *jumps]
    else:
        enters, stays, jumps = [silence, *enters], [silence, *stays], [False, *jumps]
    if after:
        enters, stays, jumps = [*enters, blank, scores[:, boundary]], [*stays, blank, silence], [*jumps, False, True]
    else:
        enters, stays, jumps = [*enters, silence], [*stays, silence], [*jumps, False]
    entering, staying = np.stack(enters, 1), np.stack(stays, 1)
    closed = np.where(jumps, 0.0, -np.inf)[2:]
    state = np.full(len(jumps), -np.inf)
    state[:2] = entering[0, :2]
    for enter, stay in zip(entering[1:], staying[1:], strict=True):
        arriving = np.full(len(jumps), -np.inf)
        arriving[1:] = state[:-1]
        arriving[2:] = np.logaddexp(arriving[2:], state[:-2] + closed)
        state = np.logaddexp(state + stay, arriving + enter)
    return float(state[-1] if after else np.logaddexp(state[-1], state[-2]))


def _acoustic(scores: Array, path: Path, words: Sequence[Sequence[int]], vocabulary: Vocabulary) -> Array:
    boundary = vocabulary.symbols.index(WORD_BOUNDARY) if WORD_BOUNDARY in vocabulary.symbols else None
    rows = np.empty((len(words), len(ACOUSTIC)))
    for row, symbols in zip(rows, words, strict=True):
        first, last = symbols[0] - 1, symbols[-1] + 1  # positions of the boundaries beside the word, if any
        before, after = first >= 0, last < len(path.ids)
        frames = scores[path.spans[first][0] if before else 0 : path.spans[last][1] if after else len(scores)]
        ids = [path.ids[position] for position in symbols]
        log_prob = min(0.0, symbols_log_prob(frames, ids, boundary=boundary, before=before, after=after))
        peaks = [scores[slice(*path.spans[position]), path.ids[position]].max() for position in symbols]
        row[:] = log_prob, -math.sqrt(-log_prob), np.mean(peaks), math.log(len(symbols))
    return rows


def _votes(
    found: Sequence[tuple[str, list[int]]], path: Path, hypotheses: Sequence[Hypothesis], vocabulary: Vocabulary
) -> Array:
    """Return the log-odds of each word; a text counts for it if it has the same word at an overlapping time."""
    scores = np.array([one.score for one in hypotheses])
    weights = np.exp(scores - np.logaddexp.reduce(scores))
    votes = np.zeros(len(found))
    for one, weight in zip(hypotheses, weights, strict=True):
        spans: dict[str, list[tuple[int, int]]] = {}
        for text, symbols in word_symbols(one.path, vocabulary):
            spans.setdefault(text, []).append(_span(one.path, symbols))
        for number, (text, symbols) in enumerate(found):
            start, end = _span(path, symbols)
            votes[number] += weight * any(first < end and start < last for first, last in spans.get(text, ()))
    return np.log(np.maximum(votes, _LEAST)) - np.log(np.maximum(1 - votes, _LEAST_AGAINST))


def _span(path: Path, symbols: Sequence[int]) -> tuple[int, int]:
    return path.spans[symbols[0]][0], path.spans[symbols[-1]][1]


def _context(words: Sequence[str], lm: NgramModel) -> Array:
    state, scores = lm.start, np.empty(len(words))
    for number, word in enumerate(words):
        scores[number], state = lm.score(state, lm.word_id(word))
    return scores
