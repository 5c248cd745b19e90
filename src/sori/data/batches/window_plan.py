"""Assign utterances in shards to micro-batches: shards are drawn, then rows within a window of some shards.

A window is a group of shards that follow each other; `sori shards` has shuffled what is in them. Each epoch takes the
windows in another order, and within each the batches of its own plan (`sampler.py`), so that what is read lies close
together for a while and is then not needed until the next epoch. The windows are the same in every epoch, so the number
of batches is too, and any micro-batch can be computed from its number: order and contents do not depend on where a run
was interrupted, or on the number of processes.
"""

import functools
from collections.abc import Callable
from itertools import pairwise
from typing import final

import numpy as np

from sori.core.seeds import derive
from sori.core.shared_arrays import Arrays, key_of, shared_arrays
from sori.data.batches.language_balance import Balance
from sori.data.batches.sampler import DataConfig, Ints, Plan, Rows, minimum_samples, plan_crops
from sori.data.table_file import Categories
from sori.data.utterance_columns import small

WINDOW_SHARDS = 8
"""Shards of a window: with shards of 64 MB, about eight hours of speech as FLAC."""
_KEPT = 4
"""Plans of windows that are kept: batches are read ahead in several threads, also over the end of a window."""


@final
class WindowPlan:
    """The division of utterances in shards into the batches of an epoch; it has the methods of `sampler.Plan`.

    Args:
        num_samples: length of every utterance at 16 kHz.
        shards: returns the number of each utterance's shard.
        config: batch size and lengths; utterances shorter than `min_seconds` are left out.
        seed: seed of the run.
        languages: language of each utterance, for `language_exponent`, which is applied to each window.
        speakers: speaker of each utterance, for `one_speaker`.
        key: names the utterances, if the processes of a machine share the plan (`utterance_columns.key_of_table`).

    Raises:
        ValueError: as `sampler.plan_crops`, of a window.
    """

    def __init__(
        self,
        num_samples: Ints,
        shards: Callable[[], Ints],
        config: DataConfig,
        *,
        seed: int,
        languages: Callable[[], Categories],
        speakers: Callable[[], Categories],
        key: str | None = None,
    ) -> None:
        self._num_samples, self._config, self.seed = num_samples, config, seed
        self._languages = languages() if config.language_exponent is not None else None
        self._speakers = speakers() if config.one_speaker else None

        def divide() -> Arrays:
            rows, edges = _windows(num_samples, shards(), config)
            counts = [self._planned(rows[first:last], n).num_batches for n, (first, last) in enumerate(pairwise(edges))]
            return {"rows": rows, "edges": edges, "counts": np.array(counts)}

        found = divide() if key is None else shared_arrays(key_of(key, config, seed, "windows"), divide)
        self.rows, self._edges, self._counts = (found[name] for name in ("rows", "edges", "counts"))
        self._plan = functools.lru_cache(_KEPT)(lambda n: self._planned(self._rows(n), n))
        self.num_batches = int(self._counts.sum())
        """Micro-batches in an epoch."""
        self._order = functools.lru_cache(2)(self._ordered)

    @property
    def languages(self) -> Balance | None:
        """Languages of the first window, and how often these are used; None: each utterance once an epoch."""
        return self._plan(0).languages

    def batch(self, index: int) -> tuple[Rows, int]:
        """Return the utterance numbers of micro-batch `index`, and the length of its crops in samples."""
        epoch, position = divmod(index, self.num_batches)
        order, ends = self._order(epoch)
        place = int(np.searchsorted(ends, position, side="right"))
        window = int(order[place])
        count = int(self._counts[window])
        number = position - (int(ends[place]) - count)
        rows, length = self._plan(window).batch(epoch * count + number)
        return self._rows(window)[rows].astype(np.int64), length

    def _ordered(self, epoch: int) -> tuple[Ints, Ints]:
        """Return the windows of an epoch, and the number of batches up to the end of each."""
        rng = np.random.Generator(np.random.Philox(derive(self.seed, epoch, "windows")))
        order = rng.permutation(len(self._counts))
        return order, np.cumsum(self._counts[order])

    def _rows(self, window: int) -> Ints:
        return np.asarray(self.rows[self._edges[window] : self._edges[window + 1]])

    def _planned(self, rows: Ints, window: int) -> Plan:
        return plan_crops(
            self._num_samples[rows],
            self._config,
            seed=derive(self.seed, window, "window"),
            languages=_of(self._languages, rows),
            speakers=_of(self._speakers, rows),
        )


def _windows(num_samples: Ints, shards: Ints, config: DataConfig) -> tuple[Ints, Rows]:
    """Return the utterances that are used, window after window, and where each window begins and the last one ends."""
    long = np.flatnonzero(num_samples >= minimum_samples(config))
    if not len(long):
        plan_crops(num_samples, config, seed=0)  # raises what is wrong
    window = shards[long] // WINDOW_SHARDS
    order = np.argsort(window, kind="stable")
    edges = np.concatenate([np.flatnonzero(np.diff(window[order], prepend=-1)), [len(order)]])
    return small(long[order]), edges


def _of(names: Categories | None, rows: Ints) -> Categories | None:
    return None if names is None else names._replace(codes=names.codes[rows])
