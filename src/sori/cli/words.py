"""`sori words`: query, export, align and evaluate vectors of written or spoken words."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from sori.checkpoints import store
from sori.cli.output import problem, write
from sori.core import distributed
from sori.core.counts import require_amount
from sori.core.files import write_text
from sori.data.batches.segment_pairs import SegmentConfig
from sori.embeddings import expressions, loading, vector_files
from sori.embeddings import spoken_words as spoken
from sori.embeddings.space import WordSpace
from sori.evaluation.analogies import RESTRICT, Method
from sori.inference.transcript_files import STDIN


def query(
    source: str,
    /,
    *expression: Annotated[str, Parameter(allow_leading_hyphen=True)],
    number: int = 10,
    limit: int | None = None,
    data: list[Path] | None = None,
) -> None:
    """Print the words nearest to a word, or to a sum such as "king - man + woman": cosine, count, word.

    Without an expression, expressions are read from standard input, one per line, until its end (Ctrl-D).

    Args:
        source: File of word vectors (.vec, .txt, .glove, .bin, also with .gz), run folder, model folder or name.
        expression: Words to add or subtract, separated by + and - with spaces; "double quotes" enclose a phrase.
        number: Number of words to print.
        limit: Use only this many of the most frequent words. By default all.
        data: Prepared folder with spoken words; may be given several times. By default, the training data.
    """
    if number < 1:
        raise ValueError(f"expected to show 1 word or more, got --number {number}")
    space = loading.load(source, data=data or (), limit=limit)
    if expression:
        joined = " ".join("-" if word == str(STDIN) else word for word in expression)  # undo `cli.main`
        _print(expressions.evaluate(space, joined, number=number))
        return
    for line in _input_lines(space):
        try:
            _print(expressions.evaluate(space, line, number=number))
        except ValueError as error:
            problem(f"sori: {error}")


def _input_lines(space: WordSpace) -> Iterator[str]:
    """Yield the lines of standard input, with a prompt if it is a terminal."""
    if sys.stdin is None:
        raise ValueError("expected words on the standard input, got none: it is closed; name a word, or use `< FILE`")
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        write(f"{len(space):,} words of {space.dim} dimensions; enter a word or a sum of words, end with Ctrl-D")
    while True:
        if is_terminal:
            write("> ", end="")
        line = sys.stdin.readline()
        if not line:
            break
        if line.strip():
            yield line.strip()
    if is_terminal:
        write()


def _print(result: expressions.ExpressionResult) -> None:
    for one in result.nearest:
        write(f"{one.cosine:.3f}\t{'-' if one.occurrences is None else one.occurrences}\t{one.word}")


def align(model: str, *data: Path) -> None:
    """Align the words of transcribed recordings and write their times to `segments.jsonl` in the prepared folder.

    Args:
        model: Folder, run folder or name of a recogniser.
        data: Prepared folders with transcripts.
    """
    if not data:
        raise ValueError("expected prepared folders, got none; name them after the recogniser")
    system = store.load(model).to(distributed.device())
    for folder in data:
        found = spoken.align(system, folder)
        for one in found.failed:
            problem(f"{one.path}: {one.reason}")
        write(f"{found.file}\t{found.num_words} words; {len(found.failed)} utterances failed")


def vectors(
    model: str,
    *,
    into: Path,
    limit: int | None = None,
    data: list[Path] | None = None,
    segments: Path | None = None,
    split: str | None = None,
) -> None:
    """Export word vectors in a word2vec format; the vector of a spoken word is the mean over its segments.

    Args:
        model: Folder, run folder or name of a model; or a file of word vectors, to convert it to another format.
        into: File to write: words.vec (text) or words.bin (binary); .gz may follow.
        limit: Export only this many of the most frequent words. By default all.
        data: Prepared folder with spoken words; may be given several times. By default, the training data.
        segments: File of word segments, instead of `segments.jsonl` in each prepared folder.
        split: Use only spoken words of this split. By default all.
    """
    space = loading.load(model, data=data or (), segments=_config(segments), split=split, limit=limit)
    vector_files.write(space, into)
    unit = "segments" if loading.is_spoken_source(model) else "in text"
    total = "" if space.counts is None else f" of {sum(space.counts):,} {unit}"
    write(f"{into}\t{len(space):,} words{total}, {space.dim} dimensions")


def neighbours(
    model: str,
    word: str,
    *,
    page: Path | None = None,
    number: int = 10,
    data: list[Path] | None = None,
    segments: Path | None = None,
    split: str | None = None,
) -> None:
    """Print the words that sound most like a word: cosine, number of segments, word, and the nearest segment.

    Args:
        model: Folder, run folder or name of a model of spoken words.
        word: Word, or a segment as UTTERANCE@SECONDS.
        page: Web page to write, with audio players.
        number: Number of neighbours.
        data: Prepared folder with spoken words; may be given several times. By default, the training data.
        segments: File of word segments, instead of `segments.jsonl` in each prepared folder.
        split: Use only this split. By default all.
    """
    if loading.is_text_source(model):
        raise ValueError(
            f"{model} contains words of text, without recordings; for their neighbours use `sori words {model} {word}`"
        )
    embedded = spoken.embed_segments(model, data=data or (), segments=_config(segments), split=split)
    nearest = spoken.nearest_segments if "@" in word else spoken.nearest_words
    found = nearest(embedded, word, number=number)
    for one in found:
        example = one.example
        place = f"{example.utterance}@{example.start:.2f}-{example.end:.2f}"
        write(f"{one.cosine:.3f}\t{one.num_segments}\t{example.word or '-'}\t{place}")
    if page is not None:
        page.parent.mkdir(parents=True, exist_ok=True)
        write_text(page, spoken.neighbour_page(embedded, word, found))
        problem(f"listen: {page}")


@Parameter(name="*")
@dataclass(frozen=True)
class WordLists:
    """Analogies and similarity lists, and how they are evaluated."""

    analogies: Path | None = None
    """File of analogies such as questions-words.txt: four words per line, `: name` before each section."""
    similar: Annotated[list[Path] | None, Parameter(consume_multiple=True)] = None
    """Similarity list with two words and a score per line, such as WordSim-353; several may follow. Vectors of spoken
    words are means over all splits."""
    restrict: int = RESTRICT
    """Number of most frequent words to use in analogies."""
    fold: Annotated[bool, Parameter(negative="--keep-case")] = True
    """Ignore upper and lower case in analogies."""
    method: Method = "add"
    """How analogies are solved: `add` by the cosine to b - a + c, `multiply` by products of cosines (3CosMul)."""


NO_LISTS = WordLists()
"""No lists."""


def evaluate(
    model: str,
    *,
    data: list[Path] | None = None,
    split: str | None = None,
    min_seconds: float = 0.0,
    min_letters: int = 1,
    across_speakers: bool = False,
    lists: WordLists = NO_LISTS,
) -> None:
    """Evaluate word vectors on analogies and similarity lists, and spoken words on the same-different test.

    Args:
        model: Folder, run folder or name of a model, or a file of word vectors. The same-different test is run for
            models of spoken words.
        data: Prepared folder with spoken words; may be given several times. By default, the training data.
        split: Use only this split in the same-different test. By default all.
        min_seconds: Minimum length of a segment in the same-different test, in seconds.
        min_letters: Minimum number of letters of a word in the same-different test.
        across_speakers: Use only pairs of different speakers in the same-different test.
        lists: Analogies and similarity lists.
    """
    require_amount("--min-seconds", min_seconds)
    if loading.is_spoken_source(model):
        found = spoken.score(
            model,
            data=data or (),
            split=split,
            min_seconds=min_seconds,
            min_letters=min_letters,
            across_speakers=across_speakers,
        )
        write(found.table())
    elif lists.analogies is None and not lists.similar:
        raise ValueError(
            "expected lists to evaluate on, got none: --analogies questions-words.txt, --similar EN-WS-353-ALL.txt"
        )
    if lists.analogies is None and not lists.similar:
        return
    scores = loading.evaluate(
        loading.load(model, data=data or ()),
        questions=lists.analogies,
        similar=lists.similar or (),
        restrict=lists.restrict,
        fold=lists.fold,
        method=lists.method,
    )
    write(scores.table())


def _config(segments: Path | None) -> SegmentConfig | None:
    return None if segments is None else SegmentConfig(file=str(segments))


words = App(name="words", help="Query, export and evaluate vectors of written or spoken words.")
words.default(query)
words.command(align)
words.command(vectors)
words.command(neighbours)
words.command(evaluate)
