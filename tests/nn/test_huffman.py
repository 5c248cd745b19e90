"""Tests of the tree against one built with a heap."""

import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sori.nn.huffman import huffman


def least_cost(counts):
    """The sum of all joined weights is the cost of the best code."""
    heap, cost = list(map(int, counts)), 0
    heapq.heapify(heap)
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        cost += joined
        heapq.heappush(heap, joined)
    return cost


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.integers(0, 10**9), min_size=2, max_size=200))
def test_is_the_shortest_code(counts):
    tree = huffman(np.array(counts))
    lengths = np.diff(tree.starts)
    assert (lengths * np.array(counts)).sum() == least_cost(counts)
    assert sum(2.0 ** -int(length) for length in lengths) == pytest.approx(1)
    assert tree.depth() == lengths.max()


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.integers(1, 1000), min_size=2, max_size=60))
def test_codes_are_paths_from_the_root(counts):
    tree, root = huffman(np.array(counts)), len(counts) - 2
    codes, came_from = set(), {}
    for word in range(len(counts)):
        steps = range(tree.starts[word], tree.starts[word + 1])
        assert tree.nodes[steps[0]] == root
        code = ""
        for step in steps:  # what a node is reached by is the same for all words below it
            assert came_from.setdefault(int(tree.nodes[step]), code) == code
            code += str(tree.bits[step])
        codes.add(code)
    assert len(codes) == len(counts)
    assert not any(a != b and b.startswith(a) for a in codes for b in codes)
    assert set(came_from) == set(range(root + 1))


def test_one_word_needs_no_code():
    with pytest.raises(ValueError, match="at least two words"):
        huffman(np.array([3]))
