"""What crosses from data to systems."""

from typing import NamedTuple

import torch

from sori.core.shapes import Float, Int, Tensor


class WaveformBatch(NamedTuple):
    """Waveforms at 16 kHz, zero after each one's length; raw amplitude, -1 to 1."""

    waveform: Float[Tensor, "batch sample"]
    lengths: Int[Tensor, " batch"]

    def to(self, device: torch.device) -> "WaveformBatch":
        """The same batch on another device."""
        return WaveformBatch(*(x.to(device, non_blocking=True) for x in self))

    @property
    def seconds(self) -> float:
        """Audio in the batch, without padding."""
        return float(self.lengths.sum()) / 16_000


class TextBatch(NamedTuple):
    """Waveforms with the ids of their transcripts, padded with -1."""

    waveform: Float[Tensor, "batch sample"]
    lengths: Int[Tensor, " batch"]
    labels: Int[Tensor, "batch label"]
    label_lengths: Int[Tensor, " batch"]

    def to(self, device: torch.device) -> "TextBatch":
        """The same batch on another device."""
        return TextBatch(*(x.to(device, non_blocking=True) for x in self))

    @property
    def seconds(self) -> float:
        """Audio in the batch, without padding."""
        return float(self.lengths.sum()) / 16_000


class SegmentBatch(NamedTuple):
    """Whole waveforms, the segments (words) cut out of them, and which segment is to tell which other one."""

    waveform: Float[Tensor, "batch sample"]
    lengths: Int[Tensor, " batch"]
    rows: Int[Tensor, " segment"]
    """Waveform that each segment lies in."""
    starts: Int[Tensor, " segment"]
    """First sample of each segment, counted from the beginning of its waveform."""
    stops: Int[Tensor, " segment"]
    """Sample after the last."""
    pairs: Int[Tensor, "pair 2"]
    """Segment in the middle of a window, and a neighbour of it; every pair once."""

    def to(self, device: torch.device) -> "SegmentBatch":
        """The same batch on another device."""
        return SegmentBatch(*(x.to(device, non_blocking=True) for x in self))

    @property
    def seconds(self) -> float:
        """Audio in the batch, without padding."""
        return float(self.lengths.sum()) / 16_000


class ViewBatch(NamedTuple):
    """Two different views of each image, values 0 to 1."""

    first: Float[Tensor, "batch channel height width"]
    second: Float[Tensor, "batch channel height width"]

    def to(self, device: torch.device) -> "ViewBatch":
        """The same batch on another device."""
        return ViewBatch(*(x.to(device, non_blocking=True) for x in self))

    @property
    def seconds(self) -> float:
        """None: images take no time. The loop adds up the audio it was given."""
        return 0.0


class TokenBatch(NamedTuple):
    """Pieces of words of texts, `[CLS] ... [SEP]` or `[CLS] ... [SEP] ... [SEP]`, padded with 0."""

    ids: Int[Tensor, "batch token"]
    parts: Int[Tensor, "batch token"]
    """0 up to the first [SEP], 1 after it; 0 in padding."""
    lengths: Int[Tensor, " batch"]
    labels: Int[Tensor, "batch label"]
    """What is to be found out beside hidden tokens. One for each text: in pre-training whether the second part is one
    from elsewhere (1) or follows the first (0), else the class. Or one for each token, -1 where none is asked."""

    def to(self, device: torch.device) -> "TokenBatch":
        """The same batch on another device."""
        return TokenBatch(*(x.to(device, non_blocking=True) for x in self))

    @property
    def seconds(self) -> float:
        """None: texts take no time. The loop adds up the audio it was given."""
        return 0.0
