"""Binary Huffman tree of hierarchical softmax, with frequent words near the root (Mikolov et al. 2013b, section 2.1).

p(w | h) = prod_j sigma(s_j u_{n_j} . h) over the nodes n_j from the root to the word, with s_j = +1 where its bit is 0
and -1 where it is 1. The probabilities of all words sum to 1, and a word costs one product for each bit of its code.
"""

from typing import NamedTuple, no_type_check

import numpy as np
from numpy.typing import NDArray

from sori.core.compiled import jit

_compiled = jit(error_model="numpy")


class Tree(NamedTuple):
    """Path from the root to every word: steps `starts[w]` to `starts[w + 1]`."""

    starts: NDArray[np.int64]
    """First step of each word, and the total; `word + 1` values."""
    nodes: NDArray[np.int32]
    """Inner node at each step; the root is `word - 2`."""
    bits: NDArray[np.uint8]
    """Branch taken at each step."""

    def depth(self) -> int:
        """Return the number of steps to the farthest word."""
        return int(np.diff(self.starts).max(initial=0))


def huffman(counts: NDArray[np.int64]) -> Tree:
    """Build the tree whose mean path length, weighted by counts, is shortest (Huffman 1952).

    Args:
        counts: count of each word, at least two words; of equal counts, the later one is joined first.

    Raises:
        ValueError: if there are fewer than two words.
    """
    if len(counts) < 2:
        raise ValueError(f"hierarchical softmax expected at least two words, got {len(counts)}; give more text")
    order = np.argsort(-np.asarray(counts), kind="stable")
    parents, bits = _join(np.ascontiguousarray(counts, dtype=np.int64)[order])
    leaves = np.arange(len(parents))
    leaves[order] = np.arange(len(order))
    return Tree(*_walk(parents[leaves], bits[leaves], len(counts)))


@no_type_check
@_compiled
def _join(counts: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Return parent and bit of every word and inner node; with sorted leaves, the two least are at two queue ends."""
    num = len(counts)
    weights = np.empty(2 * num - 1, dtype=np.int64)
    weights[:num] = counts
    parents, bits = np.zeros(2 * num - 1, dtype=np.int32), np.zeros(2 * num - 1, dtype=np.uint8)
    leaf, inner = num - 1, num
    for made in range(num, 2 * num - 1):
        weights[made] = 0
        for bit in range(2):
            if leaf >= 0 and (inner == made or weights[leaf] <= weights[inner]):
                least, leaf = leaf, leaf - 1
            else:
                least, inner = inner, inner + 1
            weights[made] += weights[least]
            parents[least], bits[least] = made, bit
    return parents, bits


@no_type_check
@_compiled
def _walk(
    parents: NDArray[np.int32], bits: NDArray[np.uint8], num: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.uint8]]:
    root = 2 * num - 2
    depths = np.zeros(2 * num - 1, dtype=np.int32)
    for node in range(root - 1, -1, -1):
        if node >= num:
            depths[node] = depths[parents[node]] + 1
    starts = np.zeros(num + 1, dtype=np.int64)
    for word in range(num):
        starts[word + 1] = starts[word] + depths[parents[word]] + 1
    nodes, codes = np.empty(starts[num], dtype=np.int32), np.empty(starts[num], dtype=np.uint8)
    for word in range(num):
        node = word
        for place in range(starts[word + 1] - 1, starts[word] - 1, -1):
            codes[place], nodes[place] = bits[node], parents[node] - num
            node = parents[node]
    return starts, nodes, codes
