"""Several seeds of one recipe: continuation, scores, choice, and refusals."""

import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sori import recipes
from sori.checkpoints import resolve, store
from sori.data.preparation.prepare import prepare
from sori.evaluation import recognition
from sori.evaluation.error_rate import error_rates
from sori.experiments import multi_seed
from sori.experiments.multi_seed import FAILED, SCORE, SUMMARY, compare_runs, train_seeds
from sori.models.ctc import Ctc
from sori.runs import run
from sori.training import loop
from sori.training.watch import Diverged


def brief(name="ctc_smoke", **changes):
    """A smoke recipe of three updates."""
    settings = {"train.num_steps": 3, "train.log_every": 1, **{k.replace("__", "."): v for k, v in changes.items()}}
    return recipes.by_name(name).override(settings)


def files(folder):
    """All files of a folder except those with time stamps."""
    found = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if "board" not in name.parts}


def weights(folder):
    return store.load(folder).state_dict()


def equal(first, second):
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.fixture(scope="module")
def two_seeds(prepared_tones, tmp_path_factory):
    """A folder of two seeds trained long enough to output characters."""
    folder = tmp_path_factory.mktemp("several") / "two"
    scores = train_seeds(brief(train__num_steps=40), seeds=2, into=folder, data=prepared_tones)
    return folder, scores


def test_seeds_differ_and_the_best_becomes_the_model(two_seeds, prepared_tones):
    folder, scores = two_seeds
    assert not equal(weights(folder / "seed_0"), weights(folder / "seed_1"))
    homes = (folder / f"seed_{n}" for n in range(2))
    cer = [recognition.evaluate(one, data=prepared_tones, split="dev", decoder=None).cer.rate for one in homes]
    assert cer[0] != cer[1]
    assert [report.cer.rate for report in scores.reports.values()] == cer
    assert scores.chosen == cer.index(min(cer))
    assert equal(weights(folder), weights(folder / f"seed_{scores.chosen}"))
    provenance = store.read_card(folder / "model").provenance
    assert provenance["seeds"] == {"chosen": scores.chosen, "of": [0, 1], "failed": [], "by": "cer on dev, then wer"}
    assert provenance["recipe"]["train"]["seed"] == scores.chosen
    assert json.loads((folder / SUMMARY).read_text()) == scores.to_data()


def test_the_model_is_a_copy_that_survives_being_moved(two_seeds, tmp_path):
    folder, _ = two_seeds
    expected = weights(folder)
    shutil.copytree(folder / "model", tmp_path / "elsewhere", symlinks=True)
    assert equal(expected, weights(tmp_path / "elsewhere"))
    assert not (folder / "model").is_symlink()


def test_all_of_dev_is_scored_and_the_labels_stay_the_same(prepared_tones, tmp_path):
    recipe = brief(labels__dev_minutes=0.05, labels__minutes=0.2)
    scores = train_seeds(recipe, seeds=2, into=tmp_path / "r", data=prepared_tones)
    assert [len(report.utterances) for report in scores.reports.values()] == [8, 8]
    trained = [json.loads((tmp_path / "r" / f"seed_{n}" / "data.json").read_text()) for n in range(2)]
    assert trained[0]["hours"] < 0.2 / 60 + 1e-4
    assert trained[0]["digest"] == trained[1]["digest"]


def test_each_seed_equals_a_single_run(two_seeds, prepared_tones, tmp_path):
    folder, _ = two_seeds
    run.train(brief(train__num_steps=40, train__seed=1), into=tmp_path / "single", data=prepared_tones)
    assert equal(weights(folder / "seed_1"), weights(tmp_path / "single"))


def test_a_repeated_call_trains_and_scores_nothing(two_seeds, prepared_tones, monkeypatch):
    folder, scores = two_seeds
    before = files(folder)
    monkeypatch.setattr(loop._Run, "update", None)
    monkeypatch.setattr(recognition, "evaluate", None)
    again = train_seeds(brief(train__num_steps=40), seeds=2, into=folder, data=prepared_tones)
    assert again == scores
    assert files(folder) == before


@pytest.mark.slow
def test_an_interrupted_seed_continues_to_the_same_bits(two_seeds, prepared_tones, tmp_path, monkeypatch):
    folder, scores = two_seeds
    recipe, update = brief(train__num_steps=40), loop._Run.update

    def stop_in_the_second(self, *given, **named):
        update(self, *given, **named)
        return self.train.seed == 1 and self.step == 7

    monkeypatch.setattr(loop._Run, "update", stop_in_the_second)
    assert train_seeds(recipe, seeds=2, into=tmp_path / "r", data=prepared_tones) is None
    assert not (tmp_path / "r" / "model").exists()
    steps = []

    def counted(self, *given, **named):
        steps.append((self.train.seed, self.step))
        return update(self, *given, **named)

    monkeypatch.setattr(loop._Run, "update", counted)
    again = train_seeds(recipe, seeds=2, into=tmp_path / "r", data=prepared_tones)
    assert steps == [(1, step) for step in range(7, 40)]
    assert again.reports == scores.reports
    for name in ("seed_0", "seed_1", "model"):
        assert equal(weights(folder / name), weights(tmp_path / "r" / name))


@pytest.mark.slow
def test_more_seeds_add_the_missing_and_fewer_are_refused(prepared_tones, tmp_path, monkeypatch):
    into, trained = tmp_path / "r", []
    train_seeds(brief(train__seed=4), seeds=2, into=into, data=prepared_tones)
    first = files(into / "seed_4")
    update = loop._Run.update

    def noted(self, *given, **named):
        trained.append(self.train.seed)
        return update(self, *given, **named)

    monkeypatch.setattr(loop._Run, "update", noted)
    scores = train_seeds(brief(train__seed=4), seeds=4, into=into, data=prepared_tones)
    assert set(trained) == {6, 7}
    assert list(scores.reports) == [4, 5, 6, 7]
    assert len(json.loads((into / SUMMARY).read_text())["pairs"]) == 6
    assert files(into / "seed_4") == first
    with pytest.raises(ValueError, match=r"also contains seed_6, seed_7, but --seeds 2 means seeds 4 to 5"):
        train_seeds(brief(train__seed=4), seeds=2, into=into, data=prepared_tones)


def plant(monkeypatch, rates):
    """Replace the score of each seed by a number of wrong characters of ten, in every utterance."""

    def planted(folder, *, data, split, decoder):
        assert decoder is None  # seeds are compared without language model
        wrong = rates[Path(folder).name]
        spoken = "abcdefghij"
        return error_rates([spoken] * 6, ["x" * wrong + spoken[wrong:]] * 6, ["s", "t", "u"] * 2)

    monkeypatch.setattr(recognition, "evaluate", planted)


def test_the_lowest_cer_is_chosen(prepared_tones, tmp_path, monkeypatch):
    plant(monkeypatch, {"seed_0": 5, "seed_1": 2, "seed_2": 3})
    scores = train_seeds(brief(), seeds=3, into=tmp_path / "r", data=prepared_tones)
    assert scores.chosen == 1
    assert equal(weights(tmp_path / "r"), weights(tmp_path / "r" / "seed_1"))


def test_a_seed_trained_anew_is_scored_anew(prepared_tones, tmp_path, monkeypatch):
    into = tmp_path / "r"
    plant(monkeypatch, {"seed_0": 5, "seed_1": 2})
    train_seeds(brief(), seeds=2, into=into, data=prepared_tones)
    plant(monkeypatch, {"seed_0": 1, "seed_1": 9})
    kept = train_seeds(brief(), seeds=2, into=into, data=prepared_tones)
    assert kept.chosen == 1
    model = store.load(into / "seed_0")
    score = json.loads((into / "seed_0" / SCORE).read_text())
    (into / "seed_0" / SCORE).write_text(json.dumps(score | {"of": {"model": "another", "data": score["of"]["data"]}}))
    assert train_seeds(brief(), seeds=2, into=into, data=prepared_tones).chosen == 0
    assert equal(weights(into), model.state_dict())


def diverge(monkeypatch, seeds):
    loss = Ctc.loss

    def broken(self, batch, *, step, rng):
        found = loss(self, batch, step=step, rng=rng)
        return replace(found, total=found.total * float("nan")) if rng.key[0] in seeds else found

    monkeypatch.setattr(Ctc, "loss", broken)


@pytest.mark.slow
def test_a_diverged_seed_does_not_affect_the_others(prepared_tones, tmp_path, monkeypatch):
    recipe, into = brief(train__max_skipped=1), tmp_path / "r"
    diverge(monkeypatch, {1})
    scores = train_seeds(recipe, seeds=3, into=into, data=prepared_tones)
    assert list(scores.reports) == [0, 2]
    assert "learning rate is too high" in scores.failed[1]
    assert "seed 1 failed and has no scores" in scores.table()
    assert not (into / "seed_1" / "model").exists()
    assert json.loads((into / SUMMARY).read_text())["seeds"][1]["failed"] == scores.failed[1]

    monkeypatch.undo()
    again = train_seeds(recipe, seeds=3, into=into, data=prepared_tones)
    assert again == scores, "a failed seed is left alone"
    shutil.rmtree(into / "seed_1")
    assert list(train_seeds(recipe, seeds=3, into=into, data=prepared_tones).reports) == [0, 1, 2]


def test_an_error_names_each_seed_when_all_diverge(prepared_tones, tmp_path, monkeypatch):
    diverge(monkeypatch, {0, 1})
    with pytest.raises(RuntimeError, match=r"(?s)all 2 seeds failed.*seed 0: stopped at update 0.*seed 1: stopped"):
        train_seeds(brief(train__max_skipped=1), seeds=2, into=tmp_path / "r", data=prepared_tones)
    assert not (tmp_path / "r" / "model").exists()
    with pytest.raises(ValueError, match=r"optim.lr: 0.01, now 0.001"):
        train_seeds(brief(train__max_skipped=1, optim__lr=1e-3), seeds=2, into=tmp_path / "r", data=prepared_tones)


def test_other_errors_are_not_treated_as_divergence(prepared_tones, tmp_path, monkeypatch):
    def out_of_memory(*_, **__):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Ctc, "loss", out_of_memory)
    assert issubclass(torch.OutOfMemoryError, RuntimeError)
    assert not issubclass(torch.OutOfMemoryError, Diverged)
    with pytest.raises(torch.OutOfMemoryError):
        train_seeds(brief(), seeds=2, into=tmp_path / "r", data=prepared_tones)
    assert not (tmp_path / "r" / "seed_0" / FAILED).exists()


def test_other_settings_are_refused_without_changes(two_seeds, prepared_tones):
    folder, _ = two_seeds
    before = files(folder)
    with pytest.raises(ValueError, match=r"optim.lr: 0.01, now 0.5"):
        train_seeds(brief(train__num_steps=40, optim__lr=0.5), seeds=3, into=folder, data=prepared_tones)
    with pytest.raises(ValueError, match=r"train.seed: 0, now 7"):
        train_seeds(brief(train__num_steps=40, train__seed=7), seeds=2, into=folder, data=prepared_tones)
    assert files(folder) == before


def test_single_and_multi_seed_runs_do_not_use_each_others_folder(two_seeds, prepared_tones, tmp_path):
    folder, _ = two_seeds
    before = files(folder)
    with pytest.raises(ValueError, match=r"seeds: 'several, each in its folder seed_N', now 'absent'"):
        run.train(brief(train__num_steps=40), into=folder, data=prepared_tones)
    assert files(folder) == before

    run.train(brief(), into=tmp_path / "single", data=prepared_tones)
    before = files(tmp_path / "single")
    with pytest.raises(ValueError, match=r"contains a single run.*mv .*single NEW/seed_0"):
        train_seeds(brief(), seeds=2, into=tmp_path / "single", data=prepared_tones)
    assert files(tmp_path / "single") == before
    shutil.copytree(resolve.find(folder), tmp_path / "bare")
    with pytest.raises(ValueError, match="already contains a model"):
        train_seeds(brief(), seeds=2, into=tmp_path / "bare", data=prepared_tones)
    (tmp_path / "seeds.json").write_text("mine")
    with pytest.raises(ValueError, match=r"holds seeds.json and no recipe.yaml"):
        train_seeds(brief(), seeds=2, into=tmp_path, data=prepared_tones)


def test_a_single_run_can_become_the_first_of_several(prepared_tones, tmp_path):
    run.train(brief(), into=tmp_path / "single", data=prepared_tones)
    before = weights(tmp_path / "single")
    (tmp_path / "new").mkdir()
    (tmp_path / "single").rename(tmp_path / "new" / "seed_0")
    assert train_seeds(brief(), seeds=2, into=tmp_path / "new", data=prepared_tones) is not None
    assert equal(before, weights(tmp_path / "new" / "seed_0"))


@pytest.mark.parametrize("seeds", [1, 0, -3])
def test_fewer_than_two_seeds_are_refused(seeds, prepared_tones, tmp_path):
    with pytest.raises(ValueError, match=f"at least 2 seeds, got {seeds}.*leave `--seeds` out"):
        train_seeds(brief(), seeds=seeds, into=tmp_path / "r", data=prepared_tones)
    assert not (tmp_path / "r").exists()


def prepared_with(corpus, folder, change):
    """The tones prepared from a changed table."""
    rows = [json.loads(line) for line in (corpus / "manifest.jsonl").read_text().splitlines()]
    for row in rows:
        row["audio"] = str(corpus / row["audio"])
        change(row)
    folder.mkdir()
    (folder / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    prepare(folder / "table.jsonl", folder / "prepared", num_workers=1)
    return folder / "prepared"


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("split", "train", r"expected a split called 'dev'.*splits: test, train; name the split"),
        ("split", None, r"expected a split called 'dev'.*splits: none, test, train"),
        ("text", "", r"at least two transcribed utterances to choose the best seed by, got 0"),
        ("text", "... ?!", r"at least two transcribed utterances to choose the best seed by, got 0"),
    ],
)
def test_without_a_dev_split_nothing_is_trained(column, value, message, tone_corpus, tmp_path):
    data = prepared_with(tone_corpus, tmp_path / "d", lambda row: row["split"] == "dev" and row.update({column: value}))
    with pytest.raises(ValueError, match=message):
        train_seeds(brief(), seeds=2, into=tmp_path / "r", data=data)
    assert not (tmp_path / "r").exists()


def test_only_folders_with_a_dev_split_are_scored(tone_corpus, prepared_tones, tmp_path):
    """All utterances of a folder without splits would be used, although they were trained on."""
    bare = prepared_with(tone_corpus, tmp_path / "d", lambda row: row.update({"id": "x" + row["id"], "split": None}))
    scores = train_seeds(brief(), seeds=2, into=tmp_path / "r", data=[bare, prepared_tones])
    assert len(scores.reports[0].utterances) == 8


def test_a_split_that_is_trained_on_is_refused(prepared_tones, tmp_path):
    with pytest.raises(ValueError, match=r"'train' is trained on, so no seed can be chosen by it"):
        train_seeds(brief(labels__dev_split="train"), seeds=2, into=tmp_path / "r", data=prepared_tones)


def test_pre_training_recipes_are_refused(prepared_tones, tmp_path):
    with pytest.raises(ValueError, match=r"wav2vec2_smoke pre-trains without transcripts.*--train.seed 1"):
        train_seeds(brief("wav2vec2_smoke"), seeds=2, into=tmp_path / "r", data=prepared_tones)


@pytest.mark.slow
def test_runs_are_compared_over_seeds_and_speakers(two_seeds, prepared_tones, tmp_path, monkeypatch):
    planted = {"good": (1, 2, 2), "bad": (6, 7), "moody": (0, 8)}
    for name, wrong in planted.items():
        plant(monkeypatch, {f"seed_{n}": w for n, w in enumerate(wrong)})
        train_seeds(brief(), seeds=len(wrong), into=tmp_path / name, data=prepared_tones)
    clear = compare_runs(tmp_path / "good", tmp_path / "bad")["cer"]
    assert clear.is_clear
    assert clear.first == pytest.approx(1 / 6)
    value, low, high = clear.absolute
    assert value == pytest.approx(1 / 6 - 0.65)
    assert -0.601 < low < value < high < -0.399
    assert not compare_runs(tmp_path / "moody", tmp_path / "good")["cer"].is_clear, "one seed each way"
    itself = compare_runs(tmp_path / "moody", tmp_path / "moody")["cer"]
    assert itself.absolute == pytest.approx((0, -0.8, 0.8)), "seeds of the two are drawn separately"
    folder, scores = two_seeds
    assert compare_runs(folder, folder)["wer"].first == pytest.approx(scores.wer.mean)


@pytest.mark.slow
def test_comparisons_require_multi_seed_folders(two_seeds, tmp_path):
    folder, _ = two_seeds
    with pytest.raises(ValueError, match=r"got .*seed_0 without seeds.json"):
        compare_runs(folder, folder / "seed_0")
    shutil.copytree(folder, tmp_path / "r")
    (tmp_path / "r" / "seed_1" / SCORE).unlink()
    with pytest.raises(ValueError, match=r"seed_1/dev.json is missing"):
        compare_runs(tmp_path / "r", folder)


@pytest.mark.slow
def test_two_processes_train_and_one_writes(prepared_tones, tmp_path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    words = ["train", "ctc_smoke", "--seeds", "2", "--data", prepared_tones, "--into", tmp_path / "r"]
    command = [sys.executable, "-m", "sori", *map(str, words), "--train.num-steps", "2"]
    shared = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            command,
            env=shared | {"RANK": rank, "LOCAL_RANK": rank, "CUDA_VISIBLE_DEVICES": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    (first, _), (second, noise) = [process.communicate(timeout=200) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], noise
    assert "Chosen: seed" in first
    assert second == ""
    assert "scoring" not in noise
    assert len(json.loads((tmp_path / "r" / SUMMARY).read_text())["seeds"]) == 2


@pytest.mark.slow
def test_seeds_on_the_command_line(call, prepared_tones, monkeypatch):
    words = ["train", "ctc_smoke", "--data", prepared_tones, "--into", "r", "--train.num-steps", 3]
    code, out, err = call(*words, "--seeds", 2)
    assert code == 0
    assert "== seed 1 (2 of 2), r/seed_1" in err
    assert out.startswith("dev: 8 utterances, ")
    assert "95 % intervals over 8 utterances" in out
    assert "sori evaluate r --data DATA --split test" in out
    assert call(*words, "--seeds", 2)[1] == out
    assert call("evaluate", "r", "--data", prepared_tones)[0] == 0
    assert call("show", "r")[0] == 0
    for wrong in (1, 0, -1):
        code, out, err = call(*words, f"--seeds={wrong}")
        assert (code, out) == (2, "")
        assert f"at least 2 seeds, got {wrong}" in err
    code, _, err = call(*words)
    assert code == 2
    assert "seeds: 'several" in err
    code, _, err = call("train", "wav2vec2_smoke", "--data", prepared_tones, "--into", "q", "--seeds", 2)
    assert (code, "pre-trains without transcripts" in err) == (2, True)
    assert "did you mean --seeds?" in call(*words, "--sedes", 2)[2]
    assert "train.seed" in call(*words, "--seed", 2)[2]
    diverge(monkeypatch, {0, 1})
    code, _, err = call(*words[:5], "all", *words[6:], "--train.max-skipped", 1, "--seeds", 2)
    assert (code, "all 2 seeds failed" in err) == (1, True)
    assert multi_seed.SUMMARY not in [path.name for path in Path("all").iterdir()]
