r"""Estimation of n-gram language models: interpolated modified Kneser-Ney smoothing, written as ARPA.

Chen and Goodman 1998, "An Empirical Study of Smoothing Techniques for Language Modeling", section 3, in the form that
lmplz gives it (Heafield et al. 2013, "Scalable Modified Kneser-Ney Language Model Estimation", section 3; adjusted
counts in `ngram_counts.py`). With a(cw) the adjusted count of word w after context c, and c' the context less its first
word,

    p(w | c) = (a(cw) - D(a(cw))) / sum_v a(cv) + gamma(c) p(w | c')
    gamma(c) = (D1 N1(c) + D2 N2(c) + D3 N3(c)) / sum_v a(cv)

down to the uniform distribution over all words, <unk> and </s> included, <s> not. Pruning is lmplz's: n-grams whose
*true* count is at most the threshold of their order are dropped. Discounts and sums still see them, and all of their
adjusted counts goes to gamma(c), so that each context sums to one. Thresholds must not fall from order to order: then
the prefix and the suffix of whatever is kept are kept.

Two things differ from lmplz: a line without words is no sentence, and a discount of exactly zero is refused.
"""

import gzip
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sori.core.files import atomic_write
from sori.lm.ngram_counts import (
    BOS,
    EOS,
    SPECIAL_WORDS,
    UNK,
    Ngrams,
    Tokens,
    Unit,
    Unwritable,
    count,
    read,
    without_unwritable,
)
from sori.text.vocabulary import BLANK, Vocabulary

MAX_ORDER = 6
"""What KenLM, and with it most decoders, can read as it is usually built."""
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
"""D1, D2, D3+ where the text is too small to estimate them: those of lmplz --discount_fallback."""

_ZERO = -99.0  # how ARPA files write the logarithm of 0
_SHOWN = 20
_MANY_REPLACED = 0.01
_LONG_LINE = 1000
_CHUNK = 1 << 16
_WIDTH = 13  # of one number: lead, minus, two digits, point, seven digits, tail

Discounts = tuple[float, float, float]


@dataclass(frozen=True)
class BuildReport:
    """What a language model was made of, and what is doubtful about it."""

    path: Path
    unit: Unit
    sentences: int
    words: int
    """Of the text (for unit `character`: symbols), without <s> and </s>."""
    distinct_words: int
    """Listed by the model, without <unk>, <s> and </s>."""
    replaced: int
    """Occurrences of words (symbols) that stand as <unk> in the counts."""
    ngrams: tuple[int, ...]
    """Written, by order."""
    pruned: tuple[int, ...]
    """Dropped for their small count, by order."""
    discounts: tuple[Discounts, ...]
    """D1, D2 and D3+, by order."""
    unwritable_words: tuple[Unwritable, ...]
    """The most frequent first."""
    unwritable_symbols: tuple[Unwritable, ...]
    messages: tuple[str, ...]

    def table(self) -> str:
        """The report for a person."""
        what = "words" if self.unit == "word" else "symbols"
        lines = [
            f"{self.path}: {self.sentences:,} sentences, {self.words:,} {what}, {self.distinct_words:,} different",
            f"{'order':>5}{'n-grams':>14}{'pruned':>14}{'D1':>8}{'D2':>8}{'D3+':>8}",
        ]
        for number, (kept, dropped, (d1, d2, d3)) in enumerate(
            zip(self.ngrams, self.pruned, self.discounts, strict=True), 1
        ):
            lines.append(f"{number:5}{kept:14,}{dropped:14,}{d1:8.3f}{d2:8.3f}{d3:8.3f}")
        if self.replaced:
            share = self.replaced / self.words
            lines.append(f"{self.replaced:,} {what} ({share:.2%}) cannot be written and were counted as <unk>")
        for title, found in (("symbols", self.unwritable_symbols), ("words", self.unwritable_words)):
            if found:
                lines.append(f"{title} the recogniser cannot write: {len(found):,}")
                lines += [f"{one.count:9,}  {one.text}: {one.repair}" for one in found[:_SHOWN]]
                lines += ["           ..."] if len(found) > _SHOWN else []
        return "\n".join([*lines, *(f"note: {message}" for message in self.messages)])


class _Estimate(NamedTuple):
    """Of all n-grams of one order."""

    log_prob: NDArray[np.float64]
    """Base 10."""
    log_backoff: NDArray[np.float64]
    """Base 10; 0 for what is no context."""
    kept: NDArray[np.bool_]


def build(
    texts: Iterable[Path],
    *,
    order: int = 4,
    into: Path,
    vocabulary: Vocabulary | None = None,
    unit: Unit = "word",
    prune: Sequence[int] = (),
) -> BuildReport:
    """Estimate a language model from text and write it as an ARPA file.

    The file is the same, byte for byte, whatever the order of the texts. It is written aside and renamed.

    Args:
        texts: UTF-8 files (.txt; .gz and .xz are unpacked), one sentence or paragraph a line.
        order: words an n-gram has at most, 1 to `MAX_ORDER`. KenLM reads models from order 2.
        into: ends in `.arpa` or `.arpa.gz`.
        vocabulary: of the recogniser the model is for. Text is normalised by its rules, and words with symbols it lacks
            are counted as <unk>: the recogniser can never write them, but what stands around them must not become
            neighbours. Without one: the rules a new vocabulary has (lower case, punctuation dropped), no word refused.
        unit: `word`, or `character` for a model over the recogniser's symbols, `|` between words.
        prune: by order, drop n-grams that occur at most so often; the last value holds for all further orders.
            (0, 0, 1, 1) drops what occurs once from order 3. Empty: nothing is dropped.

    Raises:
        ValueError: a text is not UTF-8, damaged, given twice or without words; no word can be written by the
            recogniser; `order`, `into` or `prune` cannot be.
    """
    paths = _checked(texts, order=order, into=into)
    thresholds = _thresholds(prune, order)
    tokens = read(paths, rules=vocabulary or Vocabulary(symbols=(BLANK,)), unit=unit)
    reserved = int(tokens.counts[UNK])
    words, symbols = list[Unwritable](), list[Unwritable]()
    if vocabulary is not None:
        tokens, words, symbols = without_unwritable(tokens, vocabulary, unit)
    if reserved:
        words.insert(0, Unwritable(" ".join(SPECIAL_WORDS), reserved, "reserved by language models: take them out"))
    messages = _remarks(tokens, unit)
    levels = count(tokens, order=order)
    estimates, discounts = _estimate(levels, thresholds, unit, messages)
    if len(estimates) < order:
        cause = "was pruned away" if len(estimates) < len(levels) else "has no n-grams, all sentences being shorter"
        messages.append(f"order {len(estimates) + 1} {cause}: the model has order {len(estimates)}")
    _write(into, tokens.words, levels, estimates)
    ngrams = tuple(int(np.count_nonzero(estimate.kept)) for estimate in estimates)
    return BuildReport(
        path=into,
        unit=unit,
        sentences=int(tokens.counts[BOS]),
        words=len(tokens.numbers) - 2 * int(tokens.counts[BOS]),
        distinct_words=ngrams[0] - len(SPECIAL_WORDS),
        replaced=int(tokens.counts[UNK]),
        ngrams=ngrams,
        pruned=tuple(len(level.word) - kept for level, kept in zip(levels, ngrams, strict=False)),
        discounts=tuple(discounts[: len(ngrams)]),
        unwritable_words=tuple(words),
        unwritable_symbols=tuple(symbols),
        messages=tuple(messages),
    )


def _checked(texts: Iterable[Path], *, order: int, into: Path) -> list[Path]:
    if not 1 <= order <= MAX_ORDER:
        raise ValueError(f"expected an order from 1 to {MAX_ORDER}, got {order}. 3 or 4 serves most texts of words.")
    if not into.name.endswith((".arpa", ".arpa.gz")):
        raise ValueError(
            f"expected a name that ends in .arpa or .arpa.gz, got {into}. Readers tell by the name whether a model is "
            "packed; choose one of the two."
        )
    paths = list(texts)
    twice = [path for path, times in Counter(path.resolve() for path in paths).items() if times > 1]
    if twice:
        raise ValueError(
            f"expected different texts, got {twice[0]} more than once. Counted twice it would spoil the discounts, "
            "which rest on what occurs once; probably two patterns of the command line overlap: name it once."
        )
    return paths


def _thresholds(prune: Sequence[int], order: int) -> list[int]:
    given = list(prune)
    falls = any(after < before for before, after in pairwise([0, *given]))
    if len(given) > order or falls:
        raise ValueError(
            f"expected at most {order} counts for pruning, from 0 and not falling, got {given}. If they fell, words "
            f"would lose the contexts they stand in; for example: {' '.join(['0', '0', '1', '1'][:order])}."
        )
    return given + [given[-1] if given else 0] * (order - len(given))


def _remarks(tokens: Tokens, unit: Unit) -> list[str]:
    remarks = []
    num_sentences = int(tokens.counts[BOS])
    num_words = len(tokens.numbers) - 2 * num_sentences
    if unit == "word" and (share := int(tokens.counts[UNK]) / num_words) > _MANY_REPLACED:
        remarks.append(
            f"{share:.1%} of the text is <unk>: a decoder that scores words outside its lexicon as <unk> will like "
            "them too much. Repair the text as suggested, and build again."
        )
    if unit == "word" and num_words > _LONG_LINE * num_sentences:
        remarks.append(
            f"lines have {num_words / num_sentences:,.0f} words on average, so the model hardly knows how sentences "
            "begin and end. Write one sentence or paragraph a line."
        )
    return remarks


def _estimate(
    levels: list[Ngrams], thresholds: list[int], unit: Unit, messages: list[str]
) -> tuple[list[_Estimate], list[Discounts]]:
    kept = levels[0].count > thresholds[0]
    kept[: len(SPECIAL_WORDS)] = True
    below = np.array([1 / (np.count_nonzero(kept) - 1)])  # of all words but <s>
    estimates: list[_Estimate] = []
    discounts: list[Discounts] = []
    for number, (level, threshold) in enumerate(zip(levels, thresholds, strict=False), 1):
        closed, reason = _closed_form(level.adjusted)
        if closed is None:
            cure = "more text, and text that repeats itself less, is the cure"
            if number == 1 and unit == "character":
                cure = "usual for characters, of which there are few, and harmless"
            messages.append(f"order {number}: discounts {FALLBACK_DISCOUNTS} instead of estimates, {reason}; {cure}")
        discounts.append(closed or FALLBACK_DISCOUNTS)
        if number > 1:
            kept = level.count > threshold
        prob, gamma = _interpolate(level, kept, discounts[-1], below)
        if number == 1:
            prob[BOS] = 0  # nothing predicts the beginning
        else:
            estimates[-1] = estimates[-1]._replace(log_backoff=_log10(gamma))
        estimates.append(_Estimate(_log10(prob), np.zeros(len(prob)), kept))
        below = prob
    while not estimates[-1].kept.any():  # never order 1, which keeps <unk>
        estimates.pop()
    return estimates, discounts


def _closed_form(adjusted: NDArray[np.int64]) -> tuple[Discounts | None, str]:
    """The discounts, or none and why (Chen and Goodman 1998, equation 26)."""
    n1, n2, n3, n4 = (int(np.count_nonzero(adjusted == times)) for times in (1, 2, 3, 4))
    for times, num_ngrams in ((1, n1), (2, n2), (3, n3)):
        if not num_ngrams:
            return None, f"because no n-gram has the adjusted count {times}"
    share = n1 / (n1 + 2 * n2)
    discounts = (1 - 2 * share * n2 / n1, 2 - 3 * share * n3 / n2, 3 - 4 * share * n4 / n3)
    for times, discount in enumerate(discounts, 1):
        if discount <= 0:  # never above the count itself
            return None, f"because that for the count {times} would be {discount:.2f}, not above 0"
    return discounts, ""


def _interpolate(
    level: Ngrams, kept: NDArray[np.bool_], discounts: Discounts, below: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of every n-gram its probability, and of every n-gram of the order below what it leaves to shorter contexts.

    Args:
        level: all n-grams of an order.
        kept: which of them are not pruned.
        discounts: D1, D2, D3+.
        below: the probabilities of the order below; for order 1 the one of every word alike.
    """
    taken = np.array([0, *discounts])[np.minimum(level.adjusted, 3)]
    total = np.bincount(level.prefix, level.adjusted, len(below))
    left = np.bincount(level.prefix, np.where(kept, taken, level.adjusted), len(below))
    gamma = np.divide(left, total, out=np.ones(len(below)), where=total > 0)
    prob = level.adjusted - taken
    prob /= total[level.prefix]
    prob += gamma[level.prefix] * below[level.suffix]
    return prob, gamma


def _log10(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log10(values, out=np.full(len(values), _ZERO), where=values > 0)


def _write(into: Path, words: tuple[str, ...], levels: list[Ngrams], estimates: list[_Estimate]) -> None:
    with atomic_write(into) as partial, partial.open("wb") as raw:
        if into.suffix == ".gz":
            # neither name nor time inside: equal models are equal files
            with gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as packed:
                packed.writelines(_arpa(words, levels, estimates))
        else:
            raw.writelines(_arpa(words, levels, estimates))


def _arpa(words: tuple[str, ...], levels: list[Ngrams], estimates: list[_Estimate]) -> Iterator[bytes]:
    yield b"\\data\\\n"
    for order, estimate in enumerate(estimates, 1):
        yield b"ngram %d=%d\n" % (order, np.count_nonzero(estimate.kept))
    for order, estimate in enumerate(estimates, 1):
        yield b"\n\\%d-grams:\n" % order
        rows = np.flatnonzero(estimate.kept)
        lines = _Lines(words, levels[:order], estimate, backoffs=order < len(estimates))
        for start in range(0, len(rows), _CHUNK):
            yield lines.of(rows[start : start + _CHUNK])
    yield b"\n\\end\\\n"


class _Lines:
    """Lines of one order, put together from pieces of one buffer: all words, then the numbers of some rows.

    Formatting them one by one would take minutes for ten million.
    """

    def __init__(self, words: tuple[str, ...], levels: list[Ngrams], estimate: _Estimate, *, backoffs: bool) -> None:
        encoded = [word.encode() for word in words]
        self.lengths = np.array([len(word) + 1 for word in encoded])  # with the space after
        self.starts = np.cumsum(self.lengths) - self.lengths
        all_words = np.frombuffer(b" ".join([*encoded, b""]), dtype=np.uint8)
        self.buffer = np.concatenate([all_words, np.zeros(2 * _CHUNK * _WIDTH, dtype=np.uint8)])
        self.first_number = len(all_words)
        self.levels, self.estimate, self.backoffs = levels, estimate, backoffs

    def of(self, rows: NDArray[np.int64]) -> bytes:
        """The lines of some rows, at most `_CHUNK`."""
        order = len(self.levels)
        starts = np.empty((len(rows), order + 2), dtype=np.int64)
        lengths = np.empty_like(starts)
        here = rows
        for place, level in zip(range(order, 0, -1), reversed(self.levels), strict=True):
            word = level.word[here]
            starts[:, place], lengths[:, place] = self.starts[word], self.lengths[word]
            here = level.prefix[here].astype(np.int64)
        lengths[:, order] -= 1  # no space after the last word
        begin, end = self._numbers(self.estimate.log_prob[rows], 0, tail=b"\t")
        starts[:, 0], lengths[:, 0] = begin + 1, end - begin - 1
        begin, end = self._numbers(self.estimate.log_backoff[rows], _CHUNK, tail=b"\n")
        # the end of a sentence is no context: nothing but the line feed
        bare = (self.levels[-1].word[rows] == EOS) | (not self.backoffs)
        starts[:, -1] = np.where(bare, end - 1, begin)
        lengths[:, -1] = end - starts[:, -1]
        flat = lengths.ravel()
        after = np.cumsum(flat)
        source = np.repeat(starts.ravel() - (after - flat), flat) + np.arange(after[-1])
        return bytes(self.buffer[source])

    def _numbers(
        self, values: NDArray[np.float64], slot: int, *, tail: bytes
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Write values from 0 down to -99 into the buffer as tab, number, tail; where each begins and ends."""
        at = self.first_number + slot * _WIDTH
        text = self.buffer[at : at + len(values) * _WIDTH].reshape(len(values), _WIDTH)
        rest = np.clip(np.rint(values * -1e7), 0, -_ZERO * 1e7).astype(np.uint32)
        zero, short = rest == 0, rest < 100_000_000
        for column in (11, 10, 9, 8, 7, 6, 5, 3, 2):
            text[:, column] = rest % 10 + ord("0")
            rest //= 10
        text[:, 4], text[:, 12] = ord("."), ord(tail)
        rows = np.arange(len(values))
        begin = np.where(zero, 10, np.where(short, 1, 0))
        text[rows, begin] = ord("\t")
        text[rows[~zero], begin[~zero] + 1] = ord("-")
        return at + rows * _WIDTH + begin, at + (rows + 1) * _WIDTH
