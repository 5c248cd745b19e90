"""Every shell block of the README and the how-to pages runs, and leaves what the page says."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from safetensors.numpy import load_file
from tests.docs import pages, shell

NAMES = {"MODEL": "runs/tiny", "FILE": "alignments.jsonl", "RECORDINGS": "recordings", "PREPARED": "prepared"}
"""What capitals on the pages stand for."""

OTHER_NAMES = {
    "words": {"RUN": "runs/words"},
    "projector": {"RUN": "runs/tiny"},
    "units": {"RUN": "runs/tiny"},
    "README": {"TEXTS": "written"},
}
"""What they stand for on one page."""

NUM_STEPS = {"README": 120}
"""Updates of each training on pages that need a recogniser with some words right; 3 on the others."""

SLOW = {
    "checkpoints",
    "index",
    "language-models",
    "probe",
    "projector",
    "train",
    "transcribe",
    "troubleshooting",
    "which-road",
}
"""Pages whose commands take longest; index, troubleshooting and which-road repeat commands of other pages."""


@pytest.fixture
def reader(here, request):
    """The folder, with models of others beside it."""
    for copy in ("runs/old", "runs/new", "their_model"):
        shutil.copytree("runs/recogniser/model", copy)
    return request.param


def _params():
    slow = [pytest.mark.slow]
    return [
        pytest.param(page.stem, id=page.stem, marks=slow if page.stem in SLOW else [])
        for page in pages.pages_with("sh")
    ]


@pytest.mark.parametrize("reader", _params(), indirect=True)
def test_commands_of_a_page(reader):
    page = next(one for one in pages.pages_with("sh") if one.stem == reader)
    done, blocks = 0, pages.blocks(page, "sh")
    for block in blocks:
        for shown in shell.lines(block.text):
            line = shell.named(shown, {**NAMES, **OTHER_NAMES.get(reader, {})})
            shell.parsed(line)
            if block.reason is None:
                _clear(line)
                check(shell.run(line, NUM_STEPS.get(reader, 3)), str(block))
                done += 1
    assert done or all(block.reason for block in blocks), f"no command of {page} is run"


def _clear(line):
    """Begin with an empty place, where the page begins with what the reader has made before."""
    words = line.split()
    if words[:2] == ["sori", "prepare"] and "--overwrite" not in words and "--check" not in words:
        target = [word for word in words[2:] if not word.startswith(("-", "#"))][1]
        shutil.rmtree(target, ignore_errors=True)
    if words[:2] == ["sori", "train"]:
        shutil.rmtree(words[words.index("--into") + 1], ignore_errors=True)
    if words[:2] == ["sori", "convert"] or words[:2] == ["sori", "shards"]:
        shutil.rmtree(words[3], ignore_errors=True)


def check(done, where):
    """Compare what a command has printed and written with what it is for."""
    if done.words[0] != "sori":
        return
    verb = done.words[1]
    if verb.startswith("--"):
        assert done.out.strip()[0].isdigit(), where
        return
    CHECKS[verb](done, where)


def _prepare(done, where):
    if "--check" in done.words:
        assert "0 files with 0 utterances" in done.out or "missing" not in done.out, where
        return
    target = Path([one for one in done.words if not one.startswith("-")][-1])
    folder = target if target.is_dir() else Path(done.arguments[-1])
    assert (folder / "cuts.jsonl.gz").stat().st_size > 100, where
    assert "utterances" in done.out, where


def _train(done, where):
    folder = Path(done.option("--into")) / "model"
    weights = load_file(folder / "weights.safetensors")
    assert sum(value.size for value in weights.values()) > 100, where
    assert json.loads((folder / "config.json").read_text())["system"]["kind"], where


def _transcribe(done, where):
    into, form = done.option("--into"), done.option("--format") or "txt"
    if into:
        names = {path.name for path in Path(into).rglob(f"*.{form}")}
        assert names, where
    elif form == "json":
        assert json.loads(done.out)["duration"] > 1, where
    elif "--times" in done.words:
        assert done.out.startswith(done.arguments[1]), where
    else:
        assert done.out.endswith("\n"), where


def _align(done, where):
    form = done.option("--format")
    rows = done.out.strip().splitlines()
    if form is None:
        assert float(rows[0].split("\t")[0]) < float(rows[-1].split("\t")[1]), where
    else:
        assert {"eaf": "<ANNOTATION_DOCUMENT", "TextGrid": "ooTextFile"}[form] in done.out, where


def _evaluate(done, where):
    assert "CER" in done.out, where
    if done.option("--report"):
        assert "</html>" in Path(done.option("--report")).read_text(), where
    if done.option("--save"):
        assert json.loads(Path(done.option("--save")).read_text()), where


def _calibrate(done, where):
    file = Path(done.option("--into") or f"{done.words[2]}/model/confidence.json")
    assert json.loads(file.read_text()), where
    if done.option("--plot"):
        assert Path(done.option("--plot")).stat().st_size > 5_000, where


def _lm(done, where):
    if done.words[2] == "build":
        assert Path(done.option("--into")).stat().st_size > 50, where
    else:
        assert "--lm-weight" in done.out or "weight" in done.out, where


def _select(done, where):
    into = Path(done.option("--into"))
    found = list(into.glob("*.eaf")) if into.is_dir() else into.read_text().splitlines()[1:]
    assert found, where


def _convert(done, where):
    assert "every one accounted for" in done.out, where
    assert list(Path(done.words[3]).iterdir()), where


def _units(done, where):
    first = Path(done.option("--into")).read_text().splitlines()[0]
    assert first.split("\t")[1].split()[0].replace("-", "").isdigit(), where


def _shards(done, where):
    assert list(Path(done.words[3], "shards").glob("*.tar")), where


def _probe(done, where):
    assert json.loads(Path(done.option("--save")).read_text()), where
    assert "random" in done.out or "untrained" in done.out, where


def _plot(done, where):
    into = done.option("--into")
    pages_and_pictures = [*Path().rglob("*.html"), *Path().rglob("*.png")]
    found = [Path(into)] if into else pages_and_pictures
    assert found, where
    assert all(one.stat().st_size > 5_000 for one in found), where


def _words(done, where):
    if done.words[2] == "vectors":
        assert Path(done.option("--into")).stat().st_size > 100, where
    else:
        assert done.out.strip(), where


def _score(done, where):
    assert "WER" in done.out, where


def _show(done, where):
    assert yaml.safe_load(done.out), where


def _list(done, where):
    assert "wav2vec2_tiny" in done.out, where
    assert "recogniser" in done.out, where


def _fill(done, where):
    assert 0 <= float(done.out.splitlines()[0].split("\t")[1]) <= 1, where


CHECKS = {
    "prepare": _prepare,
    "train": _train,
    "transcribe": _transcribe,
    "align": _align,
    "evaluate": _evaluate,
    "calibrate": _calibrate,
    "lm": _lm,
    "select": _select,
    "convert": _convert,
    "units": _units,
    "probe": _probe,
    "plot": _plot,
    "words": _words,
    "score": _score,
    "shards": _shards,
    "show": _show,
    "list": _list,
    "fill": _fill,
}
"""What each command must leave; a command that is missing here fails."""
