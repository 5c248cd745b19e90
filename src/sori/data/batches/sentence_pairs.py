"""Pairs of segments to pre-train BERT on: two consecutive segments of a document, or two unrelated ones.

Devlin et al. 2019, section 3.1 and appendix A.2, as in their code except for two differences: every epoch makes new
pairs, and the target length is drawn for each pair instead of each document (with novels as documents, whole novels
would be divided into pairs of a few words).
"""

import random
import threading
from array import array
from collections.abc import Iterator
from typing import NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from sori.core.batch import TokenBatch
from sori.core.config import Config
from sori.core.seeds import derive
from sori.data.batches.token_store import Tokens
from sori.text.wordpiece import WordPiece, WordPieceConfig

_TRIES = 10


class TextsConfig(Config):
    """Settings that turn texts into micro-batches of segment pairs."""

    wordpiece: WordPieceConfig = WordPieceConfig()
    """Vocabulary of a run that starts from random weights; a run that starts from a model uses the model's."""
    batch_size: int = Field(default=256, ge=1)
    """Pairs in a micro-batch."""
    max_tokens: int = Field(default=128, ge=5)
    """Maximum length of a pair, including [CLS] and two [SEP]."""
    short_share: float = Field(default=0.1, ge=0, le=1)
    """Fraction of pairs of random length, so that the model also sees short inputs."""
    elsewhere_share: float = Field(default=0.5, ge=0, le=1)
    """Fraction of pairs whose second segment is from another document; also used if one sentence fills the pair."""
    held_out_every: int = Field(default=50, ge=2)
    """Every N-th document is held out for evaluation; with fewer than N documents, the last 1/N of each."""
    held_out_pairs: int = Field(default=512, ge=1)
    """Maximum number of held-out pairs for evaluation."""


class Ranges(NamedTuple):
    """Training and held-out sentences: the first one and the one after the last, for each document."""

    train: NDArray[np.int64]
    held_out: NDArray[np.int64]


def divide(documents: NDArray[np.int64], every: int) -> Ranges:
    """Divide documents into training and held-out sentences; see `TextsConfig.held_out_every`.

    Args:
        documents: start of each document, and the end of the last one.
        every: N, see `TextsConfig.held_out_every`.
    """
    whole = np.stack([documents[:-1], documents[1:]], axis=1)
    if len(whole) >= every:
        chosen = np.arange(len(whole)) % every == every - 1
        return Ranges(whole[~chosen], whole[chosen])
    cuts = whole[:, 1] - (whole[:, 1] - whole[:, 0]) // every
    train, held_out = np.stack([whole[:, 0], cuts], axis=1), np.stack([cuts, whole[:, 1]], axis=1)
    return Ranges(train, held_out[held_out[:, 0] < held_out[:, 1]])


class Pairs(NamedTuple):
    """The segments of each pair: numbers of the first sentence and of the one after the last."""

    first: NDArray[np.int64]
    """Shape "pair 2"."""
    second: NDArray[np.int64]
    """Shape "pair 2"."""
    elsewhere: NDArray[np.bool_]
    """Whether the second segment was drawn from elsewhere."""


def cut_pairs(sentences: NDArray[np.int64], documents: NDArray[np.int64], config: TextsConfig, *, seed: int) -> Pairs:
    """Make the pairs of one pass over all documents.

    Sentences are collected until a pair is full; the first segment ends after a random one of them. If the second
    segment is replaced, its sentences are used for the next pair. The replacement starts at a random sentence of
    another document (up to ten draws; with a single document, anywhere in it).

    Args:
        sentences: start of each sentence, and the end of the last one.
        documents: ranges of sentences, shape "document 2".
        config: lengths and fractions.
        seed: seed of the random numbers.
    """
    draw = random.Random(seed)  # noqa: S311 - not used for secrets
    begins, ranges = sentences.tolist(), documents.tolist()
    firsts, seconds, elsewhere = array("q"), array("q"), array("b")
    for number, (start, end) in enumerate(ranges):
        here = start
        while here < end:
            target = _target(config, draw)
            last = here + 1
            while last < end and begins[last] - begins[here] < target:
                last += 1
            cut = last if last == here + 1 else draw.randrange(here + 1, last)
            other = cut == last or draw.random() < config.elsewhere_share
            if other:
                place, stop = _elsewhere(ranges, number, draw)
                room = target - (begins[cut] - begins[here])
                until = place + 1
                while until < stop and begins[until] - begins[place] < room:
                    until += 1
                second = (place, until)
            else:
                second = (cut, last)
            firsts.extend((here, cut))
            seconds.extend(second)
            elsewhere.append(other)
            here = cut if other else last
    return Pairs(
        np.array(firsts, dtype=np.int64).reshape(-1, 2),
        np.array(seconds, dtype=np.int64).reshape(-1, 2),
        np.array(elsewhere, dtype=np.bool_),
    )


def _target(config: TextsConfig, draw: random.Random) -> int:
    """Return the target length of a pair in tokens, without the three special ones."""
    most = config.max_tokens - 3
    return draw.randint(2, most) if draw.random() < config.short_share else most


def _elsewhere(ranges: list[list[int]], number: int, draw: random.Random) -> tuple[int, int]:
    """Return a random sentence of another document, and the end of that document."""
    other = number
    for _ in range(_TRIES):
        other = draw.randrange(len(ranges))
        if other != number:
            break
    start, stop = ranges[other]
    return draw.randrange(start, stop), stop


@final
class PairBatches:
    """Micro-batches of pairs, a pure function of the seed and the micro-batch's number.

    Every epoch makes new pairs and shuffles them. All epochs have the number of batches of the first one; a later epoch
    with more pairs leaves some out, one with fewer pairs repeats some.

    Args:
        tokens: tokens of all texts.
        documents: ranges of sentences to use, shape "document 2".
        config: batch size and lengths.
        wordpiece: the tokeniser.
        seed: seed of the run.

    Raises:
        ValueError: there are fewer pairs than one batch needs.
    """

    def __init__(
        self,
        tokens: Tokens,
        documents: NDArray[np.int64],
        config: TextsConfig,
        wordpiece: WordPiece,
        *,
        seed: int,
    ) -> None:
        self._tokens, self._documents, self._config, self._seed = tokens, documents, config, seed
        self._pad, self._cls, self._sep = wordpiece.pad, wordpiece.cls, wordpiece.sep
        self._lock, self._plans = threading.Lock(), dict[int, Pairs]()
        self.num_pairs = len(self._plan(0).elsewhere)
        """Pairs in the first epoch."""
        self.num_batches = self.num_pairs // config.batch_size
        """Micro-batches in an epoch."""
        if not self.num_batches:
            raise ValueError(
                f"expected texts for at least one batch of {config.batch_size} segment pairs, got {self.num_pairs}; "
                "lower texts.batch_size, or give more text"
            )

    def _plan(self, epoch: int) -> Pairs:
        with self._lock:
            if epoch not in self._plans:
                self._plans = {known: plan for known, plan in self._plans.items() if known == epoch - 1}
                seed = derive(self._seed, epoch, "pairs")
                pairs = cut_pairs(self._tokens.sentences, self._documents, self._config, seed=seed)
                order = np.random.Generator(np.random.Philox(seed)).permutation(len(pairs.elsewhere))
                self._plans[epoch] = Pairs(pairs.first[order], pairs.second[order], pairs.elsewhere[order])
            return self._plans[epoch]

    def __getitem__(self, index: int) -> TokenBatch:
        """Return micro-batch `index`, numbered consecutively over all epochs."""
        epoch, position = divmod(index, self.num_batches)
        plan, size = self._plan(epoch), self._config.batch_size
        rows = np.arange(position * size, (position + 1) * size) % len(plan.elsewhere)
        draw = np.random.Generator(np.random.Philox(derive(self._seed, index, "cuts")))
        pairs = [
            shorten(*(self._ids(part[row]) for part in plan[:2]), most=self._config.max_tokens - 3, draw=draw)
            for row in rows
        ]
        return join(pairs, plan.elsewhere[rows, None], pad=self._pad, cls=self._cls, sep=self._sep)

    def _ids(self, segment: NDArray[np.int64]) -> NDArray[np.int64]:
        first, last = self._tokens.sentences[segment]
        return self._tokens.ids[first:last].astype(np.int64)


def shorten(
    first: NDArray[np.int64], second: NDArray[np.int64], *, most: int, draw: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Shorten a pair: remove tokens from the start or end of the longer segment until the pair fits.

    Args:
        first: first segment.
        second: second segment, which is shortened if both are equally long.
        most: maximum number of tokens of both together.
        draw: decides for each token whether it is removed from the start or the end.
    """
    too_many = max(0, len(first) + len(second) - most)
    from_longer = min(too_many, abs(len(first) - len(second)))
    half = (too_many - from_longer) // 2
    gone = [half, too_many - from_longer - half]
    gone[0 if len(first) > len(second) else 1] += from_longer
    in_front = draw.binomial(gone, 0.5)
    return tuple(  # type: ignore[return-value]
        ids[front : len(ids) - (number - front)]
        for ids, number, front in zip((first, second), gone, in_front, strict=True)
    )


def join(
    pairs: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
    labels: NDArray[np.bool_],
    *,
    pad: int,
    cls: int,
    sep: int,
) -> TokenBatch:
    """Return a batch of `[CLS] first [SEP] second [SEP]`, padded to the longest."""
    lengths = [3 + len(first) + len(second) for first, second in pairs]
    ids = np.full((len(pairs), max(lengths)), pad, dtype=np.int64)
    parts = np.zeros_like(ids)
    for row, (first, second) in enumerate(pairs):
        ids[row, : lengths[row]] = np.concatenate([[cls], first, [sep], second, [sep]])
        parts[row, len(first) + 2 : lengths[row]] = 1
    tensors = torch.from_numpy(ids), torch.from_numpy(parts), torch.tensor(lengths), torch.from_numpy(labels).long()
    return TokenBatch(*tensors)


def unigrams(tokens: Tokens, documents: NDArray[np.int64], num_tokens: int) -> NDArray[np.float64]:
    """Return the log-probability of every token from its count in some documents, with add-one smoothing."""
    counts = np.ones(num_tokens)
    for ids in _document_ids(tokens, documents):
        counts += np.bincount(ids, minlength=num_tokens)
    return np.asarray(np.log(counts / counts.sum()))


def _document_ids(tokens: Tokens, documents: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start, end in documents:
        yield tokens.ids[tokens.sentences[start] : tokens.sentences[end]].astype(np.int64)
