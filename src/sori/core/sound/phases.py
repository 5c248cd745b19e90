"""See whether two channels are of opposite phase: their average would be silence."""

import math
from typing import final

from sori.core.sound.decoders import Array

OPPOSITE = -0.8
"""Correlation of two channels below which their average loses 10 dB or more."""


@final
class Phases:
    """Correlation of the channels of a stereo file, added up block by block."""

    def __init__(self) -> None:
        self._first = self._second = self._both = 0.0

    def add(self, block: Array) -> None:
        """Add a block, `frame channel`; only two channels are compared."""
        if block.shape[1] == 2 and block.any():
            first, second = block[:, 0].astype("f8"), block[:, 1].astype("f8")
            self._first += float(first @ first)
            self._second += float(second @ second)
            self._both += float(first @ second)

    @property
    def correlation(self) -> float:
        """Return the correlation, without removing the means; 0 if a channel is silent."""
        energies = self._first * self._second
        return self._both / math.sqrt(energies) if energies > 0 else 0.0

    @property
    def channel(self) -> int | None:
        """Return the louder channel if the two are of opposite phase; None: they can be averaged."""
        if not self.correlation < OPPOSITE:
            return None
        return int(self._second > self._first)
