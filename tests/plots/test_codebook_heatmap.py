import pytest
import torch

from sori.plots.codebook_heatmap import codebook_use, perplexity, units_over_time


def test_perplexity_of_uniform_use():
    assert perplexity(torch.tensor([5, 5, 0, 5, 5])) == pytest.approx(4)
    assert perplexity(torch.tensor([0, 9])) == pytest.approx(1)


def test_codebook_use_is_sorted_and_has_its_perplexity():
    counts = torch.tensor([[1, 3, 0, 4], [2, 2, 2, 2]])
    (axes,) = codebook_use(counts).axes
    first, second = (line.get_ydata().tolist() for line in axes.lines[:2])
    assert first == pytest.approx([50, 37.5, 12.5, 0])
    assert second == pytest.approx([25, 25, 25, 25])
    assert axes.get_legend().get_texts()[1].get_text() == "group 2: perplexity 4 of 4"


def test_units_are_drawn_at_their_times():
    units = torch.tensor([[0, 7], [3, 7], [3, 1], [2, 0]])
    _, below = units_over_time(torch.randn(40, 80), units, num_codes=8, seconds=2.0).axes
    segments = below.collections[0].get_segments()
    assert [segment.tolist() for segment in segments[:2]] == [[[0.0, 0.0], [0.5, 0.0]], [[0.5, 3.0], [1.0, 3.0]]]
    assert len(below.collections) == 2
