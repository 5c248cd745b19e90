"""Cache decoded audio on disk as 16-bit samples, in case decoding is too slow for training.

A cache is one file of samples, utterance after utterance, and one JSON file that lists them. The samples of an
utterance are multiplied by the power of two that brings its peak just below full scale: float recordings above full
scale are not clipped, quiet ones keep their resolution, and 16-bit samples stay what they are. The JSON file is written
last, and both files are renamed into place, so an interrupted build is never used as a cache. Caches are stored in the
folder `pcm16` of the prepared folder and may be deleted at any time; they can be moved with it (`cache_index.py`).
"""

import hashlib
import math
import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, final

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from sori.core import distributed
from sori.core.audio import SAMPLE_RATE
from sori.core.files import atomic_write, remove_partial
from sori.core.locks import locked
from sori.core.log import logger
from sori.core.shapes import Float, Tensor
from sori.data.batches.cache_index import (
    Index,
    Key,
    Stamp,
    content_digest,
    located,
    note_new_places,
    read_index,
    stamps_of,
    write_index,
)
from sori.data.batches.loader import FileReader, Reader, prefetch
from sori.data.utterance import Utterance
from sori.data.utterance_columns import in_shards, key_of_table

FOLDER = "pcm16"
FAST_ENOUGH = 3_000.0
"""Decoding speed of one thread, in multiples of real time, above which no cache is needed. Plain WAV files are faster,
and take about 2 % of a step that trains at 100x real time on two cores; FLAC (1,400x), Opus (100x) and everything that
is resampled are slower."""
_LOCK = "sori.lock"
"""Held while a cache is built: an unfinished cache that another process finds when it holds the lock is abandoned."""
_PARTIAL = re.compile(r"[0-9a-f]+\.\d+\.partial")
"""Name of an unfinished cache of version 0.1, with the id of the process that built it."""

_LARGEST_EXPONENT = 30
_SECONDS_AT_ONCE = 600.0
"""Length of the longest run of utterances of one file that is decoded at once."""


def open_audio(utterances: Sequence[Utterance], *, folder: Path, policy: Literal["auto", "always", "never"]) -> Reader:
    """Return a reader of the utterances: from a cache if there is one or the policy requires one, else from the files.

    Args:
        utterances: the utterances, to which row numbers refer.
        folder: folder of the cache, usually the prepared folder.
        policy: see `DataConfig.cache`; `never` also ignores an existing cache. Sound in shards is never cached.

    Raises:
        OSError: the policy is `always` and there is not enough disk space.
        ValueError, FileNotFoundError: a sound file was removed or changed while the cache was built; the message names
            it.
    """
    files = FileReader(utterances)
    if policy == "never" or in_shards(utterances):  # shards may be anywhere, and larger than any disk here
        return files
    if distributed.rank() == 0 and _find(folder, utterances, noting=True) is None and _wanted(files, folder, policy):
        with locked(folder / FOLDER / _LOCK, wait=True):
            _clear_abandoned(folder / FOLDER)
            if _find(folder, utterances) is None:  # another process may have built it meanwhile
                build(utterances, folder)
    distributed.barrier()
    return _find(folder, utterances) or files


def build(utterances: Sequence[Utterance], folder: Path) -> None:
    """Decode all utterances into a new cache, with a progress bar on a terminal; one process at a time."""
    # In the order of the files, so that each is decoded once from its beginning to its end.
    unique = sorted({_key(u): u for u in utterances}.values(), key=lambda u: (u.path, u.channel or 0, u.start))
    keys = [_key(u) for u in unique]
    exponents: list[int] = []
    target = folder / FOLDER / hashlib.blake2b(repr(keys).encode(), digest_size=8).hexdigest()
    target.parent.mkdir(parents=True, exist_ok=True)
    samples, index = target.with_suffix(".bin"), target.with_suffix(".json")
    stamps = stamps_of(u.path for u in unique)
    index.unlink(missing_ok=True)
    with (
        atomic_write(samples) as partial,
        partial.open("wb") as file,
        Progress(console=Console(stderr=True), disable=not _terminal()) as progress,
    ):
        bar = progress.add_task("decoding once", total=len(unique))
        runs = _Runs(FileReader(unique), stamps)
        for run in prefetch(runs, range(len(runs.rows)), num_threads=os.cpu_count() or 1):
            for exponent, samples_of_one in run:
                exponents.append(exponent)
                file.write(samples_of_one.tobytes())
                progress.advance(bar)
    files: dict[str, Stamp] = {path: (*stamp, content_digest(path, *stamp)) for path, stamp in stamps.items()}
    write_index(index, Index(keys, exponents, files))


def _clear_abandoned(folder: Path) -> None:
    """Remove unfinished caches; to be called while holding the lock."""
    remove_partial(folder)
    for partial in folder.iterdir():
        if _PARTIAL.fullmatch(partial.name):
            partial.unlink(missing_ok=True)


@final
class PcmReader:
    """Reads samples from a cache through a memory map.

    Args:
        path: file of the samples.
        places: first sample of each utterance's audio, and its exponent, by row number.
    """

    def __init__(self, path: Path, places: Sequence[tuple[int, int]]) -> None:
        self._samples = np.memmap(path, dtype="<i2", mode="r")
        self._places = np.array(places, dtype=np.int64)

    def __call__(self, row: int, first: int, num_samples: int) -> Float[Tensor, " sample"]:
        """See `loader.Reader`."""
        offset, exponent = self._places[row].tolist()
        part = self._samples[offset + first : offset + first + num_samples].astype(np.float32)
        return torch.from_numpy(part).mul_(2.0 ** (-15 - exponent))


@final
class _Runs:
    """Runs of utterances of the same file by number: exponents and 16-bit samples of each."""

    def __init__(self, reader: FileReader, stamps: Mapping[str, tuple[int, int]]) -> None:
        self.reader, self.stamps = reader, stamps
        self.rows: list[list[int]] = []
        """Rows of each run."""
        last, seconds = "", 0.0
        for row, utterance in enumerate(reader.utterances):
            seconds += utterance.duration_seconds
            if utterance.path != last or seconds > _SECONDS_AT_ONCE:
                self.rows.append([])
                last, seconds = utterance.path, utterance.duration_seconds
            self.rows[-1].append(row)

    def __getitem__(self, number: int) -> list[tuple[int, np.ndarray]]:
        path = self.reader.utterances[self.rows[number][0]].path
        if path in self.stamps:
            content_digest(path, *self.stamps[path])  # remembered; read here, where it is done in several threads
        return [self._samples(row) for row in self.rows[number]]

    def _samples(self, row: int) -> tuple[int, np.ndarray]:
        waveform = self.reader(row, 0, self.reader.utterances[row].num_samples)
        exponent = _exponent(waveform)
        samples = waveform.mul(2.0 ** (15 + exponent)).round_().clamp_(-32768, 32767)
        return exponent, samples.to(torch.int16).numpy().astype("<i2", copy=False)


def _exponent(waveform: Float[Tensor, " sample"]) -> int:
    """Return the largest exponent with which all samples fit into 16 bits, which go from -32768 to 32767."""
    if not len(waveform) or not bool(waveform.any()) or not bool(waveform.isfinite().all()):
        return 0
    highest, lowest = float(waveform.max()), float(waveform.min())
    exponent = -math.frexp(max(highest, -lowest))[1]
    if math.ldexp(-lowest, exponent) == 0.5 and math.ldexp(highest, exponent + 16) <= 32767:
        exponent += 1
    return max(-_LARGEST_EXPONENT, min(_LARGEST_EXPONENT, exponent))


def _find(folder: Path, utterances: Sequence[Utterance], *, noting: bool = False) -> PcmReader | None:
    """Return a reader of a complete and current cache that contains all the utterances, or None.

    Args:
        folder: folder of the caches.
        utterances: the utterances.
        noting: whether to write into its list where its files are now.
    """
    listed_caches = sorted((folder / FOLDER).glob("*.json"))
    if not listed_caches:  # nothing to compare, and no file to look up
        return None
    paths, stretches = {u.path for u in utterances}, {_key(u)[1:] for u in utterances}
    now: dict[str, tuple[int, int]] | None = None
    for path in listed_caches:
        index, samples = read_index(path), path.with_suffix(".bin")
        lengths = np.array([num_samples for _, _, num_samples, _ in index.keys], dtype=np.int64)
        if not stretches <= {key[1:] for key in index.keys}:
            continue
        if not samples.is_file() or samples.stat().st_size != 2 * int(lengths.sum()):
            continue
        now = stamps_of(paths) if now is None else now
        places = located(index, now, paths)
        if places is None:
            continue
        offsets = (np.cumsum(lengths) - lengths).tolist()
        listed = dict(zip(index.keys, zip(offsets, index.exponents, strict=True), strict=True))
        wanted = [(places[u.path], *_key(u)[1:]) for u in utterances]
        if all(key in listed for key in wanted):
            if noting:
                note_new_places(path, index, places, now)
            return PcmReader(samples, [listed[key] for key in wanted])
    return None


def _wanted(files: FileReader, folder: Path, policy: Literal["auto", "always"]) -> bool:
    """Return whether to build a cache; log the reason and the size."""
    if policy == "auto" and key_of_table(files.utterances) is not None:
        logger.info(f"{len(files.utterances):,} utterances are read from their files: a cache would be too large")
        return False
    needed = 2 * sum(num_samples for _, _, num_samples, _ in {_key(u) for u in files.utterances})
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    sizes = f"{needed / 1e9:.2f} GB of {free / 1e9:.1f} GB free in {folder / FOLDER}"
    if policy == "always":
        if needed > free:
            raise OSError(
                f"not enough disk space for the decoded audio: it needs {sizes}; free space, or set data.cache to never"
            )
        logger.info(f"decoding all audio once into {sizes}")
        return True
    speed = decoding_speed(files)
    if speed >= FAST_ENOUGH:
        return False
    if needed > free / 2:
        logger.info(f"audio decodes at {speed:.0f}x real time, too slow for training, but a cache needs {sizes}")
        return False
    logger.info(f"audio decodes at {speed:.0f}x real time, too slow for training: decoding it once into {sizes}")
    return True


def decoding_speed(files: FileReader, *, num_tried: int = 8, max_seconds: float = 1.0) -> float:
    """Measure how many seconds of audio one thread decodes in a second, on a few utterances spread over the list."""
    total = len(files.utterances)
    decoded, begin = 0.0, time.perf_counter()
    for row in range(0, total, max(1, total // num_tried)):
        decoded += len(files(row, 0, files.utterances[row].num_samples)) / SAMPLE_RATE
        if time.perf_counter() - begin > max_seconds:
            break
    return decoded / (time.perf_counter() - begin)


def _key(utterance: Utterance) -> Key:
    return utterance.path, utterance.start, utterance.num_samples, utterance.channel


def _terminal() -> bool:
    return Console(stderr=True).is_terminal
