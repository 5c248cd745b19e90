"""Set up BERT over units that another model outputs: whole recordings as input, most frequent units as vocabulary."""

from collections.abc import Sequence

from sori.checkpoints import store
from sori.core import distributed
from sori.core.log import logger
from sori.core.run_folder import RunFolder
from sori.data.batches.loader import WholeBatches, prefetch
from sori.data.manifest import Utterance
from sori.models import factory
from sori.models.code_bert import CodeBert, CodeBertConfig
from sori.models.ctc import CtcConfig
from sori.models.encoders import VqCodeBertConfig, build, take_units
from sori.models.vq_wav2vec import VqWav2VecConfig
from sori.recipes.recipe import SpeechRecipe
from sori.runs.tasks.pretraining import audio, fingerprint_of
from sori.runs.tasks.task import Task


def with_units(config: VqCodeBertConfig, init: str | None, name: str) -> VqCodeBertConfig:
    """Return the settings completed with those of the model that outputs the units.

    Args:
        config: Settings of BERT over units.
        init: Model that outputs the units.
        name: Name of the recipe, for the error message.

    Raises:
        ValueError: No model is given, or it does not output units of the right kind.
    """
    if init is None:
        raise ValueError(
            f"{name} needs a vq-wav2vec that outputs the units, got none: train one first (`sori train "
            "vq_wav2vec_tiny`), then give its run with init= (`--init RUN`)"
        )
    model = store.read(init).model
    start = model.encoder_config
    if isinstance(model.system, CtcConfig) or not isinstance(start, VqWav2VecConfig | CodeBertConfig):
        raise ValueError(  # noqa: TRY004 - the caller passes a model name, not a type
            f"expected a vq_wav2vec, or a code_bert to train further, got {init}, a {model.system.kind}; BERT over "
            "units starts from the model that outputs them"
        )
    units = start.units if isinstance(start, CodeBertConfig) else start
    return config.model_copy(update={"units": units})


def words_of_units(
    recipe: SpeechRecipe, config: VqCodeBertConfig, utterances: Sequence[Utterance], folder: RunFolder
) -> Task:
    """Build BERT over the units of `init`, or load `init` to train it further, and batches of whole recordings.

    Raises:
        ValueError: `init` has other settings.
    """
    assert recipe.init is not None  # noqa: S101 - checked by `with_units`
    system = build(config)
    assert isinstance(system, CodeBert)  # noqa: S101 - by its configuration
    start = store.read(recipe.init).model
    continues = isinstance(start.system, CodeBertConfig)
    if continues:
        factory.copy_weights(start.weights, system, origin=recipe.init)
    else:
        take_units(system, start.weights, start.encoder_config)
    batches = WholeBatches(utterances, recipe.data, seed=recipe.train.seed, reader=audio(recipe, utterances, folder))
    if batches.languages is not None:
        logger.info(f"language sampling: {batches.languages}")
    if not continues and config.num_tokens < config.num_tuples and not folder.has_checkpoint:
        _count(system, batches)
    return Task(system, batches, [], fingerprint_of(recipe, utterances, folder))


def _count(system: CodeBert, batches: WholeBatches) -> None:
    """Choose the vocabulary by counting the units of every recording once, split over the processes."""
    device = distributed.device()
    system.to(device)
    numbers = range(distributed.rank(), batches.num_batches, distributed.world_size())
    on_device = (batch.to(device) for batch in prefetch(batches, numbers))
    own = system.count_tuples(on_device).to(device)
    distributed.barrier()  # some have longer recordings than others
    counts = distributed.all_reduce_sum(own).cpu()
    covered = system.choose_words(counts)
    logger.info(
        f"{int((counts > 0).sum()):,} of {len(counts):,} possible units occur; the vocabulary is the "
        f"{system.num_words - 1:,} most frequent ones, {covered:.1%} of all {int(counts.sum()):,} unit tokens"
    )
