"""Compute encoder layers, and the MFCC and log-mel baselines, for all frames of a list of utterances.

The baselines use the encoder's frames: a frame concatenates as many 10 ms windows as fit into one frame shift, centred
on the frame. All representations are thus probed at the same times and frame rate, and none covers less context.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sori.core.audio import SAMPLE_RATE
from sori.core.shapes import Float, Tensor
from sori.data.batches.loader import FileReader
from sori.data.manifest import Utterance
from sori.models.encoders import Encoder, Quantizing
from sori.nn.layers import choose_layer
from sori.nn.spectral import CepstrumConfig, LogMel, LogMelConfig, cosine_transform, delta, normalize

_WINDOWS = LogMelConfig(stack=1)
_CEPSTRA = CepstrumConfig(windows=_WINDOWS, num_cepstra=13, delta_windows=2)
SHORTEST_SAMPLES = _WINDOWS.window_samples
"""Shortest waveform with one feature window."""

Extractor = Callable[[Float[Tensor, " sample"]], list[Tensor]]
"""Computes one or more representations (`frame dim`) of a waveform."""


class Timing(NamedTuple):
    """Position of frames in time."""

    hop_samples: int
    field_samples: int
    """Receptive field of a frame."""

    def middles(self, num_frames: int) -> NDArray[np.float64]:
        """Return the centre of the receptive field of each frame, in seconds."""
        return (np.arange(num_frames) * self.hop_samples + self.field_samples / 2) / SAMPLE_RATE


WINDOW_TIMING = Timing(_WINDOWS.hop_samples, _WINDOWS.window_samples)
"""Timing of single 10 ms feature windows."""


class Representations(NamedTuple):
    """Representations of a list of utterances."""

    vectors: list[Float[Tensor, "frame dim"]]
    """For each representation, the frames of all utterances, one utterance after the other; float32."""
    counts: NDArray[np.int64]
    """Number of frames of each utterance."""


@torch.no_grad()
def compute_representations(extractor: Extractor, utterances: Sequence[Utterance]) -> Representations:
    """Compute the representations of all utterances in one pass.

    Args:
        extractor: computes the representations of a waveform.
        utterances: each long enough for a frame.

    Raises:
        FileNotFoundError, ValueError: an audio file was removed or changed since it was prepared.
    """
    reader = FileReader(list(utterances))
    found: list[list[Tensor]] = []
    for row, utterance in enumerate(utterances):
        made = extractor(reader(row, 0, utterance.num_samples))
        found.append([one.float().cpu() for one in made])
    counts = np.array([len(made[0]) for made in found], dtype=np.int64)
    vectors = []
    for number in range(len(found[0])):
        vectors.append(torch.cat([made[number] for made in found]))
        for made in found:
            made[number] = torch.empty(0)  # frees memory before the next concatenation
    return Representations(vectors, counts)


def layers_of(encoder: Encoder, layers: Sequence[int]) -> Extractor:
    """Return an extractor for some layers of an encoder in evaluation mode, computed in one forward pass.

    Raises:
        ValueError: the encoder does not have such a layer.
    """
    for layer in layers:
        choose_layer(layer, encoder.config.num_layers, lowest="input of the first block")

    def extract(waveform: Float[Tensor, " sample"]) -> list[Tensor]:
        waveform, length = _on_device(encoder, waveform)
        found, _ = encoder.encode(waveform, length)
        return [found[layer][0] for layer in layers]

    return extract


def units_of(encoder: Quantizing) -> Extractor:
    """Return an extractor for the units of an encoder with a quantiser: `frame group`, as floats."""

    def extract(waveform: Float[Tensor, " sample"]) -> list[Tensor]:
        return [encoder.units(*_on_device(encoder, waveform)).data[0]]

    return extract


def _on_device(encoder: Encoder, waveform: Tensor) -> tuple[Tensor, Tensor]:
    device = next(encoder.parameters()).device
    return waveform[None].to(device), torch.tensor([waveform.shape[0]], device=device)


def mfcc_and_log_mel(timing: Timing) -> Extractor:
    """Return an extractor for MFCC and 80 log-mel bands, each with and without normalisation over the utterance.

    The MFCC are 13 cepstra with deltas and delta-deltas over two windows on either side. Normalised features carry more
    phone information, unnormalised ones more speaker information.
    """
    log_mel = LogMel(_WINDOWS)
    transform = cosine_transform(_WINDOWS.num_mels)[:, : _CEPSTRA.num_cepstra]

    def extract(waveform: Float[Tensor, " sample"]) -> list[Tensor]:
        bands = log_mel.log_mel(waveform[None])
        lengths = torch.tensor([bands.shape[1]])
        cepstra = bands @ transform
        deltas = delta(cepstra, lengths, num_windows=_CEPSTRA.delta_windows)
        delta_deltas = delta(deltas, lengths, num_windows=_CEPSTRA.delta_windows)
        full = torch.cat([cepstra, deltas, delta_deltas], dim=-1)
        windows = _windows_of_frames(timing, len(waveform), bands.shape[1])
        every = (normalize(full, lengths), full, normalize(bands, lengths), bands)
        return [one[0][windows].flatten(1) for one in every]

    return extract


def _windows_of_frames(timing: Timing, num_samples: int, num_windows: int) -> Tensor:
    """Return the windows of each frame, `frame window`; at the ends of the utterance a window may be repeated."""
    hop = _WINDOWS.hop_samples
    num_frames = (num_samples - timing.field_samples) // timing.hop_samples + 1
    width = max(1, round(timing.hop_samples / hop))
    middle = torch.arange(num_frames) * timing.hop_samples + timing.field_samples / 2
    first = ((middle - _WINDOWS.window_samples / 2) / hop - (width - 1) / 2).round().long()
    return (first[:, None] + torch.arange(width)).clamp(0, num_windows - 1)
