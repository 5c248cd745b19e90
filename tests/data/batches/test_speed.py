import pytest
import torch

from sori.data.batches.speed import SpeedReader, speed_copies
from sori.data.manifest import Utterance

RATE = 16_000
SPEEDS = (0.9, 1.0, 1.1)


def tone(hertz, num_samples):
    return 0.5 * torch.sin(2 * torch.pi * hertz * torch.arange(num_samples) / RATE)


UTTERANCES = [
    Utterance(f"u{number}", f"u{number}.wav", 0.0, length, "text", "speaker", None, None)
    for number, length in enumerate((16_000, 9_999, 7_001))
]
WAVEFORMS = [tone(500 + 100 * number, u.num_samples) for number, u in enumerate(UTTERANCES)]


def read(row, first, num_samples):
    return WAVEFORMS[row][first : first + num_samples]


def test_copies_are_listed_speed_by_speed():
    copies = speed_copies(UTTERANCES, SPEEDS)
    assert [u.id for u in copies] == ["u0@0.9", "u1@0.9", "u2@0.9", "u0", "u1", "u2", "u0@1.1", "u1@1.1", "u2@1.1"]
    assert copies[3:6] == UTTERANCES
    assert [u.num_samples for u in copies[:3]] == [17_778, 11_110, 7_779]
    assert {u.text for u in copies} == {"text"}


@pytest.mark.parametrize("row", range(9))
def test_pitch_and_length_follow_the_speed(row):
    speed, original = SPEEDS[row // 3], row % 3
    copies = speed_copies(UTTERANCES, SPEEDS)
    waveform = SpeedReader(read, UTTERANCES, SPEEDS)(row, 0, copies[row].num_samples)
    assert len(waveform) == copies[row].num_samples
    inner = slice(500, len(waveform) - 500)  # the filter rings at the ends
    expected = tone(speed * (500 + 100 * original), len(waveform))
    torch.testing.assert_close(waveform[inner], expected[inner], rtol=0, atol=2e-3)


def test_a_part_is_the_same_as_in_the_whole():
    reader = SpeedReader(read, UTTERANCES, SPEEDS)
    whole = reader(7, 0, speed_copies(UTTERANCES, SPEEDS)[7].num_samples)
    assert torch.equal(reader(7, 300, 1000), whole[300:1300])


def test_own_speed_is_untouched():
    assert torch.equal(SpeedReader(read, UTTERANCES, SPEEDS)(4, 5, 100), WAVEFORMS[1][5:105])
