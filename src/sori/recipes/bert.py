"""Recipes that pre-train BERT, by size."""

from sori.data.batches.sentence_pairs import TextsConfig
from sori.models.bert import BertConfig
from sori.recipes.recipe import TextRecipe
from sori.text.wordpiece import WordPieceConfig
from sori.training.loop import TrainConfig
from sori.training.optim import OptimConfig
from sori.training.schedule import ScheduleConfig


def of_size(num_layers: int, dim: int) -> BertConfig:
    """Return a size of the published family: one head per 64 dimensions, feed-forward layers four times as wide."""
    return BertConfig(num_layers=num_layers, dim=dim, num_heads=dim // 64, ffn_dim=4 * dim)


def base() -> BertConfig:
    """Return BERT BASE, uncased: 109,482,240 parameters, 110,106,428 with both heads."""
    return of_size(12, 768)


def large() -> BertConfig:
    """Return BERT LARGE, uncased: 335,141,888 parameters, 336,226,108 with both heads."""
    return of_size(24, 1024)


def tiny() -> BertConfig:
    """Return an unpublished size for one or two CPU cores."""
    return of_size(4, 256).model_copy(
        update={"num_positions": 128, "init": "waves", "dropout": 0.0, "attention_dropout": 0.0}
    )


def smoke() -> BertConfig:
    """Return a toy size for tests."""
    return BertConfig(
        num_layers=2,
        dim=32,
        num_heads=2,
        ffn_dim=64,
        num_positions=64,
        init="waves",
        dropout=0.0,
        attention_dropout=0.0,
    )


def bert_tiny() -> TextRecipe:
    """Pre-train BERT tiny on about ten million words of text; an hour on one or two CPU cores.

    Command: `OMP_NUM_THREADS=2 sori train bert_tiny --data TEXTS --into runs/bert`
    """
    return TextRecipe(
        name="bert_tiny",
        system=tiny(),
        texts=TextsConfig(wordpiece=WordPieceConfig(num_tokens=8_000), batch_size=32),
        optim=OptimConfig(lr=1e-3, betas=(0.9, 0.98), max_norm=1.0, decay_vectors=False),
        schedule=ScheduleConfig(warmup_fraction=0.05),
        train=TrainConfig(num_steps=5_000, evaluate_every=500),
    )


def bert_base() -> TextRecipe:
    """Pre-train BERT BASE (110 M parameters) as published, 1,000,000 updates of 256 pairs; for many GPUs.

    Expected: 1.4 nats per masked word piece (its authors). Not trained here. For the last tenth of the updates see
    `docs/systems/bert.md`.

    Command: `torchrun --nproc-per-node 8 -m sori train bert_base --data TEXTS --into runs/bert_base`
    """
    return _published("bert_base", base())


def bert_large() -> TextRecipe:
    """Pre-train BERT LARGE (336 M parameters) as published; for many GPUs. Not trained here.

    Command: `torchrun --nproc-per-node 64 -m sori train bert_large --data TEXTS --into runs/bert_large`
    """
    return _published("bert_large", large())


def bert_base_long() -> TextRecipe:
    """Pre-train the last tenth of BERT BASE, on pairs of up to 512 tokens, from `bert_base`; for many GPUs.

    100,000 updates. As in the paper, the learning rate falls from a tenth of its peak to 0. Not trained here.

    Command: `torchrun --nproc-per-node 8 -m sori train bert_base_long --init runs/bert_base --data TEXTS --into ...`
    """
    return _published("bert_base_long", base()).override(
        {"texts.max_tokens": 512, "optim.lr": 1e-5, "schedule.warmup_fraction": 0.0, "train.num_steps": 100_000}
    )


def bert_mini() -> TextRecipe:
    """Pre-train BERT mini (4 layers, 256 wide, 11 M parameters) with published settings; for a GPU. Not trained here.

    Command: `sori train bert_mini --data TEXTS --into runs/bert_mini`
    """
    return _published("bert_mini", of_size(4, 256))


def bert_small() -> TextRecipe:
    """Pre-train BERT small (4 layers, 512 wide, 29 M parameters) with published settings; for a GPU. Not trained here.

    Command: `sori train bert_small --data TEXTS --into runs/bert_small`
    """
    return _published("bert_small", of_size(4, 512))


def bert_medium() -> TextRecipe:
    """Pre-train BERT medium (8 layers, 512 wide, 41 M parameters) with published settings; for GPUs. Not trained here.

    Command: `sori train bert_medium --data TEXTS --into runs/bert_medium`
    """
    return _published("bert_medium", of_size(8, 512))


def _published(name: str, config: BertConfig) -> TextRecipe:
    return TextRecipe(
        name=name,
        system=config,
        texts=TextsConfig(wordpiece=WordPieceConfig(num_tokens=30_522)),
        optim=OptimConfig(lr=1e-4, betas=(0.9, 0.999), max_norm=1.0, decay_vectors=False),
        schedule=ScheduleConfig(warmup_fraction=0.01),
        train=TrainConfig(num_steps=1_000_000, evaluate_every=10_000),
    )
