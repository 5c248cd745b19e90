"""Verbs for words, written and spoken: their vectors, what is near them, where they are said, what that is worth."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from sori.checkpoints import store
from sori.core import distributed
from sori.core.files import write_text
from sori.data.batches.segment_pairs import SegmentConfig
from sori.embeddings import expressions, loading, vector_files
from sori.embeddings import spoken_words as spoken
from sori.embeddings.space import WordSpace
from sori.evaluation.analogies import RESTRICT, Method
from sori.inference.transcript_files import STDIN


def ask(
    source: str,
    /,
    *expression: Annotated[str, Parameter(allow_leading_hyphen=True)],
    number: int = 10,
    limit: int | None = None,
    data: list[Path] | None = None,
) -> None:
    """Which words are nearest to a word, or to a sum such as "king - man + woman": cosine, count, word.

    Without an expression, each line of the standard input is one, until it ends (Ctrl-D).

    Args:
        source: File of word vectors (.vec, .txt, .glove, .bin, with .gz or without), run folder, model folder or name.
        expression: Words that add up, with + and - between spaces; "double quotes" around a phrase.
        number: How many words.
        limit: Only so many of the most frequent words.
        data: Prepared folder to take spoken words from; may be given several times. Without it, what was trained on.
    """
    if number < 1:
        raise ValueError(f"expected to show 1 word or more, got --number {number}")
    space = loading.load(source, data=data or (), limit=limit)
    if expression:
        asked = " ".join("-" if word == str(STDIN) else word for word in expression)  # what a lone dash was made into
        _tell(expressions.ask(space, asked, number=number))
        return
    for line in _asked(space):
        try:
            _tell(expressions.ask(space, line, number=number))
        except ValueError as error:
            print(f"sori: {error}", file=sys.stderr)


def _asked(space: WordSpace) -> Iterator[str]:
    """Lines that are typed, or that come from a pipe."""
    typed = sys.stdin.isatty()
    if typed:
        print(f"{len(space):,} words of {space.dim} dimensions; ask for a word or for a sum, leave with Ctrl-D")
    while True:
        if typed:
            print("> ", end="", flush=True)
        line = sys.stdin.readline()
        if not line:
            break
        if line.strip():
            yield line.strip()
    if typed:
        print()


def _tell(answer: expressions.Answer) -> None:
    for one in answer.nearest:
        print(f"{one.cosine:.3f}\t{'-' if one.times is None else one.times}\t{one.word}", flush=True)


def align(model: str, *data: Path) -> None:
    """Find where each word of transcribed recordings is, and write `segments.jsonl` into their prepared folder.

    Args:
        model: Folder, run folder or name of a recogniser.
        data: Prepared folders.
    """
    if not data:
        raise ValueError("expected prepared folders, got none; name them after the recogniser")
    system = store.load(model).to(distributed.device())
    for folder in data:
        found = spoken.align(system, folder)
        for one in found.failed:
            print(f"{one.path}: {one.reason}", file=sys.stderr)
        print(f"{found.file}\t{found.num_words} words; {len(found.failed)} utterances failed")


def vectors(
    model: str,
    *,
    into: Path,
    limit: int | None = None,
    data: list[Path] | None = None,
    segments: Path | None = None,
    split: str | None = None,
) -> None:
    """Write a vector for each word in a format of word2vec; of a spoken word, the mean over all the times it is said.

    Args:
        model: Folder, run folder or name; or a file of word vectors, to write it in another format.
        into: File to write: words.vec (text) or words.bin (binary); .gz may follow.
        limit: Only so many of the most frequent words.
        data: Prepared folder to take spoken words from; may be given several times. Without it, what was trained on.
        segments: Where spoken words are, in place of `segments.jsonl` in each folder.
        split: Only this split, of spoken words.
    """
    space = loading.load(model, data=data or (), segments=_config(segments), split=split, limit=limit)
    vector_files.write(space, into)
    of = (
        "" if space.counts is None else f" of {sum(space.counts):,} {'segments' if loading.hears(model) else 'in text'}"
    )
    print(f"{into}\t{len(space):,} words{of}, {space.dim} dimensions")


def neighbours(
    model: str,
    asked: str,
    *,
    page: Path | None = None,
    number: int = 10,
    data: list[Path] | None = None,
    segments: Path | None = None,
    split: str | None = None,
) -> None:
    """Which words sound like a word: cosine, how often it is said, the word, and where it is said most like that.

    Args:
        model: Folder, run folder or name.
        asked: The word, or a segment as UTTERANCE@SECONDS.
        page: Web page to write, with players to listen to them.
        number: How many neighbours.
        data: Prepared folder; may be given several times. Without it, the recordings that were trained on.
        segments: Where the words are, in place of `segments.jsonl` in each folder.
        split: Only this split.
    """
    if loading.written(model):
        raise ValueError(f"{model} holds words that nobody says; ask `sori words {model} {asked}`")
    heard = spoken.hear(model, data=data or (), segments=_config(segments), split=split)
    nearest = spoken.nearest_segments if "@" in asked else spoken.nearest_words
    found = nearest(heard, asked, number=number)
    for one in found:
        example = one.example
        place = f"{example.utterance}@{example.start:.2f}-{example.end:.2f}"
        print(f"{one.cosine:.3f}\t{one.times_said}\t{example.word or '-'}\t{place}")
    if page is not None:
        page.parent.mkdir(parents=True, exist_ok=True)
        write_text(page, spoken.neighbour_page(heard, asked, found))
        print(f"listen: {page}", file=sys.stderr)


@Parameter(name="*")
@dataclass(frozen=True)
class Listed:
    """Lists of questions, and how they are asked."""

    analogies: Path | None = None
    """Analogies such as questions-words.txt: four words a line, `: name` before each section."""
    similar: Annotated[list[Path] | None, Parameter(consume_multiple=True)] = None
    """List of two words and a score in each line, such as WordSim-353; several may follow. Spoken words are the
    mean over all splits."""
    restrict: int = RESTRICT
    """Only so many of the most frequent words take part in analogies."""
    fold: Annotated[bool, Parameter(negative="--keep-case")] = True
    """In analogies, upper and lower case are one."""
    method: Method = "add"
    """How analogies are answered: by the cosine with b - a + c, or by products of cosines (3CosMul)."""


NOTHING_LISTED = Listed()
"""Without lists."""


def evaluate(
    model: str,
    *,
    data: list[Path] | None = None,
    split: str | None = None,
    min_seconds: float = 0.0,
    min_letters: int = 1,
    across_speakers: bool = False,
    listed: Listed = NOTHING_LISTED,
) -> None:
    """Whether vectors answer analogies, and agree with people on which words are alike; spoken ones tell words apart.

    Args:
        model: Folder, run folder or name (of spoken words, the same-different test comes first), or file of vectors.
        data: Prepared folder with spoken words; may be given several times. Without it, what was trained on.
        split: Only this split, for the same-different test.
        min_seconds: Shorter segments are left out of the same-different test.
        min_letters: So are shorter words.
        across_speakers: There, count pairs of different speakers only.
        listed: Lists and protocol.
    """
    if loading.hears(model):
        found = spoken.score(
            model,
            data=data or (),
            split=split,
            min_seconds=min_seconds,
            min_letters=min_letters,
            across_speakers=across_speakers,
        )
        print(found.table())
    elif listed.analogies is None and not listed.similar:
        raise ValueError(
            "expected lists to compare with, got none: --analogies questions-words.txt, --similar EN-WS-353-ALL.txt"
        )
    if listed.analogies is None and not listed.similar:
        return
    judged = loading.judge(
        loading.load(model, data=data or ()),
        questions=listed.analogies,
        similar=listed.similar or (),
        restrict=listed.restrict,
        fold=listed.fold,
        method=listed.method,
    )
    print(judged.table())


def _config(segments: Path | None) -> SegmentConfig | None:
    return None if segments is None else SegmentConfig(file=str(segments))
