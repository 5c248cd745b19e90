"""Read and write the utterances of a prepared folder: as a table (`table_file.py`) and as Lhotse cuts.

Both files have the same rows. The table is what sori reads. `cuts.jsonl.gz`, one JSON object a line, is what Lhotse and
other programs read and write; it is read where there is no table, or where it was changed after the table was written.

The lines are read and written directly rather than through Lhotse's objects: 100,000 utterances load in about a second.
Any Lhotse manifest of cuts can be read, provided that each cut uses all channels of one sound file.

Each cut has the path of its sound file twice: absolute, as Lhotse expects it, and relative to the prepared folder or to
a root of the user, so that folders can be moved together with the recordings.
"""

import gzip
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sori.core.audio import LONGEST_SECONDS, SAMPLE_RATE, AudioInfo
from sori.core.files import atomic_write
from sori.core.foreign_values import shown
from sori.core.log import logger
from sori.core.sound.tar_members import is_url, tar_of
from sori.core.text_files import json_lines
from sori.core.user_files import open_bytes
from sori.data.table_file import TABLE, TableFile, table_writer
from sori.data.utterance import Utterance
from sori.data.utterance_columns import Part, UtteranceTable, located

__all__ = ["CUTS", "ROOT_VARIABLE", "TABLE", "Utterance", "open_manifest", "read_manifest", "write_manifest"]

CUTS = "cuts.jsonl.gz"
"""Name of the file that marks a prepared folder."""


ROOT_VARIABLE = "SORI_RECORDINGS"
"""Environment variable with the folder that replaces the root given to `sori prepare --relative-to`."""
_RELATIVE, _ROOT = "path", "relative_to"
_TRIED = 20
"""Recordings that are looked up to find out whether the relative paths are valid."""


def open_manifest(folder: Path) -> Sequence[Utterance]:
    """Open the utterances of a prepared folder, in the order of the file, without an object for each in memory.

    Returns:
        A table; a list where only `cuts.jsonl.gz` is there or up to date.

    Raises:
        ValueError: as `read_manifest`.
    """
    table = open_table(folder)
    return [utterance for utterance, _ in iter_with_cuts(folder)] if table is None else table


def read_manifest(folder: Path) -> list[Utterance]:
    """Read the utterances of a prepared folder, in the order of the file.

    A Lhotse cut with several supervisions gives one utterance for each of them; a cut of one channel of several gives
    an utterance of that channel. Relative paths are used if one of the first recordings exists there, otherwise
    absolute ones.

    Raises:
        ValueError: the folder is not prepared, its list is damaged or empty, or a cut is not part of one sound file
            (mixtures, some of several channels, features only, augmented recordings).
    """
    return list(open_manifest(folder))


def read_with_headers(folder: Path) -> list[tuple[Utterance, AudioInfo]]:
    """Read the utterances of a prepared folder, each with the header of its sound file as `write_manifest` takes it.

    No sound file is opened, so parts of prepared folders can be written as new ones in seconds.

    Raises:
        ValueError: as `read_manifest`; or a cut does not say the rate, length or channels of its file.
    """
    return list(iter_with_headers(folder))


def iter_with_headers(folder: Path) -> Iterator[tuple[Utterance, AudioInfo]]:
    """Yield what `read_with_headers` returns, in constant memory where there is a table."""
    table = open_table(folder)
    if table is not None:
        yield from zip(table, table.parts[0].file.infos(), strict=True)
        return
    for utterance, cut in iter_with_cuts(folder):
        recording = cut["recording"]
        channels = recording["sources"][0]["channels"]
        about = (recording.get("sampling_rate"), recording.get("num_samples"), len(channels))
        if not all(isinstance(value, int) and value > 0 for value in about):
            raise ValueError(
                f"{folder / CUTS}: {utterance.id}: expected sampling_rate, num_samples and channels of its recording, "
                f"got {shown(about)}; prepare the folder again"
            )
        yield utterance, AudioInfo(*about, format="unknown")


def stamp_of(cuts: Path) -> str:
    """Return what identifies a list of cuts: its size, and the checksum and length at the end of every gzip file."""
    with open_bytes(cuts) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 8))
        return f"{size}-{file.read().hex()}"


def open_table(folder: Path) -> UtteranceTable | None:
    """Return the table of a folder if it is up to date, or None."""
    path, cuts = folder / TABLE, folder / CUTS
    if not path.is_file():
        return None
    file = TableFile(path)
    if cuts.is_file() and file.info.cuts != stamp_of(cuts):
        logger.info(f"{cuts} was changed after {path} was written: reading the cuts")
        return None
    if not len(file):
        raise ValueError(_empty(path, folder))
    first = [utterance.path for utterance in file.take(np.arange(min(_TRIED, len(file))))]
    base = base_of(folder, [(one, file.info.has_root) for one in first])
    return UtteranceTable([Part(file, file.info.root if base is None else base)])


def _empty(path: Path, folder: Path) -> str:
    return f"{path} lists no utterances; see {folder / 'excluded.jsonl'} for what was left out and why"


def iter_with_cuts(folder: Path) -> Iterator[tuple[Utterance, dict[str, Any]]]:
    """Yield the utterances of the list of cuts, each with its cut; utterances of one cut with the same object.

    Raises:
        ValueError: as `read_manifest`.
    """
    path = folder / CUTS
    if not path.is_file():
        raise ValueError(
            f"{folder} is not a prepared folder (no {CUTS} in it); prepare your recordings with "
            f"`sori prepare RECORDINGS {folder}`"
        )
    ids: set[str] = set()
    lines = iter(cut_lines(path))
    first = list(itertools.islice(lines, _TRIED))
    base = base_of(folder, relative_paths([cut for _, cut in first]))
    for number, cut in itertools.chain(first, lines):
        try:
            found = [_checked(one) for one in _utterances(cut, base)]
        except (LookupError, TypeError, AttributeError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else f"a value of the wrong type: {error}"
            raise ValueError(f"{path}, line {number}: not a Lhotse cut ({reason}); prepare the folder again") from None
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
        for utterance in found:
            if utterance.id in ids:
                raise ValueError(
                    f"{path}, line {number}: a second utterance is named {utterance.id!r}; ids must be unique"
                )
            ids.add(utterance.id)
            yield utterance, cut
    if not ids:
        raise ValueError(_empty(path, folder))


def write_manifest(
    folder: Path,
    rows: Iterable[tuple[Utterance, AudioInfo]],
    *,
    relative_to: Path | None = None,
    place: Path | None = None,
) -> None:
    """Write utterances as a table and as Lhotse cuts, in constant memory; equal rows give equal bytes.

    Each file is written under another name and then renamed, so it is never incomplete; a table that was left without
    its cuts by a kill is not read.

    Args:
        folder: an existing folder; an existing list is replaced.
        rows: each utterance with the header of its file (the length is the decoded one).
        relative_to: root of the relative paths; None: the folder itself.
        place: the folder that the list will be moved to, if it is another.

    Raises:
        ValueError: a recording is not below `relative_to`, or two utterances have the same id.
    """
    place = place or folder
    root = Path(os.path.normpath((relative_to or place).absolute()))
    writer = table_writer(folder / TABLE, root, has_root=relative_to is not None)
    with atomic_write(folder / CUTS) as cuts, writer as table:
        with cuts.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) as file:
            for utterance, about in rows:
                cut = _cut(utterance, about, place, relative_to)
                file.write(json.dumps(cut, ensure_ascii=False).encode() + b"\n")
                table.add(utterance._replace(path=cut["custom"][_RELATIVE]), about)
        table.finish(stamp_of(cuts))


def cut_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the cuts of a list as they are, with the numbers of their lines.

    Raises:
        ValueError: the list is damaged.
    """
    try:
        yield from json_lines(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}); prepare the folder again") from None


def relative_paths(cuts: list[Any]) -> list[tuple[str, bool]]:
    """Return the relative path of each cut that has one, and whether it begins at a root of the user."""
    custom = [cut.get("custom") or {} for cut in cuts if isinstance(cut, dict)]
    return [
        (one[_RELATIVE], _ROOT in one)
        for one in custom
        if isinstance(one, dict) and isinstance(one.get(_RELATIVE), str)
    ]


def base_of(folder: Path, paths: list[tuple[str, bool]]) -> str | None:
    """Return the folder at which relative paths start, or None if the absolute ones are to be used.

    Paths below a root of the user start at that of this machine, which may be a URL if the recordings are in shards;
    without one, at the prepared folder, as that of shards does.

    Args:
        folder: the prepared folder.
        paths: some relative paths, and whether each is below a root of the user.
    """
    root = os.environ.get(ROOT_VARIABLE)
    for path, has_root in paths:
        base = root if has_root and root else str(folder.absolute())
        if is_url(base) or os.path.exists(tar_of(located(base, path))):  # noqa: PTH110 - a string already
            return base
    return None


def _utterances(cut: dict[str, Any], base: str | None) -> Iterator[Utterance]:
    path, channel = _sound_file(cut)
    custom = cut.get("custom") or {}
    if base is not None and _RELATIVE in custom:
        path = located(base, custom[_RELATIVE])
    split = custom.get("split")
    supervisions = cut.get("supervisions", [])
    if len(supervisions) <= 1:
        about = supervisions[0] if supervisions else {}
        yield _utterance(cut["id"], path, cut["start"], cut["duration"], about, split)._replace(channel=channel)
        return
    for one in supervisions:
        start = max(0.0, one["start"])
        duration = min(one["start"] + one["duration"], cut["duration"]) - start
        found = _utterance(one["id"], path, cut["start"] + start, duration, one, split)
        yield found._replace(channel=channel)


def _utterance(name: Any, path: Any, start: Any, duration: Any, about: dict[str, Any], split: str | None) -> Utterance:
    possible = all(isinstance(time, int | float) and abs(time) <= LONGEST_SECONDS for time in (start, duration))
    # Rounded down as in audio.AudioInfo, with a tolerance for durations such as 0.29999999999999999.
    num_samples = int(duration * SAMPLE_RATE + 1e-3) if possible else -1
    if num_samples < 0 or start < 0:
        raise ValueError(
            f"expected start and duration in seconds, from 0 to {LONGEST_SECONDS:g}, got {shown(start)} and "
            f"{shown(duration)}; likely the list is damaged: prepare the folder again"
        )
    split = split or (about.get("custom") or {}).get("split")
    return Utterance(
        name, path, start, num_samples, about.get("text"), about.get("speaker"), about.get("language"), split
    )


def _checked(utterance: Utterance) -> Utterance:
    """Refuse values of the wrong type, which foreign lists have."""
    names = (utterance.id, utterance.path)
    optional = (utterance.text, utterance.speaker, utterance.language, utterance.split)
    if not all(isinstance(one, str) for one in names) or not all(
        one is None or isinstance(one, str) for one in optional
    ):
        raise TypeError("id, path, text, speaker, language and split should be strings")
    return utterance


def _sound_file(cut: dict[str, Any]) -> tuple[str, int | None]:
    """Return the path of a cut, and its channel; None: all of them."""
    if cut["type"] not in ("MonoCut", "MultiCut"):
        raise ValueError(f"expected a cut of one recording, got a {cut['type']}; save it as a sound file first")
    if "recording" not in cut:
        raise ValueError(f"cut {cut['id']!r} has no recording (features only?); sori reads waveforms")
    recording = cut["recording"]
    sources = recording["sources"]
    if len(sources) != 1 or sources[0]["type"] != "file":
        kinds = ", ".join(source["type"] for source in sources)
        raise ValueError(
            f"recording {recording['id']!r} is not one sound file (sources: {kinds}); save it as one first"
        )
    if any(transform["name"] != "Resample" for transform in recording.get("transforms") or []):
        raise ValueError(f"recording {recording['id']!r} has augmentations; save the augmented audio first")
    used = cut["channel"] if isinstance(cut["channel"], list) else [cut["channel"]]
    path: str = sources[0]["source"]
    if sorted(used) == sorted(sources[0]["channels"]):
        return path, None
    if len(used) != 1 or used[0] not in sources[0]["channels"]:
        raise ValueError(
            f"cut {cut['id']!r} uses channels {used} of {sources[0]['channels']}; expected one channel or all, which "
            "are averaged: save the others as a separate file first"
        )
    return path, int(used[0])


def relative_path(path: str, folder: Path, relative_to: Path | None) -> dict[str, Any]:
    """Return the relative path of a recording, as custom fields of its cut.

    Args:
        path: absolute path of the recording.
        folder: the prepared folder.
        relative_to: as for `write_manifest`.

    Raises:
        ValueError: the recording is not below `relative_to`.
    """
    if relative_to is None:
        return {_RELATIVE: Path(os.path.relpath(path, folder.absolute())).as_posix()}
    below = os.path.relpath(path, relative_to.absolute())
    if Path(below).parts[:1] == (os.pardir,):
        raise ValueError(
            f"{path} is not below {relative_to}, to which all paths should be relative; name a folder above all of the "
            "recordings"
        )
    return {_RELATIVE: Path(below).as_posix(), _ROOT: True}


def _cut(utterance: Utterance, about: AudioInfo, folder: Path, relative_to: Path | None) -> dict[str, Any]:
    duration = about.num_frames / about.sample_rate
    length = min(utterance.duration_seconds, duration - utterance.start)
    if utterance.start == 0 and utterance.num_samples == about.num_samples:
        length = duration
    channels = list(range(about.num_channels))
    channel: int | list[int] = channels
    if utterance.channel is not None or about.num_channels == 1:
        channel = utterance.channel or 0
    known = {"text": utterance.text, "language": utterance.language, "speaker": utterance.speaker}
    supervision = {"id": utterance.id, "recording_id": utterance.path, "start": 0.0, "duration": length}
    supervision |= {"channel": channel} | {key: value for key, value in known.items() if value is not None}
    recording = {
        "id": utterance.path,
        "sources": [{"type": "file", "channels": channels, "source": utterance.path}],
        "sampling_rate": about.sample_rate,
        "num_samples": about.num_frames,
        "duration": duration,
        "channel_ids": channels,
    }
    cut = {"id": utterance.id, "start": utterance.start, "duration": length, "channel": channel}
    cut |= {"supervisions": [supervision], "recording": recording}
    custom = {"split": utterance.split} if utterance.split is not None else {}
    cut["custom"] = custom | relative_path(utterance.path, folder, relative_to)
    return cut | {"type": "MonoCut" if isinstance(channel, int) else "MultiCut"}
