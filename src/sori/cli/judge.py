"""Verbs that measure: error rates, and the language models that lower them."""

import json
from pathlib import Path
from typing import Literal

from sori import distributed, hub, language, run
from sori.cli.text import GREEDY, Search
from sori.decoding.kneser_ney import build as build_lm


def evaluate(
    model: str, *, data: list[Path], split: str = "test", save: Path | None = None, search: Search = GREEDY
) -> None:
    """Word and character error rates on transcribed recordings.

    Args:
        model: Folder, run folder or name of a recogniser.
        data: Prepared folder; may be given several times.
        split: Which utterances, where a folder names splits; `all` for all of them.
        save: Write the report, every utterance in it, as JSON.
        search: Language model.
    """
    system = hub.load(model).to(distributed.device())
    recogniser = run.needs_recogniser(system, model)
    decoder = search.decoder(system)
    report = run.evaluate(recogniser, data=data, split=None if split == "all" else split, decoder=decoder)
    print(report.table())
    if save is not None:
        save.parent.mkdir(parents=True, exist_ok=True)
        save.write_text(json.dumps(report.to_data(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def build(
    *texts: Path,
    into: Path,
    order: int = 4,
    prune: list[int] | None = None,
    model: str | None = None,
    unit: Literal["word", "character"] = "word",
) -> None:
    """Make a language model of text: interpolated modified Kneser-Ney, as an ARPA file.

    Args:
        texts: Text files (.txt, .gz, .xz), one sentence or paragraph a line.
        into: File to write: .arpa or .arpa.gz.
        order: Words that are looked at together, 1 to 6.
        prune: By order, drop what occurs at most so often; `--prune 0 --prune 0 --prune 1`: single ones from order 3.
        model: Recogniser it is for: text is normalised as it writes, and what it cannot write is reported.
        unit: Words, or characters for a model over the recogniser's symbols.
    """
    if not texts:
        raise ValueError("expected text files, got none; name them after `sori lm build`")
    vocabulary = hub.read(model).model.vocabulary if model else None
    if model and vocabulary is None:
        raise ValueError(f"{model} is no recogniser; it writes no text that a language model could be made for")
    report = build_lm(texts, order=order, into=into, vocabulary=vocabulary, unit=unit, prune=prune or ())
    print(report.table())


def tune(
    model: str, lm: Path, *, data: list[Path], split: str = "dev", beam_size: int = 50, unknown_words: bool = False
) -> None:
    """Find the weight of a language model, and the bonus for each word, with the fewest word errors.

    Args:
        model: Folder, run folder or name of a recogniser.
        lm: Language model over words (.arpa, .arpa.gz).
        data: Prepared folder; may be given several times.
        split: Which utterances, where a folder names splits: not those that errors are reported on.
        beam_size: Texts that are kept in mind.
        unknown_words: Also write words that the language model does not know.
    """
    system = hub.load(model).to(distributed.device())
    decoder = Search(lm=lm, beam_size=beam_size, unknown_words=unknown_words).decoder(system)
    assert decoder is not None  # noqa: S101 - there is a language model
    utterances = run.transcribed(data, None if split == "all" else split)
    print(language.tune(run.needs_recogniser(system, model), decoder, utterances).table())
