"""Many recordings to many transcripts: which files, where to, and what happens to those that fail."""

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
from sori.core.files import write_text
from sori.core.user_files import is_handed_over, open_bytes
from sori.data.sources.recordings import AUDIO
from sori.decoding.beam import BeamDecoder
from sori.decoding.confidence import Confidence
from sori.decoding.transcript_formats import Format, Transcribed, render
from sori.inference.transcribe import Failure, Transcript, transcribe_files
from sori.models.factory import System

STDIN = Path("/dev/stdin")


class Job(NamedTuple):
    """A recording, and where its transcript goes."""

    recording: Path
    transcript: Path


def plan(sources: Sequence[Path], *, into: Path, to: Format) -> list[Job]:
    """Every recording with the file its transcript goes to: its name, with the format's ending, in `into`.

    Args:
        sources: sound files, and folders, all of whose sound files are meant; below `into` they keep their subfolders.
        into: folder for the transcripts.
        to: format.

    Raises:
        FileNotFoundError: there is no such file or folder, or no sound in it.
        ValueError: two recordings would have the same transcript.
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
            raise FileNotFoundError(f"{source} holds no sound files ({', '.join(sorted(AUDIO))})")
        yield from ((path, path.relative_to(source)) for path in found)


def write(
    model: System,
    jobs: Sequence[Job],
    *,
    to: Format,
    overwrite: bool = False,
    decoder: BeamDecoder | None = None,
    confidence: Confidence | None = None,
) -> Iterator[str | Failure]:
    """Transcribe recordings, one after the other; one that fails does not stop the others.

    Args:
        model: a recogniser.
        jobs: from `plan`.
        to: format.
        overwrite: replace transcripts that exist; otherwise these are failures, and their recordings are not heard.
        decoder: as for `infer.transcribe`.
        confidence: likewise.

    Yields:
        For each recording the file that was written, or why none was.
    """
    for job in jobs:
        if job.transcript.exists() and not overwrite:
            yield Failure(job.recording, f"{job.transcript} exists; replace it with --overwrite")
            continue
        ((_, found),) = transcribe_files(model, [job.recording], decoder=decoder, confidence=confidence)
        if isinstance(found, Failure):
            yield found
            continue
        write_text(job.transcript, _rendered(job.recording, found, to))
        yield str(job.transcript)


def show(
    model: System,
    sources: Sequence[Path],
    *,
    to: Format,
    times: bool,
    decoder: BeamDecoder | None = None,
    confidence: Confidence | None = None,
) -> Iterator[str | Failure]:
    """Transcribe recordings for the screen.

    Args:
        model: a recogniser.
        sources: sound files, and folders, all of whose sound files are meant.
        to: format; `txt` of several recordings begins each line with the recording's name.
        times: with `txt`: a line for each word: begin, end, confidence where it is known, and the word. The best texts
            of a decoder that gives several follow, a line each: begin and end of the passage, number, score, and text.
        decoder: as for `infer.transcribe`.
        confidence: likewise.

    Yields:
        For each recording its transcript, or why there is none.
    """
    paths = [path for path, _ in _recordings(sources)]
    for path, found in transcribe_files(model, paths, decoder=decoder, confidence=confidence):
        if isinstance(found, Failure):
            yield found
        elif to != "txt":
            yield _rendered(path, found, to).rstrip("\n")
        else:
            lines = [found.text if len(paths) == 1 and not times else f"{path}\t{found.text}"]
            if times:
                lines += _word_lines(found)
            for passage in found.alternatives or ():
                span = f"{passage.start:.2f}\t{passage.end:.2f}"
                lines += [f"{span}\t{n}\t{score:.2f}\t{text}" for n, (text, score) in enumerate(passage.texts, 1)]
            yield "\n".join(lines)


def _word_lines(found: Transcript) -> list[str]:
    spans = [f"{word.start:.2f}\t{word.end:.2f}" for word in found.words]
    if found.confidence is not None:
        spans = [f"{span}\t{sure:.2f}" for span, sure in zip(spans, found.confidence, strict=True)]
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
    with contextlib.suppress(io.UnsupportedOperation):  # no file of the system: somebody put bytes there
        if stat.S_ISCHR(os.fstat(stream.fileno()).st_mode):
            raise ValueError(
                "expected sound on the standard input, got a terminal or device; name a file, or use `< FILE`"
            )
    return contextlib.nullcontext(stream)


def _rendered(recording: Path, found: Transcript, to: Format) -> str:
    duration = info(recording).num_samples / SAMPLE_RATE
    text, words, characters, confidence, alternatives = found
    return render(Transcribed(text, words, duration, recording.name, confidence, characters, alternatives), to)
