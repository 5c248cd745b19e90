"""Real systems in two processes against one, and runs that continue with another number of them.

All jobs of two processes are in two starts: `first`, which stops some runs half way and is killed in the last one, and
`last`, which continues these. In between, this process continues some of them alone.
"""

import json
import signal

import pytest
import torch
from tests.training import several
from tests.training.launcher import environments, launching

from sori.core.run_folder import RunFolder
from sori.training import sharded_files
from sori.training.metrics import read_metrics

SYSTEMS = ("wav2vec2", "wav2vec2_plain", "ctc", "vq_wav2vec", "bert")
SHARDED = ("wav2vec2", "ctc")
ELASTIC = ("replicated", "sharded")
HISTORY = {"keep_checkpoints": 3, "save_every_steps": 2}
STEPS = several.STEPS


def jobs(folder):
    """Return the jobs of the first start, of this process, and of the last start."""
    pairs = [{"system": name, "into": f"{folder}/two/{name}"} for name in SYSTEMS]
    pairs += [{"system": name, "into": f"{folder}/sharded/{name}", "shard": True, **HISTORY} for name in SHARDED]
    alone = [{"system": name, "into": f"{folder}/one/{name}", "num_accumulate": 2} for name in SYSTEMS]
    change = [{"system": "wav2vec2", "into": f"{folder}/elastic/{how}", "shard": how == "sharded"} for how in ELASTIC]
    measured = {"evaluate_every": 4, "errors": [0.5, 0.2, 0.4], "shard": True, "keep_checkpoints": 1}
    measured |= {"system": "wav2vec2", "into": f"{folder}/measured"}
    killed = {"system": "wav2vec2", "into": f"{folder}/killed", "shard": True, "save_every_steps": 2}
    collapse = {"system": "drifting", "num_steps": 24, "save_every_steps": 4}
    alone.append({**collapse, "into": f"{folder}/one/drifting", "num_accumulate": 2})
    pairs.append({**collapse, "into": f"{folder}/sharded/drifting", "shard": True})
    first = [*pairs, measured, *({**job, "stop_at": 6} for job in change), {**killed, "stop_at": 14, "kill": True}]
    return first, [*alone, *({**job, "stop_at": 13} for job in change)], [*change, killed]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return the folder of all runs, and of the error output."""
    made = tmp_path_factory.mktemp("several")
    first, middle, last = jobs(made)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with launching("several.py", made / "stderr") as launcher:
            assert start(launcher, first) == [-signal.SIGKILL, 1], (made / "stderr").read_text()
            for job in middle:
                several.run(job)
            assert start(launcher, last) == [0, 0], (made / "stderr").read_text()
    finally:
        torch.set_num_threads(threads)
    return made


def start(launcher, given):
    """Run jobs in two processes; return their exit codes."""
    processes = [launcher.start(json.dumps(given), environment=environment) for environment in environments(2)]
    return [launcher.wait(process) for process in processes]


def weights(path):
    return torch.load(path / "rank0.pt")


def used(path):
    """Return the numbers of the micro-batches that a run used, of all processes."""
    return sorted(int(line) for file in path.glob("used.*") for line in file.read_text().split())


def assert_close(first, second):
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=1e-5, atol=1e-5, msg=name)


def assert_same_reports(first, second):
    """Compare loss and gradient norm: AdamW hardly depends on the scale of the gradient."""
    rows = [[r for r in read_metrics(path / "metrics.jsonl") if r["kind"] == "train"] for path in (first, second)]
    assert len(rows[0]) == len(rows[1]) == STEPS // 2
    for one, two in zip(*rows, strict=True):
        for name in ("loss", "grad_norm", "hours"):
            assert one[name] == pytest.approx(two[name], rel=1e-5), name


@pytest.mark.parametrize("name", SYSTEMS)
def test_two_processes_equal_one_with_twice_the_accumulation(folder, name):
    assert used(folder / "two" / name) == used(folder / "one" / name) == list(range(2 * STEPS))
    assert_close(weights(folder / "two" / name), weights(folder / "one" / name))
    assert_same_reports(folder / "two" / name, folder / "one" / name)


@pytest.mark.parametrize("name", SHARDED)
def test_two_processes_that_share_the_weights_equal_one(folder, name):
    assert_close(weights(folder / "sharded" / name), weights(folder / "one" / name))
    assert_same_reports(folder / "sharded" / name, folder / "one" / name)


@pytest.mark.parametrize("how", ELASTIC)
def test_a_run_of_two_one_and_two_processes_sees_the_same_data_and_ends_with_the_same_weights(folder, how):
    assert set(used(folder / "elastic" / how)) == set(range(2 * STEPS))
    assert_close(weights(folder / "elastic" / how), weights(folder / "one" / "wav2vec2"))
    assert_same_reports(folder / "elastic" / how, folder / "one" / "wav2vec2")


def test_a_sharded_run_that_was_killed_ends_with_the_bits_of_one_that_was_not(folder):
    whole = weights(folder / "sharded" / "wav2vec2")
    for name, tensor in weights(folder / "killed").items():
        assert torch.equal(tensor, whole[name]), name
    assert max(used(folder / "killed")) == 2 * STEPS - 1


def test_sharded_checkpoints_have_a_history_and_hold_the_weights(folder):
    run = RunFolder(folder / "sharded" / "ctc")
    assert [path.name for path in run.sharded_checkpoints()] == ["00-00000006", "00-00000008", "00-00000010"]
    assert not run.checkpoint.exists()
    assert not list(run.sharded.glob("*.partial"))
    newest = run.sharded_checkpoints()[-1]
    assert len(list(newest.glob("*.safetensors"))) == 2
    found = sharded_files.load_whole(newest)
    assert found.state["step"] == STEPS
    for name, tensor in weights(run.path).items():
        assert torch.equal(found.tensors[f"system.{name}"], tensor)


def test_the_best_sharded_checkpoint_is_kept(folder):
    run = RunFolder(folder / "measured")
    assert [row["dev_cer"] for row in read_metrics(run.metrics) if row["kind"] == "evaluation"] == [0.5, 0.2, 0.4]
    assert sharded_files.read_state(run.sharded / "best")["step"] == 8
    kept = [path.name for path in run.sharded_checkpoints()]
    assert kept == ["00-00000005", "00-00000010"]  # to go back to; only one is kept as a history


def test_runs_that_share_the_weights_go_back_after_a_collapse_as_one_process_does(folder):
    shared, one = folder / "sharded" / "drifting", folder / "one" / "drifting"
    rows = [
        [row for row in read_metrics(path / "metrics.jsonl") if row["kind"] == "rollback"] for path in (shared, one)
    ]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 2
    assert_close(weights(shared), weights(one))
    names = [path.name for path in RunFolder(shared).sharded_checkpoints()]
    assert names[-2:] == ["02-00000020", "02-00000024"]
