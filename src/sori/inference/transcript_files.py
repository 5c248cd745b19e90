"""Transcribe many recordings to files or to the screen, continuing after failures."""

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sori.core.audio import SAMPLE_RATE, info
from sori.data.sources.recordings import AUDIO
from sori.decoding.beam import BeamDecoder
from sori.decoding.confidence import Confidence
from sori.decoding.transcript_formats import Format, Transcribed, render
from sori.inference.transcribe import FailedRecording, Transcript, transcribe_files
from sori.models.factory import System

STDIN = Path("/dev/stdin")


class Job(NamedTuple):
    """A recording and the path of its transcript."""

    recording: Path
    transcript: Path


def plan(sources: Sequence[Path], *, into: Path, to: Format) -> list[Job]:
    """Choose the path of each recording's transcript: its name in `into`, with the extension of the format.

    Args:
        sources: sound files, and folders, which are searched recursively; subfolders are kept below `into`.
        into: folder for the transcripts.
        to: format.

    Raises:
        FileNotFoundError: there is no such file or folder, or a folder contains no sound files.
        ValueError: two recordings would have the same transcript path.
    """
    jobs = [Job(path, into / name.with_suffix(f".{to}")) for path, name in _recordings(sources)]
    first: dict[Path, Path] = {}
    for job in jobs:
        other = first.setdefault(job.transcript, job.recording)
        if other != job.recording:
            raise ValueError(
                f"{other} and {job.recording} would both be written to {job.transcript}; transcribe them into "
                "different folders, or rename one"
            )
    return jobs


def _recordings(sources: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    for source in sources:
        if not source.is_dir():
            yield source, Path(source.name)
            continue
        found = sorted(path for path in source.rglob("*") if path.suffix.lower() in AUDIO and path.is_file())
        if not found:
            raise FileNotFoundError(f"{source} contains no sound files ({', '.join(sorted(AUDIO))})")
        yield from ((path, path.relative_to(source)) for path in found)


def write(
    model: System,
    jobs: Sequence[Job],
    *,
    to: Format,
    overwrite: bool = False,
    decoder: BeamDecoder | None = None,
    confidence: Confidence | None = None,
) -> Iterator[str | FailedRecording]:
    """Transcribe recordings to files one by one, continuing after failures.

    Args:
        model: a recogniser.
        jobs: from `plan`.
        to: format.
        overwrite: whether to replace existing transcripts; otherwise these are failures and their recordings are not
            processed.
        decoder: as for `transcribe`.
        confidence: as for `transcribe`.

    Yields:
        For each recording, the file that was written, or the reason of the failure.
    """
    for job in jobs:
        if job.transcript.exists() and not overwrite:
            yield FailedRecording(job.recording, f"{job.transcript} exists; replace it with --overwrite")
            continue
        ((_, found),) = transcribe_files(model, [job.recording], decoder=decoder, confidence=confidence)
        if isinstance(found, FailedRecording):
            yield found
            continue
        job.transcript.parent.mkdir(parents=True, exist_ok=True)
        partial = job.transcript.with_name(job.transcript.name + ".partial")
        partial.write_text(_rendered(job.recording, found, to), encoding="utf-8", newline="\n")
        partial.replace(job.transcript)
        yield str(job.transcript)


def show(
    model: System,
    sources: Sequence[Path],
    *,
    to: Format,
    times: bool,
    decoder: BeamDecoder | None = None,
    confidence: Confidence | None = None,
) -> Iterator[str | FailedRecording]:
    """Transcribe recordings to text for the screen.

    Args:
        model: a recogniser.
        sources: sound files, and folders, which are searched recursively.
        to: format; with `txt` and several recordings, each line begins with the path of the recording.
        times: with `txt`, add a line for each word: start, end, confidence where there is one, and the word. The n-best
            list of a decoder with several results follows, one line each: start and end of the chunk, rank, score, and
            text.
        decoder: as for `transcribe`.
        confidence: as for `transcribe`.

    Yields:
        For each recording, its transcript, or the reason of the failure.
    """
    paths = [path for path, _ in _recordings(sources)]
    for path, found in transcribe_files(model, paths, decoder=decoder, confidence=confidence):
        if isinstance(found, FailedRecording):
            yield found
        elif to != "txt":
            yield _rendered(path, found, to).rstrip("\n")
        else:
            lines = [found.text if len(paths) == 1 and not times else f"{path}\t{found.text}"]
            if times:
                lines += _word_lines(found)
            for chunk in found.alternatives or ():
                span = f"{chunk.start:.2f}\t{chunk.end:.2f}"
                lines += [f"{span}\t{n}\t{score:.2f}\t{text}" for n, (text, score) in enumerate(chunk.texts, 1)]
            yield "\n".join(lines)


def _word_lines(found: Transcript) -> list[str]:
    spans = [f"{word.start:.2f}\t{word.end:.2f}" for word in found.words]
    if found.confidence is not None:
        spans = [f"{span}\t{confidence:.2f}" for span, confidence in zip(spans, found.confidence, strict=True)]
    return [f"{span}\t{word.text}" for span, word in zip(spans, found.words, strict=True)]


@contextmanager
def standard_input(sources: Sequence[Path]) -> Iterator[list[Path]]:
    """Replace `STDIN` in the sources by a temporary file with its data, because decoders need to seek."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "stdin"
        if STDIN in sources:
            with copy.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        yield [copy if source == STDIN else source for source in sources]


def _rendered(recording: Path, found: Transcript, to: Format) -> str:
    duration = info(recording).num_samples / SAMPLE_RATE
    text, words, characters, confidence, alternatives = found
    return render(Transcribed(text, words, duration, recording.name, confidence, characters, alternatives), to)
