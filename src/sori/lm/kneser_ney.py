r"""Estimate n-gram language models with interpolated modified Kneser-Ney smoothing, and write them as ARPA.

Chen and Goodman 1998, "An Empirical Study of Smoothing Techniques for Language Modeling", section 3, as implemented
in lmplz (Heafield et al. 2013, "Scalable Modified Kneser-Ney Language Model Estimation", section 3; adjusted
counts in `ngram_counts.py`). With a(cw) the adjusted count of word w after context c, and c' the context without its
first word,

    p(w | c) = (a(cw) - D(a(cw))) / sum_v a(cv) + gamma(c) p(w | c')
    gamma(c) = (D1 N1(c) + D2 N2(c) + D3 N3(c)) / sum_v a(cv)

down to the uniform distribution over all words, including <unk> and </s>, but not <s>. Pruning is that of lmplz:
n-grams whose *true* count is at most the threshold of their order are removed. Discounts and sums still include them,
and their whole adjusted counts are added to gamma(c), so that each context sums to one. Thresholds must not decrease
from order to order, so that the prefix and the suffix of every remaining n-gram remain.

Two things differ from lmplz: lines without words are ignored, and a discount of exactly zero is not used.
"""

import gzip
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sori.core.files import atomic_write
from sori.lm.arpa import Level
from sori.lm.ngram import NgramModel
from sori.lm.ngram_counts import (
    BOS,
    EOS,
    SPECIAL_WORDS,
    UNK,
    Ngrams,
    Tokens,
    Unit,
    Unsupported,
    count,
    read,
    replace_unsupported,
)
from sori.text.vocabulary import BLANK, Vocabulary

MAX_ORDER = 6
"""Highest order that KenLM, and thus most decoders, can read as usually compiled."""
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
"""D1, D2, D3+ if the text is too small to estimate them: those of lmplz --discount_fallback."""

_ZERO = -99.0  # the logarithm of 0 in ARPA files
_SHOWN = 20
_MANY_REPLACED = 0.01
_LONG_LINE = 1000
_CHUNK = 1 << 16
_WIDTH = 13  # of one number: separator, minus, two digits, point, seven digits, separator

Discounts = tuple[float, float, float]


@dataclass(frozen=True)
class BuildReport:
    """What a language model was estimated from, and warnings about it."""

    path: Path
    unit: Unit
    sentences: int
    words: int
    """Words of the text (for unit `character`: symbols), without <s> and </s>."""
    distinct_words: int
    """Words in the model, without <unk>, <s> and </s>."""
    replaced: int
    """Occurrences of words (symbols) that were counted as <unk>."""
    ngrams: tuple[int, ...]
    """Number of n-grams in the model, by order."""
    pruned: tuple[int, ...]
    """Number of n-grams that were pruned, by order."""
    discounts: tuple[Discounts, ...]
    """D1, D2 and D3+, by order."""
    unsupported_words: tuple[Unsupported, ...]
    """Words that the recogniser cannot output, the most frequent first."""
    unsupported_symbols: tuple[Unsupported, ...]
    """Symbols that the recogniser cannot output, the most frequent first."""
    messages: tuple[str, ...]

    def table(self) -> str:
        """Return the report as text."""
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
            fraction = self.replaced / self.words
            lines.append(f"{self.replaced:,} {what} ({fraction:.2%}) were counted as <unk>")
        for title, found in (("symbols", self.unsupported_symbols), ("words", self.unsupported_words)):
            if found:
                lines.append(f"{title} that the recogniser cannot output: {len(found):,}")
                lines += [f"{one.count:9,}  {one.text}: {one.repair}" for one in found[:_SHOWN]]
                lines += ["           ..."] if len(found) > _SHOWN else []
        return "\n".join([*lines, *(f"note: {message}" for message in self.messages)])


class _Estimate(NamedTuple):
    """Values of all n-grams of one order."""

    log_prob: NDArray[np.float64]
    """Base 10."""
    log_backoff: NDArray[np.float64]
    """Base 10; 0 for n-grams that are not a context."""
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

    The file is identical for any order of the texts. It is written under another name and then renamed.

    Args:
        texts: UTF-8 files (.txt; .gz, .xz and .bz2 are decompressed), one sentence or paragraph a line.
        order: maximum number of words of an n-gram, 1 to `MAX_ORDER`. KenLM reads models from order 2.
        into: the file to write; its name ends in `.arpa` or `.arpa.gz`.
        vocabulary: vocabulary of the recogniser. Text is normalised by its rules, and words with symbols that it lacks
            are counted as <unk>: the recogniser cannot output them, but without them the words before and after would
            form false n-grams. None: the rules of a new vocabulary (lower case, no punctuation); all words are kept.
        unit: `word`, or `character` for a model over the recogniser's symbols, with `|` between words.
        prune: by order, remove n-grams with at most this count; the last value applies to all further orders.
            (0, 0, 1, 1) removes n-grams that occur once, from order 3. Empty: nothing is removed.

    Raises:
        ValueError: a text is not UTF-8, damaged, given twice or without words; the recogniser cannot output any word;
            `order`, `into` or `prune` is invalid.
    """
    paths = _checked(texts, order=order, into=into)
    thresholds = _thresholds(prune, order)
    tokens = read(paths, rules=vocabulary or Vocabulary(symbols=(BLANK,)), unit=unit)
    reserved = int(tokens.counts[UNK])
    words, symbols = list[Unsupported](), list[Unsupported]()
    if vocabulary is not None:
        tokens, words, symbols = replace_unsupported(tokens, vocabulary, unit)
    if reserved:
        words.insert(0, Unsupported(" ".join(SPECIAL_WORDS), reserved, "reserved by language models: remove them"))
    messages = _notes(tokens, unit)
    levels = count(tokens, order=order)
    estimates, discounts = _estimate(levels, thresholds, unit, messages)
    if len(estimates) < order:
        messages.append(_lower_order(len(estimates), len(levels)))
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
        unsupported_words=tuple(words),
        unsupported_symbols=tuple(symbols),
        messages=tuple(messages),
    )


def estimate(tokens: Tokens, *, order: int) -> NgramModel:
    """Estimate a language model of a text in memory, without pruning; it is not written to a file."""
    levels = count(tokens, order=order)
    estimates, _ = _estimate(levels, [0] * order, "character", [])
    ids, made = np.zeros((1, 0), np.int32), list[Level]()
    for level, found in zip(levels, estimates, strict=True):
        ids = np.concatenate([ids[level.prefix], level.word[:, None]], axis=1)
        natural = (math.log(10) * values for values in (found.log_prob, found.log_backoff))
        made.append(Level(ids, *(values.astype(np.float32) for values in natural)))
    return NgramModel.from_levels(tokens.words, made)


def _lower_order(reached: int, counted: int) -> str:
    """Say why the model has a lower order than requested."""
    cause = "was removed by pruning" if reached < counted else "has no n-grams, as all sentences are shorter"
    return f"order {reached + 1} {cause}: the model has order {reached}"


def _checked(texts: Iterable[Path], *, order: int, into: Path) -> list[Path]:
    if not 1 <= order <= MAX_ORDER:
        raise ValueError(
            f"expected an order from 1 to {MAX_ORDER}, got {order}. Order 3 or 4 is suitable for most texts of words."
        )
    if not into.name.endswith((".arpa", ".arpa.gz")):
        raise ValueError(
            f"expected a name that ends in .arpa or .arpa.gz, got {into}. The name shows whether a model is "
            "compressed; choose one of the two."
        )
    paths = list(texts)
    twice = [path for path, times in Counter(path.resolve() for path in paths).items() if times > 1]
    if twice:
        raise ValueError(
            f"expected different texts, got {twice[0]} more than once. Counted twice, it would distort the discounts, "
            "which depend on n-grams that occur once; probably two patterns on the command line overlap: name it once."
        )
    return paths


def _thresholds(prune: Sequence[int], order: int) -> list[int]:
    given = list(prune)
    falls = any(after < before for before, after in pairwise([0, *given]))
    if len(given) > order or falls:
        raise ValueError(
            f"expected at most {order} counts for pruning, from 0 and not decreasing, got {given}. Decreasing counts "
            f"would remove contexts of n-grams that are kept. Valid example: {' '.join(['0', '0', '1', '1'][:order])}."
        )
    return given + [given[-1] if given else 0] * (order - len(given))


def _notes(tokens: Tokens, unit: Unit) -> list[str]:
    notes = []
    num_sentences = int(tokens.counts[BOS])
    num_words = len(tokens.numbers) - 2 * num_sentences
    if unit == "word" and (fraction := int(tokens.counts[UNK]) / num_words) > _MANY_REPLACED:
        notes.append(
            f"{fraction:.1%} of the text is <unk>: a decoder that scores words outside its lexicon as <unk> will "
            "overestimate them. Change the text as suggested, and build again."
        )
    if unit == "word" and num_words > _LONG_LINE * num_sentences:
        notes.append(
            f"lines have {num_words / num_sentences:,.0f} words on average, so the model has little data about how "
            "sentences begin and end. Write one sentence or paragraph a line."
        )
    return notes


def _estimate(
    levels: list[Ngrams], thresholds: list[int], unit: Unit, messages: list[str]
) -> tuple[list[_Estimate], list[Discounts]]:
    kept = levels[0].count > thresholds[0]
    kept[: len(SPECIAL_WORDS)] = True
    below = np.array([1 / (np.count_nonzero(kept) - 1)])  # uniform over all words but <s>
    estimates: list[_Estimate] = []
    discounts: list[Discounts] = []
    for number, (level, threshold) in enumerate(zip(levels, thresholds, strict=False), 1):
        closed, reason = _closed_form(level.adjusted)
        if closed is None:
            cure = "use more text, and text with fewer repetitions"
            if number == 1 and unit == "character":
                cure = "this is usual for characters, of which there are few, and harmless"
            messages.append(f"order {number}: discounts {FALLBACK_DISCOUNTS} instead of estimates, {reason}; {cure}")
        discounts.append(closed or FALLBACK_DISCOUNTS)
        if number > 1:
            kept = level.count > threshold
        prob, gamma = _interpolate(level, kept, discounts[-1], below)
        if number == 1:
            prob[BOS] = 0  # <s> is never predicted
        else:
            estimates[-1] = estimates[-1]._replace(log_backoff=_log10(gamma))
        estimates.append(_Estimate(_log10(prob), np.zeros(len(prob)), kept))
        below = prob
    while not estimates[-1].kept.any():  # ends at order 1 at the latest, which keeps <unk>
        estimates.pop()
    return estimates, discounts


def _closed_form(adjusted: NDArray[np.int64]) -> tuple[Discounts | None, str]:
    """Return the discounts, or None and the reason (Chen and Goodman 1998, equation 26)."""
    n1, n2, n3, n4 = (int(np.count_nonzero(adjusted == times)) for times in (1, 2, 3, 4))
    for times, num_ngrams in ((1, n1), (2, n2), (3, n3)):
        if not num_ngrams:
            return None, f"because no n-gram has the adjusted count {times}"
    y = n1 / (n1 + 2 * n2)
    discounts = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    for times, discount in enumerate(discounts, 1):
        if discount <= 0:  # it is never above the count
            return None, f"because the estimate for the count {times} is {discount:.2f}, not above 0"
    return discounts, ""


def _interpolate(
    level: Ngrams, kept: NDArray[np.bool_], discounts: Discounts, below: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the probability of every n-gram, and gamma of every n-gram of the next lower order.

    Args:
        level: all n-grams of an order.
        kept: False for pruned n-grams.
        discounts: D1, D2, D3+.
        below: the probabilities of the next lower order; for order 1, the uniform probability.
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
    """Lines of one order, assembled from one buffer with all words and the numbers of some rows.

    Formatting ten million lines one by one would take minutes.
    """

    def __init__(self, words: tuple[str, ...], levels: list[Ngrams], estimate: _Estimate, *, backoffs: bool) -> None:
        encoded = [word.encode() for word in words]
        self.lengths = np.array([len(word) + 1 for word in encoded])  # including the space
        self.starts = np.cumsum(self.lengths) - self.lengths
        all_words = np.frombuffer(b" ".join([*encoded, b""]), dtype=np.uint8)
        self.buffer = np.concatenate([all_words, np.zeros(2 * _CHUNK * _WIDTH, dtype=np.uint8)])
        self.first_number = len(all_words)
        self.levels, self.estimate, self.backoffs = levels, estimate, backoffs

    def of(self, rows: NDArray[np.int64]) -> bytes:
        """Return the lines of some rows, at most `_CHUNK`."""
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
        # the end of a sentence is not a context: only the line feed
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
        """Write values from 0 to -99 into the buffer as tab, number, tail; return start and end of each."""
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
