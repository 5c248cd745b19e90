"""Keep the output of frozen blocks on disk, so that they are computed once for each copy of an utterance.

A cache is a folder of parts, safetensors files of some seconds of audio each: a bfloat16 tensor "frame dim" for each
utterance, named by its row. Parts are renamed into place when they are complete, and carry the key of what they were
computed from, so a build that was killed continues with the part it was at. Training maps the files into memory.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import final

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from safetensors import SafetensorError, safe_open

from sori.core.audio import SAMPLE_RATE
from sori.core.batch import FrameBatch, WaveformBatch
from sori.core.files import remove_partial, write_tensors
from sori.core.log import logger
from sori.core.shapes import Frames, Tensor
from sori.data.batches.loader import TextBatches
from sori.data.batches.sampler import Rows

_SECONDS_AT_ONCE = 24.0
"""Audio of a part, padding included; convolutions of the published size need 30 MB of memory for a second."""


def build(batches: TextBatches, folder: Path, compute: Callable[[WaveformBatch], Frames], *, key: str) -> None:
    """Compute the parts of a cache that are missing; one process at a time.

    Args:
        batches: batches of waveforms.
        folder: folder of the cache, created if needed; parts of another key are replaced.
        compute: returns the output of the frozen blocks, in bfloat16 on the host; called once for each part.
        key: identifies weights, precision and utterances.

    Raises:
        OSError: a part cannot be written, for example because the disk is full; the parts before it are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_partial(folder)
    parts, begin = list(_parts(batches.num_samples)), time.monotonic()
    for path in folder.glob("*.safetensors"):
        if not _is_current(path, key):
            path.unlink()
    missing = [number for number in range(len(parts)) if not _path(folder, number).exists()]
    seconds = sum(int(batches.num_samples[parts[number]].sum()) for number in missing) / SAMPLE_RATE
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        for number in progress.track(missing, description="computing frozen blocks once"):
            frames = compute(batches.audio(parts[number]))
            lengths = frames.lengths.tolist()
            tensors = {
                str(row): one[:length].contiguous()
                for row, one, length in zip(parts[number].tolist(), frames.data, lengths, strict=True)
            }
            write_tensors(tensors, _path(folder, number), metadata={"key": key})
    if missing:
        size = sum(_path(folder, number).stat().st_size for number in range(len(parts)))
        logger.info(
            f"computed the frozen blocks of {seconds / 60:.1f} minutes of audio in {time.monotonic() - begin:.0f} s; "
            f"{size / 1e6:,.0f} MB in {folder}"
        )


def remove(folder: Path) -> None:
    """Remove a cache, which is of no use after training; nothing happens where there is none."""
    if not folder.is_dir():
        return
    try:
        shutil.rmtree(folder)
    except OSError as error:  # Windows keeps files that are mapped; the model is saved already
        logger.warning(f"cannot remove {folder}, which is of no use after training: {error}; remove it by hand")


@final
class FrameBatches:
    """The batches of `TextBatches`, with the output of frozen blocks instead of waveforms.

    Args:
        batches: batches of waveforms.
        folder: folder of a complete cache, see `build`.
    """

    def __init__(self, batches: TextBatches, folder: Path) -> None:
        self._batches = batches
        self.frames = dict(chain.from_iterable(_mapped(part) for part in sorted(folder.glob("*.safetensors"))))
        """Output of the frozen blocks, "frame dim" in bfloat16, by the row of the utterance."""

    def __getitem__(self, index: int) -> FrameBatch:
        """Return micro-batch `index`, numbered consecutively over all epochs."""
        rows = self._batches.rows(index)
        chosen = [self.frames[row] for row in rows.tolist()]
        frames = torch.nn.utils.rnn.pad_sequence(chosen, batch_first=True)
        num_frames = torch.tensor([len(one) for one in chosen])
        lengths = torch.from_numpy(self._batches.num_samples[rows].astype(np.int64))
        return FrameBatch(frames, num_frames, lengths, *self._batches.labels(rows))


def _parts(num_samples: np.ndarray) -> Iterator[Rows]:
    """Yield the rows of each part: utterances of similar length, so that there is little padding."""
    most, part = _SECONDS_AT_ONCE * SAMPLE_RATE, list[int]()
    for row in np.argsort(num_samples, kind="stable").tolist():
        if part and (len(part) + 1) * int(num_samples[row]) > most:  # ascending: the last one is the longest
            yield np.array(part)
            part = []
        part.append(row)
    yield np.array(part)


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:06}.safetensors"


def _is_current(path: Path, key: str) -> bool:
    """Return whether a part is readable and of this key."""
    try:
        with safe_open(path, framework="pt") as file:
            return bool((file.metadata() or {}).get("key") == key)
    except SafetensorError:
        return False  # damaged after it was written: it is computed again


def _mapped(path: Path) -> Iterator[tuple[int, Tensor]]:
    """Yield the rows of a part with their frames; their memory is that of the file, read when it is used."""
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - the object is no mapping
            yield int(name), file.get_tensor(name)
