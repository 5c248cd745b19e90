"""Write what was selected: a table to fill in, and annotation files with empty segments."""

import os
from collections.abc import Sequence
from pathlib import Path

from sori.core.audio import SAMPLE_RATE, info
from sori.core.files import write_text
from sori.core.log import one_line
from sori.decoding.annotation_templates import Segment, TemplateFormat, template
from sori.inference.selection import Selected

COLUMNS = ("id", "path", "start", "end", "speaker", "text", "why")


def table(selected: Sequence[Selected]) -> str:
    """Return a table of tab-separated columns with an empty column `text`; filled, `sori prepare` reads it."""
    has_channels = any(one.utterance.channel is not None for one in selected)
    lines = ["\t".join((*COLUMNS, "channel_index") if has_channels else COLUMNS)]
    for utterance, why, _ in selected:
        end = utterance.start + utterance.num_samples / SAMPLE_RATE
        times = (f"{utterance.start:.4f}", f"{end:.4f}")
        channel = ("" if utterance.channel is None else str(utterance.channel),) if has_channels else ()
        row = (utterance.id, utterance.path, *times, utterance.speaker or "", "", why, *channel)
        lines.append("\t".join(map(one_line, row)))
    return "\n".join(lines) + "\n"


def write_table(selected: Sequence[Selected], path: Path) -> None:
    """Write the table.

    Raises:
        ValueError: the file exists; it may hold transcripts.
    """
    _require_new([path])
    write_text(path, table(selected))


def write_templates(selected: Sequence[Selected], folder: Path, to: TemplateFormat) -> list[Path]:
    """Write an annotation file with the selected segments for each recording.

    The subfolders of the recordings are kept, so that the files can be copied over the folder of the recordings, or
    written into it: `sori prepare` expects them beside their recordings.

    Args:
        selected: utterances.
        folder: where to write.
        to: format.

    Raises:
        ValueError: a file exists, or two recordings have the same name.
        FileNotFoundError: a recording is gone.
    """
    by_path: dict[str, list[Selected]] = {}
    for one in selected:
        by_path.setdefault(one.utterance.path, []).append(one)
    above = os.path.commonpath([str(Path(path).parent) for path in by_path]) if by_path else ""
    targets = {path: folder / Path(path).relative_to(above).with_suffix(f".{to}") for path in by_path}
    if len(set(targets.values())) < len(targets):
        twice = next(path for path in targets.values() if list(targets.values()).count(path) > 1)
        raise ValueError(
            f"two recordings would get the annotation file {twice}; likely the same recording in two formats: rename "
            "one, or use the table"
        )
    _require_new(list(targets.values()))
    for path, rows in by_path.items():
        duration = info(path).num_samples / SAMPLE_RATE
        segments = [Segment(u.start, u.start + u.num_samples / SAMPLE_RATE, u.speaker) for u, *_ in rows]
        write_text(targets[path], template(Path(path), duration, segments, to))
    return list(targets.values())


def _require_new(paths: Sequence[Path]) -> None:
    if there := [path for path in paths if os.path.lexists(path)]:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise ValueError(
            f"{there[0]}{more} would be replaced, and may hold transcripts; choose another place, or remove what is "
            "there"
        )
