"""Assign utterances to micro-batches, as pure functions of the seed and the micro-batch's number, without audio.

Utterances are sorted by length and divided into a few buckets; the rows of a batch are from one bucket. Each epoch
shuffles the rows inside the buckets and the order of all batches, and uses every utterance once; or, with language
balancing (`language_exponent`), some more often and some not at all. The number of batches of an epoch is fixed, so
any micro-batch can be computed from its number, and resuming needs no state.

The order of tens of millions of utterances is computed by one process of a machine and shared by all
(`core/shared_arrays.py`); it is the same order as that of a process on its own.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, Protocol, final, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sori.core.audio import LONGEST_SECONDS, SAMPLE_RATE
from sori.core.config import Config
from sori.core.seeds import derive
from sori.core.shared_arrays import Arrays, forget, key_of, shared_arrays
from sori.data.batches.language_balance import Balance, balance
from sori.data.table_file import Categories
from sori.data.utterance_columns import categories, small

Rows = NDArray[np.int64]
Ints = NDArray[np.integer[Any]]
Names = Sequence[str | None] | Categories | Callable[[], Categories]
"""Language or speaker of each utterance; a function is called only where the plan depends on them."""


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
    shard_errors: Literal["fail", "skip"] = "fail"
    """What to do if sound in a shard (`sori shards`) cannot be read: end the run, or warn and leave these crops out of
    their pre-training batches. Either names the shard."""


class Crops(NamedTuple):
    """One micro-batch of crops of equal length."""

    rows: Rows
    """Utterance numbers."""
    starts: Rows
    """First sample of each crop, counted from the beginning of the utterance."""
    num_samples: int


class _Division(NamedTuple):
    """Utterances in buckets."""

    rows: Ints
    """Utterance numbers, sorted by length, bucket after bucket."""
    edges: Rows
    """Start of each bucket in `rows`, and the end of the last one."""
    bucket_samples: Rows
    """Length of each bucket's batches: its shortest (crops) or longest (padding) utterance."""
    sizes: Rows
    """Number of utterances that an epoch uses of each bucket."""
    languages: Balance | None
    """Languages of the utterances in `rows`, and how often these are used; None: each once an epoch."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the parts as arrays, to be shared; `of_arrays` returns the division."""
        parts = self._asdict()
        languages: Balance | None = parts.pop("languages")
        return parts | ({} if languages is None else {name: np.asarray(v) for name, v in languages._asdict().items()})

    @staticmethod
    def of_arrays(arrays: Arrays) -> "_Division":
        """Return the division; see `arrays`."""
        found = {name: np.asarray(array) for name, array in arrays.items()}
        names = tuple(found.pop("names").tolist()) if "names" in found else None
        rows, edges, bucket_samples, sizes = (found.pop(one) for one in ("rows", "edges", "bucket_samples", "sizes"))
        languages = None if names is None else Balance(names, **found)
        return _Division(rows, edges, bucket_samples, sizes, languages)


@runtime_checkable
class Batched(Protocol):
    """A plan of batches."""

    seed: int

    def batch(self, index: int) -> tuple[Rows, int]:
        """Return the utterance numbers of micro-batch `index`, and the length of its bucket in samples."""
        ...


@final
class Plan:
    """The division of utterances into the batches of an epoch.

    Args:
        division: utterances in buckets.
        config: batch size.
        seed: seed of the run.
        key: names the division, if the processes of a machine share it and its epochs.
    """

    def __init__(self, division: _Division, *, config: DataConfig, seed: int, key: str | None = None) -> None:
        self.rows, self._edges, self.bucket_samples, self.sizes, self.languages = division
        self.seed, self._key = seed, key
        max_rows = np.maximum(1, _samples(config.batch_seconds) // self.bucket_samples)
        self._begins: Rows = np.concatenate([[0], np.cumsum(self.sizes)])
        self._first_batches: Rows = np.concatenate([[0], np.cumsum(-(-self.sizes // max_rows))])
        self._epoch = functools.lru_cache(maxsize=2)(self._shared_epoch)

    @property
    def num_batches(self) -> int:
        """Micro-batches in an epoch."""
        return int(self._first_batches[-1])

    def batch(self, index: int) -> tuple[Rows, int]:
        """Return the utterance numbers of micro-batch `index`, and the length of its bucket in samples."""
        epoch, position = divmod(index, self.num_batches)
        rows, order = self._epoch(epoch)
        number = int(order[position])
        bucket = int(np.searchsorted(self._first_batches, number, side="right")) - 1
        first, count = (int(self._first_batches[bucket + n]) for n in (0, 1))
        number, count, size, begin = number - first, count - first, int(self.sizes[bucket]), int(self._begins[bucket])
        # The sizes of the batches of a bucket differ by at most one row: at most two shapes a bucket.
        chosen = rows[begin + number * size // count : begin + (number + 1) * size // count]
        return np.array(chosen, dtype=np.int64), int(self.bucket_samples[bucket])

    def _shared_epoch(self, epoch: int) -> tuple[Ints, Ints]:
        if self._key is None:
            return self._shuffled(epoch)
        found = shared_arrays(self._key_of_epoch(epoch), lambda: dict(zip("ro", self._shuffled(epoch), strict=True)))
        forget(self._key_of_epoch(epoch - 2))
        return found["r"], found["o"]

    def _key_of_epoch(self, epoch: int) -> str:
        return key_of(self._key, self.seed, epoch, "order")

    def _shuffled(self, epoch: int) -> tuple[Ints, Ints]:
        """Return the rows of an epoch, shuffled inside their buckets, and the order of the batches."""
        rng = np.random.Generator(np.random.Philox(derive(self.seed, epoch, "order")))
        edges = self._edges.tolist()
        buckets = list(zip(edges, edges[1:], self.sizes.tolist(), strict=False))
        if self.languages is not None:
            rows = np.concatenate([self.rows[self.languages.draw(*bucket, rng)] for bucket in buckets])
        else:
            rows = np.array(self.rows)
            for first, last, _ in buckets:
                rng.shuffle(rows[first:last])
        return rows, rng.permutation(self.num_batches)


def plan_crops(
    num_samples: Ints,
    config: DataConfig,
    *,
    seed: int,
    languages: Names | None = None,
    speakers: Names | None = None,
    key: str | None = None,
) -> Plan:
    """Plan pre-training batches: crops of equal length without padding.

    Args:
        num_samples: length of every utterance at 16 kHz.
        config: batch size and lengths; utterances shorter than `min_seconds` are left out.
        seed: seed of the run.
        languages: language of each utterance, for `language_exponent`; the amount of audio is the length of the crops.
        speakers: speaker of each utterance, for `one_speaker`.
        key: names the utterances, if the processes of a machine share the plan (`utterance_columns.key_of_table`).

    Raises:
        ValueError: no utterance is long enough, none has a language where `language_exponent` needs it, or one has no
            speaker where `one_speaker` needs it.
    """

    def divide() -> _Division:
        rows = small(np.flatnonzero(num_samples >= minimum_samples(config)))
        if not len(rows):
            longest = num_samples.max() / SAMPLE_RATE if len(num_samples) else 0.0
            raise ValueError(
                f"expected utterances of {config.min_seconds:g} s or more to pre-train on, got {len(num_samples)} of "
                f"which the longest has {longest:.2f} s; likely the wrong folder, or recordings cut very short: lower "
                "data.min_seconds or prepare longer pieces"
            )
        crop = min(_samples(config.max_crop_seconds), _samples(config.batch_seconds))
        lengths = small(num_samples[rows])
        np.minimum(lengths, crop, out=lengths)
        if config.one_speaker:
            rows, lengths, edges = _speaker_buckets(rows, lengths, speakers, config)
        else:
            rows, lengths, edges = _buckets(rows, lengths, config)
        shortest = lengths[edges[:-1]].astype(np.int64)
        return _division(rows, edges, shortest, _balance(rows, lengths, languages, config))

    return _planned(divide, config, seed, None if key is None else key_of(key, config, "crops"))


def plan_texts(
    num_samples: Ints,
    config: DataConfig,
    *,
    seed: int,
    languages: Names | None = None,
    most_samples: int | None = None,
    key: str | None = None,
) -> Plan:
    """Plan batches of whole utterances of similar length, which are padded to the longest.

    No utterance is left out, except from single epochs if `language_exponent` reduces some languages.

    Args:
        num_samples: length of every utterance at 16 kHz.
        config: batch size.
        seed: seed of the run.
        languages: language of each utterance, for `language_exponent`.
        most_samples: length to which longer utterances are cropped; None: none are.
        key: as for `plan_crops`.

    Raises:
        ValueError: there is no utterance, or none has a language where `language_exponent` needs it.
    """
    if not len(num_samples):
        raise ValueError(
            "expected transcribed utterances, got none; likely the folder was prepared without transcripts, or the "
            "split is empty: see report.md in the prepared folder"
        )

    def divide() -> _Division:
        lengths = np.array(small(num_samples))
        if most_samples is not None:
            np.minimum(lengths, most_samples, out=lengths)
        rows, lengths, edges = _buckets(small(np.arange(len(num_samples))), lengths, config)
        longest = np.maximum(1, lengths[edges[1:] - 1]).astype(np.int64)
        return _division(rows, edges, longest, _balance(rows, lengths, languages, config))

    return _planned(divide, config, seed, None if key is None else key_of(key, config, most_samples, "texts"))


def _division(rows: Ints, edges: Rows, bucket_samples: Rows, languages: Balance | None) -> _Division:
    sizes = np.diff(edges) if languages is None else languages.sizes(edges)
    return _Division(rows, edges, bucket_samples, sizes, languages)


def _planned(divide: Callable[[], _Division], config: DataConfig, seed: int, key: str | None) -> Plan:
    if key is None:
        return Plan(divide(), config=config, seed=seed)
    division = _Division.of_arrays(shared_arrays(key, lambda: divide().arrays()))
    return Plan(division, config=config, seed=seed, key=key)


def minimum_samples(config: DataConfig) -> int:
    """Return the length of the shortest utterance that pre-training uses."""
    return max(1, _samples(config.min_seconds))


def crops(plan: Batched, num_samples: Ints, index: int) -> Crops:
    """Return the utterances of micro-batch `index`, and the starts of their crops, drawn uniformly."""
    rows, length = plan.batch(index)
    rng = np.random.Generator(np.random.Philox(derive(plan.seed, index, "crop")))
    return Crops(rows, rng.integers(0, num_samples[rows] - length + 1), length)


def _buckets(rows: Ints, lengths: Ints, config: DataConfig) -> tuple[Ints, Ints, Rows]:
    """Sort by length and divide into groups of similar size, fewer if a group would not fill a batch."""
    rows, lengths = _sorted(rows, lengths)
    filled = int(lengths.sum() // _samples(config.batch_seconds))
    count = max(1, min(config.num_buckets, filled, len(rows)))
    edges = np.arange(count + 1) * len(rows) // count
    # A bucket begins at the first utterance of its length, so utterances of equal length share a bucket.
    edges[1:-1] = np.searchsorted(lengths, lengths[edges[1:-1]])
    return rows, lengths, np.unique(edges)


def _sorted(rows: Ints, lengths: Ints) -> tuple[Ints, Ints]:
    """Sort by length, utterances of equal length by number; rows ascend already, and both arrays may be overwritten."""
    if rows.dtype != np.int32 or lengths.dtype != np.int32:
        order = np.argsort(lengths, kind="stable")
        return rows[order], lengths[order]
    # Both in one number, which is sorted in place: a third of the memory of `argsort`.
    keys = lengths.astype("<i8")
    keys <<= 32
    keys |= rows
    keys.sort()
    rows[:], lengths[:] = keys.view("<i4").reshape(-1, 2).T
    return rows, lengths


def _speaker_buckets(
    rows: Ints, lengths: Ints, speaker_of: Names | None, config: DataConfig
) -> tuple[Ints, Ints, Rows]:
    """Apply `_buckets` to each speaker, in the order of their names, and concatenate the results."""
    found = categories([None] * (int(rows[-1]) + 1)) if speaker_of is None else _as_categories(speaker_of)
    own = found.codes[rows]
    missing = int(np.isin(own, [code for code, name in enumerate(found.names) if name is None]).sum())
    if missing:
        raise ValueError(
            f"expected the speaker of every utterance, which data.one_speaker needs, but {missing} of {len(own)} "
            "have none; prepare the recordings with speakers, or set data.one_speaker to false"
        )
    # Names that no row has are sorted too, and then have no part.
    rank = np.argsort(np.argsort([name or "" for name in found.names], kind="stable"), kind="stable")[own]
    order = np.argsort(rank, kind="stable")
    bounds = np.flatnonzero(np.diff(rank[order])) + 1
    parts = [_buckets(rows[some], lengths[some], config) for some in np.split(order, bounds)]
    begins = np.cumsum([0, *(len(part) for part, *_ in parts)])
    edges = np.concatenate([edges[:-1] + begin for (*_, edges), begin in zip(parts, begins, strict=False)])
    joined = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
    return next(joined), next(joined), np.append(edges, begins[-1])


def _balance(rows: Ints, lengths: Ints, language_of: Names | None, config: DataConfig) -> Balance | None:
    """Return the language balance of the rows of a plan; None if every utterance is used once an epoch."""
    if config.language_exponent is None:
        return None
    languages = categories([None] * (int(rows.max()) + 1)) if language_of is None else _as_categories(language_of)
    own = languages._replace(codes=languages.codes[rows])
    return balance(own, np.maximum(1, lengths), config.language_exponent)


def _as_categories(names: Names) -> Categories:
    if isinstance(names, Categories):
        return names
    return names() if callable(names) else categories(names)


def _samples(seconds: float) -> int:
    return math.floor(seconds * SAMPLE_RATE)
