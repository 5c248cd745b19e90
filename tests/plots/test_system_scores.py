"""Scores of several systems."""

from sori.plots.system_scores import Dot, Panel, side_by_side


def test_a_row_for_each_name_and_gaps_for_missing_scores(tmp_path):
    rows = (("cpc", "trained"), ("cpc, untrained", "untrained"), ("mfcc, 20 ms", "spectrum"))
    dots = [Dot(name, kind, 0.3 + y / 10, 0.2 + y / 10, 0.45 + y / 10) for y, (name, kind) in enumerate(rows)]
    errors = [dots[0], *(dot._replace(value=None, low=None, high=None) for dot in dots[1:])]
    made = side_by_side([Panel("phones", dots), Panel("errors", errors)], title="toys")
    assert made.get_suptitle() == "toys"
    first, second = made.axes
    assert [label.get_text() for label in first.get_yticklabels()] == [name for name, _ in rows]
    assert [(round(line.get_xdata()[0]), line.get_ydata()[0]) for line in first.lines] == [(30, 0), (40, 1), (50, 2)]
    assert [[round(x) for x, _ in one.get_segments()[0]] for one in first.collections] == [[20, 45], [30, 55], [40, 65]]
    assert len(second.lines) == 1
    assert first.get_ylim()[0] > first.get_ylim()[1]  # the first at the top
    made.savefig(tmp_path / "systems.png")
    assert (tmp_path / "systems.png").stat().st_size > 5_000
