"""Vectors of spoken words.

The model is tiny (21,663 parameters at 50 dimensions), so that the published size is also the one for a laptop; what
differs is the amount of speech, and how long and how slowly it is learnt from.
"""

from sori.data.batches.sampler import DataConfig
from sori.data.batches.segment_pairs import SegmentConfig
from sori.models.speech2vec import Speech2VecConfig
from sori.recipes.recipe import SpokenWordRecipe
from sori.training.loop import TrainConfig
from sori.training.optim import OptimConfig
from sori.training.schedule import ScheduleConfig


def speech2vec_skipgram() -> SpokenWordRecipe:
    """A word says the words around it: some hours of speech with the places of words, minutes on a CPU core.

    Expected: on 1.8 h of one speaker the error falls to 0.30; repeating the last frame (`previous` in the log) gives
    0.36; yet the vectors tell words apart no better than random weights (`docs/systems/speech2vec.md`).

    Command: `sori train speech2vec_skipgram --data PREPARED --into runs/words`, where PREPARED holds `segments.jsonl`
    (`sori words align` makes it); without words, `--segments.fixed-seconds 0.4`.
    """
    return _recipe("speech2vec_skipgram", Speech2VecConfig(objective="skipgram"))


def speech2vec_cbow() -> SpokenWordRecipe:
    """The words around a word say it, all together: otherwise as `speech2vec_skipgram`.

    Expected: likewise; the vectors matter a little more to the decoder, which is told of six words instead of one.

    Command: `sori train speech2vec_cbow --data PREPARED --into runs/words_cbow`
    """
    return _recipe("speech2vec_cbow", Speech2VecConfig(objective="cbow"))


def speech2vec_librispeech() -> SpokenWordRecipe:
    """500 h of read English with aligned words, as published but for the optimiser (arXiv 1803.08976, section 3).

    Expected: MEN 0.08 and WS-353-SIM 0.15 after 500 epochs, hardly better than random weights (0.08 and 0.10); the
    published scores could not be reproduced (arXiv 2209.10791). Rare and frequent words are treated as there, where 500
    epochs with plain SGD took 8.4 days on one GPU. We have not tried it.

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
