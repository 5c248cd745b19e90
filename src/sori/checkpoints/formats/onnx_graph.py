"""The forward pass from waveform to layers in a form that can be exported as a graph.

In torch, control flow depends on the lengths: group norm is computed row by row, and without padding there is no mask.
A graph has no such control flow, so this file repeats the forward pass with the same leaf modules, always with masks.
The statistics of group norm are computed over the valid windows of each row, which is exact for padded rows.

Front ends, including the Fourier transform, are convolutions: runtimes support these best, and 8-bit quantisation
(of matrix products) does not affect them.
"""

import torch
from torch import nn
from torch.nn import functional

from sori.core.shapes import Float, Frames, Int, Tensor
from sori.models.ctc import Ctc
from sori.models.encoders import Encoder as AnyEncoder
from sori.models.wav2vec2 import Wav2Vec2
from sori.nn.conv import WaveformConv, normalize_waveform
from sori.nn.lengths import valid
from sori.nn.mel_conv import MelConv
from sori.nn.spectral import EMPHASIS, FFT_SIZE, FLOOR, Cepstrum, LogMel, delta, normalize


class Graph(nn.Module):
    """A system as a function of waveform and lengths, without data-dependent control flow.

    Args:
        system: System whose weights are shared.
    """

    def __init__(self, system: AnyEncoder | Ctc) -> None:
        super().__init__()
        self.system: Encoder | Ctc
        inner = system.encoder if isinstance(system, Ctc) else system
        if not isinstance(inner, Wav2Vec2):
            raise ValueError(  # noqa: TRY004 - an unsupported model is a user's error
                f"expected wav2vec 2.0 or a recogniser on it, got {type(inner).__name__}, which cannot be exported to "
                "ONNX yet: use one of the former"
            )
        encoder = Encoder(inner)
        if not isinstance(system, Ctc):
            self.system = encoder
            return
        with torch.device("meta"):  # the new head is replaced below
            self.system = Ctc(system.config, encoder, num_classes=system.num_classes)
        self.system.head, self.system.layer_weights = system.head, system.layer_weights

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of a recogniser or the last layer of an encoder, and the number of frames of each row."""
        output = (self.system.logits if isinstance(self.system, Ctc) else self.system.extract_features)(
            waveform, lengths
        )
        return output.data, output.lengths


class Encoder(nn.Module):
    """`Wav2Vec2.encode` in evaluation mode, as encoder of a `Ctc`."""

    def __init__(self, system: Wav2Vec2) -> None:
        super().__init__()
        self.inner, self.config, self.hop_samples = system, system.config, system.hop_samples
        self.front = None if isinstance(system.front, WaveformConv) else _Spectral(system.front)

    def encode(
        self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"], **_training: object
    ) -> tuple[list[Tensor], Tensor]:
        """Return all layers, and the number of frames of each row, 0 if it is too short."""
        inner, hop = self.inner, self.hop_samples
        num_frames = (lengths - inner.field_samples + hop).clamp(min=0) // hop
        if isinstance(inner.front, WaveformConv):
            features = _convolutions(inner.front, waveform, lengths)
        else:
            assert self.front is not None  # noqa: S101 - built for every other front end
            features = self.front(waveform, num_frames)
        x = inner.projection(inner.feature_norm(features))
        real = valid(num_frames, x.shape[1])
        x = x.masked_fill(~real.unsqueeze(-1), 0)
        return inner.blocks(x, real), num_frames

    def extract_features(
        self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"], *, layer: int | None = None
    ) -> Frames:
        """Return the vectors of one layer (None: the last)."""
        layers, num_frames = self.encode(waveform, lengths)
        return Frames(layers[-1 if layer is None else layer], num_frames)


def _convolutions(front: WaveformConv, waveform: Tensor, lengths: Tensor) -> Float[Tensor, "batch frame dim"]:
    c = front.config
    x = (normalize_waveform(waveform, lengths, floor=c.normalize_floor) if c.normalize else waveform).unsqueeze(1)
    for i, conv in enumerate(front.convs):
        x = conv(x)
        if c.norm == "layer":
            x = front.norms[i](x.transpose(1, 2)).transpose(1, 2)
        elif i == 0:
            num_windows = (lengths - c.kernels[0] + c.strides[0]).clamp(min=0) // c.strides[0]
            x = _normalized_over_time(x, num_windows, front.norms[0])
        x = functional.gelu(x)
    return x.transpose(1, 2)


def _normalized_over_time(
    x: Float[Tensor, "batch dim window"], lengths: Int[Tensor, " batch"], norm: nn.Module
) -> Float[Tensor, "batch dim window"]:
    """Apply group norm with one group per channel, with statistics over valid windows."""
    real, count = valid(lengths, x.shape[2])[:, None], lengths.clamp(min=1)[:, None, None]
    x = torch.where(real, x - (x * real).sum(2, keepdim=True) / count, 0)
    variance = x.square().sum(2, keepdim=True) / count
    scale = norm.get_parameter("weight")[:, None] * (variance + 1e-5).rsqrt()
    return x * scale + norm.get_parameter("bias")[:, None]


class _Spectral(nn.Module):
    """A front end of log-mel windows; ONNX's own Fourier transform is slow or missing in many runtimes."""

    def __init__(self, front: LogMel | Cepstrum | MelConv) -> None:
        super().__init__()
        self.front = front
        self.log_mel = front if isinstance(front, LogMel) else front.spectrum
        taps, bins = torch.arange(len(self.log_mel.window)), torch.arange(FFT_SIZE // 2 + 1)
        turns = torch.outer(bins, taps) % FFT_SIZE / FFT_SIZE  # exact, as angles stay small
        sinusoids = torch.cat([torch.cos(2 * torch.pi * turns.double()), torch.sin(2 * torch.pi * turns.double())])
        window = self.log_mel.window.cpu().double()
        self.fourier: Tensor
        self.register_buffer("fourier", (sinusoids * window).float().unsqueeze(1).to(self.log_mel.window.device))

    def forward(self, waveform: Tensor, num_frames: Tensor) -> Float[Tensor, "batch frame dim"]:
        """Return the output of the front end."""
        front, stack = self.front, self.log_mel.config.stack
        lengths, longest = num_frames * stack, (waveform.shape[1] - front.field_samples) // front.hop_samples + 1
        x = self._log_mel(waveform)
        if not isinstance(front, Cepstrum):
            x = normalize(x.transpose(1, 2)[:, : longest * stack], lengths)
            if isinstance(front, MelConv):
                return front.convolve(x, num_frames)
            return x.reshape(x.shape[0], longest, -1)  # len() would fix the batch
        x = functional.conv1d(x, front.transform.T.unsqueeze(2)).transpose(1, 2)[:, : longest * stack]
        if front.config.delta_windows:
            slope = delta(x, lengths, num_windows=front.config.delta_windows)
            curvature = delta(slope, lengths, num_windows=front.config.delta_windows)
            x = torch.cat([x, slope, curvature], dim=-1)
        x = normalize(x, lengths).reshape(x.shape[0], longest, stack, -1)
        return x.mean(2) if front.config.pool == "mean" else x.flatten(2)

    def _log_mel(self, waveform: Tensor) -> Float[Tensor, "batch mel window"]:
        emphasised = waveform - EMPHASIS * functional.pad(waveform[:, :-1], (1, 0))
        x = functional.conv1d(emphasised.unsqueeze(1), self.fourier, stride=self.log_mel.config.hop_samples)
        cosines, sines = x.chunk(2, dim=1)
        power = cosines.square() + sines.square()
        return torch.log(functional.conv1d(power, self.log_mel.filters.T.unsqueeze(2)) + FLOOR)
