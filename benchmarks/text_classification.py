"""What pre-training on reviews is worth for telling the good from the bad, beside a bag of words.

    python benchmarks/text_classification.py --data REVIEWS.txt.xz --into FOLDER [--updates 4000] [--json FILE]

The reviews have no labels, so the task is made of them: a review that holds a word of praise (최고, 재밌, 감동) and
no word of blame (최악, 지루) is good, the other way round bad; both sorts equally often, all others are left out.
Every word, with all that is written together with it, that gave the label away is removed: what is left has to tell.
Of ten labelled reviews one is for choosing (dev) and one for measuring (test); pre-training sees neither. It hides
words only: whether two reviews follow each other tells nothing.

Compared on the same reviews: BERT pre-trained on the other reviews and fine-tuned; the same BERT fine-tuned from
random weights; logistic regression on words, on pieces of words, and on stretches of one to three letters (tf-idf, the
strength of its prior chosen on dev).
"""

import argparse
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from sori import recipes
from sori.checkpoints import store
from sori.data.sources.labelled_texts import LabelledText, read_labelled
from sori.data.sources.plain_text import paragraphs
from sori.evaluation.classification import Evaluation, compare, predict
from sori.runs import run

PRAISE = ("최고", "재밌", "재미있", "감동", "강추", "명작", "훌륭", "대박", "꿀잼")
BLAME = ("최악", "쓰레기", "지루", "재미없", "노잼", "아깝", "아까", "별로", "실망", "졸작", "유치")
GOOD, BAD = "good", "bad"


def main() -> None:
    """Make the task, train, measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a review in each line")
    parser.add_argument("--into", type=Path, required=True, help="folder for tables and runs; repeated, it continues")
    parser.add_argument("--updates", type=int, default=4000, help="of pre-training")
    parser.add_argument("--epochs", type=int, default=3, help="of fine-tuning")
    parser.add_argument("--rate", type=float, default=5e-4, help="of fine-tuning")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    asked.into.mkdir(parents=True, exist_ok=True)
    table, texts = asked.into / "reviews.tsv", asked.into / "texts.txt"
    if not table.exists():
        make_task(asked.data, table, texts)
    rows = {
        split: [r for r in read_labelled(table, words=False) if r.split == split] for split in ("train", "dev", "test")
    }
    started = time.monotonic()
    pretrain(texts, asked.into / "bert", asked.updates, lr=1e-3)
    minutes = (time.monotonic() - started) / 60
    pretrain(texts, asked.into / "random", 1, lr=0.0)
    steps = asked.epochs * len(rows["train"]) // 32
    answers = {
        f"BERT, {asked.updates:,} updates of pre-training": tuned(
            asked.into, "bert", table, rows["test"], steps, asked.rate
        ),
        "BERT, random weights": tuned(asked.into, "random", table, rows["test"], steps, asked.rate),
    }
    pieces = store.read(asked.into / "bert").model.wordpiece
    cuts: dict[str, dict[str, Any]] = {
        "words": {"token_pattern": r"\S+"},
        "pieces": {"tokenizer": lambda text: [str(i) for i in pieces.encode([text])[0]], "token_pattern": None},
        "letters": {"analyzer": "char_wb", "ngram_range": (1, 3)},
    }
    answers |= {
        f"logistic regression on {name}": regression(rows, lambda kw=kw: TfidfVectorizer(**kw))
        for name, kw in cuts.items()
    }
    labels = [row.labels for row in rows["test"]]
    found = {name: compare(labels, [[one] for one in told]) for name, told in answers.items()}
    first = next(iter(answers))
    for name, judged in found.items():
        beside = "" if name == first else f", {against(labels, answers[first], answers[name])} for the first against it"
        print(f"{name}: accuracy {interval(judged)}, mean F1 {judged.f1.value:.1%}{beside}")
    if asked.json:
        about = {
            "reviews": {s: len(r) for s, r in rows.items()},
            "updates": asked.updates,
            "steps": steps,
            "rate": asked.rate,
        }
        results = {n: {"accuracy": j.accuracy.to_data(), "f1": j.f1.to_data()} for n, j in found.items()}
        kept = {
            "about": about,
            "minutes_of_pretraining": round(minutes, 1),
            "results": results,
            "versions": store.versions(),
        }
        asked.json.write_text(json.dumps(kept, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def make_task(data: Path, table: Path, texts: Path) -> None:
    """The table of labelled reviews, and the text to pre-train on."""
    reviews = [line.replace("\t", " ") for line in paragraphs([data]) if line]
    sorts: dict[str, list[int]] = {GOOD: [], BAD: []}
    for number, review in enumerate(reviews):
        good, bad = (any(word in review for word in words) for words in (PRAISE, BLAME))
        if good != bad and len(without(review).split()) > 2:
            sorts[GOOD if good else BAD].append(number)
    draw = random.Random(0)  # noqa: S311 - no secrets here
    size = min(map(len, sorts.values()))
    labelled = {number: name for name, numbers in sorts.items() for number in draw.sample(numbers, size)}
    order = sorted(labelled)
    splits = {number: {8: "dev", 9: "test"}.get(place % 10, "train") for place, number in enumerate(order)}
    lines = [f"{without(reviews[number])}\t{labelled[number]}\t{splits[number]}\n" for number in order]
    texts.write_text(
        "".join(f"{review}\n" for number, review in enumerate(reviews) if splits.get(number, "train") == "train"),
        encoding="utf-8",
    )
    table.write_text("text\tlabel\tsplit\n" + "".join(lines), encoding="utf-8")


def without(review: str) -> str:
    """The review without the words that hold a word of praise or blame."""
    return " ".join(word for word in review.split() if not any(seed in word for seed in (*PRAISE, *BLAME)))


def pretrain(texts: Path, into: Path, updates: int, *, lr: float) -> None:
    """BERT on the reviews."""
    recipe = recipes.by_name("bert_tiny").override(
        {
            "train.num_steps": updates,
            "optim.lr": lr,
            "texts.max_tokens": 64,
            "texts.batch_size": 64,
            "system.next_weight": 0.0,
        }
    )
    if not run.train(recipe, into=into, data=texts).finished:
        raise SystemExit("interrupted; repeat the command to continue")


def tuned(into: Path, name: str, table: Path, test: list[LabelledText], steps: int, rate: float) -> list[str]:
    """What a fine-tuned BERT says of the test reviews."""
    recipe = recipes.by_name("bert_classify").override({"train.num_steps": steps, "optim.lr": rate})
    if not run.train(recipe, into=into / f"{name}_tuned", data=table, init=into / name).finished:
        raise SystemExit("interrupted; repeat the command to continue")
    system = store.load(into / f"{name}_tuned")
    assert isinstance(system, store.Classifier)
    return [told[0][0] for told in predict(system, test, max_tokens=128)]


def regression(rows: dict[str, list[LabelledText]], vectorizer: Callable[[], TfidfVectorizer]) -> list[str]:
    """What logistic regression says of the test reviews; its prior is chosen on dev."""
    cut = vectorizer()
    x = {
        split: (cut.fit_transform if split == "train" else cut.transform)([r.words[0] for r in some])
        for split, some in rows.items()
    }
    y = {split: [r.labels[0] for r in some] for split, some in rows.items()}
    made = [
        LogisticRegression(C=c, max_iter=1000).fit(x["train"], y["train"]) for c in (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    ]
    best = max(made, key=lambda one: one.score(x["dev"], y["dev"]))
    return [str(name) for name in best.predict(x["test"])]


def interval(judged: Evaluation) -> str:
    """`81.2% (79.0% to 83.1%)`."""
    a = judged.accuracy
    return f"{a.value:.1%} ({a.low:.1%} to {a.high:.1%})"


def against(labels: list[tuple[str, ...]], one: list[str], other: list[str]) -> str:
    """The difference of two accuracies on the same reviews, with its interval over reviews."""
    right = np.array([[a == want, b == want] for (want,), a, b in zip(labels, one, other, strict=True)], dtype=float)
    gain = right[:, 0] - right[:, 1]
    drawn = np.random.default_rng(0).choice(gain, (1000, len(gain))).mean(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{gain.mean():+.1%} ({low:+.1%} to {high:+.1%})"


if __name__ == "__main__":
    main()
