"""How sure a recogniser may be of each word it wrote: what the class scores say about it, and a probability from that.

The most telling number is the probability that the frames of a word, with the boundaries on both sides, read as exactly
this word: the sum over all alignments (Graves et al. 2006, section 4.1), of the word alone rather than of the text, so
that it does not depend on what else is said. Searches add what the language model says and how the other likely texts
vote (Wessel et al. 2001, word posteriors over n-best lists). A logistic regression makes one probability of all.
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
"""Texts that vote on a word."""
ACOUSTIC = ("reading", "reading_root", "symbols", "letters")
"""Features of every word: the log-probability r of its frames being read as this word; -sqrt(-r), because a language
model makes r very negative; the mean log-posterior of its symbols in their best frames; log of the number of symbols.
"""
VOTE = "vote"
"""Feature of a search: the log-odds of the word among the `NUM_BEST` best texts, weighted by their scores."""
CONTEXT = "context"
"""Feature of a language model over words: the word's log-probability after those before it."""
_LEAST, _LEAST_AGAINST = 1e-9, 1e-4  # in the vote, where all are for it or none

Array = NDArray[np.float64]


class Confidence(Config):
    """Logistic regression from a word's features to the probability that it is right."""

    features: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    """Features are taken minus their mean, divided by their scale."""
    weights: tuple[float, ...]
    bias: float
    search: dict[str, Any] | None
    """Settings of the search, from `search_settings`; None: the likeliest symbol of each frame."""
    fitted_on: dict[str, Any] = Field(default_factory=dict)
    """Data, split, utterances, words, and the share that was right."""

    @model_validator(mode="after")
    def _check(self) -> "Confidence":
        lengths = {len(part) for part in (self.features, self.means, self.scales, self.weights)}
        numbers = (*self.means, *self.scales, *self.weights, self.bias)
        if len(lengths) != 1 or not all(map(math.isfinite, numbers)) or min(self.scales, default=1.0) <= 0:
            raise ValueError("expected a finite mean, positive scale and weight for each feature")
        return self

    def probability(self, features: Float[Tensor, "word feature"] | Array) -> Array:
        """That each word is right.

        Args:
            features: `word feature`, in the order of `features`.
        """
        scaled = (np.asarray(features, np.float64) - self.means) / self.scales
        log_odds: Array = scaled @ np.array(self.weights) + self.bias
        return np.exp(-np.logaddexp(0.0, -log_odds))


def feature_names(decoder: BeamDecoder | None) -> tuple[str, ...]:
    """What `word_features` measures with this decoder."""
    if decoder is None:
        return ACOUSTIC
    return (*ACOUSTIC, VOTE) if word_model(decoder) is None else (*ACOUSTIC, VOTE, CONTEXT)


def word_model(decoder: BeamDecoder) -> NgramModel | None:
    """The language model of a search, where it is one over words."""
    return decoder.lm if decoder.lm_unit == "word" else None


def search_settings(decoder: BeamDecoder) -> dict[str, Any]:
    """All that decides what a search writes, as JSON holds it; confidence fitted with others would mislead."""
    lm = None
    if decoder.lm is not None:
        digest = hashlib.blake2b("\n".join(decoder.lm.words).encode(), digest_size=8)
        for part in decoder.lm.ngrams:
            digest.update(np.ascontiguousarray(part).tobytes())
        lm = digest.hexdigest()
    config = decoder.config.model_dump(mode="json", exclude={"num_best"})
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
    """The features of each word of a path, `word feature`: `ACOUSTIC`, then `VOTE` and `CONTEXT` where they are known.

    A word's numbers depend on its own frames and those of the boundaries beside it only, except for the vote, which
    counts whole texts: in a long passage, many share a word that is doubtful.

    Args:
        logits: class scores of one utterance or passage, normalised or not.
        path: how they were read.
        vocabulary: of the recogniser.
        hypotheses: of a search, the first being the one with this path.
        lm: language model over words.
    """
    scores = logits.detach().double().log_softmax(-1).cpu().numpy()
    found = word_symbols(path, vocabulary)
    columns = [_acoustic(scores, path, [symbols for _, symbols in found], vocabulary)]
    if hypotheses:
        columns.append(_votes(found, path, hypotheses, vocabulary)[:, None])
    if lm is not None:
        columns.append(_context([text for text, _ in found], lm)[:, None])
    return np.concatenate(columns, axis=1)


def reading(
    scores: Float[Tensor, "frame class"] | Array,
    ids: Sequence[int],
    *,
    boundary: int | None = None,
    before: bool = False,
    after: bool = False,
) -> float:
    """Log-probability that some frames read as these symbols, summed over all alignments.

    Args:
        scores: log-probabilities, the blank being class 0; a frame at least.
        ids: classes of the symbols; one at least.
        boundary: class of the word boundary; at the ends it reads as nothing, as the blank does.
        before: a boundary must stand before the first symbol.
        after: a boundary must stand after the last symbol.
    """
    scores = np.asarray(scores, np.float64)
    blank = scores[:, 0]
    silence = blank if boundary is None else np.logaddexp(blank, scores[:, boundary])
    symbols = [scores[:, number] for number in ids]
    enters = [step for symbol in symbols for step in (blank, symbol)][1:]
    stays, jumps = list(enters), [False] * len(enters)  # whether the state before this one may be left out
    jumps[2::2] = [first != second for first, second in itertools.pairwise(ids)]
    if before:  # blanks, then from the first boundary on anything that is silent
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
        came = np.full(len(jumps), -np.inf)
        came[1:] = state[:-1]
        came[2:] = np.logaddexp(came[2:], state[:-2] + closed)
        state = np.logaddexp(state + stay, came + enter)
    return float(state[-1] if after else np.logaddexp(state[-1], state[-2]))


def _acoustic(scores: Array, path: Path, words: Sequence[Sequence[int]], vocabulary: Vocabulary) -> Array:
    boundary = vocabulary.symbols.index(WORD_BOUNDARY) if WORD_BOUNDARY in vocabulary.symbols else None
    rows = np.empty((len(words), len(ACOUSTIC)))
    for row, symbols in zip(rows, words, strict=True):
        first, last = symbols[0] - 1, symbols[-1] + 1  # places of the boundaries beside the word, where there are any
        before, after = first >= 0, last < len(path.ids)
        frames = scores[path.spans[first][0] if before else 0 : path.spans[last][1] if after else len(scores)]
        ids = [path.ids[place] for place in symbols]
        read = min(0.0, reading(frames, ids, boundary=boundary, before=before, after=after))
        peaks = [scores[slice(*path.spans[place]), path.ids[place]].max() for place in symbols]
        row[:] = read, -math.sqrt(-read), np.mean(peaks), math.log(len(symbols))
    return rows


def _votes(
    found: Sequence[tuple[str, list[int]]], path: Path, hypotheses: Sequence[Hypothesis], vocabulary: Vocabulary
) -> Array:
    """Log-odds of each word: a text is for it that has the same word at an overlapping time."""
    scores = np.array([one.score for one in hypotheses])
    shares = np.exp(scores - np.logaddexp.reduce(scores))
    votes = np.zeros(len(found))
    for one, share in zip(hypotheses, shares, strict=True):
        spans: dict[str, list[tuple[int, int]]] = {}
        for text, symbols in word_symbols(one.path, vocabulary):
            spans.setdefault(text, []).append(_span(one.path, symbols))
        for number, (text, symbols) in enumerate(found):
            start, end = _span(path, symbols)
            votes[number] += share * any(first < end and start < last for first, last in spans.get(text, ()))
    return np.log(np.maximum(votes, _LEAST)) - np.log(np.maximum(1 - votes, _LEAST_AGAINST))


def _span(path: Path, symbols: Sequence[int]) -> tuple[int, int]:
    return path.spans[symbols[0]][0], path.spans[symbols[-1]][1]


def _context(words: Sequence[str], lm: NgramModel) -> Array:
    state, scores = lm.start, np.empty(len(words))
    for number, word in enumerate(words):
        scores[number], state = lm.score(state, lm.word_id(word))
    return scores
