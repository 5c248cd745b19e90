"""`sori fill` and `sori classify`: predictions of text models."""

from pathlib import Path

from sori.cli.output import write


def fill(model: str, *texts: str, number: int = 5) -> None:
    """Predict masked words with BERT: number of the mask, probability and word piece, one line each.

    Args:
        model: Folder, run folder or name of a BERT model.
        texts: Texts with [MASK] for each masked word, such as "The capital of France is [MASK]."
        number: Number of predictions for each mask.
    """
    from sori.inference import masked_lm

    if not texts:
        raise ValueError('expected a text after the model, such as "The capital of France is [MASK]."')
    for text in texts:
        for place, fillings in enumerate(masked_lm.fill(model, text, number=number), start=1):
            for one in fillings:
                write(f"{place}\t{one.probability:.3f}\t{one.piece}")


def classify(model: str, *texts: str, data: list[Path] | None = None, split: str | None = None) -> None:
    """Classify texts or their words, or measure accuracy and F1 on a labelled table.

    Prints class, probability and text, one line for each text or word.

    Args:
        model: Folder, run folder or name of a classifier.
        texts: Texts to classify.
        data: Table of texts and labels (.tsv, .jsonl) to evaluate on instead; may be given several times.
        split: Split of the table to evaluate on; `all` uses all rows. By default, the rows held out from training.
    """
    from sori.inference import masked_lm

    if bool(texts) == bool(data):
        raise ValueError("expected either texts after the model, or a table with --data")
    if data:
        write(masked_lm.measure(model, data, split=split).table())
        return
    for found in masked_lm.classify(model, texts):
        for one in found:
            write(f"{one.name or '-'}\t{one.probability:.3f}\t{one.what}")
