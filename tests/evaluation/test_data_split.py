"""Splits by speaker and by utterance."""

import pytest

from sori.data.manifest import Utterance
from sori.evaluation.data_split import split


def utterances_of(*rows):
    """Return utterances for rows of (speaker, split, number)."""
    return [
        Utterance(f"{speaker}-{part}-{i}", "/x.wav", 0.0, 16_000, None, speaker, None, part)
        for speaker, part, num in rows
        for i in range(num)
    ]


def speakers(utterances, part):
    return {utterances[i].speaker for i in part}


def test_named_splits_without_common_speakers_are_kept():
    rows = utterances_of(("a", "train", 4), ("b", "dev", 3), ("c", "test", 2), ("d", None, 5))
    found = split(rows, range(9), by="speaker")
    assert [speakers(rows, part) for part in found[:3]] == [{"a"}, {"b"}, {"c"}]
    assert [len(part) for part in found[:3]] == [4, 3, 2]
    assert "named splits" in found.about


def test_without_a_dev_split_a_part_of_train_is_used():
    rows = utterances_of(("a", "train", 20), ("c", "test", 2))
    found = split(rows, range(22), by="speaker")
    assert [len(part) for part in found[:3]] == [18, 2, 2]
    assert set(found.train) | set(found.dev) == set(range(20))


@pytest.mark.parametrize("name", [None, "train"])
def test_otherwise_speakers_are_drawn_and_parts_share_none(name):
    rows = utterances_of(*((speaker, name, 3) for speaker in "abcdefghij"), ("a", "test", 1))
    found = split(rows, range(31), by="speaker", seed=3)
    parts = [speakers(rows, part) for part in found[:3]]
    assert [len(part) for part in parts] == [7, 1, 2]
    assert len(set().union(*parts)) == 10
    assert sorted(found.train + found.dev + found.test) == list(range(31))
    assert split(rows, range(31), by="speaker", seed=3) == found
    assert any(split(rows, range(31), by="speaker", seed=seed).test != found.test for seed in range(5))


def test_by_utterance_all_speakers_are_in_all_parts():
    rows = utterances_of(("a", "train", 20), ("b", "test", 3), ("c", "test", 2))
    found = split(rows, range(25), by="utterance")
    assert all(speakers(rows, part) == {"a", "b"} for part in found[:3])
    assert [len(part) for part in found[:3]] == [14 + 1, 2 + 1, 4 + 1]
    assert len({*found.train, *found.dev, *found.test}) == 23
    assert "1 with fewer than three utterances left out" in found.about


def test_only_the_chosen_are_split():
    rows = utterances_of(("a", None, 5), ("b", None, 5), ("c", None, 5))
    found = split(rows, [0, 1, 2, 6, 7, 11], by="speaker")
    assert sorted(found.train + found.dev + found.test) == [0, 1, 2, 6, 7, 11]


def test_impossible_splits_are_refused():
    with pytest.raises(ValueError, match="--split-by utterance"):
        split(utterances_of(("a", None, 5), ("b", None, 5)), range(10), by="speaker")
    with pytest.raises(ValueError, match="has no speaker"):
        split(utterances_of((None, None, 5)), range(5), by="utterance")
    with pytest.raises(ValueError, match="at least three utterances each"):
        split(utterances_of(("a", None, 2)), range(2), by="utterance")
