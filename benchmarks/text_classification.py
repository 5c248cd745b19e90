"""Measure the benefit of pre-training on reviews for sentiment classification, against bag-of-words baselines.

    python benchmarks/text_classification.py --data REVIEWS.txt.xz --into FOLDER [--updates 4000] [--json FILE]

The reviews have no labels, so labels are derived from key words: a review with a positive word (최고, 재밌, 감동) and
no negative word (최악, 지루) is good, the reverse is bad; both classes have the same size; all other reviews are left
out. Every space-separated word with a key word in it is removed from the text. One labelled review in ten is for
selection (dev) and one for evaluation (test); neither is used in pre-training. Pre-training uses masked words only,
because consecutive reviews are unrelated.

Compared on the same reviews: BERT pre-trained on the other reviews and fine-tuned; the same BERT fine-tuned from random
weights; logistic regression on words, on word pieces, and on n-grams of one to three characters (tf-idf; the
regularisation is chosen on dev).
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

POSITIVE = ("최고", "재밌", "재미있", "감동", "강추", "명작", "훌륭", "대박", "꿀잼")
NEGATIVE = ("최악", "쓰레기", "지루", "재미없", "노잼", "아깝", "아까", "별로", "실망", "졸작", "유치")
GOOD, BAD = "good", "bad"


def main() -> None:
    """Create the task, train, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="text file with one review per line")
    parser.add_argument("--into", type=Path, required=True, help="folder for tables and runs, to continue from")
    parser.add_argument("--updates", type=int, default=4000, help="updates of pre-training")
    parser.add_argument("--epochs", type=int, default=3, help="epochs of fine-tuning")
    parser.add_argument("--rate", type=float, default=5e-4, help="learning rate of fine-tuning")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.into.mkdir(parents=True, exist_ok=True)
    table, texts = args.into / "reviews.tsv", args.into / "texts.txt"
    if not table.exists():
        make_task(args.data, table, texts)
    rows = {
        split: [r for r in read_labelled(table, words=False) if r.split == split] for split in ("train", "dev", "test")
    }
    started = time.monotonic()
    pretrain(texts, args.into / "bert", args.updates, lr=1e-3)
    minutes = (time.monotonic() - started) / 60
    pretrain(texts, args.into / "random", 1, lr=0.0)
    steps = args.epochs * len(rows["train"]) // 32
    predictions = {
        f"BERT, {args.updates:,} updates of pre-training": tuned(
            args.into, "bert", table, rows["test"], steps, args.rate
        ),
        "BERT, random weights": tuned(args.into, "random", table, rows["test"], steps, args.rate),
    }
    pieces = store.read(args.into / "bert").model.wordpiece
    cuts: dict[str, dict[str, Any]] = {
        "words": {"token_pattern": r"\S+"},
        "pieces": {"tokenizer": lambda text: [str(i) for i in pieces.encode([text])[0]], "token_pattern": None},
        "letters": {"analyzer": "char_wb", "ngram_range": (1, 3)},
    }
    predictions |= {
        f"logistic regression on {name}": regression(rows, lambda kw=kw: TfidfVectorizer(**kw))
        for name, kw in cuts.items()
    }
    labels = [row.labels for row in rows["test"]]
    found = {name: compare(labels, [[one] for one in classes]) for name, classes in predictions.items()}
    first = next(iter(predictions))
    for name, scores in found.items():
        gain = (
            "" if name == first else f", gain of the first {difference(labels, predictions[first], predictions[name])}"
        )
        print(f"{name}: accuracy {interval(scores)}, mean F1 {scores.f1.value:.1%}{gain}")
    if args.json:
        about = {
            "reviews": {s: len(r) for s, r in rows.items()},
            "updates": args.updates,
            "steps": steps,
            "rate": args.rate,
        }
        results = {n: {"accuracy": j.accuracy.to_data(), "f1": j.f1.to_data()} for n, j in found.items()}
        report = {
            "about": about,
            "minutes_of_pretraining": round(minutes, 1),
            "results": results,
            "versions": store.versions(),
        }
        args.json.write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def make_task(data: Path, table: Path, texts: Path) -> None:
    """Write the table of labelled reviews, and the text to pre-train on."""
    reviews = [line.replace("\t", " ") for line in paragraphs([data]) if line]
    classes: dict[str, list[int]] = {GOOD: [], BAD: []}
    for number, review in enumerate(reviews):
        good, bad = (any(word in review for word in words) for words in (POSITIVE, NEGATIVE))
        if good != bad and len(without(review).split()) > 2:
            classes[GOOD if good else BAD].append(number)
    draw = random.Random(0)  # noqa: S311 - no secrets here
    size = min(map(len, classes.values()))
    labelled = {number: name for name, numbers in classes.items() for number in draw.sample(numbers, size)}
    order = sorted(labelled)
    splits = {number: {8: "dev", 9: "test"}.get(place % 10, "train") for place, number in enumerate(order)}
    lines = [f"{without(reviews[number])}\t{labelled[number]}\t{splits[number]}\n" for number in order]
    texts.write_text(
        "".join(f"{review}\n" for number, review in enumerate(reviews) if splits.get(number, "train") == "train"),
        encoding="utf-8",
    )
    table.write_text("text\tlabel\tsplit\n" + "".join(lines), encoding="utf-8")


def without(review: str) -> str:
    """Return the review without the words that contain a key word."""
    return " ".join(word for word in review.split() if not any(seed in word for seed in (*POSITIVE, *NEGATIVE)))


def pretrain(texts: Path, into: Path, updates: int, *, lr: float) -> None:
    """Pre-train BERT on the reviews."""
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
    """Fine-tune BERT and return its predictions on the test reviews."""
    recipe = recipes.by_name("bert_classify").override({"train.num_steps": steps, "optim.lr": rate})
    if not run.train(recipe, into=into / f"{name}_tuned", data=table, init=into / name).finished:
        raise SystemExit("interrupted; repeat the command to continue")
    system = store.load(into / f"{name}_tuned")
    assert isinstance(system, store.Classifier)
    return [told[0][0] for told in predict(system, test, max_tokens=128)]


def regression(rows: dict[str, list[LabelledText]], vectorizer: Callable[[], TfidfVectorizer]) -> list[str]:
    """Return the predictions of logistic regression on the test reviews; its regularisation is chosen on dev."""
    features = vectorizer()
    x = {
        split: (features.fit_transform if split == "train" else features.transform)([r.words[0] for r in some])
        for split, some in rows.items()
    }
    y = {split: [r.labels[0] for r in some] for split, some in rows.items()}
    models = [
        LogisticRegression(C=c, max_iter=1000).fit(x["train"], y["train"]) for c in (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    ]
    best = max(models, key=lambda one: one.score(x["dev"], y["dev"]))
    return [str(name) for name in best.predict(x["test"])]


def interval(judged: Evaluation) -> str:
    """`81.2% (79.0% to 83.1%)`."""
    a = judged.accuracy
    return f"{a.value:.1%} ({a.low:.1%} to {a.high:.1%})"


def difference(labels: list[tuple[str, ...]], one: list[str], other: list[str]) -> str:
    """Format the difference of two accuracies on the same reviews, with its bootstrap interval over reviews."""
    right = np.array([[a == want, b == want] for (want,), a, b in zip(labels, one, other, strict=True)], dtype=float)
    gain = right[:, 0] - right[:, 1]
    means = np.random.default_rng(0).choice(gain, (1000, len(gain))).mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{gain.mean():+.1%} ({low:+.1%} to {high:+.1%})"


if __name__ == "__main__":
    main()
