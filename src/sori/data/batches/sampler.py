"""Assign utterances to micro-batches, as pure functions of the seed and the micro-batch's number, without audio.

Utterances are sorted by length and divided into a few buckets; the rows of a batch are from one bucket. Each epoch
shuffles the rows inside the buckets and the order of all batches, and uses every utterance once; or, with language
balancing (`language_exponent`), some more often and some not at all. The number of batches of an epoch is fixed, so
any micro-batch can be computed from its number, and resuming needs no state.
"""

import functools
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sori.core.audio import LONGEST_SECONDS, SAMPLE_RATE
from sori.core.config import Config
from sori.core.seeds import derive
from sori.data.batches.language_balance import Balance, balance

Rows = NDArray[np.int64]


class DataConfig(Config):
    """Settings that turn utterances into micro-batches."""

    batch_seconds: float = Field(default=87.5, gt=0, le=LONGEST_SECONDS)
    """Maximum duration of one micro-batch, with padding. Paper: 87.5 s (1.4 M samples) a GPU for BASE, 75 s LARGE."""
    max_crop_seconds: float = Field(default=15.625, gt=0, le=LONGEST_SECONDS)
    """Pre-training uses a random crop of this length from longer utterances. Paper: 15.6 s BASE, 20 s LARGE."""
    min_seconds: float = Field(default=2.0, ge=0, le=LONGEST_SECONDS)
    """Pre-training leaves shorter utterances out. Paper: 2 s."""
    num_buckets: int = Field(default=8, ge=1)
    """Groups of similar length. Pre-training crops to the shortest of a group, so this limits the number of shapes."""
    language_exponent: float | None = Field(default=None, ge=0, le=1)
    """Upsampling of small languages: a language with fraction s of the audio is sampled in proportion to s ** exponent.
    1: no upsampling; 0.5: XLSR and XLS-R (arXiv 2006.13979, section 2); 0: all languages equally often.
    None: every utterance once an epoch, regardless of language. Paper: alpha."""
    one_speaker: bool = False
    """Whether each pre-training batch of crops has one speaker, so that the speaker cannot distinguish distractors
    from targets: the same-speaker variant of CPC (arXiv 1807.03748, table 2; CPC_audio: samplingType samespeaker).
    Needs many minutes of each speaker: with less audio than a batch, the batches are smaller."""
    cache: Literal["auto", "always", "never"] = "auto"
    """Whether to decode all audio once into a file of 16-bit samples (115 MB an hour): always, never, or if decoding is
    measured to be too slow for training and there is enough disk space."""


class Crops(NamedTuple):
    """One micro-batch of crops of equal length."""

    rows: Rows
    """Utterance numbers."""
    starts: Rows
    """First sample of each crop, counted from the beginning of the utterance."""
    num_samples: int


@final
class Plan:
    """Buckets of utterances and their division into the batches of an epoch.

    Args:
        rows: utterance numbers, sorted by length, bucket after bucket.
        edges: start of each bucket in `rows`, and the end of the last one.
        bucket_samples: length of each bucket's batches: its shortest (crops) or longest (padding) utterance.
        config: batch size.
        seed: seed of the run.
        languages: languages of the utterances in `rows`, and how often these are used; None: each once an epoch.
    """

    def __init__(
        self,
        rows: Rows,
        edges: Rows,
        bucket_samples: Rows,
        *,
        config: DataConfig,
        seed: int,
        languages: Balance | None = None,
    ) -> None:
        self.rows, self.edges, self.bucket_samples, self.seed = rows, edges, bucket_samples, seed
        self.languages = languages
        max_rows = np.maximum(1, _samples(config.batch_seconds) // bucket_samples)
        self._sizes = np.diff(edges) if languages is None else languages.sizes(edges)
        sizes, edges = self._sizes, np.concatenate([[0], np.cumsum(self._sizes)])
        num_batches = -(-sizes // max_rows)
        # The sizes of the batches of a bucket differ by at most one row: at most two shapes a bucket.
        starts = [
            first + np.arange(count) * size // count
            for first, size, count in zip(edges, sizes, num_batches, strict=False)
        ]
        self._bounds: Rows = np.concatenate([*starts, edges[-1:]])
        self._bucket_of_batch: Rows = np.repeat(np.arange(len(sizes)), num_batches)
        self._epoch = functools.lru_cache(maxsize=2)(self._shuffled)

    @property
    def num_batches(self) -> int:
        """Micro-batches in an epoch."""
        return len(self._bucket_of_batch)

    def batch(self, index: int) -> tuple[Rows, int]:
        """Return the utterance numbers of micro-batch `index`, and the length of its bucket in samples."""
        epoch, position = divmod(index, self.num_batches)
        rows, order = self._epoch(epoch)
        number = order[position]
        chosen = rows[self._bounds[number] : self._bounds[number + 1]]
        return chosen, int(self.bucket_samples[self._bucket_of_batch[number]])

    def _shuffled(self, epoch: int) -> tuple[Rows, Rows]:
        """Return the rows of an epoch, shuffled inside their buckets, and the order of the batches."""
        rng = np.random.Generator(np.random.Philox(derive(self.seed, epoch, "order")))
        edges = self.edges.tolist()
        buckets = list(zip(edges, edges[1:], self._sizes.tolist(), strict=False))
        if self.languages is not None:
            rows = self.rows[np.concatenate([self.languages.draw(*bucket, rng) for bucket in buckets])]
        else:
            rows = self.rows.copy()
            for first, last, _ in buckets:
                rng.shuffle(rows[first:last])
        return rows, rng.permutation(self.num_batches)


def plan_crops(
    num_samples: Rows,
    config: DataConfig,
    *,
    seed: int,
    languages: Sequence[str | None] | None = None,
    speakers: Sequence[str | None] | None = None,
) -> Plan:
    """Plan pre-training batches: crops of equal length without padding.

    Args:
        num_samples: length of every utterance at 16 kHz.
        config: batch size and lengths; utterances shorter than `min_seconds` are left out.
        seed: seed of the run.
        languages: language of each utterance, for `language_exponent`; the amount of audio is the length of the crops.
        speakers: speaker of each utterance, for `one_speaker`.

    Raises:
        ValueError: no utterance is long enough, none has a language where `language_exponent` needs it, or one has no
            speaker where `one_speaker` needs it.
    """
    rows = np.flatnonzero(num_samples >= max(1, _samples(config.min_seconds)))
    if not len(rows):
        longest = num_samples.max() / SAMPLE_RATE if len(num_samples) else 0.0
        raise ValueError(
            f"expected utterances of {config.min_seconds:g} s or more to pre-train on, got {len(num_samples)} of which "
            f"the longest has {longest:.2f} s; likely the wrong folder, or recordings cut very short: lower "
            "data.min_seconds or prepare longer pieces"
        )
    crop = min(_samples(config.max_crop_seconds), _samples(config.batch_seconds))
    lengths = np.minimum(num_samples[rows], crop)
    if config.one_speaker:
        rows, lengths, edges = _speaker_buckets(rows, lengths, speakers, config)
    else:
        rows, lengths, edges = _buckets(rows, lengths, config)
    balanced = _balance(rows, lengths, languages, config)
    return Plan(rows, edges, lengths[edges[:-1]], config=config, seed=seed, languages=balanced)


def plan_texts(
    num_samples: Rows, config: DataConfig, *, seed: int, languages: Sequence[str | None] | None = None
) -> Plan:
    """Plan batches of whole utterances of similar length, which are padded to the longest.

    No utterance is left out, except from single epochs if `language_exponent` reduces some languages.

    Raises:
        ValueError: there is no utterance, or none has a language where `language_exponent` needs it.
    """
    if not len(num_samples):
        raise ValueError(
            "expected transcribed utterances, got none; likely the folder was prepared without transcripts, or the "
            "split is empty: see report.md in the prepared folder"
        )
    rows, lengths, edges = _buckets(np.arange(len(num_samples)), num_samples, config)
    longest = np.maximum(1, lengths[edges[1:] - 1])
    balanced = _balance(rows, lengths, languages, config)
    return Plan(rows, edges, longest, config=config, seed=seed, languages=balanced)


def crops(plan: Plan, num_samples: Rows, index: int) -> Crops:
    """Return the utterances of micro-batch `index`, and the starts of their crops, drawn uniformly."""
    rows, length = plan.batch(index)
    rng = np.random.Generator(np.random.Philox(derive(plan.seed, index, "crop")))
    return Crops(rows, rng.integers(0, num_samples[rows] - length + 1), length)


def _buckets(rows: Rows, lengths: Rows, config: DataConfig) -> tuple[Rows, Rows, Rows]:
    """Sort by length and divide into groups of similar size, fewer if a group would not fill a batch."""
    order = np.argsort(lengths, kind="stable")
    rows, lengths = rows[order], lengths[order]
    filled = int(lengths.sum() // _samples(config.batch_seconds))
    count = max(1, min(config.num_buckets, filled, len(rows)))
    edges = np.arange(count + 1) * len(rows) // count
    # A bucket begins at the first utterance of its length, so utterances of equal length share a bucket.
    edges[1:-1] = np.searchsorted(lengths, lengths[edges[1:-1]])
    return rows, lengths, np.unique(edges)


def _speaker_buckets(
    rows: Rows, lengths: Rows, speaker_of: Sequence[str | None] | None, config: DataConfig
) -> tuple[Rows, Rows, Rows]:
    """Apply `_buckets` to each speaker, and concatenate the results."""
    names = [None if speaker_of is None else speaker_of[row] for row in rows]
    if missing := names.count(None):
        raise ValueError(
            f"expected the speaker of every utterance, which data.one_speaker needs, but {missing} of {len(names)} "
            "have none; prepare the recordings with speakers, or set data.one_speaker to false"
        )
    speakers, own = np.unique(np.array(names), return_inverse=True)
    parts = [_buckets(rows[own == n], lengths[own == n], config) for n in range(len(speakers))]
    begins = np.cumsum([0, *(len(part) for part, *_ in parts)])
    edges = np.concatenate([edges[:-1] + begin for (*_, edges), begin in zip(parts, begins, strict=False)])
    joined = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
    return next(joined), next(joined), np.append(edges, begins[-1])


def _balance(rows: Rows, lengths: Rows, language_of: Sequence[str | None] | None, config: DataConfig) -> Balance | None:
    """Return the language balance of the rows of a plan; None if every utterance is used once an epoch."""
    if config.language_exponent is None:
        return None
    languages = [None] * len(rows) if language_of is None else [language_of[row] for row in rows]
    return balance(languages, np.maximum(1, lengths), config.language_exponent)


def _samples(seconds: float) -> int:
    return math.floor(seconds * SAMPLE_RATE)
