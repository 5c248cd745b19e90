"""A codebook that collapses: the run goes back to a healthy checkpoint with a lower learning rate, and says so."""

import os
import signal

import pytest
import torch

from sori.training import checkpoint, history
from sori.training.metrics import read_metrics
from sori.training.watch import WatchConfig

CLOCK = {"hours_per_hour", "seconds_left", "wait_share"}
SETTINGS = {"num_steps": 60, "save_every_steps": 10, "watch": WatchConfig(num_reports=2), "log_every": 5}


def reports(folder):
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in read_metrics(folder / "metrics.jsonl")]


def learning_rates(folder):
    """Return the learning rate by update, of the reports."""
    return {row["step"]: row["lr"] for row in reports(folder) if row["kind"] == "train"}


@pytest.fixture(scope="module")
def rates(toy, tmp_path_factory):
    """Return the rates of a run without a collapse, every fifth update."""
    folder = tmp_path_factory.mktemp("healthy")
    toy.run(folder, system=toy.Drifting(1e9), **SETTINGS)
    return learning_rates(folder)


@pytest.fixture(scope="module")
def limit(rates):
    """Return a sum that a run at the full rate reaches after update 30, at half the rate later, at a quarter never."""
    return 5 * sum(rate for step, rate in rates.items() if step <= 30) * 1.06


@pytest.fixture(scope="module")
def whole(toy, tmp_path_factory, limit):
    folder = tmp_path_factory.mktemp("whole")
    return toy.run(folder, system=toy.Drifting(limit), **SETTINGS), folder


def test_the_run_goes_back_twice_and_ends_healthy(whole, rates):
    system, folder = whole
    assert system.finished
    rows = reports(folder)
    back = [row for row in rows if row["kind"] == "rollback"]
    assert [(row["step"], row["lr_factor"]) for row in back] == [(20, 0.5), (20, 0.5)]
    assert all(30 < row["from_step"] <= 60 for row in back)
    assert [row["step"] for row in rows if row["kind"] == "train"] == list(range(5, 61, 5))
    factors = {step: rate / rates[step] for step, rate in learning_rates(folder).items() if rates[step]}
    assert factors == {step: pytest.approx(1.0 if step <= 20 else 0.25) for step in factors}
    assert rows[-1]["equal_share"] == 0


@pytest.mark.parametrize("stop", ["killed", "stopped"])
def test_an_interrupted_run_goes_back_in_the_same_way(toy, tmp_path, monkeypatch, whole, limit, stop):
    """Interrupt before and after each of the two decisions."""
    original = toy.ToyBatches.__getitem__
    for number in (28, 41, 44, 33, 47, 24, 52):
        pending = [number]

        def getitem(self, index, pending=pending):
            if pending and index == pending[0]:
                pending.clear()
                if stop == "killed":
                    raise ValueError("vanished")
                os.kill(os.getpid(), signal.SIGTERM)
            return original(self, index)

        with monkeypatch.context() as patch:
            patch.setattr(toy.ToyBatches, "__getitem__", getitem)
            try:
                toy.run(tmp_path, system=toy.Drifting(limit), **SETTINGS)
            except ValueError:
                assert stop == "killed"
    again = toy.run(tmp_path, system=toy.Drifting(limit), **SETTINGS)
    assert again.finished
    for name, tensor in whole[0].state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert reports(tmp_path) == reports(whole[1])


def test_a_kill_right_after_the_decision_repeats_it(toy, tmp_path, monkeypatch, whole, limit):
    saved = []
    original = history.History.save

    def save(self, state, **rest):
        if len(state["rollbacks"]) > len(saved):
            saved.append(state["step"])
            raise OSError("killed before the decision was saved")
        original(self, state, **rest)

    with monkeypatch.context() as patch:
        patch.setattr(history.History, "save", save)
        for _ in range(2):
            with pytest.raises(OSError, match="killed"):
                toy.run(tmp_path, system=toy.Drifting(limit), **SETTINGS)
    assert toy.run(tmp_path, system=toy.Drifting(limit), **SETTINGS).finished
    assert reports(tmp_path) == reports(whole[1])


def test_a_run_that_collapses_early_goes_back_to_its_beginning_and_stops_in_the_end(toy, tmp_path):
    with pytest.raises(RuntimeError, match=r"collapse: .*diversity weight.*earlier ones are in .*healthy-00000000"):
        toy.run(tmp_path, system=toy.Drifting(1e-4), **SETTINGS)
    back = [row for row in reports(tmp_path) if row["kind"] == "rollback"]
    assert [row["step"] for row in back] == [0, 0]
    assert checkpoint.read_state(tmp_path / "checkpoint.safetensors")["rollbacks"][-1]["step"] == 0


@pytest.mark.slow
def test_without_rollbacks_a_collapse_stops_the_run(toy, tmp_path, limit):
    watch = WatchConfig(num_reports=2, max_rollbacks=0)
    with pytest.raises(RuntimeError, match=r"collapse: .*start in a new folder"):
        toy.run(tmp_path, system=toy.Drifting(limit), **SETTINGS | {"watch": watch})
    assert "rollback" not in {row["kind"] for row in reports(tmp_path)}
