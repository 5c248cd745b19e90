"""Recipes that pre-train wav2vec, by size.

An update of the paper processes at most 1.5 M samples (94 s) on each of 8 GPUs. Here one process accumulates
`train.num_accumulate` micro-batches of `data.batch_seconds`; with N processes under `torchrun`, divide
`train.num_accumulate` by N.
"""

from sori.data.batches.sampler import DataConfig
from sori.models.wav2vec import Wav2VecConfig
from sori.nn.spectral import LogMelConfig
from sori.recipes.recipe import SpeechRecipe
from sori.training.loop import TrainConfig
from sori.training.optim import OptimConfig
from sori.training.schedule import ScheduleConfig


def wav2vec_tiny() -> SpeechRecipe:
    """Pre-train wav2vec tiny (2 M parameters) on some hours of speech; two CPU cores, about twenty minutes.

    Expected: on six hours of English, the loss falls to 2.82 nats (chance level: 3.35) in a run of 1,500 updates, and
    31 % of the targets are identified among ten distractors. The full 4,000 updates have not been run.

    Command: `sori train wav2vec_tiny --data PREPARED --into runs/wav2vec_tiny`
    """
    return SpeechRecipe(
        name="wav2vec_tiny",
        system=Wav2VecConfig(
            spectrum=LogMelConfig(stack=4),
            dim=256,
            encoder_kernels=(1, 1),
            encoder_strides=(1, 1),
            context_kernels=(2, 3, 4, 5, 6),
            skip=True,
            num_ahead=6,
            exclusion="fixed",
        ),
        data=DataConfig(batch_seconds=12.0, max_crop_seconds=6.0),
        optim=OptimConfig(lr=2e-3, weight_decay=0.0, max_norm=1.0),
        schedule=ScheduleConfig(),
        train=TrainConfig(num_steps=4_000, save_every_steps=500),
    )


def wav2vec_base() -> SpeechRecipe:
    """Pre-train wav2vec (15.5 M parameters), the paper's ablation size, on 80 h of LibriSpeech; the paper used 8 GPUs.

    40,000 updates (arXiv 1904.05862, section 4). Expected: phone error rate of 15.5 % on TIMIT's development set with
    its context vectors as input (table 3; figure not checked against the paper).

    Command: `sori train wav2vec_base --data PREPARED --into runs/wav2vec_base`
    """
    num_steps = 40_000
    return SpeechRecipe(
        name="wav2vec_base",
        system=Wav2VecConfig(),
        data=DataConfig(batch_seconds=93.75, max_crop_seconds=9.375, min_seconds=0.5),
        optim=OptimConfig(lr=5e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0),
        schedule=_schedule(num_steps),
        train=TrainConfig(num_steps=num_steps, num_accumulate=8),
    )


def wav2vec_large() -> SpeechRecipe:
    """Pre-train wav2vec large as published (32.5 M parameters) on 960 h of LibriSpeech; the paper used 16 GPUs.

    400,000 updates (arXiv 1904.05862, section 4). Expected: WER of 2.43 % on WSJ nov92 with a character language model
    and a wav2letter recogniser on its context vectors, trained on all of WSJ (table 1; figure not checked against the
    paper).

    Command: `sori train wav2vec_large --data PREPARED --into runs/wav2vec_large`
    """
    recipe, num_steps = wav2vec_base(), 400_000
    system = Wav2VecConfig(
        encoder_kernels=(10, 8, 4, 4, 4, 1, 1),
        encoder_strides=(5, 4, 2, 2, 2, 1, 1),
        context_kernels=tuple(range(2, 14)),
        skip=True,
    )
    train = TrainConfig(num_steps=num_steps, num_accumulate=16)
    changes = {"name": "wav2vec_large", "system": system, "schedule": _schedule(num_steps), "train": train}
    return recipe.model_copy(update=changes)


def _schedule(num_steps: int) -> ScheduleConfig:
    """Return the schedule from 1e-7 to 5e-3 in 500 updates, then along a cosine to 1e-6 (section 4.2)."""
    return ScheduleConfig(
        kind="cosine", warmup_fraction=500 / num_steps, first_factor=1e-7 / 5e-3, final_factor=1e-6 / 5e-3
    )
