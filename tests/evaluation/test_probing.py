"""Probing report of a small model on tones, by the command and by the function."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from sori.data.manifest import read_manifest
from sori.data.sources.alignments import Alignment, read_alignments
from sori.data.sources.intervals import Interval
from sori.evaluation import probing, recognition
from sori.evaluation.codebook_use import CodebookUse
from sori.evaluation.letter_probe import LetterProbeConfig
from sori.evaluation.probe_tasks import ProbeTaskConfig, define_tasks, tasks_at_frames
from sori.evaluation.representations import Timing
from sori.experiments import low_resource


def test_the_alignments_of_these_tests_end_with_the_sound(prepared_tones, tone_alignments):
    found = read_alignments(tone_alignments)
    for one in read_manifest(prepared_tones)[:-1:9]:
        assert math.isclose(found[one.id].phones[-1].end, one.duration_seconds, abs_tol=1e-3)


@pytest.mark.slow
def test_the_command(call, encoder_run, prepared_tones, tone_alignments):
    where = ["--data", prepared_tones, "--alignments", tone_alignments]
    code, out, err = call("probe", encoder_run, *where, "--untrained", "--save", "s/sheet.json", "--figure", "s/f.png")
    assert code == 0, err
    assert "alignments for 63 of 64 utterances" in out
    data = json.loads(Path("s/sheet.json").read_text())
    lines = {line["name"]: line for line in data["lines"]}
    assert [name for name in lines if "layer" in name] == [
        *(f"layer {n}" for n in range(3)),
        *(f"random initialisation, layer {n}" for n in range(3)),
    ]
    ms = lines["layer 0"]["frame_ms"]
    assert {f"mfcc, {ms:g} ms", f"log-mel, {ms:g} ms", "mfcc, 10 ms", "log-mel, 10 ms"} <= lines.keys()
    for line in lines.values():
        phone, across = line["phone"], line["abx_across"]
        assert phone["majority"] < 0.3
        assert phone["accuracy"]["low"] <= phone["accuracy"]["value"] <= phone["accuracy"]["high"]
        if line["kind"] == "spectrum":  # tones differ in pitch only: MFCC and log-mel separate them across speakers
            assert phone["accuracy"]["value"] > 0.8
            assert across["error"]["value"] < 0.1
        else:
            assert 0 <= across["error"]["value"] < 0.5
    assert lines["layer 0"] != lines["random initialisation, layer 0"]
    (fresh,) = (one for one in data["gains"] if one["kind"] == "untrained")
    mine, theirs = (lines[data["best"][kind]] for kind in ("trained", "untrained"))
    apart = mine["phone"]["accuracy"]["value"] - theirs["phone"]["accuracy"]["value"]
    assert fresh["other"] == theirs["name"]
    assert math.isclose(fresh["scores"]["phone"]["value"], apart, abs_tol=1e-12)
    assert f"{mine['name']}, minus" in out
    assert set(data["codes"]) >= {"group 1"}
    assert 0 <= data["codes"]["group 1"]["pnmi"] <= 1
    markdown = Path("s/sheet.md").read_text()
    assert f"| mfcc, {ms:g} ms |" in markdown
    assert Path("s/f.png").stat().st_size > 10_000
    assert "layer 2 done" in err


@pytest.mark.slow
def test_the_fine_tuned_recogniser_is_listed_below(call, encoder_run, prepared_tones, monkeypatch):
    recipe = low_resource.recipe
    monkeypatch.setattr(
        low_resource, "recipe", lambda **options: recipe(toy=True, **options).override({"train.num_steps": 3})
    )
    where = ["probe", encoder_run, "--data", prepared_tones, "--layer", "0", "--tasks", "speaker"]
    code, out, err = call(*where, "--labels", prepared_tones, "--recogniser", "r", "--save", "s.json")
    assert code == 0, err
    wrong = recognition.evaluate("r", data=prepared_tones, decoder=None).cer.rate
    assert json.loads(Path("s.json").read_text())["errors"]["value"] == wrong
    assert f"CER on test after fine-tuning on ten minutes of transcripts: {100 * wrong:.1f} (" in out
    assert (
        f"CER on test after fine-tuning on ten minutes of transcripts: {100 * wrong:.1f} (" in Path("s.md").read_text()
    )
    for half in (["--labels", prepared_tones], ["--recogniser", "r"]):
        code, _, err = call(*where, *half)
        assert code == 2
        assert "needs" in err


@pytest.mark.slow
def test_the_function_is_repeatable_and_a_layer_alone_scores_as_among_all(encoder_run, prepared_tones, tone_alignments):
    def make(**changes):
        return probing.probe(encoder_run, prepared_tones, tone_alignments, config=probing.ProbingConfig(**changes))

    one, two = make(tasks=("phone", "abx")), make(tasks=("phone", "abx"), layers=(1,))
    assert two.representations[0] == one.representations[1]
    assert [each.scores.speaker for each in one.representations] == [None] * len(one.representations)
    assert one.codebooks == {}
    assert (
        make(layers=(1,), tasks=("phone",), split_by="utterance").representations[0].scores.phone.accuracy.value > 0.3
    )
    some = make(layers=(0,), tasks=("phone",), minutes=1.0, split_by="utterance")
    assert "drawn from 64" in some.notes[0]


def test_layers_that_do_not_fit_into_memory_are_computed_in_passes(
    encoder_run, prepared_tones, tone_alignments, monkeypatch
):
    config = probing.ProbingConfig(tasks=("phone",))
    at_once = probing.probe(encoder_run, prepared_tones, tone_alignments, config=config)
    monkeypatch.setattr(probing, "_BYTES_AT_ONCE", 1)
    assert probing.probe(encoder_run, prepared_tones, tone_alignments, config=config) == at_once


def test_letters_are_probed_in_layers_and_in_mfcc(encoder_run, prepared_tones):
    quick = LetterProbeConfig(num_updates=150, width=32)
    config = probing.ProbingConfig(tasks=("letters",), layers=(0, 2), letters=quick)
    made = probing.probe(encoder_run, prepared_tones, config=config)
    lines = {line["name"]: line["letters"] for line in made.to_data()["lines"]}
    assert lines["mfcc, 10 ms"]["error"]["value"] < 0.5, "letters are tones of different pitch"
    best = min(("layer 0", "layer 2"), key=lambda name: lines[name]["dev_error"])
    assert made.to_data()["best"]["trained"] == best
    assert {one["other"] for one in made.to_data()["gains"]} >= {"mfcc, 10 ms"}
    assert "letters: a small CTC head on frozen vectors, trained on" in made.table()
    (axes,) = probing.draw(made).axes
    assert "letters" in axes.get_title() + axes.get_title(loc="left")
    silent = [one._replace(text=None) for one in read_manifest(prepared_tones)]
    with pytest.raises(ValueError, match="no utterance has one"):
        define_tasks(silent, None, config)


def test_without_alignments_only_speaker_tasks_are_run(recogniser_run, prepared_tones):
    made = probing.probe(recogniser_run, prepared_tones, config=probing.ProbingConfig(layers=(0,)))
    scores = made.representations[0].scores
    assert (scores.phone, scores.abx, made.codebooks) == (None, None, {})
    assert scores.speaker.accuracy.value >= scores.speaker.majority
    head = made.table().splitlines()
    assert any("speaker/frame" in line and "abx" not in line for line in head)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tasks", "phone,abx"], "give --alignments FILE"),
        (["--tasks", "phones"], "there is no task 'phones'"),
        (["--layer", "7"], "there is no layer 7"),
        (["--minutes", "0.001"], "more --minutes"),
        (["--alignments", "absent.jsonl"], "no such file"),
    ],
)
def test_mistakes_are_reported(call, encoder_run, prepared_tones, words, message):
    code, out, err = call("probe", encoder_run, "--data", prepared_tones, *words)
    assert (code, out) == (2, "")
    assert message in err


def test_one_speaker_alone(prepared_tones):
    alone = [one for one in read_manifest(prepared_tones) if one.speaker == "anna"]
    with pytest.raises(ValueError, match="leave speaker out of --tasks"):
        define_tasks(alone, None, ProbeTaskConfig(tasks=("speaker",)))


def test_long_phones_and_named_labels_count_as_silence(prepared_tones):
    one = read_manifest(prepared_tones)[0]
    rows = [(0.0, 0.1, "sil"), (0.1, 0.2, "a"), (0.2, 0.9, "b"), (0.9, 1.0, "noise"), (1.0, 1.1, "c")]
    alignment = Alignment(tuple(Interval(*row) for row in rows))
    found = define_tasks([one], [alignment], ProbeTaskConfig(tasks=(), silences=("noise",)))
    assert (found.labels, found.num_long) == (["a", "c"], 1)
    at = tasks_at_frames(found, np.array([11]), Timing(1600, 1600))
    assert at.phones.tolist() == [-1, 0, *[-1] * 8, 1]


def test_how_numbers_are_formatted(encoder_run, prepared_tones):
    made = probing.probe(encoder_run, prepared_tones, config=probing.ProbingConfig(layers=(0,)))
    use = CodebookUse(40, 30, 12.3, 0.5, 0.25, 0.125, 0.0625)
    text = made._replace(codebooks={"group 1": use}).table()
    assert text.splitlines()[-1].split() == ["group", "1", "30", "of", "40", "12.3", "0.125", "0.062", "50.0%", "25.0%"]
    first = made.representations[0]
    unscored = first._replace(scores=first.scores._replace(speaker=None, speaker_frame=None))
    with pytest.raises(ValueError, match="nothing to draw"):
        probing.draw(made._replace(representations=[unscored]))
