"""Long recordings are cut in their silences: everything spoken is covered, nothing is longer than allowed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sori.data.preparation.segments import PADDING, SHORTEST_SILENCE, cut, silences

SPEECH_DB, NOISE_DB = -20.0, -60.0


def levels_of(*stretches, seed=0):
    """Levels of alternating (speech, silence, speech, ...) stretches, in frames."""
    rng = np.random.default_rng(seed)
    parts = [np.full(num, NOISE_DB if index % 2 else SPEECH_DB) for index, num in enumerate(stretches)]
    return np.concatenate(parts) + rng.normal(0, 2, sum(stretches))


def test_silences_are_found_where_they_were_put():
    found = silences(levels_of(300, 50, 300, SHORTEST_SILENCE - 5, 300, 80, 300))
    expected = np.zeros(len(found), dtype=bool)
    expected[300:350] = expected[965:1045] = True  # the short gap is none
    assert np.flatnonzero(found != expected).size <= 8  # levels are smoothed over 5 frames


def test_the_threshold_follows_the_recording():
    loud, soft = levels_of(500, 60, 500, 60, 500, 60, 4_000), levels_of(500, 60, 500, 60, 500, 60, 4_000) - 20
    found = silences(np.concatenate([loud, soft, soft]))
    for offset in (0, len(loud)):
        assert found[offset + 503 : offset + 557].all()
        assert not found[offset + 563 : offset + 1_057].any()


def test_digital_silence_does_not_hide_the_pauses():
    levels = levels_of(300, 50, 300, 50, 300)
    levels[:200] = -120
    assert silences(levels)[303:347].all()


@pytest.mark.parametrize("nothing_db", [-120.0, -90.0, -75.0])
def test_hours_of_nothing_are_silent_but_for_the_little_that_was_said(nothing_db):
    levels = np.random.default_rng(0).normal(nothing_db, 1, 360_000)
    assert cut(levels, max_frames=2_000) == []
    levels[200_000:200_300] = SPEECH_DB
    pieces = cut(levels, max_frames=2_000)
    assert pieces[0][0] < 200_000
    assert pieces[-1][1] > 200_300
    assert sum(stop - first for first, stop in pieces) <= 6_000


def test_steady_noise_has_no_silence_and_is_cut_at_its_lowest():
    levels = np.random.default_rng(0).normal(-30, 1, 5_000)
    levels[1_600:1_610] -= 3
    assert not silences(levels).any()
    pieces = cut(levels, max_frames=2_000)
    assert pieces[0][0] == 0
    assert 1_600 <= pieces[0][1] <= 1_610
    assert [stop for _, stop in pieces[:-1]] == [first for first, _ in pieces[1:]]
    assert pieces[-1][1] == 5_000


def test_the_longest_silence_near_the_target_is_taken():
    # target 1,500 of 2,000: silences of 300 ms at 1,450, of 500 ms at 1,580, of 2 s outside at 700
    pieces = cut(levels_of(600, 200, 635, 30, 90, 50, 5_000), max_frames=2_000)
    assert pieces[0] == (0, pytest.approx(1_580, abs=3))
    assert pieces[1][0] == pieces[0][1]


def test_the_middle_of_long_silences_is_dropped():
    pieces = cut(levels_of(500, 10_000, 500), max_frames=2_000)
    near = pytest.approx
    assert pieces == [(0, near(500 + PADDING, abs=3)), (near(10_500 - PADDING, abs=3), 11_000)]


def test_silence_at_both_ends_is_dropped():
    silent_first = np.concatenate([np.full(3_000, NOISE_DB), levels_of(1_000, 100, 1_000), np.full(900, NOISE_DB)])
    pieces = cut(silent_first, max_frames=1_500)
    assert pieces[0][0] == pytest.approx(3_000 - PADDING, abs=3)
    assert pieces[-1][1] == pytest.approx(5_100 + PADDING, abs=3)


def test_the_last_two_pieces_share_what_is_left():
    stretches = [180, 30] * 12
    pieces = cut(levels_of(*stretches), max_frames=2_400)
    assert [stop - first for first, stop in pieces] == pytest.approx([1_260, 1_230], abs=120)


@settings(max_examples=60, deadline=None)
@given(
    stretches=st.lists(st.integers(5, 1_200), min_size=1, max_size=40),
    max_frames=st.integers(100, 3_000),
    seed=st.integers(0, 99),
)
def test_all_speech_is_covered_by_short_enough_pieces(stretches, max_frames, seed):
    levels = levels_of(*stretches, seed=seed)
    pieces = cut(levels, max_frames=max_frames)
    covered = np.zeros(len(levels), dtype=int)
    for first, stop in pieces:
        assert 0 < stop - first <= max_frames
        covered[first:stop] += 1
    assert covered.max(initial=0) <= 1
    assert (covered[~silences(levels)] == 1).all()
