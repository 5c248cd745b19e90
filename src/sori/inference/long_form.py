"""Recordings of any length, heard in pieces: memory that does not grow with them, time that grows in proportion.

A long recording is cut in its silences, which are not heard at all. Where there is none for longer than a piece may
last (music, one voice after the other), pieces overlap: each hears what lies around it, and one takes over from the
other at a frame where both are silent.
"""

import contextlib
import ctypes
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from sori.core import audio
from sori.core.audio import SAMPLE_RATE
from sori.core.shapes import Float, Frames, Tensor
from sori.data.preparation.segments import Levels, cut
from sori.models import factory
from sori.models.ctc import BLANK, Ctc

MAX_SECONDS = 20.0
"""Longest piece; shorter recordings are heard whole."""
LEAST_SECONDS = 12.0
"""What a piece may at least last: in shorter ones, overlaps at both ends would meet."""
OVERLAP_SECONDS = 2.0
"""Heard on either side of a border that lies in no silence."""
_LEVEL_SAMPLES = SAMPLE_RATE // 100
_BLOCK_SECONDS = 60.0

Wave = Float[Tensor, " sample"]
Reader = Callable[[int, int], Wave]
"""Samples `first` to `stop` of a recording."""


class Passage(NamedTuple):
    """Class scores of a stretch of a recording between two silences."""

    logits: Float[Tensor, "frame class"]
    """On the CPU."""
    start: float
    """Seconds from the beginning of the recording to the first frame."""


def hear(model: Ctc, source: Path | Wave, *, max_seconds: float = MAX_SECONDS) -> Iterator[Passage]:
    """Class scores of a recording, passage by passage; nothing for silence.

    Args:
        model: a recogniser, in evaluation mode.
        source: a sound file, or samples at 16 kHz.
        max_seconds: longest piece to be heard at once; `LEAST_SECONDS` or more.

    Raises:
        ValueError: the file cannot be decoded, holds NaN, or `max_seconds` is too short.
    """
    if max_seconds < LEAST_SECONDS:
        raise ValueError(f"expected pieces of {LEAST_SECONDS:g} s or more, got {max_seconds:g} s")
    if isinstance(source, Tensor):
        waveform, num_samples = source, len(source)

        def read(first: int, stop: int) -> Wave:
            return waveform[first:stop]
    else:
        path, num_samples = source, audio.info(source).num_samples

        def read(first: int, stop: int) -> Wave:
            return audio.read(path, start=first / SAMPLE_RATE, duration=(stop - first) / SAMPLE_RATE)

    if num_samples <= max_seconds * SAMPLE_RATE:
        yield Passage(_logits(model, read(0, num_samples)), 0.0)
        return
    shortest, joined = factory.encoder_of(model).field_samples, None
    for piece in _pieces(model, read, num_samples, max_seconds):
        if joined is not None and not piece.continues:
            yield joined.passage()
            joined = None
        if piece.stop - piece.first < shortest:
            continue
        scores = _logits(model, read(piece.first, piece.heard))[: _num_frames(model, piece, shortest)]
        _give_back()
        joined = _Joined(piece, scores) if joined is None else joined.then(model, piece, scores)
    if joined is not None:
        yield joined.passage()


class _Piece(NamedTuple):
    first: int
    """Sample, a multiple of the frames' step, so that all pieces share one grid of frames."""
    stop: int
    heard: int
    """Where hearing ends: after whole seconds, for every new length costs the libraries memory that they keep."""
    continues: bool
    """Without a silence between it and the piece before."""


def _pieces(model: Ctc, read: Reader, num_samples: int, max_seconds: float) -> Iterator[_Piece]:
    overlap, hop = round(OVERLAP_SECONDS * SAMPLE_RATE), model.hop_samples
    borders = cut(_levels(read, num_samples), max_frames=int((max_seconds - 2 * OVERLAP_SECONDS) * 100))
    samples = [(first * _LEVEL_SAMPLES, min(stop * _LEVEL_SAMPLES, num_samples)) for first, stop in borders]
    for index, (first, stop) in enumerate(samples):
        before = index > 0 and samples[index - 1][1] == first
        after = index + 1 < len(samples) and samples[index + 1][0] == stop
        begin = (max(0, first - overlap) if before else first) // hop * hop
        end = min(num_samples, stop + overlap) if after else stop
        whole = math.ceil((end - begin) / SAMPLE_RATE) * SAMPLE_RATE
        yield _Piece(begin, end, min(begin + whole, num_samples), before)


def _levels(read: Reader, num_samples: int) -> Levels:
    """Level of each 10 ms in dB, read block by block."""
    parts = []
    step = round(_BLOCK_SECONDS * SAMPLE_RATE)
    for first in range(0, num_samples, step):
        block = read(first, min(first + step, num_samples)).double()
        whole = block[: len(block) // _LEVEL_SAMPLES * _LEVEL_SAMPLES].view(-1, _LEVEL_SAMPLES)
        parts.append(10 * (whole.var(1, correction=0) + 1e-10).log10().cpu().numpy())
    return np.concatenate(parts)


class _Joined:
    """Pieces without silence between them."""

    def __init__(self, piece: _Piece, scores: Tensor) -> None:
        self._start, self._parts, self._last = piece.first, [scores], piece

    def then(self, model: Ctc, piece: _Piece, scores: Tensor) -> "_Joined":
        """Take over with the next piece at a frame of the overlap where both hear nothing, the nearer its middle."""
        hop = model.logit_hop_samples
        offset = round((piece.first - self._last.first) / hop)  # of its first frame, in frames of the piece before
        old = self._parts[-1]
        shared = min(len(old) - offset, len(scores))
        if shared <= 0:
            self._parts.append(scores)
            self._last = piece
            return self
        both = (old[offset : offset + shared].argmax(-1) == BLANK) & (scores[:shared].argmax(-1) == BLANK)
        middle = shared // 2
        quiet = both.nonzero().flatten()
        seam = int(quiet[(quiet - middle).abs().argmin()]) if len(quiet) else middle
        self._parts[-1] = old[: offset + seam]
        # What is left of the next piece begins later: keep its own frame numbers for the piece after it.
        self._parts.append(scores[seam:])
        self._last = piece._replace(first=piece.first + round(seam * hop))
        return self

    def passage(self) -> Passage:
        """All of it."""
        return Passage(torch.cat(self._parts), self._start / SAMPLE_RATE)


def _num_frames(model: Ctc, piece: _Piece, field_samples: int) -> int:
    """Frames of class scores that lie within a piece."""
    vectors = (piece.stop - piece.first - field_samples) // model.hop_samples + 1
    return vectors * model.config.upsample


def _give_back() -> None:
    """Return freed memory to the system: pieces of many lengths leave holes in glibc's heap, a gigabyte an hour."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # other systems
        ctypes.CDLL(None).malloc_trim(0)


def _logits(model: Ctc, waveform: Wave) -> Float[Tensor, "frame class"]:
    if not bool(torch.isfinite(waveform).all()):
        raise ValueError("the recording holds NaN or infinite samples; likely damaged: export it again")
    device = next(model.parameters()).device
    with torch.no_grad():
        scores: Frames = model.logits(waveform[None].to(device), torch.tensor([len(waveform)], device=device))
    return scores.data[0].float().cpu()
