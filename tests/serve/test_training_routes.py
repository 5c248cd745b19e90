"""The view Train: rounds, what is held out, taking over the new recogniser, and crashes."""

import asyncio
import os
import signal
import time

import httpx
import pytest
from tests.serve.projects import finished_round, ordered, server_process, untranscribed, wait_for, within_project

from sori.checkpoints import store
from sori.core.files import write_json
from sori.core.locks import holder
from sori.data.manifest import CUTS, TABLE, read_manifest
from sori.models import factory
from sori.models.wav2vec2 import Wav2Vec2Config
from sori.nn.conv import ConvConfig
from sori.serve.label_gains import learning_curve
from sori.serve.label_store import LabelStore
from sori.serve.problems import Problem
from sori.serve.project import open_project
from sori.serve.rounds import Round, is_held_out, new_round, read_rounds


@pytest.fixture
def project(prepared_tones, tmp_path):
    folder = tmp_path / "project"
    recordings = untranscribed(prepared_tones, folder / "prepared")
    ordered(folder, [u.id for u in read_manifest(recordings)])
    return folder


@pytest.fixture
def texts(prepared_tones):
    return {u.id: u.text for u in read_manifest(prepared_tones)}


def label(folder, texts, names):
    with open_project(folder, None) as project:
        store = LabelStore(folder, project.candidates())
        for name in names:
            store.change(name, text=texts[name], skipped=None, version=store.label(name).version)


def begin(folder):
    with open_project(folder, None) as project:
        return new_round(project, LabelStore(folder, project.candidates()), init=None, length="check")


def names_of(folder, *speakers):
    return [u.id for u in read_manifest(folder / "prepared") if u.speaker in speakers]


def test_whole_speakers_are_held_out_and_stay_so(project, texts):
    label(
        project, texts, [*names_of(project, "anna")[:3], *names_of(project, "ben")[:3], *names_of(project, "carl")[:3]]
    )
    first = read_manifest(begin(project).labelled)
    label(project, texts, names_of(project, "anna", "ben", "carl"))
    second = read_manifest(begin(project).labelled)
    held = [{u.speaker for u in rows if is_held_out(u)} for rows in (first, second)]
    assert len(held[0]) == 1
    assert held[0] == held[1]
    assert [len(rows) for rows in (first, second)] == [9, 24]
    assert {u.id: u.text for u in second} == {u.id: texts[u.id] for u in second}


def test_with_few_speakers_utterances_are_held_out(project, texts):
    label(project, texts, names_of(project, "anna", "ben")[:12])
    made = begin(project)
    held = [is_held_out(u) for u in read_manifest(made.labelled)]
    assert 1 <= sum(held) <= 5
    assert made.about.held_out == "utterances"
    assert made.about.minutes + made.about.held_out_minutes == pytest.approx(
        sum(u.duration_seconds for u in read_manifest(made.labelled)) / 60
    )


def test_utterances_of_one_text_are_held_out_together(project, texts):
    names = names_of(project, "anna", "ben")
    said = {name: f"la pa {'ta ' * (number // 2)}" for number, name in enumerate(names)}  # each text twice
    label(project, said, names)
    rows = read_manifest(begin(project).labelled)
    held = {u.text for u in rows if is_held_out(u)}
    assert 1 <= len(held) < len(names) // 2
    assert not held & {u.text for u in rows if not is_held_out(u)}


def test_too_few_transcripts_are_refused(project, texts):
    label(project, texts, names_of(project, "anna")[:3])
    with pytest.raises(Problem, match="at least 4 transcribed utterances"):
        begin(project)
    assert not read_rounds_of(project)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ({"dim": 768, "num_layers": 4, "num_heads": 12}, ("ctc_10min_xlsr_laptop", 2)),  # the width of BASE
        ({"dim": 48, "num_layers": 2, "num_heads": 4}, ("ctc_10min", 0)),
        (None, ("ctc_10min_scratch", 0)),
    ],
)
def test_the_recipe_fits_the_size_of_the_pretrained_model(project, texts, tmp_path, size, expected):
    label(project, texts, names_of(project, "anna", "ben", "carl"))
    init = None
    if size:
        front = ConvConfig(dim=16)
        config = Wav2Vec2Config(front=front, ffn_dim=32, code_dim=16, final_dim=16, num_codes=8, **size)
        store.save(factory.build(config), tmp_path / "model")
        init = str(tmp_path / "model")
    with open_project(project, None) as opened:
        about = new_round(opened, LabelStore(project, opened.candidates()), init=init, length="full").about
    assert (about.recipe, about.frozen_blocks) == expected


def test_a_model_that_cannot_be_read_is_refused(project, texts, tmp_path):
    label(project, texts, names_of(project, "anna", "ben", "carl"))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"format_version": 1}')
    with (
        open_project(project, None) as opened,
        pytest.raises(Problem, match=r"model: .*config\.json") as refusal,
    ):
        new_round(opened, LabelStore(project, opened.candidates()), init=str(tmp_path / "model"), length="full")
    assert (refusal.value.status, refusal.value.param) == (400, "init")
    assert not read_rounds_of(project)


def test_a_public_model_is_trained_with_half_of_its_blocks_frozen(project, monkeypatch):
    command = []
    monkeypatch.setattr(Round, "_start", lambda _, *arguments: command.extend(arguments))
    folder = project / "rounds" / "001"
    folder.mkdir(parents=True)
    about = {"minutes": 9.0, "held_out_minutes": 2.0, "held_out": "speakers", "init": "models/xlsr"}
    write_json(folder / "round.json", {**about, "recipe": "ctc_10min_xlsr_laptop", "frozen_blocks": 12})
    Round(folder).advance()
    assert command[:2] == ["train", "ctc_10min_xlsr_laptop"]
    assert command[-4:] == ["--labels.minutes", "null", "--system.frozen-blocks", "12"]


def read_rounds_of(folder):
    with open_project(folder, None) as project:
        return read_rounds(project)


@pytest.mark.slow
def test_a_round_is_trained_scored_and_taken_over(project, texts):
    label(project, texts, names_of(project, "anna", "ben", "carl"))
    asked = names_of(project, "anna")[0]

    async def use(client):
        before = (await client.get("/api/labels/suggestion", params={"id": asked})).json()
        refused = await client.post("/v1/audio/transcriptions", files={"file": b"RIFF"}, data={"model": "x"})
        begun = await client.post("/api/training", json={"length": "check"})
        again = await client.post("/api/training", json={"length": "check"})
        until = time.monotonic() + 240
        while (now := (await client.get("/api/training")).json())["served"] is None:
            assert time.monotonic() < until, now
            await asyncio.sleep(0.3)
        after = (await client.get("/api/labels/suggestion", params={"id": asked})).json()
        return before, refused, begun, again, now, after, (await client.get("/api/about")).json()

    before, refused, begun, again, now, after, about = within_project(project, use)
    assert before == {"text": None, "model": None, "cer": None}
    assert 400 <= refused.status_code < 500
    assert begun.status_code == 200
    assert again.status_code == 409
    assert now["rounds"][0]["state"] == "finished"
    assert now["points"][0]["cer"] < 0.9
    assert "second recogniser" in now["verdict"]
    assert len(now["current"]["curve"]) > 3
    assert after["model"] == about["model"] == "round 1"
    assert after["text"]
    assert after["cer"] == now["points"][0]["cer"]
    assert holder(project / "rounds" / "001" / "run" / "sori.lock") is None


@pytest.mark.slow
def test_training_survives_the_server_and_continues_after_a_crash(project, texts):
    label(project, texts, names_of(project, "anna", "ben", "carl"))
    lock = project / "rounds" / "001" / "run" / "sori.lock"
    with server_process(project) as (server, url):
        assert httpx.post(f"{url}/api/training", json={"length": "check"}, timeout=60).status_code == 200
        wait_for(lambda: holder(lock) is not None, seconds=120)
        training = holder(lock)
        server.kill()
        server.wait()
        os.kill(training, 0)  # it goes on
        os.kill(training, signal.SIGKILL)
    wait_for(lambda: holder(lock) is None)
    with server_process(project) as (_, url):
        wait_for(lambda: httpx.get(f"{url}/api/training", timeout=60).json()["served"] == 1, seconds=240)
        found = httpx.get(f"{url}/api/training", timeout=60).json()
    assert found["rounds"][0]["state"] == "finished"
    assert found["points"][0]["cer"] < 0.9


def test_a_stopped_round_stays_stopped_until_it_is_continued(project, texts):
    label(project, texts, names_of(project, "anna", "ben", "carl"))
    made = begin(project)
    made.advance()
    assert made.state() == "training"
    made.stop()
    wait_for(lambda: made.state() == "stopped")
    again = Round(made.folder)
    again.advance()
    assert again.state() == "stopped"
    again.resume()
    assert again.state() == "training"
    again.stop()
    wait_for(lambda: again.state() == "stopped")


def test_a_failed_round_shows_its_reason_and_is_not_repeated(project, texts):
    label(project, texts, names_of(project, "anna", "ben", "carl"))
    made = begin(project)
    for name in (CUTS, TABLE):
        (made.labelled / name).unlink()
    made.advance()
    wait_for(lambda: made.state() == "failed", seconds=120)
    assert "not a prepared folder" in " ".join(made.last_lines())
    made.advance()
    assert made.state() == "failed"


@pytest.mark.parametrize("init", ["../outside", "none such"])
def test_only_models_of_the_project_are_started_from(project, init):
    async def use(client):
        return await client.post("/api/training", json={"init": init})

    assert within_project(project, use).status_code == 400


def test_whether_more_labels_are_worth_it_follows_from_the_figures(tmp_path):
    rounds = [
        finished_round(tmp_path, 1, 5.0, 32),
        finished_round(tmp_path, 2, 10.0, 12),
        finished_round(tmp_path, 3, 20.0, 12),
    ]
    assert learning_curve([]).points == []
    assert "second recogniser" in learning_curve(rounds[:1]).verdict
    gain = learning_curve(rounds[:2])
    assert [(point.minutes, round(point.cer, 3)) for point in gain.points] == [(5.0, 0.08), (10.0, 0.03)]
    assert "From 5.0 to 10.0 minutes the error rate fell by 5.0 points" in gain.verdict
    assert "worth it: if every doubling goes on to give as much, 20 minutes will give about 0 %" in gain.verdict
    small = learning_curve([finished_round(tmp_path, 4, 5.0, 40), finished_round(tmp_path, 5, 160.0, 34)]).verdict
    assert "This is a small gain" in small
    assert "may be chance" in learning_curve(rounds).verdict
