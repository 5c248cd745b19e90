"""The word projector of the article: `docs/article/interactive/words.html`, in English and Korean.

The experiment trains the recipe `word2vec_skipgram` on `text-english` (in `$SORI_DATA`), two minutes on one idle core,
and keeps 2,000 words: those of the analogy questions, and the most frequent.
"""

import base64
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

import sori
import style
from sori.core.files import write_text
from sori.embeddings import loading
from sori.embeddings.space import WordSpace, unit
from sori.evaluation.analogies import read_questions
from sori.plots.projection import neighbours, pca
from sori.plots.projector_page import Column, Points, page

_PAGE = Path(__file__).parents[1] / "article" / "interactive" / "words.html"
_NUMBER, _FEWEST = 2000, 50
_KINDS = (  # section of the questions, which word of a pair, kind
    ("family", "ab", "family"),
    ("capital-common-countries", "b", "country"),
    ("capital-world", "b", "country"),
    ("capital-common-countries", "a", "city"),
    ("capital-world", "a", "city"),
    ("city-in-state", "a", "city"),
    ("gram6-nationality-adjective", "b", "nationality"),
    ("gram8-plural", "b", "plural"),
    ("gram1-adjective-to-adverb", "b", "adverb in -ly"),
    ("gram5-present-participle", "b", "verb in -ing"),
    ("gram7-past-tense", "b", "past tense"),
    ("gram4-superlative", "b", "superlative"),
    ("gram3-comparative", "b", "comparative"),
)
_TEXTS = ("novels", "presidential-addresses", "factbook")  # without Brown, whose licence is non-commercial
_BANDS = (100, 300, 1_000, 3_000, 10_000)
_NOTE = (
    "Word2Vec (skip-gram, 100 dimensions), trained on 15.3 million words: English novels from 1810 to 1925, addresses "
    "of US presidents and a world factbook. 2,000 of its words: those of a list of "
    "analogies, and the most frequent ones."
)
_LOOK = "#language { float: right; color: var(--accent); padding: .35rem .2rem; }"


def measure() -> dict[str, Any]:
    """Train, and return the words of the page with their vectors."""
    shared = Path(os.environ["SORI_DATA"])
    with tempfile.TemporaryDirectory() as name:
        recipe = sori.recipes.by_name("word2vec_skipgram").model_copy(update={"num_threads": 1})
        texts = [shared / "text-english" / f"{text}.txt.xz" for text in _TEXTS]
        sori.train(recipe, into=Path(name) / "run", data=texts)
        return collect(loading.load(Path(name) / "run"), shared / "word-similarity" / "questions-words.txt")


def collect(space: WordSpace, questions: Path) -> dict[str, Any]:
    """Choose the words; vectors have eight bits for each number and no common scale, which cosines do not need."""
    assert space.counts is not None
    kinds = kinds_of(questions)
    chosen = [row for row, word in enumerate(space.words) if word in kinds and space.counts[row] >= _FEWEST]
    frequent = [row for row, word in enumerate(space.words) if word not in kinds and word != "</s>"]
    rows = sorted(chosen + frequent[: _NUMBER - len(chosen)])
    vectors = space.vectors[rows]
    whole = np.rint(vectors / np.abs(vectors).max(1, keepdims=True) * 127).astype(np.int8)
    return {
        "words": [space.words[row] for row in rows],
        "kinds": [kinds.get(space.words[row], "") for row in rows],
        "ranks": rows,
        "counts": [space.counts[row] for row in rows],
        "dim": space.dim,
        "vectors": base64.b64encode(whole.tobytes()).decode(),
    }


def kinds_of(questions: Path) -> dict[str, str]:
    """Return the kind of each word of the analogies, the first that applies."""
    found: dict[str, str] = {}
    sections = {one.name: one.questions for one in read_questions(questions)}
    for section, letters, kind in _KINDS:
        for question in sections[section]:
            for word in _words(question, letters):
                found.setdefault(word.lower(), kind)
    return found


def _words(question: Any, letters: str) -> Iterable[str]:
    first, second = (question.a, question.c), (question.b, question.d)
    return (*(first if "a" in letters else ()), *(second if "b" in letters else ()))


def draw(results: dict[str, Any]) -> None:
    """Write the page."""
    bytes_ = np.frombuffer(base64.b64decode(results["vectors"]), dtype=np.int8)
    vectors = unit(bytes_.reshape(-1, results["dim"]).astype(np.float32))
    edges = [*_BANDS, max(results["ranks"])]
    bands = [f"{start + 1:,} to {edge:,}" for start, edge in zip([0, *_BANDS], edges, strict=True)]
    points = Points(
        title="Word projector",
        notes=[_NOTE],
        labels=results["words"],
        details=[
            f"rank {rank:,}, {count:,} occurrences"
            for rank, count in zip(results["ranks"], results["counts"], strict=True)
        ],
        columns=[
            Column("kind", results["kinds"]),
            Column("frequency rank", [bands[int(np.searchsorted(edges, one))] for one in results["ranks"]], bands),
        ],
        vectors=vectors,
        named=True,
    )
    text = page(points, {"principal components": pca(vectors)}, neighbours(vectors))
    here = Path(__file__).parent
    script = (here / "words_language.js").read_text(encoding="utf-8")
    korean = json.loads((here / "words_korean.json").read_text(encoding="utf-8"))
    korean["texts"][_NOTE] = korean.pop("note")
    table = json.dumps(korean, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    added = [f"<style>{_LOOK}</style>", f'<script type="application/json" id=korean>{table}</script>']
    added += [f"<script>\n{script}</script>", "</body>"]
    write_text(_PAGE, text.replace("</body>", "\n".join(added)))


def main() -> None:
    """Write the page."""
    style.run("interactive_words", draw, measure)


if __name__ == "__main__":
    main()
