"""Join words that form phrases: `new york` becomes `new_york` (Mikolov et al. 2013b, section 4).

Two adjacent words are joined if (count(ab) - discount) / (count(a) count(b)) * words of the text exceeds a threshold
(the scale of word2phrase.c). A pass joins pairs; the next pass, with a lower threshold, can join the results.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import pairwise

from sori.data.word_counts import END, Rewrite, Sentence

JOINT = "_"


def find_phrases(
    text: Callable[[Rewrite | None], Iterable[Sentence]], *, thresholds: Iterable[float], discount: int, max_words: int
) -> list[set[tuple[str, str]]]:
    """Find the pairs to join in each pass.

    Args:
        text: reads the text again, with a rewriting applied.
        thresholds: threshold of each pass. Paper: 2 to 4 passes with decreasing thresholds.
        discount: pairs that occur this often or less are never joined, nor are rarer words (word2phrase.c's min-count).
        max_words: different words and pairs kept in memory.
    """
    passes: list[set[tuple[str, str]]] = []
    for threshold in thresholds:
        words, pairs, total, least = Counter[str](), Counter[tuple[str, str]](), 0, 1
        for sentence in text(rewriting(passes)):
            words.update(sentence)
            pairs.update(pairwise(sentence))
            total += len(sentence) + 1
            while len(words) + len(pairs) > max_words:
                pairs = Counter({pair: count for pair, count in pairs.items() if count > least})
                words = Counter({word: count for word, count in words.items() if count > least})
                least += 1
        passes.append(
            {
                (a, b)
                for (a, b), count in pairs.items()
                if END not in (a, b)
                and min(words[a], words[b]) >= max(1, discount)
                and (count - discount) / (words[a] * words[b]) * total > threshold
            }
        )
    return passes


def rewriting(passes: list[set[tuple[str, str]]]) -> Rewrite | None:
    """Return a function that joins pairs from the left, pass after pass, without extending a pair in the same pass."""
    if not passes:
        return None

    def rewrite(sentence: Sentence) -> Sentence:
        for pairs in passes:
            joined: Sentence = []
            open_end = False
            for word in sentence:
                if open_end and (joined[-1], word) in pairs:
                    joined[-1] += JOINT + word
                    open_end = False
                else:
                    joined.append(word)
                    open_end = True
            sentence = joined
        return sentence

    return rewrite
