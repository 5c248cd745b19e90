"""Pre-training CPC, by size."""

from sori.data.batches.sampler import DataConfig
from sori.models.cpc import BlockPredictorConfig, CpcConfig
from sori.nn.mel_network import MelNetworkConfig
from sori.nn.padded_conv import PaddedConvConfig
from sori.nn.spectral import LogMelConfig
from sori.recipes.recipe import SpeechRecipe
from sori.training.loop import TrainConfig
from sori.training.optim import OptimConfig
from sori.training.schedule import ScheduleConfig


def paper() -> CpcConfig:
    """The size of the paper: 7,419,904 parameters."""
    return CpcConfig(front=PaddedConvConfig(norm="batch", dim=512), recurrent="gru")


def modified() -> CpcConfig:
    """The default of CPC_audio: 1,843,456 parameters, and 4,781,568 of the predictors."""
    return CpcConfig(predictor=BlockPredictorConfig())


def tiny() -> CpcConfig:
    """Our size for two CPU cores and some hours of speech: a frame each 20 ms from log-mel windows."""
    windows = LogMelConfig(stack=2)
    return CpcConfig(front=MelNetworkConfig(windows=windows), negatives="own")


def smoke() -> CpcConfig:
    """For tests: learns nothing of use, in no time."""
    front = MelNetworkConfig(windows=LogMelConfig(num_mels=20, stack=2), dim=24)
    return tiny().model_copy(update={"front": front, "dim": 24, "num_steps": 4, "num_negatives": 10})


def cpc_tiny() -> SpeechRecipe:
    """Our smallest useful size (1.4 M parameters): some hours of speech, one idle CPU core, some twenty minutes.

    Expected: on six hours of read English, 10 h heard (891 updates), the loss falls from 4.86 to 4.11 nats and 28 % of
    the next frames are found; the whole run has not been made yet (`docs/systems/cpc.md`).

    Command: `OMP_NUM_THREADS=1 sori train cpc_tiny --data PREPARED --into runs/cpc`
    """
    return SpeechRecipe(
        name="cpc_tiny",
        system=tiny(),
        data=DataConfig(batch_seconds=40.96, max_crop_seconds=2.56, min_seconds=2.56, num_buckets=1),
        optim=OptimConfig(lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, max_norm=1.0),
        schedule=ScheduleConfig(),
        train=TrainConfig(num_steps=6_000),
    )


def cpc_paper() -> SpeechRecipe:
    """CPC as published (7.4 M): LibriSpeech train-clean-100, about 300,000 updates of 64 windows (section 3.1).

    Expected: linear probes of c find 64.6 % of 41 phones and 97.4 % of 251 speakers (table 1). The paper took 8 GPUs of
    8 windows each; one process adds up 8 micro-batches instead, and as there, distractors come from 8 windows.

    Command: `sori train cpc_paper --data PREPARED --into runs/cpc_paper`
    """
    return SpeechRecipe(
        name="cpc_paper",
        system=paper(),
        data=_windows(),
        optim=OptimConfig(lr=2e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0),
        schedule=_constant(),
        train=TrainConfig(num_steps=300_000, num_accumulate=8),
    )


def cpc_modified() -> SpeechRecipe:
    """The default of CPC_audio (6.6 M with predictors): train-clean-100, 200 epochs of 8 windows a GPU.

    Expected: frozen, with 1 h of CommonVoice in five languages, 43.9 % phone errors on average (arXiv 2002.02848);
    others who repeated it got 45.2. The updates are 200 times 100 h, with 8 micro-batches of 8 windows each. Unlike
    there, batches are not of one speaker.

    Command: `sori train cpc_modified --data PREPARED --into runs/cpc_modified`
    """
    train = TrainConfig(num_steps=879_000, num_accumulate=8)
    return cpc_paper().model_copy(update={"name": "cpc_modified", "system": modified(), "train": train})


def _windows() -> DataConfig:
    """Eight crops of 20,480 samples."""
    return DataConfig(batch_seconds=10.24, max_crop_seconds=1.28, min_seconds=1.28, num_buckets=1)


def _constant() -> ScheduleConfig:
    return ScheduleConfig(warmup_fraction=0.0, hold_fraction=1.0)
