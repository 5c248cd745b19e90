"""Check recordings and write a prepared folder, the input of all other commands (`sori prepare`).

The recordings are only read. Each one is decoded completely once, in separate processes. Usable recordings are listed
in `utterances.arrow` and `cuts.jsonl.gz`, unusable ones in `excluded.jsonl` with the reason; `flagged.jsonl` has
warnings about usable ones.
"""

import itertools
import json
import os
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from sori.core.audio import SAMPLE_RATE
from sori.core.counts import require_count
from sori.core.files import write_text
from sori.core.folders import whole_files
from sori.core.locks import LockedError, locked
from sori.core.log import logger
from sori.core.sound.sound_suffixes import COMMON_SUFFIXES
from sori.core.user_files import require_file
from sori.data.batches.audio_cache import FOLDER as CACHE
from sori.data.manifest import CUTS, TABLE, relative_path, write_manifest
from sori.data.preparation import check_journal
from sori.data.preparation.check_journal import Journal
from sori.data.preparation.check_requests import CheckRequests
from sori.data.preparation.checked_items import CheckedItems
from sori.data.preparation.cluster import check_on_cluster
from sori.data.preparation.row_statistics import RowStatistics
from sori.data.preparation.sound_statistics import SHORTEST_SAMPLES
from sori.data.preparation.summary import Report, write_report
from sori.data.preparation.transcript_rules import Tagged, apply_rules, read_rules
from sori.data.preparation.usable_rows import Limits, UsableRows
from sori.data.preparation.workers import MOST_WORKERS, check_files
from sori.data.sources.corpora import read_corpus
from sori.data.sources.layouts.audiofolder import EMBEDDED
from sori.data.sources.layouts.choose import find_layout, read_json, read_layout
from sori.data.sources.reading import Reading
from sori.data.sources.recordings import Found, Item, read_folder
from sori.data.sources.tables import SUFFIXES, read_table

EXCLUDED, FLAGGED, REPORT, PLOT = "excluded.jsonl", "flagged.jsonl", "report.md", "report.png"
LOCK = "prepare.lock"

_NOT_IN_IDS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Tabs, line ends and control characters, which end a field or a line in files with ids."""
_CORPUS = re.compile(r"([a-z][a-z0-9_]+):(.+)")


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
    scheduler: str | None = None,
) -> Report:
    """Check every recording and write a prepared folder; the same call continues one that was interrupted.

    Args:
        sources: one or several of: a folder of recordings, a table (`.tsv`, `.csv`, `.jsonl`), or `NAME:FOLDER` with
            the name of a Lhotse corpus recipe.
        into: the folder to write; it must be new or empty.
        language: language of the recordings whose source does not name one (ISO 639-3, such as `eng`).
        min_seconds: shorter recordings are left out.
        max_seconds: longer recordings are cut at silences; with a transcript, which cannot be cut, they are left out.
        num_workers: number of decoding processes on this machine; None: one for each core.
        overwrite: replace the lists of a folder that was prepared before.
        reading: how the sources are read.
        relative_to: a folder above all recordings, to which paths are relative; None: the output folder.
        scheduler: address of a Dask scheduler (`tcp://host:8786`), whose workers decode instead of this machine.

    Returns:
        The main figures of `report.md`.

    Raises:
        ValueError: a source does not exist or is of an unknown kind, `into` is unsuitable, no recording is usable, or
            the cluster cannot be used.
        RuntimeError: the cluster is lost; the same call continues.
    """
    if not SHORTEST_SAMPLES / SAMPLE_RATE <= min_seconds < max_seconds or max_seconds < 1:
        raise ValueError(
            f"expected 0.025 <= min_seconds < max_seconds and 1 <= max_seconds, got {min_seconds} and {max_seconds}"
        )
    num_workers = _num_workers(num_workers, scheduler)
    into = Path(into)
    listed = [str(sources)] if isinstance(sources, str | Path) else [str(source) for source in sources]
    _check_target(into, listed, overwrite=overwrite)
    rules = read_rules(reading.transcript_rules)
    found = _read_all(listed, reading, into)
    _require_below(found.items, into, relative_to)
    tagged = apply_rules(found.items, rules)
    requests = CheckRequests(found.items, reading, max_seconds)
    with _journal(into) as journal:
        checked = CheckedItems(requests, journal)
        _check_all(checked, num_workers=num_workers, scheduler=scheduler)
        found.items[:] = checked.divide()
        usable = UsableRows(found, checked, Limits(language, min_seconds, max_seconds), tagged)
        report = _write_lists(into, usable, tagged, sources=listed, relative_to=relative_to)
        journal.remove()
    if not report.num_utterances:
        _unlink_lists(into)
        raise ValueError(_nothing_usable(report, found, into))
    return report


def _unlink_lists(into: Path) -> None:
    """Remove the lists that mark a prepared folder."""
    for name in (CUTS, TABLE):
        (into / name).unlink(missing_ok=True)


def _num_workers(num_workers: int | None, scheduler: str | None) -> int:
    if scheduler is not None and num_workers is not None:
        raise ValueError(
            f"expected num_workers or scheduler, got {num_workers} and {scheduler}: the processes of a cluster are set "
            "where its workers are started; leave num_workers out"
        )
    num_workers = min(os.cpu_count() or 1, MOST_WORKERS) if num_workers is None else num_workers
    require_count("num_workers", num_workers, most=MOST_WORKERS)
    return num_workers


def _write_lists(
    into: Path, usable: UsableRows, tagged: Tagged, *, sources: list[str], relative_to: Path | None
) -> Report:
    """Write all lists and the report; the utterances are made while they are written."""
    found, statistics = usable.found, RowStatistics()
    with whole_files(into, last=CUTS) as fresh:
        rows = statistics.added(usable)
        for first in itertools.islice(rows, 1):  # without any row there is no list
            listing = ((row.utterance, row.about) for row in itertools.chain([first], rows))
            write_manifest(fresh, listing, relative_to=relative_to, place=into)
        _write_lines(fresh / EXCLUDED, [row._asdict() for row in found.excluded])
        _write_lines(fresh / FLAGGED, [flag._asdict() for flag in usable.flags])
        return write_report(fresh, statistics, found, usable.flags, tags=tagged.counts, sources=sources, place=into)


@contextmanager
def _journal(into: Path) -> Iterator[Journal]:
    """Open the journal of a folder that no other process prepares now."""
    try:
        with locked(into / LOCK), closing(Journal(into / check_journal.NAME)) as journal:
            yield journal
    except LockedError as error:
        raise ValueError(
            f"expected {into} for this command alone, but another one is preparing it now: {error}; wait for it, stop "
            "it, or choose another folder"
        ) from None


def _check_all(checked: CheckedItems, *, num_workers: int, scheduler: str | None) -> None:
    """Check each file once, except those that an interrupted call has checked."""
    requests, journal = checked.requests, checked.journal
    is_done = bytearray(len(requests))
    for recorded in journal.recorded(requests):
        checked.add(recorded)
        is_done[recorded.number] = True
    rest = array("q", (index for index, done in enumerate(is_done) if not done))
    if len(rest) < len(requests):
        logger.info(f"{len(requests) - len(rest):,} of {len(requests):,} files were checked before: {journal.path}")
    results = (
        check_files(requests, num_workers=num_workers, indices=rest)
        if scheduler is None
        else check_on_cluster(requests, scheduler, indices=rest)
    )
    console = Console(stderr=True)
    try:
        with closing(results):
            for index, found in track(results, "Checking recordings", total=len(rest), console=console):
                checked.add(journal.add(index, requests[index], found))
    except (KeyboardInterrupt, SystemExit):
        logger.info("the same command continues with the files that are not yet checked")
        raise


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
    working = {CACHE, EMBEDDED, LOCK, check_journal.NAME}
    ours = {CUTS, TABLE, EXCLUDED, FLAGGED, REPORT, PLOT} | working
    held = {path.name for path in into.iterdir() if path.suffix != ".partial"} if into.is_dir() else set()
    if into.exists() and not into.is_dir():
        raise ValueError(f"{into} is a file; expected a folder for the output")
    if held - ours:
        raise ValueError(f"{into} contains other files ({', '.join(sorted(held - ours)[:5])}); choose a new folder")
    if (lists := held - working) and EXCLUDED not in lists:
        raise ValueError(
            f"{into} contains {', '.join(sorted(lists))} but no {EXCLUDED}, so it was not made by `sori prepare`; it "
            "is left unchanged: choose a new folder"
        )
    if held & {CUTS, TABLE} and not overwrite:
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


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
