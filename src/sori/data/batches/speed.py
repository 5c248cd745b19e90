"""Speed perturbation: augment labelled speech with copies at other speeds (Ko et al. 2015).

Tempo and pitch change together, as when a tape runs faster, so a copy sounds like another speaker. Nothing is random:
three speeds make the data three times as large.
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
    """Return all utterances at the first speed, then all at the second, and so on, for use with `SpeedReader`.

    Args:
        utterances: at their original speed.
        speeds: 1.1 is 10 % faster and thus shorter; 1.0 leaves an utterance unchanged.

    Returns:
        Utterances whose ids end in the speed unless it is 1, and whose lengths are those at that speed.
    """
    return [
        u if speed == 1 else u._replace(id=f"{u.id}@{speed:g}", num_samples=_num_samples(u.num_samples, speed))
        for speed in speeds
        for u in utterances
    ]


@final
class SpeedReader:
    """Reads samples of the utterances of `speed_copies`.

    Args:
        reader: reader of the utterances at their original speed.
        utterances: the utterances at their original speed.
        speeds: as for `speed_copies`.
    """

    def __init__(self, reader: Reader, utterances: Sequence[Utterance], speeds: Sequence[float]) -> None:
        self._reader, self._speeds = reader, speeds
        self._lengths = [u.num_samples for u in utterances]

    def __call__(self, row: int, first: int, num_samples: int) -> Float[Tensor, " sample"]:
        """Return samples; see `Reader`. The whole utterance is resampled, so that all its parts are consistent."""
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
