"""Verbs for words as they sound: where they are, their vectors, what is near them, what that is worth."""

import sys
from pathlib import Path

from sori import distributed, hub
from sori import words as spoken
from sori.data.segment_pairs import SegmentConfig
from sori.evaluation.similarity import read_judged, similarity


def align(model: str, *data: Path) -> None:
    """Find where each word of transcribed recordings is, and write `segments.jsonl` into their prepared folder.

    Args:
        model: Folder, run folder or name of a recogniser.
        data: Prepared folders.
    """
    if not data:
        raise ValueError("expected prepared folders, got none; name them after the recogniser")
    system = hub.load(model).to(distributed.device())
    for folder in data:
        found = spoken.align(system, folder)
        for one in found.failed:
            print(f"{one.path}: {one.reason}", file=sys.stderr)
        print(f"{found.file}\t{found.num_words} words; {len(found.failed)} utterances failed")


def vectors(
    model: str, *, into: Path, data: list[Path] | None = None, segments: Path | None = None, split: str | None = None
) -> None:
    """Write a vector for each word, the mean over all the times it is said, in the text format of word2vec.

    Args:
        model: Folder, run folder or name.
        into: File to write, such as words.vec.
        data: Prepared folder; may be given several times. Without it, the recordings that were trained on.
        segments: Where the words are, in place of `segments.jsonl` in each folder.
        split: Only this split.
    """
    heard = spoken.hear(model, data=data or (), segments=_config(segments), split=split)
    made = spoken.WordVectors(heard)
    made.save(into)
    print(f"{into}\t{len(made.words)} words of {sum(made.counts)} segments, {made.vectors.shape[1]} dimensions")


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
    heard = spoken.hear(model, data=data or (), segments=_config(segments), split=split)
    nearest = spoken.nearest_segments if "@" in asked else spoken.nearest_words
    found = nearest(heard, asked, number=number)
    for one in found:
        example = one.example
        place = f"{example.utterance}@{example.start:.2f}-{example.end:.2f}"
        print(f"{one.cosine:.3f}\t{one.times_said}\t{example.word or '-'}\t{place}")
    if page is not None:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(spoken.neighbour_page(heard, asked, found), encoding="utf-8")
        print(f"listen: {page}", file=sys.stderr)


def evaluate(
    model: str,
    *,
    data: list[Path] | None = None,
    split: str | None = None,
    min_seconds: float = 0.0,
    min_letters: int = 1,
    across_speakers: bool = False,
    similar: list[Path] | None = None,
) -> None:
    """Whether the vectors tell words apart (same-different test), and agree with people on which are alike.

    Args:
        model: Folder, run folder or name.
        data: Prepared folder; may be given several times. Without it, the recordings that were trained on.
        split: Only this split, for the same-different test.
        min_seconds: Shorter segments are left out of the same-different test.
        min_letters: So are shorter words.
        across_speakers: There, count pairs of different speakers only.
        similar: List of two words and a score in each line, such as WordSim-353; may be given several times.
            Words are the mean over all splits.
    """
    found = spoken.score(
        model,
        data=data or (),
        split=split,
        min_seconds=min_seconds,
        min_letters=min_letters,
        across_speakers=across_speakers,
    )
    print(found.table())
    if not similar:
        return
    known = spoken.WordVectors(spoken.hear(model, data=data or ()))
    rows = {word.lower(): row for word, row in zip(known.words, known.vectors.numpy(), strict=True)}
    for path in similar:
        one = similarity(rows, read_judged(path))
        print(f"{path.name}: rho {one.correlation:.3f} on {one.num_known} of {one.num_pairs} pairs")


def _config(segments: Path | None) -> SegmentConfig | None:
    return None if segments is None else SegmentConfig(file=str(segments))
