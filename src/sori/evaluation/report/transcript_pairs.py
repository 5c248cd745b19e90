"""Read files with the texts of many utterances: references, and hypotheses of recognisers.

| format | a line | from |
|---|---|---|
| `txt` | a text; line i of one file belongs to line i of the other | anywhere |
| `tsv` | id, tab, text; other columns if the first line names them | tables |
| `trn` | text, then `(id)` | NIST sclite |
| `kaldi` | id, space, text | Kaldi's `text` |

All are UTF-8. An id without a text is an utterance with an empty text.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from sori.core.user_files import read_text

Format = Literal["txt", "tsv", "trn", "kaldi"]
_ID_COLUMNS = ("id", "utt", "utt_id", "utterance", "utterance_id", "key", "file", "path")
_TEXT_COLUMNS = ("text", "transcript", "transcription", "sentence", "reference", "ref", "hypothesis", "hyp")
_TRN = re.compile(r"(.*)\(([^()\s]+)\)\s*")
_ALTERNATIVES = re.compile(r"\{[^{}]*\s/\s[^{}]*\}")


def read_texts(path: Path, form: Format | None = None) -> dict[str, str]:
    """Return the text of each utterance by id, in the order of the file; in `txt` the ids are line numbers from 1.

    Args:
        path: file to read.
        form: format of the file; None: by its suffix (.txt, .tsv, .trn).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is empty, not UTF-8, has an id twice, or has a line of another format.
    """
    form = form or _by_name(path)
    lines = _lines(path)
    if form == "txt":
        return {str(number): line for number, line in enumerate(lines, 1)}
    texts: dict[str, str] = {}
    for name, text, where in _pairs(path, lines, form):
        if name in texts:
            raise ValueError(
                f"{where}: expected each id once, but {name!r} is in an earlier line too; was the file merged "
                "from several, or an utterance split? Rename or join them"
            )
        texts[name] = text
    if not texts:
        raise ValueError(f"{path}: expected lines with ids and texts, got none")
    return texts


def _by_name(path: Path) -> Format:
    ending = path.suffix.lower().removeprefix(".")
    found = next((form for form in get_args(Format) if form == ending), None)
    if found is None:
        raise ValueError(
            f"{path}: expected a name ending in .txt, .tsv or .trn, got {path.name!r}; give the format of the "
            f"file with --format {'|'.join(get_args(Format))} (`kaldi` for lines of an id, a space and a text)"
        )
    return found  # type: ignore[no-any-return]


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: {'is a folder, not a text file' if path.is_dir() else 'no such file'}")
    text = read_text(path)
    if not text.strip():
        raise ValueError(f"{path} is empty; expected one line for each utterance. Did the step that wrote it fail?")
    # str.splitlines would also split at characters that may occur within a text
    return text.removesuffix("\n").split("\n")


def _pairs(path: Path, lines: list[str], form: Format) -> Iterator[tuple[str, str, str]]:
    """Yield id, text and location of each utterance."""
    id_column, text_column, width = 0, 1, 2
    for number, line in enumerate(lines, 1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        match form:
            case "tsv":
                cells = [cell.strip() for cell in line.split("\t")]
                if number == 1 and (header := _header(cells)):
                    id_column, text_column, width = header
                    continue
                yield *_tsv(cells, id_column, text_column, width, where), where
            case "trn":
                if not line.startswith(";;"):
                    yield *_trn(line, where), where
            case _:
                name, _, text = line.strip().partition(" ")
                if "\t" in name:
                    name, _, text = line.strip().partition("\t")
                yield name, text, where


def _header(cells: list[str]) -> tuple[int, int, int] | None:
    """Return id column, text column and number of columns if this is a header line, otherwise None."""
    lowered = [cell.lower() for cell in cells]
    found = [
        next((lowered.index(name) for name in names if name in lowered), None) for names in (_ID_COLUMNS, _TEXT_COLUMNS)
    ]
    return None if found[0] is None or found[1] is None else (found[0], found[1], len(cells))


def _tsv(cells: list[str], id_column: int, text_column: int, width: int, where: str) -> tuple[str, str]:
    if len(cells) == 1 and width == 2 and " " not in cells[0]:
        return cells[0], ""
    if len(cells) != width or not cells[id_column]:
        raise ValueError(
            f"{where}: expected {width} columns, an id among them, got {len(cells)}: {_shown(cells)}. Does a text "
            "contain a tab? More columns than id and text need a header line; for id, space, text give "
            "--format kaldi"
        )
    return cells[id_column], cells[text_column]


def _trn(line: str, where: str) -> tuple[str, str]:
    found = _TRN.fullmatch(line)
    if not found:
        raise ValueError(f"{where}: expected a text and its id at the end, as in `hello world (id)`, got {line[:60]!r}")
    if _ALTERNATIVES.search(found[1]):
        raise ValueError(
            f"{where}: alternatives, as in {_ALTERNATIVES.findall(found[1])[0]!r}, are not supported; keep one of them"
        )
    return found[2], found[1]


def _shown(cells: list[str]) -> str:
    return " | ".join(cell[:30] for cell in cells[:5]) + (" ..." if len(cells) > 5 else "")
