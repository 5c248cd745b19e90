"""Check recordings and write a prepared folder, the input of all other commands (`sori prepare`).

The recordings are only read. Each one is decoded completely once, in separate processes. Usable recordings are listed
in `cuts.jsonl.gz`, unusable ones in `excluded.jsonl` with the reason; `flagged.jsonl` has warnings about usable ones.
"""

import json
import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import track

from sori.core.audio import SAMPLE_RATE, AudioInfo
from sori.core.counts import require_count
from sori.core.files import write_text
from sori.core.folders import whole_files
from sori.core.sound.sound_suffixes import COMMON_SUFFIXES
from sori.core.user_files import require_file
from sori.data.batches.audio_cache import FOLDER as CACHE
from sori.data.manifest import CUTS, Utterance, relative_path, write_manifest
from sori.data.preparation.checks import Finding
from sori.data.preparation.sound_statistics import LEVELS_PER_SECOND, SHORTEST_SAMPLES
from sori.data.preparation.summary import Flag, Report, Row, write_report
from sori.data.preparation.transcript_rules import Tagged, apply_rules, read_rules
from sori.data.preparation.workers import MOST_WORKERS, check_files
from sori.data.sources.corpora import read_corpus
from sori.data.sources.layouts.audiofolder import EMBEDDED
from sori.data.sources.layouts.choose import find_layout, read_json, read_layout
from sori.data.sources.reading import Reading
from sori.data.sources.recordings import Excluded, Found, Item, read_folder
from sori.data.sources.tables import SUFFIXES, read_table

EXCLUDED, FLAGGED, REPORT, PLOT = "excluded.jsonl", "flagged.jsonl", "report.md", "report.png"

_NOT_IN_IDS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Tabs, line ends and control characters, which end a field or a line in files with ids."""
_KEPT_IF_OFFICIAL = ("too short", "too long for its transcript", "duplicate")
"""Reasons that do not remove an utterance from an official test or development set: results would not compare."""
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
    reading: Reading = Reading(),  # noqa: B008 - frozen
    relative_to: Path | None = None,
) -> Report:
    """Check every recording and write a prepared folder.

    Args:
        sources: one or several of: a folder of recordings, a table (`.tsv`, `.csv`, `.jsonl`), or `NAME:FOLDER` with
            the name of a Lhotse corpus recipe.
        into: the folder to write; it must be new or empty.
        language: language of the recordings whose source does not name one (ISO 639-3, such as `eng`).
        min_seconds: shorter recordings are left out.
        max_seconds: longer recordings are cut at silences; with a transcript, which cannot be cut, they are left out.
        num_workers: number of decoding processes; None: one for each core.
        overwrite: replace the lists of a folder that was prepared before.
        reading: how the sources are read.
        relative_to: a folder above all recordings, to which paths are relative; None: the output folder.

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
    rules = read_rules(reading.transcript_rules)
    found = _read_all(listed, reading, into)
    _require_below(found.items, into, relative_to)
    tagged = apply_rules(found.items, rules)
    checks = _check_all(found, reading, num_workers=num_workers, max_seconds=max_seconds)
    rows, flags = _select(found, checks, _Limits(language, min_seconds, max_seconds), tagged)
    with whole_files(into, last=CUTS) as fresh:
        _write_lines(fresh / EXCLUDED, [row._asdict() for row in found.excluded])
        _write_lines(fresh / FLAGGED, [flag._asdict() for flag in flags])
        report = write_report(fresh, rows, found, flags, tags=tagged.counts, sources=listed, place=into)
        if rows:
            listing = ((row.utterance, row.about) for row in rows)
            write_manifest(fresh, listing, relative_to=relative_to, place=into)
    if not rows:
        (into / CUTS).unlink(missing_ok=True)  # this list marks a prepared folder
        raise ValueError(_nothing_usable(report, found, into))
    return report


def _nothing_usable(report: Report, found: Found, into: Path) -> str:
    reasons = ", ".join(f"{reason}: {count}" for reason, count in report.excluded.most_common())
    first = f"the first one: {found.excluded[0].path}, {found.excluded[0].detail}" if found.excluded else ""
    return f"none of the recordings can be used ({reasons}); {first}. Each is listed in {into / EXCLUDED}"


def _require_below(items: list[Item], into: Path, relative_to: Path | None) -> None:
    """Refuse recordings that have no path relative to `relative_to`, before hours of decoding."""
    for item in items:
        relative_path(item.path, into, relative_to)


def _check_target(into: Path, sources: list[str], *, overwrite: bool) -> None:
    for source in sources:
        _require_unprepared(Path(source))
        if Path(source).is_dir() and into.resolve().is_relative_to(Path(source).resolve()):
            raise ValueError(f"{into} is inside {source}, which must not be changed; choose an output folder elsewhere")
    ours = {CUTS, EXCLUDED, FLAGGED, REPORT, PLOT, CACHE, EMBEDDED}
    held = {path.name for path in into.iterdir() if path.suffix != ".partial"} if into.is_dir() else set()
    if into.exists() and not into.is_dir():
        raise ValueError(f"{into} is a file; expected a folder for the output")
    if held - ours:
        raise ValueError(f"{into} contains other files ({', '.join(sorted(held - ours)[:5])}); choose a new folder")
    if (lists := held - {CACHE, EMBEDDED}) and EXCLUDED not in lists:
        raise ValueError(
            f"{into} contains {', '.join(sorted(lists))} but no {EXCLUDED}, so it was not made by `sori prepare`; it "
            "is left unchanged: choose a new folder"
        )
    if CUTS in held and not overwrite:
        raise ValueError(f"{into} was prepared before; choose another folder, or use --overwrite to replace its lists")


def _require_unprepared(source: Path) -> None:
    """Refuse a folder that was prepared, and its list: there are no recordings in it."""
    folder = source.parent if source.name == CUTS else source
    if (folder / CUTS).is_file() and (folder / EXCLUDED).is_file():
        raise ValueError(
            f"{folder} is prepared already: it lists recordings that are elsewhere, and there is nothing to prepare. "
            f"Use it as it is: `sori train RECIPE --data {folder}`, where --data may be repeated for several folders. "
            f"To prepare its recordings again, name them as the source, as at the top of {folder / REPORT}"
        )
    if source.name == CUTS and source.is_file():
        raise ValueError(
            f"{source} is a list of Lhotse cuts, which needs no preparation: use its folder, for example "
            f"`sori train RECIPE --data {folder}`"
        )


def _read_all(sources: list[str], reading: Reading, into: Path) -> Found:
    """Read all sources into one list, with absolute paths and unique ids of one line."""
    found = Found([], [], Counter(), [])
    for source in sources:
        one = _read_one(source, reading, into)
        found.items.extend(item._replace(path=str(Path(item.path).absolute())) for item in one.items)
        found.excluded.extend(row._replace(path=str(Path(row.path).absolute())) for row in one.excluded)
        found.others.update(one.others)
        found.notes.extend(one.notes)
        if not one.items and not one.excluded:
            held = ", ".join(f"{count} x {suffix}" for suffix, count in one.others.most_common(5)) or "nothing"
            raise ValueError(
                f"{source} contains no sound files (it contains {held}); expected {COMMON_SUFFIXES} and the like"
            )
    _make_unique(found.items)
    return found


def _make_unique(items: list[Item]) -> None:
    """Make ids one line each, and append `~2`, `~3`, ... to those that occurred before, in linear time."""
    taken: set[str] = set()
    numbers: dict[str, int] = {}
    for index, item in enumerate(items):
        name = plain = _NOT_IN_IDS.sub("_", item.id)
        while name in taken:
            numbers[plain] = numbers.get(plain, 1) + 1
            name = f"{plain}~{numbers[plain]}"
        taken.add(name)
        items[index] = item._replace(id=name)


def _read_one(source: str, reading: Reading, into: Path) -> Found:
    path = Path(source)
    if path.is_dir():
        layout = find_layout(path, reading.layout)
        if layout is None:
            return read_folder(path, reading.tier)
        return read_layout(path, layout, into / EMBEDDED, reading.tier)
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        return read_table(path, audio_root=reading.audio_root)
    if path.is_file() and path.suffix.lower() == ".json":
        return read_json(path)
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


def _check_all(found: Found, reading: Reading, *, num_workers: int, max_seconds: float) -> list[Finding]:
    """Return what was found out about each item; each file is decoded once. Separate channels become items."""
    items, divides = found.items, reading.channels == "separate"
    by_path: dict[str, list[int]] = {}
    for index, item in enumerate(items):
        by_path.setdefault(item.path, []).append(index)
    requests: list[dict[str, Any]] = [
        {
            "path": path,
            "segments": [(items[row].start, items[row].duration, items[row].channel) for row in rows],
            "max_seconds": max_seconds if divides or any(_may_be_cut(items[row]) for row in rows) else math.inf,
            "channels": reading.channels,
            "keep_truncated": reading.keep_truncated,
        }
        for path, rows in by_path.items()
    ]
    listed: list[list[Finding]] = [[] for _ in items]
    rows_of = list(by_path.values())
    results = check_files(requests, num_workers=num_workers)
    console = Console(stderr=True)
    for index, findings in track(results, "Checking recordings", total=len(requests), console=console):
        for finding in findings:
            row = rows_of[index][finding.segment]
            is_apart = divides and items[row].channel is None and finding.channel is not None
            is_cut = is_apart or _may_be_cut(items[row])
            listed[row].append(finding if is_cut else finding._replace(pieces=None))
    pairs = [pair for item, findings in zip(items, listed, strict=True) for pair in _by_channel(item, findings)]
    found.items[:] = [item for item, _ in pairs]
    return [finding for _, finding in pairs]


def _may_be_cut(item: Item) -> bool:
    """Return whether an item may be cut at silences: official sets and transcribed recordings are not."""
    return not item.is_official and not (item.text or "").strip()


def _by_channel(item: Item, findings: list[Finding]) -> list[tuple[Item, Finding]]:
    """Return an item with its finding, or an item for each channel: without the transcript, which is that of all."""
    if len(findings) == 1:
        return [(item._replace(channel=findings[0].channel), findings[0])]
    pairs = []
    remark = "transcript not used: it belongs to all channels; give a table with a row for each channel (channel_index)"
    for finding in findings:
        name, speaker = f"{item.id}-ch{finding.channel}", item.speaker and f"{item.speaker}-ch{finding.channel}"
        warnings = (*finding.warnings, remark) if item.text else finding.warnings
        one = item._replace(id=name, speaker=speaker, text=None, channel=finding.channel)
        pairs.append((one, finding._replace(warnings=warnings)))
    return pairs


def _select(found: Found, findings: list[Finding], limits: _Limits, tagged: Tagged) -> tuple[list[Row], list[Flag]]:
    """Return the rows to keep, in the order of the sources; extends `found.excluded` and `found.notes`."""
    kept = dict[int, Item]()
    owners: dict[str, str] = {}
    official: dict[int, str] = {}
    # Among duplicates, one of an official set is kept if there is one, else one with a transcript.
    order = sorted(range(len(findings)), key=lambda i: (not found.items[i].is_official, not found.items[i].text, i))
    for index in order:
        item, finding = found.items[index], findings[index]
        reason, detail = _exclusion(item, finding, limits, owners)
        if reason in _KEPT_IF_OFFICIAL and item.is_official and not finding.reason:
            official[index] = f"{reason}, kept as part of an official set: {detail}"
        elif reason:
            found.excluded.append(Excluded(item.id, item.path, reason, detail))
            continue
        owners.setdefault(finding.digest, item.id)
        text = " ".join(item.text.split()) if item.text else None
        kept[index] = item._replace(text=text or None, language=item.language or limits.language)
    found.excluded.sort(key=lambda row: (row.path, row.id))
    rows: list[Row] = []
    pieces: list[Row] = []
    flags: list[Flag] = []
    for index, item in sorted(kept.items()):
        warnings = list(findings[index].warnings) + ([official[index]] if index in official else [])
        if item.id in tagged.details:
            warnings.append(f"annotation tags: {tagged.details[item.id]}")
        if found.items[index].text is not None and item.text is None:
            warnings.append("empty transcript: kept as untranscribed")
        flags += [Flag(item.id, item.path, *warning.split(": ", 1)) for warning in warnings]
        utterances = _rows(item, findings[index])
        rows += utterances
        pieces += [] if findings[index].pieces is None else utterances
    long = [findings[index].seconds for index in kept if findings[index].pieces is not None]
    _note_cuts(found, long, pieces, limits.max_seconds)
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


def _rows(item: Item, finding: Finding) -> list[Row]:
    about = AudioInfo(finding.sample_rate, finding.num_frames, finding.num_channels, finding.format)
    first = round(item.start * SAMPLE_RATE)
    last = min(about.num_samples, first + int(finding.seconds * SAMPLE_RATE + 1e-3))

    def row(name: str, start: int, stop: int) -> Row:
        known = (item.text, item.speaker, item.language, item.split)
        span = (start / SAMPLE_RATE, stop - start)
        return Row(Utterance(name, item.path, *span, *known, channel=item.channel), about, finding.level_db)

    if finding.pieces is None:
        return [row(item.id, first, last)]
    hop = SAMPLE_RATE // LEVELS_PER_SECOND
    borders = [(first + start * hop, min(last, first + stop * hop)) for start, stop in finding.pieces]
    return [
        row(f"{item.id}-{number:04d}", start, stop)
        for number, (start, stop) in enumerate(borders, 1)
        if stop - start >= SHORTEST_SAMPLES
    ]


def _note_cuts(found: Found, long: list[float], pieces: list[Row], max_seconds: float) -> None:
    if long:
        dropped = sum(long) - sum(row.utterance.num_samples for row in pieces) / SAMPLE_RATE
        found.notes.append(
            f"recordings longer than {max_seconds:g} s: {len(long)} ({sum(long) / 3600:.2f} h), cut at silences into "
            f"{len(pieces)} pieces; {dropped / 3600:.2f} h of silence were dropped"
        )


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
