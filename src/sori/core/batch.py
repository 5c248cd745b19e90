"""Batches: the tensors that data passes to models."""

from typing import NamedTuple

import torch

from sori.core.shapes import Float, Int, Tensor


class WaveformBatch(NamedTuple):
    """Waveforms at 16 kHz, zero after each one's length; raw amplitude, -1 to 1."""

    waveform: Float[Tensor, "batch sample"]
    lengths: Int[Tensor, " batch"]

    def to(self, device: torch.device) -> "WaveformBatch":
        """Return the same batch on another device."""
        return WaveformBatch(*(x.to(device, non_blocking=True) for x in self))

    @property
    def seconds(self) -> float:
        """Return the seconds of audio in the batch, without padding."""
        return float(self.lengths.sum()) / 16_000


class TextBatch(NamedTuple):
    """Waveforms with the ids of their transcripts, padded with -1."""

    waveform: Float[Tensor, "batch sample"]
    lengths: Int[Tensor, " batch"]
    labels: Int[Tensor, "batch label"]
    label_lengths: Int[Tensor, " batch"]

    def to(self, device: torch.device) -> "TextBatch":
        """Return the same batch on another device."""
        return TextBatch(*(x.to(device, non_blocking=True) for x in self))

    @property
    def seconds(self) -> float:
        """Return the seconds of audio in the batch, without padding."""
        return float(self.lengths.sum()) / 16_000


class FrameBatch(NamedTuple):
    """Output of frozen blocks instead of waveforms, with the ids of the transcripts, padded with -1."""

    frames: Float[Tensor, "batch frame dim"]
    """Bfloat16, zero after each utterance's end."""
    num_frames: Int[Tensor, " batch"]
    lengths: Int[Tensor, " batch"]
    """Number of samples that the frames were computed from."""
    labels: Int[Tensor, "batch label"]
    label_lengths: Int[Tensor, " batch"]

    def to(self, device: torch.device) -> "FrameBatch":
        """Return the same batch on another device."""
        return FrameBatch(*(x.to(device, non_blocking=True) for x in self))

    @property
    def seconds(self) -> float:
        """Return the seconds of audio that the frames were computed from, without padding."""
        return float(self.lengths.sum()) / 16_000


class SegmentBatch(NamedTuple):
    """Whole waveforms, segments (words) of them, and pairs of a segment and its neighbour to predict."""

    waveform: Float[Tensor, "batch sample"]
    lengths: Int[Tensor, " batch"]
    rows: Int[Tensor, " segment"]
    """Row of the waveform of each segment."""
    starts: Int[Tensor, " segment"]
    """First sample of each segment, counted from the beginning of its waveform."""
    stops: Int[Tensor, " segment"]
    """Sample after the last."""
    pairs: Int[Tensor, "pair 2"]
    """Centre segment of a window and a neighbour; every pair once."""

    def to(self, device: torch.device) -> "SegmentBatch":
        """Return the same batch on another device."""
        return SegmentBatch(*(x.to(device, non_blocking=True) for x in self))

    @property
    def seconds(self) -> float:
        """Return the seconds of audio in the batch, without padding."""
        return float(self.lengths.sum()) / 16_000


class ViewBatch(NamedTuple):
    """Two different views of each image, values 0 to 1."""

    first: Float[Tensor, "batch channel height width"]
    second: Float[Tensor, "batch channel height width"]

    def to(self, device: torch.device) -> "ViewBatch":
        """Return the same batch on another device."""
        return ViewBatch(*(x.to(device, non_blocking=True) for x in self))

    @property
    def seconds(self) -> float:
        """Return 0: images have no duration."""
        return 0.0


class TokenBatch(NamedTuple):
    """Tokens (WordPiece) of texts, `[CLS] ... [SEP]` or `[CLS] ... [SEP] ... [SEP]`, padded with 0."""

    ids: Int[Tensor, "batch token"]
    parts: Int[Tensor, "batch token"]
    """0 up to the first [SEP], 1 after it; 0 in padding."""
    lengths: Int[Tensor, " batch"]
    labels: Int[Tensor, "batch label"]
    """Labels besides the masked tokens. One for each text: in pre-training 1 if the second segment is a random one, 0
    if it follows the first; else the class. Or one for each token, -1 where there is no label."""

    def to(self, device: torch.device) -> "TokenBatch":
        """Return the same batch on another device."""
        return TokenBatch(*(x.to(device, non_blocking=True) for x in self))

    @property
    def seconds(self) -> float:
        """Return 0: texts have no duration."""
        return 0.0
