"""Pairs of passages to pre-train BERT on: two of one document that follow each other, or two that do not.

Devlin et al. 2019, section 3.1 and appendix A.2, as their code makes them, but for two things: every epoch is cut anew,
and how long a pair is to be is drawn for each pair, not for each document (with novels for documents, whole novels
would be cut into pairs of a few words).
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
    """How texts become micro-batches of pairs of passages."""

    wordpiece: WordPieceConfig = WordPieceConfig()
    """Of a run that starts from random weights; one that starts from a model keeps the model's vocabulary."""
    batch_size: int = Field(default=256, ge=1)
    """Pairs in a micro-batch."""
    max_tokens: int = Field(default=128, ge=5)
    """Longest pair, [CLS] and two [SEP] counted."""
    short_share: float = Field(default=0.1, ge=0, le=1)
    """So many pairs are to be of any length, for what is short later."""
    elsewhere_share: float = Field(default=0.5, ge=0, le=1)
    """In so many pairs the second passage is from another document; also wherever a single sentence fills the pair."""
    held_out_every: int = Field(default=50, ge=2)
    """Every so manieth document is kept for measuring; of texts with fewer documents, the last such part of each."""
    held_out_pairs: int = Field(default=512, ge=1)
    """At most so many of their pairs are measured on."""


class Ranges(NamedTuple):
    """Sentences to train on and sentences to measure on: first one and the one after the last, for each document."""

    train: NDArray[np.int64]
    held_out: NDArray[np.int64]


def divide(documents: NDArray[np.int64], every: int) -> Ranges:
    """What is held out; see `TextsConfig.held_out_every`.

    Args:
        documents: where each begins, and where the last one ends.
        every: as in the settings.
    """
    whole = np.stack([documents[:-1], documents[1:]], axis=1)
    if len(whole) >= every:
        chosen = np.arange(len(whole)) % every == every - 1
        return Ranges(whole[~chosen], whole[chosen])
    cuts = whole[:, 1] - (whole[:, 1] - whole[:, 0]) // every
    train, held_out = np.stack([whole[:, 0], cuts], axis=1), np.stack([cuts, whole[:, 1]], axis=1)
    return Ranges(train, held_out[held_out[:, 0] < held_out[:, 1]])


class Pairs(NamedTuple):
    """Where the passages of each pair lie: numbers of the first sentence and of the one after the last."""

    first: NDArray[np.int64]
    """"pair 2"."""
    second: NDArray[np.int64]
    """"pair 2"."""
    elsewhere: NDArray[np.bool_]
    """Whether the second was drawn from elsewhere."""


def cut_pairs(sentences: NDArray[np.int64], documents: NDArray[np.int64], config: TextsConfig, *, seed: int) -> Pairs:
    """One pass over all documents.

    Sentences are gathered until a pair is full; the first passage ends at a random one of them. Where the second is
    replaced, the sentences it had are used for the next pair. Its replacement is from another document (of ten drawn;
    where there is one document only, from anywhere in it), from a random sentence on.

    Args:
        sentences: where each begins, and where the last one ends.
        documents: ranges of sentences, "document 2".
        config: lengths and shares.
        seed: of the draws.
    """
    draw = random.Random(seed)  # noqa: S311 - no secrets here
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
    """Tokens of a pair, without the three special ones."""
    most = config.max_tokens - 3
    return draw.randint(2, most) if draw.random() < config.short_share else most


def _elsewhere(ranges: list[list[int]], number: int, draw: random.Random) -> tuple[int, int]:
    """A random sentence of another document, and where that document ends."""
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

    Every epoch cuts the documents anew and shuffles the pairs. An epoch has as many batches as the first one fills; a
    later one that has more pairs leaves some out, one that has fewer repeats some.

    Args:
        tokens: of all texts.
        documents: ranges of sentences to take, "document 2".
        config: batch size and lengths.
        wordpiece: of the tokens.
        seed: of the run.

    Raises:
        ValueError: there are fewer pairs than a batch has.
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
        """In the first epoch."""
        self.num_batches = self.num_pairs // config.batch_size
        """Micro-batches in an epoch."""
        if not self.num_batches:
            raise ValueError(
                f"expected texts for at least one batch of {config.batch_size} pairs of passages, got {self.num_pairs} "
                "pairs; lower texts.batch_size, or give more text"
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
        """Micro-batch `index`; numbers go on through the epochs."""
        epoch, position = divmod(index, self.num_batches)
        plan, size = self._plan(epoch), self._config.batch_size
        rows = np.arange(position * size, (position + 1) * size) % len(plan.elsewhere)
        draw = np.random.Generator(np.random.Philox(derive(self._seed, index, "cuts")))
        pairs = [
            shorten(*(self._ids(part[row]) for part in plan[:2]), most=self._config.max_tokens - 3, draw=draw)
            for row in rows
        ]
        return join(pairs, plan.elsewhere[rows, None], pad=self._pad, cls=self._cls, sep=self._sep)

    def _ids(self, passage: NDArray[np.int64]) -> NDArray[np.int64]:
        first, last = self._tokens.sentences[passage]
        return self._tokens.ids[first:last].astype(np.int64)


def shorten(
    first: NDArray[np.int64], second: NDArray[np.int64], *, most: int, draw: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two passages of at most so many tokens: one is taken from the longer one until they fit, in front or behind.

    Args:
        first: of the pair.
        second: of the pair; shortened where both are equally long.
        most: tokens of both together.
        draw: for each token whether it is taken in front.
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
    """`[CLS] first [SEP] second [SEP]`, padded to the longest."""
    lengths = [3 + len(first) + len(second) for first, second in pairs]
    ids = np.full((len(pairs), max(lengths)), pad, dtype=np.int64)
    parts = np.zeros_like(ids)
    for row, (first, second) in enumerate(pairs):
        ids[row, : lengths[row]] = np.concatenate([[cls], first, [sep], second, [sep]])
        parts[row, len(first) + 2 : lengths[row]] = 1
    tensors = torch.from_numpy(ids), torch.from_numpy(parts), torch.tensor(lengths), torch.from_numpy(labels).long()
    return TokenBatch(*tensors)


def unigrams(tokens: Tokens, documents: NDArray[np.int64], num_tokens: int) -> NDArray[np.float64]:
    """Log-probability of every token by its count in some documents, one added to each."""
    counts = np.ones(num_tokens)
    for ids in _stretches(tokens, documents):
        counts += np.bincount(ids, minlength=num_tokens)
    return np.asarray(np.log(counts / counts.sum()))


def _stretches(tokens: Tokens, documents: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start, end in documents:
        yield tokens.ids[tokens.sentences[start] : tokens.sentences[end]].astype(np.int64)
