"""The front ends of wav2vec 2.0 by the kind of their settings."""

from typing import Annotated

from pydantic import Field

from sori.core.seeds import Rng
from sori.core.shapes import Bool, Float, Int, Tensor
from sori.nn.conv import ConvConfig, WaveformConv
from sori.nn.mask import MaskConfig, mel_changes
from sori.nn.mel_conv import MelConv, MelConvConfig
from sori.nn.spectral import Cepstrum, CepstrumConfig, LogMel, LogMelConfig

FrontConfig = Annotated[ConvConfig | LogMelConfig | CepstrumConfig | MelConvConfig, Field(discriminator="kind")]
Front = WaveformConv | LogMel | Cepstrum | MelConv


def build(config: FrontConfig) -> Front:
    """Build a front end, with random weights where it has any."""
    match config:
        case ConvConfig():
            return WaveformConv(config)
        case LogMelConfig():
            return LogMel(config)
        case CepstrumConfig():
            return Cepstrum(config)
        case MelConvConfig():
            return MelConv(config)


def windows_of(config: FrontConfig) -> LogMelConfig | None:
    """Return the log-mel windows that a front end begins with; None: it processes samples."""
    match config:
        case ConvConfig():
            return None
        case LogMelConfig():
            return config
        case CepstrumConfig() | MelConvConfig():
            return config.windows


def draw_mel_changes(
    config: FrontConfig, mask: MaskConfig | None, lengths: Int[Tensor, " batch"], rng: Rng | None
) -> tuple[Float[Tensor, " batch"] | None, Bool[Tensor, "batch mel"] | None]:
    """Draw warp and hidden bands for fine-tuning, as far as the front end can apply them; see `mask.mel_changes`."""
    windows = windows_of(config)
    if windows is None:
        return None, None
    warp, bands = mel_changes(mask, lengths, windows.num_mels, rng)
    return warp, bands if isinstance(config, MelConvConfig) else None
