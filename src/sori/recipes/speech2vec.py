"""Recipes that train vectors of spoken words (Speech2Vec).

The published size (21,663 parameters at 50 dimensions) also runs on a laptop; the recipes differ in the amount of
speech, the length of training and the learning rate.
"""

from sori.data.batches.sampler import DataConfig
from sori.data.batches.segment_pairs import SegmentConfig
from sori.models.speech2vec import Speech2VecConfig
from sori.recipes.recipe import SpokenWordRecipe
from sori.training.loop import TrainConfig
from sori.training.optim import OptimConfig
from sori.training.schedule import ScheduleConfig


def speech2vec_skipgram() -> SpokenWordRecipe:
    """Train Speech2Vec skip-gram on some hours of speech with word alignments; minutes on a CPU core.

    Predicts the context words from the centre word. Expected: on 1.8 h of one speaker the error falls to 0.30, against
    0.36 for repeating the last frame (`previous` in the log); yet the vectors discriminate words no better than a
    randomly initialised model (`docs/systems/speech2vec.md`).

    Command: `sori train speech2vec_skipgram --data PREPARED --into runs/words`, where PREPARED holds `segments.jsonl`
    (made by `sori words align`); without word alignments, `--segments.fixed-seconds 0.4`.
    """
    return _recipe("speech2vec_skipgram", Speech2VecConfig(objective="skipgram"))


def speech2vec_cbow() -> SpokenWordRecipe:
    """Train Speech2Vec CBOW, which predicts a word from its context words; otherwise as `speech2vec_skipgram`.

    Expected: likewise; the decoder depends a little more on the vectors, as its input is six words instead of one.

    Command: `sori train speech2vec_cbow --data PREPARED --into runs/words_cbow`
    """
    return _recipe("speech2vec_cbow", Speech2VecConfig(objective="cbow"))


def speech2vec_librispeech() -> SpokenWordRecipe:
    """Train Speech2Vec skip-gram on 500 h of read English with word alignments, nearly as published; one GPU.

    Source: arXiv 1803.08976, section 3, with another optimiser. Expected: MEN 0.08 and WS-353-SIM 0.15 after 500
    epochs, hardly better than random weights (0.08 and 0.10); a replication did not reach the published scores (arXiv
    2209.10791). Rare and frequent words are treated as in that replication, where 500 epochs with plain SGD took 8.4
    days on one GPU. Not trained here.

    Command: `sori train speech2vec_librispeech --data PREPARED --into runs/words_librispeech`
    """
    recipe = _recipe("speech2vec_librispeech", Speech2VecConfig(objective="skipgram"))
    changes = {
        "segments": SegmentConfig(windows="speaker", min_count=4, subsample=1e-3),
        "data": DataConfig(batch_seconds=250.0),
        "train": TrainConfig(num_steps=100_000, precision="float32"),
    }
    return recipe.model_copy(update=changes)


def _recipe(name: str, system: Speech2VecConfig) -> SpokenWordRecipe:
    return SpokenWordRecipe(
        name=name,
        system=system,
        segments=SegmentConfig(),
        data=DataConfig(batch_seconds=30.0),
        optim=OptimConfig(lr=3e-3, eps=1e-8, weight_decay=0.0, max_norm=5.0),
        schedule=ScheduleConfig(),
        train=TrainConfig(num_steps=3000, log_every=100, save_every_steps=500, precision="float32"),
    )
