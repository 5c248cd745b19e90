"""Statistics of the samples of a recording, accumulated block by block, and what is wrong with it by them."""

import hashlib
import math
from functools import lru_cache
from typing import final

import numpy as np
import numpy.typing as npt

from sori.core.sound.decoders import Array
from sori.core.sound.sound_error import SoundError
from sori.data.preparation.segments import SILENT_DB

SHORTEST_SAMPLES = 400
"""One frame of the published models at 16 kHz (25 ms)."""
LEVELS_PER_SECOND = 100
_NOTHING_DB = -90.0
"""A recording is silent if its loudest 10 ms are below this level: one bit of 16."""
_ZEROS_DB = -110.0
_LEAST_CONTRAST_DB = 15.0
QUIET_DB = -45.0
CLIPPED_FRACTION = 0.02
"""Fraction of samples at full scale above which a recording is unusable; loud ones stay below 0.001."""
CLIPPED_SOMEWHAT_FRACTION = 0.0005
TELEPHONE_DB = -50.0
"""Power above 4.2 kHz relative to 0.3 to 3.4 kHz; below this, the recording was once sampled at 8 kHz."""
_FULL_SCALE = 1 - 2**-15
_NEAR_FULL_SCALE = 0.97
_SPECTRA_PER_BLOCK = 8

Doubles = npt.NDArray[np.float64]


@final
class SoundStatistics:
    """Statistics of all samples of a mono recording.

    Args:
        rate: sampling rate.
        is_float: whether the samples are floating-point numbers, which may exceed full scale without being clipped.
    """

    def __init__(self, rate: int, *, is_float: bool = False) -> None:
        self.rate, self.is_float = rate, is_float
        self._pending: list[Array] = []
        self.num_frames = self.num_clipped = self.num_zero = 0
        self.is_finite = True
        self.total = self.square = self.speech = self.above = 0.0
        self.hash = hashlib.blake2b(str(rate).encode(), digest_size=16)
        self.parts: list[Doubles] = []

    def add(self, block: Array) -> None:
        """Add samples; whole seconds are processed at once, so that levels stay on the grid of 10 ms."""
        waiting = np.concatenate([*self._pending, block]) if self._pending else block
        whole = len(waiting) // self.rate * self.rate
        self._pending = [waiting[whole:].copy()] if whole < len(waiting) else []
        if whole:
            self._add(waiting[:whole])

    def finish(self) -> None:
        """Process the last samples."""
        if self._pending:
            self._add(self._pending.pop())

    def _add(self, block: Array) -> None:
        self.num_frames += len(block)
        with np.errstate(all="ignore"):  # NaN and infinity are found by the sums
            sums, squares, lengths = _sums(block, self.rate)
            total = float(sums.sum())
        self.is_finite = self.is_finite and math.isfinite(total) and math.isfinite(float(squares.sum()))
        if not self.is_finite:
            return
        self.hash.update(np.ascontiguousarray(block).data)
        self.total += total
        self.square += float(squares.sum())
        self.num_zero += len(block) - int(np.count_nonzero(block))
        means = sums / lengths
        self.parts.append(10 * np.log10(np.maximum(squares / lengths - means * means, 1e-12)))
        if max(float(block.max()), -float(block.min())) >= _NEAR_FULL_SCALE:
            self._add_clipped(block)
        if self.rate >= 16_000:
            self._add_spectrum(block)

    def _add_clipped(self, block: Array) -> None:
        """Count samples at full scale: the highest 16-bit value, or, for coarser coding, near it and unchanged."""
        size = np.abs(block)
        full = size >= _FULL_SCALE
        if self.is_float:
            full &= size <= 2 - _FULL_SCALE
        near = np.flatnonzero((size >= _NEAR_FULL_SCALE) & (size < _FULL_SCALE))
        near = near[near > 0]
        self.num_clipped += int(np.count_nonzero(full)) + int(np.count_nonzero(block[near] == block[near - 1]))

    def _add_spectrum(self, block: Array) -> None:
        window = _window(self.rate)
        length = len(window)
        frames = block[: len(block) // length * length].reshape(-1, length)
        frames = frames[:: max(1, len(frames) // _SPECTRA_PER_BLOCK)]
        power = np.square(np.abs(np.fft.rfft(frames * window))).sum(axis=0)
        hertz = np.arange(length // 2 + 1) * self.rate / length
        self.speech += float(power[(hertz > 300) & (hertz < 3_400)].mean())
        self.above += float(power[(hertz > 4_200) & (hertz < 7_500)].mean())

    @property
    def level_db(self) -> float:
        """Root mean square without the constant offset, in dB of full scale."""
        mean = self.total / self.num_frames
        return 10 * math.log10(max(self.square / self.num_frames - mean * mean, 1e-20))

    def levels(self) -> Doubles:
        """Return the level of each 10 ms in whole dB."""
        return np.concatenate(self.parts).round()

    def digest(self) -> str:
        """Return a digest that is equal for equal waveforms."""
        return self.hash.hexdigest()

    def check(self) -> None:
        """Raise the first reason, if any, to leave the segment out."""
        if self.num_frames == 0:
            raise SoundError("empty", "0 samples")
        if not self.is_finite:
            raise SoundError(
                "not finite", "NaN or infinite samples; likely written by a program whose computation failed"
            )
        if self.num_frames * 16_000 // self.rate < SHORTEST_SAMPLES:
            raise SoundError("too short", f"{1000 * self.num_frames / self.rate:.1f} ms; models need 25 ms (one frame)")
        loudest = max(float(part.max()) for part in self.parts)
        if loudest < _NOTHING_DB or (loudest < SILENT_DB and not self._varies()):
            raise SoundError("silent", f"the loudest 10 ms are at {loudest:.0f} dB of full scale")
        fraction = self.num_clipped / self.num_frames
        if fraction > CLIPPED_FRACTION:
            raise SoundError("clipped", f"{100 * fraction:.1f} % of the samples are at full scale")

    def _varies(self) -> bool:
        """Return whether the level varies as in speech, between stretches of exact zeros."""
        levels = np.concatenate(self.parts)
        floor, speech = np.percentile(levels[levels > _ZEROS_DB], [5, 95])
        return bool(speech - floor > _LEAST_CONTRAST_DB)

    def warnings(self) -> list[str]:
        """Return warnings about a segment that is kept."""
        found = []
        fraction, mean = self.num_clipped / self.num_frames, self.total / self.num_frames
        if fraction > CLIPPED_SOMEWHAT_FRACTION:
            found.append(f"some clipping: {100 * fraction:.2f} % of the samples are at full scale")
        loudest = max(float(part.max()) for part in self.parts)
        if loudest < QUIET_DB:
            found.append(f"very quiet: the loudest 10 ms are at {loudest:.0f} dB of full scale")
        if abs(mean) > 0.02:
            found.append(f"offset: the mean of the samples is {mean:.3f} instead of 0")
        if self.num_zero > 0.5 * self.num_frames:
            found.append(f"mostly zeros: {100 * self.num_zero / self.num_frames:.0f} % of the samples are exactly 0")
        above = 10 * math.log10(max(self.above, 1e-20) / max(self.speech, 1e-20))
        if above < TELEPHONE_DB:
            found.append(
                f"telephone: almost no energy above 4 kHz ({above:.0f} dB) although sampled at {self.rate} Hz; likely "
                "converted from 8 kHz"
            )
        return found


def _sums(block: Array, rate: int) -> tuple[Doubles, Doubles, Doubles]:
    """Return the sum, the sum of squares and the number of the samples of each 10 ms; the last may be shorter."""
    num = math.ceil(len(block) * LEVELS_PER_SECOND / rate)
    double = block.astype(np.float64)
    if rate % LEVELS_PER_SECOND == 0 and len(block) % (rate // LEVELS_PER_SECOND) == 0:
        rows = double.reshape(num, -1)
        return rows.sum(axis=1), np.einsum("ij,ij->i", rows, rows), np.full(num, float(rows.shape[1]))
    borders = np.arange(num) * rate // LEVELS_PER_SECOND
    lengths = np.diff(borders, append=len(block)).astype(np.float64)
    return np.add.reduceat(double, borders), np.add.reduceat(np.square(double), borders), lengths


@lru_cache(16)
def _window(rate: int) -> Array:
    """Return a window of about 64 ms, of a length that is a power of two."""
    return np.hanning(1 << round(math.log2(rate * 0.064))).astype(np.float32)
