"""Micro-batches by number, with audio read and cropped or padded; and prefetching in threads."""

import math
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
import torch

from sori.core.audio import SAMPLE_RATE, read
from sori.core.batch import TextBatch, WaveformBatch
from sori.core.log import logger
from sori.core.seeds import derive
from sori.core.shapes import Float, Int, Tensor
from sori.data.batches.sampler import DataConfig, Plan, Rows, crops, plan_crops, plan_texts
from sori.data.batches.window_plan import WindowPlan
from sori.data.table_file import Categories
from sori.data.utterance import Utterance
from sori.data.utterance_columns import categories_of, in_shards, key_of_table, num_samples_of, shards_of


@runtime_checkable
class Reader(Protocol):
    """A function that returns samples of one utterance of a list."""

    def __call__(self, row: int, first: int, num_samples: int) -> Float[Tensor, " sample"]:
        """Return `num_samples` samples from `first` on, both at 16 kHz, of utterance number `row`."""
        ...


@runtime_checkable
class Batches(Protocol):
    """Anything indexable by the global number of the micro-batch."""

    def __getitem__(self, index: int) -> Any:
        """Return micro-batch `index`, the same one in every call; it has `.to(device)` and `.seconds`."""
        ...


@final
class FileReader:
    """Reads samples from the sound files.

    Raises, when called:
        FileNotFoundError, ValueError: the file was removed or changed since it was prepared; the message names it.
    """

    def __init__(self, utterances: Sequence[Utterance]) -> None:
        self.utterances = utterances

    def __call__(self, row: int, first: int, num_samples: int) -> Float[Tensor, " sample"]:
        """Return samples; see `Reader`."""
        utterance = self.utterances[row]
        start = utterance.start + first / SAMPLE_RATE
        return read(utterance.path, start=start, duration=num_samples / SAMPLE_RATE, channel=utterance.mix)


@final
class CropBatches:
    """Pre-training batches of crops of equal length, without padding.

    Args:
        utterances: transcripts are not used.
        config: batch size, crop lengths.
        seed: seed of the run.
        reader: source of the samples (see `audio_cache.open_audio`); None: the sound files.

    Raises:
        ValueError: no utterance is long enough, none has a language where `language_exponent` needs it, or one has no
            speaker where `one_speaker` needs it.
    """

    def __init__(
        self, utterances: Sequence[Utterance], config: DataConfig, *, seed: int, reader: Reader | None = None
    ) -> None:
        self._num_samples, key = num_samples_of(utterances), key_of_table(utterances)
        languages, speakers = (partial(categories_of, utterances, name) for name in ("language", "speaker"))
        names = {"languages": languages, "speakers": speakers}
        self._plan: Plan | WindowPlan
        if in_shards(utterances):
            shards = partial(shards_of, utterances)
            self._plan = WindowPlan(self._num_samples, shards, config, seed=seed, **names, key=key)
        else:
            self._plan = plan_crops(self._num_samples, config, seed=seed, **names, key=key)
        self._skips = in_shards(utterances) and config.shard_errors == "skip"
        self._reader = reader or FileReader(utterances)
        self.num_batches = self._plan.num_batches
        """Micro-batches in an epoch."""
        self.languages = self._plan.languages
        """Languages and how often their utterances are used; None: every utterance once an epoch."""
        self.num_left_out = len(utterances) - len(self._plan.rows)
        """Utterances shorter than `min_seconds`."""

    def __getitem__(self, index: int) -> WaveformBatch:
        """Return micro-batch `index`, numbered consecutively over all epochs."""
        rows, starts, length = crops(self._plan, self._num_samples, index)
        waveform, num_read = torch.empty(len(rows), length), 0
        for row, start in zip(rows.tolist(), starts.tolist(), strict=True):
            try:
                waveform[num_read].copy_(self._reader(row, start, length))
            except (OSError, ValueError) as error:
                if not self._skips:
                    raise
                logger.warning(f"left out of batch {index}, as data.shard_errors skip says: {error}")
            else:
                num_read += 1
        if not num_read:
            raise ValueError(
                f"nothing of batch {index} can be read; the last warnings name the shards: make them available again"
            )
        return WaveformBatch(waveform[:num_read], torch.full((num_read,), length))


@final
class WholeBatches:
    """Pre-training batches of whole utterances, padded to the longest, for models whose output a crop would change.

    Args:
        utterances: transcripts are not used.
        config: batch size; utterances longer than `max_crop_seconds` are randomly cropped, and those shorter than
            `min_seconds` are left out.
        seed: seed of the run.
        reader: source of the samples (see `audio_cache.open_audio`); None: the sound files.

    Raises:
        ValueError: no utterance is long enough, or none has a language where `language_exponent` needs it.
    """

    def __init__(
        self, utterances: Sequence[Utterance], config: DataConfig, *, seed: int, reader: Reader | None = None
    ) -> None:
        least = math.ceil(config.min_seconds * SAMPLE_RATE)
        num_samples = num_samples_of(utterances)
        self._kept = np.flatnonzero(num_samples >= least)
        if not len(self._kept):
            raise ValueError(
                f"expected utterances of {config.min_seconds:g} s or more to pre-train on, got {len(utterances)} "
                "shorter ones; likely the wrong folder, or recordings cut very short: lower data.min_seconds or "
                "prepare longer pieces"
            )
        self._num_samples, self._seed = num_samples[self._kept], seed
        self._lengths = np.minimum(self._num_samples, math.floor(config.max_crop_seconds * SAMPLE_RATE))

        def languages() -> Categories:
            codes, names = categories_of(utterances, "language")
            return Categories(codes[self._kept], names)

        self._plan = plan_texts(self._lengths, config, seed=seed, languages=languages)
        self._reader = reader or FileReader(utterances)
        self.num_batches = self._plan.num_batches
        """Micro-batches in an epoch."""
        self.languages = self._plan.languages
        """Languages and how often their utterances are used; None: every utterance once an epoch."""

    def __getitem__(self, index: int) -> WaveformBatch:
        """Return micro-batch `index`, numbered consecutively over all epochs."""
        rows, _ = self._plan.batch(index)
        lengths = self._lengths[rows].astype(np.int64)
        draw = np.random.Generator(np.random.Philox(derive(self._seed, index, "crop")))
        starts = draw.integers(0, self._num_samples[rows] - lengths + 1)
        waveform = torch.zeros(len(rows), int(lengths.max()))
        for place, row, start, count in zip(waveform, self._kept[rows], starts, lengths, strict=True):
            place[:count] = self._reader(int(row), int(start), int(count))
        return WaveformBatch(waveform, torch.from_numpy(lengths))


@final
class TextBatches:
    """Whole utterances with their labels, padded to the longest of the batch.

    Args:
        utterances: one utterance for each list of labels.
        labels: label ids of each transcript.
        config: batch size.
        seed: seed of the run.
        reader: source of the samples (see `audio_cache.open_audio`); None: the sound files.

    Raises:
        ValueError: there is no utterance, the number of lists of labels differs, or no utterance has a language where
            `language_exponent` needs it.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        labels: Sequence[Sequence[int]],
        config: DataConfig,
        *,
        seed: int,
        reader: Reader | None = None,
    ) -> None:
        if len(labels) != len(utterances):
            raise ValueError(f"expected labels for {len(utterances)} utterances, got {len(labels)} lists")
        self.num_samples = num_samples_of(utterances)
        """Length of each utterance."""
        languages = partial(categories_of, utterances, "language")
        self._plan = plan_texts(self.num_samples, config, seed=seed, languages=languages, key=key_of_table(utterances))
        self._labels = labels
        self._reader = reader or FileReader(utterances)
        self.num_batches = self._plan.num_batches
        """Micro-batches in an epoch."""
        self.languages = self._plan.languages
        """Languages and how often their utterances are used; None: every utterance once an epoch."""

    def __getitem__(self, index: int) -> TextBatch:
        """Return micro-batch `index`, numbered consecutively over all epochs."""
        rows = self.rows(index)
        return TextBatch(*self.audio(rows), *self.labels(rows))

    def rows(self, index: int) -> Rows:
        """Return the utterance numbers of micro-batch `index`."""
        return self._plan.batch(index)[0]

    def audio(self, rows: Rows) -> WaveformBatch:
        """Return the waveforms of some utterances."""
        lengths = torch.from_numpy(self.num_samples[rows].astype(np.int64))
        waveform = torch.zeros(len(rows), int(lengths.max()))
        for place, row in zip(waveform, rows, strict=True):
            num_samples = int(self.num_samples[row])
            place[:num_samples] = self._reader(int(row), 0, num_samples)
        return WaveformBatch(waveform, lengths)

    def labels(self, rows: Rows) -> tuple[Int[Tensor, "batch label"], Int[Tensor, " batch"]]:
        """Return the labels of some utterances, padded with -1, and their numbers."""
        chosen = [self._labels[row] for row in rows]
        label_lengths = torch.tensor([len(ids) for ids in chosen])
        labels = torch.full((len(rows), int(label_lengths.max())), -1)
        for place, ids in zip(labels, chosen, strict=True):
            place[: len(ids)] = torch.tensor(ids, dtype=torch.long)
        return labels, label_lengths


def prefetch(source: Batches, indices: Iterable[int], *, num_threads: int = 1) -> Generator[Any, None, None]:
    """Yield micro-batches in the order of `indices`, prefetched in threads, at most two for each thread.

    Decoding and copying release the interpreter lock, so threads are as fast as processes here and start at once.
    An error in a thread is raised in place of its batch; closing the generator ends the threads.
    """
    waiting: deque[Future[Any]] = deque()
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="prefetch")
    try:
        for index in indices:
            waiting.append(pool.submit(source.__getitem__, index))
            if len(waiting) > 2 * num_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
