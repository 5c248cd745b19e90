"""Read phone alignments from a file or a folder, and match them with utterances.

Formats: one JSON object a line (`.jsonl`, `.jsonl.gz`, `.jsonl.xz`), `{"id": "a", "phones": [[0.0, 0.1, "k"], ...]}`
with optional `words` in the same form, times in seconds; or a folder of TextGrids (Montreal Forced Aligner, MAUS),
named like the recordings.

Alignments are matched with the utterances of a prepared folder by name. The times of an alignment named like the
utterance start at the beginning of the utterance; those of an alignment named like the sound file start at the
beginning of the file. Alignments of whole recordings can thus be used for segments of them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sori.core.text_files import json_lines
from sori.data.manifest import Utterance
from sori.data.sources.intervals import Interval
from sori.data.sources.textgrid import read_textgrid

SILENCES = frozenset({"", "SIL", "SP", "SPN", "NSN", "PAU", "H#", "EPI", "<EPS>", "<P:>", "<SIL>", "<NIB>", "<USB>"})
"""Labels (in capitals) of silence and noise in common aligners and corpora."""

_OVERLAP_SECONDS = 0.002
"""Overlap of neighbouring intervals that is accepted as rounding."""
_BEYOND_SECONDS = 0.05
"""Time by which an alignment may exceed its utterance without being reported."""
_PHONE_TIERS = ("phones", "phone", "mau", "segments")


class Alignment(NamedTuple):
    """Phones and words of a recording in order, including silences."""

    phones: tuple[Interval, ...]
    words: tuple[Interval, ...] = ()


class Matched(NamedTuple):
    """The alignment of each utterance, and what could not be matched."""

    alignments: list[Alignment | None]
    """Alignment of each utterance, in seconds from its beginning; None: there is none."""
    missing: list[str]
    """Ids of utterances without alignment."""
    unused: list[str]
    """Names of alignments without utterance."""
    beyond: list[str]
    """Ids of utterances whose alignment is more than 50 ms longer; it is cut at the end of the utterance."""

    def table(self) -> str:
        """Return a summary for people."""
        found = len(self.alignments) - len(self.missing)
        lines = [f"alignments for {found:,} of {len(self.alignments):,} utterances"]
        for names, what in (
            (self.missing, "without alignment, left out where phones are needed"),
            (self.unused, "alignments without utterance"),
            (self.beyond, "alignments longer than their utterance, cut at its end"),
        ):
            if names:
                lines.append(f"{len(names):,} {what}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}")
        return "\n".join(lines)


def is_silence(label: str) -> bool:
    """Return whether a label stands for silence or noise."""
    return label.upper() in SILENCES


def read_alignments(path: Path) -> dict[str, Alignment]:
    """Read alignments, by name.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: the format is unknown, a line is damaged, times decrease, or a name occurs twice.
    """
    if path.is_dir():
        return _read_textgrids(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file or folder; expected alignments (.jsonl) or a folder of .TextGrid"
        )
    if path.suffix == ".TextGrid":
        return {path.stem: _from_textgrid(path)}
    if not path.name.endswith((".jsonl", ".jsonl.gz", ".jsonl.xz")):
        raise ValueError(f"{path}: expected .jsonl, .jsonl.gz, .jsonl.xz, .TextGrid or a folder of .TextGrid")
    found: dict[str, Alignment] = {}
    for number, row in json_lines(path):
        try:
            name = str(row["id"])
            alignment = Alignment(_intervals(row["phones"]), _intervals(row.get("words") or []))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(
                f'{path}, line {number}: expected {{"id": "a", "phones": [[0.0, 0.1, "k"], ...]}} with increasing '
                f"times, got {str(row)[:60]} ({error})"
            ) from None
        if name in found:
            raise ValueError(f"{path}, line {number}: a second alignment is named {name!r}; names must be unique")
        found[name] = alignment
    if not found:
        raise ValueError(f"{path} is empty; expected one JSON object a line")
    return found


def match(utterances: Sequence[Utterance], alignments: Mapping[str, Alignment]) -> Matched:
    """Find the alignment of each utterance by name, as the docstring of this module describes.

    Raises:
        ValueError: no utterance has an alignment, or two sound files have the same name and would use the same one.
    """
    found: list[Alignment | None] = []
    used, beyond, paths = set[str](), list[str](), dict[str, str]()
    for one in utterances:
        stem = Path(one.path).stem
        name = one.id if one.id in alignments else stem
        if name not in alignments:
            found.append(None)
            continue
        if paths.setdefault(name, one.path) != one.path:
            raise ValueError(
                f"{paths[name]} and {one.path} would both use the alignment {name!r}; name alignments by the ids of "
                f"the utterances, such as {one.id!r}"
            )
        used.add(name)
        shift = 0.0 if name == one.id else one.start
        found.append(_shifted(alignments[name], shift, one.duration_seconds))
        last = max((phone.end for phone in alignments[name].phones), default=0.0)
        if name == one.id and last > one.duration_seconds + _BEYOND_SECONDS:
            beyond.append(one.id)
    if not used:
        theirs, ours = next(iter(alignments), "none"), utterances[0].id if utterances else "none"
        raise ValueError(
            f"none of {len(utterances)} utterances has an alignment; expected names like {ours!r}, got names like "
            f"{theirs!r}; likely these are alignments of other recordings"
        )
    missing = [one.id for one, alignment in zip(utterances, found, strict=True) if alignment is None]
    return Matched(found, missing, sorted(alignments.keys() - used), beyond)


def _shifted(alignment: Alignment, shift: float, seconds: float) -> Alignment:
    def inside(intervals: tuple[Interval, ...]) -> tuple[Interval, ...]:
        moved = (Interval(max(0.0, one.start - shift), min(seconds, one.end - shift), one.label) for one in intervals)
        return tuple(one for one in moved if one.start < one.end)

    return Alignment(inside(alignment.phones), inside(alignment.words))


def _intervals(rows: Sequence[Any]) -> tuple[Interval, ...]:
    found = []
    last = 0.0
    for start, end, label in rows:
        if not (isinstance(label, str) and 0 <= start <= end < float("inf") and start >= last - _OVERLAP_SECONDS):
            raise ValueError(f"[{start}, {end}, {label!r}] after {last} s")
        found.append(Interval(max(float(start), last), float(end), label))
        last = max(last, float(end))
    return tuple(found)


def _read_textgrids(folder: Path) -> dict[str, Alignment]:
    paths = sorted(folder.rglob("*.TextGrid"))
    if not paths:
        raise ValueError(f"{folder} contains no .TextGrid files")
    found: dict[str, Alignment] = {}
    for path in paths:
        name = path.relative_to(folder).with_suffix("").as_posix()
        # The file name if it is unique, like the names of sound files; otherwise the path, like ids.
        found[path.stem if path.stem not in found else name] = _from_textgrid(path)
    return found


def _from_textgrid(path: Path) -> Alignment:
    tiers = read_textgrid(path)
    last = {name.rsplit(" - ", 1)[-1].lower(): name for name in tiers}  # MFA: "speaker - phones"
    phones = next((last[name] for name in _PHONE_TIERS if name in last), None)
    if phones is None:
        raise ValueError(f"{path}: expected a tier named {' or '.join(_PHONE_TIERS)}, got {', '.join(tiers) or 'none'}")
    words = last.get("words")
    found = []
    for name in (phones, words):
        try:
            found.append(_intervals(tiers[name]) if name is not None else ())
        except ValueError as error:
            raise ValueError(
                f"{path}, tier {name!r}: expected intervals in order of time that overlap by at most "
                f"{1000 * _OVERLAP_SECONDS:g} ms, got {error}; correct the boundary in Praat"
            ) from None
    return Alignment(*found)
