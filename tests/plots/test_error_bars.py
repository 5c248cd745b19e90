import pytest

from sori.plots.error_bars import error_rates, losses


def test_error_rates_are_drawn_in_percent_with_their_intervals():
    (axes,) = error_rates([("with", 0.2, (0.18, 0.25)), ("without", 0.5, (0.45, 0.52))], measure="CER").axes
    assert sorted(patch.get_width() for patch in axes.patches) == pytest.approx([20, 50])
    ends = {tuple(round(x, 6) for x in path.vertices[:, 0]) for c in axes.collections for path in c.get_paths()}
    assert {(18.0, 25.0), (45.0, 52.0)} <= ends
    assert [label.get_text() for label in axes.get_yticklabels()] == ["without", "with"]


def test_losses_are_drawn_over_updates():
    (axes,) = losses([("a", [(10, 3.0), (20, 2.0)]), ("b", [(10, 3.5)])], ylabel="nats").axes
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[10, 3], [20, 2]], [[10, 3.5]]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]
    assert axes.get_ylim()[0] == 0
