"""Copies of an utterance at other speeds: more labelled speech for nothing (Ko et al. 2015).

Tempo and pitch change together, as when a tape runs faster, so a copy sounds like another speaker. Nothing random: a
set of three speeds is a set three times as large.
"""

from collections.abc import Sequence
from typing import final

import numpy as np
import soxr
import torch

from sori.core.audio import SAMPLE_RATE
from sori.core.shapes import Float, Tensor
from sori.data.batches.loader import Reader
from sori.data.manifest import Utterance


def speed_copies(utterances: Sequence[Utterance], speeds: Sequence[float]) -> list[Utterance]:
    """All utterances at the first speed, then all at the second, and so on; only `SpeedReader` can read them.

    Args:
        utterances: at their own speed.
        speeds: 1.1 is a tenth faster and so shorter; 1.0 keeps an utterance as it is.

    Returns:
        Rows whose ids end in the speed, where it is not 1, and whose lengths are those that will be read.
    """
    return [
        u if speed == 1 else u._replace(id=f"{u.id}@{speed:g}", num_samples=_num_samples(u.num_samples, speed))
        for speed in speeds
        for u in utterances
    ]


@final
class SpeedReader:
    """Samples of the rows of `speed_copies`.

    Args:
        reader: of the utterances at their own speed.
        utterances: those utterances.
        speeds: as given to `speed_copies`.
    """

    def __init__(self, reader: Reader, utterances: Sequence[Utterance], speeds: Sequence[float]) -> None:
        self._reader, self._speeds = reader, speeds
        self._lengths = [u.num_samples for u in utterances]

    def __call__(self, row: int, first: int, num_samples: int) -> Float[Tensor, " sample"]:
        """See `Reader`; the whole utterance is resampled, so that any part of it is the same however it is read."""
        copy, original = divmod(row, len(self._lengths))
        speed, length = self._speeds[copy], self._lengths[original]
        if speed == 1:
            return self._reader(original, first, num_samples)
        whole = self._reader(original, 0, length).numpy()
        faster = np.zeros(_num_samples(length, speed), dtype=np.float32)
        resampled = soxr.resample(whole, speed * SAMPLE_RATE, SAMPLE_RATE)[: len(faster)]
        faster[: len(resampled)] = resampled
        return torch.from_numpy(faster[first : first + num_samples])


def _num_samples(length: int, speed: float) -> int:
    return round(length / speed)
