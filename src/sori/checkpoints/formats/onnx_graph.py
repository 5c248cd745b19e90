"""The way from the wave to the layers in a form that can be written down as a graph.

Torch looks at the lengths to decide how to compute: group norm goes row by row, and without padding there is no mask.
A graph cannot decide, so here that way stands once more, made of the same leaves, always with masks. The statistics of
group norm are taken over the windows that lie within each row, which is the same, and exact, for padded rows.

Front ends are true convolutions, the Fourier transform too: runtimes know these best, and what is quantised to 8 bits
(matrix products) leaves them alone.
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
from sori.nn.spectral import EMPHASIS, FFT_SIZE, FLOOR, Cepstrum, LogMel, delta, normalize


class Graph(nn.Module):
    """A system as a function of wave and lengths, without decisions.

    Args:
        system: whose weights are used, not copied.
    """

    def __init__(self, system: AnyEncoder | Ctc) -> None:
        super().__init__()
        self.system: Encoder | Ctc
        inner = system.encoder if isinstance(system, Ctc) else system
        if not isinstance(inner, Wav2Vec2):
            raise ValueError(  # noqa: TRY004 - like every other model that does not fit
                f"expected wav2vec 2.0 or a recogniser over it, got {type(inner).__name__}; its way from the wave to "
                "the layers has no form as a graph yet: write one here"
            )
        encoder = Encoder(inner)
        if not isinstance(system, Ctc):
            self.system = encoder
            return
        with torch.device("meta"):  # a head is drawn here only to be replaced
            self.system = Ctc(system.config, encoder, num_classes=system.num_classes)
        self.system.head, self.system.layer_weights = system.head, system.layer_weights

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of a recogniser, the last layer of an encoder; and the number of real ones in each row."""
        answer = (self.system.logits if isinstance(self.system, Ctc) else self.system.extract_features)(
            waveform, lengths
        )
        return answer.data, answer.lengths


class Encoder(nn.Module):
    """What `Wav2Vec2.encode` computes in evaluation, for `Ctc` to stand on."""

    def __init__(self, system: Wav2Vec2) -> None:
        super().__init__()
        self.inner, self.config, self.hop_samples = system, system.config, system.hop_samples
        self.front = None if isinstance(system.front, WaveformConv) else _Spectral(system.front)

    def encode(
        self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"], **_training: object
    ) -> tuple[list[Tensor], Tensor]:
        """All layers, and the number of frames of each row, 0 where it is too short."""
        inner, hop = self.inner, self.hop_samples
        num_frames = (lengths - inner.field_samples + hop).clamp(min=0) // hop
        if isinstance(inner.front, WaveformConv):
            features = _convolutions(inner.front, waveform, lengths)
        else:
            assert self.front is not None  # noqa: S101 - made for every other front end
            features = self.front(waveform, num_frames)
        x = inner.projection(inner.feature_norm(features))
        real = valid(num_frames, x.shape[1])
        x = x.masked_fill(~real.unsqueeze(-1), 0)
        return inner.transformer(inner.position_norm(x + inner.positions(x)), real), num_frames

    def extract_features(
        self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"], *, layer: int | None = None
    ) -> Frames:
        """Vectors of one layer (None: the last)."""
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
    """Group norm with one group for each channel, its statistics taken over what is real."""
    real, count = valid(lengths, x.shape[2])[:, None], lengths.clamp(min=1)[:, None, None]
    x = torch.where(real, x - (x * real).sum(2, keepdim=True) / count, 0)
    variance = x.square().sum(2, keepdim=True) / count
    scale = norm.get_parameter("weight")[:, None] * (variance + 1e-5).rsqrt()
    return x * scale + norm.get_parameter("bias")[:, None]


class _Spectral(nn.Module):
    """A front end of `nn.spectral`; ONNX's own Fourier transform is slow or missing in many runtimes."""

    def __init__(self, front: LogMel | Cepstrum) -> None:
        super().__init__()
        self.front = front
        self.log_mel = front if isinstance(front, LogMel) else front.spectrum
        taps, bins = torch.arange(len(self.log_mel.window)), torch.arange(FFT_SIZE // 2 + 1)
        turns = torch.outer(bins, taps) % FFT_SIZE / FFT_SIZE  # exact: no angle is large
        waveforms = torch.cat([torch.cos(2 * torch.pi * turns.double()), torch.sin(2 * torch.pi * turns.double())])
        window = self.log_mel.window.cpu().double()
        self.fourier: Tensor
        self.register_buffer("fourier", (waveforms * window).float().unsqueeze(1).to(self.log_mel.window.device))

    def forward(self, waveform: Tensor, num_frames: Tensor) -> Float[Tensor, "batch frame dim"]:
        """What the front end gives."""
        front, stack = self.front, self.log_mel.config.stack
        lengths, longest = num_frames * stack, (waveform.shape[1] - front.field_samples) // front.hop_samples + 1
        x = self._log_mel(waveform)
        if isinstance(front, LogMel):
            x = normalize(x.transpose(1, 2)[:, : longest * stack], lengths)
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
