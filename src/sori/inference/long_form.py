"""Long-form inference: constant memory, and time proportional to the length of the recording.

A long recording is cut at its silences into chunks; silence is not processed. A chunk longer than the limit (music,
speech without a pause) is processed in overlapping windows, which are joined at a frame where both predict blank.
"""

import contextlib
import ctypes
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from sori.core.audio import SAMPLE_RATE
from sori.core.shapes import Float, Frames, Tensor
from sori.data.preparation.segments import Levels, cut
from sori.inference.windows import Reader, Waveform, open_reader
from sori.models import factory
from sori.models.ctc import BLANK, Ctc
from sori.text.vocabulary import WORD_BOUNDARY

MAX_SECONDS = 20.0
"""Length of the longest window; shorter recordings are processed as a whole."""
LEAST_SECONDS = 12.0
"""Lower limit of `max_seconds`: in shorter windows, the overlaps at both ends would meet."""
OVERLAP_SECONDS = 2.0
"""Context on either side of a cut that is not at a silence."""
LEVEL_SAMPLES = SAMPLE_RATE // 100
_BLOCK_SECONDS = 60.0


class ChunkLogits(NamedTuple):
    """Logits of a chunk of a recording, which lies between two silences."""

    logits: Float[Tensor, "frame class"]
    """On the CPU."""
    start: float
    """Time of the first frame, in seconds from the beginning of the recording."""


def chunk_logits(
    model: Ctc, source: Path | Waveform, *, max_seconds: float = MAX_SECONDS, split_seconds: float = math.inf
) -> Iterator[ChunkLogits]:
    """Compute the logits of a recording chunk by chunk, without its silences.

    Args:
        model: a recogniser, in evaluation mode.
        source: a sound file, or samples at 16 kHz.
        max_seconds: longest window to process at once; `LEAST_SECONDS` or more.
        split_seconds: a chunk that becomes longer, because there is no silence, is also ended between two words, for
            callers that wait for the text.

    Raises:
        ValueError: the file cannot be decoded, contains NaN, or `max_seconds` is too short.
    """
    if max_seconds < LEAST_SECONDS:
        raise ValueError(f"expected windows of {LEAST_SECONDS:g} s or more, got {max_seconds:g} s")
    read, num_samples = open_reader(source)
    if num_samples <= max_seconds * SAMPLE_RATE:
        yield ChunkLogits(_logits(model, read(0, num_samples)), 0.0)
        return
    shortest, joined = factory.encoder_of(model).field_samples, None
    for window in _windows(model, read, num_samples, max_seconds):
        if joined is not None and not window.continues:
            yield joined.chunk()
            joined = None
        if joined is not None and joined.seconds(model) >= split_seconds:
            yield joined.split(model)
        if window.stop - window.first < shortest:
            continue
        logits = _logits(model, read(window.first, window.read_stop))[: _num_frames(model, window, shortest)]
        _trim_heap()
        joined = _JoinedWindows(window, logits) if joined is None else joined.append(model, window, logits)
    if joined is not None:
        yield joined.chunk()


class _Window(NamedTuple):
    first: int
    """First sample, a multiple of the hop, so that all windows share one grid of frames."""
    stop: int
    read_stop: int
    """Last sample to read: lengths are rounded up to whole seconds, because libraries cache memory for each length."""
    continues: bool
    """Whether there is no silence between this window and the previous one."""


def _windows(model: Ctc, read: Reader, num_samples: int, max_seconds: float) -> Iterator[_Window]:
    overlap, hop = round(OVERLAP_SECONDS * SAMPLE_RATE), model.hop_samples
    borders = cut(levels_of(read, num_samples), max_frames=int((max_seconds - 2 * OVERLAP_SECONDS) * 100))
    samples = [(first * LEVEL_SAMPLES, min(stop * LEVEL_SAMPLES, num_samples)) for first, stop in borders]
    for index, (first, stop) in enumerate(samples):
        before = index > 0 and samples[index - 1][1] == first
        after = index + 1 < len(samples) and samples[index + 1][0] == stop
        begin = (max(0, first - overlap) if before else first) // hop * hop
        end = min(num_samples, stop + overlap) if after else stop
        whole = math.ceil((end - begin) / SAMPLE_RATE) * SAMPLE_RATE
        yield _Window(begin, end, min(begin + whole, num_samples), before)


def levels_of(read: Reader, num_samples: int) -> Levels:
    """Compute the level of each 10 ms in dB, reading block by block."""
    parts = []
    step = round(_BLOCK_SECONDS * SAMPLE_RATE)
    for first in range(0, num_samples, step):
        block = read(first, min(first + step, num_samples)).double()
        whole = block[: len(block) // LEVEL_SAMPLES * LEVEL_SAMPLES].view(-1, LEVEL_SAMPLES)
        parts.append(10 * (whole.var(1, correction=0) + 1e-10).log10().cpu().numpy())
    return np.concatenate(parts)


class _JoinedWindows:
    """Logits of consecutive windows without silence between them."""

    def __init__(self, window: _Window, logits: Tensor) -> None:
        self._start, self._parts, self._last = window.first, [logits], window

    def append(self, model: Ctc, window: _Window, logits: Tensor) -> "_JoinedWindows":
        """Join the next window at the frame nearest the middle of the overlap where both predict blank."""
        hop = model.logit_hop_samples
        offset = round((window.first - self._last.first) / hop)  # of its first frame, in frames of the previous window
        old = self._parts[-1]
        shared = min(len(old) - offset, len(logits))
        if shared <= 0:
            self._parts.append(logits)
            self._last = window
            return self
        both = (old[offset : offset + shared].argmax(-1) == BLANK) & (logits[:shared].argmax(-1) == BLANK)
        middle = shared // 2
        blank = both.nonzero().flatten()
        seam = int(blank[(blank - middle).abs().argmin()]) if len(blank) else middle
        self._parts[-1] = old[: offset + seam]
        # The kept part of this window begins at the seam: shift its start, from which the next offset is counted.
        self._parts.append(logits[seam:])
        self._last = window._replace(first=window.first + round(seam * hop))
        return self

    def seconds(self, model: Ctc) -> float:
        """Return the length of the joined logits."""
        return sum(map(len, self._parts)) * model.logit_hop_samples / SAMPLE_RATE

    def split(self, model: Ctc) -> ChunkLogits:
        """Return the logits up to a place between two words in the last window, and keep the others.

        What the next window overlaps is kept.
        """
        hop, last = model.logit_hop_samples, self._parts[-1]
        stop = len(last) - round(2 * OVERLAP_SECONDS * SAMPLE_RATE / hop)
        place = _between_words(model, last[: max(stop, 0)])
        found = ChunkLogits(torch.cat([*self._parts[:-1], last[:place]]), self._start / SAMPLE_RATE)
        self._parts = [last[place:]]
        self._start = self._last.first + round(place * hop)
        self._last = self._last._replace(first=self._start)
        return found

    def chunk(self) -> ChunkLogits:
        """Return the joined logits of all windows."""
        return ChunkLogits(torch.cat(self._parts), self._start / SAMPLE_RATE)


def _between_words(model: Ctc, logits: Float[Tensor, "frame class"]) -> int:
    """Return where a chunk may end, in the second half: at the last space, or in the middle of the longest blank."""
    best, half = logits.argmax(-1), len(logits) // 2
    if model.vocabulary is not None and WORD_BOUNDARY in model.vocabulary.symbols:
        spaces = (best[half:] == model.vocabulary.symbols.index(WORD_BOUNDARY)).nonzero().flatten()
        if len(spaces):
            return half + int(spaces[-1])
    longest, place, run = 0, half, 0
    for frame, is_blank in enumerate((best[half:] == BLANK).tolist(), half):
        run = run + 1 if is_blank else 0
        if run > longest:
            longest, place = run, frame + 1 - run // 2
    return place


def _num_frames(model: Ctc, window: _Window, field_samples: int) -> int:
    """Return the number of logit frames within a window."""
    vectors = (window.stop - window.first - field_samples) // model.hop_samples + 1
    return vectors * model.config.upsample


def _trim_heap() -> None:
    """Return freed memory to the system: windows of many lengths fragment glibc's heap, about a gigabyte per hour."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # systems without glibc
        ctypes.CDLL(None).malloc_trim(0)


def _logits(model: Ctc, waveform: Waveform) -> Float[Tensor, "frame class"]:
    if not bool(torch.isfinite(waveform).all()):
        raise ValueError("the recording contains NaN or infinite samples; likely damaged: export it again")
    device = next(model.parameters()).device
    with torch.no_grad():
        scores: Frames = model.logits(waveform[None].to(device), torch.tensor([len(waveform)], device=device))
    return scores.data[0].float().cpu()
