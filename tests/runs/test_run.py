"""From a recipe and a prepared folder to a finished model."""

import json
import os
import signal

import pytest
import soundfile
import torch

from sori import recipes
from sori.checkpoints import store
from sori.core.run_folder import RunFolder
from sori.data.batches import frame_cache
from sori.data.manifest import CUTS, read_manifest
from sori.data.preparation.prepare import prepare
from sori.evaluation import recognition
from sori.models import factory
from sori.models.ctc import Ctc
from sori.models.wav2vec2 import Wav2Vec2
from sori.recipes.recipe import Recipe
from sori.runs import run
from sori.training.metrics import Reporter, read_metrics


def brief(name, **changes):
    """Return a smoke recipe of three updates."""
    settings = {"train.num_steps": 3, "train.log_every": 1, **{k.replace("__", "."): v for k, v in changes.items()}}
    return recipes.by_name(name).override(settings)


def test_pretraining_beats_chance_and_saves_a_model(encoder_run):
    reports = [row for row in read_metrics(encoder_run / "metrics.jsonl") if row["kind"] == "train"]
    assert reports[-1]["contrastive"] < 0.85 * Wav2Vec2(recipes.by_name("wav2vec2_smoke").system).chance_nats
    assert reports[-1]["code_perplexity"] > 8
    assert isinstance(store.load(encoder_run), Wav2Vec2)


def test_fine_tuning_learns_to_recognise_tones(recogniser_run, prepared_tones):
    report = recognition.evaluate(recogniser_run, data=prepared_tones)
    assert {one.speaker for one in report.utterances} == {"dora"}
    assert report.cer.rate < 0.4
    assert report.cer.low <= report.cer.rate <= report.cer.high


def test_the_dev_split_is_evaluated_during_training(prepared_tones, tmp_path):
    recipe = brief("ctc_smoke", train__evaluate_every=2)
    run.train(recipe, into=tmp_path / "r", data=prepared_tones)
    rows = [row for row in read_metrics(tmp_path / "r" / "metrics.jsonl") if row["kind"] == "evaluation"]
    assert [row["step"] for row in rows] == [2, 3]
    assert rows[-1]["dev_cer"] == pytest.approx(
        recognition.evaluate(tmp_path / "r", data=prepared_tones, split="dev", decoder=None).cer.rate
    )


def test_the_stored_recipe_repeats_the_run(encoder_run, prepared_tones, tmp_path):
    stored = Recipe.from_yaml(encoder_run / "recipe.yaml")
    assert stored.corpora == (str(prepared_tones.resolve()),)
    again = run.train(stored, into=tmp_path / "again")
    assert again.finished
    first, second = store.load(encoder_run).state_dict(), store.load(tmp_path / "again").state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_model_stores_its_provenance(encoder_run, prepared_tones, tmp_path):
    run.train(brief("ctc_smoke"), into=tmp_path / "r", data=prepared_tones, init=encoder_run)
    provenance = store.read_card(tmp_path / "r" / "model").provenance
    assert provenance["recipe"]["name"] == "ctc_smoke"
    assert provenance["recipe"]["init"] == str((encoder_run / "model").resolve())
    assert provenance["data"]["utterances"] == 48
    assert provenance["init"]["recipe"]["name"] == "wav2vec2_smoke"


def test_fine_tuning_starts_from_the_pretrained_encoder(encoder_run, prepared_tones, tmp_path):
    recipe = brief("ctc_smoke", optim__lr=0.0)
    run.train(recipe, into=tmp_path / "r", data=prepared_tones, init=encoder_run)
    tuned, start = store.load(tmp_path / "r"), factory.encoder_weights(store.load(encoder_run))
    assert isinstance(tuned, Ctc)
    assert all(torch.equal(tensor, start[name]) for name, tensor in tuned.encoder.state_dict().items())


def test_encoder_changes_reach_the_encoder(encoder_run, prepared_tones, tmp_path):
    recipe = brief("ctc_smoke").model_copy(update={"encoder_changes": {"activation_dropout": 0.25}})
    run.train(recipe, into=tmp_path / "r", data=prepared_tones, init=encoder_run)
    assert factory.encoder_of(store.load(tmp_path / "r")).config.activation_dropout == 0.25
    wrong = recipe.model_copy(update={"encoder_changes": {"activation_droput": 0.25}})
    with pytest.raises(ValueError, match="activation_dropout"):
        run.train(wrong, into=tmp_path / "w", data=prepared_tones, init=encoder_run)


def test_changes_for_other_kinds_of_encoders_are_ignored(prepared_tones, tmp_path, capsys):
    run.train(brief("cpc_smoke"), into=tmp_path / "cpc", data=prepared_tones)
    recipe = brief("ctc_smoke").model_copy(update={"encoder_changes": {"dropout": 0.05}})
    run.train(recipe, into=tmp_path / "r", data=prepared_tones, init=tmp_path / "cpc")
    assert "a cpc has no dropout" in capsys.readouterr().err
    assert factory.encoder_of(store.load(tmp_path / "r")).config == store.load(tmp_path / "cpc").config
    wrong = recipe.model_copy(update={"encoder_changes": {"droput": 0.05}})
    with pytest.raises(ValueError, match="droput"):
        run.train(wrong, into=tmp_path / "w", data=prepared_tones, init=tmp_path / "cpc")


def test_pretraining_continues_from_a_model(encoder_run, prepared_tones, tmp_path):
    run.train(brief("wav2vec2_smoke", optim__lr=0.0), into=tmp_path / "r", data=prepared_tones, init=encoder_run)
    first, second = store.load(encoder_run).state_dict(), store.load(tmp_path / "r").state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_vocabulary_is_that_of_the_chosen_transcripts(prepared_tones, tmp_path):
    recipe = brief("ctc_smoke", labels__minutes=0.05)
    run.train(recipe, into=tmp_path / "r", data=prepared_tones)
    about = json.loads((tmp_path / "r" / "data.json").read_text())
    assert 0 < about["hours"] <= 0.05 / 60
    tuned = store.load(tmp_path / "r")
    texts = {u.text for u in read_manifest(prepared_tones)}
    assert set(tuned.vocabulary.symbols[2:]) <= set("".join(texts))


def test_unusable_utterances_are_left_out_and_listed(tone_corpus, tmp_path, capsys):
    rows = [json.loads(line) for line in (tone_corpus / "manifest.jsonl").read_text().splitlines()]
    rows[0]["text"] = rows[0]["text"] * 20  # more letters than frames
    for row in rows:
        row["audio"] = str(tone_corpus / row["audio"])
    (tmp_path / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    prepare(tmp_path / "table.jsonl", tmp_path / "p", num_workers=1)
    run.train(brief("ctc_smoke"), into=tmp_path / "r", data=tmp_path / "p")
    excluded = [json.loads(line) for line in (tmp_path / "r" / "excluded.jsonl").read_text().splitlines()]
    assert [row["id"] for row in excluded] == [rows[0]["id"]]
    assert "too short for its transcript" in excluded[0]["reason"]
    assert rows[0]["id"] in capsys.readouterr().err
    assert json.loads((tmp_path / "r" / "data.json").read_text())["utterances"] == 47


def test_other_settings_in_the_same_folder_are_refused_and_nothing_is_touched(prepared_tones, tmp_path):
    run.train(brief("ctc_smoke"), into=tmp_path / "r", data=prepared_tones)
    before = {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir() if path.is_file()}
    with pytest.raises(ValueError, match=r"optim.lr: 0.01, now 0.5"):
        run.train(brief("ctc_smoke", optim__lr=0.5, labels__minutes=0.05), into=tmp_path / "r", data=prepared_tones)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir() if path.is_file()}


def test_a_run_older_than_a_setting_continues_with_its_default(prepared_tones, tmp_path):
    run.train(brief("wav2vec2_smoke"), into=tmp_path / "r", data=prepared_tones)
    path = tmp_path / "r" / "recipe.yaml"
    older = path.read_text().replace("  first_factor: 0.0\n", "")
    assert older != path.read_text()
    path.write_text(older)
    assert run.train(brief("wav2vec2_smoke"), into=tmp_path / "r", data=prepared_tones).finished
    assert path.read_text() == older
    with pytest.raises(ValueError, match=r"schedule.first_factor: 'absent', now 0.5"):
        run.train(brief("wav2vec2_smoke", schedule__first_factor=0.5), into=tmp_path / "r", data=prepared_tones)


def test_other_data_in_the_same_folder_are_refused(tone_corpus, tmp_path):
    prepare(tone_corpus / "manifest.jsonl", tmp_path / "p", num_workers=1)
    run.train(brief("wav2vec2_smoke"), into=tmp_path / "r", data=tmp_path / "p")
    prepare(tone_corpus / "audio" / "anna", tmp_path / "p", num_workers=1, overwrite=True)
    with pytest.raises(ValueError, match="prepared again"):
        run.train(brief("wav2vec2_smoke"), into=tmp_path / "r", data=tmp_path / "p")


def test_an_unprepared_folder_is_refused_with_the_command(tone_corpus, tmp_path):
    with pytest.raises(ValueError, match="sori prepare"):
        run.train(brief("wav2vec2_smoke"), into=tmp_path / "r", data=tone_corpus)


def test_no_data_at_all(tmp_path):
    with pytest.raises(ValueError, match="--data DIR"):
        run.train(brief("wav2vec2_smoke"), into=tmp_path / "r")


def test_recordings_without_transcripts_cannot_be_fine_tuned_on(tmp_path):
    (tmp_path / "wav").mkdir()
    for number in range(2):
        soundfile.write(tmp_path / "wav" / f"{number}.wav", torch.randn(32_000).mul(0.1).numpy(), 16_000)
    prepare(tmp_path / "wav", tmp_path / "p", num_workers=1)
    with pytest.raises(ValueError, match="2 utterances without a transcript"):
        run.train(brief("ctc_smoke"), into=tmp_path / "r", data=tmp_path / "p")
    with pytest.raises(ValueError, match="utterances of 100 s"):
        run.train(brief("wav2vec2_smoke", data__min_seconds=100), into=tmp_path / "q", data=tmp_path / "p")


def test_an_unknown_split_is_refused_listing_the_known_ones(prepared_tones, recogniser_run, tmp_path):
    with pytest.raises(ValueError, match="it has dev, test, train"):
        recognition.evaluate(recogniser_run, data=prepared_tones, split="tset")


def test_held_out_splits_are_never_trained_on(prepared_tones, tmp_path):
    run.train(brief("wav2vec2_smoke", train__num_steps=1), into=tmp_path / "r", data=prepared_tones)
    trained = json.loads((tmp_path / "r" / "data.json").read_text())["utterances"]
    assert trained == sum(u.split == "train" for u in read_manifest(prepared_tones))
    with pytest.raises(ValueError, match="utterances are held out"):
        run.train(brief("wav2vec2_smoke", held_out=["train", "dev", "test"]), into=tmp_path / "q", data=prepared_tones)


def test_a_recogniser_needs_an_initial_model(prepared_tones, tmp_path):
    recipe = brief("ctc_smoke").model_copy(update={"encoder": None})
    with pytest.raises(ValueError, match="--init MODEL"):
        run.train(recipe, into=tmp_path / "r", data=prepared_tones)


def test_pretraining_cannot_start_from_a_recogniser(prepared_tones, recogniser_run, tmp_path):
    with pytest.raises(ValueError, match="is a recogniser"):
        run.train(brief("wav2vec2_smoke"), into=tmp_path / "r", data=prepared_tones, init=recogniser_run)


def test_an_encoder_cannot_be_scored(prepared_tones, encoder_run):
    with pytest.raises(ValueError, match="expected a recogniser"):
        recognition.evaluate(encoder_run, data=prepared_tones)


def test_fine_tuning_can_start_from_another_recogniser(prepared_tones, recogniser_run, tmp_path):
    recipe = brief("ctc_smoke", optim__lr=0.0)
    run.train(recipe, into=tmp_path / "r", data=prepared_tones, init=recogniser_run)
    tuned, start = store.load(tmp_path / "r"), store.load(recogniser_run)
    for name, tensor in tuned.encoder.state_dict().items():
        assert torch.equal(tensor, start.encoder.state_dict()[name])


def test_whether_audio_is_cached_is_decided_once(prepared_tones, tmp_path):
    recipe = brief("wav2vec2_smoke", data__cache="always")
    run.train(recipe, into=tmp_path / "r", data=[prepared_tones])
    assert json.loads((tmp_path / "r" / "data.json").read_text())["cached"] is True
    assert (prepared_tones / CUTS).is_file()
    run.train(brief("wav2vec2_smoke", data__cache="never"), into=tmp_path / "q", data=prepared_tones)
    assert json.loads((tmp_path / "q" / "data.json").read_text())["cached"] is False


def user_file(path):
    """Write a file of the user, or a folder with one."""
    file = path if path.suffix in (".json", ".jsonl") else path / "thesis.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("precious")


@pytest.mark.parametrize("recipe", ["wav2vec2_smoke", "word2vec_smoke"])
@pytest.mark.parametrize("name", ["model", "data.json", "vocabulary.json", "metrics.jsonl", "tokens"])
def test_a_run_overwrites_nothing_in_a_folder_of_the_user(name, recipe, prepared_tones, tmp_path):
    user_file(tmp_path / name)
    with pytest.raises(ValueError, match=rf"holds {name} and no recipe.yaml.*choose another folder"):
        run.train(recipes.by_name(recipe), into=tmp_path, data=prepared_tones)
    assert [path.name for path in tmp_path.iterdir()] == [name]  # not even a lock
    assert "precious" in [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]


def test_folders_beside_the_model_stay(prepared_tones, tmp_path):
    for name in ("model.old", "model.partial", "data"):
        user_file(tmp_path / name)
    run.train(recipes.by_name("wav2vec2_smoke").override({"train.num_steps": 1}), into=tmp_path, data=prepared_tones)
    store.load(tmp_path)
    for name in ("model.old", "model.partial", "data"):
        assert (tmp_path / name / "thesis.txt").read_text() == "precious"


def test_user_files_in_the_model_folder_are_refused_before_training_and_kept(prepared_tones, tmp_path):
    recipe = recipes.by_name("wav2vec2_smoke").override({"train.num_steps": 1})
    run.train(recipe, into=tmp_path, data=prepared_tones)
    (tmp_path / "model" / "README.md").write_text("precious")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(ValueError, match=r"model holds README.md\. Nothing was removed"):
        run.train(recipe, into=tmp_path, data=prepared_tones)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_all_files_of_a_run_are_protected(encoder_run, recogniser_run, tmp_path):
    for folder in (encoder_run, recogniser_run):
        names = {path.name for path in folder.iterdir()} - {"recipe.yaml", "run.json", "board"}
        for name in names:
            place = tmp_path / folder.name / name
            place.mkdir(parents=True)
            with pytest.raises(ValueError, match=f"holds {name} and no recipe.yaml"):
                RunFolder(place.parent).check_free()
            place.rmdir()


FROZEN = {
    "system.frozen_blocks": 1,
    "cache_frozen": True,
    "labels.speeds": (0.9, 1.0),
    "encoder_changes": {"dropout": 0.1},
}


def killed_while_computing(patch, after):
    """Replace the writing of parts, so that it is interrupted after a number of them."""
    write, parts = frame_cache.write_tensors, list[int]()

    def limited(tensors, path, **settings):
        if len(parts) == after:
            raise KeyboardInterrupt
        parts.append(len(tensors))
        write(tensors, path, **settings)

    patch.setattr(frame_cache, "write_tensors", limited)


def stopped_after(patch, number):
    """Send SIGTERM to this process after an update."""
    tick = Reporter.tick

    def tick_and_stop(self, step):
        tick(self, step)
        if step == number:
            os.kill(os.getpid(), signal.SIGTERM)

    patch.setattr(Reporter, "tick", tick_and_stop)


def test_a_run_on_kept_frames_continues_wherever_it_was_stopped(encoder_run, prepared_tones, tmp_path, monkeypatch):
    recipe, kept = brief("ctc_smoke").override(FROZEN), RunFolder(tmp_path / "kept")

    def train(folder):
        return run.train(recipe, into=folder, data=prepared_tones, init=encoder_run).finished

    with monkeypatch.context() as patch:
        killed_while_computing(patch, after=2)
        with pytest.raises(KeyboardInterrupt):
            train(kept.path)
    before = {path.name: path.stat().st_mtime_ns for path in kept.frozen_frames.iterdir()}
    assert len(before) == 2
    with monkeypatch.context() as patch:
        stopped_after(patch, 1)
        assert not train(kept.path)
    after = {path.name: path.stat().st_mtime_ns for path in kept.frozen_frames.iterdir()}
    assert before.items() < after.items()
    assert train(kept.path)
    assert not kept.frozen_frames.exists()
    assert train(kept.path)  # finished: nothing is computed again
    assert not kept.frozen_frames.exists()

    assert train(tmp_path / "once")
    ours, theirs = store.load(kept.path).state_dict(), store.load(tmp_path / "once").state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_kept_frames_train_as_computed_ones_and_only_what_is_not_frozen(encoder_run, prepared_tones, tmp_path):
    recipe = brief("ctc_smoke").override({**FROZEN, "optim.lr": 0.01})
    losses = []
    for kept in (True, False):
        folder = tmp_path / str(kept)
        run.train(recipe.model_copy(update={"cache_frozen": kept}), into=folder, data=prepared_tones, init=encoder_run)
        losses.append([row["loss"] for row in read_metrics(folder / "metrics.jsonl") if row["kind"] == "train"])
        start, tuned = factory.encoder_weights(store.load(encoder_run)), store.load(folder)
        changed = {name for name, tensor in tuned.encoder.state_dict().items() if not torch.equal(tensor, start[name])}
        assert changed
        assert all(name.startswith(("transformer.blocks.1.", "transformer.norm.")) for name in changed)
        assert recognition.evaluate(folder, data=prepared_tones).cer.rate <= 1.5
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)  # a part of the cache is padded otherwise than a batch


def test_a_cache_needs_frozen_blocks():
    with pytest.raises(ValueError, match=r"cache_frozen requires system.frozen_blocks, got 0"):
        brief("ctc_smoke").override({"cache_frozen": True})
