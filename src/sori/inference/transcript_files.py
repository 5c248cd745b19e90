"""Transcribe many recordings to files or to the screen, continuing after failures."""

import contextlib
import io
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from sori.core.audio import SAMPLE_RATE, info
from sori.core.files import MAX_NAME_BYTES, write_text
from sori.core.log import one_line
from sori.core.user_files import is_handed_over, open_bytes
from sori.decoding.beam import BeamDecoder
from sori.decoding.confidence import Confidence
from sori.decoding.transcript_formats import Format, Transcribed, extension, render
from sori.inference.inputs import recordings_in
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
    jobs = [Job(path, into / name.with_suffix(f".{extension(to)}")) for path, name in recordings_in(sources)]
    first: dict[Path, Path] = {}
    for job in jobs:
        other = first.setdefault(job.transcript, job.recording)
        if other != job.recording:
            raise ValueError(
                f"{other} and {job.recording} would both be written to {job.transcript}; transcribe them into "
                "different folders, or rename one"
            )
    return jobs


def write(
    model: System,
    jobs: Sequence[Job],
    *,
    to: Format,
    overwrite: bool = False,
    decoder: BeamDecoder | None = None,
    confidence: Confidence | None = None,
) -> Iterator[str | FailedRecording]:
    """Transcribe recordings to files, each written as soon as it and those before it are done, despite failures.

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
    refused = {job: reason for job in jobs if (reason := _refusal(job, overwrite=overwrite)) is not None}
    recordings = [job.recording for job in jobs if job not in refused]
    transcripts = transcribe_files(model, recordings, decoder=decoder, confidence=confidence)
    for job in jobs:
        if job in refused:
            yield FailedRecording(job.recording, refused[job])
            continue
        _, found = next(transcripts)
        if isinstance(found, FailedRecording):
            yield found
            continue
        write_text(job.transcript, _rendered(job.recording, found, to))
        yield str(job.transcript)


def _refusal(job: Job, *, overwrite: bool) -> str | None:
    """Return why a transcript cannot be written, which is known before the recording is processed."""
    if (length := len(os.fsencode(job.transcript.name))) > MAX_NAME_BYTES:
        return f"the name of its transcript has {length} bytes, of at most {MAX_NAME_BYTES}; rename the recording"
    if job.transcript.exists() and not overwrite:
        return f"{job.transcript} exists; replace it with --overwrite"
    return None


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
        to: format; with `txt` and several recordings, each line begins with the path of the recording (as `one_line`).
        times: with `txt`, add a line for each word: start, end, confidence where there is one, and the word. The n-best
            list of a decoder with several results follows, one line each: start and end of the chunk, rank, score, and
            text.
        decoder: as for `transcribe`.
        confidence: as for `transcribe`.

    Yields:
        For each recording, its transcript, or the reason of the failure.
    """
    paths = [path for path, _ in recordings_in(sources)]
    for path, found in transcribe_files(model, paths, decoder=decoder, confidence=confidence):
        if isinstance(found, FailedRecording):
            yield found
        elif to != "txt":
            yield _rendered(path, found, to).rstrip("\n")
        else:
            lines = [found.text if len(paths) == 1 and not times else f"{one_line(str(path))}\t{found.text}"]
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
    """The sources; files hold what `STDIN` and pipes (`<(...)`) give, because decoders go back and forth.

    Raises:
        ValueError: the standard input is closed, or a device that is no terminal.
    """
    piped = [source for source in dict.fromkeys(sources) if source == STDIN or is_handed_over(source)]
    if not piped:
        yield list(sources)
        return
    with tempfile.TemporaryDirectory() as folder:
        held = {source: Path(folder) / source.name for source in piped}
        for source, place in held.items():
            with place.open("wb") as file, _stream(source) as stream:
                shutil.copyfileobj(stream, file)
        yield [held.get(source, source) for source in sources]


def _stream(source: Path) -> AbstractContextManager[BinaryIO]:
    if source != STDIN:
        return open_bytes(source)
    if sys.stdin is None:
        raise ValueError("expected sound on the standard input, got none: it is closed; name a file, or use `< FILE`")
    stream = sys.stdin.buffer
    with contextlib.suppress(io.UnsupportedOperation):  # not a file of the system but bytes in memory
        if stat.S_ISCHR(os.fstat(stream.fileno()).st_mode):
            raise ValueError(
                "expected sound on the standard input, got a terminal or device; name a file, or use `< FILE`"
            )
    return contextlib.nullcontext(stream)


def _rendered(recording: Path, found: Transcript, to: Format) -> str:
    duration = info(recording).num_samples / SAMPLE_RATE
    text, words, characters, confidence, alternatives = found
    return render(Transcribed(text, words, duration, recording.name, confidence, characters, alternatives), to)
