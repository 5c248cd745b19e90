"""Scores by layer."""

from sori.plots.layer_scores import Panel, Point, by_layer


def test_a_panel_for_each_measure_with_all_its_lines(tmp_path):
    trained = [Point(layer, 0.1 * layer + 0.2, 0.1 * layer + 0.1, 0.1 * layer + 0.3) for layer in range(3)]
    panels = [
        Panel("phones", trained, trained[:1], {"mfcc": 0.3, "log-mel": 0.25, "chance": 0.1}),
        Panel("ABX", trained, [], {"chance": 0.5}),
    ]
    made = by_layer(panels)
    first, second = made.axes
    assert [text.get_text() for text in first.get_legend().get_texts()] == [
        "trained",
        "random initialisation",
        "mfcc",
        "log-mel",
        "chance",
    ]
    assert [text.get_text() for text in second.get_legend().get_texts()] == ["trained", "chance"]
    assert [round(y) for y in first.lines[0].get_ydata()] == [20, 30, 40]
    assert list(first.get_xticks()) == [0, 1, 2]
    made.savefig(tmp_path / "layers.png")
    assert (tmp_path / "layers.png").stat().st_size > 5_000
