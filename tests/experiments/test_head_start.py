"""A run in a process of its own: finished, failed and given up."""

import os
import sys
import time

import pytest
import torch

from sori import recipes
from sori.core.run_folder import RunFolder
from sori.experiments.head_start import _train, head_start
from sori.runs import run


def brief(**changes):
    return recipes.by_name("ctc_smoke").override({"train.num_steps": 10, "train.log_every": 5, **changes})


@pytest.fixture
def two_threads():
    """Compute with two threads, whatever the environment says."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield 2
    torch.set_num_threads(before)


def test_the_other_process_has_one_thread_too_and_adds_to_its_log(tmp_path, monkeypatch, two_threads):
    def train(*_, **__):
        print(f"{torch.get_num_threads()} thread", file=sys.stderr)

    monkeypatch.setattr(run, "train", train)
    (tmp_path / "run.log").write_text("earlier\n")
    _train(brief(), tmp_path / "run", [], tmp_path / "run.log")
    assert (tmp_path / "run.log").read_text() == "earlier\n1 thread\n"


@pytest.mark.slow
def test_the_other_process_trains_what_the_call_afterwards_finds_finished(prepared_tones, tmp_path, capfd, two_threads):
    arguments, threads = {"into": tmp_path / "run", "data": [prepared_tones]}, two_threads
    with head_start(brief(), **arguments, log=tmp_path / "run.log") as other:
        assert other.pid != os.getpid()
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == threads
    assert other.exitcode == 0
    assert "10/10" in (tmp_path / "run.log").read_text(encoding="utf-8")
    assert "10/10" not in capfd.readouterr().err
    (weights,) = RunFolder(tmp_path / "run").model.glob("*.safetensors")
    before, metrics = weights.read_bytes(), RunFolder(tmp_path / "run").metrics.read_bytes()
    assert run.train(brief(), **arguments).finished
    assert weights.read_bytes() == before
    assert RunFolder(tmp_path / "run").metrics.read_bytes() == metrics


def test_the_error_of_the_other_process_is_in_its_log_and_is_raised_by_the_call_afterwards(prepared_tones, tmp_path):
    recipe = brief(**{"labels.minutes": 1e-3})
    with head_start(recipe, into=tmp_path / "run", data=[prepared_tones], log=tmp_path / "run.log") as other:
        pass
    assert other.exitcode == 1
    with pytest.raises(ValueError, match="expected a limit that at least one utterance fits in") as raised:
        run.train(recipe, into=tmp_path / "run", data=[prepared_tones])
    assert str(raised.value) in (tmp_path / "run.log").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("reason", [ZeroDivisionError, KeyboardInterrupt])
def test_a_block_that_fails_ends_the_other_process(reason, prepared_tones, tmp_path, two_threads, bounded):
    folder = RunFolder(tmp_path / "run")
    arguments = {"into": folder.path, "data": [prepared_tones], "log": tmp_path / "run.log"}
    endless = brief(**{"train.num_steps": 1_000_000})
    others = []

    def fail():
        with head_start(endless, **arguments) as other:
            others.append(other)
            while not folder.metrics.exists():
                time.sleep(0.1)
            raise reason

    try:
        with pytest.raises(reason):
            fail()
        assert others[0].exitcode == 0
    finally:
        others[0].kill()
        others[0].join()
    assert torch.get_num_threads() == two_threads
    assert folder.checkpoint.exists()
    assert not (folder.model / "config.json").exists()
