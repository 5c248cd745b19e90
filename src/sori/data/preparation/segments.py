"""Cut long recordings at silences, which are detected by level alone.

The input is one level for each 10 ms, so hours of audio need a few megabytes.
"""

import numpy as np
import numpy.typing as npt

SILENT_DB = -70.0
"""Steady sound whose loudest 10 ms are below this level (dB of full scale) is silence."""
SHORTEST_SILENCE = 20
"""Frames of 10 ms. Stop consonants are silent for up to 150 ms, so shorter gaps are not cut."""
PADDING = 25
"""Frames of silence kept before and after speech; the middle of longer silences is dropped."""
_WINDOW = 3_000
"""Frames over which the noise floor and the speech level are measured: 30 s."""
_LEAST_CONTRAST_DB = 10.0
_DEEPEST_SPEECH_DB = 25.0
"""The speech level is at most this far below the loud parts (95th percentile) of the whole recording."""
_DEEPEST_FLOOR_DB = 60.0
"""Lower levels are raised to this far below the loud parts; otherwise pauses would look loud beside digital silence."""
_LONG_SILENCE = 50
"""Silences of this many frames or more are equally good places to cut."""

Levels = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def cut(levels: Levels, *, max_frames: int) -> list[tuple[int, int]]:
    """Divide a recording into pieces of at most `max_frames` that cover everything that is not silent.

    From left to right, each piece ends in the best silence of its second half. Long silences near three quarters of
    the maximum are preferred, or near the middle of the rest if two pieces are enough for it. Without a silence, the
    piece ends at the lowest level of its second half.

    Args:
        levels: dB of each 10 ms.
        max_frames: longest piece in frames of 10 ms, 100 or more.

    Returns:
        (first, stop) frame numbers, in order, without overlap.
    """
    silent = silences(levels)
    if silent.all():
        return []
    runs = _runs(silent)
    spoken = np.flatnonzero(~silent)
    first, stop = max(0, int(spoken[0]) - PADDING), min(len(levels), int(spoken[-1]) + 1 + PADDING)
    pieces = []
    while stop - first > max_frames:
        end, following = _border(levels, runs, first=first, stop=stop, max_frames=max_frames)
        pieces.append((first, end))
        first = following
    return [*pieces, (first, stop)] if first <= spoken[-1] else pieces


def silences(levels: Levels) -> Bools:
    """Return True where the level, smoothed over 50 ms, is in the lower third between noise floor and speech level.

    Noise floor and speech level are the 3rd and 95th percentile of the surrounding 30 s. Where they differ by less
    than 10 dB (music, steady noise), nothing counts as silent, unless no level is above -70 dB: a recorder that was
    left on writes hours of nothing. Runs shorter than 200 ms are not silences.
    """
    loudest, unsmoothed = np.percentile(levels, 95), levels
    levels = _smooth(np.maximum(levels, loudest - _DEEPEST_FLOOR_DB))
    num = max(1, len(levels) * 2 // _WINDOW)
    thresholds = np.full(num, -np.inf)
    for index in range(num):
        centre = (2 * index + 1) * len(levels) // (2 * num)
        window = slice(max(0, centre - _WINDOW // 2), centre + _WINDOW // 2)
        around = levels[window]
        floor, speech = np.percentile(around, [3, 95])
        contrast = max(speech, loudest - _DEEPEST_SPEECH_DB) - floor
        if contrast >= _LEAST_CONTRAST_DB:
            thresholds[index] = floor + 0.35 * contrast
        elif unsmoothed[window].max() < SILENT_DB:
            thresholds[index] = np.inf
    silent = np.asarray(levels < thresholds[np.arange(len(levels)) * num // len(levels)])
    for first, stop in _runs(silent):
        if stop - first < SHORTEST_SILENCE:
            silent[first:stop] = False
    return silent


def _smooth(levels: Levels) -> Levels:
    """Return the average over five frames."""
    return np.asarray(np.convolve(np.pad(levels, 2, mode="edge"), np.full(5, 0.2), mode="valid"))


def _runs(flags: Bools) -> npt.NDArray[np.int64]:
    """Return (first, stop) of each run of True, as rows."""
    edges = np.diff(flags.astype(np.int8), prepend=0, append=0)
    return np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=1)


def _border(levels: Levels, runs: npt.NDArray[np.int64], *, first: int, stop: int, max_frames: int) -> tuple[int, int]:
    """Return where the piece that begins at `first` ends, and where the next one begins."""
    left = stop - first
    target = first + (left / 2 if left <= 2 * max_frames else 0.75 * max_frames)
    low, high = first + max_frames // 2, first + max_frames
    near = runs[(runs[:, 0] < high) & (runs[:, 1] > low)]
    if not len(near):
        lowest = low + int(_smooth(levels[low:high]).argmin())
        return lowest, lowest
    inside = np.clip(near, low, high)
    middle = inside.mean(axis=1)
    goodness = np.minimum(inside[:, 1] - inside[:, 0], _LONG_SILENCE)
    best = int(np.argmax(goodness * np.exp(-(((middle - target) / (max_frames / 4)) ** 2))))
    begin, end, half = int(near[best, 0]), int(near[best, 1]), int(middle[best])
    return min(begin + PADDING, half), max(end - PADDING, half)
