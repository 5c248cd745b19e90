"""BERT over units, which another model makes: its recordings are heard whole, its vocabulary is counted."""

from sori.checkpoints import store
from sori.core import distributed
from sori.core.log import logger
from sori.core.run_folder import RunFolder
from sori.data import fingerprint
from sori.data.batches.loader import WholeBatches, prefetch
from sori.data.manifest import Utterance
from sori.models import factory
from sori.models.code_bert import CodeBert, CodeBertConfig
from sori.models.ctc import CtcConfig
from sori.models.encoders import VqCodeBertConfig, build, take_units
from sori.models.vq_wav2vec import VqWav2VecConfig
from sori.recipes.recipe import SpeechRecipe
from sori.runs.tasks.pretraining import audio, balanced
from sori.runs.tasks.task import Task


def with_units(config: VqCodeBertConfig, init: str | None, name: str) -> VqCodeBertConfig:
    """Return the settings with the units of the model that training starts from.

    Args:
        config: of BERT over units.
        init: the model that makes the units.
        name: of the recipe, for the error message.

    Raises:
        ValueError: there is no such model, or it makes no units of the kind needed.
    """
    if init is None:
        raise ValueError(
            f"{name} learns from units that a vq-wav2vec makes, and was given none: train one first (`sori "
            "train vq_wav2vec_tiny`), then name its run with init= (`--init RUN`)"
        )
    model = store.read(init).model
    start = model.encoder_config
    if isinstance(model.system, CtcConfig) or not isinstance(start, VqWav2VecConfig | CodeBertConfig):
        raise ValueError(  # noqa: TRY004 - whoever calls names a model, not a type
            f"expected a vq_wav2vec, or a code_bert to go on with, got {init}, a {model.system.kind}; BERT over "
            "units starts from the model that makes them"
        )
    units = start.units if isinstance(start, CodeBertConfig) else start
    return config.model_copy(update={"units": units})


def words_of_units(
    recipe: SpeechRecipe, config: VqCodeBertConfig, utterances: list[Utterance], folder: RunFolder
) -> Task:
    """BERT over the units of `init`, or `init` itself trained further, and whole recordings.

    Raises:
        ValueError: `init` has other settings.
    """
    assert recipe.init is not None  # noqa: S101 - `with_units` has asked for it
    system = build(config)
    assert isinstance(system, CodeBert)  # noqa: S101 - by its settings
    start = store.read(recipe.init).model
    goes_on = isinstance(start.system, CodeBertConfig)
    if goes_on:
        factory.copy_weights(start.weights, system, origin=recipe.init)
    else:
        take_units(system, start.weights, start.encoder_config)
    batches = WholeBatches(utterances, recipe.data, seed=recipe.train.seed, reader=audio(recipe, utterances, folder))
    if batches.languages is not None:
        logger.info(f"languages heard: {batches.languages}")
    if not goes_on and config.num_tokens < config.num_tuples and not folder.checkpoint.exists():
        _count(system, batches)
    return Task(system, batches, [], fingerprint.of_utterances(utterances, languages=balanced(recipe)))


def _count(system: CodeBert, batches: WholeBatches) -> None:
    """Choose the vocabulary by hearing every recording once, each process its share of them."""
    device = distributed.device()
    system.to(device)
    mine = range(distributed.rank(), batches.num_batches, distributed.world_size())
    heard = (batch.to(device) for batch in prefetch(batches, mine))
    counts = distributed.all_reduce_sum(system.count_tuples(heard).to(device)).cpu()
    known = system.choose_words(counts)
    logger.info(
        f"{int((counts > 0).sum()):,} of {len(counts):,} tuples of codes occur; the {system.num_words - 1:,} most "
        f"frequent ones, {known:.1%} of all {int(counts.sum()):,} units, are words of their own"
    )
