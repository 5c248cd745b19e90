import json
import math

import pytest

from sori.core.run_folder import RunFolder
from sori.training.metrics import (
    Reporter,
    Window,
    cut_metrics,
    format_line,
    read_metrics,
)
from sori.training.watch import Facts, Finding

FACTS = Facts(num_steps=100, chance_nats=4.615, max_code_perplexity=320.0)
NUMBERS = {
    "step": 50,
    "loss": 3.7,
    "contrastive": 3.214,
    "correct": 0.141,
    "code_perplexity": 293.2,
    "equal_share": 0.012,
    "grad_norm": 0.5,
    "lr": 1e-3,
    "hours": 14.0,
    "hours_per_hour": 135.0,
    "seconds_left": 3725.0,
    "wait_share": 0.004,
    "skipped": 0,
}


def test_a_window_divides_sums_by_the_global_count():
    window = Window()
    window.add({"total": 10.0, "count": 4.0, "correct": 1.0}, seconds=8.0, grad_norm=2.0, skipped=False)
    window.add({"total": 2.0, "count": 2.0, "correct": 2.0}, seconds=4.0, grad_norm=4.0, skipped=False)
    window.add({"total": math.inf, "count": 2.0, "correct": 2.0}, seconds=6.0, grad_norm=math.nan, skipped=True)
    assert window.means() == {
        "loss": 2.0,
        "correct": 0.5,
        "grad_norm": 3.0,
        "skipped": 1,
        "batch_seconds": 6.0,
    }
    assert Window(**json.loads(json.dumps(window.to_state()))) == window


def test_a_window_of_skipped_updates_only_has_no_means():
    window = Window()
    window.add({"total": math.inf, "count": 2.0}, seconds=6.0, grad_norm=math.nan, skipped=True)
    assert math.isnan(window.means()["loss"])


def test_the_line_shows_each_number_beside_its_reference_value():
    line = format_line(NUMBERS, FACTS)
    for part in (
        "3.214 nats (chance 4.615)",
        "accuracy 14.1%",
        "codebook perplexity 293.2 of 320",
        "equal distractors 1.2%",
        "processed 14.00 h at 135x real time",
        "1:02:05 left",
    ):
        assert part in line
    assert "skipped" not in line


def test_a_recognisers_line_has_a_varying_chance_level_and_no_codebook():
    numbers = {
        k: v for k, v in NUMBERS.items() if k not in {"contrastive", "code_perplexity", "equal_share", "correct"}
    }
    line = format_line(numbers | {"blank_share": 0.7, "chance": 50.0, "skipped": 2}, Facts(num_steps=100))
    assert "loss 3.700 nats (chance 50.000)" in line
    assert "blank 70.0%" in line
    assert "codebook" not in line
    assert line.endswith("skipped 2")


def test_reports_are_written_as_lines_of_json(tmp_path, capsys):
    with Reporter(RunFolder(tmp_path), step=0, facts=FACTS) as reporter:
        reporter.report(NUMBERS | {"loss": math.nan})
        reporter.evaluation(50, {"dev/cer": 0.5})
        reporter.warn(50, Finding("collapse", "It fell.", "Raise it."))
        reporter.tick(51)
    train, evaluation, warning = read_metrics(tmp_path / "metrics.jsonl")
    assert train == {"kind": "train", **NUMBERS, "loss": None}
    assert evaluation == {"kind": "evaluation", "step": 50, "dev/cer": 0.5}
    assert warning == {"kind": "warning", "step": 50, "name": "collapse", "cause": "It fell.", "cure": "Raise it."}
    shown = capsys.readouterr().err
    assert "50/100" in shown
    assert "WARNING at update 50, collapse: It fell. Raise it." in shown


def test_tensorboard_holds_the_same_numbers(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with Reporter(RunFolder(tmp_path), step=0, facts=FACTS) as reporter:
        reporter.report(NUMBERS)
    events = accumulator.EventAccumulator(str(tmp_path / "board")).Reload()
    (event,) = events.Scalars("train/contrastive")
    assert event.step == 50
    assert event.value == pytest.approx(3.214)


def test_an_inactive_reporter_writes_and_shows_nothing(tmp_path, capsys):
    with Reporter(RunFolder(tmp_path), step=0, facts=FACTS, active=False) as reporter:
        reporter.report(NUMBERS)
        reporter.message("hello")
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err == ""


def test_lines_after_the_checkpoint_and_incomplete_ones_are_removed(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"kind": "train", "step": step, "loss": 0.1}) for step in (10, 20, 30)]
    path.write_text("\n".join(lines) + "\n" + lines[0][:17], encoding="utf-8")
    cut_metrics(path, 20)
    assert path.read_text(encoding="utf-8") == "\n".join(lines[:2]) + "\n"
    stamp = path.stat().st_mtime_ns
    cut_metrics(path, 20)
    assert path.stat().st_mtime_ns == stamp
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_the_error_for_an_unwritable_metrics_file_names_the_cure(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with (
        pytest.raises(OSError, match="repeat the command to continue"),
        Reporter(RunFolder(tmp_path), step=0, facts=FACTS) as reporter,
    ):
        reporter.report(NUMBERS)
