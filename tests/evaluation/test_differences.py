import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sori.evaluation import differences
from sori.evaluation.error_rate import Edits, error_rates

TEXTS = st.lists(st.sampled_from(["a", "bb", "ca", "각", "é", "of"]), max_size=6).map(" ".join)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6).filter(
    lambda pairs: any(reference for reference, _ in pairs)
)


@settings(max_examples=80, deadline=None)
@given(PAIRS)
def test_alignments_contain_both_texts_and_the_counts_of_the_rates(pairs):
    report = error_rates(*zip(*pairs, strict=True), num_draws=5)
    for aligned, rate, join in (
        (differences.words(report), report.wer, " ".join),
        (differences.characters(report), report.cer, "".join),
    ):
        for one, steps in zip(report.utterances, aligned, strict=True):
            assert join(s.reference for s in steps if s.kind != "extra") == one.reference
            assert join(s.hypothesis for s in steps if s.kind != "missing") == one.hypothesis
        found = differences.confusions(aligned)
        sums = [sum(row[-1] for row in rows) for rows in (found.wrong, found.extra, found.missing)]
        assert sums == [rate.edits.substitutions, rate.edits.insertions, rate.edits.deletions]


@settings(max_examples=40, deadline=None)
@given(PAIRS, st.randoms())
def test_the_order_of_utterances_does_not_matter(pairs, chance):
    shuffled = list(pairs)
    chance.shuffle(shuffled)
    one, other = (error_rates(*zip(*rows, strict=True), num_draws=5) for rows in (pairs, shuffled))
    assert (one.wer.edits, one.cer.edits) == (other.wer.edits, other.cer.edits)
    for aligned in (differences.words, differences.characters):
        assert differences.confusions(aligned(one)) == differences.confusions(aligned(other))
    lengths = [[(part.name, part.words.edits) for part in differences.by_words(report)] for report in (one, other)]
    assert lengths[0] == lengths[1]


def test_confusions_are_counted_and_ordered():
    report = error_rates(["pat the cat", "pat", "the", "sit"], ["bat a cat", "bat", "a", "sit down"])
    found = differences.confusions(differences.words(report))
    assert found.wrong == [("pat", "bat", 2), ("the", "a", 2)]
    assert found.missing == []
    assert found.extra == [("down", 1)]
    letters = differences.confusions(differences.characters(report))
    assert ("p", "b", 2) in letters.wrong
    assert (" ", 1) in letters.extra


def test_parts_by_length_add_up_to_the_whole():
    chance = random.Random(1)
    references = [" ".join("w" * chance.randrange(1, 4) for _ in range(chance.randrange(60))) for _ in range(200)]
    hypotheses = [" ".join(w if chance.random() < 0.7 else "x" for w in text.split()) for text in references]
    report = error_rates(references, hypotheses)
    parts = differences.by_words(report)
    assert [part.name for part in parts] == ["0", "1 to 2", "3 to 5", "6 to 10", "11 to 20", "21 to 40", "over 40"]
    assert sum(part.num_utterances for part in parts) == 200
    assert sum((part.words.edits for part in parts), Edits(0, 0, 0, 0)) == report.wer.edits
    assert sum((part.characters.edits for part in parts), Edits(0, 0, 0, 0)) == report.cer.edits
    assert parts[1].num_utterances == sum(1 <= len(text.split()) <= 2 for text in references)
    assert parts[-1].words.low < parts[-1].words.rate < parts[-1].words.high


def test_seconds_are_grouped_at_their_bounds():
    report = error_rates(["a b", "a", "a", "a"], ["a c", "a", "b", "a"])
    parts = differences.by_seconds(report, [2.0, 2.1, 20.5, 7.0])
    assert [(part.name, part.num_utterances, part.words.edits.errors) for part in parts] == [
        ("up to 2", 1, 1),
        ("2 to 5", 1, 0),
        ("5 to 10", 1, 0),
        ("over 20", 1, 1),
    ]
    with pytest.raises(ValueError, match="shorter"):
        differences.by_seconds(report, [1.0])


def test_speakers_have_intervals_if_there_are_enough_utterances():
    many = differences.FEWEST_DRAWN
    references, speakers = ["a b"] * (2 * many - 1), ["anna"] * many + ["ben"] * (many - 1)
    hypotheses = ["a b" if n % 3 else "a c" for n in range(len(references))]
    report = error_rates(references, hypotheses, speakers)
    parts = {part.name: part for part in differences.by_speaker(report)}
    assert parts["anna"].words.low < parts["anna"].words.rate < parts["anna"].words.high
    assert math.isnan(parts["ben"].words.low)
    assert {name: (part.words.edits, part.characters.edits) for name, part in parts.items()} == report.speakers
    alone = error_rates(references[:many], hypotheses[:many])
    assert (parts["anna"].words.low, parts["anna"].words.high) == (alone.wer.low, alone.wer.high)
