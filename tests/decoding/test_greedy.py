import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reference.ctc import collapse

from sori.core.shapes import Frames
from sori.decoding.greedy import Character, Path, Word, characters, greedy, words
from sori.text.vocabulary import Vocabulary


def logits_of(rows, num_classes=5):
    """Return random scores whose likeliest classes are the given ones, with arbitrary padding."""
    longest = max(map(len, rows))
    data = torch.rand(len(rows), longest, num_classes)
    for number, row in enumerate(rows):
        data[number, len(row) :, 1] = 9
        for frame, label in enumerate(row):
            data[number, frame, label] = 2
    return Frames(data, torch.tensor([len(row) for row in rows]))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=30), min_size=1, max_size=4))
def test_equals_plain_loops(rows):
    paths = greedy(logits_of(rows))
    for row, path in zip(rows, paths, strict=True):
        assert path.ids == collapse(row)
        assert len(path.spans) == len(path.ids)
        covered = [0] * len(row)
        for label, (start, end) in zip(path.ids, path.spans, strict=True):
            assert 0 <= start < end <= len(row)
            covered[start:end] = [label] * (end - start)
        assert covered == row  # spans and blanks cover every frame


def test_other_blank():
    assert greedy(logits_of([[3, 3, 0, 3, 1]]), blank=3)[0].ids == [0, 1]


def test_silence_has_no_symbols():
    assert greedy(logits_of([[0, 0, 0]]))[0] == ([], [])


@pytest.mark.parametrize("hop_samples", [320.0, 640.0])
def test_words_have_times(hop_samples):
    vocabulary = Vocabulary.fit(["값 ab"], unit="jamo")
    bar, a, b = 1, vocabulary.symbols.index("a"), vocabulary.symbols.index("b")
    jamo = [vocabulary.symbols.index(s) for s in vocabulary.split("값")]
    row = [0, bar, jamo[0], 0, jamo[1], jamo[2], jamo[2], bar, bar, 0, bar, a, a, b, 0]
    path = greedy(logits_of([row], num_classes=len(vocabulary)))[0]
    second = hop_samples / 16_000
    assert words(path, vocabulary, hop_samples=hop_samples) == [
        Word("값", 2 * second, 7 * second),
        Word("ab", 11 * second, 14 * second),
    ]
    assert " ".join(w.text for w in words(path, vocabulary, hop_samples=hop_samples)) == vocabulary.decode(path.ids)


def test_no_words_in_silence():
    vocabulary = Vocabulary.fit(["a"])
    assert words(greedy(logits_of([[0, 1, 0, 1]], num_classes=3))[0], vocabulary, hop_samples=320.0) == []


def test_characters_are_grapheme_clusters():
    vocabulary = Vocabulary(
        symbols=("<blank>", "|", "a", "\u1100", "\u1161", "\u11a8", "t\u0283", "\u0301", "\\|", "<unk>")
    )
    bar, a, g, vowel, final, tesh, acute, real_bar, unknown = range(1, 10)
    ids = [a, g, vowel, final, g, vowel, bar, tesh, a, acute, unknown, real_bar]
    spans = [(2 * n, 2 * n + 1) for n in range(len(ids))]
    first, second = characters(Path(ids, spans), vocabulary, hop_samples=16_000.0)
    assert first == [Character("a", 0, 1), Character("각", 2, 7), Character("가", 8, 11)]
    assert second == [Character("t\u0283", 14, 15), Character("á", 16, 19), Character("|", 22, 23)]
    for word, letters in zip(words(Path(ids, spans), vocabulary, hop_samples=1.0), (first, second), strict=True):
        assert word.text == "".join(one.text for one in letters)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 7), min_size=1, max_size=40))
def test_characters_are_in_order_within_their_words(row):
    vocabulary = Vocabulary.fit(["값 강 ab"], unit="jamo")
    (path,) = greedy(logits_of([row], num_classes=len(vocabulary)))
    found = characters(path, vocabulary, hop_samples=320.0)
    for word, letters in zip(words(path, vocabulary, hop_samples=320.0), found, strict=True):
        assert word.text == "".join(one.text for one in letters)
        edges = [edge for one in letters for edge in (one.start, one.end)]
        assert edges == sorted(edges)
        assert (edges[0], edges[-1]) == (word.start, word.end)
