"""Segment pairs: lengths, consecutive and unrelated segments, held-out data; a pure function of seed and number."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sori.data.batches.sentence_pairs import (
    PairBatches,
    TextsConfig,
    cut_pairs,
    divide,
    shorten,
    unigrams,
)
from sori.data.batches.token_store import Tokens
from sori.text.wordpiece import SPECIAL, WordPiece

WORDPIECE = WordPiece([*SPECIAL, *(f"w{number}" for number in range(20_000))])
CONFIG = TextsConfig(batch_size=8, max_tokens=32)


def made(num_documents=60, num_sentences=20, seed=0):
    """Texts in which every token shows its position: all tokens are different, apart from the special ones."""
    draw = random.Random(seed)
    lengths = [draw.randint(1, 12) for _ in range(num_documents * num_sentences)]
    begins = np.concatenate([[0], np.cumsum(lengths)])
    ids = (np.arange(begins[-1]) + len(SPECIAL)).astype(np.uint16)
    return Tokens(ids, begins, np.arange(num_documents + 1) * num_sentences)


def whole(documents):
    return np.stack([documents[:-1], documents[1:]], axis=1)


def test_pairs_follow_each_other_or_come_from_another_document():
    tokens = made()
    pairs = cut_pairs(tokens.sentences, whole(tokens.documents), CONFIG, seed=1)
    document = np.searchsorted(tokens.documents, np.arange(len(tokens.sentences)), side="right") - 1
    for first, second, elsewhere in zip(*pairs, strict=True):
        assert first[0] < first[1]
        assert second[0] < second[1]
        assert document[first[0]] == document[first[1] - 1]
        assert document[second[0]] == document[second[1] - 1]
        if elsewhere:
            assert document[first[0]] != document[second[0]]
        else:
            assert first[1] == second[0]


def test_every_sentence_is_used_once_in_its_place():
    tokens = made()
    pairs = cut_pairs(tokens.sentences, whole(tokens.documents), CONFIG, seed=1)
    used = np.zeros(len(tokens.sentences) - 1, dtype=int)
    for first, second, elsewhere in zip(*pairs, strict=True):
        used[slice(*first)] += 1
        if not elsewhere:
            used[slice(*second)] += 1
    assert (used == 1).all()


def test_a_little_more_than_half_of_the_pairs_are_from_elsewhere():
    tokens = made(num_documents=400)
    fraction = cut_pairs(tokens.sentences, whole(tokens.documents), CONFIG, seed=1).elsewhere.mean()
    assert 0.5 < fraction < 0.65
    assert cut_pairs(tokens.sentences, whole(tokens.documents), CONFIG, seed=2).elsewhere.mean() != fraction


def test_with_one_document_both_segments_are_from_it():
    tokens = made(num_documents=1, num_sentences=300)
    pairs = cut_pairs(tokens.sentences, whole(tokens.documents), CONFIG, seed=1)
    assert 0.4 < pairs.elsewhere.mean() < 0.7


def test_most_pairs_are_full_and_some_are_short():
    tokens = made(num_documents=200)
    batches = PairBatches(tokens, whole(tokens.documents), CONFIG, WORDPIECE, seed=0)
    lengths = torch.cat([batches[index].lengths for index in range(batches.num_batches)])
    assert int(lengths.max()) == 32
    assert float((lengths > 26).float().mean()) > 0.7
    never = CONFIG.model_copy(update={"short_share": 0.0})
    longer = PairBatches(tokens, whole(tokens.documents), never, WORDPIECE, seed=0)
    short = torch.cat([longer[index].lengths for index in range(longer.num_batches)])
    assert float((short < 20).float().mean()) < float((lengths < 20).float().mean()) - 0.02


def test_labels_of_a_batch_match_its_pairs():
    tokens = made()
    batches = PairBatches(tokens, whole(tokens.documents), CONFIG, WORDPIECE, seed=0)
    batch = batches[0]
    for ids, parts, length, label in zip(*batch, strict=True):
        ends = (ids == WORDPIECE.sep).nonzero().flatten().tolist()
        assert ids[0] == WORDPIECE.cls
        assert len(ends) == 2
        assert ends[1] == int(length) - 1
        assert parts.tolist() == [0] * (ends[0] + 1) + [1] * (ends[1] - ends[0]) + [0] * (len(ids) - int(length))
        assert (ids[int(length) :] == WORDPIECE.pad).all()
        first, second = ids[1 : ends[0]], ids[ends[0] + 1 : ends[1]]
        assert bool((first.diff() == 1).all())  # a contiguous part of the text
        assert bool((second.diff() == 1).all())
        if int(label) == 0:
            assert 0 < int(second[0] - first[-1]) <= 32


def test_batches_are_a_pure_function_of_seed_and_number():
    tokens = made()
    one, other = (PairBatches(tokens, whole(tokens.documents), CONFIG, WORDPIECE, seed=3) for _ in range(2))
    last = 2 * one.num_batches + 1
    expected = {index: one[index] for index in (0, 5, one.num_batches, last)}
    for index in (last, 5, one.num_batches, 0):  # in another order, as after an interruption
        assert all(torch.equal(a, b) for a, b in zip(other[index], expected[index], strict=True))
    third = PairBatches(tokens, whole(tokens.documents), CONFIG, WORDPIECE, seed=4)
    assert not torch.equal(third[0].ids, expected[0].ids)


def test_epochs_make_new_pairs():
    tokens = made()
    batches = PairBatches(tokens, whole(tokens.documents), CONFIG, WORDPIECE, seed=3)
    seen = [
        {tuple(row) for index in range(n, n + batches.num_batches) for row in batches[index].ids.tolist()}
        for n in (0, batches.num_batches)
    ]
    assert len(seen[0] & seen[1]) < 0.2 * len(seen[0])


def test_every_batch_and_every_seed_shortens_otherwise():
    # Two sentences which follow each other and do not fit: the only pair, so that no draw differs but where it is cut.
    tokens = Tokens((np.arange(40) + len(SPECIAL)).astype(np.uint16), np.array([0, 20, 40]), np.array([0, 2]))
    config = CONFIG.model_copy(update={"batch_size": 1, "short_share": 0.0, "elsewhere_share": 0.0})

    def starts(seed):
        batches = PairBatches(tokens, whole(tokens.documents), config, WORDPIECE, seed=seed)
        return [int(batches[index].ids[0, 1]) for index in range(20)]

    assert len(set(starts(3))) > 1
    assert starts(3) != starts(4)


def test_documents_are_held_out_by_their_number():
    tokens = made(num_documents=60)
    ranges = divide(tokens.documents, 50)
    assert ranges.held_out.tolist() == [[49 * 20, 50 * 20]]
    assert len(ranges.train) == 59
    batches = PairBatches(tokens, ranges.train, CONFIG, WORDPIECE, seed=0)
    first, last = (int(tokens.sentences[place]) + len(SPECIAL) for place in (49 * 20, 50 * 20))
    seen = torch.cat([batches[index].ids.flatten() for index in range(2 * batches.num_batches)])
    assert not bool(((seen >= first) & (seen < last)).any())


def test_with_few_documents_the_ends_are_held_out():
    ranges = divide(np.array([0, 100, 130, 131]), 50)
    assert ranges.train.tolist() == [[0, 98], [100, 130], [130, 131]]
    assert ranges.held_out.tolist() == [[98, 100]]


@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 50), st.integers(0, 99))
def test_shortening_takes_from_the_longer_one(first, second, most, seed):
    one, other = shorten(
        np.arange(first), np.arange(second), most=most, draw=np.random.Generator(np.random.Philox(seed))
    )
    slow = [first, second]
    while sum(slow) > most:
        slow[0 if slow[0] > slow[1] else 1] -= 1
    assert [len(one), len(other)] == slow
    assert (np.diff(one) == 1).all()
    assert (np.diff(other) == 1).all()


def test_both_ends_are_shortened():
    draw = np.random.Generator(np.random.Philox(0))
    firsts = [shorten(np.arange(100), np.arange(2), most=52, draw=draw)[0][0] for _ in range(200)]
    assert np.mean(firsts) == pytest.approx(25, abs=1)


def test_unigrams_are_fractions_of_training_tokens():
    tokens = Tokens(np.array([5, 5, 6, 7], dtype=np.uint16), np.array([0, 2, 3, 4]), np.array([0, 3]))
    found = unigrams(tokens, np.array([[0, 2]]), 8)
    assert np.exp(found) == pytest.approx(np.array([1, 1, 1, 1, 1, 3, 2, 1]) / 11)


def test_too_little_text_is_refused():
    tokens = made(num_documents=1, num_sentences=3)
    with pytest.raises(ValueError, match=r"texts\.batch_size"):
        PairBatches(tokens, whole(tokens.documents), CONFIG, WORDPIECE, seed=0)
