"""Self-training: what is kept, what the next round learns from, and what a repeated call does."""

import json
import shutil

import pytest
import torch

from sori import recipes
from sori.checkpoints import store, stored_lm
from sori.checkpoints.stored_lm import ARPA
from sori.cli.train import train as train_command
from sori.core import distributed
from sori.data.labels import MACHINE
from sori.data.manifest import Utterance, read_manifest, read_with_headers, write_manifest
from sori.experiments import self_training
from sori.experiments.self_training import SelfTrainingConfig, Written, keep, self_train
from sori.inference import transcribe
from sori.lm.ngram import NgramModel
from sori.runs import run
from sori.training.metrics import read_metrics


def brief(**changes):
    settings = {"train.num_steps": 40, "train.log_every": 20, **{k.replace("__", "."): v for k, v in changes.items()}}
    return recipes.by_name("ctc_smoke").override(settings)


def written(*confidence, seconds=1.0):
    blank = Utterance("", "/x.wav", 0.0, round(seconds * 16_000), None, None, None, None)
    return [Written(blank._replace(id=str(i)), "a", value) for i, value in enumerate(confidence)]


def test_the_most_confident_are_kept_in_their_order():
    found = written(0.2, 0.9, 0.5, 0.8)
    assert [one.utterance.id for one in keep(found, 0.5)] == ["1", "3"]
    assert keep(found, 1.0) == found
    assert keep(found, 0.1) == []
    assert keep([], 0.5) == []


@pytest.fixture(scope="module")
def two_rounds(prepared_tones, tmp_path_factory):
    folder = tmp_path_factory.mktemp("self") / "run"
    settings = SelfTrainingConfig(rounds=1, hours=0.02, kept=0.5)
    arguments = {"into": folder, "unlabelled": prepared_tones, "data": prepared_tones, "settings": settings}
    assert self_train(brief(labels__minutes=0.3, labels__lm="word"), **arguments).finished
    return folder, arguments


def test_a_round_learns_from_the_transcripts_and_from_what_was_written(two_rounds, prepared_tones):
    folder, _ = two_rounds
    texts = {u.id: u.text for u in read_manifest(prepared_tones)}
    kept = read_manifest(folder / "written_1")
    assert kept
    assert {u.split for u in kept} == {MACHINE}
    originals = [u.id.removeprefix("1/") for u in kept]
    assert any(u.text != texts[name] for u, name in zip(kept, originals, strict=True))
    used = [json.loads((folder / name / "data.json").read_text())["utterances"] for name in ("round_0", "round_1")]
    assert used[1] == used[0] + len(kept)
    recipe = recipes.Recipe.from_yaml(folder / "round_1" / "recipe.yaml")
    assert recipe.train.num_steps == 80
    assert recipe.labels.minutes == 0.3


def test_what_was_written_is_no_text_of_the_language_model(two_rounds):
    folder, _ = two_rounds
    first, second = (NgramModel.read(folder / name / "lm" / ARPA) for name in ("round_0", "round_1"))
    assert first.words == second.words


def test_the_report_says_what_was_kept_and_how_right_it_was(two_rounds):
    folder, _ = two_rounds
    report = json.loads((folder / "self_training.json").read_text())
    assert [row["round"] for row in report["rounds"]] == [0, 1]
    about = report["rounds"][1]["written"]
    assert 0 < about["kept_hours"] < about["hours"] < 0.03
    assert about["cer"] > 0
    assert about["known"] == about["kept"]
    errors = [row[report["by"]] for row in report["rounds"]]
    assert report["chosen"] == errors.index(min(errors))
    chosen, model = (store.load(one).state_dict() for one in (folder / f"round_{report['chosen']}", folder))
    assert all(torch.equal(chosen[name], tensor) for name, tensor in model.items())


GREEDY = [{"dev_cer": 0.3, "dev_wer": 0.9}, {"dev_cer": 0.4, "dev_wer": 0.8}, {"dev_cer": 0.5, "dev_wer": 0.7}]
WITH_LM = [{"lm_cer": 0.2, "lm_wer": wer} for wer in (0.4, 0.2, 0.3)]


@pytest.mark.parametrize(
    ("rates", "chosen", "by"),
    [
        (GREEDY, 0, "dev_cer"),
        ([greedy | lm for greedy, lm in zip(GREEDY, WITH_LM, strict=True)], 1, "lm_wer"),
        ([GREEDY[0], GREEDY[1] | WITH_LM[1], GREEDY[2] | WITH_LM[2]], 0, "dev_cer"),  # one is used without
        ([{}, {}, {}], 2, "dev_cer"),  # no dev: the last one
    ],
)
def test_the_best_round_is_that_with_the_lowest_error_as_it_is_used(
    rates, chosen, by, recogniser_run, tmp_path, monkeypatch
):
    rounds = [shutil.copytree(recogniser_run, tmp_path / str(number)) for number in range(3)]
    monkeypatch.setattr(self_training, "_dev_rates", lambda home: rates[int(home.name)])
    for number in (1, 2):
        (tmp_path / f"written_{number}").mkdir()
        (tmp_path / f"written_{number}" / "about.json").write_text('{"kept_hours": 1.0}')
    self_training._choose(tmp_path, rounds)
    report = json.loads((tmp_path / "self_training.json").read_text())
    assert (report["chosen"], report["by"]) == (chosen, by)
    assert (tmp_path / "model" / "config.json").is_file()


def test_the_rates_of_a_round_are_those_of_its_run(two_rounds):
    folder, _ = two_rounds
    for number, row in enumerate(json.loads((folder / "self_training.json").read_text())["rounds"]):
        assert row["dev_wer"] == read_metrics(folder / f"round_{number}" / "metrics.jsonl")[-1]["dev_wer"]
        settings = stored_lm.read(folder / f"round_{number}" / "model").settings
        assert settings.tuning is not None
        assert row.get("lm_wer") == (settings.tuning.wer if settings.used else None)


def test_a_repeated_call_changes_nothing(two_rounds):
    folder, arguments = two_rounds
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors") if "round" in str(path)}
    assert self_train(brief(labels__minutes=0.3, labels__lm="word"), **arguments).finished
    weights = folder / "round_1" / "checkpoint.safetensors"
    assert weights in before
    assert weights.stat().st_mtime_ns == before[weights]


def test_other_settings_are_refused_in_the_same_folder(two_rounds):
    folder, arguments = two_rounds
    changed = arguments | {"settings": arguments["settings"].model_copy(update={"kept": 0.9})}
    with pytest.raises(ValueError, match=r"written_1 was written with other settings .*'kept': 0\.5"):
        self_train(brief(labels__minutes=0.3, labels__lm="word"), **changed)
    assert (folder / "model" / "config.json").is_file()


def test_the_number_of_threads_changes_no_text(two_rounds, prepared_tones, monkeypatch):
    folder, _ = two_rounds
    found = []
    for number in (1, 3):
        monkeypatch.setattr(transcribe, "num_at_a_time", lambda _, number=number: number)
        found.append(self_training._transcribe(store.load(folder), read_manifest(prepared_tones)[:12], None))
    assert len({one.text for one in found[0]}) > 1
    assert found[0] == found[1]


def test_two_folders_may_use_the_same_names(two_rounds, prepared_tones):
    recipe = brief().model_copy(update={"corpora": (str(prepared_tones),)})
    once = self_training._speech(prepared_tones, recipe)
    twice = self_training._speech([prepared_tones, prepared_tones], recipe)
    assert len({u.id for u, _ in twice}) == len(twice) == 2 * len(once)


@pytest.mark.parametrize(
    ("texts", "is_fitted", "expected"),
    [
        ([("a", 0.2), ("a", 0.4)], True, "only 30% of the words"),
        ([("a", 0.4), ("a", 0.8)], True, None),
        ([("a " * 9, 0.4), ("a", 0.9)], True, "only 45% of the words"),  # of the words, not of the utterances
        ([("a " * 9, 0.6), ("a", 0.1)], True, None),
        ([("a", 0.2), ("a", 0.4)], False, None),  # posteriors are no probabilities that a word is right
    ],
)
def test_texts_that_are_likely_wrong_give_a_warning(
    texts, is_fitted, expected, prepared_tones, tmp_path, monkeypatch, capsys
):
    def transcribe(_system, part, _confidence):
        pairs = part[: len(part) // 2 * 2]
        seconds = min(u.num_samples for u in pairs)
        return [Written(u._replace(num_samples=seconds), *texts[i % 2]) for i, u in enumerate(pairs)]

    monkeypatch.setattr(self_training, "_confidence", lambda *_: object() if is_fitted else None)
    monkeypatch.setattr(self_training, "_transcribe", transcribe)
    settings = SelfTrainingConfig(rounds=1, kept=1.0, updates=1)
    recipe = brief(labels__minutes=0.3, labels__lm="none", train__num_steps=2)
    self_train(recipe, into=tmp_path, unlabelled=prepared_tones, data=prepared_tones, settings=settings)
    shown = capsys.readouterr().err
    assert ("of the kept texts are expected to be right" in shown) == (expected is not None)
    assert expected is None or expected in shown


def test_several_processes_are_refused(prepared_tones, tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    with pytest.raises(ValueError, match="expected one process, got several"):
        self_train(brief(), into=tmp_path / "r", unlabelled=prepared_tones, data=prepared_tones)
    assert not (tmp_path / "r").exists()


def test_a_recogniser_that_writes_nothing_ends_the_command(prepared_tones, tmp_path, monkeypatch):
    monkeypatch.setattr(self_training, "_transcribe", lambda *_: [])
    with pytest.raises(ValueError, match=r"round_0 to learn from, got none for \d+ utterances.*not trained enough"):
        self_train(brief(train__num_steps=1), into=tmp_path / "r", unlabelled=prepared_tones, data=prepared_tones)


def test_held_out_speech_is_not_transcribed(prepared_tones, tmp_path):
    test_only = tmp_path / "test"
    test_only.mkdir()
    write_manifest(test_only, [(u, file) for u, file in read_with_headers(prepared_tones) if u.split == "test"])
    with pytest.raises(ValueError, match="got dev and test splits only"):
        self_train(brief(), into=tmp_path / "r", unlabelled=test_only, data=prepared_tones)
    assert not (tmp_path / "r").exists()


def test_written_texts_alone_are_no_transcripts(prepared_tones, tmp_path):
    machine = tmp_path / "machine"
    machine.mkdir()
    write_manifest(machine, [(u._replace(split=MACHINE), file) for u, file in read_with_headers(prepared_tones)])
    with pytest.raises(ValueError, match="expected transcribed utterances"):
        run.train(brief(), into=tmp_path / "r", data=machine)


@pytest.mark.parametrize(
    ("recipe", "seeds", "message"),
    [("wav2vec2_smoke", None, "is for a single recogniser, got wav2vec2_smoke"), ("ctc_smoke", 2, "with --seeds 2")],
)
def test_the_option_is_for_one_recogniser(prepared_tones, tmp_path, recipe, seeds, message):
    with pytest.raises(ValueError, match=message):
        train_command(recipe, into=tmp_path / "r", unlabelled=[prepared_tones], seeds=seeds)
