"""Check recordings and write a prepared folder, the input of all other commands (`sori prepare`).

The recordings are only read. Each one is decoded completely once, in separate processes. Usable recordings are listed
in `cuts.jsonl.gz`, unusable ones in `excluded.jsonl` with the reason; `flagged.jsonl` has warnings about usable ones.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track

from sori.core.audio import SAMPLE_RATE, AudioInfo
from sori.core.counts import require_count
from sori.core.files import write_text
from sori.core.user_files import require_file
from sori.data.batches.audio_cache import FOLDER as CACHE
from sori.data.manifest import CUTS, Utterance, write_manifest
from sori.data.preparation import segments
from sori.data.preparation.checks import LEVELS_PER_SECOND, SHORTEST_SAMPLES, Finding
from sori.data.preparation.summary import Flag, Report, Row, write_report
from sori.data.preparation.workers import MOST_WORKERS, check_files
from sori.data.sources.corpora import read_corpus
from sori.data.sources.recordings import Excluded, Found, Item, read_folder
from sori.data.sources.tables import SUFFIXES, read_table

EXCLUDED, FLAGGED, REPORT, PLOT = "excluded.jsonl", "flagged.jsonl", "report.md", "report.png"

_NOT_IN_IDS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Tabs, line ends and control characters, which end a field or a line in files with ids."""
_CORPUS = re.compile(r"([a-z][a-z0-9_]+):(.+)")


class _Limits(NamedTuple):
    language: str | None
    min_seconds: float
    max_seconds: float


def prepare(
    sources: str | Path | Sequence[str | Path],
    into: str | Path,
    *,
    audio_root: str | Path | None = None,
    language: str | None = None,
    min_seconds: float = 0.025,
    max_seconds: float = 30.0,
    num_workers: int | None = None,
    overwrite: bool = False,
) -> Report:
    """Check every recording and write a prepared folder.

    Args:
        sources: one or several of: a folder of recordings, a table (`.tsv`, `.csv`, `.jsonl`), or `NAME:FOLDER` with
            the name of a Lhotse corpus recipe.
        into: the folder to write; it must be new or empty.
        audio_root: folder of the recordings that tables name, if it is not that of the table; paths are relative to it,
            or are names of files below it.
        language: language of the recordings whose source does not name one (ISO 639-3, such as `eng`).
        min_seconds: shorter recordings are left out.
        max_seconds: longer recordings are cut at silences; with a transcript, which cannot be cut, they are left out.
        num_workers: number of decoding processes; None: one for each core.
        overwrite: replace the lists of a folder that was prepared before.

    Returns:
        The main figures of `report.md`.

    Raises:
        ValueError: a source does not exist or is of an unknown kind, `into` is unsuitable, or no recording is usable.
    """
    if not SHORTEST_SAMPLES / SAMPLE_RATE <= min_seconds < max_seconds or max_seconds < 1:
        raise ValueError(
            f"expected 0.025 <= min_seconds < max_seconds and 1 <= max_seconds, got {min_seconds} and {max_seconds}"
        )
    num_workers = min(os.cpu_count() or 1, MOST_WORKERS) if num_workers is None else num_workers
    require_count("num_workers", num_workers, most=MOST_WORKERS)
    into = Path(into)
    listed = [str(sources)] if isinstance(sources, str | Path) else [str(source) for source in sources]
    _check_target(into, listed, overwrite=overwrite)
    found = _read_all(listed, audio_root=None if audio_root is None else Path(audio_root))
    findings = _check_all(found.items, num_workers=num_workers, levels_over=max_seconds)
    rows, flags = _select(found, findings, _Limits(language, min_seconds, max_seconds))
    into.mkdir(parents=True, exist_ok=True)
    (into / CUTS).unlink(missing_ok=True)  # this list marks a prepared folder: removed first, written last
    _write_lines(into / EXCLUDED, [row._asdict() for row in found.excluded])
    _write_lines(into / FLAGGED, [flag._asdict() for flag in flags])
    report = write_report(into, rows, found, flags, sources=listed)
    if not rows:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in report.excluded.most_common())
        first = f"the first one: {found.excluded[0].path}, {found.excluded[0].detail}" if found.excluded else ""
        raise ValueError(
            f"none of the recordings can be used ({reasons}); {first}. Each is listed in {into / EXCLUDED}"
        )
    write_manifest(into, ((row.utterance, row.about) for row in rows))
    return report


def _check_target(into: Path, sources: list[str], *, overwrite: bool) -> None:
    for source in sources:
        if Path(source).is_dir() and into.resolve().is_relative_to(Path(source).resolve()):
            raise ValueError(f"{into} is inside {source}, which must not be changed; choose an output folder elsewhere")
    ours = {CUTS, EXCLUDED, FLAGGED, REPORT, PLOT, CACHE}
    held = {path.name for path in into.iterdir() if path.suffix != ".partial"} if into.is_dir() else set()
    if into.exists() and not into.is_dir():
        raise ValueError(f"{into} is a file; expected a folder for the output")
    if held - ours:
        raise ValueError(f"{into} contains other files ({', '.join(sorted(held - ours)[:5])}); choose a new folder")
    if (lists := held - {CACHE}) and EXCLUDED not in lists:
        raise ValueError(
            f"{into} contains {', '.join(sorted(lists))} but no {EXCLUDED}, so it was not made by `sori prepare`; it "
            "is left unchanged: choose a new folder"
        )
    if CUTS in held and not overwrite:
        raise ValueError(f"{into} was prepared before; choose another folder, or use --overwrite to replace its lists")


def _read_all(sources: list[str], *, audio_root: Path | None = None) -> Found:
    """Read all sources into one list, with absolute paths and unique ids of one line."""
    found = Found([], [], Counter(), [])
    for source in sources:
        one = _read_one(source, audio_root)
        found.items.extend(item._replace(path=str(Path(item.path).absolute())) for item in one.items)
        found.excluded.extend(row._replace(path=str(Path(row.path).absolute())) for row in one.excluded)
        found.others.update(one.others)
        found.notes.extend(one.notes)
        if not one.items and not one.excluded:
            held = ", ".join(f"{count} x {suffix}" for suffix, count in one.others.most_common(5)) or "nothing"
            raise ValueError(
                f"{source} contains no sound files (it contains {held}); expected .wav, .flac, .mp3, .ogg or .opus"
            )
    taken: set[str] = set()
    numbers: dict[str, int] = {}
    for index, item in enumerate(found.items):
        name = plain = _NOT_IN_IDS.sub("_", item.id)
        while name in taken:
            numbers[plain] = numbers.get(plain, 1) + 1
            name = f"{plain}~{numbers[plain]}"
        taken.add(name)
        found.items[index] = item._replace(id=name)
    return found


def _read_one(source: str, audio_root: Path | None) -> Found:
    path = Path(source)
    if path.is_dir():
        return read_folder(path)
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        return read_table(path, audio_root=audio_root)
    if path.is_file():
        raise ValueError(f"{source}: expected a folder or a table ({', '.join(SUFFIXES)}), got a {path.suffix} file")
    if path.exists():
        require_file(path)
    corpus = _CORPUS.fullmatch(source)
    if corpus:
        return read_corpus(corpus[1], Path(corpus[2]))
    raise ValueError(
        f"{source}: no such file or folder; expected a folder of recordings, a table, or CORPUS:FOLDER with a corpus "
        "that Lhotse has a recipe for, such as librispeech:/data/LibriSpeech"
    )


def _check_all(items: list[Item], *, num_workers: int, levels_over: float) -> list[Finding]:
    requests: list[dict[str, Any]] = [
        {"path": item.path, "start": item.start, "duration": item.duration, "levels_over": levels_over}
        for item in items
    ]
    findings = [Finding()] * len(items)
    results = check_files(requests, num_workers=num_workers)
    console = Console(stderr=True)
    for index, finding in track(results, "Checking recordings", total=len(items), console=console):
        findings[index] = finding
    return findings


def _select(found: Found, findings: list[Finding], limits: _Limits) -> tuple[list[Row], list[Flag]]:
    """Return the rows to keep, in the order of the sources; extends `found.excluded` and `found.notes`."""
    kept: dict[int, Item] = {}
    owners: dict[str, str] = {}
    # Among duplicates, a recording with a transcript is kept if there is one.
    for index in sorted(range(len(findings)), key=lambda i: (not found.items[i].text, i)):
        item, finding = found.items[index], findings[index]
        reason, detail = _exclusion(item, finding, limits, owners)
        if reason:
            found.excluded.append(Excluded(item.id, item.path, reason, detail))
            continue
        owners[finding.digest] = item.id
        text = " ".join(item.text.split()) if item.text else None
        kept[index] = item._replace(text=text or None, language=item.language or limits.language)
    found.excluded.sort(key=lambda row: (row.path, row.id))
    rows: list[Row] = []
    flags: list[Flag] = []
    for index, item in sorted(kept.items()):
        warnings = list(findings[index].warnings)
        if found.items[index].text is not None and item.text is None:
            warnings.append("empty transcript: kept as untranscribed")
        flags += [Flag(item.id, item.path, *warning.split(": ", 1)) for warning in warnings]
        rows += _rows(item, findings[index], limits.max_seconds)
    _note_cuts(found, [findings[index] for index in kept], rows, limits.max_seconds)
    return rows, flags


def _exclusion(item: Item, finding: Finding, limits: _Limits, owners: dict[str, str]) -> tuple[str | None, str]:
    if finding.reason:
        return finding.reason, finding.detail
    if finding.seconds < limits.min_seconds:
        return "too short", f"{finding.seconds:.3f} s; the minimum is {limits.min_seconds:g} s"
    if finding.seconds > limits.max_seconds and item.text and item.text.strip():
        return "too long for its transcript", (
            f"{finding.seconds:.1f} s with one transcript, which cannot be cut at silences; raise max_seconds, give a "
            "table with start and end of each sentence, or remove the transcript to use the audio alone"
        )
    if finding.digest in owners:
        return "duplicate", f"the same audio as {owners[finding.digest]}"
    return None, ""


def _rows(item: Item, finding: Finding, max_seconds: float) -> list[Row]:
    about = AudioInfo(finding.sample_rate, finding.num_frames, finding.num_channels, finding.format)
    first = round(item.start * SAMPLE_RATE)
    last = min(about.num_samples, first + int(finding.seconds * SAMPLE_RATE + 1e-3))

    def row(name: str, start: int, stop: int) -> Row:
        known = (item.text, item.speaker, item.language, item.split)
        return Row(Utterance(name, item.path, start / SAMPLE_RATE, stop - start, *known), about, finding.level_db)

    if not finding.levels:
        return [row(item.id, first, last)]
    hop = SAMPLE_RATE // LEVELS_PER_SECOND
    levels = np.asarray(finding.levels, dtype=np.float64)
    pieces = segments.cut(levels, max_frames=int(max_seconds * LEVELS_PER_SECOND))
    borders = [(first + start * hop, min(last, first + stop * hop)) for start, stop in pieces]
    return [
        row(f"{item.id}-{number:04d}", start, stop)
        for number, (start, stop) in enumerate(borders, 1)
        if stop - start >= SHORTEST_SAMPLES
    ]


def _note_cuts(found: Found, findings: list[Finding], rows: list[Row], max_seconds: float) -> None:
    long = [finding.seconds for finding in findings if finding.levels]
    if long:
        kept = sum(row.utterance.num_samples for row in rows) / SAMPLE_RATE
        dropped = sum(finding.seconds for finding in findings) - kept
        num_pieces = len(rows) - (len(findings) - len(long))
        found.notes.append(
            f"recordings longer than {max_seconds:g} s: {len(long)} ({sum(long) / 3600:.2f} h), cut at silences into "
            f"{num_pieces} pieces; {dropped / 3600:.2f} h of silence were dropped"
        )


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
