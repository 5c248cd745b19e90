"""Samples at 16 kHz of an open sound file, the same ones whichever stretch is read.

The 16 kHz waveform is divided into blocks of four seconds, each of which is resampled on its own, with a margin on both
sides. A stretch is cut out of the blocks that contain it, so that it equals the same stretch of the whole bit for bit.
Decoders that cannot be positioned exactly read forward from the beginning; an open file goes on where it was.
"""

import math
from collections import OrderedDict
from typing import final

import numpy as np
import soxr

from sori.core.sound.decoders import Array, Decoder

SAMPLE_RATE = 16_000
"""Samples per second of every waveform inside the package."""
LONGEST_SECONDS = 1e8
"""Three years: a longer recording, or a later time in one, is a mistake."""

BLOCK_SECONDS = 4
_BLOCK = BLOCK_SECONDS * SAMPLE_RATE
_MARGIN_SECONDS = 0.05
"""Margin before and after a block: longer than soxr's filter, so that the edges have no effect."""
_KEPT_BLOCKS = 8
_READ_FRAMES = 1 << 18
"""Frames decoded at once, so that many channels or a high rate do not need much memory."""


def mono(block: Array, channel: int | None) -> Array:
    """Return one channel of `frame channel`, or the average of all."""
    if channel is not None:
        return np.ascontiguousarray(block[:, channel])
    total = block[:, 0].copy()
    for other in range(1, block.shape[1]):
        total += block[:, other]
    return total if block.shape[1] == 1 else total / np.float32(block.shape[1])


@final
class Waveform:
    """The 16 kHz waveform of an open sound file.

    Args:
        decoder: the open file.
        channel: the channel to use; None: the average of all.
    """

    def __init__(self, decoder: Decoder, channel: int | None) -> None:
        self.decoder, self.channel = decoder, channel
        rate = decoder.sample_rate
        divisor = math.gcd(rate, SAMPLE_RATE)
        self._up, self._down = SAMPLE_RATE // divisor, rate // divisor
        self._margin = 0 if rate == SAMPLE_RATE else math.ceil(_MARGIN_SECONDS * SAMPLE_RATE / self._up)
        """In units of `up` samples at 16 kHz, which last as long as `down` frames."""
        self._blocks: OrderedDict[int, Array] = OrderedDict()
        self._tail, self._tail_start = np.zeros(0, np.float32), 0

    @property
    def position(self) -> int:
        """First 16 kHz sample from which on reading does not begin anew; earlier ones may be kept as well."""
        return self._tail_start * SAMPLE_RATE // self.decoder.sample_rate

    def read(self, first: int, stop: int | None) -> Array:
        """Return samples `first` to `stop`, or to the end; fewer if the sound ends before.

        Raises:
            SoundError: the file is damaged.
        """
        if self._margin == 0 and self.decoder.can_seek and stop is not None:
            return self._frames(first, stop)
        parts, number = [np.zeros(0, np.float32)], first // _BLOCK
        while stop is None or number * _BLOCK < stop:
            block = self._block(number)
            begin = max(0, first - number * _BLOCK)
            parts.append(block[begin : None if stop is None else stop - number * _BLOCK])
            if len(block) < _BLOCK:
                break
            number += 1
        return np.concatenate(parts)

    def _block(self, number: int) -> Array:
        if number in self._blocks:
            self._blocks.move_to_end(number)
            return self._blocks[number]
        begin = number * BLOCK_SECONDS * self.decoder.sample_rate
        end = begin + BLOCK_SECONDS * self.decoder.sample_rate
        first = max(0, begin - self._margin * self._down)
        frames = self._frames(first, end + self._margin * self._down)
        if self._margin:
            skip = (begin - first) // self._down * self._up
            length = (first + len(frames)) * SAMPLE_RATE // self.decoder.sample_rate - number * _BLOCK
            length = max(0, min(length, _BLOCK))
            if frames.any():
                resampled = soxr.resample(frames, self.decoder.sample_rate, SAMPLE_RATE, quality="HQ")
                block = np.ascontiguousarray(resampled[skip : skip + length])
            else:  # hours of zeros are the same at every rate
                block = np.zeros(length, np.float32)
        else:
            block = frames
        self._blocks[number] = block
        if len(self._blocks) > _KEPT_BLOCKS:
            self._blocks.popitem(last=False)
        return block

    def _frames(self, first: int, stop: int) -> Array:
        """Return mono frames `first` to `stop` at the file's own rate; fewer at the end."""
        if self.decoder.can_seek:
            assert self.decoder.num_frames is not None  # noqa: S101 - as of `Decoder.can_seek`
            stop = min(stop, self.decoder.num_frames)
            if first < stop:
                self.decoder.seek(first)
            return self._decode(stop - first)
        if first < self._tail_start:
            self.decoder.seek(0)
            self._tail, self._tail_start = np.zeros(0, np.float32), 0
        while self._tail_start + len(self._tail) < first:
            skipped = min(_READ_FRAMES, first - self._tail_start - len(self._tail))
            self._tail_start += len(self._tail)
            self._tail = self._decode(skipped)
            if len(self._tail) < skipped:
                return np.zeros(0, np.float32)
        missing = stop - self._tail_start - len(self._tail)
        kept = self._tail[first - self._tail_start :]
        # Kept for the next block, whose margin begins before the end of this one.
        self._tail, self._tail_start = np.concatenate([kept, self._decode(max(0, missing))]), first
        found = self._tail[: stop - first]
        overlap = 2 * self._margin * self._down
        self._tail_start += max(0, len(self._tail) - overlap)
        self._tail = self._tail[max(0, len(self._tail) - overlap) :].copy()
        return found

    def _decode(self, num_frames: int) -> Array:
        parts, remaining = [np.zeros(0, np.float32)], num_frames
        while remaining > 0:
            block = self.decoder.read(min(remaining, _READ_FRAMES))
            parts.append(mono(block, self.channel))
            remaining -= len(block)
            if not len(block):
                break
        return np.concatenate(parts)
