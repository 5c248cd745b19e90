"""The training loop on the toy system: arithmetic, resuming, stopping, refused settings."""

import contextlib
import json
import math
import os
import signal
from types import SimpleNamespace

import pytest
import torch

from sori.core import distributed, precision
from sori.core.seeds import Rng, derive
from sori.training import checkpoint as checkpoint_module
from sori.training import loop
from sori.training.metrics import read_metrics
from sori.training.optim import OptimConfig
from sori.training.schedule import ScheduleConfig
from sori.training.watch import WatchConfig

CLOCK = {"hours_per_hour", "seconds_left", "wait_share"}


def weights(system):
    return {name: tensor.clone() for name, tensor in system.state_dict().items()}


def assert_equal(first, second):
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def reports(folder):
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in read_metrics(folder / "metrics.jsonl")]


def interrupted(toy, monkeypatch, number, action):
    """Make the batches call `action` when micro-batch `number` is requested."""
    original = toy.ToyBatches.__getitem__

    def getitem(self, index):
        if index == number:
            action()
        return original(self, index)

    monkeypatch.setattr(toy.ToyBatches, "__getitem__", getitem)


@contextlib.contextmanager
def failing(toy, monkeypatch, number):
    """Make micro-batch `number` unreadable."""

    def fail():
        raise ValueError("vanished")

    with monkeypatch.context() as patch:
        interrupted(toy, patch, number, fail)
        with pytest.raises(ValueError, match="vanished"):
            yield


@pytest.fixture(scope="module")
def whole(toy, tmp_path_factory):
    """Return an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    return toy.run(folder), folder


def test_the_loss_falls_and_every_report_is_complete(whole):
    system, folder = whole
    assert system.finished
    rows = reports(folder)
    assert [row["step"] for row in rows] == [5, 10, 15, 20, 25, 30, 35, 40]
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    assert rows[-1]["contrastive"] == pytest.approx(rows[-1]["loss"])
    assert 0 <= rows[-1]["correct"] <= 1
    assert rows[-1]["hours"] * 3600 == pytest.approx(sum(2 + i % 3 for i in range(40)) * 128 / 16_000)


@pytest.mark.parametrize("num_accumulate", [1, 3])
def test_the_gradient_is_the_sum_over_micro_batches_divided_by_the_global_count(toy, tmp_path, num_accumulate):
    """Compare with a plain loop over the micro-batches."""
    reference = toy.Toy()
    total = count = 0.0
    for part in range(num_accumulate):
        torch.manual_seed(derive(7, 0, part, "dropout"))
        found = reference.loss(toy.ToyBatches()[part], step=0, rng=Rng(7, 0, part))
        total, count = total + found.total, count + found.count
    (total / count).backward()
    squares = [float(p.grad.double().square().sum()) for p in reference.parameters() if p.grad is not None]
    toy.run(tmp_path, num_steps=1, num_accumulate=num_accumulate, seed=7)
    (row,) = reports(tmp_path)
    assert row["grad_norm"] == pytest.approx(math.sqrt(sum(squares)), rel=1e-5)
    assert row["loss"] == pytest.approx(float(total.detach() / count), rel=1e-6)


def test_every_micro_batch_is_used_once_and_in_order(toy, tmp_path, monkeypatch):
    taken = []
    original = toy.ToyBatches.__getitem__
    monkeypatch.setattr(toy.ToyBatches, "__getitem__", lambda self, i: taken.append(i) or original(self, i))
    toy.run(tmp_path, num_steps=4, num_accumulate=3)
    assert taken == list(range(12))


def test_sigterm_saves_and_the_continued_run_is_bit_identical(toy, tmp_path, monkeypatch, whole):
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        interrupted(toy, patch, 17, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert not toy.run(tmp_path).finished
    assert signal.getsignal(signal.SIGTERM) is before
    step = checkpoint_module.load(tmp_path / "checkpoint.safetensors").state["step"]
    assert 14 <= step < 40  # update 17, or a few later: the signal comes from a thread that reads data
    again = toy.run(tmp_path)
    assert again.finished
    assert_equal(weights(whole[0]), weights(again))
    assert reports(tmp_path) == reports(whole[1])


def test_an_error_at_any_update_loses_only_what_was_not_saved(toy, tmp_path, monkeypatch, whole):
    """As after a kill, no state is written when the error occurs."""
    for number in (3, 11, 29):
        with failing(toy, monkeypatch, number):
            toy.run(tmp_path, save_every_steps=4)
    assert_equal(weights(whole[0]), weights(toy.run(tmp_path, save_every_steps=4)))
    assert reports(tmp_path) == reports(whole[1])


def test_a_run_with_muon_learns_and_continues_to_the_same_bits(toy, tmp_path, monkeypatch):
    optim = OptimConfig(kind="muon", momentum=0.95, lr=1e-2, max_norm=1.0)
    whole = weights(toy.run(tmp_path / "whole", optim=optim))
    losses = [row["contrastive"] for row in reports(tmp_path / "whole")]
    assert losses[-1] < 0.8 * losses[0]
    with failing(toy, monkeypatch, 29):
        toy.run(tmp_path / "stopped", optim=optim, save_every_steps=4)
    assert_equal(whole, weights(toy.run(tmp_path / "stopped", optim=optim, save_every_steps=4)))
    assert reports(tmp_path / "stopped") == reports(tmp_path / "whole")


def test_the_time_of_checkpoints_does_not_change_the_result(toy, tmp_path, whole):
    system = toy.run(tmp_path, save_every_minutes=1e-6)
    assert_equal(weights(whole[0]), weights(system))


def test_a_second_ctrl_c_stops_at_once(toy, tmp_path, monkeypatch, capfd):
    before = signal.getsignal(signal.SIGINT)

    def press_twice(*_, **__):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(toy.Toy, "loss", press_twice)
    with pytest.raises(KeyboardInterrupt):
        toy.run(tmp_path)
    assert signal.getsignal(signal.SIGINT) is before
    assert not (tmp_path / "checkpoint.safetensors").exists()
    assert "press Ctrl-C again to stop at once" in capfd.readouterr().err


def test_a_finished_run_is_not_changed(toy, whole, capsys):
    folder = whole[1]
    before = {p: p.stat().st_mtime_ns for p in folder.iterdir() if p.is_file()}
    again = toy.run(folder)
    assert "is finished (40 updates)" in capsys.readouterr().err
    assert_equal(weights(whole[0]), weights(again))
    assert {p: p.stat().st_mtime_ns for p in folder.iterdir() if p.is_file()} == before


def test_updates_that_are_not_finite_change_nothing_and_are_counted(toy, tmp_path):
    poisoned = toy.run(tmp_path / "a", num_steps=3, system=toy.Toy(poison=frozenset({0, 1, 2})), log_every=3)
    assert_equal(weights(toy.Toy()), weights(poisoned))
    train, warning = reports(tmp_path / "a")
    assert (train["skipped"], train["loss"]) == (3, None)
    assert warning["name"] == "non_finite"


def test_a_run_stops_when_loss_stays_infinite(toy, tmp_path):
    with pytest.raises(RuntimeError, match=r"stopped at update 12: 5 update.*learning rate is too high"):
        toy.run(tmp_path, system=toy.Toy(poison=frozenset({3, 4, *range(8, 20)})))
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_the_count_of_skipped_updates_survives_an_interruption(toy, tmp_path, monkeypatch):
    poison = frozenset(range(8, 20))
    with failing(toy, monkeypatch, 11):
        toy.run(tmp_path, save_every_steps=1, system=toy.Toy(poison=poison))
    with pytest.raises(RuntimeError, match="stopped at update 12: 5 update"):
        toy.run(tmp_path, save_every_steps=1, system=toy.Toy(poison=poison))


def test_another_number_of_micro_batches_is_refused(toy, tmp_path):
    toy.run(tmp_path, num_steps=2)
    with pytest.raises(ValueError, match="started with 1 micro-batches per update"):
        toy.run(tmp_path, num_steps=2, num_accumulate=2)


def test_evaluations_run_in_eval_mode_and_change_nothing(toy, tmp_path, whole):
    modes = []

    def evaluation(system):
        modes.append((system.training, torch.is_grad_enabled()))
        torch.rand(3)
        return {"dev/error": 0.5}

    system = toy.run(tmp_path, evaluate_every=15, evaluations=[evaluation])
    assert modes == [(False, False)] * 3
    assert system.training
    assert_equal(weights(whole[0]), weights(system))
    rows = [row for row in reports(tmp_path) if row["kind"] == "evaluation"]
    assert rows == [{"kind": "evaluation", "step": step, "dev/error": 0.5} for step in (15, 30, 40)]


def test_bfloat16_stays_near_float32(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: True)
    toy.run(tmp_path / "bf16", num_steps=5, precision="bfloat16")
    toy.run(tmp_path / "fp32", num_steps=5)
    (half,), (single,) = reports(tmp_path / "bf16"), reports(tmp_path / "fp32")
    assert half["loss"] != single["loss"]
    assert half["loss"] == pytest.approx(single["loss"], rel=0.02)


def test_a_run_keeps_the_precision_that_it_began_with(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: True)
    toy.run(tmp_path / "whole", num_steps=6, precision="bfloat16")
    with failing(toy, monkeypatch, 4):
        toy.run(tmp_path / "run", num_steps=6, precision="bfloat16", save_every_steps=1)
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: False)
    toy.run(tmp_path / "run", num_steps=6, precision="bfloat16")
    assert reports(tmp_path / "run")[-1]["loss"] == reports(tmp_path / "whole")[-1]["loss"]
    toy.run(tmp_path / "other", num_steps=6, precision="bfloat16")
    assert reports(tmp_path / "other")[-1]["loss"] != reports(tmp_path / "whole")[-1]["loss"]


def test_learning_rate_factors_come_from_the_system(toy, tmp_path):
    system = toy.Toy()
    system.lr_factors = lambda: {"first": 0.0}
    trained = toy.run(tmp_path, num_steps=3, system=system)
    assert torch.equal(trained.first.weight, toy.Toy().first.weight)
    assert not torch.equal(trained.head.weight, toy.Toy().head.weight)


def test_a_run_stopped_by_a_full_disk_can_be_continued(toy, tmp_path, monkeypatch, whole):
    usage = checkpoint_module.shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        sizes = iter([10**12, 10**12, 5, 5])
        patch.setattr(checkpoint_module.shutil, "disk_usage", lambda _: usage._replace(free=next(sizes)))
        with pytest.raises(OSError, match=r"last checkpoint is intact.*repeat the command"):
            toy.run(tmp_path, save_every_steps=10)
    assert checkpoint_module.load(tmp_path / "checkpoint.safetensors").state["step"] == 20
    assert_equal(weights(whole[0]), weights(toy.run(tmp_path, save_every_steps=10)))


def test_a_collapse_stops_the_run_and_keeps_the_last_checkpoint(toy, tmp_path, monkeypatch):
    original = toy.Toy.loss

    def loss(self, batch, *, step, rng):
        part = original(self, batch, step=step, rng=rng)
        part.terms["equal_share"] = part.count * float(step >= 20)
        return part

    monkeypatch.setattr(toy.Toy, "loss", loss)
    with pytest.raises(RuntimeError, match=r"stopped at update 35, collapse: .*diversity weight"):
        toy.run(tmp_path, save_every_steps=15)
    assert checkpoint_module.load(tmp_path / "checkpoint.safetensors").state["step"] == 30
    assert reports(tmp_path)[-1]["name"] == "collapse"


def test_a_recogniser_on_the_blank_plateau_recovers_the_same_way_after_an_interruption(toy, tmp_path, monkeypatch):
    class Blank(toy.Toy):
        recoveries: int = 0

        def loss(self, batch, *, step, rng):
            part = super().loss(batch, step=step, rng=rng)
            part.terms["blank_share"] = part.count * 1.0
            return part

        def recover(self, *, rng):
            self.recoveries += 1
            with torch.no_grad():
                self.head.weight.copy_(torch.randn(self.head.weight.shape, generator=rng["head"]))
            return "re-initialised the head"

    settings = {"watch": WatchConfig(num_reports=1, max_recoveries=2), "save_every_steps": 5}
    whole = toy.run(tmp_path / "whole", system=Blank(), **settings)
    assert whole.recoveries == 2
    for number in (16, 22):
        with failing(toy, monkeypatch, number):
            toy.run(tmp_path / "cut", system=Blank(), **settings)
    again = toy.run(tmp_path / "cut", system=Blank(), **settings)
    assert again.recoveries == 0
    assert_equal(weights(whole), weights(again))
    assert reports(tmp_path / "cut") == reports(tmp_path / "whole")


def test_recovery_drops_the_moments_of_changed_parameters(toy, tmp_path, monkeypatch):
    class Blank(toy.Toy):
        def loss(self, batch, *, step, rng):
            part = super().loss(batch, step=step, rng=rng)
            part.terms["blank_share"] = part.count * 1.0
            return part

        def recover(self, *, rng):
            return f"zeroed {torch.nn.init.zeros_(self.head.weight).shape}, nothing drawn from {rng}"

    toy.run(tmp_path, num_steps=10, system=Blank(), watch=WatchConfig(num_reports=1), log_every=10)
    tensors = checkpoint_module.load(tmp_path / "checkpoint.safetensors").tensors
    assert "optimizer.head.weight.exp_avg" not in tensors
    assert "optimizer.head.bias.exp_avg" in tensors


def test_metrics_are_strict_json(whole):
    lines = (whole[1] / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert rows
    assert all("step" in row for row in rows)


def test_waiting_for_batches_is_a_fraction_of_the_time_over_all_processes(toy, tmp_path, monkeypatch):
    clock, over_processes = [0.0], loop._Run._over_processes

    def slow(batches, indices, **_):
        for index in indices:
            clock[0] += 3.0 if index < 10 else 1.0
            yield batches[index]

    def with_another(self, sums):
        clock[0] += 1.0  # the rest of the update
        return {**over_processes(self, sums), "waited": sums["waited"] + 0.4}  # of a process that waited for 0.4 s

    monkeypatch.setattr(loop, "prefetch", slow)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(loop._Run, "_over_processes", with_another)
    toy.run(tmp_path, num_steps=20, log_every=5)
    found = [row["wait_share"] for row in read_metrics(tmp_path / "metrics.jsonl")]
    assert found == pytest.approx([3.4 / 4, 3.4 / 4, 1.4 / 2, 1.4 / 2])


def test_settings_reach_the_optimiser(toy, tmp_path):
    """Check that the rate of the last update follows the schedule."""
    toy.run(tmp_path, num_steps=10, optim=OptimConfig(lr=0.5), schedule=ScheduleConfig(warmup_fraction=0.5))
    assert [row["lr"] for row in reports(tmp_path)] == pytest.approx([0.5 * 4 / 5, 0.5 * (1 - 4 / 5)])


def kept(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def test_the_last_checkpoints_and_the_best_are_kept(toy, tmp_path):
    errors = iter([0.5, 0.2, 0.4, 0.3])
    toy.run(
        tmp_path,
        num_steps=40,
        save_every_steps=5,
        evaluate_every=10,
        keep_checkpoints=3,
        evaluations=[lambda _: {"dev_cer": next(errors)}],
    )
    assert kept(tmp_path) == ["00000030.safetensors", "00000035.safetensors", "best.safetensors"]
    steps = {name: checkpoint_module.load(tmp_path / "checkpoints" / name).state["step"] for name in kept(tmp_path)}
    assert list(steps.values()) == [30, 35, 20]
    assert checkpoint_module.load(tmp_path / "checkpoint.safetensors").state["step"] == 40


def test_a_run_continues_from_an_earlier_checkpoint_to_the_same_bits(toy, tmp_path, whole):
    toy.run(tmp_path, save_every_steps=10, keep_checkpoints=4)
    assert kept(tmp_path) == ["00000010.safetensors", "00000020.safetensors", "00000030.safetensors"]
    (tmp_path / "checkpoint.safetensors").write_bytes((tmp_path / "checkpoints" / "00000010.safetensors").read_bytes())
    system = toy.run(tmp_path, save_every_steps=10, keep_checkpoints=4)
    assert_equal(weights(whole[0]), weights(system))


def test_a_failed_evaluation_is_reported_and_training_goes_on(toy, tmp_path):
    def evaluation(_):
        raise OSError("the recordings are gone")

    system = toy.run(tmp_path, evaluate_every=15, evaluations=[evaluation])
    assert system.finished
    rows = [row for row in reports(tmp_path) if row["kind"] == "warning"]
    assert [(row["step"], row["name"]) for row in rows] == [(step, "evaluation_failed") for step in (15, 30, 40)]
    assert "the recordings are gone" in rows[0]["cause"]


def test_a_run_killed_in_an_evaluation_has_lost_nothing_and_evaluates_again(toy, tmp_path):
    def killed(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        toy.run(tmp_path, evaluate_every=15, evaluations=[killed])
    assert checkpoint_module.load(tmp_path / "checkpoint.safetensors").state["step"] == 15
    toy.run(tmp_path, evaluate_every=15, evaluations=[lambda _: {"dev_cer": 0.5}])
    rows = [row["step"] for row in reports(tmp_path) if row["kind"] == "evaluation"]
    assert rows == [15, 30, 40]


def test_a_finished_run_is_not_evaluated_again(toy, tmp_path):
    evaluated = []

    def evaluation(_):
        evaluated.append(1)
        return {"dev_cer": 0.5}

    for _ in range(2):
        toy.run(tmp_path, num_steps=10, evaluate_every=5, evaluations=[evaluation])
    assert len(evaluated) == 2


def test_a_run_stopped_by_the_watch_names_the_states_to_continue_from(toy, tmp_path):
    poison = frozenset(range(20, 40))
    with pytest.raises(RuntimeError, match=r"(?s)stopped at update.*00000010.safetensors.*copy one of them over"):
        toy.run(tmp_path, save_every_steps=10, system=toy.Toy(poison=poison))


@pytest.mark.parametrize("is_evaluated", [True, False])
def test_only_the_first_process_decides_whether_to_evaluate_again(toy, tmp_path, monkeypatch, is_evaluated):
    """Otherwise one process could wait for the others where they do not."""
    toy.run(tmp_path, num_steps=5, evaluate_every=5, evaluations=[lambda _: {"dev_cer": 0.5}])
    waits = []
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    monkeypatch.setattr(distributed, "barrier", lambda: waits.append(1))
    monkeypatch.setattr(distributed, "from_first", lambda _: is_evaluated)
    toy.run(tmp_path, num_steps=5, evaluate_every=5, evaluations=[pytest.fail])
    assert len(waits) == (1 if is_evaluated else 2)  # at the start, and where the first process evaluates


def test_sigterm_does_not_wait_for_the_other_micro_batches_of_an_update(toy, tmp_path, monkeypatch):
    """Slurm kills some seconds after SIGTERM, and an update of many micro-batches takes minutes."""
    computed = []
    original = toy.Toy.loss

    def loss(self, batch, *, step, rng):
        computed.append((step, rng.key[2]))
        if computed[-1] == (3, 1):
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch, step=step, rng=rng)

    whole = toy.run(tmp_path / "whole", num_steps=6, num_accumulate=4)
    monkeypatch.setattr(toy.Toy, "loss", loss)
    assert not toy.run(tmp_path / "cut", num_steps=6, num_accumulate=4).finished
    assert computed[-1] == (3, 1)
    assert checkpoint_module.load(tmp_path / "cut" / "checkpoint.safetensors").state["step"] == 3
    monkeypatch.setattr(toy.Toy, "loss", original)
    assert_equal(weights(whole), weights(toy.run(tmp_path / "cut", num_steps=6, num_accumulate=4)))
    assert reports(tmp_path / "cut") == reports(tmp_path / "whole")


def test_sigterm_interrupts_an_evaluation_which_is_repeated_when_the_run_continues(toy, tmp_path):
    def long_evaluation(_):
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("the evaluation went on")

    settings = {"num_steps": 6, "evaluate_every": 3}
    assert not toy.run(tmp_path, **settings, evaluations=[long_evaluation]).finished
    assert checkpoint_module.load(tmp_path / "checkpoint.safetensors").state["step"] == 3
    assert toy.run(tmp_path, **settings, evaluations=[lambda _: {"dev_cer": 0.5}]).finished
    assert [row["step"] for row in reports(tmp_path) if row["kind"] == "evaluation"] == [3, 6]


def test_another_number_of_processes_keeps_the_micro_batches_of_an_update(toy, tmp_path, monkeypatch):
    """What two processes do is tested in `test_several.py`; here is the arithmetic."""
    toy.run(tmp_path, num_steps=2, num_accumulate=6)
    state = checkpoint_module.load(tmp_path / "checkpoint.safetensors").state
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    assert loop._num_accumulate(6, state, tmp_path) == 2
    assert loop._num_accumulate(2, state, tmp_path) == 2
    monkeypatch.setattr(distributed, "world_size", lambda: 4)
    with pytest.raises(ValueError, match=r"started with 6 micro-batches.*got 4 processes.*divides 6"):
        loop._num_accumulate(6, state, tmp_path)
