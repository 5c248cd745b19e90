"""Recipes that pre-train CPC, by size."""

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
    """Return the size of the paper: 7,419,904 parameters."""
    return CpcConfig(front=PaddedConvConfig(norm="batch", dim=512), recurrent="gru")


def modified() -> CpcConfig:
    """Return the default of CPC_audio: 1,843,456 parameters, and 4,781,568 in the predictors."""
    return CpcConfig(predictor=BlockPredictorConfig())


def tiny() -> CpcConfig:
    """Return an unpublished size for two CPU cores and some hours of speech: log-mel input, one frame per 20 ms."""
    windows = LogMelConfig(stack=2)
    return CpcConfig(front=MelNetworkConfig(windows=windows), negatives="own")


def smoke() -> CpcConfig:
    """Return a toy size for tests."""
    front = MelNetworkConfig(windows=LogMelConfig(num_mels=20, stack=2), dim=24)
    return tiny().model_copy(update={"front": front, "dim": 24, "num_steps": 4, "num_negatives": 10})


def cpc_tiny() -> SpeechRecipe:
    """Pre-train CPC tiny (1.4 M parameters) on some hours of speech; one CPU core, about twenty minutes.

    Expected: on six hours of read English, after 10 h processed (891 updates), the loss falls from 4.86 to 4.11 nats
    and 28 % of the next frames are identified; the full run has not been made yet (`docs/systems/cpc.md`).

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
    """Pre-train CPC as published (7.4 M parameters) on LibriSpeech train-clean-100; the paper used 8 GPUs.

    About 300,000 updates of 64 windows (section 3.1). Expected: linear probes of c reach an accuracy of 64.6 % on 41
    phones and 97.4 % on 251 speakers (table 1). The paper used 8 windows per GPU; one process accumulates 8
    micro-batches instead, so that, as there, distractors come from 8 windows.

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
    """Pre-train the default of CPC_audio (6.6 M with predictors) on LibriSpeech train-clean-100; for several GPUs.

    200 epochs of 100 h, in updates of 8 micro-batches of 8 windows. Expected: frozen, with 1 h of CommonVoice in each
    of five languages, a mean phone error rate of 43.9 % (arXiv 2002.02848); a replication got 45.2 %. Unlike in
    CPC_audio, a batch mixes speakers.

    Command: `sori train cpc_modified --data PREPARED --into runs/cpc_modified`
    """
    train = TrainConfig(num_steps=879_000, num_accumulate=8)
    return cpc_paper().model_copy(update={"name": "cpc_modified", "system": modified(), "train": train})


def _windows() -> DataConfig:
    """Return micro-batches of eight crops of 20,480 samples."""
    return DataConfig(batch_seconds=10.24, max_crop_seconds=1.28, min_seconds=1.28, num_buckets=1)


def _constant() -> ScheduleConfig:
    return ScheduleConfig(warmup_fraction=0.0, hold_fraction=1.0)
