"""The table of a prepared folder, `utterances.arrow`: an Arrow file that is mapped into memory, not read.

Opening takes milliseconds for any number of rows, and the processes of a machine share the memory. The file has record
batches of 65,536 rows, uncompressed (compressed columns would have to be decoded into the memory of each process), all
columns plain, so that any Arrow library reads it. A last batch without rows has the metadata: only then is it known
which list of cuts belongs to it.

Pages that were read are given back soon after. They stay in the cache of the system, but count as memory of a process
while they are mapped, and one row maps more than a megabyte: some 64 KB around each value, in each of the columns.

Files may be damaged: Arrow checks its own structures, and each row is validated before it is read.
"""

import hashlib
import json
import mmap
import threading
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from sori.core.audio import AudioInfo
from sori.core.files import atomic_write
from sori.core.json_values import parsed_json
from sori.core.user_files import open_bytes
from sori.data.utterance import Utterance

TABLE = "utterances.arrow"
BATCH_ROWS = 1 << 16
_VERSION = 1
_FEW = 256
_MAPPED_ROWS, _MAPPED_BATCHES = 4, 16
"""Single rows, or batches of one column, that are read before their pages are given back (20 MB at most)."""
_MOST_BATCH_ROWS = 1 << 24
_KEY = b"sori"
_OF_UTTERANCE = ("id", "path", "start", "num_samples", "text", "speaker", "language", "split", "channel")
_OF_FILE = ("sample_rate", "num_frames", "num_channels")
_DIGEST = "digest"


class TableInfo(NamedTuple):
    """Metadata of a table."""

    num_rows: int
    root: str
    """Folder that paths are relative to, where the table was written."""
    has_root: bool
    """Whether this is a root of the user, else the prepared folder."""
    cuts: str | None
    """Identifies the list of cuts that has the same rows (`manifest.stamp_of`); None: there is none."""
    identity: str
    """Digest of all rows."""


class Categories(NamedTuple):
    """Names of rows (languages, speakers, splits) as numbers."""

    codes: NDArray[np.integer[Any]]
    """Index into `names` of each row."""
    names: tuple[str | None, ...]
    """Distinct names, in no particular order."""


def row_digest(utterance: Utterance) -> int:
    """Return a 64-bit digest of what a run depends on, apart from languages: id, times, transcript and channel."""
    of = (utterance.id, float(utterance.start), int(utterance.num_samples), utterance.text, utterance.channel)
    return int.from_bytes(hashlib.blake2b(repr(of).encode(), digest_size=8).digest(), "little")


@final
class TableWriter:
    """Writes rows in constant memory (16 bytes a row remain, to compare the ids); see `table_writer`."""

    def __init__(self, writer: Any, root: str, *, has_root: bool) -> None:
        self._writer, self._root, self._has_root = writer, root, has_root
        self._columns: list[list[Any]] = [[] for _ in schema()]
        self._hashes, self._whole = array("q"), hashlib.blake2b(digest_size=16)
        self._is_finished = False

    def add(self, utterance: Utterance, about: AudioInfo) -> None:
        """Append a row; `utterance.path` is relative to the root."""
        # Slices: the columns of `Utterance` are the first ones, in its order.
        values = (*utterance, about.sample_rate, about.num_frames, about.num_channels, row_digest(utterance))
        for column, value in zip(self._columns, values, strict=True):
            column.append(value)
        self._hashes.append(hash(utterance.id))
        self._whole.update(repr((*utterance, *about[:3])).encode())
        if len(self._columns[0]) == BATCH_ROWS:
            self._flush()

    def finish(self, cuts: str | None = None) -> None:
        """Write the metadata; without it, the table is refused.

        Args:
            cuts: see `TableInfo`.

        Raises:
            ValueError: two rows have the same id.
        """
        self._flush()
        self._require_unique()
        values = (len(self._hashes), self._root, self._has_root, cuts, self._whole.hexdigest())
        about = {"version": _VERSION, "batch_rows": BATCH_ROWS} | TableInfo(*values)._asdict()
        self._write(custom_metadata={_KEY: json.dumps(about).encode()})
        self._is_finished = True

    def _flush(self) -> None:
        if self._columns[0]:
            self._write()
            self._columns = [[] for _ in self._columns]

    def _write(self, **metadata: Any) -> None:
        import pyarrow as pa

        arrays = [pa.array(column, field.type) for column, field in zip(self._columns, schema(), strict=True)]
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema()), **metadata)

    def _require_unique(self) -> None:
        hashes = np.frombuffer(self._hashes, dtype=np.int64) if self._hashes else np.empty(0, dtype=np.int64)
        order = np.argsort(hashes, kind="stable")
        (same,) = np.nonzero(hashes[order[1:]] == hashes[order[:-1]])
        if len(same):
            first, second = (int(order[same[0] + n]) + 1 for n in (0, 1))
            raise ValueError(
                f"expected ids that are unique, but {len(same)} rows have the id of another, such as rows {first} and "
                f"{second}; likely folders were joined: rename one of each"
            )


@contextmanager
def table_writer(path: Path, root: Path | str, *, has_root: bool) -> Iterator[TableWriter]:
    """Give a writer; the table is at `path` once `finish` was called and the block has ended, else nothing has changed.

    Args:
        path: file to write.
        root: absolute folder, or URL, that paths are relative to.
        has_root: whether this is a root of the user, else the prepared folder.
    """
    import pyarrow.ipc

    with atomic_write(path) as partial:
        with pyarrow.ipc.new_file(str(partial), schema()) as writer:
            table = TableWriter(writer, str(root), has_root=has_root)
            yield table
        assert table._is_finished  # noqa: S101, SLF001 - by the callers here


@final
class TableFile:
    """An open table; any number of threads may read it.

    Raises:
        ValueError: it is damaged, or of a later version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _damage_named(path):
            self._reader, self._pages = _opened(path)
            last = self._reader.get_batch_with_custom_metadata(self._reader.num_record_batches - 1)
            about = parsed_json(dict(last.custom_metadata or {})[_KEY])
            version, self._batch_rows = int(about["version"]), int(about["batch_rows"])
            self.info = TableInfo(*(about[name] for name in TableInfo._fields))
            most_rows = (self._reader.num_record_batches - 1) * self._batch_rows
            is_possible = 0 < self._batch_rows <= _MOST_BATCH_ROWS and 0 <= self.info.num_rows <= most_rows
            if not is_possible or not isinstance(self.info.root, str):
                raise ValueError("impossible metadata")
        if version != _VERSION or not self._reader.schema.equals(schema()):
            raise ValueError(
                f"{path} has version {version} of the table, expected {_VERSION} with its columns; likely a later sori "
                "wrote it: update sori, or prepare the folder again"
            )
        self._lock, self._rows_mapped = threading.Lock(), 0

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.info.num_rows

    def take(self, rows: NDArray[np.integer[Any]]) -> Iterator[Utterance]:
        """Yield rows, with paths as they are stored; neighbours of the same batch are read together."""
        if not len(rows):
            return
        numbers = rows // self._batch_rows
        edges = np.flatnonzero(np.diff(numbers)) + 1
        for part in np.split(rows, edges):
            self._rows_mapped += len(part)
            if self._rows_mapped > _MAPPED_ROWS:  # approximate where threads count at the same time
                self._rows_mapped = len(part)
                _give_back(self._pages)
            batch = self._batch(int(part[0]) // self._batch_rows, _OF_UTTERANCE)
            for some in self._valid(batch, part % self._batch_rows):
                yield from self._utterances(some)

    def infos(self) -> Iterator[AudioInfo]:
        """Yield the header of each row's sound file."""
        for batch in self._batches(_OF_FILE):
            for rate, num_frames, num_channels in zip(*_lists(batch), strict=True):
                yield AudioInfo(rate, num_frames, num_channels, format="unknown")

    def numbers(self, column: str) -> Iterator[NDArray[Any]]:
        """Yield a column of numbers, none of them negative, many at once."""
        num_rows = 0
        for batch in self._batches((column,)):
            with _damage_named(self.path):
                part = batch.column(0).to_numpy()  # refuses missing values
                num_rows += len(part)
                if num_rows > len(self) or (len(part) and part.min() < 0):
                    raise ValueError(f"impossible values of {column}")
            yield part
        with _damage_named(self.path):
            if num_rows != len(self):
                raise ValueError(f"{num_rows} rows, expected {len(self)}")

    def digests(self) -> Iterator[NDArray[np.uint64]]:
        """Yield `row_digest` of each row, many at once."""
        yield from self.numbers(_DIGEST)

    def strings(self, column: str) -> list[Any]:
        """Return a column of strings as arrays of Arrow, which refer to the mapped file."""
        return [batch.column(0) for batch in self._batches((column,))]

    def has_text(self) -> NDArray[np.bool_]:
        """Return for each row whether it has a transcript."""
        found = [bool(text and text.strip()) for batch in self._batches(("text",)) for text in _lists(batch)[0]]
        return np.array(found, dtype=bool)

    def categories(self, column: str, *, without: str = "") -> Categories:
        """Return a column of strings as numbers; `without` is a regular expression of what is left out of each."""
        import pyarrow.compute

        known: dict[str | None, int] = {}
        codes, first = np.empty(len(self), dtype=np.int32), 0
        for batch in self._batches((column,)):
            values = batch.column(0)
            if without:
                values = pyarrow.compute.replace_substring_regex(values, without, "")
            encoded = values.dictionary_encode(null_encoding="encode")
            names = [known.setdefault(name, len(known)) for name in encoded.dictionary.to_pylist()]
            with _damage_named(self.path):
                codes[first : first + len(values)] = np.array(names, dtype=np.int32)[encoded.indices.to_numpy()]
            first += len(values)
        return Categories(codes[:first], tuple(known))

    def _batches(self, columns: tuple[str, ...]) -> Iterator[Any]:
        with _damage_named(self.path):
            reader, pages = _opened(self.path)
        for number in range(reader.num_record_batches - 1):
            if number % _MAPPED_BATCHES == 0:
                _give_back(pages)
            with _damage_named(self.path):
                batch = reader.get_batch(number).select(list(columns))
                batch.validate(full=True)
            yield batch

    def _batch(self, number: int, columns: tuple[str, ...]) -> Any:
        with self._lock, _damage_named(self.path):
            return self._reader.get_batch(number).select(list(columns))

    def _valid(self, batch: Any, rows: NDArray[np.integer[Any]]) -> Iterator[Any]:
        """Yield rows of a batch after their values were checked, few of them without reading the others."""
        import pyarrow as pa

        with _damage_named(self.path):
            if len(rows) <= _FEW:
                parts = [batch.slice(int(row), 1) for row in rows]
                for part in parts:
                    part.validate(full=True)
            else:
                batch.validate(full=True)
                parts = [batch.take(pa.array(rows))]
        yield from parts

    def _utterances(self, batch: Any) -> Iterator[Utterance]:
        with _damage_named(self.path):
            lists = _lists(batch)
            if any(value is None for values in lists[:4] for value in values) or not all(
                start >= 0 and num_samples >= 0 for start, num_samples in zip(lists[2], lists[3], strict=True)
            ):
                raise ValueError("impossible values of id, path, start or num_samples")
        yield from map(Utterance._make, zip(*lists, strict=True))


def _lists(batch: Any) -> list[list[Any]]:
    return [column.to_pylist() for column in batch.columns]


def _opened(path: Path) -> tuple[Any, mmap.mmap]:
    """Return a reader of the file, and the memory that the file is mapped to."""
    import pyarrow as pa

    with open_bytes(path) as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return pa.ipc.open_file(pa.py_buffer(pages)), pages


def _give_back(pages: mmap.mmap) -> None:
    """Unmap pages; they are mapped again when they are read."""
    if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
        pages.madvise(mmap.MADV_DONTNEED)


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, LookupError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged ({type(error).__name__}: {error}); remove it to use the list of cuts beside it, or "
            "prepare the folder again"
        ) from None


@cache
def schema() -> Any:
    """Return the columns: those of `Utterance`, three of the sound file's header, and the digest of the row."""
    import pyarrow as pa

    types = {"start": pa.float64(), "num_samples": pa.int64(), "channel": pa.int16()}
    types |= {"sample_rate": pa.int32(), "num_frames": pa.int64(), "num_channels": pa.int16(), _DIGEST: pa.uint64()}
    return pa.schema([(name, types.get(name, pa.string())) for name in (*_OF_UTTERANCE, *_OF_FILE, _DIGEST)])
