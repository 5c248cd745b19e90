"""Each message on the page of troubles is one that sori writes; most are provoked here."""

import ast
import re
import shutil
from pathlib import Path

import pytest
from tests.docs import pages, shell

PAGE = pages.DOCS / "troubleshooting.md"
SYMPTOMS = [block.text.strip() for block in pages.blocks(PAGE, "text")]
ELSEWHERE = ("WER …", "Unknown option:", "No space left", "the Hugging Face hub did not", "cannot listen on")
"""No text of ours, or put together from parts: of a table, of the library for commands, of the operating system."""

PROVOKED = {
    "…: no such file or folder; expected a folder": "sori prepare nowhere out",
    "… contains no sound files": "sori prepare empty out",
    "left out: … too long for its transcript": "sori prepare long out",
    "none of the recordings can be used": "sori prepare damaged out",
    "expected UTF-8 text in": "sori prepare foreign out",
    "… was prepared before": "sori prepare recordings prepared",
    "…: no such file; if it was moved": "sori train wav2vec2_smoke --data moved --into runs/x",
    "… is not a prepared folder": "sori train wav2vec2_smoke --data recordings --into runs/x",
    "no recipe called": "sori train wav2vec2_tinyy --data prepared --into runs/x",
    "unknown setting": "sori train wav2vec2_smoke --data prepared --into runs/x --optm.lr 1",
    "no model called": "sori transcribe runs/nothere interview.wav",
    "… holds a run with other settings": "sori train wav2vec2_smoke --data prepared --into runs/tiny --optim.lr 1e-3",
    "expected transcribed utterances": "sori train ctc_smoke --data untranscribed --into runs/x",
    "… starts from a pre-trained model": "sori train ctc_10min --data prepared --into runs/x",
    "expected utterances with a language": "sori train wav2vec2_xlsr_tiny --data untranscribed --into runs/x",
    "update(s) were skipped": "sori train wav2vec2_smoke --data prepared --into runs/x --optim.lr 1e9",
    "expected a recogniser, got": "sori evaluate runs/tiny --data prepared",
    "expected a model with a quantiser": "sori units runs/recogniser --data prepared --into units.tsv",
    "expected a sound file": "sori transcribe runs/recogniser damaged/a.wav",
    "… exists; replace it": "sori transcribe runs/recogniser interview.wav --into texts",
    "… has no split": "sori evaluate runs/recogniser --data prepared --split nope",
    "this model cannot be written": "sori convert runs/recogniser out --format huggingface",
    "Unknown option": "sori transcribe runs/recogniser --fromat json interview.wav",
}


@pytest.fixture
def troubles(here):
    """A folder with everything that can be wrong."""
    for name in ("empty", "damaged", "foreign", "long"):
        Path(name).mkdir()
    Path("damaged/a.wav").write_text("no sound")
    sound = min(Path("recordings").glob("*.wav"))
    shutil.copy(sound, "foreign/a.wav")
    Path("foreign/a.txt").write_bytes("안녕".encode("utf-16"))
    shutil.copy(sound, "long")
    shutil.copy("interview.wav", "long/talk.wav")
    Path("long/talk.txt").write_text("a text\n")
    Path("texts/interview.txt").write_text("mine\n")


def _pattern(symptom):
    parts = [re.escape(part.strip()) for part in symptom.split("…")]
    return r"\s*.*?\s*".join(part.replace(r"\ ", r"\s+") for part in parts)


@pytest.mark.parametrize("beginning", PROVOKED)
def test_the_message_appears(beginning, troubles):
    symptom = next(one for one in SYMPTOMS if one.startswith(beginning))
    words = PROVOKED[beginning].split()
    if "long" in words:
        words += ["--max-seconds", "5"]
    if "moved" in words:
        assert shell.called(["sori", "prepare", "untranscribed-source", "moved"])[0] == 0
        shutil.rmtree("untranscribed-source")
    code, out, err = shell.called(words)
    shown = re.sub(r"[│╭╮╰╯─]", " ", out + err)
    assert re.search(_pattern(symptom), shown, re.DOTALL), shown
    assert bool(code) == (beginning != "left out: … too long for its transcript")


def _literals():
    """Return every piece of text in the package, those of a formatted text one by one."""
    found = []
    for path in (pages.ROOT / "src").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += [
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
    return found


def test_every_message_stands_in_the_package():
    literals = _literals()
    for symptom in SYMPTOMS:
        if symptom.startswith((*ELSEWHERE, *PROVOKED)):
            continue
        for part in (part.strip(" :;,.()") for part in symptom.split("…")):
            name, _, rest = part.partition(": ")
            assert any((rest or name) in one for one in literals), f"{symptom}: no message has {part!r}"


def test_every_entry_has_cause_and_cure():
    text = PAGE.read_text(encoding="utf-8")
    for entry in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        title = entry.splitlines()[0]
        assert "```text" in entry, title
        assert "**Cause:**" in entry, title
        assert "**Cure:**" in entry, title
