"""What every test shares: fixed seeds, and a corpus of tones that a model can really learn."""

import json
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sori import cli, recipes
from sori.core import log
from sori.data.manifest import read_manifest
from sori.data.preparation.prepare import prepare
from sori.runs import run

RATE = 16_000
LETTERS = "abdelnos"
TONE_SECONDS, GAP_SECONDS, PAUSE_SECONDS = 0.1, 0.02, 0.1
VOICES = ("anna", "ben", "carl", "dora")


def pytest_configure() -> None:
    """Let Ctrl-C reach the programs that tests start; background jobs of a shell inherit that it is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name tests of bytes by the argument: compressed bytes hold a time, and two workers would disagree."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(autouse=True)
def _fixed_seeds():
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _messages_on_screen():
    log.show()


@pytest.fixture
def bounded():
    """The test fails after a minute, whatever it waits for."""

    def give_up(*_):
        raise AssertionError("it waits for ever")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def speak_tones(text: str, *, voice: int, rng: np.random.Generator) -> np.ndarray:
    """One tone a letter, a pause a space; voices differ in overtones, loudness and tempo, not in pitch."""
    tempo = 1 + 0.1 * (voice - 1.5) / 1.5
    pieces = [_silence(PAUSE_SECONDS)]
    for letter in text:
        if letter == " ":
            pieces.append(_silence(PAUSE_SECONDS))
            continue
        time = np.arange(int(TONE_SECONDS * tempo * RATE)) / RATE
        pitch = 250 * 2 ** (LETTERS.index(letter) * 0.45)
        tone = np.sin(2 * np.pi * pitch * time) + 0.25 * voice / 3 * np.sin(4 * np.pi * pitch * time)
        fade = np.minimum(1, np.minimum(time, time[::-1]) / 0.01)
        pieces += [0.3 * tone * fade, _silence(GAP_SECONDS)]
    pieces.append(_silence(PAUSE_SECONDS))
    waveform = np.concatenate(pieces) * rng.uniform(0.5, 1.0)
    return waveform + 0.002 * rng.standard_normal(len(waveform))


def _silence(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * RATE))


def write_tone_corpus(folder: Path, *, num_each: int = 24, seed: int = 0) -> Path:
    """Short WAV files with transcripts beside them, a folder for each voice, and `manifest.jsonl` naming the splits.

    The last voice is kept for `test`, the one before for `dev`.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for voice, speaker in enumerate(VOICES):
        split = {len(VOICES) - 1: "test", len(VOICES) - 2: "dev"}.get(voice, "train")
        for number in range(num_each if split == "train" else num_each // 3):
            words = ["".join(rng.choice(list(LETTERS), rng.integers(2, 5))) for _ in range(rng.integers(4, 7))]
            path = folder / "audio" / speaker / f"{speaker}-{number:03d}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            waveform = speak_tones(" ".join(words), voice=voice, rng=rng)
            soundfile.write(path, waveform, RATE, subtype="PCM_16")
            path.with_suffix(".txt").write_text(" ".join(words) + "\n", encoding="utf-8")
            rows.append(
                {
                    "id": path.stem,
                    "audio": path.relative_to(folder).as_posix(),
                    "duration": len(waveform) / RATE,
                    "text": " ".join(words),
                    "speaker": speaker,
                    "language": "und",
                    "split": split,
                }
            )
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "manifest.jsonl").write_text(lines, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tone_corpus(tmp_path_factory) -> Path:
    """A folder holding `audio/SPEAKER/*.wav` with `.txt` beside each, and `manifest.jsonl`."""
    return write_tone_corpus(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="session")
def prepared_tones(tone_corpus, tmp_path_factory) -> Path:
    """The tones as a prepared folder; splits `train` (two voices), `dev` and `test` (one each)."""
    folder = tmp_path_factory.mktemp("prepared") / "tones"
    prepare(tone_corpus / "manifest.jsonl", folder, num_workers=1)
    return folder


@pytest.fixture(scope="session")
def tone_alignments(prepared_tones, tmp_path_factory) -> Path:
    """When each letter of the tones sounds, gaps included; nothing of the last utterance."""
    path = tmp_path_factory.mktemp("alignments") / "tones.jsonl"
    rows = [
        {"id": one.id, "phones": _tone_phones(one.text, VOICES.index(one.speaker))}
        for one in read_manifest(prepared_tones)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[:-1]))
    return path


def _tone_phones(text: str, voice: int) -> list[list]:
    tempo = 1 + 0.1 * (voice - 1.5) / 1.5
    length = int(TONE_SECONDS * tempo * RATE) / RATE + GAP_SECONDS
    here, rows = PAUSE_SECONDS, [[0.0, PAUSE_SECONDS, "SIL"]]
    for letter in text:
        step = PAUSE_SECONDS if letter == " " else length
        rows.append([round(here, 5), round(here + step, 5), "SIL" if letter == " " else letter])
        here += step
    return [*rows, [round(here, 5), round(here + PAUSE_SECONDS, 5), "SIL"]]


@pytest.fixture(scope="session")
def encoder_run(prepared_tones, tmp_path_factory) -> Path:
    """A finished run of `wav2vec2_smoke`."""
    folder = tmp_path_factory.mktemp("runs") / "encoder"
    run.train(recipes.by_name("wav2vec2_smoke"), into=folder, data=prepared_tones)
    return folder


@pytest.fixture(scope="session")
def recogniser_run(prepared_tones, tmp_path_factory) -> Path:
    """A finished run of `ctc_smoke` from random weights, without language model."""
    folder = tmp_path_factory.mktemp("runs") / "recogniser"
    run.train(recipes.by_name("ctc_smoke").override({"labels.lm": "none"}), into=folder, data=prepared_tones)
    return folder


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Exit code, standard output and standard error of a command, run inside this process in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run_command(*words):
        monkeypatch.setattr(sys, "argv", ["sori", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main()
        printed = capsys.readouterr()
        return caught.value.code or 0, printed.out, printed.err

    return run_command
