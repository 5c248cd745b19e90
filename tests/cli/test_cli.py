"""The command line from recordings to a recogniser, and its error messages."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from sori.checkpoints import resolve, store
from sori.runs import run


def test_from_recordings_to_a_recogniser(call, tone_corpus):
    sounds = sorted((tone_corpus / "audio" / "anna").glob("*.wav"))[:2]
    code, out, _ = call("prepare", tone_corpus / "manifest.jsonl", "prepared", "--num-workers", 1)
    assert code == 0
    assert "64 utterances" in out

    short = ["--train.num-steps", 30, "--train.log-every=10"]
    code, out, err = call("train", "wav2vec2_smoke", "--data", "prepared", "--into", "runs/tones", *short)
    assert (code, out) == (0, "")
    assert err.endswith("model saved in runs/tones/model\n")
    assert "30/30  loss" in err
    assert "chance 2.398" in err

    tune = ["train", "ctc_smoke", "--data", "prepared", "--init", "tones", "--into", "runs/recogniser"]
    code, _, err = call(*tune, "--train.num-steps=40")
    assert code == 0
    assert "dev_cer" in err
    code, _, err = call(*tune, "--train.num-steps=40")
    assert code == 0
    assert "is finished (40 updates)" in err

    code, out, _ = call("transcribe", "recogniser", *sounds)
    assert code == 0
    assert [line.split("\t")[0] for line in out.splitlines()] == [str(path) for path in sounds]

    code, out, _ = call("evaluate", "recogniser", "--data", "prepared", "--save", "scores/report.json")
    assert code == 0
    assert "CER" in out
    assert json.loads(Path("scores/report.json").read_text())["num_utterances"] == 8

    code, out, _ = call("embed", "tones", *sounds, "--into", "vectors", "--layer", 1)
    assert code == 0
    stored = np.load("vectors/anna-000.npz")
    assert stored["frames"].shape == (*stored["times"].shape, 32)

    assert call("plot", "runs/recogniser")[0] == 0
    assert call("plot", sounds[0], "--into", "pictures/sound.png")[0] == 0
    assert Path("runs/recogniser/curves.png").stat().st_size > 5_000
    assert Path("pictures/sound.png").stat().st_size > 5_000

    code, out, _ = call("list")
    assert code == 0
    assert out.endswith("  recogniser\n  tones\n")
    card = yaml.safe_load(call("show", "recogniser")[1])
    assert card["vocabulary"].split()[:2] == ["<blank>", "|"]
    assert card["parameters"] == sum(t.numel() for t in store.load("recogniser").state_dict().values())
    assert card["provenance"]["recipe"]["train"]["num_steps"] == 40


def test_a_shown_recipe_can_be_trained_from(call, prepared_tones):
    code, out, _ = call("show", "wav2vec2_smoke")
    assert code == 0
    Path("mine.yaml").write_text(out.replace("num_steps: 150", "num_steps: 2"))
    code, out, _ = call("train", "mine.yaml", "--data", prepared_tones, "--into", "r")
    assert code == 0
    assert store.read_card(Path("r/model")).provenance["recipe"]["train"]["num_steps"] == 2


def test_words_with_times(call, recogniser_run, tone_corpus):
    sound = tone_corpus / "audio" / "anna" / "anna-000.wav"
    text = call("transcribe", recogniser_run, sound)[1].strip()
    lines = call("transcribe", recogniser_run, sound, "--times")[1].strip().splitlines()
    assert lines[0] == f"{sound}\t{text}"
    words = [line.split("\t") for line in lines[1:]]
    assert " ".join(word for _, _, word in words) == text
    assert all(float(start) < float(end) for start, end, _ in words)


def test_texts_are_scored(call):
    for name, text in (("reference", "a b\nc\n"), ("one", "a b\nd\n"), ("other", "a\nc\n")):
        Path(f"{name}.txt").write_text(text)
    code, out, err = call(
        "score", "reference.txt", "one.txt", "--against", "other.txt", "--report", "p/e.html", "--save", "e.json"
    )
    assert (code, err) == (0, "")
    assert "A and B do not differ significantly in their word errors" in out
    assert Path("p/e.html").read_text().startswith("<!doctype html>")
    assert json.loads(Path("e.json").read_text())["first"]["wer"]["errors"] == 1


def test_a_bad_file_among_good_ones(call, recogniser_run, encoder_run, tone_corpus):
    Path("not_sound.wav").write_text("hello")
    sound = tone_corpus / "audio" / "anna" / "anna-000.wav"
    code, out, err = call("transcribe", recogniser_run, "not_sound.wav", sound)
    assert code == 1
    assert out.startswith(f"{sound}\t")
    assert err.startswith("not_sound.wav: expected a sound file")
    code, out, err = call("embed", encoder_run, "not_sound.wav", sound, "--into", "v")
    assert (code, [path.name for path in Path("v").iterdir()]) == (1, ["anna-000.npz"])
    assert err.startswith("not_sound.wav: expected a sound file")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "ctc_10mi", "--into", "r"], "did you mean ctc_10min"),
        (["train", "ctc_smoke", "--into", "r"], "--data DIR"),
        (["train", "ctc_smoke", "--data", "nowhere", "--into", "r"], "sori prepare"),
        (["train", "ctc_smoke", "--data", "d", "--into", "r", "--optim.rl", "3"], "did you mean optim.lr?"),
        (["train", "ctc_smoke", "--data", "d", "--into", "r", "--optim.lr", "fast"], "optim.lr: "),
        (["train", "ctc_smoke", "--data", "d", "--into", "r", "--optim.lr"], "--optim.lr needs a value"),
        (["train", "ctc_smoke", "--dat", "d", "--into", "r"], "did you mean --data?"),
        (["train", "ctc_smoke", "oops", "--data", "d", "--into", "r"], "unexpected 'oops'"),
        (["train", "mine.yaml", "--into", "r"], "sori show NAME > mine.yaml"),
        (["transcribe", "absent", "a.wav"], "no model called 'absent'"),
        (["transcribe", "absent"], "got none"),
        (["evaluate", "absent", "--data", "d"], "no model called 'absent'"),
        (["evaluate", "absent", "--data", "d", "--against", "b", "--report", "r.html"], "no model called 'absent'"),
        (["score", "reference.txt", "hypothesis.txt"], "reference.txt: no such file"),
        (["embed", "absent", "a/x.wav", "b/x.wav", "--into", "v"], "several files would be written to v/x.npz"),
        (["show", "absent"], "no recipe called 'absent'"),
        (["plot", "."], "contains no metrics"),
        (["plot", "absent.wav"], "no such file"),
        (["languages", "absent", "--data", "d"], "no model called 'absent'"),
        (["prepare", "recordings"], "sori prepare recordings OUT"),
        (["prepare", "recordings", "out"], "no such file or folder"),
    ],
)
def test_user_errors_are_one_message_and_exit_code_2(call, words, message):
    code, out, err = call(*words)
    assert code == 2
    assert out == ""
    assert message in err
    assert err.startswith("sori: ")
    assert "Traceback" not in err


def test_debug_prints_the_traceback(call):
    code, _, err = call("show", "absent", "--debug")
    assert code == 2
    assert "Traceback" in err
    assert err.rstrip().endswith("`sori train` trains one")


def test_an_unexpected_error_is_one_line_and_a_file_with_the_traceback(call, monkeypatch, tmp_path):
    def broken():
        raise KeyError("a fault")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(resolve, "list_models", broken)
    code, _, err = call("list")
    assert code == 70
    assert "unexpected error, KeyError: 'a fault'" in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1
    (report,) = tmp_path.glob("sori-*.log")
    assert str(report) in err
    assert "Traceback" in report.read_text()


@pytest.mark.parametrize("option", ["--into r", "--into=r"])
def test_the_traceback_of_a_run_is_in_its_folder(call, monkeypatch, tmp_path, option):
    def broken(*_, into, **__):
        into.mkdir()
        (into / "recipe.yaml").write_text("name: a\n")
        raise AssertionError("first line, \x1b[2J" + 1000 * "x" + "\nsecond line")

    monkeypatch.setattr(run, "train", broken)
    code, _, err = call("train", "ctc_smoke", *option.split())
    assert code == 70
    assert "unexpected error, AssertionError: first line, \\x1b[2Jxxx" in err
    assert len(err.strip().splitlines()) == 1
    assert len(err) < 500
    (report,) = (tmp_path / "r").glob("sori-*.log")
    assert f"report it with r/{report.name}" in err or str(report) in err
    assert "second line" in report.read_text()


def test_control_characters_of_names_do_not_reach_the_terminal(call):
    code, _, err = call("prepare", "recordings\x1b[2J", "out")
    assert code == 2
    assert "\x1b" not in err
    assert "recordings\\x1b[2J: no such file or folder" in err


def test_show_names_what_is_wrong_with_a_recipe_file(call):
    _, text, _ = call("show", "ctc_smoke")
    Path("mine.yaml").write_text(text.replace("optim:", "optimm:"))
    code, _, err = call("show", "mine.yaml")
    assert code == 2
    assert "optimm: unknown key; did you mean optim" in err


def test_an_unknown_verb_names_the_nearest(call):
    code, _, err = call("trian")
    assert code != 0
    assert "train" in err


def test_every_verb_has_help(call):
    out = call("--help")[1]
    verbs = (
        "prepare",
        "train",
        "transcribe",
        "evaluate",
        "score",
        "embed",
        "plot",
        "languages",
        "list",
        "show",
        "demo",
    )
    for verb in verbs:
        assert verb in out
        assert "Usage" in call(verb, "--help")[1]
    assert call("--version")[1].strip() == "0.1.0"


def test_a_closed_pipe_is_no_error():
    command = [sys.executable, "-m", "sori", "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.wait(timeout=120) == 0
        assert process.stderr.read() == b""


@pytest.mark.parametrize("words", [["list"], ["prepare", "a", "b"]])
def test_a_working_folder_that_was_removed_is_one_line(words, tmp_path):
    """Without one, importing torch ends the process."""
    program = "import os, sys; from sori.__main__ import main; os.rmdir(os.getcwd()); main()"
    command = [sys.executable, "-c", program, *words]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (found.returncode, found.stdout, found.stderr.count("\n")) == (2, "", 1)
    assert "expected a working folder, got one that does not exist" in found.stderr
