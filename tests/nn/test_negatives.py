import pytest
import torch

from sori.nn.negatives import within_utterance


def draw(batch_size, num_masked, seed=0, num_negatives=100):
    return within_utterance(
        batch_size, num_masked, num_negatives=num_negatives, generator=torch.Generator().manual_seed(seed)
    )


def test_item_6_never_the_target_and_always_a_hidden_frame():
    for seed in range(20):
        negatives = draw(3, 57, seed)
        assert negatives.shape == (3, 57, 100)
        assert not (negatives == torch.arange(57)[None, :, None]).any()
        assert negatives.min() >= 0
        assert negatives.max() < 57


def test_all_others_are_equally_likely():
    negatives = draw(1, 5, num_negatives=20_000)[0]
    for target, row in enumerate(negatives):
        counts = torch.bincount(row, minlength=5)
        assert counts[target] == 0
        assert ((counts - 5000).abs()[torch.arange(5) != target] < 300).all()  # 4.9 standard deviations


def test_two_frames_are_each_others_distractor():
    assert draw(1, 2, num_negatives=3).tolist() == [[[1, 1, 1], [0, 0, 0]]]


def test_a_single_hidden_frame_is_refused():
    with pytest.raises(ValueError, match="at least 2 frames in every utterance, got 1"):
        draw(2, 1)
