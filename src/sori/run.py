"""Recipe in, run out: the only place where a recipe becomes objects.

A run folder holds `recipe.yaml`, `data.json` (what was trained on), `checkpoint.safetensors`, `metrics.jsonl`, `lock`,
for a recogniser `vocabulary.json` and `excluded.jsonl` (utterances that cannot be learnt from), for vectors of words
`segments.jsonl`, and finally `model/`.
"""

import itertools
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sori import distributed, hub, segmented
from sori.batch import WaveBatch
from sori.data import account
from sori.data.augment import SpeedReader, speed_copies
from sori.data.cache import open_audio
from sori.data.images import ImageBatches, Images, training_images
from sori.data.labels import Unusable, choose_minutes, label
from sori.data.loader import Batches, CropBatches, FileReader, Reader, TextBatches
from sori.data.manifest import Utterance, read_manifest
from sori.decoding.beam import BeamDecoder
from sori.encoders import Encoder, EncoderConfig, build, is_objective, settings_of
from sori.evaluation.error_rate import ErrorReport
from sori.nn.conv import ConvConfig
from sori.nn.lengths import num_frames
from sori.recipes.recipe import LabelConfig, Recipe
from sori.recognition import scored
from sori.seeds import Rng, derive
from sori.shapes import Tensor
from sori.systems.ctc import Ctc, CtcConfig
from sori.systems.simclr import SimClrImagesConfig
from sori.systems.speech2vec import Speech2VecConfig
from sori.systems.vq_wav2vec import VqWav2Vec
from sori.systems.wav2vec2 import Wav2Vec2, Wav2Vec2Config
from sori.text import Vocabulary
from sori.training import loop
from sori.training.lock import sole_use

DATA, EXCLUDED = "data.json", "excluded.jsonl"


class Run(NamedTuple):
    """What `train` leaves behind."""

    folder: Path
    """`sori.load` takes it once the run is finished."""
    finished: bool
    """False after SIGTERM or Ctrl-C; the same call continues."""


class _Parts(NamedTuple):
    """What the loop is given."""

    system: hub.System
    batches: Batches
    evaluations: list[loop.Evaluation]
    about: account.Account
    """What it is trained on."""


def train(
    recipe: Recipe,
    *,
    into: str | Path,
    data: str | Path | Sequence[str | Path] | None = None,
    init: str | Path | None = None,
) -> Run:
    """Pre-train or fine-tune, as the recipe says; repeated, it continues where it was interrupted.

    Args:
        recipe: see `recipes`.
        into: the run folder, made where there is none.
        data: prepared folder or folders, in place of the recipe's `corpora`.
        init: model to start from, of any format that `sori.load` takes, in place of the recipe's `init`.

    Raises:
        ValueError: recipe, data and starting model do not fit together, or the folder holds another run.
        FileNotFoundError: there is no such data folder or starting model.
        RuntimeError: training came to nothing; names cause and cure.
    """
    into = Path(into)
    recipe = complete(recipe, data, init)
    with distributed.process_group(), sole_use(into):
        torch.manual_seed(derive(recipe.train.seed, "weights"))
        fingerprint = recipe.as_stored(into / loop.RECIPE)
        match recipe.system:
            case SimClrImagesConfig() as config:
                images = training_images(recipe.corpora, held_out=recipe.held_out)
                loop.claim(into, fingerprint)
                parts = _views(recipe, config, images, into)
            case config:
                utterances = training_utterances(recipe)
                loop.claim(into, fingerprint)
                parts = _of_speech(recipe, config, utterances, into)
        _say(_summary(recipe, parts))
        finished = loop.train(
            parts.system,
            parts.batches,
            train=recipe.train,
            optim=recipe.optim,
            schedule=recipe.schedule,
            into=into,
            evaluations=parts.evaluations,
            watch=recipe.watch,
            fingerprint=fingerprint,
        )
        if finished and distributed.rank() == 0:
            hub.save(parts.system, into / hub.MODEL, provenance=_provenance(recipe, parts.about))
            _say(f"model saved in {into / hub.MODEL}")
        distributed.barrier()
    return Run(into, finished)


def evaluate(
    model: str | Path | Ctc,
    *,
    data: str | Path | Sequence[str | Path],
    split: str | None = "test",
    decoder: BeamDecoder | None = None,
) -> ErrorReport:
    """Word and character error rates of a recogniser.

    References and hypotheses are compared in the recogniser's own spelling (case, punctuation); letters it cannot write
    count as errors.

    Args:
        model: folder, name or loaded recogniser.
        data: prepared folder or folders.
        split: which utterances of folders that name splits; None: all.
        decoder: beam search with a language model (`language.decoder`); None: the likeliest symbol of each frame.

    Raises:
        ValueError: the model is no recogniser, or there are no transcribed utterances of that split.
    """
    system = hub.load(model).to(distributed.device()) if isinstance(model, str | Path) else model
    system = needs_recogniser(system, str(model) if isinstance(model, str | Path) else "an encoder")
    return scored(system.eval(), transcribed(data, split), decoder)


def needs_recogniser(system: hub.System, name: str) -> Ctc:
    """The same system, as what it must be.

    Raises:
        ValueError: it is no recogniser.
    """
    if not isinstance(system, Ctc):
        raise ValueError(  # noqa: TRY004 - whoever calls names a model, not a type
            f"expected a recogniser, got {name}, which only knows sounds; fine-tune it with transcripts first: "
            "`sori train ctc_10min --init MODEL`"
        )
    return system


def transcribed(data: str | Path | Sequence[str | Path], split: str | None) -> list[Utterance]:
    """The transcribed utterances of prepared folders.

    Args:
        data: prepared folder or folders.
        split: which utterances of folders that name splits; None: all.

    Raises:
        ValueError: there are none.
    """
    return _transcribed(utterances_of(data, split))


def utterances_of(data: str | Path | Sequence[str | Path], split: str | None) -> list[Utterance]:
    """The utterances of prepared folders.

    Args:
        data: prepared folder or folders.
        split: which utterances of folders that name splits; None: all.

    Raises:
        ValueError: a folder has no such split.
    """
    return [u for folder in _folders(data) for u in _of_split(read_manifest(Path(folder)), split, folder)]


def training_utterances(recipe: Recipe) -> list[Utterance]:
    """What a recipe trains on: its folders without what is held out.

    Raises:
        ValueError: nothing is left.
    """
    found = [u for folder in recipe.corpora for u in read_manifest(Path(folder))]
    kept = [u for u in found if not (u.split or "").startswith(recipe.held_out)]
    if found and not kept:
        splits = ", ".join(sorted({u.split or "none" for u in found}))
        raise ValueError(
            f"all {len(found)} utterances are held out for measuring (splits: {splits}; held_out: "
            f"{', '.join(recipe.held_out)}); give data with other splits, or `--held-out []`"
        )
    return kept


def complete(recipe: Recipe, data: str | Path | Sequence[str | Path] | None, init: str | Path | None) -> Recipe:
    """The recipe with what the caller gave; paths absolute, so that the stored recipe can be repeated from anywhere."""
    changes: dict[str, Any] = {}
    if data is not None:
        changes["corpora"] = tuple(str(Path(folder).resolve()) for folder in _folders(data))
    if init is not None:
        changes["init"] = str(hub.find(init).resolve())
    recipe = recipe.model_copy(update=changes)
    if recipe.init is not None and isinstance(recipe.system, Wav2Vec2Config):
        recipe = recipe.model_copy(update={"system": _hearing_as(recipe.system, recipe.init)})
    if not recipe.corpora:
        raise ValueError(f"{recipe.name} needs recordings: give a prepared folder with data= (`--data DIR`)")
    return recipe


def _hearing_as(config: Wav2Vec2Config, init: str) -> Wav2Vec2Config:
    """The settings with the starting model's normalisation of the waveform: another would make its weights useless."""
    start, ours = hub.read(init).model.encoder_config, config.front
    theirs = start.front if isinstance(start, Wav2Vec2Config) else None
    if not isinstance(theirs, ConvConfig) or not isinstance(ours, ConvConfig):
        return config
    heard = {"normalize": theirs.normalize, "normalize_floor": theirs.normalize_floor}
    if heard != {name: getattr(ours, name) for name in heard}:
        _say(f"the waveform is prepared as {init} expects it: {', '.join(f'{k} {v}' for k, v in heard.items())}")
    return config.model_copy(update={"front": ours.model_copy(update=heard)})


def _folders(data: str | Path | Sequence[str | Path]) -> Sequence[str | Path]:
    return [data] if isinstance(data, str | Path) else data


def _of_split(utterances: list[Utterance], split: str | None, folder: str | Path) -> list[Utterance]:
    """The utterances of a split; all of them where the folder names no splits."""
    named = {u.split for u in utterances if u.split is not None}
    if split is None or not named:
        return utterances
    if split not in named:
        raise ValueError(f"{folder} has no split {split!r}; it has {', '.join(sorted(named))}")
    return [u for u in utterances if u.split == split]


def _transcribed(utterances: list[Utterance]) -> list[Utterance]:
    found = [u for u in utterances if u.text and u.text.strip()]
    if not found:
        raise ValueError(
            f"expected transcribed utterances, got {len(utterances)} without a transcript; put the text of speech.wav "
            "into speech.txt beside it and run `sori prepare` again"
        )
    return found


def _of_speech(
    recipe: Recipe, config: EncoderConfig | CtcConfig | Speech2VecConfig, utterances: list[Utterance], into: Path
) -> _Parts:
    match config:
        case CtcConfig():
            return _recognition(recipe, utterances, into)
        case Speech2VecConfig():
            return _words(recipe, config, utterances, into)
        case _:
            return _pretraining(recipe, config, utterances, into)


def _views(recipe: Recipe, config: SimClrImagesConfig, images: Images, into: Path) -> _Parts:
    if recipe.images is None:
        raise ValueError(f"{recipe.name} has no `images`: say there how many make a batch and how their views differ")
    system = hub.build(config)
    if recipe.init is not None:
        hub.copy_weights(hub.read(recipe.init).model.weights, system, origin=recipe.init)
    about = account.of_images(images)
    account.before(into / DATA, about)
    account.keep(into / DATA, about)
    return _Parts(system, ImageBatches(images, recipe.images, seed=recipe.train.seed), [], about)


def _pretraining(recipe: Recipe, config: EncoderConfig, utterances: list[Utterance], into: Path) -> _Parts:
    system = build(config)
    if recipe.init is not None:
        weights = _pretrained(recipe.init, system, grow=recipe.grow_quantizer)
        hub.copy_weights(weights, system, origin=recipe.init)
    reader = _audio(recipe, utterances, into)
    batches = CropBatches(utterances, recipe.data, seed=recipe.train.seed, reader=reader)
    if batches.languages is not None:
        _say(f"languages heard: {batches.languages}")
    fresh = recipe.init is None and not (into / loop.CHECKPOINT).exists()
    if fresh and (
        (isinstance(system, Wav2Vec2) and system.targets is not None)
        or (isinstance(system, VqWav2Vec) and system.config.start_sharpness)
    ):
        system.start_codebook(_about_a_quarter_of_an_hour(batches), Rng(recipe.train.seed))
    return _Parts(system, batches, [], account.of_utterances(utterances, languages=_balanced(recipe)))


def _pretrained(init: str, system: Encoder, *, grow: bool) -> dict[str, Tensor]:
    """All tensors to start from: those of the model, and with `grow` the new system's own of what the model lacks."""
    source = hub.load(init)
    encoder = hub.encoder_of(source)
    if encoder.config.kind != system.config.kind:
        raise ValueError(
            f"{init} is a {encoder.config.kind}, and what is to be trained a {system.config.kind}; start from a model "
            "of the same kind"
        )
    weights, new = encoder.state_dict(), system.state_dict()
    added = {name: new[name] for name in new.keys() - weights.keys() if is_objective(system.config, name)}
    if added and not grow:
        kind = "a recogniser" if isinstance(source, Ctc) else "an encoder"
        raise ValueError(
            f"{init} is {kind} without the quantiser that pre-training needs; start from the pre-trained model it was "
            "made from, or draw a new quantiser with `--grow-quantizer true`"
        )
    if added:
        _say(f"{init} has no quantiser: drew a new one ({sum(t.numel() for t in added.values()):,} parameters)")
    return weights | added


def _words(recipe: Recipe, config: Speech2VecConfig, utterances: list[Utterance], into: Path) -> _Parts:
    system, kept = segmented.build(config, init=recipe.init), segmented.choose(recipe, utterances)
    segmented.note(kept, into)
    batches = segmented.batches(recipe, kept, _audio(recipe, kept.utterances, into))
    return _Parts(system, batches, [], account.of_utterances(kept.utterances, languages=_balanced(recipe)))


def _about_a_quarter_of_an_hour(batches: CropBatches) -> Iterator[WaveBatch]:
    seconds = 0.0
    for index in itertools.count():
        batch = batches[index]
        yield batch
        seconds += batch.seconds
        if seconds > 15 * 60:
            return


def _recognition(recipe: Recipe, utterances: list[Utterance], into: Path) -> _Parts:
    labels = recipe.labels or LabelConfig()
    chosen = transcribed = _transcribed(utterances)
    if labels.minutes is not None:
        chosen = _at_most(transcribed, labels.minutes, seed=labels.seed)
        if len(chosen) == len(transcribed):
            _say(
                f"{recipe.name} takes {labels.minutes:g} minutes of transcribed speech; there is less: taking all of it"
            )
    vocabulary = Vocabulary.fit(
        (u.text or "" for u in chosen), unit=labels.unit, case=labels.case, punctuation=labels.punctuation
    )
    system = _recogniser(recipe, vocabulary)
    encoder = hub.encoder_of(system)

    def count_frames(num_samples: int) -> int:
        one = torch.tensor([num_samples])
        frames = num_frames(one, field_samples=encoder.field_samples, hop_samples=encoder.hop_samples)
        return int(frames) * system.config.upsample

    # An utterance must be feasible at the fastest speed it will be heard at.
    fastest = max(labels.speeds)
    checked = label(
        chosen,
        vocabulary,
        num_frames=lambda num_samples: count_frames(round(num_samples / fastest)),
        field_samples=math.ceil((encoder.field_samples + 1) * fastest),
    )
    _keep_excluded(into, checked.unusable)
    if distributed.rank() == 0:
        vocabulary.save(into / hub.VOCABULARY)
    usable = [one.utterance for one in checked.usable]
    ids = [one.labels for one in checked.usable]
    reader = SpeedReader(_audio(recipe, usable, into), usable, labels.speeds)
    batches = TextBatches(
        speed_copies(usable, labels.speeds),
        ids * len(labels.speeds),
        recipe.data,
        seed=recipe.train.seed,
        reader=reader,
    )
    if batches.languages is not None:
        _say(f"languages heard: {batches.languages}")
    return _Parts(
        system, batches, _dev_evaluation(recipe, labels), account.of_utterances(usable, languages=_balanced(recipe))
    )


def _at_most(transcribed: list[Utterance], minutes: float, *, seed: int) -> list[Utterance]:
    available = sum(u.duration_seconds for u in transcribed) / 60
    return choose_minutes(transcribed, minutes, seed=seed) if available > minutes else transcribed


def _recogniser(recipe: Recipe, vocabulary: Vocabulary) -> Ctc:
    """A recogniser over the encoder of the starting model, or over a new one."""
    if recipe.init is None:
        if recipe.encoder is None:
            raise ValueError(
                f"{recipe.name} starts from a pre-trained model: give one with init= (`--init MODEL`), or an `encoder` "
                "in the recipe to start from random weights"
            )
        config, weights = recipe.encoder, None
    else:
        start = hub.load(recipe.init)
        config, weights = hub.encoder_of(start).config, hub.encoder_weights(start)
    changes, foreign = settings_of(config, recipe.encoder_changes)
    if foreign:
        _say(f"a {config.kind} has no {', '.join(foreign)}: these encoder_changes of the recipe do not concern it")
    config = type(config).from_data(
        {**config.model_dump(mode="json"), **changes}, origin="the encoder after the recipe's encoder_changes"
    )
    system = hub.build(recipe.system, encoder=config, vocabulary=vocabulary)
    assert isinstance(system, Ctc)  # noqa: S101 - the recipe's system is a recogniser's
    if weights is not None:
        hub.copy_weights(weights, hub.encoder_of(system), origin=str(recipe.init))
    return system


def _dev_evaluation(recipe: Recipe, labels: LabelConfig) -> list[loop.Evaluation]:
    """Error rates on at most `dev_minutes` of the dev split; nothing where no corpus names one."""
    found = [
        u for folder in recipe.corpora for u in read_manifest(Path(folder)) if u.split == labels.dev_split and u.text
    ]
    if not found:
        _say(
            f"no transcribed utterances of a split called {labels.dev_split!r}: error rates are not measured on the way"
        )
        return []
    chosen = _at_most(found, labels.dev_minutes, seed=labels.seed)

    def measure(system: Ctc) -> Mapping[str, float]:
        report = scored(system, chosen)
        return {"dev_wer": report.wer.rate, "dev_cer": report.cer.rate}

    return [measure]


def _audio(recipe: Recipe, utterances: list[Utterance], into: Path) -> Reader:
    """Where the samples come from, decided once for a run and noted with its data; refuses to continue on other data.

    Cached samples are rounded to 16 bits: a run that changed its mind when it is resumed would not end with equal bits.
    """
    about = account.of_utterances(utterances, languages=_balanced(recipe))
    before = account.before(into / DATA, about)
    policy = recipe.data.cache if before is None else ("always" if before["cached"] else "never")
    home = Path(recipe.corpora[0]) if len(recipe.corpora) == 1 and os.access(recipe.corpora[0], os.W_OK) else into
    reader = open_audio(utterances, folder=home, policy=policy)
    account.keep(into / DATA, {**about, "cached": not isinstance(reader, FileReader)})
    return reader


def _balanced(recipe: Recipe) -> bool:
    """Whether languages decide how often an utterance is heard."""
    return recipe.data.language_exponent is not None


def _keep_excluded(into: Path, excluded: Sequence[Unusable]) -> None:
    if distributed.rank() != 0:
        return
    rows = [{"id": one.utterance.id, "path": one.utterance.path, "reason": one.reason} for one in excluded]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (into / EXCLUDED).write_text(lines, encoding="utf-8")
    if rows:
        _say(f"{len(rows)} utterances cannot be learnt from and are left out (all in {into / EXCLUDED}), such as")
        _say("\n".join(f"  {row['id']}: {row['reason']}" for row in rows[:3]))


def _provenance(recipe: Recipe, about: account.Account) -> dict[str, Any]:
    start = None if recipe.init is None else hub.read(recipe.init).provenance
    return {"recipe": recipe.model_dump(mode="json"), "data": about, "init": start}


def _summary(recipe: Recipe, parts: _Parts) -> str:
    size = sum(p.numel() for p in parts.system.parameters() if p.requires_grad)
    each = f"{recipe.data.batch_seconds:g} s" if recipe.images is None else f"{recipe.images.batch_size} images"
    return (
        f"{recipe.name}: {size:,} parameters, {account.in_words(parts.about)}, "
        f"{recipe.train.num_steps:,} updates of {recipe.train.num_accumulate} x {each}"
    )


def _say(text: str) -> None:
    if distributed.rank() == 0:
        print(text, file=sys.stderr, flush=True)
