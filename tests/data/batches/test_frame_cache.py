"""Output of frozen blocks on disk: complete or continued, and the same batches."""

import pytest
import torch

from sori.core.shapes import Frames
from sori.data.batches import frame_cache
from sori.data.batches.frame_cache import FrameBatches
from sori.data.batches.loader import TextBatches
from sori.data.batches.sampler import DataConfig
from sori.data.utterance import Utterance

SECONDS = [3, 9, 5, 12, 2, 7, 30, 4]


def read(row, first, num_samples):
    return torch.full((num_samples,), float(row + 1))


@pytest.fixture
def batches():
    rows = [Utterance(str(n), "a.wav", 0.0, s * 16_000, "x", None, None, None) for n, s in enumerate(SECONDS)]
    labels = [[n + 1] * (n + 1) for n in range(len(SECONDS))]
    return TextBatches(rows, labels, DataConfig(batch_seconds=20.0, num_buckets=2), seed=0, reader=read)


class Compute:
    """Two frames a second, whose values are those of the waveform; fails after a number of calls."""

    def __init__(self, fails_after=None):
        self.calls, self.fails_after = [], fails_after

    def __call__(self, batch):
        if len(self.calls) == self.fails_after:
            raise KeyboardInterrupt
        self.calls.append(batch.lengths.tolist())
        frames = batch.waveform[:, ::8000].unsqueeze(-1).expand(-1, -1, 3)
        return Frames(frames.bfloat16(), batch.lengths // 8000)


def test_batches_hold_the_frames_and_labels_of_their_utterances(batches, tmp_path):
    compute = Compute()
    frame_cache.build(batches, tmp_path, compute, key="a")
    assert sorted(length for call in compute.calls for length in call) == sorted(s * 16_000 for s in SECONDS)
    assert all(len(call) * max(call) <= 24 * 16_000 or len(call) == 1 for call in compute.calls)
    kept = FrameBatches(batches, tmp_path)
    for index in range(2 * batches.num_batches):
        ours, theirs = kept[index], batches[index]
        assert (ours.seconds, ours.frames.dtype) == (theirs.seconds, torch.bfloat16)
        assert torch.equal(ours.labels, theirs.labels)
        assert torch.equal(ours.label_lengths, theirs.label_lengths)
        assert torch.equal(ours.num_frames, theirs.lengths // 8000)
        assert torch.equal(ours.frames[..., 0].float(), theirs.waveform[:, ::8000])  # zero in padding


def test_a_killed_build_is_continued_and_a_complete_one_is_used(batches, tmp_path):
    whole = Compute()
    frame_cache.build(batches, tmp_path / "whole", whole, key="a")
    with pytest.raises(KeyboardInterrupt):
        frame_cache.build(batches, tmp_path / "cache", Compute(fails_after=2), key="a")
    rest = Compute()
    frame_cache.build(batches, tmp_path / "cache", rest, key="a")
    assert rest.calls == whole.calls[2:]
    again = Compute()
    frame_cache.build(batches, tmp_path / "cache", again, key="a")
    assert not again.calls
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "cache" / path.name).read_bytes()


def test_damaged_parts_and_those_of_other_weights_are_computed_again(batches, tmp_path):
    frame_cache.build(batches, tmp_path, Compute(), key="a")
    parts = sorted(tmp_path.iterdir())
    parts[1].write_bytes(b"\0" * 100)
    (tmp_path / "000099.safetensors").write_bytes(parts[0].read_bytes())  # a part more than there are now
    again = Compute()
    frame_cache.build(batches, tmp_path, again, key="a")
    assert len(again.calls) == 1
    other = Compute()
    frame_cache.build(batches, tmp_path, other, key="b")
    assert len(other.calls) == len(parts)
    assert sorted(tmp_path.iterdir()) == parts


def test_removing(batches, tmp_path, monkeypatch, caplog):
    frame_cache.remove(tmp_path / "none")
    frame_cache.build(batches, tmp_path / "cache", Compute(), key="a")

    def refused(folder):
        raise PermissionError(13, "in use", str(folder))

    with monkeypatch.context() as patch:
        patch.setattr(frame_cache.shutil, "rmtree", refused)
        frame_cache.remove(tmp_path / "cache")
    assert "remove it by hand" in caplog.text
    frame_cache.remove(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
