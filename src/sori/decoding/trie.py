"""A lexicon as a trie of symbols, with what the search looks up at each of its nodes."""

from collections.abc import Sequence
from typing import NamedTuple, no_type_check

import numpy as np
from numpy.typing import NDArray

from sori.core.compiled import jit
from sori.lm.ngram import Ngrams, score

NO_NODE = -1
"""Node of a prefix that no word of the lexicon starts with."""


class Trie(NamedTuple):
    """Words by their symbols; node 0 is the root, the children of a node are adjacent and sorted."""

    child_start: NDArray[np.int32]
    child_symbol: NDArray[np.int32]
    parent: NDArray[np.int32]
    word: NDArray[np.int32]
    """For each node the number of the word that ends there, or -1."""
    depth: NDArray[np.int32]


def build_trie(words: Sequence[tuple[int, ...]], num_classes: int) -> Trie:
    """Build the trie level by level; nodes are numbered in the order of (parent, symbol)."""
    lengths = np.array([len(word) for word in words], np.int64)
    spelled = np.zeros((len(words), max(lengths, default=0)), np.int64)
    for number, symbols in enumerate(words):
        spelled[number, : len(symbols)] = symbols
    at = np.zeros(len(words), np.int64)
    parents, labels, depths, size = [np.array([-1])], [np.array([-1])], [np.array([0])], 1
    for depth in range(spelled.shape[1]):
        longer = np.flatnonzero(lengths > depth)
        keys, place = np.unique(at[longer] * num_classes + spelled[longer, depth], return_inverse=True)
        at[longer] = size + place
        parents.append(keys // num_classes)
        labels.append(keys % num_classes)
        depths.append(np.full(len(keys), depth + 1))
        size += len(keys)
    parent = np.concatenate(parents)
    word = np.full(size, -1, np.int32)
    word[at] = np.arange(len(words), dtype=np.int32)
    start = 1 + np.concatenate([[0], np.cumsum(np.bincount(parent[1:], minlength=size))])
    arrays = (start, np.concatenate(labels), parent, word, np.concatenate(depths))
    return Trie(*(array.astype(np.int32) for array in arrays))


@jit()
@no_type_check  # see ngram.py
def look_ahead(
    trie: Trie, worth: NDArray[np.float64], hot: NDArray[np.float64], unknown: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the best score of a word that passes each node; a hot word's bonus is scaled by its completed fraction.

    Args:
        trie: the lexicon.
        worth: score of each word of the lexicon.
        hot: bonus of each word of the lexicon.
        unknown: score of the best unknown word that passes each node.
    """
    ahead = unknown.copy()
    ahead[0] = 0.0
    below = np.full(len(ahead), -np.inf)
    for node in range(len(ahead) - 1, 0, -1):
        word = trie.word[node]
        if word >= 0:
            below[node] = max(below[node], worth[word])
            place = node
            while place > 0 and hot[word] != 0:
                ahead[place] = max(ahead[place], worth[word] + hot[word] * trie.depth[place] / trie.depth[node])
                place = trie.parent[place]
        below[trie.parent[node]] = max(below[trie.parent[node]], below[node])
        ahead[node] = max(ahead[node], below[node])
    return ahead


@jit()
@no_type_check
def child(trie: Trie, node: int, symbol: int) -> int:
    """Return the node below a node for a symbol, or `NO_NODE`."""
    if node < 0:
        return NO_NODE
    low, end = trie.child_start[node], trie.child_start[node + 1]
    high = end
    while low < high:
        middle = (low + high) // 2
        if trie.child_symbol[middle] < symbol:
            low = middle + 1
        else:
            high = middle
    return low if low < end and trie.child_symbol[low] == symbol else NO_NODE


@jit()
@no_type_check
def spell(
    trie: Trie, spelling: Ngrams, start: int, ids: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Return the log-probability of the symbols up to each node, and the state of the spelling model after them.

    Args:
        trie: the lexicon.
        spelling: symbol n-gram of words.
        start: its state at the beginning of a word.
        ids: number of each class in the spelling model.
    """
    total, state = np.zeros(len(trie.parent)), np.full(len(trie.parent), start, np.int32)
    for node in range(1, len(trie.parent)):  # parents have smaller numbers
        above = trie.parent[node]
        log_prob, state[node] = score(spelling, state[above], ids[trie.child_symbol[node]])
        total[node] = total[above] + log_prob
    return total, state
