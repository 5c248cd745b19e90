"""Sizes of wav2vec 2.0: the published ones, with their exact numbers of parameters, and smaller ones."""

from sori.models.wav2vec2 import Wav2Vec2Config
from sori.nn.conv import ConvConfig
from sori.nn.conv_blocks import ConvBlocksConfig
from sori.nn.mask import MaskConfig
from sori.nn.mel_conv import MelConvConfig
from sori.nn.spectral import CepstrumConfig, LogMelConfig


def is_published(config: object) -> bool:
    """Return whether settings are those of a wav2vec 2.0 of at least BASE's width."""
    return isinstance(config, Wav2Vec2Config) and config.dim >= base().dim


def base() -> Wav2Vec2Config:
    """Return BASE for LibriSpeech: 95,044,608 parameters."""
    return Wav2Vec2Config(
        feature_gradient=0.1,
        dropout=0.1,
        attention_dropout=0.1,
        input_dropout=0.1,
        target_dropout=0.1,
        layerdrop=0.05,
        feature_penalty=10.0,
    )


def large() -> Wav2Vec2Config:
    """Return LARGE for LibriSpeech: 317,380,864 parameters."""
    size = {"dim": 1024, "num_layers": 24, "num_heads": 16, "ffn_dim": 4096, "code_dim": 768, "final_dim": 768}
    return base().model_copy(update={**size, "layerdrop": 0.2, "gumbel_end": 0.1})


def lv60k() -> Wav2Vec2Config:
    """Return LARGE for LibriVox: 317,390,592 parameters."""
    return Wav2Vec2Config(
        front=ConvConfig(norm="layer", bias=True, normalize=True),
        dim=1024,
        num_layers=24,
        num_heads=16,
        ffn_dim=4096,
        pre_norm=True,
        code_dim=768,
        final_dim=768,
        gumbel_end=0.1,
    )


def xlsr_300m() -> Wav2Vec2Config:
    """Return XLSR-53 and XLS-R 0.3B: the architecture of `lv60k`."""
    return lv60k()


def xlsr_1b() -> Wav2Vec2Config:
    """Return XLS-R 1B: 965,514,752 parameters."""
    size = {"dim": 1280, "num_layers": 48, "ffn_dim": 5120, "code_dim": 1024, "final_dim": 1024}
    return lv60k().model_copy(update=size)


def xlsr_2b() -> Wav2Vec2Config:
    """Return XLS-R 2B: 2,162,932,352 parameters."""
    return xlsr_1b().model_copy(update={"dim": 1920, "ffn_dim": 7680})


def tiny() -> Wav2Vec2Config:
    """Return an unpublished size for one CPU core and some hours of speech: 1.9 M parameters, a frame every 20 ms.

    Convolutions instead of attention: with ten minutes of transcripts, a network whose structure says that speech is
    local makes fewer errors than one that has to learn it (docs/results/ten-minutes.md).
    """
    windows = LogMelConfig(stack=2)
    blocks = {"conv_blocks": ConvBlocksConfig(kernel=15), "num_layers": 5, "ffn_dim": 576}
    return _unpublished(windows).model_copy(update={**blocks, "front": MelConvConfig(windows=windows, dim=192)})


def small() -> Wav2Vec2Config:
    """Return an unpublished size for one small GPU and tens of hours of speech: 12 M parameters."""
    front = MelConvConfig(windows=LogMelConfig(stack=2), num_channels=64, dim=384)
    size = {"front": front, "dim": 384, "num_layers": 8, "ffn_dim": 1152}
    return tiny().model_copy(update={**size, "dropout": 0.1, "gumbel_decay": 0.9999})


def tiny_attention() -> Wav2Vec2Config:
    """Return `tiny` as it was before it had convolutions, for comparisons: attention over 40 ms of stacked cepstra."""
    attention = {"num_layers": 4, "num_heads": 4, "ffn_dim": 768, "position_kernel": 31, "position_norm": True}
    front = CepstrumConfig(windows=LogMelConfig(stack=4), num_cepstra=40)
    return _unpublished(LogMelConfig(stack=4)).model_copy(
        update={**attention, "front": front, "init": "width", "mask": MaskConfig(time_length=7)}
    )


def smoke() -> Wav2Vec2Config:
    """Return a toy size for tests."""
    size = {"dim": 32, "num_layers": 2, "num_heads": 2, "ffn_dim": 64, "position_kernel": 15, "position_groups": 4}
    codes = {"num_codes": 8, "code_dim": 16, "final_dim": 16, "num_negatives": 10}
    front = {"front": LogMelConfig(num_mels=20), "targets": None, "warp": 0.0}
    return tiny_attention().model_copy(update={**front, **size, **codes})


def _unpublished(windows: LogMelConfig) -> Wav2Vec2Config:
    """Return what small models have in common: targets of cepstra, a loss on visible frames, a warped mel axis."""
    return Wav2Vec2Config(
        targets=CepstrumConfig(windows=windows, num_cepstra=13, delta_windows=2, pool="mean"),
        front=windows,
        dim=192,
        pre_norm=True,
        num_codes=40,
        code_dim=128,
        final_dim=128,
        gumbel_decay=0.99951,
        equal_distractors="keep",
        visible_weight=1.0,
        warp=0.2,
    )
