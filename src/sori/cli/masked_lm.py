"""Verbs of models that read texts: fill blanks, tell classes."""

from pathlib import Path

from sori.inference import masked_lm


def fill(model: str, *texts: str, number: int = 5) -> None:
    """Fill the blanks of texts: a line for each filling, with the number of the blank and the probability.

    Args:
        model: Folder, run folder or name of a BERT.
        texts: With [MASK] for each hidden word, such as "The capital of France is [MASK]."
        number: Fillings of each blank.
    """
    if not texts:
        raise ValueError('expected a text after the model, such as "The capital of France is [MASK]."')
    for text in texts:
        for place, fillings in enumerate(masked_lm.fill(model, text, number=number), start=1):
            for one in fillings:
                print(f"{place}\t{one.probability:.3f}\t{one.piece}")


def classify(model: str, *texts: str, data: list[Path] | None = None, split: str | None = None) -> None:
    """Tell the classes of texts or of their words, or measure how well that goes on a table with labels.

    Args:
        model: Folder, run folder or name of a classifier.
        texts: To be told: a line for each, with class, probability and text; or for each word.
        data: Table of texts and labels (.tsv, .jsonl) to measure on instead; may be given several times.
        split: Which of its rows; by default those that training left out; `all` for all.
    """
    if bool(texts) == bool(data):
        raise ValueError("expected texts after the model, or a table with --data, one of the two")
    if data:
        print(masked_lm.measure(model, data, split=split).table())
        return
    for found in masked_lm.classify(model, texts):
        for one in found:
            print(f"{one.name or '-'}\t{one.probability:.3f}\t{one.what}")
