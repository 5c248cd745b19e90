"""Summarise a prepared folder for people: tables in `report.md`, a figure in `report.png`."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from sori.core.audio import SAMPLE_RATE
from sori.core.files import atomic_write, write_text
from sori.data.preparation.row_statistics import Group, RowStatistics
from sori.data.preparation.transcript_rules import Rule, Tag
from sori.data.sources.recordings import Found
from sori.text.character_changes import CharacterChange

CURES = {
    "missing": "restore the files, or remove their rows from the table",
    "empty": "copy them again, or record them again",
    "wrongly named": "rename or remove them; convert those that contain sound: `ffmpeg -i FILE FILE.flac`",
    "unsupported format": "save them as files: this corpus reads them in another way",
    "unreadable": "try to play one with another program; if that works, convert it: `ffmpeg -i FILE FILE.flac`",
    "truncated": "copy or download them again, or use what is there with `--keep-truncated`",
    "damaged": "copy or download them again",
    "absurd header": "restore them from a backup; the header is damaged",
    "not finite": "export them again; the program that wrote them computed NaN or infinity",
    "silent": "check the microphone, and which channel was recorded",
    "clipped": "record with a lower input level, or use the original if it is not clipped",
    "too short": "too short for training; join them if they belong together",
    "duplicate": "nothing: one copy of each is kept",
    "beyond the end": "check that start and end are in seconds, and that the table belongs to these files",
    "too long for its transcript": "give a table with start and end of each sentence, or raise `--max-seconds`",
    "broken text": "repair the texts, which were likely cut in the middle of an emoji",
    "unreadable transcript": "convert it: `iconv -f OLD -t UTF-8`",
    "no transcript tier": "name the tier with `--tier`",
    "no duration": "correct the stretch in the annotation",
    "some channels of several": "save these channels as a separate file: `ffmpeg -i FILE -map_channel ...`",
    "decoder crashed": "convert them: `ffmpeg -i FILE FILE.flac`",
    "decoder stalled": "convert them: `ffmpeg -i FILE FILE.flac`",
}
_MOST_CHARACTERS = 200
_EXAMPLES = 3
_MOST_TAGS = 20


class Flag(NamedTuple):
    """A warning about a recording that is kept."""

    id: str
    path: str
    warning: str
    detail: str = ""


@dataclass(frozen=True)
class Report:
    """The main figures of a prepared folder."""

    folder: Path
    num_utterances: int
    num_files: int
    hours: float
    transcribed_hours: float
    num_speakers: int
    """Number of different speaker names."""
    languages: tuple[str, ...]
    excluded: Counter[str]
    """Number of files or rows left out, by reason."""
    flagged: Counter[str]
    """Number of warnings about recordings that are kept, by kind."""
    others: Counter[str]
    """Number of files that are neither sound nor transcripts, by suffix."""
    changed: tuple[CharacterChange, ...] = ()
    """Characters of the transcripts that a recogniser is not trained to write as they are."""

    def __str__(self) -> str:
        """Return a few lines for the screen."""
        lines = [
            f"{self.hours:.2f} h in {self.num_utterances} utterances from {self.num_files} files",
            (
                f"transcribed: {self.transcribed_hours:.2f} h; named speakers: {self.num_speakers}; "
                f"language: {', '.join(self.languages) or 'not given'}"
            ),
        ]
        for title, counts in (("left out", self.excluded), ("kept, with a warning", self.flagged)):
            if counts:
                lines.append(f"{title}: " + ", ".join(f"{count} {kind}" for kind, count in counts.most_common()))
        if letters := [change for change in self.changed if change.is_letter]:
            shown = ", ".join(f"{change.count} x {_point(change.character)}" for change in letters[:_EXAMPLES])
            more = f" and {len(letters) - _EXAMPLES} others" if len(letters) > _EXAMPLES else ""
            lines.append(f"letters and marks that training loses: {shown}{more}")
        return "\n".join([*lines, f"details: {self.folder / 'report.md'}"])


def write_report(
    into: Path,
    rows: RowStatistics,
    found: Found,
    flags: Sequence[Flag],
    *,
    tags: Counter[Tag],
    sources: list[str],
    place: Path,
) -> Report:
    """Write `report.md` and `report.png` into a folder.

    Args:
        into: the folder.
        rows: statistics of the utterances that are kept.
        found: everything in the sources, with what was left out.
        flags: warnings about recordings that are kept.
        tags: conventions of annotators in the transcripts.
        sources: the sources as the user named them.
        place: the prepared folder, to which the files will be moved.
    """
    report = Report(
        folder=place,
        num_utterances=rows.all.num_utterances,
        num_files=len(rows.files),
        hours=rows.all.hours,
        transcribed_hours=rows.all.transcribed_hours,
        num_speakers=len(rows.all.speakers),
        languages=tuple(sorted(rows.languages)),
        excluded=Counter(row.reason for row in found.excluded),
        flagged=Counter(flag.warning for flag in flags),
        others=found.others,
        changed=tuple(rows.changes.result()),
    )
    parts = [
        "# Prepared recordings",
        "Sources: " + ", ".join(f"`{source}`" for source in sources) + ".",
        str(report).replace("\n", "  \n"),
    ]
    parts += [f"Note: {note}." for note in found.notes]
    if rows.all.num_utterances:
        with atomic_write(into / "report.png") as partial:
            _figure(rows).savefig(partial, dpi=120)
        parts += ["![durations, levels and speakers](report.png)", _kept(rows), _characters(rows)]
        parts.append(_changes(report.changed))
    parts += [_tags(tags)] if tags else []
    parts += [_left_out(found), _warnings(flags)]
    if found.others:
        listed = ", ".join(f"{count} x {suffix}" for suffix, count in sorted(found.others.items()))
        parts.append(f"## Other files\n\nNeither sound nor transcripts, not looked into: {listed}.")
    write_text(into / "report.md", "\n\n".join(part for part in parts if part) + "\n")
    return report


def _kept(rows: RowStatistics) -> str:
    spread = ", ".join(f"{name} {value:.2f}" for name, value in _spread(np.frombuffer(rows.seconds)))
    lines = ["## Recordings that are kept", f"Duration of utterances in seconds: {spread}."]
    if rows.samples_by_speaker:
        minutes = np.array(list(rows.samples_by_speaker.values())) / SAMPLE_RATE / 60
        lines.append(
            "Minutes per speaker: " + ", ".join(f"{name} {value:.1f}" for name, value in _spread(minutes)) + "."
        )
    lines += [_breakdown(title, groups) for title, groups in rows.groups.items()]
    size = 2 * rows.all.num_samples / 1e6
    return "\n\n".join([*lines, f"Size on disk if decoded to 16-bit samples at 16 kHz: {size:,.1f} MB."])


def _spread(values: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> list[tuple[str, float]]:
    names = ("minimum", "5th percentile", "median", "95th percentile", "maximum")
    return list(zip(names, np.percentile(values, [0, 5, 50, 95, 100]).tolist(), strict=True))


def _breakdown(title: str, groups: dict[str, Group]) -> str:
    if len(groups) == 1:
        return f"{title.capitalize()}: {next(iter(groups))} (all utterances)."
    return _table(
        [title, "utterances", "hours", "hours transcribed", "speakers"],
        [
            [name, one.num_utterances, f"{one.hours:.2f}", f"{one.transcribed_hours:.2f}", len(one.speakers) or "-"]
            for name, one in sorted(groups.items())
        ],
    )


def _table(header: list[str], rows: Sequence[Sequence[object]]) -> str:
    lines: list[Sequence[object]] = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _characters(statistics: RowStatistics) -> str:
    if not statistics.num_texts:
        return "## Characters\n\nNo transcripts."
    counts = statistics.characters
    total = counts.total()
    shown = counts.most_common(_MOST_CHARACTERS)
    note = f" The table lists the {len(shown)} most frequent ones." if len(shown) < len(counts) else ""
    rows: list[list[object]] = [
        [
            _shown(character),
            _point(character),
            unicodedata.name(character, "-").lower(),
            count,
            f"{count / total:.2%}",
        ]
        for character, count in sorted(shown, key=lambda pair: (-pair[1], pair[0]))
    ]
    head = (
        f"{statistics.num_texts} transcripts, {statistics.num_words} words, {total} characters (NFC), {len(counts)} "
        f"different characters.{note}"
    )
    return f"## Characters\n\n{head}\n\n" + _table(["character", "code point", "name", "count", "fraction"], rows)


def _changes(changed: Sequence[CharacterChange]) -> str:
    """Return a table of every character that is lost when a recogniser normalises the transcripts."""
    if not changed:
        return ""
    rows = [
        [
            _shown(one.character),
            _point(one.character),
            unicodedata.name(one.character, "-").lower(),
            one.count,
            one.in_words or "-",
            one.fate,
        ]
        for one in changed
    ]
    text = (
        "The transcripts are listed as they are; a recogniser is trained on normalised ones (docs/normalisation.md). "
        "Characters that are not in these as they are, with the default settings:"
    )
    note = (
        "A character that is used inside words may be a letter of the language: write it as a letter (for example "
        "U+02BC instead of an apostrophe at the end of a word), or train with `--labels.punctuation keep`."
    )
    header = ["character", "code point", "name", "count", "between two letters", "becomes"]
    parts = ["## Characters that normalisation changes", text, _table(header, rows)]
    return "\n\n".join([*parts, note] if any(one.in_words for one in changed) else parts)


def _shown(character: str) -> str:
    return f"`{character}`" if character.isprintable() else "-"


def _point(character: str) -> str:
    return f"U+{ord(character):04X}"


def _tags(tags: Counter[Tag]) -> str:
    groups: dict[Rule, Counter[str]] = defaultdict(Counter)
    for tag, count in tags.items():
        groups[tag.rule][tag.text] += count
    rows: list[list[object]] = [
        [
            rule.name,
            rule.action,
            found.total(),
            ", ".join(f"`{text}` {count}" for text, count in found.most_common(_MOST_TAGS)),
        ]
        for rule, found in sorted(groups.items(), key=lambda pair: -pair[1].total())
    ]
    text = (
        "Conventions of annotators in the transcripts, and what was done with them. To change the rules, copy them "
        "from docs/prepare-annotations.md, edit them, and give the file with `--transcript-rules`."
    )
    return f"## Annotators' tags\n\n{text}\n\n" + _table(["rule", "action", "count", "most frequent"], rows)


def _left_out(found: Found) -> str:
    if not found.excluded:
        return "## Recordings that were left out\n\nNothing."
    groups: dict[str, list[str]] = defaultdict(list)
    for row in found.excluded:
        groups[row.reason].append(f"`{Path(row.path).name}`" + (f" ({row.detail})" if row.detail else ""))
    rows: list[list[object]] = [
        [reason, len(members), "; ".join(members[:_EXAMPLES]), CURES.get(reason, "-")]
        for reason, members in sorted(groups.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    ]
    text = "All files that were left out are listed in `excluded.jsonl` with the reason."
    return f"## Recordings that were left out\n\n{text}\n\n" + _table(
        ["reason", "count", "examples", "what to do"], rows
    )


def _warnings(flags: Sequence[Flag]) -> str:
    if not flags:
        return ""
    groups: dict[str, list[str]] = defaultdict(list)
    for flag in flags:
        groups[flag.warning].append(f"`{Path(flag.path).name}`" + (f" ({flag.detail})" if flag.detail else ""))
    rows: list[list[object]] = [
        [warning, len(members), "; ".join(members[:_EXAMPLES])]
        for warning, members in sorted(groups.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    ]
    text = "These recordings are kept; check whether you want to use them. All are listed in `flagged.jsonl`."
    return f"## Recordings that are kept, with a warning\n\n{text}\n\n" + _table(["warning", "count", "examples"], rows)


_STYLE: Any = {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9, "axes.titlesize": 10}


@rc_context(_STYLE)
def _figure(rows: RowStatistics) -> Figure:
    """Plot durations, levels, and minutes per speaker."""
    figure = Figure(figsize=(10, 3), layout="constrained")
    durations, levels, speakers = figure.subplots(1, 3)
    seconds, has_text = np.frombuffer(rows.seconds), np.frombuffer(rows.has_text, np.bool_)
    groups = [("transcribed", has_text, "#2f7fc1"), ("untranscribed", ~has_text, "#8b9099")]
    groups = [group for group in groups if group[1].any()]
    for axes, values, title, label in (
        (durations, seconds, "Duration of utterances", "seconds"),
        (
            levels,
            np.frombuffer(rows.levels),
            "Level of recordings",
            "root mean square in dB of full scale",
        ),
    ):
        axes.hist(
            [values[which] for _, which, _ in groups],
            bins=40,
            weights=[seconds[which] / 3600 for _, which, _ in groups],
            color=[colour for *_, colour in groups],
            label=[name for name, *_ in groups],
            stacked=True,
        )
        axes.set(title=title, xlabel=label, ylabel="hours")
    durations.legend(frameon=False, loc="upper right")
    amounts = rows.samples_by_speaker
    minutes = np.array(sorted(amounts.values(), reverse=True)) / SAMPLE_RATE / 60
    speakers.set(title=f"Named speakers: {len(amounts)}", xlabel="speakers, sorted by minutes", ylabel="minutes")
    if amounts:
        speakers.fill_between(
            np.arange(len(minutes) + 1), np.append(minutes, minutes[-1]), step="post", color="#1f9e78"
        )
        speakers.set(xlim=(0, len(minutes)), ylim=(0, None))
    return figure
