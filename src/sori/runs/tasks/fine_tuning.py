"""Set up fine-tuning of recognisers on transcribed speech."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from sori.checkpoints import store
from sori.core import distributed
from sori.core.audio import SAMPLE_RATE
from sori.core.batch import WaveformBatch
from sori.core.files import write_text
from sori.core.log import logger
from sori.core.precision import chosen as chosen_precision
from sori.core.run_folder import RunFolder
from sori.core.shapes import Frames
from sori.data.batches import frame_cache
from sori.data.batches.loader import Batches, TextBatches
from sori.data.batches.speed import SpeedReader, speed_copies
from sori.data.labels import MACHINE, Unusable, choose_casing, choose_minutes, label
from sori.data.manifest import Utterance, open_manifest
from sori.data.utterance_columns import joined, num_samples_of, where
from sori.data.utterances import with_text
from sori.evaluation.recognition import scored
from sori.models import factory
from sori.models.ctc import Ctc, CtcConfig
from sori.models.encoders import EncoderConfig, settings_of
from sori.models.wav2vec2 import Wav2Vec2Config
from sori.nn.fronts import windows_of
from sori.nn.lengths import num_frames
from sori.nn.mel_conv import MelConvConfig
from sori.recipes import sizes
from sori.recipes.recipe import LabelConfig, RecogniserRecipe
from sori.runs import language_model
from sori.runs.language_model import LmMaterial
from sori.runs.tasks.pretraining import audio, fingerprint_of
from sori.runs.tasks.task import Task
from sori.text.vocabulary import NEWEST, Vocabulary
from sori.training.evaluations import Evaluation

MOST_TUNING_MINUTES = 3.0
"""Amount of dev speech on which the language model is tuned: it is decoded some forty times."""


def recognition(recipe: RecogniserRecipe, utterances: Sequence[Utterance], folder: RunFolder) -> Task:
    """Build a recogniser on the encoder of `init` or a new one, and batches of transcribed utterances.

    Raises:
        ValueError: Recipe, recordings and initial model do not match.
    """
    labels = recipe.labels
    chosen = _chosen(recipe, where(utterances, "split", lambda name: name != MACHINE, key="by people"))
    vocabulary = _vocabulary(labels, chosen, folder)
    written = where(utterances, "split", lambda name: name == MACHINE, key="by machine")
    chosen = joined([chosen, written]) if len(written) else chosen  # written with these symbols
    system = _recogniser(recipe, vocabulary)
    encoder = factory.encoder_of(system)

    def count_frames(num_samples: int) -> int:
        one = torch.tensor([num_samples])
        frames = num_frames(one, field_samples=encoder.field_samples, hop_samples=encoder.hop_samples)
        return int(frames) * system.config.upsample

    # The transcript must fit the number of frames at the highest speed.
    fastest = max(labels.speeds)
    checked = label(
        chosen,
        vocabulary,
        num_frames=lambda num_samples: count_frames(round(num_samples / fastest)),
        field_samples=math.ceil((encoder.field_samples + 1) * fastest),
    )
    _keep_excluded(folder, checked.unusable)
    if distributed.rank() == 0:
        vocabulary.save(folder.vocabulary)
    if not checked.usable:
        raise ValueError(
            f"expected utterances to learn from, got {len(chosen)} transcribed ones, none of which can be used; all "
            f"are listed with the reason in {folder.excluded}, such as {checked.unusable[0].utterance.id}: "
            f"{checked.unusable[0].reason}. Likely the transcripts belong to other recordings: check some by ear"
        )
    usable = [one.utterance for one in checked.usable]
    ids = [one.labels for one in checked.usable]
    reader = SpeedReader(audio(recipe, usable, folder), usable, labels.speeds)
    batches = TextBatches(
        speed_copies(usable, labels.speeds),
        ids * len(labels.speeds),
        recipe.data,
        seed=recipe.train.seed,
        reader=reader,
    )
    if batches.languages is not None:
        logger.info(f"language sampling: {batches.languages}")
    dev = _dev_utterances(recipe, labels)
    return Task(
        system,
        _frozen_computed(recipe, system, batches, usable, folder) if recipe.cache_frozen else batches,
        _dev_evaluation(dev),
        fingerprint_of(recipe, usable, folder),
        _language_model(recipe, vocabulary, usable, dev, folder),
    )


def _frozen_computed(
    recipe: RecogniserRecipe, system: Ctc, batches: TextBatches, usable: Sequence[Utterance], folder: RunFolder
) -> Batches:
    """Return batches with the output of the frozen blocks, computed by the first process where it is missing."""
    if folder.model.exists():
        return batches  # the run is finished, and its cache removed
    device = distributed.device()
    precision = chosen_precision(recipe.train.precision, device)

    def compute(batch: WaveformBatch) -> Frames:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            frames = system.frozen_frames(*batch.to(device))
        return Frames(frames.data.cpu(), frames.lengths.cpu())

    made = hashlib.blake2b(repr((precision, recipe.system.frozen_blocks, recipe.labels.speeds)).encode())
    for u in usable:
        made.update(repr((u.id, u.path, u.start, u.num_samples, u.channel)).encode())
    for name, tensor in factory.encoder_of(system).state_dict().items():
        made.update(name.encode() + tensor.contiguous().view(torch.uint8).numpy().data)
    if distributed.rank() == 0:
        system.to(device)
        frame_cache.build(batches, folder.frozen_frames, compute, key=made.hexdigest())
        system.to("cpu")
    distributed.barrier()
    return frame_cache.FrameBatches(batches, folder.frozen_frames)


def _chosen(recipe: RecogniserRecipe, utterances: Sequence[Utterance]) -> Sequence[Utterance]:
    """Return the transcribed utterances, at most as many minutes as the recipe says."""
    transcribed, minutes = with_text(utterances), recipe.labels.minutes
    if minutes is None:
        return transcribed
    chosen = _at_most(transcribed, minutes, seed=recipe.labels.seed)
    if len(chosen) == len(transcribed):
        logger.info(f"{recipe.name} uses {minutes:g} minutes of transcribed speech; there is less: using all of it")
    return chosen


def _language_model(
    recipe: RecogniserRecipe,
    vocabulary: Vocabulary,
    usable: Sequence[Utterance],
    dev: Sequence[Utterance],
    folder: RunFolder,
) -> LmMaterial | None:
    """Build the language model of the recogniser, if the recipe has one."""
    labels = recipe.labels
    if labels.lm == "none":
        if labels.texts:
            raise ValueError(
                f"expected a language model for {', '.join(labels.texts)}, got `--labels.lm none`; leave one of the "
                "two out"
            )
        return None
    if not labels.dev_split.startswith(recipe.held_out):
        dev = []  # the recogniser is trained on it
    dev = _at_most(dev, MOST_TUNING_MINUTES, seed=labels.seed)
    material = LmMaterial(
        [u.text or "" for u in usable if u.split != MACHINE], tuple(map(Path, labels.texts)), labels.dev_split, dev
    )
    if distributed.rank() == 0:
        language_model.build(material, vocabulary, folder)
    return material


def _vocabulary(labels: LabelConfig, chosen: Sequence[Utterance], folder: RunFolder) -> Vocabulary:
    """Fit the vocabulary; a run that is continued keeps the rules of normalisation that it was started with."""
    texts = (u.text or "" for u in chosen)
    if folder.vocabulary.is_file():
        started = Vocabulary.load(folder.vocabulary)
        casing, normalisation = started.casing, started.normalisation
    else:
        casing, normalisation = choose_casing(chosen, labels.casing), NEWEST
    return Vocabulary.fit(
        texts,
        unit=labels.unit,
        case=labels.case,
        casing=casing,
        punctuation=labels.punctuation,
        normalisation=normalisation,
    )


def _at_most(transcribed: Sequence[Utterance], minutes: float, *, seed: int) -> Sequence[Utterance]:
    available = int(num_samples_of(transcribed).sum()) / SAMPLE_RATE / 60
    return choose_minutes(transcribed, minutes, seed=seed) if available > minutes else transcribed


def _recogniser(recipe: RecogniserRecipe, vocabulary: Vocabulary) -> Ctc:
    """Build a recogniser on the encoder of the initial model, or on a new one."""
    if recipe.init is None:
        if recipe.encoder is None:
            raise ValueError(
                f"{recipe.name} starts from a pre-trained model: give one with init= (`--init MODEL`), or an `encoder` "
                "in the recipe to start from random weights"
            )
        config, weights, start = recipe.encoder, None, None
    else:
        start = store.load(recipe.init)
        config, weights = factory.encoder_of(start).config, factory.encoder_weights(start)
    changes, foreign = settings_of(config, recipe.encoder_changes)
    if foreign:
        logger.info(f"a {config.kind} has no {', '.join(foreign)}: ignoring these encoder_changes of the recipe")
    config = type(config).from_data(
        {**config.model_dump(mode="json"), **changes}, origin="the encoder after the recipe's encoder_changes"
    )
    _warn_of_rate(recipe, config)
    system = factory.build(recipe.system, encoder=config, vocabulary=vocabulary)
    assert isinstance(system, Ctc)  # noqa: S101 - the recipe's system is a recogniser's
    if unused := _unused_changes(recipe.system, factory.encoder_of(system).config):
        logger.info(f"a {config.kind} with this front end cannot apply {' and '.join(unused)}: not used")
    if weights is not None:
        factory.copy_weights(weights, factory.encoder_of(system), origin=str(recipe.init))
    if isinstance(start, Ctc):
        _adopt_head(system, start)
    return system


_HIGH_RATE = 5e-4
"""Learning rate above those of all published recipes for fine-tuning (1e-5 to 3e-4)."""


def _warn_of_rate(recipe: RecogniserRecipe, config: EncoderConfig) -> None:
    rate = recipe.optim.lr * recipe.system.encoder_lr_factor
    if recipe.init is not None and sizes.is_published(config) and rate > _HIGH_RATE:
        logger.warning(
            f"the encoder of {recipe.init} has a published size, for which published rates are below {_HIGH_RATE:g}; "
            f"with {rate:g} it probably forgets what it has learnt. {recipe.name} is tuned for `tiny`: on a laptop, "
            "use ctc_10min_xlsr_laptop (with --system.frozen-blocks half of the blocks), on GPUs a recipe that ends "
            "in _base or _large"
        )


def _adopt_head(system: Ctc, start: Ctc) -> None:
    """Continue with the output layer of a recogniser, as far as its symbols are those of the new one."""
    if system.config.read != start.config.read or start.vocabulary is None:
        return
    copied = system.adopt_classes(start)
    logger.info(f"output layer of the initial recogniser: {len(copied)} of {system.num_classes} symbols are known")


def _unused_changes(config: CtcConfig, encoder: EncoderConfig) -> list[str]:
    """Return which changes of the mel axis an encoder cannot apply; a frozen front end applies none."""
    mask = config.mask
    if config.frozen_blocks:
        return [name for name in ("mask.warp", "mask.band_prob") if getattr(mask, name.removeprefix("mask."))]
    front = encoder.front if isinstance(encoder, Wav2Vec2Config) else None
    can_warp = front is not None and windows_of(front) is not None
    unused = ["mask.warp"] if mask.warp and not can_warp else []
    return unused + (["mask.band_prob"] if mask.band_prob and not isinstance(front, MelConvConfig) else [])


def _dev_utterances(recipe: RecogniserRecipe, labels: LabelConfig) -> Sequence[Utterance]:
    """Return at most `dev_minutes` of the dev split; none if no corpus has one."""
    every = joined(open_manifest(Path(folder)) for folder in recipe.corpora)
    found = [
        u
        for u in where(every, "split", lambda name: name == labels.dev_split, key=f"is {labels.dev_split!r}")
        if u.text
    ]
    if not found:
        logger.info(f"no transcribed utterances in a split named {labels.dev_split!r}: no error rates during training")
        return []
    return _at_most(found, labels.dev_minutes, seed=labels.seed)


def _dev_evaluation(dev: Sequence[Utterance]) -> list[Evaluation]:
    """Return an evaluation of error rates, without language model, if there is anything to measure them on."""

    def measure(system: Ctc) -> Mapping[str, float]:
        report = scored(system, dev)
        return {"dev_wer": report.wer.rate, "dev_cer": report.cer.rate}

    return [measure] if dev else []


def _keep_excluded(folder: RunFolder, excluded: Sequence[Unusable]) -> None:
    if distributed.rank() != 0:
        return
    rows = [{"id": one.utterance.id, "path": one.utterance.path, "reason": one.reason} for one in excluded]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_text(folder.excluded, lines)
    if rows:
        logger.info(
            f"left out {len(rows)} utterances that cannot be used for training (all in {folder.excluded}), such as"
        )
        logger.info("\n".join(f"  {row['id']}: {row['reason']}" for row in rows[:3]))
