"""Runs of Word2Vec: reproducible with one thread, also after a kill; other texts are refused."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from sori import recipes
from sori.checkpoints import store
from sori.runs import run
from sori.training.metrics import read_metrics
from sori.training.watch import Diverged


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("texts") / "a.txt"
    weights = 1 / np.arange(1, 2001)
    words = random.choice(2000, (15_000, 12), p=weights / weights.sum())
    path.write_text(
        "\n".join(
            " ".join(f"w{chr(97 + n % 26)}{'y' * (n // 26 % 26)}{'z' * (n // 676)}" for n in row) for row in words
        )
    )
    return path


def recipe(**changes):
    return recipes.by_name("word2vec_smoke").override({"epochs": 2, **changes})


@pytest.fixture(scope="module")
def whole(text, tmp_path_factory):
    return run.train(recipe(), into=tmp_path_factory.mktemp("whole") / "run", data=text).folder


def test_one_thread_is_bit_identical(whole, text, tmp_path):
    again = run.train(recipe(), into=tmp_path / "run", data=text).folder
    other = run.train(recipe(seed=1), into=tmp_path / "other", data=text).folder
    assert torch.equal(store.load(again).vectors, store.load(whole).vectors)
    assert not torch.equal(store.load(other).vectors, store.load(whole).vectors)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_and_continued_run_is_bit_identical(whole, text, tmp_path, kind):
    into = tmp_path / "run"
    command = [sys.executable, "-m", "sori", "train", "word2vec_smoke", "--epochs", "2", "--data", text, "--into", into]
    # Slow the run down: check the time after each short round and save a checkpoint each time.
    program = (
        "import time; import sori.cli as c; import sori.training.word2vec_loop as w; r = w._Run.round; w._ROUND = 8; "
        "w._Run.round = lambda run: (r(run), time.sleep(0.3)); c.main()"
    )
    settings = ["--save-every-minutes", "0.001"] if kind == signal.SIGKILL else []
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, command[3:]), *settings], stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (into / "metrics.jsonl").exists() and process.poll() is None:
        if (into / "checkpoint.safetensors").exists() or (kind == signal.SIGINT and (into / "tokens.int32").exists()):
            break
        time.sleep(0.05)
    time.sleep(1)
    os.kill(process.pid, kind)
    stderr = process.communicate(timeout=60)[1].decode()
    assert not (into / "model").exists(), stderr
    settings = {"save_every_minutes": 0.001} if kind == signal.SIGKILL else {}
    assert run.train(recipe(**settings), into=into, data=text).finished
    assert torch.equal(store.load(into).vectors, store.load(whole).vectors)


def test_several_threads_reach_the_same_loss(whole, text, tmp_path):
    two = run.train(recipe(num_threads=2), into=tmp_path / "run", data=text).folder
    one, other = (read_metrics(folder / "metrics.jsonl")[-1] for folder in (whole, two))
    assert other["step"] == one["step"] == 40
    assert other["loss"] == pytest.approx(one["loss"], rel=0.05)
    assert one["loss"] < 6 * np.log(2)


def test_a_finished_run_is_not_changed(whole, text, capsys):
    before = store.load(whole).vectors
    assert run.train(recipe(), into=whole, data=text).finished
    assert "nothing to do" in capsys.readouterr().err
    assert torch.equal(store.load(whole).vectors, before)


@pytest.mark.slow
def test_other_texts_and_settings_are_refused(whole, text, tmp_path):
    with pytest.raises(ValueError, match="epochs: 2, now 3"):
        run.train(recipe(epochs=3), into=whole, data=text)
    copy = tmp_path / "a.txt"
    copy.write_text("other words\n" * 10)
    stored = recipes.by_name(str(whole / "recipe.yaml"))
    text_before = text.read_text()
    try:
        text.write_text(text_before + "\nmore")
        with pytest.raises(ValueError, match="started on"):
            run.train(stored, into=whole)
    finally:
        text.write_text(text_before)


def test_divergence_names_the_learning_rate(text, tmp_path):
    with pytest.raises(Diverged, match="--lr"):
        run.train(recipe(lr=1e30), into=tmp_path / "run", data=text)
