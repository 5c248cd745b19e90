"""Recipes that pre-train vq-wav2vec, by size.

An update of the paper processes 10 crops of 150,000 samples (94 s) on each of 8 GPUs. Here one process accumulates
`train.num_accumulate` micro-batches of `data.batch_seconds`; with N processes under `torchrun`, divide
`train.num_accumulate` by N.
"""

from sori.data.batches.sampler import DataConfig
from sori.models.vq_wav2vec import VqWav2VecConfig
from sori.nn.spectral import CepstrumConfig, LogMelConfig
from sori.recipes.recipe import SpeechRecipe
from sori.training.loop import TrainConfig
from sori.training.optim import OptimConfig
from sori.training.schedule import ScheduleConfig


def vq_wav2vec_tiny() -> SpeechRecipe:
    """Pre-train vq-wav2vec tiny (2 M parameters) on some hours of speech; two CPU cores, about twenty minutes.

    Expected: on six hours of English, the loss falls to 3.08 nats (chance level: 3.35) in a run of 1,200 updates, with
    94 of 160 codebook entries in use. The full 4,000 updates have not been run.

    Command: `sori train vq_wav2vec_tiny --data PREPARED --into runs/vq_wav2vec_tiny`
    """
    num_steps = 4_000
    return SpeechRecipe(
        name="vq_wav2vec_tiny",
        system=VqWav2VecConfig(
            spectrum=CepstrumConfig(windows=LogMelConfig(stack=4), num_cepstra=20),
            dim=256,
            encoder_kernels=(1, 1),
            encoder_strides=(1, 1),
            context_kernels=(2, 3, 4, 5, 6),
            num_codes=80,
            quantizer_hidden=0,
            start_sharpness=1.0,
            shared=False,
            gumbel_updates=round(0.7 * num_steps),
            diversity_weight=1.0,
            num_ahead=6,
            exclusion="fixed",
        ),
        data=DataConfig(batch_seconds=12.0, max_crop_seconds=6.0),
        optim=OptimConfig(lr=1e-3, weight_decay=0.0, max_norm=1.0),
        schedule=ScheduleConfig(),
        train=TrainConfig(num_steps=num_steps, save_every_steps=500),
    )


def vq_wav2vec_base() -> SpeechRecipe:
    """Pre-train vq-wav2vec with Gumbel softmax as published (33 M parameters) on LibriSpeech; the paper used 8 GPUs.

    Shared codebook, 400,000 updates (arXiv 1910.05453, section 5). Expected: phone error rate of 17.78 % on TIMIT's
    test set with the vectors of the units as input, 11.64 % with a small BERT over them (table 3).

    Command: `sori train vq_wav2vec_base --data PREPARED --into runs/vq_wav2vec_base`
    """
    num_steps = 400_000
    return SpeechRecipe(
        name="vq_wav2vec_base",
        system=VqWav2VecConfig(),
        data=DataConfig(batch_seconds=93.75, max_crop_seconds=9.375, min_seconds=0.5),
        optim=OptimConfig(lr=5e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0),
        schedule=ScheduleConfig(
            kind="cosine", warmup_fraction=500 / num_steps, first_factor=1e-7 / 5e-3, final_factor=1e-6 / 5e-3
        ),
        train=TrainConfig(num_steps=num_steps, num_accumulate=8),
    )


def vq_wav2vec_kmeans() -> SpeechRecipe:
    """Pre-train vq-wav2vec with k-means as published (32 M parameters); otherwise as `vq_wav2vec_base`.

    Shared codebook. Expected: phone error rate of 18.73 % on TIMIT's test set with the vectors of the units as input,
    11.40 % with a small BERT over them (arXiv 1910.05453, table 3).

    Command: `sori train vq_wav2vec_kmeans --data PREPARED --into runs/vq_wav2vec_kmeans`
    """
    changes = {"name": "vq_wav2vec_kmeans", "system": VqWav2VecConfig(quantizer="kmeans")}
    return vq_wav2vec_base().model_copy(update=changes)
