"""Write the utterances of a prepared folder into tar files (`sori shards`), in the layout of Lhotse Shar.

`OUT/shards/recording.000000.tar` has two members for each utterance, its sound (`ID.flac` or `ID.opus`) and its Lhotse
recording (`ID.json`), and `OUT/shards/cuts.000000.jsonl.gz` its cut: Lhotse reads the folder with `CutSet.from_shar`,
and since two members of one name are also the convention of WebDataset, other loaders read the tar files.
`OUT/utterances.arrow` is the table of a prepared folder, whose paths say where in a tar file the sound is, so `OUT` is
one: every command reads it, and the shards can be behind a URL (`SORI_RECORDINGS`).

Utterances are shuffled while they are written, so that neighbours come from different recordings: recordings come in
random order, so that each is decoded once from its beginning to its end; their utterances wait in a buffer of hours of
speech, from which one is drawn, and written to one of several open shards, also drawn.

WebDataset takes what precedes the first dot of a name as its key, so it needs ids without dots.
"""

import gzip
import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, NamedTuple, final

import numpy as np
import soundfile

from sori.core import audio
from sori.core.audio import SAMPLE_RATE, AudioInfo
from sori.core.folders import whole_folder
from sori.core.seeds import derive
from sori.core.sound.tar_members import address
from sori.data.batches.loader import prefetch
from sori.data.manifest import TABLE, open_manifest
from sori.data.table_file import TableWriter, table_writer
from sori.data.utterance import Utterance

FOLDER = "shards"
Format = Literal["flac", "opus"]
_OPEN = 8
"""Shards that are written at the same time."""
_WAITING_BYTES = 1 << 28
"""Size of the buffer: about four hours of FLAC."""
_BLOCK = tarfile.BLOCKSIZE


class Written(NamedTuple):
    """What `write_shards` has written."""

    folder: Path
    num_utterances: int
    num_shards: int
    num_bytes: int
    hours: float

    def __str__(self) -> str:
        """Return a line for the screen."""
        return (
            f"{self.num_utterances:,} utterances ({self.hours:,.2f} h) in {self.num_shards:,} shards of "
            f"{self.num_bytes / 1e6 / max(1, self.num_shards):,.1f} MB on average: {self.folder}"
        )


def write_shards(
    prepared: Path, into: Path, *, shard_format: Format = "flac", shard_mb: float = 64.0, seed: int = 0
) -> Written:
    """Write the sound of a prepared folder into tar files, with the lists of a prepared folder.

    FLAC keeps the samples of 16-bit recordings at 16 kHz bit for bit; those of other recordings, which are averaged and
    resampled, are stored with 24 bits. Opus takes a sixth of the space and changes the samples.

    Args:
        prepared: the prepared folder.
        into: a new folder; it appears when it is complete.
        shard_format: coding of the sound.
        shard_mb: size at which a shard is closed, in megabytes.
        seed: decides the order.

    Raises:
        ValueError: the folder is not prepared, or a recording is missing or damaged; names it.
        FileExistsError: `into` exists.
    """
    if not 0.01 <= shard_mb <= 100_000:
        raise ValueError(
            f"expected shard_mb from 0.01 to 100000 megabytes, got {shard_mb:g}; tens to hundreds are usual"
        )
    utterances = open_manifest(prepared)
    rows = _order(utterances, seed)
    rng = np.random.Generator(np.random.Philox(derive(seed, "shards")))
    encoded = prefetch(_Encoded(utterances, shard_format), rows, num_threads=os.cpu_count() or 1)
    with whole_folder(into) as fresh, ExitStack() as opened:
        (fresh / FOLDER).mkdir()
        root = Path(os.path.normpath(into.absolute()))
        table = opened.enter_context(table_writer(fresh / TABLE, root, has_root=True))
        shards = _Shards(fresh / FOLDER, shard_format, table, most_bytes=int(shard_mb * 1e6))
        opened.callback(shards.close)
        for one in _shuffled(encoded, rng):
            shards.add(int(rng.integers(_OPEN)), one)
        shards.close()
        table.finish()
        num_bytes = sum(path.stat().st_size for path in (fresh / FOLDER).glob("*.tar"))
    return Written(into, len(utterances), shards.number, num_bytes, shards.num_samples / SAMPLE_RATE / 3600)


def _shuffled(encoded: Iterable["_Sound"], rng: np.random.Generator) -> Iterator["_Sound"]:
    waiting: list[_Sound] = []
    num_bytes = 0
    for one in encoded:
        waiting.append(one)
        num_bytes += len(one.content)
        while num_bytes > _WAITING_BYTES:
            drawn = _drawn(waiting, rng)
            num_bytes -= len(drawn.content)
            yield drawn
    while waiting:
        yield _drawn(waiting, rng)


def _drawn(waiting: list["_Sound"], rng: np.random.Generator) -> "_Sound":
    place = int(rng.integers(len(waiting)))
    waiting[place], waiting[-1] = waiting[-1], waiting[place]
    return waiting.pop()


class _Sound(NamedTuple):
    utterance: Utterance
    content: bytes
    about: AudioInfo


@final
class _Encoded:
    """Utterances with their sound as a file, by row number."""

    def __init__(self, utterances: Sequence[Utterance], shard_format: Format) -> None:
        self._utterances, self._format = utterances, shard_format

    def __getitem__(self, row: int) -> _Sound:
        u = self._utterances[row]
        waveform = audio.read(u.path, start=u.start, duration=u.duration_seconds, channel=u.mix).numpy()
        about = AudioInfo(SAMPLE_RATE, len(waveform), 1, self._format)
        return _Sound(u._replace(start=0.0, channel=None), _content(waveform, self._format), about)


def _content(waveform: np.ndarray[Any, np.dtype[np.float32]], shard_format: Format) -> bytes:
    file = io.BytesIO()
    if shard_format == "opus":
        soundfile.write(file, waveform, SAMPLE_RATE, format="OGG", subtype="OPUS")
        return file.getvalue()
    scaled = waveform * 32_768
    in_range = scaled.min(initial=0) >= -32_768 and scaled.max(initial=0) <= 32_767
    is_exact = in_range and bool((scaled == np.rint(scaled)).all())
    if is_exact:
        soundfile.write(file, scaled.astype(np.int16), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    else:  # louder than full scale only where the recording has float samples
        soundfile.write(file, waveform, SAMPLE_RATE, format="FLAC", subtype="PCM_24")
    return file.getvalue()


@final
class _Shards:
    """The shards that are open, and the table of what was written."""

    def __init__(self, folder: Path, shard_format: Format, table: TableWriter, *, most_bytes: int) -> None:
        self._folder, self._format, self._table, self._most_bytes = folder, shard_format, table, most_bytes
        self._open: dict[int, _Shard] = {}
        self.number, self.num_samples = 0, 0

    def add(self, place: int, one: _Sound) -> None:
        """Write an utterance to the open shard of a place."""
        shard = self._open.get(place)
        if shard is None:
            shard = self._open[place] = _Shard(self._folder, self.number)
            self.number += 1
        first = shard.add(one, self._format)
        path = f"{FOLDER}/{shard.name}"
        self._table.add(one.utterance._replace(path=address(path, first, len(one.content))), one.about)
        self.num_samples += one.about.num_frames
        if shard.tar.offset >= self._most_bytes:
            self._open.pop(place).close()

    def close(self) -> None:
        """Close all shards."""
        for shard in self._open.values():
            shard.close()


@final
class _Shard:
    """A tar file and its cuts; equal utterances give equal bytes."""

    def __init__(self, folder: Path, number: int) -> None:
        self.name = f"recording.{number:06d}.tar"
        self.tar = tarfile.open(folder / self.name, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - closed by `close`
        self._raw = (folder / f"cuts.{number:06d}.jsonl.gz").open("wb")
        self._cuts = gzip.GzipFile(fileobj=self._raw, mode="wb", filename="", mtime=0)

    def add(self, one: _Sound, suffix: str) -> int:
        """Write an utterance; return where its sound begins in the tar file."""
        recording = _recording(one)
        self._member(f"{one.utterance.id}.{suffix}", one.content)
        first = self.tar.offset - -(-len(one.content) // _BLOCK) * _BLOCK
        self._member(f"{one.utterance.id}.json", json.dumps(recording, ensure_ascii=False).encode())
        self._cuts.write(json.dumps(_cut(one, recording), ensure_ascii=False).encode() + b"\n")
        return first

    def close(self) -> None:
        """Close the files; more than once does nothing."""
        self.tar.close()
        self._cuts.close()
        self._raw.close()

    def _member(self, name: str, content: bytes) -> None:
        about = tarfile.TarInfo(name)
        about.size = len(content)
        self.tar.addfile(about, io.BytesIO(content))
        # Not documented; else the list of all members stays in memory until the shard is closed.
        self.tar.members.clear()  # type: ignore[attr-defined]


def _recording(one: _Sound) -> dict[str, Any]:
    duration = one.about.num_frames / SAMPLE_RATE
    about = {"id": one.utterance.id, "sources": [{"type": "shar", "channels": [0], "source": ""}]}
    return about | {
        "sampling_rate": SAMPLE_RATE,
        "num_samples": one.about.num_frames,
        "duration": duration,
        "channel_ids": [0],
    }


def _cut(one: _Sound, recording: dict[str, Any]) -> dict[str, Any]:
    u = one.utterance
    said = {"id": u.id, "recording_id": u.id, "start": 0.0, "duration": recording["duration"], "channel": 0}
    known = {"text": u.text, "language": u.language, "speaker": u.speaker}
    said |= {name: value for name, value in known.items() if value is not None}
    cut = {"id": u.id, "start": 0.0, "duration": recording["duration"], "channel": 0, "supervisions": [said]}
    custom = {} if u.split is None else {"custom": {"split": u.split}}
    return cut | {"recording": recording} | custom | {"type": "MonoCut"}


def _order(utterances: Sequence[Utterance], seed: int) -> Iterator[int]:
    """Yield row numbers: recordings in random order, the utterances of each in theirs.

    Recordings are distinguished by a 64-bit hash of their paths, so that 20 M paths are not in memory; two of equal
    hash would be read in turns, each from its beginning to its end.
    """
    hashes = np.fromiter((hash(u.path) for u in utterances), dtype=np.int64, count=len(utterances))
    _, first_rows, groups = np.unique(hashes, return_index=True, return_inverse=True)
    del hashes
    rng = np.random.Generator(np.random.Philox(derive(seed, "recordings")))
    # The hash of a text differs between processes, the order of first rows does not.
    places = np.empty(len(first_rows), dtype=np.int32)
    places[np.argsort(first_rows)[rng.permutation(len(first_rows))]] = np.arange(len(first_rows))
    for row in np.argsort(places[groups], kind="stable"):
        yield int(row)
