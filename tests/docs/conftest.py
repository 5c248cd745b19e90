"""What a reader of the how-to pages has in the folder where the commands are typed."""

import csv
import json
import lzma
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.conftest import VOICES, _tone_phones, write_tone_corpus

from sori import recipes
from sori.data.manifest import read_manifest
from sori.data.preparation.prepare import prepare
from sori.embeddings import loading, vector_files
from sori.runs import run

SENTENCES = (
    "the king saw the queen",
    "a man saw a woman",
    "paris is in france",
    "rome is in italy",
    "the house is old",
)
ANALOGIES = ": capitals\nfrance paris italy rome\n: family\nking man queen woman\n"


def _recordings(folder):
    """Write tones in the layout of Hugging Face: a third of the training recordings have no transcript."""
    corpus = write_tone_corpus(folder / "source", num_each=12)
    rows = []
    for number, sound in enumerate(sorted((corpus / "audio").rglob("*.wav"))):
        split = {"dora": "test", "carl": "dev"}.get(sound.parent.name, "train")
        text = sound.with_suffix(".txt").read_text().strip()
        untold = split == "train" and number % 3 == 0
        target = folder / "recordings" / sound.name
        target.parent.mkdir(exist_ok=True)
        shutil.copy(sound, target)
        rows.append([sound.name, "" if untold else text, sound.parent.name, split])
    with (folder / "recordings" / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file_name", "transcription", "speaker", "split"], *rows])


def _single_files(folder):
    sounds = sorted((folder / "source" / "audio").rglob("*.wav"))[:4]
    parts = [soundfile.read(one)[0] for one in sounds]
    together = np.concatenate([np.pad(part, (4000, 4000)) for part in parts])
    soundfile.write(folder / "interview.mp3", together, 16_000)
    soundfile.write(folder / "interview.wav", together, 16_000)
    texts = [one.with_suffix(".txt").read_text().strip() for one in sounds]
    (folder / "interview.txt").write_text(" ".join(texts) + "\n")
    (folder / "interviews" / "deep").mkdir(parents=True)
    shutil.copy(sounds[0], folder / "interviews" / "one.wav")
    shutil.copy(sounds[1], folder / "interviews" / "deep" / "two.wav")
    (folder / "untranscribed-source").mkdir()
    for sound in sorted((folder / "source" / "audio" / "ben").glob("*.wav"))[:6]:
        shutil.copy(sound, folder / "untranscribed-source")
    said = [f"spk{n % 3}-{n}\t{text}\n" for n, text in enumerate(texts)]
    (folder / "said.tsv").write_text("".join(said))
    (folder / "written.tsv").write_text("".join(said).replace("a", "e", 1))
    (folder / "other.tsv").write_text("".join(said).replace("l", "d", 2))
    for name in ("said", "written"):
        rows = (row.split("\t") for row in (folder / f"{name}.tsv").read_text().splitlines())
        (folder / f"{name}.trn").write_text("".join(f"{text} ({key})\n" for key, text in rows))


def _texts(folder):
    # every second transcript, so that a language model knows some of the words of dev, and some words are right
    tones = "".join(one.read_text() for one in sorted((folder / "source" / "audio").rglob("*.txt"))[::2])
    (folder / "texts").mkdir()
    for name in ("texts.txt", "texts/more.txt", "novels.txt"):
        (folder / name).write_text(tones + "\n".join(SENTENCES * 20) + "\n")
    with lzma.open(folder / "news.txt.xz", "wt") as file:
        file.write(tones)
    (folder / "old.txt").write_bytes("안녕\n".encode("utf-16"))
    (folder / "written").mkdir()
    (folder / "written" / "english.txt").write_text("\n".join(SENTENCES * 60) + "\n")
    (folder / "questions-words.txt").write_text(ANALOGIES)
    (folder / "EN-WS-353-ALL.txt").write_text("king\tqueen\t8\nman\twoman\t7\nparis\trome\t6\nking\trome\t1\n")
    (folder / "EN-SIMLEX-999.txt").write_text((folder / "EN-WS-353-ALL.txt").read_text())


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """A folder with recordings, texts, and the models that pages begin with; copy it before you change it."""
    folder = tmp_path_factory.mktemp("world")
    _recordings(folder)
    _single_files(folder)
    _texts(folder)
    prepare(folder / "recordings", folder / "prepared", num_workers=1)
    prepare(folder / "untranscribed-source", folder / "untranscribed", num_workers=1)
    rows = [
        {"id": one.id, "phones": _tone_phones(_spoken(folder, one), VOICES.index(one.speaker))}
        for one in read_manifest(folder / "prepared")
    ]
    (folder / "alignments.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    few = {"train.num_steps": 60}
    many = {"train.num_steps": 250, "labels.lm": "word", "labels.texts": (str(folder / "texts.txt"),)}
    for name, recipe, changes, init in (
        ("tiny", "wav2vec2_smoke", few, None),
        ("recogniser", "ctc_smoke", many, "tiny"),
        ("words", "word2vec_smoke", {}, None),
        ("bert", "bert_smoke", {"train.num_steps": 5}, None),
    ):
        data = folder / ("prepared" if name in {"tiny", "recogniser"} else "written")
        start = None if init is None else folder / "runs" / init
        run.train(recipes.by_name(recipe).override(changes), into=folder / "runs" / name, data=data, init=start)
    vector_files.write(loading.load(folder / "runs" / "words"), folder / "words.vec")
    return folder


def _spoken(folder, utterance):
    """Return what was spoken in a recording, also where its transcript is withheld."""
    name = Path(utterance.path).with_suffix(".txt").name
    return (folder / "source" / "audio" / utterance.speaker / name).read_text().strip()


@pytest.fixture
def here(world, tmp_path, monkeypatch):
    """Work in a copy of that folder."""
    folder = tmp_path / "reader"
    shutil.copytree(world, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "100")
    return folder
