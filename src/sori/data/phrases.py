"""Words that belong together become one: `new york` is written `new_york` (Mikolov et al. 2013b, section 4).

Two neighbours are joined where (count(ab) - discount) / (count(a) count(b)) * words of the text exceeds a threshold
(word2phrase.c's scale). A pass joins pairs; the next one, with a lower threshold, joins what was joined before.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import pairwise

from sori.data.word_counts import END, Rewrite, Sentence

JOINT = "_"


def find_phrases(
    text: Callable[[Rewrite | None], Iterable[Sentence]], *, thresholds: Iterable[float], discount: int, max_words: int
) -> list[set[tuple[str, str]]]:
    """The pairs to join in each pass.

    Args:
        text: reads the text once more, rewritten.
        thresholds: of each pass. Paper: 2 to 4 passes with falling ones.
        discount: pairs that occur no more often are never joined; rarer words neither (word2phrase.c's min-count).
        max_words: different words and pairs remembered at a time.
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
    """Join pairs, pass after pass, from the left; what was joined is not joined again in the same pass."""
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
