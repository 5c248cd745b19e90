"""SimCLR: make two views of one example similar, and dissimilar to all other examples of the batch.

Chen, Kornblith, Norouzi, Hinton: A Simple Framework for Contrastive Learning of Visual Representations, ICML 2020
(arXiv 2002.05709). wav2vec 2.0 uses the same cosine similarity with a temperature.

Data flow of an image (`SimClrImages`): two views -> residual network -> h, the representation -> projection head -> z,
used by the objective only. Data flow of speech (`SimClr`, our own, the paper has images only): a crop of an utterance
-> two views -> log-mel frames -> convolutions over frames -> mean over time -> projection head. The representation for
recognisers and probes is the frames before the mean.

The objective compares all examples of a batch with each other, so its value depends on the whole batch: half a batch is
an easier task, and the sum over two micro-batches is not the loss of one of twice the size. Several processes do form
one large batch: views are gathered with their gradients, and batch normalisation is over all of them.
"""

import math
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from sori.core import distributed
from sori.core.batch import ViewBatch, WaveformBatch
from sori.core.config import Config
from sori.core.seeds import Rng
from sori.core.shapes import Bool, Float, Frames, Int, Tensor
from sori.models.protocols import LossSum
from sori.nn.batch_norm import BatchNorm
from sori.nn.conv import scale_gradient
from sori.nn.layers import choose_layer
from sori.nn.lengths import valid
from sori.nn.losses import nt_xent
from sori.nn.mask import MaskConfig, draw_hidden
from sori.nn.resnet import ResNet, ResNetConfig
from sori.nn.spectral import LogMel, LogMelConfig
from sori.nn.speech_views import SpeechDraws, SpeechViewsConfig, cut_views, draw_views


class SimClrConfig(Config):
    """Settings of SimCLR on speech: model and objective."""

    kind: Literal["simclr"] = "simclr"
    front: LogMelConfig = LogMelConfig()
    dim: int = Field(default=256, ge=1)
    """Width of every layer above the front end."""
    num_layers: int = Field(default=4, ge=0, le=1000)
    """Number of convolutional blocks over frames."""
    kernel: int = Field(default=5, ge=1)
    """Kernel size of a block in frames, odd and centred."""
    hidden_dim: int = Field(default=256, ge=1)
    """Width of the hidden layer of the projection head."""
    projection_dim: int = Field(default=128, ge=1)
    """Width of z, which is compared (paper: 128, figure 8)."""
    temperature: float = Field(default=0.1, gt=0)
    """tau. Paper, table 5: 0.1 for batches of 4,096."""
    views: SpeechViewsConfig = SpeechViewsConfig()


class SimClrImagesConfig(Config):
    """Settings of SimCLR on images."""

    kind: Literal["simclr_images"] = "simclr_images"
    encoder: ResNetConfig = ResNetConfig()
    hidden_dim: int | None = None
    """Width of the hidden layer of the projection head; None: the width of the network, as published."""
    projection_dim: int = Field(default=128, ge=1)
    """Width of z, which is compared (paper: 128, figure 8)."""
    temperature: float = Field(default=0.5, gt=0)
    """tau. Paper: 0.1 for ImageNet, 0.5 for CIFAR-10 (appendix B.9)."""


class RandomDraws(NamedTuple):
    """Random values of the objective on speech."""

    views: SpeechDraws


class SimClr(nn.Module):
    """SimCLR on speech, a `protocols.System` and a `protocols.FrameEncoder`."""

    OBJECTIVE: ClassVar[tuple[str, ...]] = ("head",)
    """Parts used in pre-training only; a recogniser does not have them."""

    def __init__(self, config: SimClrConfig) -> None:
        super().__init__()
        self.config = config
        self.front = LogMel(config.front)
        self.entry = nn.Linear(self.front.dim, config.dim)
        self.blocks = nn.ModuleList(FrameBlock(config.dim, kernel=config.kernel) for _ in range(config.num_layers))
        self.head = projection_head(config.dim, config.hidden_dim, config.projection_dim)

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return self.front.hop_samples

    @property
    def field_samples(self) -> int:
        """Shortest input, which gives one frame."""
        return self.front.field_samples

    def features(self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]) -> Frames:
        """Return log-mel frames, normalised over the utterance.

        Args:
            waveform: raw amplitude.
            lengths: number of real samples of each utterance.

        Raises:
            ValueError: if an utterance is shorter than one frame.
        """
        return self.front(waveform, lengths)  # type: ignore[no-any-return]

    def context(
        self,
        frames: Frames,
        *,
        masked: Bool[Tensor, "batch frame"] | None = None,
        channels: Bool[Tensor, "batch dim"] | None = None,
    ) -> list[Tensor]:
        """Return all layers: the log-mel frames, then the output of each block.

        Each block extends the receptive field by `kernel // 2` frames on either side.

        Args:
            frames: output of `features`.
            masked: True for frames to set to 0.
            channels: True for log-mel channels to set to 0.

        Returns:
            "batch frame dim" each; the first has the width of the front end.
        """
        x = frames.data
        if masked is not None:
            x = x.masked_fill(masked.unsqueeze(-1), 0)
        if channels is not None:
            x = x.masked_fill(channels.unsqueeze(1), 0)
        layers, real = [x], valid(frames.lengths, x.shape[1])
        x = self.entry(x)
        for block in self.blocks:
            x = block(x, real)
            layers.append(x.to(torch.promote_types(x.dtype, torch.float32)))
        return layers

    def encode(
        self,
        waveform: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"],
        *,
        mask: MaskConfig | None = None,
        rng: Rng | None = None,
        feature_gradient: float = 0.0,
    ) -> tuple[list[Tensor], Int[Tensor, " batch"]]:
        """Compute all layers from a waveform, for fine-tuning and feature extraction.

        Args:
            waveform: raw amplitude.
            lengths: number of real samples of each utterance.
            mask: masking of frames and log-mel channels by zeros (there is no learnt mask vector).
            rng: generators for the mask.
            feature_gradient: factor on the gradient into the front end, which has no parameters.

        Returns:
            The layers, as in `context`, and the number of frames of each utterance.
        """
        frames = self.features(waveform, lengths)
        frames = Frames(scale_gradient(frames.data, feature_gradient), frames.lengths)
        masked, channels = draw_hidden(mask, frames.lengths, self.front.dim, rng)
        return self.context(frames, masked=masked, channels=channels), frames.lengths

    def extract_features(
        self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"], *, layer: int | None = None
    ) -> Frames:
        """Return the vectors of one layer: 0 is the log-mel frames, None the last.

        Raises:
            ValueError: if the model has no such layer.
        """
        number = choose_layer(layer, self.config.num_layers, lowest="the front end")
        layers, frame_lengths = self.encode(waveform, lengths)
        return Frames(layers[number], frame_lengths)

    def draw(self, batch_size: int, num_samples: int, rng: Rng, device: torch.device) -> RandomDraws:
        """Draw two views of each crop from `rng["views"]`, on the host: the same on every device.

        Args:
            batch_size: number of crops.
            num_samples: number of samples of each.
            rng: generators of this micro-batch.
            device: device of the result.

        Raises:
            ValueError: if a view is longer than the crops, or shorter than a frame.
        """
        views = self.config.views
        if views.num_samples < self.field_samples:
            raise ValueError(
                f"a view of {views.seconds:g} s is shorter than a frame of {self.field_samples} samples; raise "
                "system.views.seconds"
            )
        drawn = draw_views(
            views,
            batch_size,
            num_samples,
            num_frames=(views.num_samples - self.field_samples) // self.hop_samples + 1,
            hop_samples=self.hop_samples,
            generator=Rng(*rng.key)["views"],
        )
        return RandomDraws(SpeechDraws(*(x.to(device) for x in drawn)))

    def loss(self, batch: WaveformBatch, *, step: int, rng: Rng) -> LossSum:
        """Return the pre-training loss of one micro-batch, summed over views.

        Args:
            batch: waveforms of equal length.
            step: optimiser update; not used.
            rng: generators of this micro-batch.

        Raises:
            ValueError: if the waveforms differ in length, there is only one, or the model was loaded without its
                projection head.
        """
        del step
        if not hasattr(self, "head"):
            raise ValueError(
                "this encoder has no projection head, which pre-training requires; extract features or fine-tune it"
            )
        shortest, longest = int(batch.lengths.min()), batch.waveform.shape[1]
        if shortest != longest:
            raise ValueError(
                f"SimCLR requires crops of equal length in pre-training, got {shortest} to {longest} samples in one "
                "batch; use the crops of the pre-training data (data.max_crop_seconds)"
            )
        return self.objective(batch, self.draw(len(batch.waveform), longest, rng, batch.waveform.device))

    def objective(self, batch: WaveformBatch, draws: RandomDraws) -> LossSum:
        """Return the loss for given views; see `compare`.

        Args:
            batch: waveforms of equal length.
            draws: see `draw`.
        """
        views = cut_views(batch.waveform, draws.views).flatten(0, 1)
        lengths = torch.full((len(views),), views.shape[1], device=views.device)
        frames = self.front(views, lengths, warp=draws.views.warps.flatten())
        last = self.context(frames, masked=draws.views.gaps.flatten(0, 1))[-1]
        return compare(self.head(last.mean(1)).unflatten(0, (-1, 2)), temperature=self.config.temperature)


class SimClrImages(nn.Module):
    """SimCLR on images, a `protocols.System`, but not a speech encoder."""

    def __init__(self, config: SimClrImagesConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ResNet(config.encoder)
        dim = self.encoder.dim
        self.head = projection_head(dim, dim if config.hidden_dim is None else config.hidden_dim, config.projection_dim)

    def features(self, images: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch dim"]:
        """Return the vector h of each image.

        Args:
            images: red, green and blue, values 0 to 1.
        """
        return self.encoder(images)  # type: ignore[no-any-return]

    def loss(self, batch: ViewBatch, *, step: int, rng: Rng) -> LossSum:
        """Return the loss of one micro-batch, summed over views; see `compare`.

        Args:
            batch: two views of each image; all randomness is in them.
            step: optimiser update; not used.
            rng: generators of this micro-batch; not used.
        """
        del step, rng
        z = self.head(self.features(torch.cat(batch)))
        return compare(z.unflatten(0, (2, -1)).transpose(0, 1), temperature=self.config.temperature)


def compare(z: Float[Tensor, "batch view dim"], *, temperature: float) -> LossSum:
    """Return the NT-Xent loss among the views of all processes; each view is a target.

    Terms, all on the scale of the sum: `contrastive`, the loss itself; `correct`, views whose nearest neighbour is the
    other view of the same example; `chance`, the loss if all are equally near, ln(2N - 1) each, for the actual N.

    Args:
        z: two projected views of each example.
        temperature: tau.

    Raises:
        ValueError: if there is only one example.
    """
    all_views, offset = distributed.gather_rows(z)
    if len(all_views) < 2:
        raise ValueError(
            "SimCLR compares the examples of a batch with each other and requires at least two, got one; give more "
            "data, or raise data.batch_seconds"
        )
    found = nt_xent(z, all_views, temperature=temperature, offset=offset)
    count = torch.tensor(2 * len(z), device=z.device)
    terms = {
        "contrastive": found.loss,
        "correct": found.num_correct,
        "chance": count * math.log(2 * len(all_views) - 1),
    }
    return LossSum(found.loss, count, {name: term.detach().float() for name, term in terms.items()})


def projection_head(dim: int, hidden_dim: int, projection_dim: int) -> nn.Sequential:
    """Build g: two layers, each normalised over the batch, the second without shift (section 2.1 and the code)."""
    layers = nn.Linear(dim, hidden_dim, bias=False), nn.Linear(hidden_dim, projection_dim, bias=False)
    for layer in layers:
        nn.init.normal_(layer.weight, std=0.01)
    return nn.Sequential(layers[0], BatchNorm(hidden_dim), nn.ReLU(), layers[1], BatchNorm(projection_dim, shift=False))


class FrameBlock(nn.Module):
    """A convolution over frames and a linear layer with a residual connection, then layer normalisation.

    Args:
        dim: width of the frames.
        kernel: kernel size in frames.
    """

    def __init__(self, dim: int, *, kernel: int) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"blocks are centred on their frame, so kernel must be odd, got {kernel}")
        self.conv = nn.Conv1d(dim, dim, kernel, padding=kernel // 2)
        self.out = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(
        self, x: Float[Tensor, "batch frame dim"], real: Bool[Tensor, "batch frame"]
    ) -> Float[Tensor, "batch frame dim"]:
        """Return the frames after this block; padding is treated as 0."""
        visible = x.masked_fill(~real.unsqueeze(-1), 0).transpose(1, 2)
        y = functional.relu(self.conv(visible).transpose(1, 2))
        return self.norm(x + self.out(y))  # type: ignore[no-any-return]
