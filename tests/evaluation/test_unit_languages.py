"""Unit counts by language."""

import math

import numpy as np
import pytest
import soundfile
import torch
from scipy.spatial.distance import jensenshannon

from sori.data.manifest import Utterance
from sori.evaluation.unit_languages import UnitCounts, count_units, halves

RATE = 16_000


def utterance(name, seconds=1.0, *, speaker=None, language="eng", path="x.wav", start=0.0):
    return Utterance(name, str(path), start, int(seconds * RATE), None, speaker, language, None)


def use(*counts):
    """Return the counts of languages with two halves and one group."""
    return UnitCounts(tuple("abcdef"[: len(counts)]), torch.tensor(counts).unsqueeze(2))


def test_distances_are_those_of_scipy():
    counts = torch.randint(0, 50, (3, 2, 2, 12), generator=torch.Generator().manual_seed(0))
    found = UnitCounts(("a", "b", "c"), counts).distances
    flat = counts.flatten(0, 1).double().numpy()
    for i in range(6):
        for j in range(6):
            groups = [jensenshannon(flat[i, g], flat[j, g], base=2) ** 2 for g in range(2)]
            assert found[i, j].item() == pytest.approx(math.sqrt(sum(groups) / 2), abs=1e-10)
    # a metric
    assert torch.equal(found, found.T)
    assert (found[:, :, None] <= found[:, None, :] + found[None].transpose(1, 2) + 1e-12).all()


def test_distances_end_at_zero_and_one():
    same = use([[4, 2, 0, 0], [8, 4, 0, 0]], [[0, 0, 1, 1], [0, 0, 5, 5]])
    assert same.distances[0, 1] == pytest.approx(0, abs=1e-7)
    assert same.distances[0, 2] == 1
    assert same.between.tolist() == pytest.approx(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), abs=1e-7)


def test_the_diagonal_has_the_distance_between_halves():
    found = use([[9, 1], [1, 9]], [[5, 5], [5, 5]])
    d = found.distances
    assert found.between[0, 0] == d[0, 1]
    assert found.between[1, 1] == pytest.approx(0, abs=1e-7)
    assert found.between[0, 1] == pytest.approx(d[:2, 2:].mean().item())


def test_languages_are_weighted_equally_in_unit_ownership():
    few_and_many = use([[3, 1, 0], [3, 1, 0]], [[0, 4000, 0], [0, 4000, 0]])
    owned = few_and_many.owned
    assert owned[:, 0, 0].tolist() == [1, 0]
    assert owned[:, 0, 1].tolist() == pytest.approx([0.2, 0.8])
    assert owned[:, 0, 2].tolist() == [0, 0]
    assert few_and_many.num_owned == [1, 1]


def test_halves_share_no_speaker_if_there_are_several():
    spoken = [
        utterance(f"{speaker}{i}", speaker=speaker)
        for speaker, num in (("a", 6), ("b", 4), ("c", 3))
        for i in range(num)
    ]
    first, second = halves(spoken)
    assert {u.speaker for u in first}.isdisjoint({u.speaker for u in second})
    assert (len(first), len(second)) == (6, 7)
    alone = [utterance(str(i), 1 + i, speaker="a") for i in range(5)]
    first, second = halves(alone)
    assert {u.id for u in first} | {u.id for u in second} == set("01234")
    assert abs(sum(u.num_samples for u in first) - sum(u.num_samples for u in second)) <= 5 * RATE


@pytest.fixture
def recordings(tmp_path):
    """Two languages with two speakers each; the unit is the level of the signal."""
    found = []
    for number, (language, speaker, level) in enumerate(
        [("mdw", "a", 0.1), ("mdw", "b", 0.3), ("eng", "c", 0.5), ("eng", "d", 0.5)]
    ):
        path = tmp_path / f"{speaker}.wav"
        soundfile.write(path, np.full(10 * RATE, level), RATE, subtype="FLOAT")
        found += [
            utterance(f"{number}-{i}", speaker=speaker, language=language, path=path, start=float(i)) for i in range(10)
        ]
    return found


def by_level(waveform):
    """One frame per second, one group of ten units."""
    return (
        (10 * waveform[:, :: waveform.shape[1]]).round().long().unsqueeze(-1).expand(-1, waveform.shape[1] // RATE, -1)
    )


def test_units_are_counted_by_language_and_half(recordings):
    found = count_units(by_level, recordings, num_codes=10, minutes=20 / 60, shortest=100)
    assert found.names == ("eng", "mdw")
    assert found.counts.shape == (2, 2, 1, 10)
    assert found.counts[0, :, 0, 5].tolist() == [10, 10]
    assert sorted(found.counts[1, :, 0].tolist()) == sorted(
        [[10 if unit == level else 0 for unit in range(10)] for level in (1, 3)]
    )
    few = count_units(by_level, recordings[::-1], num_codes=10, minutes=6 / 60, shortest=100)
    assert few.counts.sum((2, 3)).tolist() == [[3, 3], [3, 3]]


def test_too_few_languages_are_refused(recordings):
    unlabelled = [u._replace(language=None) for u in recordings[20:]]
    with pytest.raises(ValueError, match=r"got 20 of mdw \(40 in all\).*--language CODE"):
        count_units(by_level, recordings[:20] + unlabelled, num_codes=10, minutes=1.0, shortest=100)
    with pytest.raises(ValueError, match="got none"):
        count_units(by_level, recordings, num_codes=10, minutes=1.0, shortest=2 * RATE)
