import contextlib
import json
import re
from unittest.mock import Mock

import pytest

from sori.checkpoints import stored_lm
from sori.data.manifest import Utterance, read_manifest
from sori.experiments.demonstration import demo as module
from sori.experiments.demonstration import demo_contents, demo_data
from sori.experiments.demonstration.demo import demo
from sori.experiments.demonstration.demo_data import hold_out
from sori.experiments.demonstration.demo_recipes import demo_recipes
from sori.experiments.self_training import NothingWrittenError
from sori.recipes import by_name
from sori.recipes.recipe import Recipe
from sori.runs import language_model
from sori.synth import CorpusSize
from sori.training.metrics import read_metrics

TINY = CorpusSize(3, 9, 2, 9, 2, 2, 1, 4)


@pytest.fixture(scope="module", autouse=True)
def small():
    """Make the corpus and the searches small, because flat outputs take long to decode, and train in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_data, "_SMOKE", TINY)
        patch.setattr(module, "head_start", lambda *_, **__: contextlib.nullcontext(Mock()))
        patch.setattr(language_model, "BEAM_SIZE", 4)
        yield


@pytest.fixture(scope="module")
def shown(tmp_path_factory, small):
    return demo(tmp_path_factory.mktemp("demo"), smoke=True)


def test_two_recognisers_are_scored_on_the_same_held_out_recordings(shown):
    folder = shown.report.parent
    train, test, dev = (read_manifest(folder / name) for name in ("train", "test", "dev"))
    assert len(train) == 27
    assert sum(u.text is not None for u in train) == 18
    assert {u.speaker for u in train}.isdisjoint({u.speaker for u in test})
    assert {u.text for u in train}.isdisjoint({u.text for u in test})
    assert [u.split for u in dev] == ["dev"] * 4
    for other in (train, test):
        assert {u.speaker for u in dev}.isdisjoint({u.speaker for u in other})
        assert {u.text for u in dev}.isdisjoint({u.text for u in other})
    for reports in (shown.scores, shown.alone):
        assert list(reports)[:2] == ["without", "with"]
        for report in reports.values():
            assert [u.reference for u in report.utterances] == [u.text.lower() for u in test]
    written = [[u.hypothesis for u in shown.alone[name].utterances] for name in ("without", "with")]
    assert written[0] != written[1]


def test_the_language_model_has_seen_no_sentence_of_test_and_dev(shown):
    folder = shown.report.parent
    texts = {line.lower() for line in (folder / "texts.txt").read_text().splitlines()}
    assert len(texts) == 100
    for name in ("train", "test", "dev"):
        assert texts.isdisjoint({(u.text or "").lower() for u in read_manifest(folder / name)})
    for name in ("with", "without", "self_training/round_1"):
        stored = stored_lm.read(folder / name / "model")
        assert 5 < stored.settings.sources.transcripts < 18, "a minute of the 18"
        assert stored.settings.sources.sentences == stored.settings.sources.transcripts + 100
        assert stored.settings.tuning.utterances == 4


def test_the_recognisers_differ_only_in_their_initialisation_and_length(shown):
    recipes = {
        name: Recipe.from_yaml(shown.report.parent / name / "recipe.yaml") for name in ("pretrained", "with", "without")
    }
    assert recipes["with"].init.endswith("pretrained/model")
    assert recipes["without"].init is None
    assert recipes["without"].encoder == recipes["pretrained"].system
    assert recipes["without"].train.num_steps == 2 * recipes["with"].train.num_steps
    start = {"init": None, "encoder": None, "train": recipes["with"].train}
    assert recipes["with"].model_copy(update=start) == recipes["without"].model_copy(update=start)


def test_the_full_recipes_train_both_recognisers_alike_but_the_second_one_longer():
    recipes = demo_recipes(minutes=None, smoke=False)
    for part in ("data", "schedule", "labels"):
        assert getattr(recipes.tuned, part) == getattr(recipes.scratch, part)
    assert recipes.tuned.optim.lr == recipes.scratch.optim.lr
    assert recipes.scratch.train.num_steps > recipes.tuned.train.num_steps
    published = by_name("ctc_10min").labels
    assert recipes.tuned.labels == published.model_copy(update={"minutes": None})
    assert recipes.scratch.encoder == recipes.pretrained.system


def test_the_report_is_one_page_with_all_contents(shown):
    text = shown.report.read_text()
    assert "http" not in text
    assert text.count("<svg") == 9
    assert text.count("<audio") == 2
    for one in (*shown.scores.values(), *shown.alone.values()):
        assert f"{one.wer.rate:.1%}" in text
        assert f"{one.cer.rate:.1%}" in text
    assert text.index("said</th>") < text.index("WER with pre-training") < text.index("Character error rate")
    assert "sori demo --data" in text
    for utterance in (shown.scores["with"].utterances[0], shown.scores["with"].utterances[2]):
        assert utterance.reference in text


def test_repeating_the_command_trains_nothing(shown, capsys):
    folder = shown.report.parent
    weights = [folder / name / "model" / "weights.safetensors" for name in ("pretrained", "with", "without")]
    before = [path.read_bytes() for path in weights]
    again = demo(folder, smoke=True)
    logged = capsys.readouterr().err
    assert logged.count("nothing to do") == 5, "pre-training, three recognisers, and the first of self-training again"
    assert logged.count("already") == 4
    assert "tuning the language model" not in logged
    assert [path.read_bytes() for path in weights] == before
    assert again == shown
    assert re.search(r"with pre-training +WER +\d+\.\d% \(", logged)
    assert re.search(r"with pre-training +without LM +WER +\d+\.\d% \(", logged)


def test_self_training_starts_as_the_recogniser_that_writes_for_it(shown):
    demonstration = shown.report.parent
    folder = demonstration / "self_training"
    assert not (folder / "round_0").exists()
    recipes = [demonstration / "with" / "recipe.yaml", folder / "round_1" / "recipe.yaml"]
    writer, learner = map(Recipe.from_yaml, recipes)
    assert learner.corpora == (*writer.corpora, str(folder / "written_1"))
    assert learner.model_copy(update={"corpora": writer.corpora}) == writer
    rounds = json.loads((folder / "self_training.json").read_text())["rounds"]
    assert rounds[0]["dev_cer"] == read_metrics(demonstration / "with" / "metrics.jsonl")[-1]["dev_cer"]
    assert {u.id.removeprefix("1/") for u in read_manifest(folder / "written_1")} <= {
        u.id for u in read_manifest(demonstration / "train")
    }


@pytest.mark.parametrize(("chosen", "expected"), [(None, False), (0, False), (1, True)])
def test_self_training_is_reported_if_it_is_better_on_dev(chosen, expected, tmp_path):
    if chosen is not None:
        (tmp_path / "self_training").mkdir()
        (tmp_path / "self_training" / "self_training.json").write_text(json.dumps({"chosen": chosen}))
    assert demo_contents.is_shown(tmp_path, "self_training") is expected
    assert demo_contents.is_shown(tmp_path, "with")


def test_a_recogniser_that_writes_nothing_costs_only_the_self_training(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(module, "self_train", Mock(side_effect=NothingWrittenError("expected texts, got none")))
    data = demo_data.DemoData(tmp_path, tmp_path, tmp_path, ())
    assert module._self_train(tmp_path, demo_recipes(minutes=None, smoke=True), data)
    assert "left out: expected texts, got none" in caplog.text


def test_recordings_of_the_user_are_divided(shown, tmp_path, capsys):
    own = demo(tmp_path, data=shown.report.parent / "recordings" / "train", smoke=True)
    train, test = (read_manifest(tmp_path / name) for name in ("train", "test"))
    assert len(train) + len(test) == 27
    assert len(test) == 5
    assert len(own.scores["with"].utterances) == 5
    assert list(own.scores) == ["without", "with"]
    assert "left out: it requires transcribed recordings of a split dev" in capsys.readouterr().err


def utterance(name: str, *, text: str | None = "a b", speaker: str | None = None, split: str | None = None):
    return Utterance(name, f"{name}.wav", 0.0, 160_000, text, speaker, "eng", split)


def test_a_split_named_test_is_the_test_set():
    utterances = [utterance(f"{n}{i}", split=n) for n in ("train", "dev", "test") for i in range(5)]
    train, test = hold_out(utterances)
    assert {u.split for u in train} == {"train"}
    assert {u.split for u in test} == {"test"}


def test_whole_speakers_are_held_out_with_their_untranscribed_recordings():
    utterances = [
        utterance(f"{s}{i}", speaker=f"speaker {s}", text="a b" if i < 5 else None) for s in range(10) for i in range(8)
    ]
    train, test = hold_out(utterances)
    assert len({u.speaker for u in test}) == 2
    assert {u.speaker for u in train}.isdisjoint({u.speaker for u in test})
    assert len(train) == 64
    assert all(u.text for u in test)
    assert hold_out(utterances[::-1])[1] == test


def test_without_speakers_single_recordings_are_held_out():
    utterances = [utterance(str(i), text="a b" if i % 2 else None) for i in range(40)]
    train, test = hold_out(utterances)
    assert len(test) == 4
    assert len(train) == 36


def test_the_test_set_has_at_most_ten_minutes():
    train, test = hold_out([utterance(str(i)) for i in range(1000)])
    assert 9.5 * 60 < sum(u.duration_seconds for u in test) <= 600
    assert len(train) == 800


@pytest.mark.parametrize(
    "utterances", [[utterance("a", text=None)], [utterance("a")], [utterance("a"), utterance("b", split="test")]]
)
def test_too_little_transcribed_speech_is_refused(utterances):
    with pytest.raises(ValueError, match=r"put the text of speech\.wav into speech\.txt"):
        hold_out(utterances)


def test_an_interrupted_demo_has_no_report(monkeypatch, tmp_path):
    other = Mock()
    begin = Mock(return_value=contextlib.nullcontext(other))
    monkeypatch.setattr(module, "head_start", begin)
    monkeypatch.setattr(module.run, "train", lambda *_, into, **__: module.run.Run(into, finished=False))
    (tmp_path / "recordings.partial").mkdir()
    (tmp_path / "recordings.partial" / "thesis.txt").write_text("precious")
    assert demo(tmp_path, smoke=True) is None
    other.terminate.assert_called_once_with()
    (recipe,), places = begin.call_args
    assert recipe.name == demo_recipes(minutes=None, smoke=True).scratch.name
    assert recipe.train.num_steps == 60
    assert (places["into"], places["log"]) == (tmp_path / "without", tmp_path / "without.log")
    assert not (tmp_path / "report.html").exists()
    assert (tmp_path / "recordings.partial" / "thesis.txt").read_text() == "precious"
