"""Read tables with a separator between the columns, by RFC 4180: a quotation mark is around a whole field or nowhere.

In a `.tsv` with tabs, quotation marks are letters. Any separator that divides the first line into
known column names is accepted.
"""

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from sori.core.text_files import lines

LONGEST_ROW = 1 << 24
"""Maximum number of bytes in a row."""
_USUAL = ",;\t|"
_IN_NAMES = re.compile(r"[\w\-./'\"]")


def delimited_rows(path: Path, names: Collection[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a table by column, each with the number of its (first) line; empty rows are skipped.

    Args:
        path: UTF-8 file whose first line has the column names.
        names: known column names in small letters, from which the separator is recognised.

    Raises:
        ValueError: a row has more or fewer columns than the first line, or a quotation mark that is not around a whole
            field; the message names the line. Also as `text_files.lines`.
    """
    separator, literal = _separator(path, names)
    records = _literal_records(path) if literal else _records(path, separator)
    _, first = next(records, (1, [""]))
    header = [name.strip() for name in first]
    if twice := sorted({name for name in header if name and header.count(name) > 1}):
        raise ValueError(f"{path}, line 1: expected each column once, got {', '.join(twice)} twice; rename one")
    for number, values in records:
        if not any(values):
            continue
        if len(values) != len(header):
            raise ValueError(
                f"{path}, line {number}: expected {len(header)} columns as in the first line, got {len(values)}; is "
                f"the separator ({_described(separator)}) inside an unquoted text?"
            )
        yield number, dict(zip(header, values, strict=True))


def _separator(path: Path, names: Collection[str]) -> tuple[str, bool]:
    """Return the separator of a table, and whether quotation marks are letters."""
    first = next(lines(path, longest=LONGEST_ROW), "").rstrip("\r\n")
    if "\r" in first:
        raise ValueError(
            f"{path}: expected lines that end in a line feed, got carriage returns alone, as old Macintosh programs "
            f"write them; convert it: tr '\\r' '\\n' < {path.name} > new_{path.name}"
        )
    is_tsv = path.suffix.lower() == ".tsv"
    if is_tsv and "\t" in first:
        return "\t", True

    def fitness(separator: str) -> tuple[int, int, int]:
        fields = [field.strip().strip('"').lower() for field in first.split(separator)]
        known = sum(field in names for field in fields)
        return (known if len(fields) > 1 else 0, first.count(separator) * (separator != " "), -_USUAL.find(separator))

    candidates = sorted({*_USUAL, *(letter for letter in first if not _IN_NAMES.match(letter))})
    best = max(candidates, key=fitness)
    if not fitness(best)[0] and (best not in _USUAL or best not in first):
        best = "\t" if is_tsv else ","
    return best, is_tsv and best == "\t"


def _literal_records(path: Path) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines(path, longest=LONGEST_ROW), 1):
        yield number, line.rstrip("\r\n").split("\t")


def _records(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the fields of each record; a quoted field may contain line ends."""
    pending, first, size = list[str](), 0, 0
    is_open = False
    for number, line in enumerate(lines(path, longest=LONGEST_ROW), 1):
        if not pending:
            if '"' not in line:
                yield number, line.rstrip("\r\n").split(separator)
                continue
            first, size = number, 0
        pending.append(line)
        size += len(line)
        is_open ^= line.count('"') % 2 == 1
        if is_open and size <= LONGEST_ROW:
            continue
        if is_open:
            break
        yield first, _fields("".join(pending), separator, f"{path}, line {first}")
        pending.clear()
    if is_open:
        raise _quoting_error(f"{path}, line {first}", pending[0])


def _fields(record: str, separator: str, where: str) -> list[str]:
    escaped = re.escape(separator)
    pattern = re.compile(rf'(?:"([^"]*+(?:""[^"]*+)*+)"|([^"{escaped}\r\n]*+))({escaped}|\r?\n?\Z)')
    found, position = list[str](), 0
    while (field := pattern.match(record, position)) is not None:
        quoted, plain, end = field.groups()
        found.append(plain if quoted is None else quoted.replace('""', '"'))
        position = field.end()
        if end != separator:
            return found
    raise _quoting_error(where, record[position:])


def _quoting_error(where: str, got: str) -> ValueError:
    return ValueError(
        f"{where}: expected a quotation mark around a whole field or none (RFC 4180), got {got[:60]!r}; likely one "
        'is not closed, or is a letter of the text: write ""double"" marks in a field that is itself in "quotation '
        'marks", or save the table with tabs (.tsv), where quotation marks are letters'
    )


def _described(separator: str) -> str:
    return {"\t": "a tab", " ": "a space", ",": "a comma", ";": "a semicolon", "|": "a bar"}.get(
        separator, repr(separator)
    )
