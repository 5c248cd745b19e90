import io

import pytest

from sori.plots.reliability import reliability


def test_points_intervals_and_counts_are_those_given():
    rows = [(0.1, 0.15, 0.05, 0.3), (0.8, 0.7, 0.5, 0.85)]
    drawn = reliability(rows, [0.1] * 5 + [0.8] * 3, caption="ECE 0.07\nNCE 0.2")
    axes, below = drawn.axes
    points = next(line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_marker() == "o")
    assert points.get_xydata().tolist() == [[0.1, 0.15], [0.8, 0.7]]
    bars = [path.vertices[:, 1].tolist() for c in axes.collections for path in c.get_paths()]
    assert sorted(bars) == [pytest.approx([0.05, 0.3]), pytest.approx([0.5, 0.85])]
    heights = {round(p.get_x(), 3): p.get_height() for p in below.patches if p.get_height()}
    assert heights == {0.1: 5, 0.8: 3}
    assert "ECE 0.07" in axes.get_title("left")
    drawn.savefig(io.BytesIO())
