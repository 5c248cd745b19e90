import io

import pytest

from sori.plots.reference_curves import reference_curves
from sori.plots.training_curves import curves


def reports(count=10, **changes):
    return [
        {"kind": "train", "step": 10 * n, "hours": 0.5 * n, "loss": 5 - 0.1 * n, "grad_norm": 1.0, "lr": 1e-3 * n}
        | {name: value(n) for name, value in changes.items()}
        for n in range(1, count + 1)
    ]


def lines(figure):
    """Return the points of each labelled line by label."""
    return {
        line.get_label(): list(zip(line.get_xdata(), line.get_ydata(), strict=True))
        for axes in figure.axes
        for line in axes.get_lines()
        if not line.get_label().startswith("_")
    }


PRETRAIN = {
    "contrastive": lambda n: 4 - 0.1 * n,
    "chance": lambda _: 4.615,
    "correct": lambda n: 0.02 * n,
    "equal_share": lambda _: 0.01,
    "code_perplexity": lambda n: 20.0 * n,
    "max_code_perplexity": lambda _: 320.0,
}


def test_a_pretraining_run_has_loss_and_perplexity_with_their_references():
    figure = curves(reports(**PRETRAIN))
    drawn = lines(figure)
    assert drawn["contrastive loss"][1] == (1.0, pytest.approx(3.8))
    assert drawn["chance"][-1] == (5.0, 4.615)
    assert drawn["accuracy"][-1] == (5.0, pytest.approx(20))
    assert drawn["codebook perplexity"][-1] == (5.0, 200)
    assert drawn["uniform use"][0] == (0.5, 320)
    assert len(figure.axes) == 4
    assert figure.axes[-1].get_xlabel() == "hours of audio processed"
    figure.savefig(io.BytesIO())


def test_a_recogniser_has_evaluations_and_no_codebook_panel():
    rows = reports(blank_share=lambda n: 1 - 0.05 * n)
    rows += [{"kind": "evaluation", "step": 35, "cer": 0.7}, {"kind": "evaluation", "step": 100, "cer": 0.4}]
    figure = curves(rows)
    drawn = lines(figure)
    assert drawn["cer"] == [(1.75, 0.7), (5.0, 0.4)]
    assert drawn["frames with blank as prediction"][-1] == (5.0, pytest.approx(50))
    assert "codebook perplexity" not in drawn
    figure.savefig(io.BytesIO())


def test_predictions_of_several_steps_have_a_line_each_and_the_ends_are_labelled():
    by_step = {f"correct_{k}": lambda n, k=k: n / 100 / k for k in range(1, 13)}
    figure = curves(reports(correct=lambda _: 0.3, **by_step))
    drawn = lines(figure)
    assert drawn["1 step ahead"][-1] == (5.0, pytest.approx(10))
    assert drawn["12 steps"][-1] == (5.0, pytest.approx(10 / 12))
    (axes,) = (axes for axes in figure.axes if axes.get_ylabel() == "accuracy in percent")
    assert [line.get_ydata()[-1] for line in axes.get_lines()] == pytest.approx([10 / k for k in range(1, 13)])
    alone = curves(reports(correct=lambda _: 0.3, correct_1=lambda _: 0.3) + reports(count=1))  # the last has none
    assert "1 step ahead" in lines(alone)


def test_warnings_are_marked_at_their_update():
    figure = curves([*reports(), {"kind": "warning", "step": 50, "name": "chance_level"}])
    assert [text.get_text() for text in figure.axes[0].texts] == ["chance level"]
    for axes in figure.axes:
        assert [line.get_xdata()[0] for line in axes.get_lines() if line.get_label().startswith("_")] == [2.5]


def test_reports_without_a_finite_loss_leave_a_gap():
    rows = reports(loss=lambda n: None if n == 3 else 2.0)
    assert len(lines(curves(rows))["loss"]) == 9


def test_a_run_without_reports_is_refused():
    with pytest.raises(ValueError, match="got none"):
        curves([{"kind": "warning", "step": 1, "name": "collapse"}])


def test_healthy_runs_lie_behind_the_curves_as_far_as_the_run_has_come():
    healthy = [{"hours": 0.5 * n, "contrastive": 4 - 0.2 * n, "correct": 0.03 * n} for n in range(1, 30)]
    figure = curves(reports(**PRETRAIN), reference=[healthy])
    drawn = lines(figure)["healthy runs of this recipe"]
    assert drawn[0] == (0.5, pytest.approx(3.0))  # of the second panel: accuracy in percent
    assert drawn[-1] == (7.5, pytest.approx(45.0))  # half as far again as the run
    loss = next(line for line in figure.axes[0].get_lines() if line.get_label() == "healthy runs of this recipe")
    assert loss.get_ydata()[0] == pytest.approx(3.8)
    assert loss.get_zorder() < min(line.get_zorder() for line in figure.axes[0].get_lines() if line is not loss)
    assert len(figure.axes[-1].get_lines()) == len(curves(reports(**PRETRAIN)).axes[-1].get_lines())
    figure.savefig(io.BytesIO())


def test_no_label_is_an_unset_formula():
    figure = curves(reports(**PRETRAIN))
    figure.canvas.draw()
    labels = [text.get_text() for axes in figure.axes for text in axes.get_yticklabels()]
    assert "0.001" in labels
    assert not [label for label in labels if "$" in label]


def test_a_rollback_is_marked():
    rows = [*reports(**PRETRAIN), {"kind": "rollback", "step": 50, "from_step": 80, "lr_factor": 0.5}]
    texts = [text.get_text() for text in curves(rows).axes[0].texts]
    assert texts == ["back from 80"]


def test_the_stored_curves_are_of_healthy_runs():
    found = reference_curves("wav2vec2_tiny")
    assert found
    assert reference_curves("ctc_10min") == []
    for run in found:
        assert run[0]["contrastive"] > run[-1]["contrastive"] + 1
        assert [row["hours"] for row in run] == sorted(row["hours"] for row in run)
        assert run[-1]["correct"] > 0.2
        assert min(row["code_perplexity"] for row in run) > 20
