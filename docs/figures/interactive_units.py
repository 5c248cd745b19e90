"""The unit explorer of the article: `docs/article/interactive/units.html`.

    python docs/figures/interactive_units.py --measure     # trains the model if it is not there, and makes the page

The model is `vq_wav2vec_tiny` with 16 entries in each codebook instead of 80, so that the page has few units with many
examples each, and 400 updates on the openings of LibriSpeech's train-clean-100 (`librispeech-train-clean-100-openings`
in `$SORI_DATA`). It is trained in `runs/article_units` if it is not there; 80 minutes of audio are processed. The page
shows its units in the first 120 of those recordings and in all of `english-tiny`, five of which have phones
(pocketsphinx, forced alignment). All are CC BY 4.0 or in the public domain.
"""

import json
import os
import sys
from pathlib import Path

import sori
from sori.core.files import write_text
from sori.data.manifest import read_manifest
from sori.data.sources.alignments import match, read_alignments
from sori.inference.unit_explorer import explore
from sori.inference.units import require_quantizer
from sori.plots.units_page import page

NUM_UPDATES = 400
NUM_CODES = 16
NUM_OPENINGS = 120
NUM_EXAMPLES = 6
MEGABYTES = 1.45
LICENCE = (
    "Recordings: LibriSpeech (Panayotov et al. 2015, CC BY 4.0; the clips are cut out, rescaled and compressed) and "
    "LibriVox, Sense and Sensibility (public domain). Phones: forced alignment of five sentences of one speaker by "
    "pocketsphinx, so most units have few frames with a phone, and rare ones none."
)
KOREAN = (
    "단위(unit)는 vq-wav2vec이 40 ms 프레임마다 고르는 코드북 항목의 조합이다. 목록에서 단위를 누르면 실제 음성에서 "
    "잘라 낸 예를 차례로 들을 수 있다."
)
_ROOT = Path(__file__).parents[2]
_WORK = _ROOT / "runs" / "article_units"
_INTO = _ROOT / "docs" / "article" / "interactive" / "units.html"


def main() -> None:
    """Train the model if it is not there, and write the page; without `--measure`, the page stays as it is."""
    if "--measure" not in sys.argv[1:]:
        print(f"{_INTO.name} is cut from recordings: --measure makes it again")
        return
    shared = Path(os.environ.get("SORI_DATA", _ROOT.parent / "shared" / "data"))
    openings = _prepared(shared / "librispeech-train-clean-100-openings")
    tiny = _prepared(shared / "english-tiny")
    if not (_WORK / "run" / "model").is_dir():
        changes = {"train.num_steps": NUM_UPDATES, "system.num_codes": NUM_CODES}
        recipe = sori.recipes.by_name("vq_wav2vec_tiny").override(changes)
        sori.train(recipe, into=_WORK / "run", data=openings)
    write_text(_WORK / "phones.jsonl", "".join(map(_alignment, sorted((shared / "english-tiny" / "align").iterdir()))))
    utterances = [*read_manifest(tiny), *read_manifest(openings)[:NUM_OPENINGS]]
    explored = explore(
        require_quantizer(sori.load(_WORK / "run"), "vq_wav2vec_tiny"),
        utterances,
        name="a small vq-wav2vec",
        alignments=match(utterances, read_alignments(_WORK / "phones.jsonl")).alignments,
        num_examples=NUM_EXAMPLES,
        notes=[LICENCE, KOREAN],
    )
    write_text(_INTO, page(explored, megabytes=MEGABYTES))


def _prepared(recordings: Path) -> Path:
    """Return the prepared folder of recordings, made if it is not there."""
    folder = _WORK / recordings.name
    if not folder.is_dir():
        sori.prepare(recordings / "manifest.jsonl", folder, num_workers=1)
    return folder


def _alignment(path: Path) -> str:
    """Return pocketsphinx's alignment of a sentence as a line of JSON."""
    words = json.loads(path.read_text(encoding="utf-8"))["w"]
    phones = [(one["b"], one["b"] + one["d"], one["t"]) for word in words for one in word["w"]]
    return json.dumps({"id": path.name.removesuffix(".phone.json"), "phones": phones}) + "\n"


if __name__ == "__main__":
    main()
