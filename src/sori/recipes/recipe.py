"""Recipes: all settings that determine the result of a run, as plain data; one class per kind of training data."""

import contextlib
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from pydantic import Field, field_validator, model_validator

from sori.core.config import Config
from sori.data.batches.sampler import DataConfig
from sori.data.batches.segment_pairs import SegmentConfig
from sori.data.batches.sentence_pairs import TextsConfig
from sori.data.sources.images import ImagesConfig
from sori.data.sources.labelled_texts import LabelledTextsConfig
from sori.models.bert import BertConfig
from sori.models.classifier import ClassifierConfig
from sori.models.ctc import CtcConfig
from sori.models.encoders import EncoderConfig
from sori.models.factory import SystemConfig
from sori.models.simclr import SimClrImagesConfig
from sori.models.speech2vec import Speech2VecConfig
from sori.training.loop import TrainConfig
from sori.training.optim import OptimConfig
from sori.training.schedule import ScheduleConfig
from sori.training.watch import WatchConfig

R = TypeVar("R", bound="Recipe")

_OPTIONAL_IN_0_1 = ("encoder", "grow_quantizer", "encoder_changes", "labels", "segments", "images", "texts", "labelled")
"""Fields that every recipe of version 0.1 had; those not used by its kind were empty."""


class LabelConfig(Config):
    """Transcripts that a recogniser is trained on, and their normalisation."""

    minutes: float | None = Field(default=None, gt=0)
    """Minutes of transcribed speech to use, from as many speakers as possible; None: all."""
    seed: int = 0
    """Seed of this selection."""
    unit: Literal["grapheme", "jamo"] = "jamo"
    """Output symbols: grapheme clusters; `jamo` also splits Hangul syllables into letters."""
    case: Literal["upper", "lower", "keep"] = "lower"
    """Case of the transcripts; `keep` preserves capitals, which doubles the alphabet of a cased script."""
    casing: Literal["language", "root", "turkic"] = "language"
    """Rules of case: `turkic` for I and ı, İ and i as pairs; `language`: by the language of the transcripts."""  # noqa: RUF001 - Turkish
    punctuation: Literal["drop", "keep"] = "drop"
    """Punctuation of the transcripts; `drop` keeps only apostrophes and hyphens inside words."""
    speeds: tuple[float, ...] = (1.0,)
    """Speed perturbation: every utterance is used at each of these speeds (Ko et al. 2015)."""
    dev_split: str = "dev"
    """Split on which error rates are measured during training; not measured if there is no such split."""
    dev_minutes: float = Field(default=10.0, gt=0)
    """Maximal number of minutes of this split to use."""
    lm: Literal["word", "none"] = "word"
    """Language model to store with the recogniser: a word n-gram of the transcripts and `texts`, tuned on the dev
    split; or none."""
    texts: tuple[str, ...] = ()
    """Further text files for the language model (.txt, .gz, .xz), one sentence or paragraph a line."""

    @field_validator("texts", mode="before")
    @classmethod
    def _one_text(cls, value: Any) -> Any:
        """Accept one name for a list of it, as in `--labels.texts FILE`."""
        return (value,) if isinstance(value, str) else value


class Recipe(Config):
    """Fields common to all recipes of the training loop. The run folder stores the recipe as `recipe.yaml`.

    `Recipe.from_yaml` and `Recipe.from_data` return the subclass for `system.kind`.
    """

    name: str
    """Label for messages; a model is identified by its run folder."""
    system: SystemConfig
    """Settings of the system to train."""
    init: str | None = None
    """Model folder, run folder or model name to start from; None: random initialisation."""
    corpora: tuple[str, ...] = ()
    """Training data: prepared folders, image folders, texts or tables, depending on the kind of recipe."""
    held_out: tuple[str, ...] = ("dev", "test", "valid", "eval")
    """Prefixes of the names of splits that are never trained on (`dev-clean`, `validation`)."""
    optim: OptimConfig
    schedule: ScheduleConfig
    train: TrainConfig
    watch: WatchConfig = WatchConfig()

    @classmethod
    def from_data(cls: type[R], data: Any, *, origin: str) -> R:  # noqa: PYI019 - as in `Config`
        """Validate plain data, including a `recipe.yaml` of version 0.1; see `Config.from_data`."""
        shape = _shape_of(data) if cls is Recipe else cls
        return cast("R", super(Recipe, shape).from_data(_without_unused(data, shape), origin=origin))

    def as_stored(self, path: Path) -> str:
        """Return the recipe as YAML, or the text of the file if it already holds an equal recipe.

        Settings that the stored recipe lacks have their defaults, so runs older than a setting can be continued.
        """
        if path.is_file():
            with contextlib.suppress(ValueError):
                if type(self).from_yaml(path) == self:
                    return path.read_text(encoding="utf-8")
        return self.to_yaml()


class SpeechRecipe(Recipe):
    """Pre-train an encoder on untranscribed speech."""

    system: EncoderConfig
    grow_quantizer: bool = False
    """Whether to initialise a new quantiser if the initial model (a recogniser, a bare encoder) has none."""
    data: DataConfig


class RecogniserRecipe(Recipe):
    """Train a recogniser on transcribed speech."""

    system: CtcConfig
    encoder: EncoderConfig | None = None
    """Encoder of a recogniser trained from random weights; with `init`, the encoder of that model is used."""
    encoder_changes: dict[str, float] = Field(default_factory=dict)
    """Encoder settings that differ from pre-training, such as `layerdrop: 0.1`."""
    cache_frozen: bool = False
    """Whether to compute the blocks of `system.frozen_blocks` once for each utterance and speed, and keep their output
    in the run folder until training is finished (about 6 MB for a minute of audio at a width of 1024)."""
    labels: LabelConfig = LabelConfig()
    data: DataConfig

    @model_validator(mode="after")
    def _there_is_something_to_keep(self) -> "RecogniserRecipe":
        if self.cache_frozen and not self.system.frozen_blocks:
            raise ValueError("cache_frozen requires system.frozen_blocks, got 0: nothing is the same in every update")
        return self


class SpokenWordRecipe(Recipe):
    """Train vectors of spoken words."""

    system: Speech2VecConfig
    segments: SegmentConfig = SegmentConfig()
    """Words to use, and which of them are neighbours."""
    data: DataConfig


class ImageRecipe(Recipe):
    """Train SimCLR on a folder of images."""

    system: SimClrImagesConfig
    images: ImagesConfig


class TextRecipe(Recipe):
    """Pre-train BERT on text files or folders of them."""

    system: BertConfig
    texts: TextsConfig


class ClassifierRecipe(Recipe):
    """Train a text classifier on tables of labelled texts."""

    system: ClassifierConfig
    labelled: LabelledTextsConfig = LabelledTextsConfig()


def _shape_of(data: Any) -> type[Recipe]:
    """Return the recipe class for `system.kind`."""
    system = data.get("system") if isinstance(data, dict) else None
    match system.get("kind") if isinstance(system, dict) else None:
        case "ctc":
            return RecogniserRecipe
        case "speech2vec":
            return SpokenWordRecipe
        case "simclr_images":
            return ImageRecipe
        case "bert":
            return TextRecipe
        case "classifier":
            return ClassifierRecipe
        case _:
            return SpeechRecipe


def _without_unused(data: Any, shape: type[Recipe]) -> Any:
    """Drop empty fields of version 0.1 that do not belong to the kind; a set field stays and is refused."""
    if not isinstance(data, dict):
        return data
    unused = {name for name in _OPTIONAL_IN_0_1 if name in data and not data[name]}
    # Every recipe of 0.1 had `data`; without recordings it was left at its defaults, except settings added since.
    defaults, given = DataConfig().model_dump(mode="json"), data.get("data")
    if "data" not in shape.model_fields and isinstance(given, dict) and defaults | given == defaults:
        unused.add("data")
    return {name: value for name, value in data.items() if name not in unused}
