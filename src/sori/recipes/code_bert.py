"""Recipes that pre-train BERT over the units of vq-wav2vec, by size. All need the vq-wav2vec: `--init MODEL`.

An update of the paper processes 393,000 units (66 minutes at 100 per second) on 128 GPUs. Here one process accumulates
`train.num_accumulate` micro-batches of `data.batch_seconds`; with N processes under `torchrun`, divide
`train.num_accumulate` by N. Recordings are processed whole up to `data.max_crop_seconds`, since units depend on their
context.
"""

from sori.data.batches.sampler import DataConfig
from sori.models.encoders import VqCodeBertConfig
from sori.models.vq_wav2vec import VqWav2VecConfig
from sori.nn.mask import MaskConfig
from sori.recipes import vq_wav2vec
from sori.recipes.recipe import SpeechRecipe
from sori.training.loop import TrainConfig
from sori.training.optim import OptimConfig
from sori.training.schedule import ScheduleConfig


def code_bert_tiny() -> SpeechRecipe:
    """Pre-train a tiny BERT over the units of `vq_wav2vec_tiny` on hours of speech; two CPU cores, half an hour.

    2 M parameters. Expected: on six hours of English, with a vq-wav2vec trained for 1,200 updates, the loss falls from
    7.3 to 5.0 nats in 2,300 updates; phone probes are then less accurate than on the vq-wav2vec itself. The full 4,500
    updates have not been run.

    Command: `sori train code_bert_tiny --data PREPARED --init runs/vq_wav2vec_tiny --into runs/code_bert_tiny`
    """
    return SpeechRecipe(
        name="code_bert_tiny",
        system=VqCodeBertConfig(
            units=_units(vq_wav2vec.vq_wav2vec_tiny()),
            num_tokens=1_500,
            dim=192,
            num_layers=4,
            num_heads=4,
            ffn_dim=768,
            pre_norm=True,
            position_kernel=31,
            init="width",
            dropout=0.1,
            attention_dropout=0.0,
            mask=MaskConfig(time_prob=0.5, time_length=4),  # units of 40 ms: the paper's 10 are 100 ms
        ),
        data=DataConfig(batch_seconds=48.0, max_crop_seconds=15.0, min_seconds=1.0, num_buckets=16),
        optim=OptimConfig(lr=2e-3, max_norm=1.0),
        schedule=ScheduleConfig(),
        train=TrainConfig(num_steps=4_500, save_every_steps=500),
    )


def code_bert_small() -> SpeechRecipe:
    """Pre-train the published small BERT over the units of `vq_wav2vec_base`, on LibriSpeech; for many GPUs.

    512 wide, 8 heads (section 5.3); 12 layers are assumed, as the paper does not give the number. Expected: phone error
    rate of 11.64 % on TIMIT's test set with Gumbel units of LibriSpeech, 11.40 % with k-means units (table 3); WER of
    4.09 to 9.69 % on WSJ (tables 1 and 2).

    Command: `sori train code_bert_small --data PREPARED --init runs/vq_wav2vec_base --into runs/code_bert_small`
    """
    size = {"dim": 512, "ffn_dim": 2048, "num_heads": 8, "dropout": 0.05, "attention_dropout": 0.05}
    recipe = code_bert_base()
    return recipe.model_copy(
        update={
            "name": "code_bert_small",
            "system": recipe.system.model_copy(update=size),
            "data": recipe.data.model_copy(update={"batch_seconds": 41.0}),
            "train": recipe.train.model_copy(update={"num_accumulate": 1}),
        }
    )


def code_bert_base() -> SpeechRecipe:
    """Pre-train the published base BERT (12 layers, 768 wide) over the units of `vq_wav2vec_base`; for many GPUs.

    Source: arXiv 1910.05453, section 5.3; the paper used LibriSpeech and 128 GPUs. Expected: WER of 2.34 % on WSJ nov92
    with a character language model (table 1).

    Command: `sori train code_bert_base --data PREPARED --init runs/vq_wav2vec_base --into runs/code_bert_base`
    """
    num_steps = 250_000
    return SpeechRecipe(
        name="code_bert_base",
        system=VqCodeBertConfig(units=_units(vq_wav2vec.vq_wav2vec_base())),
        data=DataConfig(batch_seconds=30.72, max_crop_seconds=30.72, min_seconds=0.5, num_buckets=32),
        optim=OptimConfig(lr=1e-5, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01),
        schedule=ScheduleConfig(warmup_fraction=10_000 / num_steps),
        train=TrainConfig(num_steps=num_steps, num_accumulate=128),
    )


def _units(recipe: SpeechRecipe) -> VqWav2VecConfig:
    assert isinstance(recipe.system, VqWav2VecConfig)  # noqa: S101 - as its name says
    return recipe.system
