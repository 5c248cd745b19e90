"""The utterances of prepared folders as a sequence whose columns are arrays, without an object for each row.

A table is a `Sequence[Utterance]`: `table[row]` reads one row from the file. The functions below give
columns of any sequence, and are the only place that distinguishes tables from lists.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, final, overload

import numpy as np
from numpy.typing import NDArray

from sori.core.shared_arrays import MOST_OWN, Arrays, key_of, shared_arrays
from sori.core.sound.tar_members import is_url, member_of, tar_of
from sori.data.table_file import Categories, TableFile, row_digest
from sori.data.utterance import Utterance

Ints = NDArray[np.integer[Any]]
_AT_ONCE = 1 << 12


class Part(NamedTuple):
    """A table file, and the folder that its paths are relative to."""

    file: TableFile
    base: str


@final
class UtteranceTable(Sequence[Utterance]):
    """Rows of table files.

    Args:
        parts: the files, one after the other.
        rows: numbers of the rows of all files together that the table has; None: all.
        key: names the choice of rows; needed with `rows`.
    """

    def __init__(self, parts: Sequence[Part], rows: Ints | None = None, key: str = "") -> None:
        self.parts, self.rows = tuple(parts), rows
        self._begins = np.cumsum([0, *(len(part.file) for part in parts)]).tolist()
        self.key = key_of(*(part.file.info.identity for part in parts), key)
        """Equal for equal rows, apart from where the files are."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self._begins[-1]) if self.rows is None else len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Utterance: ...
    @overload
    def __getitem__(self, index: slice) -> "UtteranceTable": ...
    def __getitem__(self, index: int | slice) -> "Utterance | UtteranceTable":
        """Return one utterance, or a table of some."""
        if isinstance(index, slice):
            return self.select(np.arange(len(self))[index])
        row = range(len(self))[index]  # as a list takes it: from the end if negative
        return next(self._read(np.array([row if self.rows is None else int(self.rows[row])])))

    def __iter__(self) -> Iterator[Utterance]:
        """Yield the utterances, reading some thousands at once."""
        for first in range(0, len(self), _AT_ONCE):
            numbers = np.arange(first, min(len(self), first + _AT_ONCE))
            yield from self._read(numbers if self.rows is None else np.asarray(self.rows[numbers]))

    def select(self, rows: Ints) -> "UtteranceTable":
        """Return a table of some rows, in this order."""
        numbers = rows if self.rows is None else self.rows[rows]
        return UtteranceTable(self.parts, numbers, key_of(self.key, np.asarray(numbers, dtype=np.int64).tobytes()))

    def where(self, key: str, keep: Callable[[], NDArray[np.bool_]]) -> "UtteranceTable":
        """Return the rows for which a condition holds.

        Args:
            key: names the condition.
            keep: computes for each row whether it holds; called in one process if there are many rows.
        """
        chosen = self._shared(key, lambda: {"rows": self._kept(keep())})["rows"]
        return self if len(chosen) == len(self) else UtteranceTable(self.parts, chosen, key_of(self.key, key))

    def num_samples(self) -> Ints:
        """Return the length of each utterance at 16 kHz."""
        return self._shared("num_samples", lambda: {"of": self._column("num_samples")})["of"]

    def digests(self) -> Iterator[NDArray[np.uint64]]:
        """Yield `table_file.row_digest` of each utterance, many at once."""
        every = (some for part in self.parts for some in part.file.digests())
        if self.rows is None:
            yield from every
        else:
            yield np.concatenate(list(every))[self.rows]

    def categories(self, column: str, *, without: str = "") -> Categories:
        """Return speakers, languages or splits as numbers; not shared, since they are needed once.

        Args:
            column: name of the column.
            without: regular expression of what is left out of each name.
        """
        known: dict[str | None, int] = {}
        codes: list[Ints] = []
        if len(self.parts) == 1:
            every, names = self.parts[0].file.categories(column, without=without)
            return Categories(self._chosen(every), names)
        for part in self.parts:
            own = part.file.categories(column, without=without)
            table = np.array([known.setdefault(name, len(known)) for name in own.names], dtype=np.int32)
            codes.append(table[own.codes])
        return Categories(self._chosen(np.concatenate(codes)), tuple(known))

    def has_text(self) -> NDArray[np.bool_]:
        """Return for each utterance whether it has a transcript."""
        return self._chosen(np.concatenate([part.file.has_text() for part in self.parts]))

    def order_of_ids(self) -> Ints:
        """Return the row numbers in the order of the ids (of their code points, as Python sorts)."""
        import pyarrow as pa
        import pyarrow.compute

        ids = pa.chunked_array([batch for part in self.parts for batch in part.file.strings("id")], pa.string())
        if self.rows is not None:
            ids = ids.take(pa.array(self.rows))
        order: Ints = pyarrow.compute.sort_indices(ids).to_numpy()
        return order.astype(np.int64)

    def _kept(self, keep: NDArray[np.bool_]) -> Ints:
        (rows,) = np.nonzero(keep)
        return small(rows) if self.rows is None else self.rows[rows]

    def _column(self, name: str) -> NDArray[Any]:
        parts = [small(some) for part in self.parts for some in part.file.numbers(name)]
        return self._chosen(np.concatenate([np.empty(0, dtype=np.int32), *parts]))

    def _chosen(self, values: NDArray[Any]) -> NDArray[Any]:
        return values if self.rows is None else values[self.rows]

    def _shared(self, key: str, make: Callable[[], Arrays]) -> Arrays:
        return make() if len(self) <= MOST_OWN else shared_arrays(key_of(self.key, key), make)

    def _read(self, numbers: Ints) -> Iterator[Utterance]:
        """Yield rows, numbered over all files."""
        places = np.searchsorted(self._begins, numbers, side="right") - 1
        for some in np.split(np.arange(len(numbers)), np.flatnonzero(np.diff(places)) + 1):
            place = int(places[some[0]])
            file, base = self.parts[place]
            for utterance in file.take(numbers[some] - self._begins[place]):
                yield utterance._replace(path=located(base, utterance.path))


def small(numbers: Ints) -> Ints:
    """Return numbers in half the memory, if they are small enough."""
    return numbers.astype(np.int32) if not len(numbers) or numbers.max() < 1 << 31 else numbers


def located(base: str, path: str) -> str:
    """Return where a relative path leads to, without following links; an absolute one stays what it is.

    Args:
        base: absolute or relative folder, or a URL.
        path: the path, with slashes.
    """
    if is_url(base) or is_url(path):
        return path if is_url(path) else f"{base.rstrip('/')}/{path}"
    return os.path.normpath(os.path.join(os.path.abspath(base), path))  # noqa: PTH100, PTH118 - ten times as fast


def joined(sequences: Iterable[Sequence[Utterance]]) -> Sequence[Utterance]:
    """Return sequences one after the other: a table if all are whole tables, else a list."""
    listed = list(sequences)
    tables = [one for one in listed if isinstance(one, UtteranceTable)]
    if len(listed) == 1:
        return listed[0]
    if len(tables) == len(listed):
        return _joined(tables)
    return [utterance for one in listed for utterance in one]


def num_samples_of(utterances: Sequence[Utterance]) -> Ints:
    """Return the length of each utterance at 16 kHz."""
    if isinstance(utterances, UtteranceTable):
        return utterances.num_samples()
    return np.array([u.num_samples for u in utterances], dtype=np.int64)


def digests_of(utterances: Sequence[Utterance]) -> Iterator[NDArray[np.uint64]]:
    """Yield `table_file.row_digest` of each utterance, many at once."""
    if isinstance(utterances, UtteranceTable):
        yield from utterances.digests()
    else:
        yield np.array([row_digest(u) for u in utterances], dtype=np.uint64)


def categories_of(utterances: Sequence[Utterance], column: str) -> Categories:
    """Return the speakers, languages or splits of utterances as numbers."""
    if isinstance(utterances, UtteranceTable):
        return utterances.categories(column)
    return categories([getattr(u, column) for u in utterances])


def categories(names: Sequence[str | None]) -> Categories:
    """Return names as numbers."""
    known: dict[str | None, int] = {}
    codes = np.array([known.setdefault(name, len(known)) for name in names], dtype=np.int32)
    return Categories(codes, tuple(known))


def in_shards(utterances: Sequence[Utterance]) -> bool:
    """Return whether the sound is in tar files; not for those whose first utterance is in a file of its own."""
    return len(utterances) > 0 and member_of(utterances[0].path) is not None


def shards_of(utterances: Sequence[Utterance]) -> Ints:
    """Return the number of each utterance's tar file, in the order in which they first occur."""
    if isinstance(utterances, UtteranceTable):
        return utterances.categories("path", without="#[^#]*$").codes
    return categories([tar_of(u.path) for u in utterances]).codes


def key_of_table(utterances: Sequence[Utterance]) -> str | None:
    """Return the key of arrays that are computed from a table too long for each process; None: compute them here."""
    if isinstance(utterances, UtteranceTable) and len(utterances) > MOST_OWN:
        return utterances.key
    return None


def chosen(utterances: Sequence[Utterance], rows: Ints) -> Sequence[Utterance]:
    """Return some utterances, in this order."""
    if isinstance(utterances, UtteranceTable):
        return utterances.select(rows)
    return [utterances[row] for row in rows.tolist()]


def where(
    utterances: Sequence[Utterance], column: str, keep: Callable[[str | None], bool], *, key: str
) -> Sequence[Utterance]:
    """Return the utterances of which a name fulfils a condition.

    Args:
        utterances: a list or a table.
        column: `speaker`, `language` or `split`.
        keep: the condition on one name.
        key: describes the condition completely, for what processes share.
    """
    if not isinstance(utterances, UtteranceTable):
        return [u for u in utterances if keep(getattr(u, column))]
    table = utterances

    def kept() -> NDArray[np.bool_]:
        codes, names = table.categories(column)
        found: NDArray[np.bool_] = np.array([keep(name) for name in names], dtype=bool)[codes]
        return found

    return table.where(f"{column} {key}", kept)


def order_of_ids(utterances: Sequence[Utterance]) -> Ints:
    """Return the row numbers in the order of the ids."""
    if isinstance(utterances, UtteranceTable):
        return utterances.order_of_ids()
    return np.array(sorted(range(len(utterances)), key=lambda row: utterances[row].id), dtype=np.int64)


def with_text(utterances: Sequence[Utterance]) -> Sequence[Utterance]:
    """Return the utterances that have a transcript."""
    if isinstance(utterances, UtteranceTable):
        return utterances.where("has text", utterances.has_text)
    return [u for u in utterances if u.text and u.text.strip()]


def _joined(tables: Sequence[UtteranceTable]) -> UtteranceTable:
    parts = [part for table in tables for part in table.parts]
    if all(table.rows is None for table in tables):
        return UtteranceTable(parts)
    begins = np.cumsum([0, *(sum(len(part.file) for part in table.parts) for table in tables)])
    rows = [
        begin + (np.arange(len(table)) if table.rows is None else table.rows)
        for begin, table in zip(begins, tables, strict=False)
    ]
    return UtteranceTable(parts, np.concatenate(rows), key_of(*(table.key for table in tables)))
