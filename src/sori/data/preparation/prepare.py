"""Recordings as they are, in; a folder that every other command understands, out (`sori prepare`).

The recordings are only read. Each one is decoded once from end to end in separate processes, and either listed in
`cuts.jsonl.gz` or in `excluded.jsonl` with the reason; peculiarities of those that are kept go to `flagged.jsonl`.
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

_CORPUS = re.compile(r"([a-z][a-z0-9_]+):(.+)")


class _Limits(NamedTuple):
    language: str | None
    min_seconds: float
    max_seconds: float


def prepare(
    sources: str | Path | Sequence[str | Path],
    into: str | Path,
    *,
    language: str | None = None,
    min_seconds: float = 0.025,
    max_seconds: float = 30.0,
    num_workers: int | None = None,
    overwrite: bool = False,
) -> Report:
    """Look into every recording and write a prepared folder.

    Args:
        sources: one or several of: a folder of recordings, a table (`.tsv`, `.csv`, `.jsonl`), or `NAME:FOLDER` with
            the name of a Lhotse corpus recipe.
        into: the folder to write; it must not exist yet, or be empty.
        language: of the recordings whose source does not say (ISO 639-3, such as `eng`).
        min_seconds: shorter recordings are left out.
        max_seconds: longer ones are cut at silences; where they have a transcript, which cannot be cut, left out.
        num_workers: processes that decode; None: one for each core.
        overwrite: replace the lists of an already prepared folder.

    Returns:
        What was found, the contents of `report.md`.

    Raises:
        ValueError: a source that is not there or cannot be understood, an unsuitable `into`, or nothing usable.
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
    found = _read_all(listed)
    findings = _look_into(found.items, num_workers=num_workers, levels_over=max_seconds)
    rows, flags = _sort_out(found, findings, _Limits(language, min_seconds, max_seconds))
    into.mkdir(parents=True, exist_ok=True)
    (into / CUTS).unlink(missing_ok=True)  # it makes a folder a prepared one, so it goes first and comes last
    _write_lines(into / EXCLUDED, [row._asdict() for row in found.excluded])
    _write_lines(into / FLAGGED, [flag._asdict() for flag in flags])
    report = write_report(into, rows, found, flags, sources=listed)
    if not rows:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in report.excluded.most_common())
        raise ValueError(f"none of the recordings can be used ({reasons}); {into / EXCLUDED} names each")
    write_manifest(into, ((row.utterance, row.about) for row in rows))
    return report


def _check_target(into: Path, sources: list[str], *, overwrite: bool) -> None:
    for source in sources:
        if Path(source).is_dir() and into.resolve().is_relative_to(Path(source).resolve()):
            raise ValueError(
                f"{into} lies inside {source}, which is only read; choose a folder elsewhere for the output"
            )
    ours = {CUTS, EXCLUDED, FLAGGED, REPORT, PLOT, CACHE}
    held = {path.name for path in into.iterdir() if path.suffix != ".partial"} if into.is_dir() else set()
    if into.exists() and not into.is_dir():
        raise ValueError(f"{into} is a file; expected a folder to write to")
    if held - ours:
        raise ValueError(f"{into} holds other things ({', '.join(sorted(held - ours)[:5])}); choose a new folder")
    if (lists := held - {CACHE}) and EXCLUDED not in lists:
        raise ValueError(
            f"{into} holds {', '.join(sorted(lists))} without {EXCLUDED}, so `sori prepare` did not make it; it is "
            "left as it is: choose a new folder"
        )
    if CUTS in held and not overwrite:
        raise ValueError(f"{into} was prepared before; choose another folder, or use --overwrite to replace its lists")


def _read_all(sources: list[str]) -> Found:
    """All sources as one, with absolute paths and ids that differ."""
    found = Found([], [], Counter(), [])
    for source in sources:
        one = _read_one(source)
        found.items.extend(item._replace(path=str(Path(item.path).absolute())) for item in one.items)
        found.excluded.extend(row._replace(path=str(Path(row.path).absolute())) for row in one.excluded)
        found.others.update(one.others)
        found.notes.extend(one.notes)
        if not one.items and not one.excluded:
            held = ", ".join(f"{count} x {suffix}" for suffix, count in one.others.most_common(5)) or "nothing at all"
            raise ValueError(
                f"{source} holds no sound files (it holds {held}); expected .wav, .flac, .mp3, .ogg or .opus"
            )
    taken: set[str] = set()
    for index, item in enumerate(found.items):
        name, number = item.id, 1
        while name in taken:
            number += 1
            name = f"{item.id}~{number}"
        taken.add(name)
        found.items[index] = item._replace(id=name)
    return found


def _read_one(source: str) -> Found:
    path = Path(source)
    if path.is_dir():
        return read_folder(path)
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        return read_table(path)
    if path.is_file():
        raise ValueError(f"{source}: expected a folder or a table ({', '.join(SUFFIXES)}), got a {path.suffix} file")
    if path.exists():
        require_file(path)
    corpus = _CORPUS.fullmatch(source)
    if corpus:
        return read_corpus(corpus[1], Path(corpus[2]))
    raise ValueError(
        f"{source}: no such file or folder; expected a folder of recordings, a table, or CORPUS:FOLDER with a corpus "
        "that Lhotse knows, such as librispeech:/data/LibriSpeech"
    )


def _look_into(items: list[Item], *, num_workers: int, levels_over: float) -> list[Finding]:
    requests: list[dict[str, Any]] = [
        {"path": item.path, "start": item.start, "duration": item.duration, "levels_over": levels_over}
        for item in items
    ]
    findings = [Finding()] * len(items)
    results = check_files(requests, num_workers=num_workers)
    console = Console(stderr=True)
    for index, finding in track(results, "Listening", total=len(items), console=console):
        findings[index] = finding
    return findings


def _sort_out(found: Found, findings: list[Finding], limits: _Limits) -> tuple[list[Row], list[Flag]]:
    """Rows that are kept, in the order of the sources; `found.excluded` and `found.notes` grow."""
    kept: dict[int, Item] = {}
    owners: dict[str, str] = {}
    # Of recordings with the same sound, one with a transcript is kept if there is one.
    for index in sorted(range(len(findings)), key=lambda i: (not found.items[i].text, i)):
        item, finding = found.items[index], findings[index]
        reason, detail = _objection(item, finding, limits, owners)
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


def _objection(item: Item, finding: Finding, limits: _Limits, owners: dict[str, str]) -> tuple[str | None, str]:
    if finding.reason:
        return finding.reason, finding.detail
    if finding.seconds < limits.min_seconds:
        return "too short", f"{finding.seconds:.3f} s, at least {limits.min_seconds:g} s are asked for"
    if finding.seconds > limits.max_seconds and item.text and item.text.strip():
        return "too long for its transcript", (
            f"{finding.seconds:.1f} s with one transcript, which cannot be cut at silences; raise max_seconds, give a "
            "table with start and end of each sentence, or take the transcript away to use the sound alone"
        )
    if finding.digest in owners:
        return "duplicate", f"the same sound as {owners[finding.digest]}"
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
            f"{len(long)} recordings longer than {max_seconds:g} s ({sum(long) / 3600:.2f} h) were cut at silences "
            f"into {num_pieces} pieces; {dropped / 3600:.2f} h of silence were dropped"
        )


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
