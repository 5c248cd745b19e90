import io

import pytest
import torch

from sori.plots.features import features, masking


def test_features_share_the_seconds_of_the_waveform():
    drawn = features(torch.randn(32_000), torch.randn(200, 80))
    top, below = drawn.axes
    assert top.get_xlim() == below.get_xlim() == (0, 2)
    assert below.images[0].get_extent() == [0, 2, 0, 80]
    assert below.images[0].get_array().shape == (80, 200)
    drawn.savefig(io.BytesIO())


def test_masked_spans_are_covered_at_their_times():
    masked = torch.zeros(100, dtype=torch.bool)
    masked[10:20] = masked[95:] = masked[0] = True
    (axes,) = masking(torch.randn(200, 80), masked, seconds=2.0).axes
    covered = sorted((patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches)
    assert [end for pair in covered for end in pair] == pytest.approx([0, 0.02, 0.2, 0.4, 1.9, 2.0])
    assert axes.get_title("left").startswith("16%")
