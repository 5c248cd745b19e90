"""Every layer of an encoder, and the spectra it should beat, for all frames of a list of utterances.

Spectra are taken at the encoder's own frames: of as many 10 ms windows as fit into one step from frame to frame, those
whose middle is the middle of the frame, side by side. So all are asked about the same moments, with the same number of
answers a second, and none sees less than the others.
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
"""That a spectrum can be taken of."""

Source = Callable[[Float[Tensor, " sample"]], list[Tensor]]
"""From a waveform to `frame dim` in each of several representations."""


class Timing(NamedTuple):
    """Where frames lie."""

    hop_samples: int
    field_samples: int
    """That the front end sees for one frame."""

    def middles(self, num_frames: int) -> NDArray[np.float64]:
        """Seconds from the beginning to the middle of what each frame sees."""
        return (np.arange(num_frames) * self.hop_samples + self.field_samples / 2) / SAMPLE_RATE


WINDOW_TIMING = Timing(_WINDOWS.hop_samples, _WINDOWS.window_samples)
"""Of the windows of a spectrum as they are."""


class Heard(NamedTuple):
    """Representations of a list of utterances."""

    vectors: list[Float[Tensor, "frame dim"]]
    """In each representation, of all utterances one after the other; float32."""
    counts: NDArray[np.int64]
    """Frames of each utterance."""


@torch.no_grad()
def hear(source: Source, utterances: Sequence[Utterance]) -> Heard:
    """Read all utterances once.

    Args:
        source: what makes vectors of a waveform.
        utterances: long enough for a frame.

    Raises:
        FileNotFoundError, ValueError: a sound file vanished or changed since it was prepared.
    """
    reader = FileReader(list(utterances))
    found: list[list[Tensor]] = []
    for row, utterance in enumerate(utterances):
        made = source(reader(row, 0, utterance.num_samples))
        found.append([one.float().cpu() for one in made])
    counts = np.array([len(made[0]) for made in found], dtype=np.int64)
    vectors = []
    for number in range(len(found[0])):
        vectors.append(torch.cat([made[number] for made in found]))
        for made in found:
            made[number] = torch.empty(0)  # lets go of it before the next one is put together
    return Heard(vectors, counts)


def layers_of(encoder: Encoder, layers: Sequence[int]) -> Source:
    """Some layers of an encoder in evaluation mode, computed together.

    Raises:
        ValueError: for a layer that the encoder does not have.
    """
    for layer in layers:
        choose_layer(layer, encoder.config.num_layers, lowest="input of the first block")

    def source(waveform: Float[Tensor, " sample"]) -> list[Tensor]:
        waveform, length = _on_device(encoder, waveform)
        found, _ = encoder.encode(waveform, length)
        return [found[layer][0] for layer in layers]

    return source


def units_of(encoder: Quantizing) -> Source:
    """The codes of an encoder with a quantiser: `frame group`, as floats."""

    def source(waveform: Float[Tensor, " sample"]) -> list[Tensor]:
        return [encoder.units(*_on_device(encoder, waveform)).data[0]]

    return source


def _on_device(encoder: Encoder, waveform: Tensor) -> tuple[Tensor, Tensor]:
    device = next(encoder.parameters()).device
    return waveform[None].to(device), torch.tensor([waveform.shape[0]], device=device)


def spectra(timing: Timing) -> Source:
    """Four spectra at some frames: cepstra and log-mel bands, each normalised over the utterance and as it is.

    Cepstra: 13 with slopes and curvatures over two windows on either side. Log-mel: 80 bands. What is normalised says
    more about phones; what is not, more about speakers.
    """
    log_mel = LogMel(_WINDOWS)
    transform = cosine_transform(_WINDOWS.num_mels)[:, : _CEPSTRA.num_cepstra]

    def source(waveform: Float[Tensor, " sample"]) -> list[Tensor]:
        bands = log_mel.log_mel(waveform[None])
        lengths = torch.tensor([bands.shape[1]])
        cepstra = bands @ transform
        slope = delta(cepstra, lengths, num_windows=_CEPSTRA.delta_windows)
        curvature = delta(slope, lengths, num_windows=_CEPSTRA.delta_windows)
        full = torch.cat([cepstra, slope, curvature], dim=-1)
        beside = _windows_beside(timing, len(waveform), bands.shape[1])
        every = (normalize(full, lengths), full, normalize(bands, lengths), bands)
        return [one[0][beside].flatten(1) for one in every]

    return source


def _windows_beside(timing: Timing, num_samples: int, num_windows: int) -> Tensor:
    """Which windows make a frame, `frame window`; at the ends of the utterance, one may stand twice."""
    hop = _WINDOWS.hop_samples
    num_frames = (num_samples - timing.field_samples) // timing.hop_samples + 1
    width = max(1, round(timing.hop_samples / hop))
    middle = torch.arange(num_frames) * timing.hop_samples + timing.field_samples / 2
    first = ((middle - _WINDOWS.window_samples / 2) / hop - (width - 1) / 2).round().long()
    return (first[:, None] + torch.arange(width)).clamp(0, num_windows - 1)
