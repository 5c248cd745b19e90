"""The comparison on tones: a few updates of every system, the table, interruptions and failures."""

import json

import pytest

from sori.checkpoints import store
from sori.core import audio
from sori.data.manifest import read_manifest, write_manifest
from sori.evaluation import probing, recognition
from sori.experiments import low_resource
from sori.experiments.comparison import study
from sori.experiments.comparison.budget import SYSTEMS, LabConfig, pretraining
from sori.recipes.recipe import Recipe
from sori.runs import run
from sori.training.metrics import read_metrics

BRIEF = LabConfig(size="smoke", hours_heard=0.02, tasks=("phone", "abx"), minutes=1.0)
TWO = ("cpc", "vq_wav2vec")
RECIPE = low_resource.recipe


def brief(**options):
    return RECIPE(**options).override({"train.num_steps": 3})


@pytest.fixture(autouse=True)
def _few_updates(monkeypatch):
    monkeypatch.setattr(study.low_resource, "recipe", brief)


@pytest.fixture(scope="module")
def study_of(prepared_tones, tone_alignments):
    """The comparison on the tone corpus."""

    def call(into, **changes):
        config = BRIEF.model_copy(update=changes)
        return study.lab(prepared_tones, into=into, alignments=tone_alignments, labels=prepared_tones, config=config)

    return call


@pytest.fixture(scope="module")
def done(study_of, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study.low_resource, "recipe", brief)
        return folder, study_of(folder, systems=TWO)


def test_a_row_for_each_system_and_its_baselines(done):
    folder, found = done
    assert found.failed == {}
    assert [row.name for row in found.rows] == [
        *("cpc", "cpc, untrained", "vq_wav2vec", "vq_wav2vec, untrained"),
        *("log-mel, 10 ms", "mfcc, 10 ms", "log-mel, 20 ms", "mfcc, 20 ms"),
    ]
    for row in found.rows:
        assert set(row.scores) == {"phone", "abx within", "abx across"} | ({"CER"} if row.kind == "trained" else set())
        for one in row.scores.values():
            assert one.low <= one.value <= one.high
    trained, untrained = (found.rows[place].scores["phone"].value for place in (0, 1))
    assert trained != untrained
    text = found.table()
    assert "the scores are not meaningful" in text
    mine = [line for line in text.splitlines() if line.startswith("vq_wav2vec ")]
    assert len(mine) == 2 + 3, "cost, scores, and differences to three baselines"
    markdown = (folder / "lab.md").read_text()
    assert "| mfcc, 20 ms | - | 20 | " in markdown
    assert json.loads((folder / "lab.json").read_text()) == json.loads(json.dumps(found.to_data()))
    assert (folder / "lab.png").stat().st_size > 10_000
    assert len(found.draw().axes) == 4


def test_the_layer_has_the_best_probe_accuracy_on_the_dev_part(done):
    folder, found = done
    for row in found.rows[:4]:
        lines = json.loads((folder / row.name.partition(",")[0] / "sheet.json").read_text())["lines"]
        accuracies = {line["layer"]: line["phone"]["dev_share"] for line in lines if line["kind"] == row.kind}
        assert len(accuracies) > 1
        assert accuracies[row.layer] == max(accuracies.values())
        (line,) = (line for line in lines if line["kind"] == row.kind and line["layer"] == row.layer)
        assert row.scores["phone"].value == line["phone"]["accuracy"]["value"]
        assert row.scores["abx across"].value == line["abx_across"]["error"]["value"]


def test_gains_are_differences_of_rows(done):
    _, found = done
    values = {row.name: {name: one.value for name, one in row.scores.items()} for row in found.rows}
    systems = {gain.system for gain in found.gains}
    assert systems == {row.name for row in found.rows if row.kind == "trained"}
    for gain in found.gains:
        other = f"{gain.system}, untrained" if gain.other == "untrained" else gain.other
        assert gain.scores.keys() == {"phone", "abx within", "abx across"}
        for name, one in gain.scores.items():
            if gain.other == "untrained":  # a row of features may come from another system's report
                assert abs(one.value - (values[gain.system][name] - values[other][name])) < 1e-12
            assert one.low <= one.value <= one.high
        assert f"{gain.system} - {gain.other}" in found.table()


def test_the_budget_is_met_and_the_cost_is_reported(done):
    folder, found = done
    for name, one in found.trained.items():
        batch = Recipe.from_yaml(folder / name / "pretrained" / "recipe.yaml").data.batch_seconds
        assert abs(3600 * one.hours_heard - 72) < batch
        assert one.cpu_seconds > 0
        assert one.parameters == sum(p.numel() for p in store.load(folder / name / "pretrained").parameters())
        assert one.updates == read_metrics(folder / name / "pretrained" / "metrics.jsonl")[-1]["step"]
    assert f"{found.trained['cpc'].hours_heard:.2f}" in found.table()
    corpora = Recipe.from_yaml(folder / "cpc/ctc/recipe.yaml").corpora
    errors = recognition.evaluate(folder / "cpc" / "ctc", data=corpora, decoder=None)
    assert found.rows[0].scores["CER"].value == errors.cer.rate


@pytest.mark.slow
def test_nothing_is_done_again_and_systems_can_be_added(done, study_of, monkeypatch):
    folder, found = done
    probed = []
    probe = probing.probe
    monkeypatch.setattr(
        probing, "probe", lambda model, *args, **options: probed.append(model) or probe(model, *args, **options)
    )
    kept = {path: path.read_bytes() for path in folder.glob("*/*/checkpoint.safetensors")}
    assert len(kept) == 4
    again = study_of(folder, systems=TWO)
    assert again == found
    assert probed == []
    more = study_of(folder, systems=(*TWO, "wav2vec2"))
    assert probed == [folder / "wav2vec2" / "pretrained"]
    assert more.rows[:4] == found.rows[:4]
    assert "wav2vec2" in more.trained
    assert kept == {path: path.read_bytes() for path in kept}
    other = study_of(folder, systems=("cpc",), tasks=("phone",))  # other probe tasks: probed again, not trained
    assert probed[1:] == [folder / "cpc" / "pretrained"]
    assert other.trained["cpc"] == found.trained["cpc"]
    assert set(other.rows[0].scores) == {"phone", "CER"}


@pytest.mark.slow
@pytest.mark.parametrize("stages", [["pretrained"], ["pretrained", "ctc"]])
def test_the_same_call_continues_after_an_interruption(study_of, tmp_path, monkeypatch, stages):
    train, seen = run.train, []

    def interrupted(recipe, *, into, **more):
        seen.append(into)
        return train(recipe, into=into, **more)._replace(finished=len(seen) < len(stages))

    monkeypatch.setattr(run, "train", interrupted)
    assert study_of(tmp_path, tasks=("phone",)) is None
    assert seen == [tmp_path / "cpc" / stage for stage in stages]
    spent = json.loads((tmp_path / "cpc/cost.json").read_text())
    monkeypatch.setattr(run, "train", train)
    found = study_of(tmp_path, systems=("cpc",), tasks=("phone",))
    assert found.failed == {}
    assert json.loads((tmp_path / "cpc/cost.json").read_text()) == spent


def test_the_cost_of_interrupted_training_is_added_up(prepared_tones, tmp_path, monkeypatch):
    (tmp_path / "cpc").mkdir()
    (tmp_path / "cpc/cost.json").write_text(json.dumps({"cpu_seconds": 1000.0, "seconds": 2000.0}))
    config = BRIEF.model_copy(update={"systems": ("cpc",), "tasks": ("speaker",)})
    found = study.lab(prepared_tones, into=tmp_path, config=config)
    assert 1000 < found.trained["cpc"].cpu_seconds < 1500
    assert 2000 < found.trained["cpc"].seconds < 2500
    assert set(found.rows[0].scores) == {"speaker/frame"}


@pytest.mark.slow
def test_a_system_that_fails_does_not_stop_the_others(study_of, tmp_path, monkeypatch):
    train = run.train

    def failing(recipe, *, into, **more):
        if into.parent.name == "cpc":
            raise KeyError("a mistake in the program")
        if into == tmp_path / "vq_wav2vec" / "ctc":
            raise RuntimeError("no memory")
        return train(recipe, into=into, **more)

    monkeypatch.setattr(run, "train", failing)
    found = study_of(tmp_path, systems=TWO, tasks=("phone",))
    assert found.failed == {
        "cpc": "training: 'a mistake in the program' (KeyError)",
        "vq_wav2vec": "fine-tuning: no memory (RuntimeError)",
    }
    assert [row.name for row in found.rows][:2] == ["vq_wav2vec", "vq_wav2vec, untrained"]
    assert "CER" not in found.rows[0].scores
    assert "failed: cpc: training: 'a mistake" in found.table()
    assert "Traceback" in (tmp_path / "cpc/failed.txt").read_text()
    monkeypatch.setattr(run, "train", train)
    mended = study_of(tmp_path, systems=TWO, tasks=("phone",))
    assert mended.failed == {}
    assert not (tmp_path / "cpc/failed.txt").exists()
    assert "CER" in mended.rows[2].scores


def test_a_note_says_when_systems_were_probed_on_other_utterances(study_of, prepared_tones, tmp_path):
    found = {name: study._SystemResults(notes=(f"{number} utterances", "more")) for number, name in enumerate(TWO)}
    recipes = pretraining(BRIEF, [prepared_tones])
    plan = study._Plan(tmp_path, [prepared_tones], None, [], BRIEF)
    warning = "too short for some systems"
    assert any(warning in note for note in study._results(plan, recipes, found).notes)
    alike = dict.fromkeys(TWO, found["cpc"])
    assert not any(warning in note for note in study._results(plan, recipes, alike).notes)


def test_an_error_when_all_systems_fail(study_of, tmp_path, monkeypatch):
    def failing(*args, **more):
        raise RuntimeError("no memory")

    monkeypatch.setattr(run, "train", failing)
    with pytest.raises(RuntimeError, match=r"(?s)every system failed.*wav2vec2: training: no memory"):
        study_of(tmp_path, systems=SYSTEMS)


@pytest.mark.parametrize("name", ["lab.md", "cpc/failed.txt"])
def test_a_study_writes_over_nothing_in_a_folder_of_the_user(name, study_of, tmp_path):
    (tmp_path / "cpc").mkdir()
    (tmp_path / name).write_text("precious")
    with pytest.raises(ValueError, match=rf"holds {name} and no recipe.yaml"):
        study_of(tmp_path, systems=TWO)
    assert (tmp_path / name).read_text() == "precious"


def test_user_errors_are_reported_before_training(call, done, prepared_tones, tone_alignments, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "train", None)
    folder, _ = done
    where = ["--data", prepared_tones, "--size", "smoke"]
    for words, message in (
        (["--into", folder, "--hours-heard", 1], "holds a run with other settings"),
        (["--systems", "cpc,hubert"], "there is no system 'hubert'"),
        (["--hours-heard", 1, "--updates", 2], "not both"),
        (["--alignments", "absent.jsonl"], "no such file"),
        (["--labels", _without_test(prepared_tones, tmp_path / "untested")], "of a split 'test'"),
    ):
        code, out, err = call("lab", *where, *words)
        assert (code, out) == (2, "")
        assert message in err
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, _, err = call("lab", *where)
    assert code == 2
    assert "leave torchrun out" in err


def test_lab_on_the_command_line(call, prepared_tones, tmp_path):
    words = ["--size", "smoke", "--systems", "wav2vec", "--updates", 3, "--tasks", "speaker", "--minutes", 2]
    code, out, err = call("lab", "--data", prepared_tones, "--into", tmp_path / "lab", *words)
    assert code == 0, err
    assert "3 updates each, so not the same hours" in out
    assert "drawn from 64" in out
    assert (tmp_path / "lab/lab.png").exists()
    recipe = Recipe.from_yaml(tmp_path / "lab/wav2vec/pretrained/recipe.yaml")
    assert (recipe.name, recipe.train.num_steps) == ("lab_wav2vec", 3)


def _without_test(prepared, folder):
    folder.mkdir()
    kept = [one for one in read_manifest(prepared) if one.split != "test"]
    write_manifest(folder, ((one, audio.info(one.path)) for one in kept))
    return folder
