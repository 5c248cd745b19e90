"""Word2Vec: how much text it needs, and cosines of some words.

The experiment trains the recipe `word2vec_skipgram` on random paragraphs of `text-english` (mostly English novels; in
`$SORI_DATA`), 1/64, 1/16, 1/4 and all of it, one seed each; 90 s on one idle core.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import sori
import style
from sori.data.sources.plain_text import paragraphs, text_files
from sori.embeddings import loading
from sori.embeddings.space import WordSpace

_FRACTIONS = (1 / 64, 1 / 16, 1 / 4, 1)
_GROUPS = (
    ("monday", "wednesday", "friday", "sunday"),
    ("two", "seven", "ten", "twenty"),
    ("france", "england", "italy", "russia"),
    ("mother", "father", "sister", "brother"),
    ("red", "blue", "green", "white"),
)


def measure() -> dict[str, Any]:
    """Train on growing parts of the text; evaluate each, and keep the cosines of the last."""
    shared = Path(os.environ["SORI_DATA"])
    texts = list(paragraphs(text_files([shared / "text-english"])))
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for fraction in _FRACTIONS:
            part = Path(name) / f"part{fraction:.3f}.txt"
            kept = np.random.default_rng(0).random(len(texts)) < fraction
            part.write_text("\n".join(text for text, one in zip(texts, kept, strict=True) if one), encoding="utf-8")
            run = part.with_suffix("")
            recipe = sori.recipes.by_name("word2vec_skipgram").model_copy(update={"num_threads": 1})
            sori.train(recipe, into=run, data=part)
            rows.append(evaluate(run, shared / "word-similarity"))
            print(rows[-1])
        return {"rows": rows, **cosines(loading.load(run))}


def evaluate(run: Path, lists: Path) -> dict[str, float]:
    """Return the scores of a run, and the number of words that it was trained on."""
    space = loading.load(run)
    found = loading.evaluate(space, questions=lists / "questions-words.txt", similar=[lists / "EN-MEN-TR-3k.txt"])
    assert found.analogies is not None
    total, (_, men) = found.analogies.totals[-1], found.similar[0]
    return {
        "words": sum(space.counts or []),
        "distinct": len(space),
        "analogies": total.right / total.known,
        "analogies_known": total.known / total.total,
        "men": men.correlation,
        "men_known": men.num_known / men.num_pairs,
    }


def cosines(space: WordSpace) -> dict[str, Any]:
    """Return the cosines of all pairs of the chosen words."""
    words = [word for group in _GROUPS for word in group]
    unit = space.unit[[space.row(word) for word in words]]
    return {"chosen": words, "cosines": (unit @ unit.T).tolist()}


def draw(results: dict[str, Any]) -> None:
    """Draw scores by amount of text, and the matrix of cosines."""
    made, (left, right) = style.figure(3.5, columns=2, width_ratios=[1, 1.25])
    rows = results["rows"]
    millions = [row["words"] / 1e6 for row in rows]
    left.set_xscale("log")
    left.plot(millions, [100 * row["analogies"] * row["analogies_known"] for row in rows], "o-", color=style.BLUE)
    left.plot(millions, [100 * row["men"] for row in rows], "s-", color=style.ORANGE)
    left.text(0.27, 56, "similarity (MEN):\nrank correlation, %", color=style.ORANGE)
    left.text(0.27, 6, "analogies, % of all", color=style.BLUE)
    for text in left.texts:
        text.set(fontsize=8.5, va="center")
    left.set_xticks(millions, [f"{one:.2g}" for one in millions])
    left.minorticks_off()
    left.set(ylim=(0, 68), xlabel="words of text, millions")
    left.grid(axis="y")
    left.set_title("more text")
    words = results["chosen"]
    image = right.imshow(np.array(results["cosines"]), cmap=style.HEAT, vmin=0, vmax=1)
    right.set_xticks(range(len(words)), words, rotation=90, fontsize=7)
    right.set_yticks(range(len(words)), words, fontsize=7)
    right.spines[:].set_visible(False)
    right.tick_params(length=0)
    made.colorbar(image, ax=right, shrink=0.8, ticks=[0, 0.5, 1])
    right.set_title("cosine")
    style.save(made, "word2vec")


def main() -> None:
    """Draw the figure."""
    style.run("word2vec", draw, measure)


if __name__ == "__main__":
    main()
