import pytest
from hypothesis import given
from hypothesis import strategies as st

from sori.data.labels import choose_minutes, label, num_required_frames
from sori.data.manifest import Utterance
from sori.text.vocabulary import Vocabulary


def utterance(name, *, seconds=2.0, text="ab", speaker=None):
    return Utterance(name, f"{name}.wav", 0.0, round(seconds * 16_000), text, speaker, None, None)


def corpus(num_speakers=10, num_each=20, seconds=3.0):
    return [
        utterance(f"{speaker}-{number:02}", seconds=seconds, speaker=f"s{speaker}")
        for speaker in range(num_speakers)
        for number in range(num_each)
    ]


def test_minutes_spread_over_speakers():
    chosen = choose_minutes(corpus(), 1.0, seed=0)  # 20 utterances, 10 speakers
    assert len(chosen) == 20
    assert sorted(u.speaker for u in chosen) == sorted([f"s{n}" for n in range(10)] * 2)
    assert len({u.id for u in chosen}) == 20


def test_few_minutes_take_different_speakers():
    chosen = choose_minutes(corpus(), 0.25, seed=3)
    assert len({u.speaker for u in chosen}) == len(chosen) == 5


def test_never_longer_than_the_limit_and_short_by_less_than_an_utterance():
    rows = [utterance(f"u{n}", seconds=1 + n % 7 / 3, speaker=f"s{n % 5}") for n in range(100)]
    for seed in range(20):
        seconds = sum(u.duration_seconds for u in choose_minutes(rows, 0.5, seed=seed))
        assert 30 - 3.0 < seconds <= 30


def test_choice_depends_on_the_seed_only_and_smaller_choices_begin_larger_ones():
    rows = corpus()
    ten = choose_minutes(rows, 1.0, seed=5)
    assert choose_minutes(rows[::-1], 1.0, seed=5) == ten
    assert choose_minutes(rows, 1.0, seed=6) != ten
    assert choose_minutes(rows, 4.0, seed=5)[: len(ten)] == ten


def test_speakers_with_little_are_used_up():
    rows = [*corpus(num_speakers=1, num_each=30), utterance("rare", seconds=3, speaker="t")]
    chosen = choose_minutes(rows, 1.0, seed=0)
    assert len(chosen) == 20
    assert [u.id for u in chosen].count("rare") == 1
    assert len(choose_minutes(rows, 31 * 3 / 60, seed=0)) == 31


def test_untranscribed_are_ignored_and_unnamed_speakers_count_separately():
    rows = [*(utterance(f"n{n}", text=text) for n, text in enumerate([None, "", "  "])), *corpus(1, 10)]
    rows += [utterance(f"x{n}", seconds=3) for n in range(10)]
    chosen = choose_minutes(rows, 0.5, seed=0)
    assert not {u.id for u in chosen} & {"n0", "n1", "n2"}
    assert sum(u.speaker is None for u in chosen) >= 9


def test_too_few_minutes_are_refused_with_the_count():
    with pytest.raises(ValueError, match=r"expected 10 min .* got 1\.0 min in 20 utterances \(1 more"):
        choose_minutes([*corpus(2, 10), utterance("silent", text=None)], 10.0, seed=0)


@given(st.lists(st.integers(1, 3), max_size=12))
def test_required_frames_by_writing_the_path(labels):
    path = []
    for one in labels:  # the shortest path: a blank only where the neighbour is equal
        path += [0, one] if path and path[-1] == one else [one]
    assert num_required_frames(labels) == len(path)


def test_label_leaves_out_what_ctc_cannot_learn_from():
    vocabulary = Vocabulary.fit(["ab ba"])
    cases = {
        "good": utterance("good", seconds=0.1, text="Ab, ba!"),
        "exact": utterance("exact", seconds=0.06, text="abb"),
        "dense": utterance("dense", seconds=0.06, text="abba"),
        "none": utterance("none", text=None),
        "empty": utterance("empty", text=" ?! "),
        "foreign": utterance("foreign", text="añb"),
        "tiny": utterance("tiny", seconds=0.01, text="a"),
    }
    labels = label(list(cases.values()), vocabulary, num_frames=lambda n: n // 240, field_samples=400)
    assert [one.utterance.id for one in labels.usable] == ["good", "exact"]
    assert labels.usable[0].labels == vocabulary.encode("ab ba")
    reasons = {one.utterance.id: one.reason for one in labels.unusable}
    assert list(reasons) == ["dense", "none", "empty", "foreign", "tiny"]
    assert reasons["dense"] == "too short for its transcript: 4 frames for 4 labels and 1 repeats (0.06 s, 4 symbols)"
    assert reasons["none"] == "no transcript"
    assert reasons["empty"] == "transcript ' ?! ' is empty after normalisation"
    assert "U+00F1 LATIN SMALL LETTER N WITH TILDE" in reasons["foreign"]
    assert reasons["tiny"] == "shorter than one frame: 160 samples, one frame needs 400"
